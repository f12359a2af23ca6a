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

mod freeze;
mod layout;
mod memory;

use std::ops::Range;
use std::time::Instant;

use rustc_hash::{FxHashMap, FxHashSet};

use super::goroutines::{Asked, Goroutines};
use crate::ingest::clock::Ticks;
use crate::ingest::{procfs, tasks};
use crate::model::Kind;
use freeze::Late;
use layout::{DEAD, Description, Heap, Layout, WAITING, describe};
use memory::Memory;

/// Waits that are younger may be about to end, ns.
const LEAST_NS: u64 = 700_000_000;
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

/// Marks what is reached.
struct Mark<'a> {
    memory: &'a Memory,
    heap: &'a Heap,
    subject: &'a Subject<'a>,
    /// Goroutines that live, by where their descriptions are.
    goroutines: FxHashMap<u64, Description>,
    /// Those that wait for others, by where their descriptions are.
    waiting: FxHashMap<u64, &'a Candidate>,
    reached: Vec<u64>,
    open: Vec<Range<u64>>,
    /// Heads of the runtime's caches.
    caches: Vec<Range<u64>>,
}

impl<'a> Mark<'a> {
    fn new(
        memory: &'a Memory,
        heap: &'a Heap,
        subject: &'a Subject<'a>,
        all: &[u64],
        candidates: &'a [Candidate],
    ) -> Self {
        let described = |at: &u64| Some((*at, describe(memory, *at, subject.access.number)?));
        let goroutines: FxHashMap<u64, Description> = all.iter().filter_map(described).collect();
        let by_number: FxHashMap<u64, &Candidate> =
            candidates.iter().map(|candidate| (candidate.number, candidate)).collect();
        let waiting = goroutines
            .iter()
            .filter(|(_, seen)| seen.status == WAITING)
            .filter_map(|(at, seen)| Some((*at, *by_number.get(&seen.number)?)))
            .collect();
        let reached = vec![0; heap.objects.div_ceil(64)];
        Self { memory, heap, subject, goroutines, waiting, reached, open: Vec::new(), caches: Vec::new() }
    }

    /// The numbers of those whom nobody can wake. `threads`: their stack pointers and registers.
    fn stuck(mut self, threads: &[(u64, [u64; 16])]) -> Vec<u64> {
        self.roots(threads);
        for (at, seen) in self.goroutines.clone() {
            if !self.waiting.contains_key(&at) && seen.status != DEAD {
                self.revive(at, &seen);
            }
        }
        loop {
            self.follow();
            let woken: Vec<u64> =
                self.waiting.iter().filter(|(at, by)| self.may_be_woken(**at, by)).map(|(at, _)| *at).collect();
            if woken.is_empty() {
                break;
            }
            for at in woken {
                self.waiting.remove(&at);
                let seen = self.goroutines[&at];
                self.revive(at, &seen);
            }
        }
        self.waiting.values().map(|candidate| candidate.number).collect()
    }

    /// Variables and foreign memory; of the threads' own stacks what is in use.
    fn roots(&mut self, threads: &[(u64, [u64; 16])]) {
        let memory = self.memory;
        for (sp, registers) in threads {
            registers.iter().for_each(|register| self.reach(*register));
            let end = self.end_of_stack(*sp, registers);
            memory.words(*sp..end).for_each(|word| self.reach(word));
        }
        for mapping in memory.mappings() {
            let is_stack = threads.iter().any(|(sp, _)| mapping.contains(sp));
            let is_heap = self.heap.arenas.iter().any(|arena| arena.contains(&mapping.start));
            if is_heap || is_stack || self.subject.access.ours.contains(&mapping.start) {
                continue;
            }
            // A span's description has the address of its first object, a cache that of the block it cuts small objects from.
            let mut left_out = self.heap.descriptions.clone();
            let caches = self.caches(mapping);
            left_out.extend(caches.iter().cloned());
            self.caches.extend(caches);
            left_out.sort_by_key(|range| range.start);
            let mut left_out = left_out.iter().peekable();
            for (at, word) in memory.places(mapping.clone()) {
                while left_out.next_if(|range| range.end <= at).is_some() {}
                if left_out.peek().is_none_or(|range| at < range.start) {
                    self.reach(word);
                }
            }
        }
    }

    /// The heads of the runtime's caches (`mcache.tiny` and what belongs to it): a list of spans, one for each of more than a
    /// hundred classes, is behind each. An empty place of it has the address of one and the same variable.
    fn caches(&self, mapping: &Range<u64>) -> Vec<Range<u64>> {
        const CLASSES: u64 = 100;
        const HEAD: u64 = 64;
        let is_span = |word: u64| self.heap.descriptions.binary_search_by_key(&word, |span| span.start).is_ok();
        let is_variable = |word: u64| self.subject.data.iter().any(|range| range.contains(&word));
        let mut found = Vec::new();
        let (mut start, mut empty) = (mapping.start, 0);
        for (at, word) in self.memory.places(mapping.clone()) {
            let is_empty = word != 0 && (word == empty || empty == 0 && is_variable(word));
            if is_empty {
                empty = word;
            }
            if !is_empty && (word == 0 || !is_span(word)) {
                (start, empty) = (at + 8, 0);
            } else if at - start == 8 * CLASSES {
                found.push(start.saturating_sub(HEAD).max(mapping.start)..start);
            }
        }
        found
    }

    /// Where the stack ends that a thread's pointer is in: a goroutine's, the thread's own, or one that the runtime made for it.
    fn end_of_stack(&self, sp: u64, registers: &[u64; 16]) -> u64 {
        /// Such stacks have this size, one behind the other; those for signals are twice as long.
        const MADE: u64 = 16 << 10;
        let of_goroutine = self.goroutines.values().find(|seen| (seen.stack.0..seen.stack.1).contains(&sp));
        if let Some(seen) = of_goroutine {
            return seen.stack.1;
        }
        if !self.heap.arenas.iter().any(|arena| arena.contains(&sp)) {
            return self.memory.mapping(sp).map_or(sp, |mapping| mapping.end);
        }
        let Some(pages) = self.heap.own(sp) else { return sp };
        // One of the registers leads to the description of what runs on it.
        let ends = |at: &u64| Some((self.memory.word(*at)?, self.memory.field(*at, 8)?));
        let own =
            registers.iter().filter_map(ends).find(|(low, high)| (*low..*high).contains(&sp) && high - low <= 2 * MADE);
        own.map_or(pages.start + (sp + 1 - pages.start).next_multiple_of(MADE), |(_, high)| high).min(pages.end)
    }

    /// A goroutine that may go on: what its stack and its description lead to is in use.
    fn revive(&mut self, at: u64, seen: &Description) {
        let (low, high) = seen.stack;
        let is_within = seen.status == WAITING && (low..high).contains(&seen.sp);
        self.open.push(if is_within { seen.sp..high } else { low..high });
        if let Some((_, start, span)) = self.heap.object(at) {
            self.open.push(start..start + span.size);
        }
    }

    fn follow(&mut self) {
        /// A processor's description (`p`) is longer. In it, the first address of the pages that it has for itself is behind
        /// that of its cache: nobody has those yet, or not because of it.
        const LONG: u64 = 4096;
        let memory = self.memory;
        while let Some(range) = self.open.pop() {
            let is_long = range.end - range.start > LONG;
            let mut is_behind = false;
            for word in memory.words(range) {
                if !std::mem::take(&mut is_behind) {
                    self.reach(word);
                }
                is_behind = is_long && self.caches.iter().any(|head| (head.start..head.end).contains(&word));
            }
        }
    }

    /// Notes that something leads to this address.
    fn reach(&mut self, address: u64) {
        let Some((object, start, span)) = self.heap.object(address) else { return };
        let (word, bit) = (object / 64, 1 << (object % 64));
        if self.reached[word] & bit != 0 {
            return;
        }
        self.reached[word] |= bit;
        // Neither goroutines nor what stands for one in a queue lead on: the queue is what somebody has to reach.
        if !self.goroutines.contains_key(&start) && !self.stands_for_one(start) {
            self.open.push(start..start + span.size);
        }
    }

    /// Whether an object stands for a goroutine in a queue: it begins with that goroutine (`sudog.g`).
    fn stands_for_one(&self, start: u64) -> bool {
        self.memory.word(start).is_some_and(|first| first != 0 && self.goroutines.contains_key(&first))
    }

    fn is_reached(&self, address: u64) -> bool {
        let Some((object, _, _)) = self.heap.object(address) else { return true };
        self.reached[object / 64] & 1 << (object % 64) != 0
    }

    /// Whether a lock lies in a block of small objects, which is reached for any of them, and only those hold it who are stuck.
    fn is_held_by_stuck(&self, candidate: &Candidate) -> bool {
        const BLOCK: u64 = 16;
        let is_small = self.heap.object(candidate.address).is_some_and(|(_, _, span)| span.size == BLOCK);
        let is_stuck = |holder: &u64| self.waiting.values().any(|other| other.number == *holder);
        is_small && !candidate.holders.is_empty() && candidate.holders.iter().all(is_stuck)
    }

    fn may_be_woken(&self, at: u64, candidate: &Candidate) -> bool {
        if candidate.address != 0 {
            return self.is_reached(candidate.address) && !self.is_held_by_stuck(candidate);
        }
        // All that stands for it in queues, and what those lead to: the channels are among it.
        let Some((_, start, span)) = self.heap.object(at) else { return true };
        let is_its = |address: &u64| self.memory.word(*address) == Some(at);
        let object = |word: u64| self.heap.object(word).map(|(_, start, span)| (start, span));
        let mut open: Vec<u64> = Vec::new();
        let mut seen: FxHashSet<u64> = FxHashSet::default();
        let mut channels = 0;
        let words = |start: u64, size: u64| self.memory.words(start..start + size).filter_map(object);
        open.extend(words(start, span.size).map(|(start, _)| start).filter(is_its));
        while let Some(one) = open.pop() {
            if !seen.insert(one) {
                continue;
            }
            let Some((_, span)) = object(one) else { continue };
            for (to, _) in words(one, span.size) {
                if is_its(&to) {
                    open.push(to);
                } else if !self.goroutines.contains_key(&to) && !self.stands_for_one(to) {
                    channels += 1;
                    if self.is_reached(to) {
                        return true;
                    }
                }
            }
        }
        channels == 0
    }
}
