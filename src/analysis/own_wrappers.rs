//! Functions of the program's own that lock what their callers hand them: `lock_it(&account->lock)`.
//!
//! Such a function says as little about a lock as `pthread_mutex_lock` does, but no list can know its name. It is known
//! by what it did: at one location of the code it took different locks for different callers. Where a stack's innermost
//! own frame is such a function, the place takes one frame more, so that two deadlocks in different functions do not
//! look like one. Locks are told apart by class, and by the source's words for them, not one by one: a method that
//! locks a member of a thousand objects is a place of its own.

use rustc_hash::{FxHashMap, FxHashSet};

use super::places::{Place, own_places, place};
use crate::model::{Kind, Lock, ModuleId, NameSource, Session, StackId};

/// Wrappers in wrappers are followed this far.
const NESTED: usize = 4;

/// A function, or code without a symbol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Function {
    Named(Option<ModuleId>, String),
    Code(Option<ModuleId>, u64),
}

impl Function {
    fn of(module: Option<ModuleId>, place: &Place) -> Self {
        match place {
            Place::Frame(frame) => Self::Named(module, frame.function.clone().unwrap_or_default()),
            Place::Code(module, address) => Self::Code(*module, *address),
            Place::Called(..) | Place::Unknown => Self::Code(module, 0),
        }
    }
}

/// A location in the code: a line, and the address of what is not inlined.
type CodeLocation = (Function, u32, u32, u64);

/// What was taken at a location.
struct Taken<'a> {
    lock: LockKey<'a>,
    caller: Option<(Function, u64, u32)>,
    locks_differ: bool,
    callers_differ: bool,
}

/// What tells locks apart here: class, kind and, where the source names them, its words.
type LockKey<'a> = (&'a str, Kind, &'a str);

fn key(lock: &Lock) -> LockKey<'_> {
    let words = lock.name.as_ref().filter(|name| name.source == NameSource::Source);
    (&lock.class, lock.kind, words.map_or("", |name| &name.text))
}

/// The functions of a session that only pass a lock on.
#[derive(Clone, Debug, Default)]
pub struct OwnWrappers {
    functions: FxHashSet<Function>,
}

impl OwnWrappers {
    /// Finds them.
    pub fn of(session: &Session) -> Self {
        let mut found = Self::default();
        let sites: FxHashSet<(StackId, LockKey<'_>)> = (session.profile.sites.iter())
            .map(|site| (site.key.stack, session.lock(site.key.lock)))
            .filter(|(_, lock)| lock.kind.is_lock())
            .map(|(stack, lock)| (stack, key(lock)))
            .collect();
        for _ in 0..NESTED {
            let before = found.functions.len();
            let more = found.round(session, &sites);
            found.functions.extend(more);
            if found.functions.len() == before {
                break;
            }
        }
        found
    }

    fn round(&self, session: &Session, sites: &FxHashSet<(StackId, LockKey<'_>)>) -> Vec<Function> {
        let mut locations: FxHashMap<CodeLocation, Taken<'_>> = FxHashMap::default();
        for (stack, lock) in sites {
            let mut frames = own_places(session, *stack)
                .skip_while(|(node, place)| self.functions.contains(&Function::of(node.address.module, place)));
            let Some((node, place)) = frames.next() else { continue };
            let function = Function::of(node.address.module, &place);
            let (line, column) = line_of(&place);
            // An inlined function has no call of its own: its line stands for all of its copies.
            let inlined = matches!(&place, Place::Frame(frame) if frame.inlined);
            let location = (function, line, column, if inlined { 0 } else { node.address.address });
            let caller = frames.next().map(|(node, place)| {
                (Function::of(node.address.module, &place), node.address.address, line_of(&place).0)
            });
            match locations.entry(location) {
                std::collections::hash_map::Entry::Occupied(mut entry) => {
                    let taken = entry.get_mut();
                    taken.locks_differ |= taken.lock != *lock;
                    taken.callers_differ |= taken.caller != caller;
                }
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(Taken { lock: *lock, caller, locks_differ: false, callers_differ: false });
                }
            }
        }
        let passes = locations.into_iter().filter(|(_, taken)| taken.locks_differ && taken.callers_differ);
        passes.map(|((function, ..), _)| function).collect()
    }

    /// The frames that a stack's place in the code is made of, innermost first, each with the file that holds its code:
    /// those that only pass a lock on, and their caller. Empty where no stack was seen.
    pub fn frames(&self, session: &Session, stack: StackId) -> Vec<(Option<ModuleId>, Place)> {
        let mut frames = Vec::new();
        for (node, place) in own_places(session, stack) {
            let module = node.address.module;
            let passes = self.functions.contains(&Function::of(module, &place));
            frames.push((module, place));
            if !passes {
                break;
            }
        }
        if frames.is_empty() {
            let module = session.stacks.walk(stack).next().map(|node| node.address.module);
            frames.extend(module.map(|module| (module, place(session, stack))));
        }
        frames
    }

    /// The place in the code that a stack stands for: with its callers, where it only passes a lock on.
    pub fn place(&self, session: &Session, stack: StackId) -> Place {
        let mut places = self.frames(session, stack).into_iter().rev().map(|(_, place)| place);
        let called = |outer, inner| Place::Called(Box::new(inner), Box::new(outer));
        let outermost = places.next();
        outermost.map_or(Place::Unknown, |outermost| places.fold(outermost, called))
    }
}

fn line_of(place: &Place) -> (u32, u32) {
    match place {
        Place::Frame(frame) => (frame.line, frame.column),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::Builder;
    use crate::model::{Frame, Kind, Mode};

    /// Every node of a session built by hand has an address of its own, as inlined copies have.
    fn inline(session: &mut Session) {
        for at in 1..session.stacks.len() {
            let node = session.stacks.node_mut(StackId::from(at));
            let inlined = node.frames.iter().map(|frame| Frame { inlined: true, ..frame.clone() });
            node.frames = inlined.collect::<Vec<_>>().into();
        }
    }

    #[test]
    fn who_locks_for_others_is_known_by_what_it_did() {
        let mut b = Builder::new();
        let thread = b.thread("worker");
        let (one, other) = (b.lock("one", Kind::Mutex), b.lock("other", Kind::Mutex));
        let inner = ("take", "bank.c", 3);
        let pay = b.stack(&[inner, ("pay", "bank.c", 10), ("main", "bank.c", 90)]);
        let refund = b.stack(&[inner, ("refund", "bank.c", 20), ("main", "bank.c", 91)]);
        // One function that takes one lock for all, and one that takes two by itself.
        let log = [("log", "log.c", 1), ("log", "log.c", 2)];
        let logged = b.stack(&[log[0], ("pay", "bank.c", 11)]);
        let logged_again = b.stack(&[log[0], ("refund", "bank.c", 21)]);
        let second = b.stack(&[log[1], ("refund", "bank.c", 21)]);
        for (lock, stack) in
            [(one, pay), (other, refund), (one, logged), (one, logged_again), (other, second), (other, pay)]
        {
            b.take(lock, thread, stack, Mode::Exclusive, 1, 10);
        }
        inline(&mut b.session);
        let found = OwnWrappers::of(&b.session);
        let name = |place: &Place| match place {
            Place::Frame(frame) => frame.function.clone().unwrap_or_default(),
            other => format!("{other:?}"),
        };
        let told = |stack| match found.place(&b.session, stack) {
            Place::Called(inner, outer) => format!("{} by {}", name(&inner), name(&outer)),
            place => name(&place),
        };
        assert_eq!(told(pay), "take by pay");
        assert_eq!(told(refund), "take by refund");
        assert_eq!((told(logged), told(second)), ("log".into(), "log".into()));
    }

    #[test]
    fn wrappers_in_wrappers_are_followed() {
        let mut b = Builder::new();
        let thread = b.thread("worker");
        let locks = [b.lock("one", Kind::Mutex), b.lock("other", Kind::Mutex)];
        let (inner, middle) = (("inner", "bank.c", 3), ("middle", "bank.c", 6));
        let stacks = [("pay", 10), ("refund", 20)]
            .map(|(caller, line)| b.stack(&[inner, middle, (caller, "bank.c", line), ("main", "bank.c", line + 80)]));
        for (lock, stack) in locks.into_iter().zip(stacks) {
            b.take(lock, thread, stack, Mode::Exclusive, 1, 10);
        }
        inline(&mut b.session);
        let found = OwnWrappers::of(&b.session);
        let places = stacks.map(|stack| found.place(&b.session, stack));
        assert!(places.iter().all(|place| matches!(place, Place::Called(..))) && places[0] != places[1]);
    }
}
