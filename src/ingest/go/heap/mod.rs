//! Goroutines that certainly wait for ever: whatever could wake one cannot be reached by anybody who still runs.
//!
//! What Go's own collector does for memory is done here from outside, for goroutines (as in Saioc and others, "Dynamic
//! partial deadlock detection and recovery via garbage collection", 2025). The roots are the program's variables, the memory
//! of other libraries, and the stacks of all goroutines that do not wait for one another. Every word that looks like an
//! address counts as one, so more is reached than is in use, never less. A goroutine whose channel, lock, condition or wait
//! group is reached may be woken: then its stack is looked at too. Those that are left when nothing more is reached are stuck.
//!
//! A look costs time in proportion to the memory in use. The program is looked at while it runs first, which shows mostly
//! that somebody can be woken; only if nobody can is it stopped for a second look, which is the one that counts.

mod layout;
mod mark;
mod memory;

use std::ops::Range;
use std::time::Instant;

use rustc_hash::FxHashSet;

use super::goroutines::{Asked, Goroutines};
use crate::ingest::clock::Ticks;
use crate::ingest::freeze::Late;
use crate::ingest::{procfs, tasks};
use crate::model::Kind;
use layout::Layout;
use mark::Mark;
use memory::Memory;

/// Waits that are younger may be about to end, ns. A circle of locks is reported as one before that.
const LEAST_NS: u64 = 1_300_000_000;
/// The shortest time between two looks, ns.
const PAUSE_NS: u64 = 300_000_000;
/// The longest.
const LONGEST_PAUSE_NS: u64 = 60_000_000_000;
/// What was written before the program was stopped has been read after this time, ns.
const SETTLED_NS: u64 = 20_000_000;
/// A program with more memory in use than this is not looked at, bytes.
const MOST_MEMORY: u64 = 256 << 20;
/// A look takes at most such a part of the time.
const SHARE: u64 = 50;

/// What a program's heap can be read by.
pub struct HeapAccess {
    /// The offset of a goroutine's number in its description (`g.goid`).
    pub number: u64,
    /// What the recorder put there: addresses.
    pub ours: Range<u64>,
}

/// A program that is looked at.
pub struct Subject<'a> {
    pub pid: u32,
    /// Where its variables are.
    pub data: &'a [Range<u64>],
    pub access: &'a HeapAccess,
}

/// Looks at one program from time to time.
#[derive(Default)]
pub struct Reach {
    layout: Option<Layout>,
    /// What it is found by was looked for and is not as expected.
    is_unknown: bool,
    late: Late,
    /// Not to be looked at before, ns.
    next_ns: u64,
    pause_ns: u64,
    /// Who waited at the last look, and since when.
    looked_at: FxHashSet<(u64, u64)>,
    /// Who was stuck when the program was stopped, since when they waited, and when that was, ticks.
    suspects: Vec<(u64, u64)>,
    suspected: u64,
    /// Who was found before.
    found: FxHashSet<u64>,
}

/// A goroutine that waits for another one.
struct Candidate {
    number: u64,
    since: u64,
    /// What it waits for; 0 where only its own description says it.
    address: u64,
    /// Who has it, where nobody else releases it.
    holders: Vec<u64>,
}

/// What somebody else has to do something for. A wait at a channel that is none ends never, and is meant so.
fn counts(asked: &Asked) -> bool {
    let is_wait =
        matches!(asked.kind, Kind::Channel | Kind::Select | Kind::Waitgroup | Kind::Cond) || asked.is_request();
    let is_something = asked.address != 0 || asked.kind == Kind::Select;
    is_wait && is_something && !asked.is_doubtful
}

impl Reach {
    /// Goroutines that are certainly stuck, by number.
    pub fn look(&mut self, subject: &Subject<'_>, goroutines: &Goroutines, ticks: &Ticks, now: u64) -> Vec<u64> {
        self.late.let_go();
        if self.is_unknown {
            return Vec::new();
        }
        let candidates: Vec<Candidate> = goroutines
            .all
            .iter()
            .filter(|(_, goroutine)| goroutine.is_parked)
            .filter_map(|(number, goroutine)| {
                let asked = goroutine.asked.last().filter(|asked| counts(asked))?;
                Some(Candidate {
                    number: *number,
                    since: asked.since,
                    address: asked.address,
                    holders: goroutines.holders(asked),
                })
            })
            .collect();
        if !self.suspects.is_empty() {
            // Whoever has not moved since, as everything that was written until then tells, was stuck.
            let waits = |(number, since): &(u64, u64)| {
                candidates.iter().any(|candidate| (candidate.number, candidate.since) == (*number, *since))
            };
            if ticks.duration_ns(now.saturating_sub(self.suspected)) < SETTLED_NS {
                return Vec::new();
            }
            let are_all = self.suspects.iter().all(waits);
            let suspects = std::mem::take(&mut self.suspects);
            if are_all {
                self.found.extend(suspects.iter().map(|(number, _)| *number));
                return suspects.into_iter().map(|(number, _)| number).collect();
            }
        }
        let old: Vec<Candidate> = candidates
            .into_iter()
            .filter(|candidate| ticks.duration_ns(now.saturating_sub(candidate.since)) >= LEAST_NS)
            .collect();
        if old.is_empty() {
            return Vec::new();
        }
        let now_ns = ticks.moment_ns(now);
        let keys: FxHashSet<(u64, u64)> = old.iter().map(|candidate| (candidate.number, candidate.since)).collect();
        let is_new = !keys.is_subset(&self.looked_at);
        if now_ns < self.next_ns.saturating_add(if is_new { 0 } else { self.pause_ns }) {
            return Vec::new();
        }
        let begin = Instant::now();
        let suspects = self.suspects(subject, &old);
        self.suspected = ticks.now();
        self.suspects = old
            .iter()
            .filter(|candidate| suspects.contains(&candidate.number))
            .map(|candidate| (candidate.number, candidate.since))
            .collect();
        let cost = begin.elapsed().as_nanos() as u64;
        self.pause_ns = if is_new { PAUSE_NS } else { (2 * self.pause_ns).min(LONGEST_PAUSE_NS) };
        self.next_ns = now_ns.saturating_add(cost.saturating_mul(SHARE).max(PAUSE_NS));
        self.looked_at = keys;
        Vec::new()
    }

    /// Who is stuck now, of those that have waited for long.
    fn suspects(&mut self, subject: &Subject<'_>, candidates: &[Candidate]) -> Vec<u64> {
        let running = sleepers(subject.pid);
        let stuck = |reach: &mut Self, registers: &[(u64, [u64; 16])]| {
            let memory = Memory::copy(subject.pid, MOST_MEMORY).ok()?;
            let layout = reach.layout(subject, &memory, candidates)?;
            let heap = layout.heap(&memory)?;
            let all = layout.goroutines(&memory, &heap, subject.access.number)?;
            Some(Mark::new(&memory, &heap, subject, &all, candidates).stuck(registers))
        };
        let first = stuck(self, &running).unwrap_or_default();
        if first.iter().all(|number| self.found.contains(number)) {
            return Vec::new();
        }
        let mut late = std::mem::take(&mut self.late);
        let found = late.freeze(subject.pid).and_then(|frozen| stuck(self, &frozen.registers()));
        self.late = late;
        found.unwrap_or_default()
    }

    fn layout(&mut self, subject: &Subject<'_>, memory: &Memory, candidates: &[Candidate]) -> Option<Layout> {
        if self.layout.is_none() {
            let is_variable = |address: u64| subject.data.iter().any(|range| range.contains(&address));
            let mut known = candidates.iter().map(|candidate| candidate.address).filter(|address| *address != 0);
            let known = known.find(|address| !is_variable(*address))?;
            self.layout = Layout::find(memory, subject.data, known, subject.access.number);
            self.is_unknown = self.layout.is_none();
        }
        self.layout
    }
}

/// The stack pointers of threads that are asleep, as the kernel tells them while the process runs.
fn sleepers(pid: u32) -> Vec<(u64, [u64; 16])> {
    let folder = procfs::folder(pid);
    let threads = tasks::living(pid).filter_map(|tid| {
        let call = procfs::text(folder.join(format!("task/{tid}/syscall"))).ok()?;
        let stack = call.split_whitespace().rev().nth(1)?;
        u64::from_str_radix(stack.trim_start_matches("0x"), 16).ok()
    });
    threads.map(|stack| (stack, [0; 16])).collect()
}
