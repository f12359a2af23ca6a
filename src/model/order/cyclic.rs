//! Whether the lock-order graph has a cycle at all: only then single events matter.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{How, Order};
use crate::model::ids::LockId;

impl Order {
    /// Whether some locks were asked for in a circle ("that held, this wanted"), whoever did. A joined thread may
    /// take any lock, so to hold one while joining counts as a circle.
    pub fn is_cyclic(&self, is_join: impl Fn(LockId) -> bool) -> bool {
        let mut edges: FxHashMap<LockId, Vec<LockId>> = FxHashMap::default();
        let mut known = FxHashSet::default();
        for key in self.requests.iter().map(|request| request.key).filter(|key| key.how != How::Try) {
            if is_join(key.lock) {
                return true;
            }
            for held in self.chains.walk(key.held).map(|link| link.lock) {
                if held == key.lock {
                    return true;
                }
                if known.insert((held, key.lock)) {
                    edges.entry(held).or_default().push(key.lock);
                }
            }
        }
        // Takes away nodes into which no edge leads (Kahn 1962); what is left lies on a circle or behind one.
        let mut into: FxHashMap<LockId, usize> = FxHashMap::default();
        for to in edges.values().flatten() {
            *into.entry(*to).or_default() += 1;
        }
        let mut free: Vec<_> = edges.keys().copied().filter(|lock| !into.contains_key(lock)).collect();
        while let Some(lock) = free.pop() {
            for to in edges.remove(&lock).unwrap_or_default() {
                if let Some(count) = into.get_mut(&to) {
                    *count -= 1;
                    if *count == 0 {
                        free.push(to);
                    }
                }
            }
        }
        !edges.is_empty()
    }
}
