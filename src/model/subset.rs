//! A small session with one hang, or some locks and stacks, of a large one: to name and show them while the recording
//! goes on.

use rustc_hash::FxHashMap;

use super::hang::{Hang, Rows};
use super::ids::{LockId, ModuleId, ProcessId, StackId, ThreadId};
use super::order::{Misuse, MisuseKind};
use super::session::Session;
use super::stacks::{CodeAddress, Stacks};

/// See the module.
#[derive(Clone, Debug)]
pub struct Subset {
    /// The threads, locks and stacks asked for, and the hang where it was one. Counts are left out.
    pub session: Session,
    /// The locks' rows in the session that it was taken from.
    pub locks: Vec<LockId>,
    /// The same for modules.
    pub modules: Vec<ModuleId>,
    /// The same for nodes of stacks; the first one is the unknown stack.
    pub stacks: Vec<StackId>,
}

impl Subset {
    /// Takes a hang out of a session; all its references point into it.
    pub fn of(session: &Session, hang: &Hang) -> Self {
        let mut picker = Picker::new(session);
        picker.to.session.processes.push(session.process(hang.process).clone());
        let small = hang.moved(&mut picker);
        picker.to.session.hangs.push(small);
        if let Some((thread, lock)) = hang.left_behind()
            && let Some(stack) = session.order.left_behind(thread, lock)
        {
            let (thread, lock, stack) = (picker.thread(thread), picker.lock(lock), picker.stack(stack));
            let misuse = Misuse { kind: MisuseKind::HeldAtThreadExit, lock, stack, holder: stack };
            picker.to.session.order.misused(misuse, thread, 1);
        }
        picker.to
    }

    /// Takes locks, with the stacks that they were first seen by, and other stacks out of a session.
    pub fn of_rows(session: &Session, locks: &[LockId], stacks: &[StackId]) -> Self {
        let mut picker = Picker::new(session);
        picker.to.session.processes.extend(session.processes.first().cloned());
        locks.iter().for_each(|id| {
            picker.lock(*id);
        });
        stacks.iter().for_each(|id| {
            picker.stack(*id);
        });
        picker.to
    }
}

struct Picker<'a> {
    from: &'a Session,
    to: Subset,
    locks: FxHashMap<LockId, LockId>,
    threads: FxHashMap<ThreadId, ThreadId>,
    modules: FxHashMap<ModuleId, ModuleId>,
}

impl Rows for Picker<'_> {
    fn process(&mut self, _: ProcessId) -> ProcessId {
        ProcessId(0)
    }

    fn thread(&mut self, id: ThreadId) -> ThreadId {
        if let Some(known) = self.threads.get(&id) {
            return *known;
        }
        let threads = &mut self.to.session.threads;
        let new = ThreadId::from(threads.len());
        let mut thread = self.from.thread(id).clone();
        thread.process = ProcessId(0);
        threads.push(thread);
        self.threads.insert(id, new);
        new
    }

    fn lock(&mut self, id: LockId) -> LockId {
        if let Some(known) = self.locks.get(&id) {
            return *known;
        }
        let mut lock = self.from.lock(id).clone();
        lock.process = ProcessId(0);
        lock.origin_stack = self.stack(lock.origin_stack);
        let locks = &mut self.to.session.locks;
        let new = LockId::from(locks.len());
        locks.push(lock);
        self.to.locks.push(id);
        self.locks.insert(id, new);
        new
    }

    fn stack(&mut self, id: StackId) -> StackId {
        let mut ids = Vec::new();
        let mut next = id;
        while next != Stacks::UNKNOWN {
            ids.push(next);
            next = self.from.stacks.node(next).caller;
        }
        let mut at = Stacks::UNKNOWN;
        for id in ids.into_iter().rev() {
            let node = self.from.stacks.node(id);
            let module = node.address.module.map(|module| self.module(module));
            at = self.to.session.stacks.intern(at, CodeAddress { module, ..node.address });
            if at.index() == self.to.stacks.len() {
                self.to.stacks.push(id);
            }
            self.to.session.stacks.node_mut(at).frames.clone_from(&node.frames);
        }
        at
    }
}

impl<'a> Picker<'a> {
    fn new(from: &'a Session) -> Self {
        Self {
            from,
            to: Subset {
                session: Session { meta: from.meta.clone(), ..Session::default() },
                locks: Vec::new(),
                modules: Vec::new(),
                stacks: vec![Stacks::UNKNOWN],
            },
            locks: FxHashMap::default(),
            threads: FxHashMap::default(),
            modules: FxHashMap::default(),
        }
    }

    fn module(&mut self, id: ModuleId) -> ModuleId {
        if let Some(known) = self.modules.get(&id) {
            return *known;
        }
        // Rows may be equal (one file, loaded in two ways): each keeps a row of its own.
        let modules = &mut self.to.session.stacks.modules;
        let new = ModuleId::from(modules.len());
        modules.push(self.from.stacks.modules[id.index()].clone());
        self.to.modules.push(id);
        self.modules.insert(id, new);
        new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::arbitrary::arbitrary_session;

    fn names(session: &Session, hang: &Hang) -> Vec<String> {
        let stack = |id: StackId| {
            let nodes = session.stacks.walk(id);
            let node = |node: &super::super::stacks::Node| {
                let module = node.address.module.map(|module| session.stacks.modules[module.index()].clone());
                format!("{module:?} {:x} {:?}", node.address.address, node.frames)
            };
            nodes.map(node).collect::<Vec<_>>().join("\n")
        };
        let lock = |id: LockId| {
            let lock = session.lock(id);
            format!("{:?} {:x} {}", lock.name, lock.address, stack(lock.origin_stack))
        };
        let thread = |id: ThreadId| session.thread(id).tid.to_string();
        hang.waiting()
            .flat_map(|waiting| {
                let held = waiting.held.iter().flat_map(|held| [lock(held.lock), stack(held.stack)]);
                let holders = waiting.holders.iter().map(|id| thread(*id));
                [thread(waiting.thread), lock(waiting.lock), stack(waiting.stack)]
                    .into_iter()
                    .chain(holders)
                    .chain(held)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_subset_says_the_same(session in arbitrary_session()) {
            for hang in &session.hangs {
                let subset = Subset::of(&session, hang);
                let small = &subset.session;
                prop_assert_eq!(names(small, &small.hangs[0]), names(&session, hang));
                prop_assert_eq!(subset.locks.len(), small.locks.len());
                prop_assert_eq!(subset.modules.len(), small.stacks.modules.len());
            }
        }
    }
}
