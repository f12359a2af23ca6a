//! The slow paths of a program without symbols, by their shape: what is called where a compare-and-swap that takes a lock has
//! failed, or behind what gives one back, and does or is given what only a slow path does or is given.
//!
//! Slow paths of `std` call `futex` themselves, with numbers of their own; those of `parking_lot` are given "no time limit".

use std::collections::HashMap;

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::super::code::{Code, is_atomic};
use super::super::flow::{calls_after, calls_after_failure, constant, immediate};
use super::super::functions::{Function, Functions};
use super::super::image::Image;
use super::super::table::Atomic;
use super::atomics::{asks_for_waiters, changes, in_memory, kind_of};
use super::operations::{COLD_PATHS, Change, ColdPath, NEVER, OPERATIONS, Row};

/// `mov edi, 202`: the number of `futex`, as an argument of `syscall`; and as that of the instruction.
const FUTEX: [&[u8]; 2] = [&[0xbf, 202, 0, 0, 0], &[0xb8, 202, 0, 0, 0]];
/// The operations of `futex` that wait for bits, and that wake, of this process alone: `mov edx, …` and `mov esi, …`.
const WAIT: [&[u8]; 2] = [&[0xba, 0x89, 0, 0, 0], &[0xbe, 0x89, 0, 0, 0]];
const WAKE: [&[u8]; 2] = [&[0xba, 0x81, 0, 0, 0], &[0xbe, 0x81, 0, 0, 0]];
/// A function longer than this is none of these.
const LONGEST: u64 = 4096;
const LONGEST_WAKE: u64 = 64;

/// The slow paths, by address.
pub fn find(image: &Image<'_>, functions: &Functions<'_>) -> HashMap<u64, &'static ColdPath> {
    let mut found: HashMap<u64, &'static ColdPath> = HashMap::new();
    for function in functions.all() {
        let Some(bytes) = image.code(function.start, function.end) else { continue };
        if may_hold_atomics(bytes)
            && let Some(code) = functions.decode(image, function)
        {
            let finder = Finder { image, functions, code: &code };
            finder.look_into(&mut found);
        }
    }
    found
}

/// Whether bytes have a locked `cmpxchg` or `xadd`, or an exchange in front of a comparison with 2.
fn may_hold_atomics(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|bytes| {
        matches!(
            *bytes,
            [0xf0, 0x0f, 0xb0 | 0xb1 | 0xc1, _]
                | [0xf0, 0x40..=0x4f, 0x0f, 0xb0 | 0xb1 | 0xc1]
                | [0x83, 0xf8..=0xff, 2, _]
        )
    })
}

struct Finder<'a, 'data> {
    image: &'a Image<'data>,
    functions: &'a Functions<'data>,
    code: &'a Code,
}

impl Finder<'_, '_> {
    fn look_into(&self, found: &mut HashMap<u64, &'static ColdPath>) {
        for (at, instruction) in self.code.instructions().iter().enumerate() {
            let Some((atomic, width)) = kind_of(instruction).filter(|_| is_atomic(instruction)) else { continue };
            let rows = OPERATIONS.iter().filter(|row| (row.atomic.atomic, row.width) == (atomic, width));
            let fits = |row: &&Row| match atomic {
                Atomic::Exchange => asks_for_waiters(self.code, at),
                _ => row.shape != Change::Any && changes(self.code, at, row.shape, width),
            };
            for row in rows.filter(fits) {
                for call in self.calls(at, atomic) {
                    let target = self.target(&self.code.instructions()[call]);
                    let cold = target.and_then(|target| Some((target, self.cold_path(row, call, target)?)));
                    if let Some((target, cold)) = cold {
                        found.entry(target).or_insert(cold);
                    }
                }
            }
        }
    }

    /// The first calls behind an atomic.
    fn calls(&self, at: usize, atomic: Atomic) -> Vec<usize> {
        let is_known = |position: usize| Some(self.target(&self.code.instructions()[position]).is_some());
        match atomic {
            Atomic::CompareExchange => calls_after_failure(self.code, at, &is_known),
            _ => calls_after(self.code, at, &is_known),
        }
    }

    /// The function that is called, if that can be told of the instruction alone.
    fn target(&self, call: &Instruction) -> Option<u64> {
        let target = match call.flow_control() {
            FlowControl::IndirectCall | FlowControl::IndirectBranch if call.op0_kind() == OpKind::Memory => {
                let word = in_memory(call)?;
                self.image.import(word).is_none().then(|| self.image.word(word))??
            }
            _ if call.op0_kind() == OpKind::NearBranch64 => call.near_branch_target(),
            _ => return None,
        };
        self.functions.at(target).filter(|function| function.start == target).map(|function| function.start)
    }

    /// The slow path of an operation, if what is called there is one.
    fn cold_path(&self, row: &Row, call: usize, target: u64) -> Option<&'static ColdPath> {
        let mut paths = COLD_PATHS.iter().filter(|cold| cold.function == row.cold);
        let cold = paths.next()?;
        if let Some(limit) = cold.limit {
            let register = [Register::RDI, Register::RSI, Register::RDX, Register::RCX][usize::from(limit)];
            return (constant(self.code, call, register) == Some(NEVER)).then_some(cold);
        }
        if cold.crate_name != "std" {
            // `unlock_slow(self, fair)`, and the like: nothing else is called there.
            return Some(cold);
        }
        let function: &Function = self.functions.at(target)?;
        let bytes = self.image.code(function.start, function.end)?;
        let has = |parts: &[&[u8]]| parts.iter().any(|part| bytes.windows(part.len()).any(|window| window == *part));
        let operation = if cold.waits.is_some() { has(&WAIT) } else { has(&WAKE) };
        // Only the wake of a mutex does nothing else.
        let longest = if cold.function == "Mutex::wake" { LONGEST_WAKE } else { LONGEST };
        (function.end - function.start < longest && has(&FUTEX) && operation && self.is_of(cold, function))
            .then_some(cold)
    }

    /// Whether a function of `std` that calls `futex` is this one: what tells the three that wait apart is which bit they set.
    fn is_of(&self, cold: &ColdPath, function: &Function) -> bool {
        const READERS_WAIT: u64 = 1 << 30;
        const WRITERS_WAIT: u64 = 1 << 31;
        let Some(code) = self.functions.decode(self.image, function) else { return false };
        let sets = |bit: u64| {
            let is_or = |instruction: &Instruction| {
                matches!(instruction.mnemonic(), Mnemonic::Or | Mnemonic::Bts)
                    && immediate(instruction).is_some_and(|value| {
                        value & 0xffff_ffff == bit
                            || instruction.mnemonic() == Mnemonic::Bts && 1 << (value & 63) == bit
                    })
            };
            code.instructions().iter().any(is_or)
        };
        match cold.function {
            "Mutex::lock_contended" => !sets(READERS_WAIT) && !sets(WRITERS_WAIT),
            "RwLock::read_contended" => sets(READERS_WAIT),
            "RwLock::write_contended" => sets(WRITERS_WAIT),
            _ => true,
        }
    }
}
