//! Which locks a thread gives back when it goes on: many locks do not say who has them, but the code of whoever has one does.
//!
//! The instructions that a thread goes on with are followed from frame to frame, both ways of each branch, with what registers
//! and memory hold. An atomic instruction on a lock's word that gives it back, or a call of libc's function for that, tells
//! that the thread has the lock, unless it takes it before on the same way. Nothing is executed; what is not known stays so.

use std::cell::RefCell;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use rustc_hash::{FxHashMap, FxHashSet};

use super::files::Files;
use super::machine::{Machine, RDI, RSP, State, clobber, of_frame};
use super::memory::Memory;
use super::plt::jumped;
use super::unwind::Frame;
use super::waits::plain;

/// Instructions that are followed of all threads, and the least and the most of one.
const STEPS: usize = 400_000;
const LEAST_STEPS: usize = 8_000;
const MOST_STEPS: usize = 80_000;
/// Of them, those of one call.
const MOST_OF_CALL: usize = 2_000;
/// Calls within calls.
const DEEPEST: usize = 12;
/// Ways out of a table of jumps.
const MOST_CASES: u64 = 8;

/// Follows threads.
pub struct Future<'a> {
    files: &'a Files<'a>,
    machine: Machine<'a>,
    code: RefCell<FxHashMap<u64, Instruction>>,
    /// For one thread.
    steps: usize,
}

/// How a thread goes on.
pub struct Start<'f> {
    /// Its frames, from the first one whose code is followed.
    pub frames: &'f [Frame],
    /// Whether it takes a lock first that is not known: the mutex of a condition.
    pub takes_one: bool,
    /// Whether the code is Go's: a called function keeps no register.
    pub is_go: bool,
}

impl<'a> Future<'a> {
    /// For so many threads.
    pub fn new(files: &'a Files<'a>, memory: &'a Memory<'a>, threads: usize) -> Self {
        let steps = (STEPS / threads.max(1)).clamp(LEAST_STEPS, MOST_STEPS);
        Self { files, machine: Machine { memory }, code: RefCell::default(), steps }
    }

    /// Which of these words of locks are given back, and how often. `wanted`: with the number that is enough.
    pub fn given_back(&self, start: &Start<'_>, wanted: &FxHashMap<u64, u32>) -> FxHashMap<u64, u32> {
        let mut found: FxHashMap<u64, u32> = FxHashMap::default();
        let Some(first) = start.frames.first() else { return found };
        let mut state = State { unknown: start.takes_one.into(), ..State::default() };
        state.registers = of_frame(&first.registers);
        let mut open = vec![(first.registers.pc(), state)];
        let mut seen = FxHashSet::default();
        let mut steps = 0;
        while let Some((mut pc, mut state)) = open.pop() {
            // Ways that come together are followed once.
            let mut is_new = seen.insert((pc, state.identity()));
            while is_new {
                steps += 1;
                let is_long = steps > self.steps || !state.calls.is_empty() && steps - state.entered > MOST_OF_CALL;
                let Some(instruction) = self.instruction(pc).filter(|_| !is_long) else { break };
                let next = instruction.next_ip();
                let to = match instruction.flow_control() {
                    FlowControl::Next => {
                        self.machine.execute(&instruction, &mut state);
                        pc = next;
                        continue;
                    }
                    FlowControl::ConditionalBranch => {
                        open.push((instruction.near_branch_target(), state.clone()));
                        Some(next)
                    }
                    FlowControl::UnconditionalBranch => Some(instruction.near_branch_target()),
                    FlowControl::IndirectBranch => {
                        let to = self.machine.operand(&instruction, 0, &state);
                        if to.is_none() {
                            open.extend(self.cases(pc, &state).map(|to| (to, state.clone())));
                        }
                        to
                    }
                    FlowControl::Call | FlowControl::IndirectCall => {
                        self.call(&instruction, &mut state, start.is_go).inspect(|to| {
                            if *to != next {
                                // Where it takes too long to come back, it is left out.
                                let mut around = state.clone();
                                around.leave();
                                clobber(&mut around, start.is_go);
                                open.push((next, around));
                                state.entered = steps;
                            }
                        })
                    }
                    FlowControl::Return => state.leave().or_else(|| {
                        state.frame += 1;
                        let frame = start.frames.get(state.frame)?;
                        state.registers = of_frame(&frame.registers);
                        Some(frame.registers.pc())
                    }),
                    _ => None,
                };
                let Some(to) = to else { break };
                is_new = seen.insert((to, state.identity()));
                pc = to;
            }
            for (lock, (_, given)) in state.locks.iter().filter(|(lock, row)| row.1 > 0 && wanted.contains_key(*lock)) {
                let most: &mut u32 = found.entry(*lock).or_default();
                *most = (*most).max(*given);
            }
            let is_enough = |(lock, enough): (&u64, &u32)| found.get(lock).is_some_and(|given| given >= enough);
            if wanted.iter().all(is_enough) {
                break;
            }
        }
        found
    }

    fn instruction(&self, pc: u64) -> Option<Instruction> {
        if let Some(known) = self.code.borrow().get(&pc) {
            return Some(*known);
        }
        let mut bytes = [0; 15];
        if self.machine.memory.read(pc, &mut bytes).is_none() {
            self.machine.memory.read(pc, &mut bytes[..1])?;
        }
        let instruction = Decoder::with_ip(64, &bytes, pc, DecoderOptions::NONE).decode();
        if instruction.is_invalid() {
            return None;
        }
        self.code.borrow_mut().insert(pc, instruction);
        Some(instruction)
    }

    /// A call: where the way goes on. libc's functions are known by their names, others are entered.
    fn call(&self, instruction: &Instruction, state: &mut State, is_go: bool) -> Option<u64> {
        let next = instruction.next_ip();
        let to = match instruction.flow_control() {
            FlowControl::Call => Some(instruction.near_branch_target()),
            _ => self.machine.operand(instruction, 0, state),
        };
        let to = to.map(|to| jumped(to, self.machine.memory).unwrap_or(to));
        let name = match to {
            Some(to) if is_go => self.files.go_function(to),
            Some(to) => self.files.function(to),
            None => None,
        };
        let name = name.unwrap_or_default();
        let first = state.registers[RDI];
        match (deed(name), first) {
            (Some(Deed::Takes), Some(lock)) => state.taken(lock),
            (Some(Deed::Gives), Some(lock)) => state.given(lock),
            (Some(Deed::Ends), _) => return None,
            _ => {}
        }
        let is_entered = deed(name).is_none()
            && state.calls.len() < DEEPEST
            && !name.starts_with("runtime.")
            && to.is_some_and(|to| self.files.at(to).is_some_and(|file| !file.is_libc()));
        if is_entered {
            let sp = state.registers[RSP]?.wrapping_sub(8);
            state.registers[RSP] = Some(sp);
            state.written.insert(sp, Some(next));
            state.calls.push(next);
            return to;
        }
        clobber(state, is_go);
        Some(next)
    }

    /// The ways out of a jump by a table, of distances from it.
    fn cases(&self, pc: u64, state: &State) -> impl Iterator<Item = u64> {
        const NEAR: u64 = 1 << 16;
        let table = state.table.unwrap_or(0);
        let case = |number: u64| {
            let distance = self.machine.memory.half(table.wrapping_add(4 * number))? as i32;
            let to = table.wrapping_add_signed(distance.into());
            (table != 0 && to.abs_diff(pc) < NEAR).then_some(to)
        };
        (0..MOST_CASES).map_while(case).collect::<Vec<_>>().into_iter()
    }
}

/// What a library's function does to the lock that is its first argument.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Takes,
    Gives,
    /// It does not come back.
    Ends,
    Nothing,
}

/// Parts of names of functions that do not come back, or are on the way to the end only: Rust's, Go's, C++'s.
const ENDS: [&str; 15] = [
    "panic_const",
    "9panicking5panic",
    "9panicking9panic_",
    "panic_fmt",
    "panic_bounds",
    "panic_nounwind",
    "assert_failed",
    "unwrap_failed",
    "expect_failed",
    "handle_alloc_error",
    "runtime.gopanic",
    "runtime.panic",
    "runtime.throw",
    "runtime.fatal",
    "throw_system_error",
];

fn deed(symbol: &str) -> Option<Deed> {
    let name = plain(symbol);
    Some(match name {
        "pthread_mutex_lock"
        | "pthread_mutex_trylock"
        | "pthread_rwlock_rdlock"
        | "pthread_rwlock_wrlock"
        | "pthread_spin_lock"
        | "pthread_mutex_timedlock"
        | "mtx_lock"
        | "sem_wait"
        | "new_sem_wait"
        | "pthread_spin_trylock"
        | "pthread_rwlock_tryrdlock"
        | "pthread_rwlock_trywrlock" => Deed::Takes,
        "pthread_mutex_unlock"
        | "pthread_rwlock_unlock"
        | "pthread_spin_unlock"
        | "mtx_unlock"
        | "sem_post"
        | "new_sem_post"
        | "pthread_mutex_unlock_usercnt" => Deed::Gives,
        "pthread_exit" | "exit" | "abort" | "stack_chk_fail" | "cxa_throw" | "Unwind_Resume" => Deed::Ends,
        _ if name.starts_with("pthread_") => Deed::Nothing,
        _ if ENDS.iter().any(|part| name.contains(part)) => Deed::Ends,
        _ => return None,
    })
}
