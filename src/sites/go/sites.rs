//! Finds the lock operations of a Go program: which atomic of its code is which operation of `sync`.
//!
//! The inline trees say it of most. At many atomics (two thirds of those of `Lock` in 1.19 and 1.27) the compiler lost the
//! inner position, and the chain begins with the caller: then the instructions that use the result are asked, and believed
//! only if the operation's cold call follows. The finder checks itself: every cold call has to be reached from a site.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use iced_x86::{Instruction, MemorySize, Mnemonic, Register};

use super::super::code::{Code, first_register, is_atomic};
use super::super::flow::{calls_after, users_of_result};
use super::super::image::Image;
use super::super::table::{Atomic, AtomicRow, ColdRow, FunctionRow, Reached};
use super::operations::{
    ATOMICS, COLD_CALLS, FUNCTIONS, LOCK_SLOW, OLD_READERS, OUTLINED, WRITE_LOCK, WRITER, canonical, checks_itself,
    wraps_atomic,
};
use super::pclntab::{Function, Link, NameId, Pclntab};

/// How far before a writer's addition its operand may be loaded, in instructions.
const REACH_OF_OPERAND: usize = 10;

/// Why an atomic is believed to be an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The inline tree names it.
    Named,
    /// An instruction that uses its result is named, and the operation's cold call follows.
    Consumer,
}

/// An inlined lock operation.
#[derive(Clone, Debug)]
pub struct Site {
    /// Of the atomic.
    pub address: u64,
    /// Of the function that holds it.
    pub function: u64,
    /// The operation.
    pub row: &'static AtomicRow,
    /// How it was recognised.
    pub proof: Proof,
    /// The cold call that belongs to it.
    pub cold_call: Option<u64>,
    /// It takes or gives back the mutex inside an `RWMutex`, which is part of that one's operation.
    pub inner: bool,
    /// It is in code that checks itself and must stay as it is.
    pub checks_itself: bool,
}

/// A call of a slow path.
#[derive(Clone, Debug)]
pub struct ColdCall {
    /// Of the call.
    pub address: u64,
    /// Of the function that holds it.
    pub function: u64,
    /// Which slow path, of which operation.
    pub row: &'static ColdRow,
    /// The inline tree names the operation here too.
    pub named: bool,
    /// See [`Site::inner`].
    pub inner: bool,
    /// A site leads to it.
    pub reached: bool,
}

/// A function that is an operation as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Of the function.
    pub function: u64,
    /// The operation.
    pub row: &'static FunctionRow,
}

/// What looked like an operation and is not taken as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// A consumer of the result is named, but the operation's cold call does not follow.
    NoColdCall,
    /// The operation is named, but this is not its atomic.
    OtherAtomic,
}

/// What the finder found.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    /// The operations that are atomics, by address.
    pub sites: Vec<Site>,
    /// The calls of slow paths, by address.
    pub cold_calls: Vec<ColdCall>,
    /// The operations that are functions.
    pub hooks: Vec<Hook>,
    /// The return addresses of calls by which an `RWMutex` takes or gives back the mutex inside it, sorted.
    pub inner_calls: Vec<u64>,
    /// What was not taken, by address.
    pub doubts: Vec<(u64, &'static str, Doubt)>,
    /// How many functions were decoded.
    pub decoded: usize,
}

impl Sites {
    /// Finds them.
    pub fn find(image: &Image<'_>, index: &Pclntab<'_>) -> Self {
        let finder = Finder::new(image, index);
        let mut found = Self::default();
        let callers = finder.callers();
        for function in index.functions() {
            if callers.contains(&function.start) || finder.may_hold_operations(function) {
                found.decoded += 1;
                finder.look_into(function, &mut found);
            }
        }
        found.inner_calls.sort_unstable();
        let reached: HashSet<u64> = found.sites.iter().filter_map(|site| site.cold_call).collect();
        for call in &mut found.cold_calls {
            call.reached = reached.contains(&call.address);
        }
        finder.add_hooks(&mut found);
        found
    }

    /// The self-check: how many cold calls of each slow path are reached from a site.
    pub fn reached(&self) -> Vec<Reached> {
        let count = |row: &'static ColdRow| {
            let calls = self.cold_calls.iter().filter(|call| call.row.function == row.function);
            let of = calls.clone().count();
            Reached { function: row.function, reached: calls.filter(|call| call.reached).count(), of }
        };
        COLD_CALLS.iter().map(count).filter(|reached| reached.of > 0).collect()
    }
}

/// What a name means to the finder.
#[derive(Clone, Copy)]
enum Known<'data> {
    /// It only wraps an atomic.
    Atomic,
    /// A function of `sync`, by its canonical name.
    Sync(&'data str),
}

/// Which operation a chain of inlined functions is.
struct Inside<'data> {
    operation: &'data str,
    /// There is a function around it: it was inlined.
    inlined: bool,
    inner: bool,
}

struct Finder<'data, 'index> {
    image: &'index Image<'data>,
    index: &'index Pclntab<'data>,
    known: HashMap<NameId, Known<'data>>,
    /// The names of operations and slow paths.
    wanted: HashSet<NameId>,
    /// The functions of mutexes that are called where they are not inlined.
    mutexes: HashSet<u64>,
    /// The slow paths by their address.
    slow: HashMap<u64, &'static str>,
    /// The functions of `sync` and `runtime` by their canonical name; of several the one in `internal` is first.
    functions: HashMap<&'data str, Vec<u64>>,
    /// The code that checks itself.
    checks_itself: Option<Range<u64>>,
}

impl<'data, 'index> Finder<'data, 'index> {
    fn new(image: &'index Image<'data>, index: &'index Pclntab<'data>) -> Self {
        let mut known = HashMap::new();
        let mut wanted = HashSet::new();
        for (id, name) in index.names() {
            let canonical = canonical(name);
            if wraps_atomic(name) {
                known.insert(id, Known::Atomic);
            } else if canonical.starts_with("sync.") {
                known.insert(id, Known::Sync(canonical));
                let operations = ATOMICS.iter().map(|row| row.operation);
                if operations.chain(COLD_CALLS.iter().map(|row| row.function)).any(|wanted| wanted == canonical) {
                    wanted.insert(id);
                }
            }
        }
        let mut finder = Self {
            image,
            index,
            known,
            wanted,
            mutexes: HashSet::new(),
            slow: HashMap::new(),
            functions: HashMap::new(),
            checks_itself: None,
        };
        for function in index.functions() {
            finder.add_function(function, index.name(function.name));
        }
        finder
    }

    fn add_function(&mut self, function: &Function, name: &'data str) {
        if checks_itself(name) {
            let before = self.checks_itself.take().unwrap_or(function.start..function.end);
            self.checks_itself = Some(before.start.min(function.start)..before.end.max(function.end));
        }
        let canonical = canonical(name);
        if canonical.starts_with("sync.") || canonical.starts_with("runtime.") {
            let same = self.functions.entry(canonical).or_default();
            if ["sync.(*Mutex).Lock", "sync.(*Mutex).TryLock"].contains(&canonical) {
                self.mutexes.insert(function.start);
            }
            let place = if name == canonical { same.len() } else { 0 };
            same.insert(place, function.start);
            if let Some(row) = COLD_CALLS.iter().find(|row| row.function == canonical) {
                self.slow.insert(function.start, row.function);
            }
        }
    }

    /// The functions that call a slow path, by the bytes of direct calls alone. Bytes within instructions may look like
    /// one; then a function is decoded for nothing.
    fn callers(&self) -> HashSet<u64> {
        let text = self.index.text();
        let code = self.image.code(text.start, text.end).unwrap_or_default();
        let mut callers = HashSet::new();
        for (at, bytes) in code.windows(5).enumerate() {
            let [0xe8, distance @ ..] = bytes else { continue };
            let Ok(distance) = distance.try_into().map(i32::from_le_bytes) else { continue };
            let address = text.start + at as u64;
            if self.slow.contains_key(&(address + 5).wrapping_add_signed(distance.into())) {
                callers.extend(self.index.function_at(address).map(|function| function.start));
            }
        }
        callers
    }

    fn may_hold_operations(&self, function: &Function) -> bool {
        self.wanted.contains(&function.name)
            || self.index.inlined_names(function).any(|name| self.wanted.contains(&name))
    }

    fn look_into(&self, function: &Function, found: &mut Sites) {
        let Some(bytes) = self.image.code(function.start, function.end) else { return };
        let code = Code::decode(bytes, function.start);
        let inlined = self.index.inlined(function);
        let inside = |at: usize| self.inside(&inlined.chain(code.instructions()[at].ip()));
        for (at, instruction) in code.instructions().iter().enumerate() {
            if is_atomic(instruction) {
                self.add_atomic(&code, at, function, &inside, found);
            } else if instruction.is_call_near() && self.mutexes.contains(&instruction.near_branch_target()) {
                let chain = inlined.chain(instruction.ip());
                if chain.iter().any(|link| self.is_of_writers(self.known.get(&link.name))) {
                    found.inner_calls.push(instruction.next_ip());
                }
            } else if instruction.is_call_near()
                && let Some(slow) = self.slow.get(&instruction.near_branch_target())
            {
                let inside = inside(at);
                let operation = inside.as_ref().map(|inside| inside.operation);
                let rows = COLD_CALLS.iter().filter(|row| row.function == *slow);
                let row = rows.into_iter().find(|row| !row.shared || Some(row.operation) == operation);
                found.cold_calls.extend(row.map(|row| ColdCall {
                    address: instruction.ip(),
                    function: function.start,
                    row,
                    named: Some(row.operation) == operation,
                    inner: inside.is_some_and(|inside| inside.inner),
                    reached: false,
                }));
            }
        }
    }

    fn add_atomic(
        &self,
        code: &Code,
        at: usize,
        function: &Function,
        inside: &dyn Fn(usize) -> Option<Inside<'data>>,
        found: &mut Sites,
    ) {
        let instruction = &code.instructions()[at];
        let kind = kind_of(instruction);
        let row_of = |inside: &Inside<'_>| {
            ATOMICS.iter().find(|row| row.operation == inside.operation && Some(row.atomic) == kind)
        };
        let users = users_of_result(code, at);
        let named = std::iter::once(at).chain(users).find_map(|place| {
            let inside = inside(place)?;
            let row = row_of(&inside)?;
            Some((place, inside, row))
        });
        let Some((place, inside, row)) = named else {
            let operation = inside(at).map(|inside| inside.operation);
            if let Some(row) = ATOMICS.iter().find(|row| Some(row.operation) == operation) {
                found.doubts.push((instruction.ip(), row.operation, Doubt::OtherAtomic));
            }
            return;
        };
        let hooked_instead = (row.operation == LOCK_SLOW || row.operation == WRITE_LOCK) && !inside.inlined;
        if hooked_instead || (row.operation == WRITE_LOCK && !announces_writer(code, at)) {
            return;
        }
        let belongs = |position: usize| {
            let call = &code.instructions()[position];
            let slow = call.is_call_near().then(|| self.slow.get(&call.near_branch_target())).flatten();
            Some(COLD_CALLS.iter().any(|cold| Some(&cold.function) == slow && cold.operation == row.operation))
        };
        let cold_calls = if row.has_cold_call { calls_after(code, at, &belongs) } else { Vec::new() };
        let cold_call = cold_calls.first().map(|call| code.instructions()[*call].ip());
        let proof = if place == at { Proof::Named } else { Proof::Consumer };
        if proof == Proof::Consumer && row.has_cold_call && cold_call.is_none() {
            found.doubts.push((instruction.ip(), row.operation, Doubt::NoColdCall));
            return;
        }
        found.sites.push(Site {
            address: instruction.ip(),
            function: function.start,
            row,
            proof,
            cold_call,
            inner: inside.inner,
            checks_itself: self.checks_itself.as_ref().is_some_and(|range| range.contains(&instruction.ip())),
        });
    }

    fn is_of_writers(&self, known: Option<&Known<'_>>) -> bool {
        matches!(known, Some(Known::Sync(name)) if name.starts_with("sync.(*RWMutex)."))
    }

    /// Which function of `sync` a chain is in at its innermost, wrappers of atomics left out.
    fn inside(&self, chain: &[Link]) -> Option<Inside<'data>> {
        let known = |link: &Link| self.known.get(&link.name).copied();
        let mut links = chain.iter().map(known).skip_while(|link| matches!(link, Some(Known::Atomic)));
        let Some(Some(Known::Sync(operation))) = links.next() else { return None };
        // `sync.(*Mutex).Lock` holds the one of `internal/sync`: both have one canonical name.
        let around: Vec<_> =
            links.skip_while(|link| matches!(link, Some(Known::Sync(same)) if *same == operation)).collect();
        let inner =
            operation.starts_with("sync.(*Mutex).") && around.iter().any(|link| self.is_of_writers(link.as_ref()));
        Some(Inside { operation, inlined: !around.is_empty(), inner })
    }

    fn add_hooks(&self, found: &mut Sites) {
        let is_there = |row: &&'static FunctionRow| self.functions.contains_key(row.function);
        let mut rows: Vec<&'static FunctionRow> = FUNCTIONS.iter().filter(is_there).collect();
        if !self.functions.contains_key("sync.runtime_SemacquireRWMutexR") {
            rows.extend([&OLD_READERS].into_iter().filter(is_there));
        }
        for row in OUTLINED.iter().filter(is_there) {
            if found.sites.iter().any(|site| site.row.operation == row.function) {
                continue;
            }
            // Its slow path is part of it now.
            for cold in COLD_CALLS.iter().filter(|cold| cold.operation == row.function) {
                rows.retain(|other| other.function != cold.function);
                found.cold_calls.retain(|call| call.row.operation != row.function);
            }
            rows.push(row);
        }
        let hook = |row: &'static FunctionRow| {
            self.functions.get(row.function)?.first().map(|function| Hook { function: *function, row })
        };
        found.hooks = rows.into_iter().filter_map(hook).collect();
    }
}

/// What kind of atomic an instruction is, if it is on a word of four bytes.
fn kind_of(instruction: &Instruction) -> Option<Atomic> {
    let word = matches!(instruction.memory_size(), MemorySize::UInt32 | MemorySize::Int32);
    match instruction.mnemonic() {
        Mnemonic::Cmpxchg if word => Some(Atomic::CompareExchange),
        Mnemonic::Xadd if word => Some(Atomic::ExchangeAdd),
        _ => None,
    }
}

/// Whether the addition at a position takes the writer's share from the number of readers: its register was loaded so.
fn announces_writer(code: &Code, at: usize) -> bool {
    let instructions = code.instructions();
    let register: Register = instructions[at].op1_register().full_register();
    let before = instructions[at.saturating_sub(REACH_OF_OPERAND)..at].iter().rev();
    let mut loads = before.take_while(|instruction| !instruction.has_lock_prefix());
    let load = loads.find(|other| other.mnemonic() == Mnemonic::Mov && first_register(other) == Some(register));
    load.is_some_and(|load| load.immediate32() == WRITER.wrapping_neg())
}
