//! The segment's file, mapped piece by piece.
//!
//! A piece that follows one that is mapped needs neither the file's descriptor nor its path, which a program may have
//! made useless (closed, another root, another user): `mremap` of a shared page with an old size of 0 maps the same
//! file from there on.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lockprof_wire::layout::{PAGE, note};

use crate::sys::backoff::Backoff;
use crate::sys::private::map_behind;

/// Pages of a file, as they are made ready.
pub trait Pages {
    /// Makes sure of the memory behind bytes at `offset` of the file, which are mapped at `at`; or says why there is none.
    fn populate(&self, at: *mut u8, offset: u64, bytes: u64) -> Result<(), u32>;
}

/// The first size of a piece of a table, bytes.
pub const UNIT: u64 = 16 << 10;
/// Pieces of the largest table.
const ROW_PIECES: usize = 64;

/// Number of the piece in which a byte of a table lies: four of one size, then four of the double size, and so on. So
/// the address of a row is found without a search, and at most a quarter more is mapped than is used.
#[inline(always)]
const fn piece_of(offset: u64) -> usize {
    let unit = offset / UNIT;
    if unit < 4 {
        return unit as usize;
    }
    let exponent = unit.ilog2() - 2;
    ((exponent as usize + 1) << 2) + (unit >> exponent) as usize - 4
}

/// Where a piece begins, bytes from the start of its table.
const fn piece_start(piece: usize) -> u64 {
    if piece < 4 {
        return piece as u64 * UNIT;
    }
    let exponent = (piece >> 2) as u32 - 1;
    ((4 + (piece as u64 & 3)) << exponent) * UNIT
}

/// A table of rows. Valid when zero: nothing of it is mapped.
#[repr(C)]
pub struct Rows {
    /// Address of each piece, less its offset in the table.
    bases: [AtomicU64; ROW_PIECES],
    /// Bytes from the start of the table that are mapped, and those that are populated.
    mapped: AtomicU64,
    ready: AtomicU64,
    backoff: Backoff,
}

impl Rows {
    /// The first piece, mapped from the file.
    pub fn begin(&self, at: *mut u8) {
        self.bases[0].store(at as u64, Ordering::Relaxed);
        self.mapped.store(UNIT, Ordering::Relaxed);
    }

    /// Address of a byte of the table that is mapped.
    #[inline(always)]
    pub fn address(&self, offset: u64) -> u64 {
        // Who knows of a row has seen what made it (the count's Release, the inner lock).
        self.bases[piece_of(offset) % ROW_PIECES].load(Ordering::Relaxed) + offset
    }

    /// Sees to it that the first `bytes` of the table, which begins at `start` of the file and has `size`, can be
    /// written; `step` are made ready at a time. Or says why not: 0 if that was reported before.
    pub fn grow(&self, pages: &impl Pages, start: u64, size: u64, bytes: u64, step: u64) -> Result<(), u32> {
        if bytes <= self.ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut refused = 0;
        let grown =
            self.backoff.attempt(|| self.grow_now(pages, start, size, bytes, step).map_err(|why| refused = why).ok());
        grown.ok_or(refused)
    }

    fn grow_now(&self, pages: &impl Pages, start: u64, size: u64, bytes: u64, step: u64) -> Result<(), u32> {
        let mut ready = self.ready.load(Ordering::Relaxed);
        while ready < bytes {
            if ready == self.mapped.load(Ordering::Relaxed) {
                self.map_next(ready, size)?;
            }
            let end = (ready + step).min(piece_start(piece_of(ready) + 1)).min(size);
            pages.populate(self.address(ready) as *mut u8, start + ready, end - ready)?;
            ready = end;
            self.ready.store(ready, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Maps the first `bytes` of the table, which has `size`, as far as that can be done: what is mapped needs no more than
    /// `madvise` to be made ready.
    pub fn map_ahead(&self, size: u64, bytes: u64) {
        while self.mapped.load(Ordering::Relaxed) < bytes.min(size) {
            if self.map_next(self.mapped.load(Ordering::Relaxed), size).is_err() {
                return;
            }
        }
    }

    /// Maps the piece that begins at `mapped`.
    fn map_next(&self, mapped: u64, size: u64) -> Result<(), u32> {
        let piece = piece_of(mapped);
        let end = piece_start(piece + 1).min(size);
        let last = self.address(mapped - PAGE) as *mut u8;
        // SAFETY: the last page of the piece before is a shared mapping of ours.
        let at = unsafe { map_behind(last, end - mapped) }?;
        self.bases[piece].store(at as u64 - mapped, Ordering::Release);
        self.mapped.store(end, Ordering::Relaxed);
        Ok(())
    }
}

/// Pieces of the largest arena: mostly each is an eighth of all before it.
const ARENA_PIECES: usize = 192;
/// The least size of a piece of the arena, and the most that is mapped in advance, bytes.
pub const ARENA_PIECE: u64 = 64 << 10;
const ARENA_MOST: u64 = 64 << 20;

/// The arena: whatever is carved lies within one piece. Valid when zero: nothing of it is mapped.
#[repr(C)]
pub struct Arena {
    count: AtomicU32,
    /// Where each piece begins in the file, and its address.
    starts: [AtomicU64; ARENA_PIECES],
    addresses: [AtomicU64; ARENA_PIECES],
    /// Offset of the next free byte; behind what is mapped; behind what is populated.
    next: AtomicU64,
    mapped: AtomicU64,
    ready: AtomicU64,
    /// Of requests up to [`ARENA_PIECE`], and of larger ones: where these find no room, those may.
    backoff: [Backoff; 2],
}

impl Arena {
    /// The first piece, mapped from the file where the arena begins.
    pub fn begin(&self, at: *mut u8, start: u64) {
        self.next.store(start, Ordering::Relaxed);
        self.ready.store(start, Ordering::Relaxed);
        self.add(at, start, ARENA_PIECE);
    }

    fn add(&self, at: *mut u8, start: u64, bytes: u64) {
        let count = self.count.load(Ordering::Relaxed);
        self.starts[count as usize].store(start, Ordering::Relaxed);
        self.addresses[count as usize].store(at as u64, Ordering::Relaxed);
        self.mapped.store(start + bytes, Ordering::Relaxed);
        // Release: who sees the count finds the piece.
        self.count.store(count + 1, Ordering::Release);
    }

    /// Address of something that was carved.
    pub fn address(&self, offset: u64) -> u64 {
        let starts = &self.starts[..self.count.load(Ordering::Acquire) as usize];
        let behind = starts.partition_point(|start| start.load(Ordering::Relaxed) <= offset);
        let piece = behind.saturating_sub(1);
        self.addresses[piece].load(Ordering::Relaxed) + (offset - self.starts[piece].load(Ordering::Relaxed))
    }

    /// Offset of the next free byte.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Room for `bytes`, a multiple of 64, within `size` of the file: its offset; or why there is none, 0 if that was reported
    /// before.
    pub fn carve(&self, pages: &impl Pages, size: u64, bytes: u64) -> Result<u64, u32> {
        let mut refused = 0;
        let made =
            self.backoff_of(bytes).attempt(|| self.carve_now(pages, size, bytes).map_err(|why| refused = why).ok());
        made.ok_or(refused)
    }

    /// Whether so many bytes would be asked for, and not refused by memory alone.
    pub fn may_carve(&self, bytes: u64) -> bool {
        self.backoff_of(bytes).is_over()
    }

    fn backoff_of(&self, bytes: u64) -> &Backoff {
        &self.backoff[usize::from(bytes > ARENA_PIECE)]
    }

    fn carve_now(&self, pages: &impl Pages, size: u64, bytes: u64) -> Result<u64, u32> {
        let mut at = self.next();
        if at + bytes > self.mapped.load(Ordering::Relaxed) {
            // What is left of the piece is less than that, and not populated.
            at = self.map_next(size, bytes)?;
            self.next.store(at, Ordering::Relaxed);
        }
        let ready = self.ready.load(Ordering::Relaxed).max(at / PAGE * PAGE);
        let end = (at + bytes).next_multiple_of(PAGE);
        if ready < end {
            pages.populate(self.address(ready) as *mut u8, ready, end - ready)?;
            self.ready.store(end, Ordering::Relaxed);
        }
        self.next.store(at + bytes, Ordering::Relaxed);
        Ok(at)
    }

    /// Makes so many bytes ready that nothing is needed to carve them.
    pub fn make_ready(&self, pages: &impl Pages, size: u64, bytes: u64) -> Result<(), u32> {
        let next = self.next();
        self.carve_now(pages, size, bytes)?;
        // Nothing was taken, unless the piece before was too small.
        self.next.store(next.max(self.next() - bytes), Ordering::Relaxed);
        Ok(())
    }

    /// Maps one more piece, with room for `bytes`; its offset.
    fn map_next(&self, size: u64, bytes: u64) -> Result<u64, u32> {
        let mapped = self.mapped.load(Ordering::Relaxed);
        let count = self.count.load(Ordering::Relaxed) as usize;
        let left = size - mapped;
        let needed = bytes.next_multiple_of(PAGE);
        if needed > left || count == ARENA_PIECES {
            return Err(note::NO_MEMORY);
        }
        let before = mapped - self.starts[0].load(Ordering::Relaxed);
        let wanted = needed.max((before / 8).next_multiple_of(PAGE).clamp(ARENA_PIECE, ARENA_MOST)).min(left);
        let last = self.address(mapped - PAGE) as *mut u8;
        // SAFETY: the last page of the piece before is a shared mapping of ours.
        let map = |bytes: u64| unsafe { map_behind(last, bytes) }.map(|at| (at, bytes));
        let (at, bytes) = map(wanted).or_else(|_| map(needed))?;
        self.add(at, mapped, bytes);
        Ok(mapped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_each_other() {
        for piece in 0..ROW_PIECES {
            let (start, end) = (piece_start(piece), piece_start(piece + 1));
            assert_eq!((piece_of(start), piece_of(end - 1), piece_of(end)), (piece, piece, piece + 1));
            assert!(piece < 4 || (end - start) * 4 <= start);
        }
        assert!(piece_start(ROW_PIECES) > lockprof_wire::layout::SIZE_MAX / 8, "thread slots, the largest table");
    }

    #[test]
    fn the_arena_has_pieces_enough() {
        let (mut mapped, mut pieces) = (ARENA_PIECE, 1);
        while mapped < lockprof_wire::layout::SIZE_MAX {
            mapped += (mapped / 8).next_multiple_of(PAGE).clamp(ARENA_PIECE, ARENA_MOST);
            pieces += 1;
        }
        assert!(pieces < ARENA_PIECES, "{pieces}");
    }
}
