//! Where a Go runtime keeps its heap's map and the list of its goroutines. Neither symbols nor a version are needed: it is found
//! by what must hold of it, and where anything does not hold, nothing is said of the program.
//!
//! The shapes are those of Go 1.19 to 1.27 on amd64 (`runtime/mheap.go`, `runtime/runtime2.go`): the heap is in arenas of
//! 64 MiB; one table leads from an arena's number to its description, which has a pointer to a span for each page of 8 KiB; a
//! span begins with two links, its list, its first address and its number of pages, and has its state, the size of its
//! objects and where they end behind each other.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::memory::Memory;

const ARENA: u64 = 1 << 26;
const PAGE: u64 = 1 << 13;
const PAGES: u64 = ARENA / PAGE;
/// What is added to an address before its arena's number is taken.
const ARENA_OFFSET: u64 = 0x8000_0000_0000;
/// `mspan.startAddr`, `mspan.npages`.
const START: u64 = 24;
const COUNT: u64 = 32;
/// Where `mspan.elemsize` may be; `mspan.limit` follows it, and the state is so many bytes before.
const SIZES: Range<u64> = 88..152;
const STATE_BEFORE: u64 = 5;
const IN_USE: u8 = 1;
const OWN: u8 = 2;
/// A heap of more pages is not looked at.
const MOST_PAGES: u64 = 1 << 20;
/// The smallest object, bytes.
const SMALLEST: u64 = 8;
/// No span's description is longer.
const DESCRIPTION: u64 = 192;
/// The list of pages lies within so many bytes of an arena's description.
const WITHIN: u64 = 4 << 20;

/// So many places are searched for the list of pages.
const MOST_TRIES: usize = 64;

/// What does not change while the program runs.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The table of arenas.
    arenas: u64,
    /// In an arena's description: the spans of its pages.
    spans: u64,
    /// In a span: the size of its objects.
    size: u64,
    /// The slice of all goroutines (`runtime.allgs`).
    goroutines: u64,
}

/// What belongs to the heap.
struct Pages {
    /// All spans: their descriptions and their pages.
    spans: Vec<(u64, Range<u64>)>,
    arenas: Vec<Range<u64>>,
}

/// A stretch of pages with objects of one size.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub start: u64,
    /// Behind its last object.
    pub limit: u64,
    pub size: u64,
    /// The number of its first object among all of them.
    pub first: usize,
}

/// The heap at one moment.
pub struct Heap {
    spans: Vec<Span>,
    /// By page: the span's place in the list.
    pages: FxHashMap<u64, u32>,
    /// Where the spans' descriptions are, sorted.
    pub descriptions: Vec<Range<u64>>,
    /// The lowest and the highest address.
    range: Range<u64>,
    /// Pages that the runtime uses itself, stacks among them, sorted.
    own: Vec<Range<u64>>,
    /// Its arenas.
    pub arenas: Vec<Range<u64>>,
    /// How many objects there is room for.
    pub objects: usize,
}

impl Heap {
    /// The object that an address lies in: its number and where it begins.
    pub fn object(&self, address: u64) -> Option<(usize, u64, Span)> {
        if !self.range.contains(&address) {
            return None;
        }
        let span = self.spans[*self.pages.get(&(address / PAGE))? as usize];
        if address >= span.limit {
            return None;
        }
        let number = (address - span.start) / span.size;
        Some((span.first + number as usize, span.start + number * span.size, span))
    }
}

impl Heap {
    /// The pages of the runtime's own that an address is in.
    pub fn own(&self, address: u64) -> Option<&Range<u64>> {
        let at = self.own.partition_point(|pages| pages.end <= address);
        self.own.get(at).filter(|pages| pages.contains(&address))
    }
}

impl Layout {
    /// Looks for everything. `data`: where the program's variables are; `known`: an object on the heap; `number`: the offset
    /// of a goroutine's number in its description.
    pub fn find(memory: &Memory, data: &[Range<u64>], known: u64, number: u64) -> Option<Self> {
        let arena = known.wrapping_add(ARENA_OFFSET) / ARENA;
        let page = known % ARENA / PAGE;
        let mut words = data.iter().flat_map(|range| memory.words(range.clone()));
        let mut tries = 0;
        let (arenas, spans) = words.find_map(|table| {
            let entry = table.checked_add(8 * arena).filter(|_| table.is_multiple_of(4096) && table != 0)?;
            let arena = memory.word(entry).filter(|arena| *arena != 0 && arena.is_multiple_of(8))?;
            tries += 1;
            (tries <= MOST_TRIES).then_some(())?;
            let end = memory.mapping(arena)?.end.min(arena.saturating_add(WITHIN));
            let mut places = memory.places(arena.saturating_add(8 * page)..end);
            places
                .find(|(at, span)| {
                    pages(memory, *span).is_some_and(|pages| pages.contains(&known))
                        && all_match(memory, at - 8 * page, known)
                })
                .map(|(at, _)| (table, at - 8 * page - arena))
        })?;
        let mut layout = Self { arenas, spans, size: 0, goroutines: 0 };
        layout.size = layout.find_size(memory)?;
        let heap = layout.heap(memory)?;
        let mut words = data.iter().flat_map(|range| memory.places(range.clone()));
        layout.goroutines = words.find(|(at, _)| goroutines(memory, &heap, *at, number).is_some())?.0;
        Some(layout)
    }

    /// The offset of the objects' size: what holds of all spans in use holds there.
    fn find_size(&self, memory: &Memory) -> Option<u64> {
        let spans = self.pages(memory)?.spans;
        let fits = |offset: u64| {
            let (mut fit, mut in_use) = (0, 0);
            for (span, pages) in &spans {
                let Some((size, limit, state)) = sizes(memory, *span, offset) else { continue };
                if state > 2 {
                    return None;
                }
                in_use += usize::from(state == IN_USE);
                let length = limit.wrapping_sub(pages.start);
                let is_inside =
                    limit > pages.start && limit <= pages.end && size > 0 && size <= pages.end - pages.start;
                fit += usize::from(state == IN_USE && is_inside && (length % size == 0 || length <= size));
            }
            (fit >= 8 && fit == in_use).then_some((fit, offset))
        };
        SIZES.step_by(8).filter_map(fits).max().map(|(_, offset)| offset)
    }

    /// What belongs to the heap; `None` where that is too much.
    fn pages(&self, memory: &Memory) -> Option<Pages> {
        /// Places in the table, and those in use that are read.
        const MOST_ARENAS: u64 = 1 << 22;
        const MOST: usize = 1 << 8;
        let (mut spans, mut arenas) = (Vec::new(), Vec::new());
        for (at, arena) in memory.places(self.arenas..self.arenas.saturating_add(8 * MOST_ARENAS)) {
            if arena == 0 || memory.mapping(arena).is_none() {
                continue;
            }
            if arenas.len() >= MOST {
                return None;
            }
            let start = ((at - self.arenas) / 8 * ARENA).wrapping_sub(ARENA_OFFSET);
            arenas.push(start..start.saturating_add(ARENA));
            let list = arena.saturating_add(self.spans) & !7;
            let mut last = 0;
            for (entry, span) in memory.places(list..list.saturating_add(8 * PAGES)) {
                let page = start.wrapping_add((entry - list) / 8 * PAGE);
                if span != 0 && span != last {
                    // Entries of pages that are free now may be old.
                    spans.extend(pages(memory, span).filter(|pages| pages.contains(&page)).map(|pages| (span, pages)));
                }
                last = span;
            }
        }
        spans.dedup_by_key(|(span, _)| *span);
        Some(Pages { spans, arenas })
    }

    /// The heap as it is now; `None` where it is too large.
    pub fn heap(&self, memory: &Memory) -> Option<Heap> {
        let Pages { spans, arenas } = self.pages(memory)?;
        let descriptions = spans.iter().map(|(span, _)| *span..span.saturating_add(DESCRIPTION)).collect();
        let mut heap = Heap {
            spans: Vec::new(),
            pages: FxHashMap::default(),
            descriptions,
            range: 0..0,
            own: Vec::new(),
            arenas,
            objects: 0,
        };
        heap.descriptions.sort_by_key(|description| description.start);
        let mut all_pages = 0;
        for (span, pages) in spans {
            let Some((size, limit, state)) = sizes(memory, span, self.size) else { continue };
            if state == OWN {
                heap.own.push(pages);
                continue;
            }
            if state != IN_USE || size < SMALLEST || limit <= pages.start || limit > pages.end {
                continue;
            }
            let low = if heap.range.is_empty() { pages.start } else { heap.range.start.min(pages.start) };
            heap.range = low..heap.range.end.max(pages.end);
            all_pages += (pages.end - pages.start) / PAGE;
            if all_pages > MOST_PAGES {
                return None;
            }
            let at = heap.spans.len() as u32;
            heap.pages.extend((pages.start / PAGE..pages.end / PAGE).map(|page| (page, at)));
            heap.spans.push(Span { start: pages.start, limit, size, first: heap.objects });
            heap.objects += (limit - pages.start).div_ceil(size) as usize;
        }
        heap.own.sort_by_key(|pages| pages.start);
        Some(heap)
    }

    /// The descriptions of all goroutines; `None` where the list is not one at this moment.
    pub fn goroutines(&self, memory: &Memory, heap: &Heap, number: u64) -> Option<Vec<u64>> {
        goroutines(memory, heap, self.goroutines, number)
    }
}

/// The pages of a span.
fn pages(memory: &Memory, span: u64) -> Option<Range<u64>> {
    let start = memory.field(span, START)?;
    let count = memory.field(span, COUNT)?;
    let is_one = start != 0 && start.is_multiple_of(PAGE) && (1..MOST_PAGES).contains(&count);
    is_one.then(|| start..start.saturating_add(count * PAGE))
}

/// Whether the entries of all pages of the span that an address is in name that span. `entries`: where those of its arena are.
fn all_match(memory: &Memory, entries: u64, address: u64) -> bool {
    let entry = |address: u64| memory.field(entries, address % ARENA / PAGE * 8);
    let Some(span) = entry(address) else { return false };
    let Some(pages) = pages(memory, span) else { return false };
    let end = pages.end.min((address / ARENA * ARENA).saturating_add(ARENA));
    (pages.start.max(address / ARENA * ARENA)..end).step_by(PAGE as usize).all(|page| entry(page) == Some(span))
}

/// The size of a span's objects, where they end, and its state.
fn sizes(memory: &Memory, span: u64, offset: u64) -> Option<(u64, u64, u8)> {
    let size = memory.field(span, offset)?;
    let limit = memory.field(span, offset + 8)?;
    let state = memory.field(span, offset - 8)?.to_le_bytes()[8 - STATE_BEFORE as usize];
    Some((size, limit, state))
}

/// What is said of a goroutine in its description.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Its stack.
    pub stack: (u64, u64),
    /// Where it continues.
    pub sp: u64,
    pub status: u32,
    pub number: u64,
}

/// `_Gwaiting`, `_Gdead`.
pub const WAITING: u32 = 4;
pub const DEAD: u32 = 6;
/// Its stack is being looked at.
const SCANNED: u32 = 0x1000;

/// `g.sched.sp`: the stack, its two guards, panics, defers and the M are before it.
const SP: u64 = 56;

/// Reads a goroutine's description. Its status is in the word before its number.
pub fn describe(memory: &Memory, at: u64, number: u64) -> Option<Description> {
    let word = |offset: u64| memory.field(at, offset);
    let status = word(number.checked_sub(8)?)? as u32 & !SCANNED;
    Some(Description { stack: (word(0)?, word(8)?), sp: word(SP)?, status, number: word(number)? })
}

/// The goroutines of a slice. The first one ever is the first of them.
fn goroutines(memory: &Memory, heap: &Heap, slice: u64, number: u64) -> Option<Vec<u64>> {
    const MOST: u64 = 1 << 24;
    const MOST_STATUS: u32 = 16;
    let (list, length, room) = (memory.field(slice, 0)?, memory.field(slice, 8)?, memory.field(slice, 16)?);
    let first = memory.word(list).filter(|_| (1..=room).contains(&length) && room <= MOST)?;
    (describe(memory, first, number)?.number == 1).then_some(())?;
    let (_, _, span) = heap.object(first)?;
    let is_one = |at: u64| {
        let (_, start, of) = heap.object(at)?;
        let seen = describe(memory, at, number)?;
        let (low, high) = seen.stack;
        let has_stack = low < high && high - low < 1 << 32 && low.is_multiple_of(2048);
        (start == at && of.size == span.size && seen.status < MOST_STATUS && (has_stack || low == 0)).then_some(at)
    };
    (0..length).map(|at| memory.field(list, 8 * at).and_then(is_one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program can write anything into its memory.
    #[test]
    fn memory_that_makes_no_sense() {
        let mut data = vec![0u64; 1 << 16];
        let start = 0xc0_0000_0000u64;
        let mut state = 88_172_645_463_325_252u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..2 {
            for word in &mut data {
                *word = match next() % 8 {
                    0 => u64::MAX - next() % 64,
                    1 => next() % 64,
                    2 => next(),
                    3 => PAGE * (next() % 1000),
                    // Somewhere in it; also so that its table is the one that is looked for.
                    4 => (start + 8 * (next() % (1 << 16))).wrapping_sub(8 * (ARENA_OFFSET / ARENA)),
                    _ => start + 8 * (next() % (1 << 16)),
                };
            }
            let memory = Memory::of(start, data.clone());
            let range = start..start + 8 * data.len() as u64;
            let known = if round % 2 == 0 { start } else { next() };
            let found = Layout::find(&memory, std::slice::from_ref(&range), known, 152);
            assert!(found.is_none(), "{found:?}");
            for layout in [0; 3].map(|_| next() % (8 << 16)) {
                let at = start + (layout & !7);
                let layout = Layout { arenas: at, spans: (next() % 4096) & !7, size: 104, goroutines: at };
                if let Some(heap) = layout.heap(&memory) {
                    heap.object(next());
                    heap.own(next());
                    layout.goroutines(&memory, &heap, 152);
                }
            }
        }
    }
}
