//! The plan for a Rust program: for every operation that was found, its patch, or the reason why it gets none.

use std::collections::BTreeMap;

use iced_x86::{InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::super::code::{Code, first_register};
use super::super::functions::Functions;
use super::super::image::Image;
use super::super::plan::{self, Refusal};
use super::super::table::{Event, Success};
use super::operations::{ColdPath, PARK_TIMEOUT, PARKED_FOR, Row};
use super::sites::{Proof, Site, Sites, SlowPath};

/// What a patch is for.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// An inlined operation.
    Inlined(&'static Row),
    /// An operation whose atomic is a call.
    Called(&'static Row),
    /// A compare-and-swap that is a call, in a function that changes words of all kinds: the change tells what it is.
    Update(&'static Row),
    /// The beginning of a slow path: the lock is asked for.
    Asked(&'static ColdPath),
    /// A return of one: the lock is had; where it may give up, if the result says so.
    Granted(&'static ColdPath, bool),
}

impl plan::Named for Operation {
    fn name(&self) -> &'static str {
        match self {
            Self::Inlined(row) | Self::Called(row) | Self::Update(row) => row.atomic.operation,
            Self::Asked(cold) | Self::Granted(cold, _) => cold.function,
        }
    }
}

/// One operation with its patch.
pub type Planned = plan::Planned<Operation>;

/// The plan.
pub type Plan = plan::Plan<Operation>;

impl Plan {
    /// Makes one.
    pub fn new(image: &Image<'_>, functions: &Functions<'_>, sites: &Sites) -> Self {
        let mut operations = Vec::new();
        let mut by_function: BTreeMap<u64, Vec<&Site>> = BTreeMap::new();
        for site in sites.sites.iter().chain(&sites.tries) {
            by_function.entry(site.function).or_default().push(site);
        }
        let decode = |address: u64| functions.decode(image, functions.at(address)?);
        for (function, found) in by_function {
            let Some(code) = decode(function) else { continue };
            let mut of_function: Vec<Planned> = found.into_iter().map(|site| planned(&code, site)).collect();
            end_of_parking(&code, &mut of_function);
            operations.extend(of_function);
        }
        let waits = |slow: &&SlowPath| slow.cold.waits.is_some() && !slow.cold.is_blocking();
        for slow in sites.slow_paths.iter().filter(waits) {
            let Some(code) = decode(slow.function) else { continue };
            let is_limited = sites.cold_calls.iter().any(|call| call.cold == slow.cold && call.is_limited);
            operations.extend(slow_path(&code, *slow, is_limited));
        }
        let plan = Self::of(operations);
        let taken: Vec<(u64, u64)> = plan.patches().map(|(_, patch)| (patch.address, patch.behind())).collect();
        let mut operations = plan.operations;
        for slow in sites.slow_paths.iter().filter(|slow| slow.cold.is_blocking()) {
            if let Some(code) = decode(slow.function) {
                operations.extend(blocking(&code, *slow, sites, &taken));
            }
        }
        Self::of(operations)
    }
}

/// The patches of a function in which threads wait, or are woken: all, or none where it goes on in another such function,
/// which has its own, or where one of them would be in the way of a lock's.
fn blocking(code: &Code, slow: SlowPath, sites: &Sites, taken: &[(u64, u64)]) -> Vec<Planned> {
    let goes_to = |instruction: &iced_x86::Instruction| {
        let target = instruction.near_branch_target();
        sites
            .slow_paths
            .iter()
            .any(|other| other.cold.is_blocking() && other.function == target && target != slow.function)
    };
    if code.instructions().iter().any(goes_to) {
        return Vec::new();
    }
    let patches = if slow.cold.waits == Some(Event::Wake) {
        let operation = Operation::Asked(slow.cold);
        vec![Planned { address: slow.function, operation, patch: plan::beginning(code) }]
    } else {
        slow_path(code, slow, false)
    };
    let is_in_the_way = |planned: &Planned| match &planned.patch {
        Ok(patch) => taken.iter().any(|(from, behind)| *from < patch.behind() && patch.address < *behind),
        Err(_) => true,
    };
    if patches.iter().any(is_in_the_way) || !takes_lock(code) { Vec::new() } else { patches }
}

/// Where the end of a wait with a time limit has no room for a patch, the returns of the function do, if there is nothing else
/// in it.
fn end_of_parking(code: &Code, of_function: &mut Vec<Planned>) {
    /// Instructions of a function in which there is nothing else.
    const MOST: usize = 100;
    let is_end = |planned: &Planned| match planned.operation {
        Operation::Inlined(row) => std::ptr::eq(row, &raw const PARKED_FOR) && planned.patch.is_err(),
        _ => false,
    };
    if !of_function.iter().any(is_end) || code.instructions().len() > MOST || leaves(code) {
        return;
    }
    let Ok(returns) = plan::returns(code).into_iter().collect::<Result<Vec<_>, _>>() else { return };
    of_function.retain(|planned| !is_end(planned));
    let operation = Operation::Granted(&PARK_TIMEOUT, false);
    of_function.extend(returns.into_iter().map(|patch| Planned {
        address: patch.address,
        operation,
        patch: Ok(patch),
    }));
}

fn planned(code: &Code, site: &Site) -> Planned {
    let row = &site.row.atomic;
    let (operation, patch) = match (site.proof, row.success) {
        (Proof::Called | Proof::CalledChange, _) => (Operation::Called(site.row), plan::call(code, site.address)),
        _ if row.event == Event::Wait => (Operation::Inlined(site.row), plan::taking_one(code, site.address)),
        (Proof::Update, _) => (Operation::Update(site.row), plan::call(code, site.address)),
        (_, Success::Always) => (Operation::Inlined(site.row), plan::before(code, site.address)),
        (_, success) => (Operation::Inlined(site.row), plan::atomic(code, site.address, row.atomic, success)),
    };
    Planned { address: site.address, operation, patch }
}

/// The beginning and the returns of a slow path; where one of them cannot be patched, none is.
fn slow_path(code: &Code, slow: SlowPath, is_limited: bool) -> Vec<Planned> {
    let asked = if takes_lock(code) { plan::beginning(code) } else { Err(Refusal::AddressLost) };
    let mut patches = vec![(slow.function, Operation::Asked(slow.cold), asked)];
    for patch in plan::returns(code) {
        let (address, patch) = match patch {
            Ok(patch) => (patch.address, Ok(patch)),
            Err((address, refusal)) => (address, Err(refusal)),
        };
        patches.push((address, Operation::Granted(slow.cold, is_limited), patch));
    }
    let refusal = (patches.iter().find_map(|(_, _, patch)| patch.as_ref().err().copied()))
        .or_else(|| (patches.len() == 1 || leaves(code)).then_some(Refusal::NoReturn));
    let patches = patches.into_iter();
    patches
        .map(|(address, operation, patch)| Planned { address, operation, patch: refusal.map_or(patch, Err) })
        .collect()
}

/// Whether a function goes on in another one, or may do so.
fn leaves(code: &Code) -> bool {
    code.instructions().iter().enumerate().any(|(at, instruction)| {
        instruction.mnemonic() == Mnemonic::Jmp
            && !is_of_table(code, at)
            && (!instruction.is_jmp_short_or_near() || code.position(instruction.near_branch_target()).is_none())
    })
}

/// Whether the jump at a position goes where a table of distances in this function says: its register was added to right before.
fn is_of_table(code: &Code, at: usize) -> bool {
    /// The compiler puts other instructions between.
    const BETWEEN: usize = 4;
    let jump = &code.instructions()[at];
    let before = &code.instructions()[at.saturating_sub(BETWEEN)..at];
    jump.op0_kind() == OpKind::Register
        && before
            .iter()
            .rev()
            .find(|made| first_register(made) == Some(jump.op0_register()))
            .is_some_and(|made| made.mnemonic() == Mnemonic::Add && made.op1_kind() == OpKind::Register)
}

/// Whether a function still takes its first argument: the optimiser may have put a constant in its place.
fn takes_lock(code: &Code) -> bool {
    let mut factory = InstructionInfoFactory::new();
    for instruction in code.instructions() {
        let used = factory.info(instruction).used_registers().to_vec();
        let of_lock = used.iter().filter(|used| used.register().full_register() == Register::RDI);
        let mut is_used = false;
        for used in of_lock {
            if matches!(
                used.access(),
                OpAccess::Read | OpAccess::ReadWrite | OpAccess::CondRead | OpAccess::ReadCondWrite
            ) {
                return true;
            }
            is_used = true;
        }
        if is_used || super::super::code::is_call(instruction) {
            return false;
        }
    }
    false
}
