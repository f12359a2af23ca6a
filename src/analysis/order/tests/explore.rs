//! Every interleaving of a small program: which deadlocks it can really reach.

use std::collections::{BTreeSet, HashSet};

use super::simulate::{Op, Program, wanted};
use crate::model::Mode;

/// A deadlock: which threads wait for each other, and at which of their steps.
pub type Deadlock = Vec<(usize, usize)>;

/// The threads' steps. A thread that waits at a barrier is half a step further.
type State = Vec<u8>;

pub struct Explorer<'a> {
    pub program: &'a Program,
    /// Tries that found the lock taken in the recorded run: they do nothing. All others have to succeed.
    pub failed: &'a [(usize, usize)],
}

/// States that are looked at, at most.
const MOST: usize = 200_000;

impl Explorer<'_> {
    /// All deadlocks that can be reached; `None` where there are too many states.
    pub fn deadlocks(&self) -> Option<BTreeSet<Deadlock>> {
        let mut found = BTreeSet::new();
        let begin: State = vec![0; self.program.threads.len()];
        let mut known: HashSet<State> = HashSet::from([begin.clone()]);
        let mut open = vec![begin];
        while let Some(state) = open.pop() {
            self.cycles(&state, &mut found);
            for thread in 0..state.len() {
                if let Some(next) = self.step(&state, thread)
                    && known.insert(next.clone())
                {
                    open.push(next);
                }
            }
            if known.len() > MOST {
                return None;
            }
        }
        Some(found)
    }

    pub fn op(&self, state: &State, thread: usize) -> Option<Op> {
        self.program.threads[thread].get(usize::from(state[thread] / 2)).copied()
    }

    fn done(&self, state: &State, thread: usize, op: Op) -> bool {
        let at = usize::from(state[thread] / 2);
        self.program.threads[thread][..at].contains(&op)
    }

    fn started(&self, state: &State, thread: usize) -> bool {
        thread == 0 || (0..state.len()).any(|other| self.done(state, other, Op::Create(thread)))
    }

    fn ended(&self, state: &State, thread: usize) -> bool {
        self.started(state, thread) && self.op(state, thread).is_none()
    }

    fn is_nothing(&self, thread: usize, step: usize) -> bool {
        self.failed.contains(&(thread, step))
    }

    /// What a thread holds.
    fn held(&self, state: &State, thread: usize) -> Vec<(usize, Mode)> {
        let mut held: Vec<(usize, Mode)> = Vec::new();
        for (step, op) in self.program.threads[thread][..usize::from(state[thread] / 2)].iter().enumerate() {
            if let Op::Unlock(lock) = op {
                if let Some(at) = held.iter().rposition(|(known, _)| known == lock) {
                    held.remove(at);
                }
            } else if let Some(taken) = wanted(*op).filter(|_| !self.is_nothing(thread, step)) {
                held.push(taken);
            }
        }
        held
    }

    fn holders(&self, state: &State, lock: usize, mode: Mode) -> Vec<usize> {
        let conflicts = |thread: &usize| {
            self.held(state, *thread)
                .iter()
                .any(|(held, how)| *held == lock && (*how, mode) != (Mode::Shared, Mode::Shared))
        };
        (0..state.len()).filter(conflicts).collect()
    }

    fn value(&self, state: &State, semaphore: usize) -> u32 {
        let count = |op: Op| {
            let steps = self.program.threads.iter().zip(state);
            let done = steps.flat_map(|(ops, at)| &ops[..usize::from(at / 2)]);
            done.filter(|done| **done == op).count() as u32
        };
        self.program.semaphores[semaphore] + count(Op::Post(semaphore)) - count(Op::Wait(semaphore))
    }

    /// The state after a thread's next step; `None` where it has to wait.
    pub fn step(&self, state: &State, thread: usize) -> Option<State> {
        if !self.started(state, thread) || state[thread] % 2 == 1 {
            return None;
        }
        let op = self.op(state, thread)?;
        let mut next = state.clone();
        match op {
            Op::Join(child) if !self.ended(state, child) => return None,
            Op::Wait(semaphore) if self.value(state, semaphore) == 0 => return None,
            Op::Barrier(barrier) => {
                next[thread] += 1;
                let here = |other: &usize| next[*other] % 2 == 1 && self.op(&next, *other) == Some(op);
                let met: Vec<usize> = (0..state.len()).filter(here).collect();
                if met.len() == self.program.barriers[barrier] as usize {
                    met.iter().for_each(|other| next[*other] += 1);
                }
                return Some(next);
            }
            _ => {
                if let Some((lock, mode)) = wanted(op)
                    && !self.is_nothing(thread, usize::from(state[thread] / 2))
                    && !self.holders(state, lock, mode).is_empty()
                {
                    return None;
                }
            }
        }
        next[thread] += 2;
        Some(next)
    }

    /// For whom a thread waits, and for what.
    fn waits(&self, state: &State, thread: usize) -> (usize, Vec<usize>) {
        if !self.started(state, thread) || state[thread] % 2 == 1 {
            return (0, Vec::new());
        }
        match self.op(state, thread) {
            Some(Op::Join(child)) if self.started(state, child) && !self.ended(state, child) => {
                (1000 + child, vec![child])
            }
            Some(op @ (Op::Lock(_) | Op::Read(_) | Op::Write(_))) => {
                let (lock, mode) = wanted(op).unwrap_or((0, Mode::Shared));
                (lock, self.holders(state, lock, mode))
            }
            _ => (0, Vec::new()),
        }
    }

    /// The cycles of threads that wait for each other over different locks.
    fn cycles(&self, state: &State, found: &mut BTreeSet<Deadlock>) {
        for start in 0..state.len() {
            let mut path = vec![start];
            self.walk(state, &mut path, &mut Vec::new(), found);
        }
    }

    fn walk(&self, state: &State, path: &mut Vec<usize>, locks: &mut Vec<usize>, found: &mut BTreeSet<Deadlock>) {
        let (lock, holders) = self.waits(state, path[path.len() - 1]);
        if locks.contains(&lock) {
            return;
        }
        locks.push(lock);
        for holder in holders {
            if holder == path[0] && path.len() > 1 {
                let mut deadlock: Deadlock =
                    path.iter().map(|thread| (*thread, usize::from(state[*thread] / 2))).collect();
                deadlock.sort_unstable();
                found.insert(deadlock);
            } else if holder > path[0] && !path.contains(&holder) {
                path.push(holder);
                self.walk(state, path, locks, found);
                path.pop();
            }
        }
        locks.pop();
    }
}
