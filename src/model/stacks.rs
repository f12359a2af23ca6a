//! Call stacks as a tree of return addresses, shared by every lock and process.

use rustc_hash::{FxHashMap, FxHashSet};

use super::frame::Frames;
use super::ids::{ModuleId, StackId};

/// A place in code that stays the same under address-space randomisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeAddress {
    /// The file that holds the code; `None` for code that no file backs (just-in-time compiled).
    pub module: Option<ModuleId>,
    /// The ELF virtual address of the *return address* within the module (as in `p_vaddr`), or the
    /// plain address without one. Subtract one to be inside the call instruction.
    pub address: u64,
}

/// A loaded file with code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Module {
    /// Path at the time of the recording.
    pub path: String,
    /// GNU build-id, empty where there is none.
    pub build_id: Vec<u8>,
}

impl Module {
    /// The file name without its folders.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// A node of the tree: a return address and its caller's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The caller; `StackId(0)` at the outermost frame.
    pub caller: StackId,
    /// Where this frame is.
    pub address: CodeAddress,
    /// The frames that the address stands for, innermost (inlined) first; empty until symbolised.
    pub frames: Frames,
}

/// All call stacks of a session. A [`StackId`] names the innermost frame; its callers follow by [`Node::caller`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stacks {
    /// Files with code.
    pub modules: Vec<Module>,
    /// Functions that the person calls wrappers of locks (`[wrappers]` in `lockprof.toml`), by their whole name. Not part of
    /// a trace.
    pub wrappers: FxHashSet<String>,
    nodes: Vec<Node>,
    index: FxHashMap<(StackId, CodeAddress), StackId>,
}

impl Default for Stacks {
    fn default() -> Self {
        let unknown =
            Node { caller: StackId(0), address: CodeAddress { module: None, address: 0 }, frames: Frames::default() };
        Self { modules: Vec::new(), wrappers: FxHashSet::default(), nodes: vec![unknown], index: FxHashMap::default() }
    }
}

impl Stacks {
    /// The stack that nobody could see.
    pub const UNKNOWN: StackId = StackId(0);
    /// What stands for it where frames are written: of who waited, and of who held the lock meanwhile.
    pub const UNKNOWN_WAITER: &str = "[unknown stack]";
    /// See [`Self::UNKNOWN_WAITER`].
    pub const UNKNOWN_HOLDER: &str = "[holder not seen]";

    /// The stack with `address` called from `caller`.
    pub fn intern(&mut self, caller: StackId, address: CodeAddress) -> StackId {
        *self.index.entry((caller, address)).or_insert_with(|| {
            let id = StackId::from(self.nodes.len());
            self.nodes.push(Node { caller, address, frames: Frames::default() });
            id
        })
    }

    /// The module with this path and build-id.
    pub fn intern_module(&mut self, module: &Module) -> ModuleId {
        if let Some(at) = self.modules.iter().position(|known| known == module) {
            return ModuleId::from(at);
        }
        self.modules.push(module.clone());
        ModuleId::from(self.modules.len() - 1)
    }

    /// Number of nodes, the unknown stack included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no stack but the unknown one.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// The node of a stack's innermost frame.
    pub fn node(&self, stack: StackId) -> &Node {
        &self.nodes[stack.index()]
    }

    /// The node of a stack's innermost frame, to set its symbols.
    pub fn node_mut(&mut self, stack: StackId) -> &mut Node {
        &mut self.nodes[stack.index()]
    }

    /// The nodes of a stack, innermost first; empty for the unknown stack.
    pub fn walk(&self, stack: StackId) -> impl Iterator<Item = &Node> + '_ {
        let mut at = stack;
        core::iter::from_fn(move || {
            (at != Self::UNKNOWN).then(|| {
                let node = self.node(at);
                at = node.caller;
                node
            })
        })
    }
}
