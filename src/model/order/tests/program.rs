//! Random programs, as the shim would tell of them, and what really happened.

use std::collections::{BTreeMap, BTreeSet};

use super::Plain;
use crate::model::ids::{LockId, ProcessId, StackId, ThreadId};
use crate::model::order::{Event, GuardLock, How, What};
use crate::model::profile::Mode;

/// Locks from here on stand for threads that are joined.
pub const JOINS: u32 = 1000;

/// Knuth's MMIX generator; the low bits are poor.
pub fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

pub enum Told {
    Event(Event),
    /// Something may have been folded.
    Doubt,
}

pub struct Written {
    pub written: u64,
    pub what: Told,
}

/// What is true of a thread that another one created.
pub struct Kinship {
    pub creator: ThreadId,
    pub joined: bool,
    pub guards: BTreeSet<GuardLock>,
}

/// A program that ran.
#[derive(Default)]
pub struct Program {
    pub rings: Vec<Vec<Written>>,
    pub end: u64,
    /// Requests that were folded: what was held, and the sync points before.
    pub folded: Vec<(ThreadId, GuardLock, Vec<GuardLock>, u32)>,
    pub requests: BTreeMap<Plain, u64>,
    pub kin: BTreeMap<ThreadId, Kinship>,
    pub holds: BTreeSet<(ThreadId, LockId, u64, u64)>,
}

#[derive(Clone, Copy)]
struct Held {
    guard: GuardLock,
    at: u64,
    told: bool,
}

#[derive(Default)]
struct Thread {
    /// By position; `None`: given back out of order.
    held: Vec<Option<Held>>,
    key: u64,
    /// Children that were not joined yet, with what was held at their creation.
    children: Vec<(u32, BTreeSet<(GuardLock, u64)>)>,
    sync_points: u32,
    full: bool,
    restart: bool,
    ended: bool,
}

impl Thread {
    fn live(&self) -> Vec<(u32, Held)> {
        self.held.iter().zip(0..).filter_map(|(held, at)| held.map(|held| (at, held))).collect()
    }

    fn guards(&self) -> Vec<GuardLock> {
        self.live().iter().map(|(_, held)| held.guard).collect()
    }

    fn since(&self) -> BTreeSet<(GuardLock, u64)> {
        self.live().iter().map(|(_, held)| (held.guard, held.at)).collect()
    }
}

struct Run {
    program: Program,
    threads: Vec<Thread>,
    now: u64,
}

impl Program {
    /// Some threads and locks. `overload`: how often (of ten) rings are full.
    pub fn random(seed: u64, overload: u64) -> Self {
        let mut random = random(seed);
        let mut run = Run { program: Self::default(), threads: Vec::new(), now: 0 };
        run.start(0);
        for _ in 0..150 {
            let at = random(run.threads.len() as u64) as usize;
            if run.threads[at].ended {
                continue;
            }
            if random(8) == 0 {
                let full = random(10) < overload;
                run.threads[at].full = full;
                if full {
                    run.write(at, run.now, Told::Doubt);
                }
            }
            match random(12) {
                0..=4 if run.threads[at].live().len() < 5 => run.acquire(at, &mut random),
                5..=8 if !run.threads[at].live().is_empty() => run.release(at, &mut random),
                9 if run.threads.len() < 7 => run.create(at),
                10 => run.join(at, &mut random),
                11 if at > 0 && random(3) == 0 => run.end(at),
                _ => {}
            }
        }
        for at in (0..run.threads.len()).rev() {
            run.end(at);
        }
        run.program.end = run.now;
        run.program
    }
}

impl Run {
    fn tick(&mut self) -> u64 {
        self.now += 10;
        self.now
    }

    fn write(&mut self, at: usize, written: u64, what: Told) {
        self.program.rings[at].push(Written { written, what });
    }

    fn tell(&mut self, at: usize, at_ns: u64, stack: StackId, what: What) {
        let written = self.now;
        self.write(at, written, Told::Event(Event { at_ns, stack, what }));
    }

    fn start(&mut self, token: u32) {
        let now = self.tick();
        let at = self.threads.len();
        let taken: Vec<_> = (self.program.kin.iter())
            .filter(|(_, kin)| !kin.joined)
            .map(|(thread, _)| self.threads.get(thread.index()).map_or(0, |thread| thread.key))
            .collect();
        let key = (1..).find(|key| !taken.contains(key)).unwrap();
        self.threads.push(Thread { key, ..Thread::default() });
        self.program.rings.push(Vec::new());
        self.tell(at, now, StackId(0), What::Started { process: ProcessId(0), key, token });
    }

    fn acquire(&mut self, at: usize, random: &mut impl FnMut(u64) -> u64) {
        let lock = LockId(random(6) as u32);
        if self.threads[at].guards().iter().any(|guard| guard.lock == lock) {
            return;
        }
        let now = self.tick();
        let mode = if random(3) == 0 { Mode::Shared } else { Mode::Exclusive };
        let guard = GuardLock { lock, mode, stack: StackId(1 + random(3) as u32) };
        let (thread, held) = (ThreadId(at as u32), self.threads[at].guards());
        self.threads[at].held.push(Some(Held { guard, at: now, told: false }));
        if held.is_empty() {
            return;
        }
        let plain = (thread, lock, mode, How::Block, guard.stack, held.clone());
        *self.program.requests.entry(plain).or_default() += 1;
        if self.threads[at].full {
            self.program.folded.push((thread, guard, held, self.threads[at].sync_points));
            return;
        }
        let anew = self.threads[at].restart;
        for (position, held) in self.threads[at].live() {
            if held.told && !anew {
                continue;
            }
            let GuardLock { lock, mode, stack } = held.guard;
            let restart = std::mem::take(&mut self.threads[at].restart);
            let what = What::Acquired { lock, mode, how: How::Block, reacquired: false, position, restart };
            self.tell(at, held.at, stack, what);
            self.threads[at].held[position as usize] = Some(Held { told: true, ..held });
        }
    }

    fn release(&mut self, at: usize, random: &mut impl FnMut(u64) -> u64) {
        let now = self.tick();
        let live = self.threads[at].live();
        let (position, held) = live[random(live.len() as u64) as usize];
        let GuardLock { lock, mode, stack } = held.guard;
        self.program.holds.insert((ThreadId(at as u32), lock, held.at, now));
        let thread = &mut self.threads[at];
        thread.held[position as usize] = None;
        while thread.held.pop_if(|last| last.is_none()).is_some() {}
        match (thread.full, held.told) {
            (true, told) => thread.restart |= told,
            (false, true) => self.tell(at, now, stack, What::Released { position, lock }),
            (false, false) => self.tell(at, held.at, stack, What::Section { lock, mode, until_ns: now }),
        }
    }

    fn create(&mut self, at: usize) {
        let now = self.tick();
        let child = self.threads.len() as u32;
        let creator = ThreadId(at as u32);
        self.tell(at, now, StackId(4), What::Created { token: child });
        let since = self.threads[at].since();
        self.threads[at].sync_points += 1;
        self.threads[at].children.push((child, since));
        self.start(child);
        self.program.kin.insert(ThreadId(child), Kinship { creator, joined: false, guards: BTreeSet::new() });
    }

    fn join(&mut self, at: usize, random: &mut impl FnMut(u64) -> u64) {
        let children = &self.threads[at].children;
        let ended: Vec<_> = (0..children.len()).filter(|at| self.threads[children[*at].0 as usize].ended).collect();
        if ended.is_empty() {
            return;
        }
        let which = ended[random(ended.len() as u64) as usize];
        let (child, since) = self.threads[at].children.remove(which);
        let began = self.tick();
        let until_ns = self.tick();
        let (thread, lock, key) = (ThreadId(at as u32), LockId(JOINS + child), self.threads[child as usize].key);
        self.tell(at, began, StackId(5), What::Joined { lock, key, until_ns });
        self.threads[at].sync_points += 1;
        let held = self.threads[at].guards();
        if !held.is_empty() {
            let plain = (thread, lock, Mode::Exclusive, How::Block, StackId(5), held);
            *self.program.requests.entry(plain).or_default() += 1;
        }
        let still = self.threads[at].since();
        let kin = self.program.kin.get_mut(&ThreadId(child)).unwrap();
        kin.joined = true;
        kin.guards = since.intersection(&still).map(|(guard, _)| *guard).collect();
    }

    fn end(&mut self, at: usize) {
        if self.threads[at].ended {
            return;
        }
        self.threads[at].full = false;
        while !self.threads[at].live().is_empty() {
            self.release(at, &mut |_| 0);
        }
        let now = self.tick();
        self.tell(at, now, StackId(0), What::Ended);
        self.threads[at].ended = true;
    }
}
