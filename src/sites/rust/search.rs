//! How a large file is searched in little time: most calls are left out at a look, and parts are searched at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::functions::Function;

/// A bit for each address, which it has in common with others.
pub struct Sieve(Vec<u64>);

impl Sieve {
    const BITS: u64 = 1 << 16;

    /// Of these addresses.
    pub fn new(addresses: &[u64]) -> Self {
        let mut words = vec![0; Self::BITS as usize / 64];
        addresses.iter().map(|address| Self::bit(*address)).for_each(|bit| words[bit / 64] |= 1 << (bit % 64));
        Self(words)
    }

    /// Whether it may be one of the addresses.
    pub fn has(&self, address: u64) -> bool {
        let bit = Self::bit(address);
        self.0[bit / 64] >> (bit % 64) & 1 != 0
    }

    fn bit(address: u64) -> usize {
        ((address >> 3 ^ address >> 19) % Self::BITS) as usize
    }
}

/// Looks at a few parts of the functions at once.
pub fn in_parts<T: Send>(functions: &[Function], look: &(dyn Fn(&[Function]) -> T + Sync)) -> Vec<T> {
    const MOST: usize = 8;
    /// Fewer functions are looked at faster than a thread is made.
    const WORTH: usize = 2000;
    let processors = std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
    let parts = processors.min(functions.len() / WORTH).max(1);
    if parts == 1 {
        return vec![look(functions)];
    }
    // More parts than threads: some take longer.
    let size = functions.len().div_ceil(4 * parts);
    let chunks: Vec<&[Function]> = functions.chunks(size).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = chunks.get(at) else { return found };
            found.push((at, look(chunk)));
        }
    };
    let mut found = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..parts).map(|_| scope.spawn(work)).collect();
        let mut found = work();
        for thread in threads {
            match thread.join() {
                Ok(part) => found.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        found
    });
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, part)| part).collect()
}
