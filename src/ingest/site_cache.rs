//! Where the counts of a use of a lock are, for those met lately.

use super::decode::Access;
use crate::model::{LockId, ThreadId};

/// What is looked up: lock, stack, mode and thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CacheKey {
    lock_and_stack: u64,
    mode_and_thread: u64,
}

/// Where the counts of one (lock, stack, mode, thread) are.
#[derive(Clone, Copy)]
pub struct CachedSite {
    /// Of what.
    pub key: CacheKey,
    /// The session's lock.
    pub lock: LockId,
    /// Position of the site in the profile.
    pub site: u32,
    /// Position of the thread's share of it.
    pub share: u32,
    /// The lock takes part in the order of locks.
    pub in_order: bool,
    /// The lock's row stands for many.
    pub stands_for_many: bool,
}

/// Remembers the sites met lately: sets of two, as a processor's cache. Most threads use few locks at few places in the
/// code, so it begins small and grows with its misses.
pub struct SiteCache {
    entries: Box<[CachedSite]>,
    misses: usize,
}

impl CacheKey {
    /// The key of a use of a lock by a thread.
    #[inline]
    pub fn of(access: Access, thread: ThreadId) -> Self {
        Self {
            lock_and_stack: u64::from(access.lock) | u64::from(access.stack) << 32,
            mode_and_thread: u64::from(access.flags.is_shared()) | u64::from(thread.0) << 1,
        }
    }
}

impl SiteCache {
    const FIRST: usize = 128;
    const MOST: usize = 8192;
    const NONE: CachedSite = CachedSite {
        key: CacheKey { lock_and_stack: u64::MAX, mode_and_thread: u64::MAX },
        lock: LockId(0),
        site: 0,
        share: 0,
        in_order: false,
        stands_for_many: false,
    };

    /// An empty one.
    pub fn new() -> Self {
        Self { entries: vec![Self::NONE; Self::FIRST].into(), misses: 0 }
    }

    #[inline]
    fn index(&self, key: CacheKey) -> usize {
        (key.lock_and_stack.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize & (self.entries.len() - 1)
    }

    /// The site that was [remembered](Self::remember) for this key.
    #[inline]
    pub fn find(&self, key: CacheKey) -> Option<CachedSite> {
        let at = self.index(key);
        let first = &self.entries[at];
        if first.key == key {
            return Some(*first);
        }
        let second = &self.entries[at ^ 1];
        (second.key == key).then_some(*second)
    }

    /// Keeps a site until others push it out.
    pub fn remember(&mut self, site: CachedSite) {
        self.misses += 1;
        if self.misses > self.entries.len() && self.entries.len() < Self::MOST {
            *self = Self { entries: vec![Self::NONE; self.entries.len() * 4].into(), misses: 0 };
        }
        let at = self.index(site.key);
        self.entries[at ^ 1] = self.entries[at];
        self.entries[at] = site;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_found_again_until_others_push_them_out() {
        let mut cache = SiteCache::new();
        for number in 0..20_000u32 {
            let access = Access { lock: number, ..Access::default() };
            let key = |thread| CacheKey::of(access, ThreadId(thread));
            cache.remember(CachedSite { key: key(1), site: number, ..SiteCache::NONE });
            assert_eq!(cache.find(key(1)).map(|found| found.site), Some(number));
            assert!(cache.find(key(2)).is_none());
        }
        assert_eq!(cache.entries.len(), SiteCache::MOST);
    }
}
