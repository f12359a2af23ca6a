//! Small programs of several threads, run under a random scheduler and recorded through the real [`Fold`].

use crate::analysis::testing::Builder;
use crate::model::order::{Event, Fold, How, What};
use crate::model::{Kind, LockId, Mode, ProcessId, Session, StackId, ThreadId};

/// One step of a thread. Numbers are positions in [`Program::locks`], threads, barriers and semaphores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Lock(usize),
    Read(usize),
    Write(usize),
    Try(usize),
    Timed(usize),
    Unlock(usize),
    Create(usize),
    Join(usize),
    Barrier(usize),
    Post(usize),
    Wait(usize),
    /// Signals a condition that nobody waits for; no effect on the run.
    Signal(usize),
}

/// A program. Thread 0 runs from the start; the others when they are created.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub threads: Vec<Vec<Op>>,
    pub locks: Vec<Kind>,
    /// Read-write locks on which readers wait behind waiting writers.
    pub writers_first: Vec<usize>,
    pub barriers: Vec<u32>,
    pub semaphores: Vec<u32>,
    pub conditions: usize,
}

/// A deterministic source of chance (xorshift*, Vigna 2016).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below.max(1) as u64) as usize
    }

    pub fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// A recorded run.
pub struct Recorded {
    pub session: Session,
    /// Which step of which thread a stack is.
    pub steps: Vec<Option<(usize, usize)>>,
    /// All threads ran to their ends.
    pub finished: bool,
    /// Tries that found the lock taken.
    pub failed: Vec<(usize, usize)>,
}

#[derive(Clone, Debug)]
struct HeldLock {
    lock: usize,
    mode: Mode,
    how: How,
    at_ns: u64,
    step: usize,
    reported: bool,
    position: u32,
}

#[derive(Clone, Debug, Default)]
struct Thread {
    at: usize,
    started: bool,
    ended: bool,
    held: Vec<HeldLock>,
    /// At a barrier since; and whether it may go on.
    arrived: Option<u64>,
    released: bool,
    events: Vec<Event>,
}

/// Chooses the next thread among those that can run.
pub type Schedule<'a> = &'a mut dyn FnMut(&[usize]) -> usize;

struct Run<'a> {
    program: &'a Program,
    threads: Vec<Thread>,
    values: Vec<u32>,
    now: u64,
    failed: Vec<(usize, usize)>,
}

fn step_stack(program: &Program, thread: usize, step: usize) -> StackId {
    let before: usize = program.threads[..thread].iter().map(|ops| ops.len() + 1).sum();
    StackId::from(1 + before + step)
}

/// Runs a program once.
pub fn run(program: &Program, schedule: Schedule<'_>) -> Recorded {
    let mut builder = Builder::new();
    for (thread, ops) in program.threads.iter().enumerate() {
        builder.thread(&format!("t{thread}"));
        for step in 0..=ops.len() {
            let known = builder.bare_stack(0x10_0000 + (thread * 10_000 + step) as u64 * 16);
            let frame = crate::model::Frame {
                function: Some(format!("t{thread}_step{step}")),
                file: Some("program.c".into()),
                line: step as u32 + 1,
                ..Default::default()
            };
            builder.session.stacks.node_mut(known).frames = vec![frame].into();
            assert_eq!(known, step_stack(program, thread, step));
        }
    }
    for (number, kind) in program.locks.iter().enumerate() {
        let lock = builder.lock(&format!("l{number}"), *kind);
        builder.session.locks[lock.index()].traits.writers_first = program.writers_first.contains(&number);
    }
    for thread in 0..program.threads.len() {
        let lock = builder.lock(&format!("end{thread}"), Kind::Join);
        builder.session.locks[lock.index()].address = thread as u64 + 1;
    }
    for at in 0..program.barriers.len() {
        builder.lock(&format!("b{at}"), Kind::Barrier);
    }
    for (at, initial) in program.semaphores.iter().enumerate() {
        let lock = builder.lock(&format!("s{at}"), Kind::Semaphore);
        builder.session.locks[lock.index()].traits.initial = *initial;
    }
    for at in 0..program.conditions {
        builder.lock(&format!("c{at}"), Kind::Condvar);
    }
    let mut run = Run {
        program,
        threads: vec![Thread::default(); program.threads.len()],
        values: program.semaphores.clone(),
        now: 0,
        failed: Vec::new(),
    };
    run.start(0);
    loop {
        let able: Vec<usize> = (0..run.threads.len()).filter(|thread| run.able(*thread)).collect();
        if able.is_empty() {
            break;
        }
        let thread = able[schedule(&able) % able.len()];
        run.step(thread);
    }
    let finished = run.threads.iter().all(|thread| thread.ended || !thread.started);
    run.give_up();
    let mut session = builder.session;
    let mut fold = Fold::default();
    // The collector reads one ring after the other.
    for (number, thread) in run.threads.iter().enumerate().rev() {
        for event in &thread.events {
            fold.apply(&mut session.order, ThreadId::from(number), *event);
        }
        fold.flush(&mut session.order, false);
    }
    fold.flush(&mut session.order, true);
    let mut steps = vec![None];
    for (thread, ops) in program.threads.iter().enumerate() {
        steps.extend((0..=ops.len()).map(|step| Some((thread, step))));
    }
    Recorded { session, steps, finished, failed: run.failed }
}

impl Program {
    /// The lock of kind `Join` that stands for a thread.
    pub fn end_of(&self, thread: usize) -> LockId {
        LockId::from(self.locks.len() + thread)
    }

    fn barrier(&self, barrier: usize) -> LockId {
        LockId::from(self.locks.len() + self.threads.len() + barrier)
    }

    fn semaphore(&self, semaphore: usize) -> LockId {
        LockId::from(self.locks.len() + self.threads.len() + self.barriers.len() + semaphore)
    }

    fn condition(&self, condition: usize) -> LockId {
        self.semaphore(self.semaphores.len() + condition)
    }
}

/// How an operation wants its lock.
pub fn wanted(op: Op) -> Option<(usize, Mode)> {
    match op {
        Op::Lock(lock) | Op::Write(lock) | Op::Try(lock) | Op::Timed(lock) => Some((lock, Mode::Exclusive)),
        Op::Read(lock) => Some((lock, Mode::Shared)),
        _ => None,
    }
}

impl Run<'_> {
    fn tick(&mut self) -> u64 {
        self.now += 10;
        self.now
    }

    fn push(&mut self, thread: usize, at_ns: u64, step: usize, what: What) {
        let stack = step_stack(self.program, thread, step);
        self.threads[thread].events.push(Event { at_ns, stack, what });
    }

    fn start(&mut self, thread: usize) {
        let at_ns = self.tick();
        self.threads[thread].started = true;
        let (key, token) = (thread as u64 + 1, if thread == 0 { 0 } else { thread as u32 });
        self.push(thread, at_ns, 0, What::Started { process: ProcessId(0), key, token });
        self.end_if_done(thread);
    }

    fn end_if_done(&mut self, thread: usize) {
        if self.threads[thread].at == self.program.threads[thread].len() {
            let at_ns = self.tick();
            self.threads[thread].ended = true;
            self.push(thread, at_ns, self.program.threads[thread].len(), What::Ended);
        }
    }

    fn free(&self, lock: usize, mode: Mode) -> bool {
        self.threads
            .iter()
            .flat_map(|thread| &thread.held)
            .filter(|held| held.lock == lock)
            .all(|held| held.mode == Mode::Shared && mode == Mode::Shared)
    }

    fn able(&self, number: usize) -> bool {
        let thread = &self.threads[number];
        if !thread.started || thread.ended {
            return false;
        }
        if thread.arrived.is_some() {
            return thread.released;
        }
        let op = self.program.threads[number][thread.at];
        match op {
            Op::Join(child) => self.threads[child].ended,
            Op::Wait(semaphore) => self.values[semaphore] > 0,
            Op::Try(_) => true,
            _ => wanted(op).is_none_or(|(lock, mode)| self.free(lock, mode)),
        }
    }

    /// Tells what is held and was not reported.
    fn report(&mut self, thread: usize) {
        for at in 0..self.threads[thread].held.len() {
            let held = self.threads[thread].held[at].clone();
            if !held.reported {
                self.threads[thread].held[at].reported = true;
                let HeldLock { lock, mode, how, position, .. } = held;
                let lock = LockId::from(lock);
                let what = What::Acquired { lock, mode, how, reacquired: false, position, restart: false };
                self.push(thread, held.at_ns, held.step, what);
            }
        }
    }

    fn step(&mut self, thread: usize) {
        let step = self.threads[thread].at;
        let op = self.program.threads[thread][step];
        let at_ns = self.tick();
        match op {
            Op::Lock(_) | Op::Read(_) | Op::Write(_) | Op::Try(_) | Op::Timed(_) => {
                let (lock, mode) = wanted(op).expect("an operation that takes a lock");
                if !self.free(lock, mode) {
                    self.failed.push((thread, step));
                } else {
                    let how = match op {
                        Op::Try(_) => How::Try,
                        Op::Timed(_) => How::Timed,
                        _ => How::Block,
                    };
                    let held = &mut self.threads[thread].held;
                    let position = held.last().map_or(0, |last| last.position + 1);
                    held.push(HeldLock { lock, mode, how, at_ns, step, reported: false, position });
                    if held.len() > 1 || how != How::Block {
                        self.report(thread);
                    }
                }
            }
            Op::Unlock(lock) => {
                let held = &mut self.threads[thread].held;
                // Where the try before failed, there is nothing to give back.
                if let Some(at) = held.iter().rposition(|held| held.lock == lock) {
                    let held = held.remove(at);
                    let lock = LockId::from(lock);
                    if held.reported {
                        self.push(thread, at_ns, step, What::Released { position: held.position, lock });
                    } else {
                        let what = What::Section { lock, mode: held.mode, until_ns: at_ns };
                        self.push(thread, held.at_ns, held.step, what);
                    }
                }
            }
            Op::Create(child) => {
                self.report(thread);
                self.push(thread, at_ns, step, What::Created { token: child as u32 });
                self.start(child);
            }
            Op::Join(child) => {
                self.report(thread);
                let lock = self.program.end_of(child);
                self.push(thread, at_ns, step, What::Joined { lock, key: child as u64 + 1, until_ns: at_ns });
            }
            Op::Barrier(barrier) => {
                let count = self.program.barriers[barrier];
                match self.threads[thread].arrived.take() {
                    None => {
                        self.threads[thread].arrived = Some(at_ns);
                        let here = |(number, other): &(usize, &Thread)| {
                            let at = self.program.threads[*number].get(other.at);
                            other.arrived.is_some() && !other.released && at == Some(&op)
                        };
                        let met: Vec<usize> =
                            self.threads.iter().enumerate().filter(here).map(|(number, _)| number).collect();
                        if met.len() == count as usize {
                            met.iter().for_each(|number| self.threads[*number].released = true);
                        }
                        return;
                    }
                    Some(since) => {
                        self.threads[thread].released = false;
                        let lock = self.program.barrier(barrier);
                        self.push(thread, since, step, What::Barrier { lock, count, until_ns: at_ns });
                    }
                }
            }
            Op::Post(semaphore) => {
                self.values[semaphore] += 1;
                let lock = self.program.semaphore(semaphore);
                self.push(thread, at_ns, step, What::Posted { lock });
            }
            Op::Wait(semaphore) => {
                self.values[semaphore] -= 1;
                let lock = self.program.semaphore(semaphore);
                self.push(thread, at_ns, step, What::Taken { lock, until_ns: at_ns });
            }
            Op::Signal(condition) => {
                self.report(thread);
                let lock = self.program.condition(condition);
                self.push(thread, at_ns, step, What::Posted { lock });
            }
        }
        self.threads[thread].at += 1;
        self.end_if_done(thread);
    }

    /// The recording ends: what threads wait for is reported as wanted.
    fn give_up(&mut self) {
        for thread in 0..self.threads.len() {
            if !self.threads[thread].started || self.threads[thread].ended {
                continue;
            }
            let step = self.threads[thread].at;
            let op = self.program.threads[thread][step];
            let at_ns = self.tick();
            self.report(thread);
            let how = if matches!(op, Op::Timed(_)) { How::Timed } else { How::Block };
            let lock = match op {
                Op::Join(child) => Some((self.program.end_of(child), Mode::Exclusive)),
                _ => wanted(op).map(|(lock, mode)| (LockId::from(lock), mode)),
            };
            if let Some((lock, mode)) = lock {
                self.push(thread, at_ns, step, What::Wanted { lock, mode, how });
            }
        }
    }
}
