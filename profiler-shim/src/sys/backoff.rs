//! When to ask again for what was refused.

use core::sync::atomic::{AtomicU32, Ordering};

/// A refusal costs system calls, and is followed by others mostly: after each one, twice as many requests as before go
/// without being asked for. Valid when zero. Use under the inner lock.
#[repr(C)]
pub struct Backoff {
    left: AtomicU32,
    distance: AtomicU32,
}

/// Most requests between two attempts: less than a second of a program that makes nothing but locks.
const MOST: u32 = 1 << 16;

impl Backoff {
    /// Tries, unless it was refused a short while ago.
    pub fn attempt<T>(&self, request: impl FnOnce() -> Option<T>) -> Option<T> {
        if !self.is_over() {
            return None;
        }
        let answer = request();
        let distance = if answer.is_some() { 0 } else { (self.distance.load(Ordering::Relaxed) * 2).clamp(1, MOST) };
        self.distance.store(distance, Ordering::Relaxed);
        self.left.store(distance, Ordering::Relaxed);
        answer
    }

    /// Whether the next request is tried. One that is not counts. May be asked without the inner lock.
    pub fn is_over(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
        }
        left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_become_rare_and_a_grant_ends_them() {
        let backoff = Backoff { left: AtomicU32::new(0), distance: AtomicU32::new(0) };
        let mut asked = 0;
        for _ in 0..1_000_000 {
            backoff.attempt(|| {
                asked += 1;
                None::<()>
            });
        }
        assert!((16..64).contains(&asked), "{asked}");
        while backoff.attempt(|| Some(())).is_none() {}
        assert!(backoff.is_over());
        assert_eq!(backoff.attempt(|| Some(())), Some(()));
    }
}
