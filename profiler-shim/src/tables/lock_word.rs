//! What the hooks know of a lock, in one word that is read and written at once: its row, its kind, and what is particular
//! about it.

use core::sync::atomic::{AtomicU64, Ordering};

use lockprof_wire::Kind;
use lockprof_wire::lock::TraitBits;

/// What is particular about a lock: what the collector is told ([`TraitBits`]), and two things that only hooks ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockTraits(u16);

impl LockTraits {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Its owner may take it again.
    pub const RECURSIVE: Self = Self::of(TraitBits::RECURSIVE);
    /// It survives the death of its owner. A try on one that cannot be recovered leaves it locked (glibc 2.36), so it is
    /// never tried first.
    pub const ROBUST: Self = Self::of(TraitBits::ROBUST);
    /// A semaphore that is used as a lock.
    pub const BINARY: Self = Self::of(TraitBits::BINARY);
    /// A mutex that is not just glibc's plain one (error-checking, adaptive, priority-inheriting, with lock elision): its
    /// lock word does not tell whether it was free.
    pub const PECULIAR: Self = Self(1 << 8);
    /// It has no tag of ours and never gets one (see `object_marker`).
    pub const UNTAGGED: Self = Self(1 << 9);

    /// Those that the collector is told.
    pub const fn of(bits: TraitBits) -> Self {
        Self(bits.bits() as u16)
    }

    /// These, if `is`; else none.
    pub const fn when(self, is: bool) -> Self {
        if is { self } else { Self::NONE }
    }

    /// These and those.
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    #[inline(always)]
    const fn has(self, any_of: Self) -> bool {
        self.0 & any_of.0 != 0
    }

    /// Whether the lock may have a tag.
    #[inline(always)]
    pub const fn is_tagged(self) -> bool {
        !self.has(Self::UNTAGGED)
    }

    /// What the collector is told.
    pub const fn published(self) -> TraitBits {
        TraitBits::from_bits(self.0 as u8)
    }
}

/// Row | kind << 32 | [`LockTraits`] << 40. A row of 0: no lock, or none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockWord(u64);

impl LockWord {
    /// No lock.
    pub const NONE: Self = Self(0);
    const KIND: u32 = 32;
    const TRAITS: u32 = 40;
    /// Bit in the number of the kind: the object was destroyed. So whoever looks for the kind does not find it, and it
    /// costs those nothing.
    const DESTROYED: u64 = 0x80 << Self::KIND;

    /// The word of a row.
    pub const fn new(row: u32, kind: Kind, traits: LockTraits) -> Self {
        Self(row as u64 | (kind as u64) << Self::KIND | (traits.0 as u64) << Self::TRAITS)
    }

    /// The row in the segment; 0 for none.
    #[inline(always)]
    pub const fn row(self) -> u32 {
        self.0 as u32
    }

    /// Whether it has a row.
    #[inline(always)]
    pub const fn has_row(self) -> bool {
        self.row() != 0
    }

    /// Whether it has a row and is of this kind.
    #[inline(always)]
    pub const fn is_of(self, kind: Kind) -> bool {
        self.has_row() && (self.0 >> Self::KIND) as u8 == kind as u8
    }

    /// Its kind, if it has a row.
    pub const fn kind(self) -> Option<Kind> {
        if self.has_row() { Kind::from_number((self.0 >> Self::KIND) as u8) } else { None }
    }

    /// The same, or no lock where the object was destroyed.
    pub const fn living(self) -> Self {
        if self.0 & Self::DESTROYED == 0 { self } else { Self::NONE }
    }

    /// What is particular about it.
    #[inline(always)]
    pub const fn traits(self) -> LockTraits {
        LockTraits((self.0 >> Self::TRAITS) as u16)
    }

    /// The same row and kind with these traits.
    pub const fn with_traits(self, traits: LockTraits) -> Self {
        Self(self.0 & ((1 << Self::TRAITS) - 1) | (traits.0 as u64) << Self::TRAITS)
    }

    /// The same without being used as a lock.
    pub const fn without_binary(self) -> Self {
        Self(self.0 & !((LockTraits::BINARY.0 as u64) << Self::TRAITS))
    }

    /// Whether nothing is particular about it.
    #[inline(always)]
    pub const fn is_usual(self) -> bool {
        self.0 >> Self::TRAITS == 0
    }

    /// Whether nothing is particular about it but that it has no tag.
    pub const fn is_usual_but_for_its_tag(self) -> bool {
        self.traits().0 & !LockTraits::UNTAGGED.0 == 0
    }

    /// Whether it may have a tag.
    #[inline(always)]
    pub const fn is_tagged(self) -> bool {
        self.traits().is_tagged()
    }

    /// Whether it may not just be tried first and then taken as any other.
    #[inline(always)]
    pub const fn needs_care(self) -> bool {
        self.traits().has(LockTraits::RECURSIVE.with(LockTraits::ROBUST).with(LockTraits::UNTAGGED))
    }

    /// Whether its owner may take it again.
    #[inline(always)]
    pub const fn is_recursive(self) -> bool {
        self.traits().has(LockTraits::RECURSIVE)
    }

    /// Whether it survives the death of its owner.
    pub const fn is_robust(self) -> bool {
        self.traits().has(LockTraits::ROBUST)
    }

    /// Whether it is a semaphore that is used as a lock.
    pub const fn is_binary(self) -> bool {
        self.traits().has(LockTraits::BINARY)
    }
}

/// A [`LockWord`] that threads share. Written under the inner lock but for what changes single bits; anybody reads. Valid when
/// zero: no lock.
#[repr(transparent)]
pub struct AtomicLockWord(AtomicU64);

impl AtomicLockWord {
    /// What it is now.
    #[inline(always)]
    pub fn load(&self) -> LockWord {
        LockWord(self.0.load(Ordering::Relaxed))
    }

    /// Makes it this.
    pub fn store(&self, word: LockWord) {
        self.0.store(word.0, Ordering::Relaxed);
    }

    /// The object was destroyed. Gives what it was; no lock where it was none, or destroyed before.
    pub fn destroy(&self) -> LockWord {
        LockWord(self.0.fetch_or(LockWord::DESTROYED, Ordering::Relaxed)).living()
    }

    /// Whether it was this before it was destroyed.
    pub fn was(&self, word: LockWord) -> bool {
        self.0.load(Ordering::Relaxed) == word.0 | LockWord::DESTROYED
    }

    /// Another object goes on with its row. Whoever else comes first to the new object does the same.
    pub fn revive(&self) {
        self.0.fetch_and(!LockWord::DESTROYED, Ordering::Relaxed);
    }

    /// The semaphore is not used as a lock any more.
    pub fn no_binary(&self) {
        self.0.fetch_and(LockWord(u64::MAX).without_binary().0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_their_parts() {
        let traits = LockTraits::RECURSIVE.with(LockTraits::UNTAGGED);
        let word = LockWord::new(u32::MAX, Kind::Join, traits);
        assert_eq!((word.row(), word.kind(), word.traits()), (u32::MAX, Some(Kind::Join), traits));
        assert!(word.is_of(Kind::Join) && !word.is_of(Kind::Mutex) && word.is_recursive() && !word.is_tagged());
        assert!(!word.is_usual() && word.needs_care() && !word.is_usual_but_for_its_tag());
        assert!(word.traits().published().is_recursive());
        let plain = word.with_traits(LockTraits::NONE);
        assert!(plain.is_usual() && plain.is_of(Kind::Join) && plain.row() == u32::MAX);
        assert!(plain.with_traits(LockTraits::UNTAGGED).is_usual_but_for_its_tag());
        let none = LockWord::new(0, Kind::Mutex, LockTraits::NONE);
        assert_eq!((none.kind(), none.is_of(Kind::Mutex)), (None, false));
    }

    #[test]
    fn a_semaphore_that_is_no_lock_keeps_the_rest() {
        let word = LockWord::new(7, Kind::Semaphore, LockTraits::BINARY.with(LockTraits::UNTAGGED));
        let shared = AtomicLockWord(AtomicU64::new(0));
        shared.store(word);
        shared.no_binary();
        assert_eq!(shared.load(), LockWord::new(7, Kind::Semaphore, LockTraits::UNTAGGED));
        let word = word.without_binary();
        assert_eq!((shared.load(), shared.destroy()), (word, word));
        assert_eq!((shared.load().living(), shared.destroy()), (LockWord::NONE, LockWord::NONE));
        assert!(!shared.load().is_of(Kind::Semaphore) && shared.load().kind().is_none() && shared.was(word));
        shared.revive();
        assert!(shared.load() == word && !shared.was(word));
    }
}
