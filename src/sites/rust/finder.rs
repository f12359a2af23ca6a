//! Finds the lock operations of a Rust program: each atomic from which a way of a few instructions leads to the slow path of
//! an operation is that operation.
//!
//! The finder checks itself: every call of a slow path has to be reached from an atomic. What only tries to take a lock has no
//! slow path; it is found by what it does to the word, and is no proof that the word is a lock's.
//!
//! Longer than other files: all ways from an atomic to its call are followed over one state, which would have to be shared.

use std::collections::{HashMap, HashSet};

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::super::code::{Code, is_atomic};
use super::super::flow::{calls_after, calls_after_failure, constant, definitions, immediate};
use super::super::functions::{Function, Functions};
use super::super::image::Image;
use super::super::table::Atomic;
use super::atomics::{asks_for_waiters, changes, in_memory, kind_of};
use super::names::{Known, known, path};
use super::operations::{Change, DOWNGRADE, NEVER, OPERATIONS, Row, TRIES, UPDATE};
use super::search::{Sieve, in_parts};
use super::shapes;
use super::sites::{ColdCall, Proof, Site, Sites, SlowPath};

/// The number of `futex` among the system calls.
pub(super) const FUTEX: u64 = 202;
/// Its operation that wakes threads of this process.
const WAKE_PRIVATE: u64 = 0x81;
/// The bytes of a lock prefix and of `xchg`.
const LOCK: u8 = 0xf0;
const EXCHANGE: u8 = 0x87;
/// Within so many bytes behind it the comparison comes.
const REACH_OF_EXCHANGE: usize = 24;
/// Slow paths with a time limit, which is worked out by other calls before. They always follow their compare-and-swap.
const TIMED: [&str; 2] = ["RawMutex::lock_slow", "RawRwLock::lock_exclusive_slow"];

impl Sites {
    /// Finds them.
    pub fn find(image: &Image<'_>, functions: &Functions<'_>) -> Self {
        let mut finder = Finder::new(image, functions);
        let mut found = finder.find_all();
        if finder.drop_strangers(&found) {
            found = finder.find_all();
        }
        found
    }
}

struct Finder<'data, 'index> {
    image: &'index Image<'data>,
    functions: &'index Functions<'data>,
    /// The functions that mean something, by address.
    known: HashMap<u64, Known>,
    /// Words that hold the address of such a function, filled by the loader.
    imported: HashMap<u64, Known>,
    /// Slow paths that were told by their shape.
    by_shape: HashSet<u64>,
    /// The addresses of slow paths and of atomics that are called, and of the words that hold such an address; sorted.
    of_interest: Vec<u64>,
    /// The same, roughly: nearly every call is of none of them.
    may_be: Sieve,
}

/// One function while it is looked into.
pub(super) struct Body<'a> {
    pub(super) code: &'a Code,
    /// What is called at a position, if it means something.
    pub(super) calls: HashMap<usize, Known>,
}

impl<'data, 'index> Finder<'data, 'index> {
    fn new(image: &'index Image<'data>, functions: &'index Functions<'data>) -> Self {
        let of_name = |(address, name): &(u64, &str)| Some((*address, known(name)?));
        let mut known: HashMap<u64, Known> = functions.names().iter().filter_map(of_name).collect();
        let imported: HashMap<u64, Known> = image.imports().iter().filter_map(of_name).collect();
        let mut by_shape = HashSet::new();
        if functions.names().is_empty() && is_of_rust(image) {
            for (address, cold) in shapes::find(image, functions) {
                by_shape.insert(address);
                known.insert(address, Known::Cold(cold));
            }
        }
        let counts = |(address, known): (&u64, &Known)| {
            matches!(known, Known::Cold(_) | Known::Atomic(_) | Known::Update).then_some(*address)
        };
        let mut of_interest: Vec<u64> = known.iter().filter_map(counts).collect();
        let words = image.words_that_hold_one_of(&of_interest);
        of_interest.extend(words.into_iter().chain(imported.iter().filter_map(counts)));
        of_interest.sort_unstable();
        let may_be = Sieve::new(&of_interest);
        Self { image, functions, known, imported, by_shape, of_interest, may_be }
    }

    fn find_all(&self) -> Sites {
        let mut found = Sites::default();
        if self.has_slow_paths() {
            let may_hold = |function: &&Function| {
                let code = self.image.code(function.start, function.end);
                // Whoever waits there is woken by an exchange in it.
                let is_known = matches!(self.known.get(&function.start), Some(Known::Blocks(_)));
                is_known && code.is_some() || code.is_some_and(|code| self.may_hold_operations(code, function.start))
            };
            let look = |functions: &[Function]| {
                let mut found = Sites::default();
                functions.iter().filter(may_hold).for_each(|function| self.look_into(function, &mut found));
                found
            };
            for part in in_parts(self.functions.all(), &look) {
                found.sites.extend(part.sites);
                found.tries.extend(part.tries);
                found.cold_calls.extend(part.cold_calls);
                found.doubts.extend(part.doubts);
                found.other_waits.extend(part.other_waits);
            }
        }
        found.cold_calls.sort_by_key(|call| call.address);
        let reached: HashSet<u64> = found.sites.iter().flat_map(|site| site.cold_calls.iter().copied()).collect();
        for call in &mut found.cold_calls {
            call.reached = reached.contains(&call.address);
        }
        let slow = |(address, known): (&u64, &Known)| match known {
            Known::Cold(cold) | Known::Blocks(cold) => Some(SlowPath { function: *address, cold }),
            _ => None,
        };
        found.slow_paths = self.known.iter().filter_map(slow).collect();
        found.slow_paths.sort_by_key(|slow| slow.function);
        found.by_shape = !self.by_shape.is_empty();
        found
    }

    /// What was taken for a slow path by its shape, and is called from elsewhere too, is none. Whether there was such a one.
    fn drop_strangers(&mut self, found: &Sites) -> bool {
        let mut calls: HashMap<u64, (usize, usize)> = HashMap::new();
        for call in &found.cold_calls {
            let (reached, of) = calls.entry(call.target).or_default();
            (*reached, *of) = (*reached + usize::from(call.reached), *of + 1);
        }
        if self.by_shape.is_empty() {
            return false;
        }
        let before = self.by_shape.len();
        self.by_shape.retain(|address| calls.get(address).is_some_and(|(reached, of)| 4 * reached >= 3 * of));
        let by_shape = &self.by_shape;
        if before > by_shape.len() {
            self.known.retain(|address, known| !matches!(known, Known::Cold(_)) || by_shape.contains(address));
        }
        before > self.by_shape.len()
    }

    fn has_slow_paths(&self) -> bool {
        self.known.values().chain(self.imported.values()).any(|known| matches!(known, Known::Cold(_)))
    }

    /// Whether a function's bytes have something that may be an atomic of an operation, or refer to a function that means
    /// something. Bytes within instructions may look like it; then a function is decoded for nothing.
    fn may_hold_operations(&self, code: &[u8], start: u64) -> bool {
        let refers = |behind: usize, distance: &[u8]| {
            let distance = distance.try_into().map(i32::from_le_bytes).unwrap_or_default();
            (start + behind as u64).wrapping_add_signed(distance.into())
        };
        code.windows(6).enumerate().any(|(at, bytes)| match *bytes {
            // A lock prefix, perhaps one for registers, and the two bytes of `cmpxchg` or `xadd`.
            [LOCK, 0x0f, 0xb0 | 0xb1 | 0xc0 | 0xc1, ..] | [LOCK, 0x40..=0x4f, 0x0f, 0xb0 | 0xb1 | 0xc0 | 0xc1, ..] => {
                true
            }
            // The same with `dec`, and with `add` and `sub` of a number.
            [LOCK, 0xff | 0x83, ..] | [LOCK, 0x40..=0x4f, 0xff | 0x83, ..] => true,
            // `cmp r, 2` or `cmp r, -1`, behind an exchange.
            [0x83, 0xf8..=0xff, 2 | 0xff, ..] => code[at.saturating_sub(REACH_OF_EXCHANGE)..at].contains(&EXCHANGE),
            // A call or a jump; one through a word; the address of a function or the word taken.
            [0xe8 | 0xe9, ..] => self.is_of_interest(refers(at + 5, &bytes[1..5])),
            [0xff, 0x15 | 0x25, ..] => self.is_of_interest(refers(at + 6, &bytes[2..6])),
            [0x8b | 0x8d, mode, ..] if mode & 0xc7 == 0x05 => self.is_of_interest(refers(at + 6, &bytes[2..6])),
            _ => false,
        })
    }

    fn is_of_interest(&self, address: u64) -> bool {
        self.may_be.has(address) && self.of_interest.binary_search(&address).is_ok()
    }

    fn look_into(&self, function: &Function, found: &mut Sites) {
        // What a slow path does is part of the operation.
        if matches!(self.known.get(&function.start), Some(Known::Cold(_) | Known::Atomic(_))) {
            return;
        }
        let Some(code) = self.functions.decode(self.image, function) else { return };
        let body = Body { calls: self.calls(&code), code: &code };
        for (at, known) in &body.calls {
            if let Known::Cold(cold) = known {
                let address = code.instructions()[*at].ip();
                let is_limited = cold.limit.is_some_and(|limit| {
                    let register = [Register::RDI, Register::RSI, Register::RDX, Register::RCX][usize::from(limit)];
                    constant(&code, *at, register) != Some(NEVER)
                });
                let function = function.start;
                let target = self.target(&code, *at).unwrap_or(0);
                found.cold_calls.push(ColdCall { address, function, cold, target, is_limited, reached: false });
            }
        }
        // libc's own locks may look the same.
        let mut names = self.functions.names_at(function.start).peekable();
        let may_try = names.peek().is_none() || names.any(|name| path(name).is_some());
        let parks = body.parks();
        let initialises = match self.known.get(&function.start) {
            Some(Known::Blocks(cold)) if cold.function.starts_with("Once::") => Some(*cold),
            _ => None,
        };
        if parks.is_empty() && !matches!(self.known.get(&function.start), Some(Known::Blocks(_))) {
            found.other_waits.extend(
                (0..code.instructions().len()).any(|at| body.waits_for(at).is_some()).then_some(function.start),
            );
        }
        for (at, instruction) in code.instructions().iter().enumerate() {
            let site = |(row, proof, calls): (&'static Row, Proof, Vec<usize>)| Site {
                address: instruction.ip(),
                function: function.start,
                row,
                proof,
                cold_calls: calls.iter().map(|call| code.instructions()[*call].ip()).collect(),
            };
            if let Some(row) = body.parking(at, &parks, initialises.is_some()) {
                let proof = if is_atomic(instruction) { Proof::Change } else { Proof::CalledChange };
                found.sites.push(site((row, proof, Vec::new())));
            } else if is_atomic(instruction) {
                match body.operation(at) {
                    Some(operation) => found.sites.push(site(operation)),
                    None if body.downgrades(at) => found.sites.push(site((&DOWNGRADE, Proof::Change, Vec::new()))),
                    None if may_try && asks_for_waiters(body.code, at) => found.doubts.push(instruction.ip()),
                    None if may_try => {
                        found.tries.extend(body.attempt(at).map(|row| site((row, Proof::Change, Vec::new()))))
                    }
                    None => {}
                }
            } else if let Some(Known::Atomic(atomic)) = body.calls.get(&at) {
                let tries = *atomic == Atomic::CompareExchange;
                match body.called_operation(at, *atomic) {
                    Some(operation) => found.sites.push(site(operation)),
                    None if *atomic == Atomic::ExchangeAdd && body.is_called_by(at, DOWNGRADE.change) => {
                        found.sites.push(site((&DOWNGRADE, Proof::CalledChange, Vec::new())));
                    }
                    None if tries && self.known.get(&function.start) == Some(&Known::Update) => {
                        found.tries.push(site((&UPDATE, Proof::Update, Vec::new())));
                    }
                    None if tries => found
                        .tries
                        .extend(body.called_attempt(at).map(|row| site((row, Proof::CalledChange, Vec::new())))),
                    None => {}
                }
            }
        }
    }

    /// The calls, and jumps out of the function, of functions that mean something.
    fn calls(&self, code: &Code) -> HashMap<usize, Known> {
        let mut calls = HashMap::new();
        for (at, instruction) in code.instructions().iter().enumerate() {
            let known = match instruction.flow_control() {
                FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
                    if instruction.op0_kind() == OpKind::NearBranch64 =>
                {
                    let target = instruction.near_branch_target();
                    let is_inside = code.position(target).is_some();
                    if is_inside { None } else { self.at(target) }
                }
                FlowControl::IndirectCall | FlowControl::IndirectBranch => self.through(code, at),
                _ => None,
            };
            calls.extend(known.map(|known| (at, known)));
        }
        calls
    }

    /// What is at an address: a function, or a stub that jumps to one through a word.
    fn at(&self, address: u64) -> Option<Known> {
        if let Some(known) = self.known.get(&address) {
            return Some(*known);
        }
        if self.imported.is_empty() || self.functions.names_at(address).next().is_some() {
            return None;
        }
        let stub = Code::decode(self.image.bytes(address, 16)?, address);
        let jump =
            stub.instructions().iter().take(2).find(|stub| stub.flow_control() == FlowControl::IndirectBranch)?;
        jump.is_ip_rel_memory_operand().then(|| self.in_word(jump.ip_rel_memory_address()))?
    }

    fn in_word(&self, address: u64) -> Option<Known> {
        self.imported.get(&address).or_else(|| self.known.get(&self.image.word(address)?)).copied()
    }

    /// The address in this file that is called, if the instruction or the word that it names has it.
    fn target(&self, code: &Code, at: usize) -> Option<u64> {
        let instruction = &code.instructions()[at];
        match instruction.op0_kind() {
            OpKind::NearBranch64 => Some(instruction.near_branch_target()),
            OpKind::Memory => self.image.word(in_memory(instruction)?),
            OpKind::Register => {
                let register = instruction.op0_register().full_register();
                let load = &code.instructions()[*definitions(code, at, register)?.first()?];
                match load.mnemonic() {
                    Mnemonic::Mov if load.op1_kind() == OpKind::Memory => self.image.word(in_memory(load)?),
                    Mnemonic::Lea => Some(load.ip_rel_memory_address()),
                    _ => immediate(load),
                }
            }
            _ => None,
        }
    }

    /// What is called through a word or a register.
    fn through(&self, code: &Code, at: usize) -> Option<Known> {
        let instruction = &code.instructions()[at];
        match instruction.op0_kind() {
            OpKind::Memory => in_memory(instruction).and_then(|word| self.in_word(word)),
            OpKind::Register => {
                let register = instruction.op0_register().full_register();
                let mut values =
                    definitions(code, at, register)?.into_iter().map(|at| self.loaded(&code.instructions()[at]));
                let first = values.next()??;
                values.all(|value| value == Some(first)).then_some(first)
            }
            _ => None,
        }
    }

    /// The function whose address an instruction loads.
    fn loaded(&self, load: &Instruction) -> Option<Known> {
        match load.mnemonic() {
            Mnemonic::Mov if load.op1_kind() == OpKind::Memory => self.in_word(in_memory(load)?),
            Mnemonic::Mov => self.at(immediate(load)?),
            Mnemonic::Lea if load.is_ip_rel_memory_operand() => self.at(load.ip_rel_memory_address()),
            _ => None,
        }
    }
}

/// Whether a file without symbols is of Rust: the paths of `std`'s sources are in its messages.
fn is_of_rust(image: &Image<'_>) -> bool {
    const SOURCES: &[u8] = b"library/std/src/";
    let read_only = image.segments().iter().filter(|part| !part.writable && !part.executable);
    read_only.into_iter().any(|part| part.data.windows(SOURCES.len()).any(|bytes| bytes == SOURCES))
}

impl Body<'_> {
    /// The operation that the atomic at a position is, with the call of its slow path.
    fn operation(&self, at: usize) -> Option<(&'static Row, Proof, Vec<usize>)> {
        let instruction = &self.code.instructions()[at];
        let (atomic, width) = kind_of(instruction)?;
        let is_row = |row: &&Row| row.atomic.atomic == atomic && row.width == width;
        let wanted = |position: usize| match self.calls.get(&position) {
            Some(Known::Cold(cold)) => Some(OPERATIONS.iter().filter(is_row).any(|row| row.cold == cold.function)),
            Some(Known::Result) => None,
            _ => Some(false),
        };
        let mut calls = match atomic {
            Atomic::CompareExchange => calls_after_failure(self.code, at, &wanted),
            _ => calls_after(self.code, at, &wanted),
        };
        if calls.is_empty() && atomic == Atomic::CompareExchange {
            calls = calls_after_failure(self.code, at, &|position| match self.calls.get(&position) {
                Some(Known::Cold(cold)) => {
                    let of_row = OPERATIONS.iter().filter(is_row).any(|row| row.cold == cold.function);
                    Some(of_row && TIMED.contains(&cold.function))
                }
                _ => None,
            });
        }
        if calls.is_empty() {
            let (row, calls) = self.inlined_wake(at, atomic, width)?;
            return Some((row, Proof::InlinedWake, calls));
        }
        let row = self.row_of(&calls, &|row| {
            let is_sure = row.change == Change::Any || changes(self.code, at, row.change, width);
            // A try whose way leads on to another lock's slow path is no more than that.
            (is_row(&row) && (is_sure || self.attempt(at).is_none())).then_some(is_sure)
        })?;
        calls.retain(|call| self.cold_at(*call) == Some(row.cold));
        Some((row, Proof::ColdCall, calls))
    }

    /// An unlock of `std`'s mutex whose wake was inlined: `xchg; cmp 2; je` to a call of `futex`.
    fn inlined_wake(&self, at: usize, atomic: Atomic, width: usize) -> Option<(&'static Row, Vec<usize>)> {
        (atomic == Atomic::Exchange && width == 4 && asks_for_waiters(self.code, at)).then_some(())?;
        let is_futex = |position: usize| {
            let argument = |register| constant(self.code, position, register);
            // Static programs without symbols have no name for it.
            let is_call = || {
                self.calls.get(&position) == Some(&Known::SystemCall) || argument(Register::RDX) == Some(WAKE_PRIVATE)
            };
            Some(argument(Register::RDI) == Some(FUTEX) && is_call())
        };
        let calls = calls_after(self.code, at, &is_futex);
        let row = OPERATIONS.iter().find(|row| row.cold == "Mutex::wake")?;
        (!calls.is_empty()).then_some((row, calls))
    }

    /// The same where the atomic is a call.
    fn called_operation(&self, at: usize, atomic: Atomic) -> Option<(&'static Row, Proof, Vec<usize>)> {
        let is_row = |row: &&Row| row.atomic.atomic == atomic;
        let wanted = |position: usize| match self.calls.get(&position) {
            Some(Known::Cold(cold)) => Some(OPERATIONS.iter().filter(is_row).any(|row| row.cold == cold.function)),
            Some(Known::Atomic(_)) => Some(false),
            _ => None,
        };
        let mut calls = calls_after(self.code, at, &wanted);
        let value = |register| constant(self.code, at, register);
        let is_changed = |change: Change| match change {
            Change::Any => true,
            Change::From(from, to) => value(Register::RSI) == Some(from) && value(Register::RDX) == Some(to),
            Change::By(by) if atomic == Atomic::ExchangeAdd => value(Register::RSI) == Some(by.unsigned_abs()),
            Change::By(_) | Change::Sets(_) => false,
        };
        let row = self.row_of(&calls, &|row| is_row(&row).then(|| is_changed(row.change)))?;
        calls.retain(|call| self.cold_at(*call) == Some(row.cold));
        Some((row, Proof::Called, calls))
    }

    /// Whether the atomic at a position turns a writer of `std`'s lock into a reader.
    fn downgrades(&self, at: usize) -> bool {
        let is_kind = kind_of(&self.code.instructions()[at]) == Some((Atomic::ExchangeAdd, DOWNGRADE.width));
        is_kind && changes(self.code, at, DOWNGRADE.change, DOWNGRADE.width)
    }

    /// Whether the atomic that is called at a position adds so much to a word of 32 bits.
    fn is_called_by(&self, at: usize, change: Change) -> bool {
        let added = constant(self.code, at, Register::RSI);
        matches!(change, Change::By(by) if added.is_some_and(|added| added as u32 == by as u32))
    }

    /// The slow path that is called at a position.
    fn cold_at(&self, at: usize) -> Option<&'static str> {
        match self.calls.get(&at) {
            Some(Known::Cold(cold)) => Some(cold.function),
            _ => None,
        }
    }

    /// The operation that these calls of slow paths are of. `fits`: whether the atomic may be of a row, and surely is. A way
    /// may lead on to another lock's slow path, so what is sure comes first; else the only one.
    fn row_of(&self, calls: &[usize], fits: &dyn Fn(&'static Row) -> Option<bool>) -> Option<&'static Row> {
        let of_calls = |row: &&'static Row| calls.iter().any(|call| self.cold_at(*call) == Some(row.cold));
        let rows: Vec<(&'static Row, bool)> =
            OPERATIONS.iter().filter(of_calls).filter_map(|row| Some((row, fits(row)?))).collect();
        match (rows.iter().find(|(_, is_sure)| *is_sure), &rows[..]) {
            (Some((row, _)), _) | (None, [(row, _)]) => Some(row),
            _ => None,
        }
    }

    /// The operation that only tries, which the atomic at a position may be.
    fn attempt(&self, at: usize) -> Option<&'static Row> {
        let (atomic, width) = kind_of(&self.code.instructions()[at])?;
        let is_row =
            |row: &&Row| row.atomic.atomic == atomic && row.width == width && changes(self.code, at, row.change, width);
        TRIES.iter().find(is_row)
    }

    /// The same where the atomic is a call.
    fn called_attempt(&self, at: usize) -> Option<&'static Row> {
        let value = |register| constant(self.code, at, register);
        let is_row = |row: &&Row| match row.change {
            Change::From(from, to) => value(Register::RSI) == Some(from) && value(Register::RDX) == Some(to),
            _ => false,
        };
        TRIES.iter().find(is_row)
    }
}
