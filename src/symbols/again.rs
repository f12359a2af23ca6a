//! Names for a recording that is written already, where more debug information is there than at its end.

use rustc_hash::{FxHashMap, FxHashSet};

use super::frames::resolve;
use super::kept::Kept;
use super::naming::name_locks;
use crate::model::{CodeAddress, Frame, Frames, LockId, Module, ModuleId, NameSource, Session, StackId};

/// Places of a module that have no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// The module.
    pub module: Module,
    /// How many places in its code are on stacks and have no function's name.
    pub places: usize,
}

/// What naming again has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Improved {
    /// Places in code that have more of a name than before.
    pub places: usize,
    /// Locks that have another name.
    pub locks: usize,
}

/// Modules in which functions have no names, the worst first.
pub fn unnamed(session: &Session) -> Vec<Unnamed> {
    let counts = count(session, |frames| frames.iter().any(|frame| frame.function.is_none()));
    let mut found: Vec<Unnamed> = counts.into_iter().map(|(module, places)| Unnamed { module, places }).collect();
    found.sort_by(|one, other| other.places.cmp(&one.places).then_with(|| one.module.cmp(&other.module)));
    found
}

/// Modules of which a file with debug information could tell more.
pub fn poor(session: &Session) -> Vec<Module> {
    let mut found: Vec<Module> = count(session, is_poor).into_keys().collect();
    found.sort();
    found
}

/// Places by module, each once.
fn count(session: &Session, counts: impl Fn(&[Frame]) -> bool) -> FxHashMap<Module, usize> {
    let stacks = &session.stacks;
    let nodes = (1..stacks.len()).map(|at| stacks.node(StackId::from(at)));
    let places: FxHashSet<CodeAddress> =
        nodes.filter(|node| node.address.module.is_some() && counts(&node.frames)).map(|node| node.address).collect();
    let mut found: FxHashMap<Module, usize> = FxHashMap::default();
    for place in places {
        let module = place.module.and_then(|id| stacks.modules.get(id.index()));
        if let Some(module) = module.filter(|module| !module.path.is_empty() && !module.path.starts_with('[')) {
            *found.entry(module.clone()).or_default() += 1;
        }
    }
    found
}

fn is_poor(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| frame.function.is_none()) || frames.iter().all(|frame| frame.file.is_none())
}

/// How much frames tell.
fn worth(frames: &[Frame]) -> (bool, bool, usize) {
    (frames.iter().all(|frame| frame.function.is_some()), frames.iter().any(|frame| frame.file.is_some()), frames.len())
}

/// Asks again for what has no whole name. What is known already is never given up for less. Returns what is better, and notes
/// for the person.
pub fn name_again(session: &mut Session, kept: &Kept) -> (Improved, Vec<String>) {
    let mut notes = Vec::new();
    let better = better_frames(session, kept, &mut notes);
    let mut changed: FxHashSet<StackId> = FxHashSet::default();
    for id in (1..session.stacks.len()).map(StackId::from) {
        let node = session.stacks.node_mut(id);
        if let Some(frames) = better.get(&node.address) {
            node.frames = frames.clone();
            changed.insert(id);
        }
    }
    let locks = rename_locks(session, &changed, kept, &mut notes);
    (Improved { places: better.len(), locks }, notes)
}

fn better_frames(session: &Session, kept: &Kept, notes: &mut Vec<String>) -> FxHashMap<CodeAddress, Frames> {
    let mut wanted: FxHashMap<ModuleId, FxHashMap<u64, &Frames>> = FxHashMap::default();
    for node in (1..session.stacks.len()).map(|at| session.stacks.node(StackId::from(at))) {
        if let Some(module) = node.address.module.filter(|_| is_poor(&node.frames)) {
            wanted.entry(module).or_default().insert(node.address.address, &node.frames);
        }
    }
    let mut better = FxHashMap::default();
    for (id, known) in wanted {
        let Some(module) = session.stacks.modules.get(id.index()) else { continue };
        let mut addresses: Vec<u64> = known.keys().copied().collect();
        addresses.sort_unstable();
        for (address, new) in addresses.iter().zip(resolve(module, &addresses, kept, notes)) {
            if worth(&new) > worth(known[address]) {
                better.insert(CodeAddress { module: Some(id), address: *address }, Frames::from(new));
            }
        }
    }
    better
}

/// Names anew what was named after less. How many locks have another name then.
fn rename_locks(session: &mut Session, changed: &FxHashSet<StackId>, kept: &Kept, notes: &mut Vec<String>) -> usize {
    let mut data: FxHashMap<LockId, CodeAddress> = FxHashMap::default();
    let mut before = FxHashMap::default();
    for id in (0..session.locks.len()).map(LockId::from) {
        let lock = session.lock(id);
        let Some(name) = &lock.name else { continue };
        let mut at = lock.origin_stack;
        let mut has_changed = false;
        while at.index() != 0 && !has_changed {
            has_changed = changed.contains(&at);
            at = session.stacks.node(at).caller;
        }
        let place = if name.source == NameSource::Address { data_address(session, &name.text) } else { None };
        data.extend(place.map(|place| (id, place)));
        if (has_changed || place.is_some()) && name.source != NameSource::Global {
            before.insert(id, (name.clone(), lock.class.clone()));
        }
    }
    for (id, (name, _)) in &before {
        let lock = &mut session.locks[id.index()];
        lock.class.clear();
        if name.source != NameSource::User {
            lock.name = None;
        }
    }
    notes.extend(name_locks(session, &|id| data.get(&id).copied(), kept));
    before.iter().filter(|(id, (name, _))| session.lock(**id).name.as_ref() != Some(name)).count()
}

/// A name that is a place in a file's data: `server+0x4010`.
fn data_address(session: &Session, name: &str) -> Option<CodeAddress> {
    let (file, offset) = name.rsplit_once("+0x")?;
    let address = u64::from_str_radix(offset, 16).ok()?;
    let is_it = |module: &Module| module.name().strip_suffix(" (deleted)").unwrap_or(module.name()) == file;
    let module = session.stacks.modules.iter().position(is_it)?;
    Some(CodeAddress { module: Some(ModuleId::from(module)), address })
}
