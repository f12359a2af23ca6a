//! Locks of one class as one row: sixteen shards of a cache are one thing to look at, until somebody wants each.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::live::snapshot::{LockRow, Snapshot, Spread};
use crate::model::lock_class::starred;

/// Locks that are first seen at one place in the code, of one process.
#[derive(Clone, Debug, Default)]
pub struct ClassRow {
    /// The same at each snapshot.
    pub id: u64,
    /// All of them together; of a class with one lock, the lock.
    pub row: LockRow,
    /// Where they are in the snapshot's list.
    pub members: Vec<usize>,
}

/// Tells classes apart, and from numbers of locks. A lock whose class is not known yet is one of its own.
pub fn class_id(row: &LockRow) -> u64 {
    let mut hasher = FxHasher::default();
    if row.class.is_empty() {
        row.id.hash(&mut hasher);
    }
    (row.pid, row.kind, &row.class).hash(&mut hasher);
    hasher.finish() | 1 << 63
}

/// The classes of a snapshot, in the order of their first locks.
pub fn classes(of: &Snapshot) -> Vec<ClassRow> {
    let mut at_id: FxHashMap<u64, usize> = FxHashMap::default();
    let mut all: Vec<ClassRow> = Vec::new();
    for (at, lock) in of.locks.iter().enumerate() {
        let id = class_id(lock);
        match at_id.get(&id) {
            Some(class) => {
                let class = &mut all[*class];
                class.members.push(at);
                add(&mut class.row, lock);
            }
            None => {
                at_id.insert(id, all.len());
                all.push(ClassRow { id, row: lock.clone(), members: vec![at] });
            }
        }
    }
    all
}

fn add(sum: &mut LockRow, lock: &LockRow) {
    if sum.name != lock.name {
        sum.name = starred(&sum.name, &lock.name).unwrap_or_else(|| lock.class.clone());
    }
    sum.acquisitions += lock.acquisitions;
    sum.contended += lock.contended;
    sum.waiters += lock.waiters;
    sum.owners.extend(&lock.owners);
    for (sum, spread) in [(&mut sum.wait, &lock.wait), (&mut sum.hold, &lock.hold)] {
        if sum.count == 0 {
            sum.clone_from(spread);
        } else if spread.count > 0 {
            let mut both = sum.histogram();
            both.merge(&spread.histogram());
            *sum = Spread::from(&both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_locks_are_one_row() {
        let lock = |id, name: &str, class: &str, waited: &[u64]| {
            let mut histogram = crate::model::Histogram::default();
            waited.iter().for_each(|ns| histogram.record(*ns));
            let wait = Spread::from(&histogram);
            LockRow { id, name: name.into(), class: class.into(), acquisitions: 3, wait, ..LockRow::default() }
        };
        let locks = vec![
            lock(1, "shard[0].mu", "a", &[5]),
            lock(2, "journal", "b", &[7]),
            lock(3, "shard[1].mu", "a", &[2, 9]),
            lock(4, "unknown", "", &[]),
            lock(5, "unknown", "", &[]),
        ];
        let found = classes(&Snapshot { locks, ..Snapshot::default() });
        let of = |class: &ClassRow| (class.row.name.clone(), class.members.clone(), class.row.wait.sum);
        assert_eq!(found.len(), 4);
        assert_eq!(of(&found[0]), ("shard[*].mu".into(), vec![0, 2], 16));
        assert_eq!((found[0].row.wait.max, found[0].row.acquisitions), (9, 6));
        assert_eq!(of(&found[1]), ("journal".into(), vec![1], 7));
        assert_ne!(found[2].id, found[3].id, "locks of no known class are told apart");
    }
}
