//! Everything that is needed to patch a Rust program, made of its file alone. It owns what it says, so the file may go.

mod stored;

use std::ops::Range;

use memchr::memmem;

use super::super::functions::Functions;
use super::super::image::{Image, ImageError};
use super::super::plan::{Form, JUMP, Patch};
use super::super::table::Success;
use super::super::unwind::{Rule, Rules};
use super::layout::{Return, returns};
use super::names;
use super::operations::PARK;
use super::plan::{Operation, Plan, Planned};
use super::sites::{ColdCall, Sites};

/// One patch, with what has to be known where it is applied.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is for.
    pub planned: Planned,
    /// The patch.
    pub patch: Patch,
    /// The bytes that have to be there.
    pub bytes: Vec<u8>,
    /// How to go from there to the caller.
    pub rule: Rule,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The patches, by address.
    pub steps: Vec<Step>,
    /// How to go on from each return address in the program: a table of [`Return`]s, as bytes.
    pub returns: Vec<u8>,
    /// Where the program is entered.
    pub entry: u64,
    /// The program may be put anywhere.
    pub is_position_independent: bool,
    /// A library can be preloaded into it.
    pub is_interpreted: bool,
    /// The address behind its last segment.
    pub end: u64,
    /// Where its data lies.
    pub data: Vec<Range<u64>>,
    /// Its GNU build-id; empty where it has none.
    pub build_id: Vec<u8>,
    /// Some places where locks are given back are not among the patches.
    pub lacks_releases: bool,
    /// What was found, as a sentence without its subject.
    pub found: String,
    /// What could not be patched and is not recorded, as sentences without their subject.
    pub left_out: Vec<String>,
}

impl Recipe {
    /// Of a program's file; `None` where no lock of Rust's was found in it, or it is too large to be searched at its start.
    ///
    /// # Errors
    /// Where the file is for another processor.
    pub fn of(file: &[u8]) -> Result<Option<Self>, ImageError> {
        let image = match Image::parse(file) {
            Ok(image) => image,
            Err(ImageError::Parse(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !is_rust(&image) {
            return Ok(None);
        }
        let functions = Functions::read(file, &image);
        // Each takes a while, and needs nothing of the other.
        let (sites, rules) = std::thread::scope(|scope| {
            let rules = scope.spawn(|| Rules::read(&image));
            let sites = Sites::find(&image, &functions);
            (sites, rules.join().unwrap_or_default())
        });
        if sites.sites.is_empty() {
            return Ok(None);
        }
        let plan = Plan::new(&image, &functions, &sites);
        let steps: Vec<Step> =
            plan.patches().filter_map(|(planned, patch)| step(&image, &rules, planned, patch)).collect();
        let mut addresses = return_addresses(&image);
        // A call that was longer than the one in its place returns before its end.
        let is_call = |step: &&Step| step.patch.form == Form::Call && step.patch.length > JUMP;
        addresses.extend(steps.iter().filter(is_call).map(|step| step.patch.address + JUMP as u64));
        addresses.sort_unstable();
        let rules_of_returns: Vec<Rule> = rules.at_each(addresses.iter().map(|address| address - 1)).collect();
        let rules_of_returns = rules_of_returns.iter().map(|rule| rule.0);
        let segments = image.segments().iter();
        Ok(Some(Self {
            found: found(&sites, &steps),
            lacks_releases: lacks_releases(&plan, &sites),
            left_out: left_out(&plan, &sites).into_iter().chain(not_recorded(&functions, &sites, &steps)).collect(),
            steps,
            returns: Return::bytes(&returns(addresses.iter().copied().zip(rules_of_returns))),
            entry: image.entry(),
            is_position_independent: image.is_position_independent(),
            is_interpreted: image.is_interpreted(),
            end: segments.clone().map(|part| part.address.saturating_add(part.size)).max().unwrap_or(0),
            data: segments
                .filter(|part| part.writable)
                .map(|part| part.address..part.address.saturating_add(part.size))
                .collect(),
            build_id: image.build_id().unwrap_or_default().to_vec(),
        }))
    }
}

/// Whether a file is a program with code of Rust's standard library into which no library can be preloaded.
pub fn is_static_program(file: &[u8]) -> bool {
    Image::parse(file).is_ok_and(|image| !image.is_interpreted() && is_rust(&image))
}

/// Whether there is code of Rust's standard library, as the places tell that its panics name: they stay in stripped files too.
fn is_rust(image: &Image<'_>) -> bool {
    /// Bytes of code. Searching more takes longer than anybody wants to wait for a start.
    const MOST_CODE: usize = 128 << 20;
    const PLACES: [&[u8]; 2] = [b"/rustc/", b"library/std/src/"];
    let code: usize = image.segments().iter().filter(|part| part.executable).map(|part| part.data.len()).sum();
    let names = |data: &[u8]| PLACES.iter().any(|place| memmem::find(data, place).is_some());
    code <= MOST_CODE && image.segments().iter().any(|part| names(part.data))
}

/// The addresses behind everything that may be a call, by its bytes. Bytes within instructions may look like one: nobody ever
/// returns there.
fn return_addresses(image: &Image<'_>) -> Vec<u64> {
    let mut found = Vec::new();
    for part in image.segments().iter().filter(|part| part.executable) {
        let is_code = |address: u64| address.wrapping_sub(part.address) < part.data.len() as u64;
        for (at, bytes) in part.data.windows(7).enumerate() {
            let length = match *bytes {
                [0xe8, a, b, c, d, ..] => {
                    let target =
                        (part.address + at as u64 + 5).wrapping_add_signed(i32::from_le_bytes([a, b, c, d]).into());
                    if is_code(target) { 5 } else { continue }
                }
                // Through a register or memory: `ff /2`, with what its operand takes.
                [0xff, mode, scale, ..] if mode >> 3 & 7 == 2 => match (mode >> 6, mode & 7) {
                    (0, 4) => {
                        if scale & 7 == 5 {
                            7
                        } else {
                            3
                        }
                    }
                    (0, 5) => 6,
                    (0, _) | (3, _) => 2,
                    (1, 4) => 4,
                    (1, _) => 3,
                    (2, 4) => 7,
                    _ => 6,
                },
                _ => continue,
            };
            found.push(part.address + at as u64 + length);
        }
    }
    found
}

fn step(image: &Image<'_>, rules: &Rules, planned: &Planned, patch: &Patch) -> Option<Step> {
    let bytes = image.code(patch.address, patch.behind())?.to_vec();
    let rule = match planned.operation {
        // Its trampoline is called, or begins as the function does.
        Operation::Called(_) | Operation::Update(_) | Operation::Asked(_) => Rule::ENTRY,
        _ => rules.at(patch.address),
    };
    Some(Step { planned: planned.clone(), patch: patch.clone(), bytes, rule })
}

fn found(sites: &Sites, steps: &[Step]) -> String {
    let (reached, of) = sites.reached().iter().fold((0, 0), |(some, all), row| (some + row.reached, all + row.of));
    format!("locks of Rust: {reached} of {of} slow calls reached, {} places patched", steps.len())
}

/// Ways to wait that are in a program and are not recorded, as sentences without their subject.
fn not_recorded(functions: &Functions<'_>, sites: &Sites, steps: &[Step]) -> Vec<String> {
    let is_recorded = |function: &str| {
        steps.iter().any(|step| match step.planned.operation {
            Operation::Asked(cold) | Operation::Granted(cold, _) => cold.function == function,
            _ => false,
        })
    };
    if functions.names().is_empty() {
        let parks = steps
            .iter()
            .any(|step| matches!(step.planned.operation, Operation::Inlined(row) if std::ptr::eq(row, &PARK)));
        let missing = ["waits for conditions, and initialisations by Once", "parked threads and channels"];
        return missing.iter().take(2 - usize::from(parks)).map(|what| format!("{what} are not recorded")).collect();
    }
    let mut found = Vec::new();
    // Those that are not patched, though they are there.
    let mut lacking: Vec<&str> =
        sites.slow_paths.iter().filter(|slow| slow.cold.is_blocking()).map(|slow| slow.cold.function).collect();
    lacking.sort_unstable();
    lacking.dedup();
    lacking.retain(|function| !is_recorded(function) && !goes_on(function, &is_recorded));
    found.extend(lacking.iter().map(|function| format!("{function} is not recorded")));
    // What waits for the kernel and is none of them: others were inlined there, or locks of the program's own are.
    let mut waits: Vec<String> =
        sites.other_waits.iter().filter_map(|function| others_name(functions, *function)).collect();
    waits.sort_unstable();
    waits.dedup();
    if !waits.is_empty() {
        /// More are counted.
        const NAMED: usize = 3;
        let others = waits.len().saturating_sub(NAMED);
        let others = if others == 0 { String::new() } else { format!(" and {others} more functions") };
        waits.truncate(NAMED);
        found.push(format!("what {}{others} wait for by futex is not recorded", waits.join(", ")));
    }
    if functions.names().iter().any(|(_, name)| name.contains("N4spin") || name.contains("_4spin")) {
        found.push("spin locks (the crate spin) are not recorded".to_owned());
    }
    found
}

/// Whether a function does nothing but call one that is recorded.
fn goes_on(function: &str, is_recorded: &dyn Fn(&str) -> bool) -> bool {
    function.starts_with("Condvar::wait")
        && ["Condvar::wait_optional_timeout", "Condvar::wait_timeout"]
            .iter()
            .any(|other| *other != function && is_recorded(other))
}

/// What a function that waits by futex is called; `None` for what is part of operations that are recorded where they begin.
fn others_name(functions: &Functions<'_>, function: u64) -> Option<String> {
    let names: Vec<&str> = functions.names_at(function).collect();
    let path = names.iter().find_map(|name| names::path(name)).map(std::borrow::Cow::into_owned);
    let name = path.or_else(|| names.first().map(|name| (*name).to_owned()))?;
    let is_part =
        name.starts_with("parking_lot_core::") || name.ends_with("::futex_wait") || name.starts_with("parking_lot::");
    (!is_part).then_some(name)
}

/// Whether some place where a lock is given back was not found, or cannot be patched.
fn lacks_releases(plan: &Plan, sites: &Sites) -> bool {
    let gives_back = |operation: &Operation| match operation {
        Operation::Inlined(row) | Operation::Called(row) => row.atomic.success == Success::Always,
        _ => false,
    };
    let wakes = |call: &&ColdCall| call.cold.waits.is_none();
    plan.operations.iter().any(|planned| planned.patch.is_err() && gives_back(&planned.operation))
        || !sites.doubts.is_empty()
        || sites.cold_calls.iter().filter(wakes).any(|call| !call.reached)
}

fn left_out(plan: &Plan, sites: &Sites) -> Vec<String> {
    let no_symbols = "which has no symbols, locks of Rust were told by the shape of their code: others may be missing";
    let by_shape = sites.by_shape.then(|| no_symbols.to_owned());
    let is_of_lock = |operation: &Operation| match operation {
        Operation::Asked(cold) | Operation::Granted(cold, _) => !cold.is_blocking(),
        _ => true,
    };
    by_shape.into_iter().chain(plan.left_out(is_of_lock, &sites.reached())).collect()
}
