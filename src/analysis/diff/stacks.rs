//! The stacks of one lock in both recordings.

use std::cmp::Reverse;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::scaled;
use crate::analysis::add;
use crate::model::lock_frames::is_library;
use crate::model::stacks::Node;
use crate::model::{CodeAddress, Session, StackId};

/// A stack's part in both recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackChange {
    /// It in OLD.
    pub old: Option<StackId>,
    /// It in NEW.
    pub new: Option<StackId>,
    /// Waits in OLD, scaled.
    pub old_count: u64,
    /// Waits in NEW.
    pub new_count: u64,
    /// Time waited by it (waiters) or for it (holders) in OLD, ns, scaled.
    pub old_ns: u64,
    /// The same in NEW, ns.
    pub new_ns: u64,
}

impl StackChange {
    fn size(&self) -> u64 {
        self.old_ns.abs_diff(self.new_ns)
    }
}

/// The functions of a stack of either recording, as a number.
type Path = u32;

/// Functions of both recordings by number, and the stacks made of them.
#[derive(Default)]
pub(super) struct Functions {
    names: Vec<Box<str>>,
    numbers: FxHashMap<Box<str>, u32>,
    /// By address, in NEW or not.
    of_code: FxHashMap<(CodeAddress, usize, bool), Rc<[u32]>>,
    /// The callers' path and the function; path 0 has none.
    paths: Vec<(Path, u32)>,
    by_call: FxHashMap<(Path, u32), Path>,
    /// The paths of stacks in OLD and in NEW.
    of_stack: [FxHashMap<StackId, Path>; 2],
}

impl Functions {
    /// The functions of a stack without those of locking libraries; code without a name by its file and address.
    fn path(&mut self, session: &Session, is_new: bool, stack: StackId) -> Path {
        let mut nodes = Vec::new();
        let mut at = stack;
        let mut path = loop {
            if at == crate::model::Stacks::UNKNOWN {
                break 0;
            }
            if let Some(known) = self.of_stack[usize::from(is_new)].get(&at) {
                break *known;
            }
            nodes.push(at);
            at = session.stacks.node(at).caller;
        };
        for id in nodes.into_iter().rev() {
            let node = session.stacks.node(id);
            let key = (node.address, node.frames.identity(), is_new);
            let told = match self.of_code.get(&key) {
                Some(known) => known.clone(),
                None => {
                    let told = self.of_node(session, node);
                    self.of_code.insert(key, told.clone());
                    told
                }
            };
            for function in told.iter().rev() {
                path = *self.by_call.entry((path, *function)).or_insert_with(|| {
                    self.paths.push((path, *function));
                    self.paths.len() as Path
                });
            }
            self.of_stack[usize::from(is_new)].insert(id, path);
        }
        path
    }

    /// Innermost first.
    fn of_node(&mut self, session: &Session, node: &Node) -> Rc<[u32]> {
        let module = node.address.module.and_then(|id| session.stacks.modules.get(id.index()));
        let code = || format!("{}+{:#x}", module.map_or("", |module| module.name()), node.address.address);
        if node.frames.is_empty() {
            return [self.number(&code())].into();
        }
        let told = node.frames.iter().filter(|frame| !is_library(&session.stacks, node, frame));
        let named = told.map(|frame| match &frame.function {
            Some(name) => self.number(name),
            None => self.number(&code()),
        });
        named.collect()
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(known) = self.numbers.get(name) {
            return *known;
        }
        let number = self.names.len() as u32;
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }

    /// The functions' names, innermost first.
    fn names(&self, path: Path) -> impl Iterator<Item = &str> {
        let mut at = path;
        std::iter::from_fn(move || {
            let (callers, function) = *self.paths.get((at as usize).checked_sub(1)?)?;
            at = callers;
            Some(&*self.names[function as usize])
        })
    }
}

/// Stacks of one lock by their functions.
#[derive(Default)]
pub(super) struct Stacks(FxHashMap<Path, StackChange>);

/// What a stack counts for.
pub(super) struct Amount {
    pub stack: StackId,
    pub count: u64,
    pub ns: u64,
}

impl Stacks {
    pub fn add(&mut self, functions: &mut Functions, session: &Session, is_new: bool, amount: &Amount, scale: f64) {
        let Amount { stack, count, ns } = *amount;
        let empty = StackChange { old: None, new: None, old_count: 0, new_count: 0, old_ns: 0, new_ns: 0 };
        let known = self.0.entry(functions.path(session, is_new, stack)).or_insert(empty);
        if is_new {
            known.new.get_or_insert(stack);
            add(&mut known.new_count, count);
            add(&mut known.new_ns, ns);
        } else {
            known.old.get_or_insert(stack);
            add(&mut known.old_count, scaled(count, scale));
            add(&mut known.old_ns, scaled(ns, scale));
        }
    }

    /// Greatest change first, then by the names of the functions.
    pub fn changes(self, functions: &Functions) -> Vec<StackChange> {
        let mut changes: Vec<_> = self.0.into_iter().collect();
        let key = |stack: &StackChange| Reverse((stack.size(), stack.new_ns, stack.new_count));
        changes.sort_by(|a, b| key(&a.1).cmp(&key(&b.1)).then_with(|| functions.names(a.0).cmp(functions.names(b.0))));
        changes.into_iter().map(|(_, stack)| stack).collect()
    }
}
