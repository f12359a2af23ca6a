//! Marks what somebody who can run has a way to, and tells whom nobody has.

use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};

use super::layout::{DEAD, Description, Heap, WAITING, describe};
use super::memory::Memory;
use super::{Candidate, Subject};

/// Marks what is reached.
pub struct Mark<'a> {
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
    pub fn new(
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
    pub fn stuck(mut self, threads: &[(u64, [u64; 16])]) -> Vec<u64> {
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
