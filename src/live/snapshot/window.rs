//! What happened between two snapshots.

use rustc_hash::FxHashMap;

use super::{LockRow, Snapshot, Spread};

/// The part of `later` that came after `earlier`: counts, sums and histograms; locks and threads as they are in `later`.
/// The extremes of what came in between are those of its buckets, but never beyond the exact ones.
pub fn since(later: &Snapshot, earlier: &Snapshot) -> Snapshot {
    let before: FxHashMap<u32, &LockRow> = earlier.locks.iter().map(|lock| (lock.id, lock)).collect();
    let mut out = later.clone();
    for lock in &mut out.locks {
        if let Some(before) = before.get(&lock.id) {
            lock.acquisitions = lock.acquisitions.saturating_sub(before.acquisitions);
            lock.contended = lock.contended.saturating_sub(before.contended);
            lock.wait = spread(&lock.wait, &before.wait);
            lock.hold = spread(&lock.hold, &before.hold);
        }
    }
    let threads: FxHashMap<u32, (u64, u64)> =
        earlier.threads.iter().map(|thread| (thread.id, (thread.acquisitions, thread.blocked_ns))).collect();
    for thread in &mut out.threads {
        if let Some((acquisitions, blocked_ns)) = threads.get(&thread.id) {
            thread.acquisitions = thread.acquisitions.saturating_sub(*acquisitions);
            thread.blocked_ns = thread.blocked_ns.saturating_sub(*blocked_ns);
        }
        // What it has been there of the time in between.
        thread.start_ns = thread.start_ns.max(earlier.at_ns);
    }
    out.acquisitions = later.acquisitions.saturating_sub(earlier.acquisitions);
    out.recorded = later.recorded.saturating_sub(earlier.recorded);
    out.folded = later.folded.saturating_sub(earlier.folded);
    out.cpu_ns = match (later.cpu_ns, earlier.cpu_ns) {
        // Less than before: a process has ended, and took its time with it.
        (Some(later), Some(earlier)) => later.checked_sub(earlier),
        _ => None,
    };
    out
}

fn spread(later: &Spread, earlier: &Spread) -> Spread {
    if earlier.count == 0 {
        return later.clone();
    }
    let mut before = earlier.buckets.iter().copied().peekable();
    let mut buckets = Vec::new();
    for (bucket, count) in &later.buckets {
        while before.next_if(|(other, _)| other < bucket).is_some() {}
        let known = before.next_if(|(other, _)| other == bucket).map_or(0, |(_, count)| count);
        if *count > known {
            buckets.push((*bucket, count - known));
        }
    }
    let count = later.count.saturating_sub(earlier.count);
    let sum = later.sum.saturating_sub(earlier.sum);
    use crate::model::histogram::{LAST_BUCKET, bucket_low};
    let low = buckets.first().map_or(0, |(bucket, _)| bucket_low((*bucket).min(LAST_BUCKET)));
    let high = buckets.last().map_or(
        0,
        |(bucket, _)| {
            if *bucket < LAST_BUCKET { bucket_low(bucket + 1) - 1 } else { u64::MAX }
        },
    );
    // A new extreme happened in between for certain.
    let max = if later.max > earlier.max { later.max } else { high.min(later.max) };
    let min = if later.min < earlier.min { later.min } else { low.max(later.min).min(max) };
    if count == 0 { Spread::default() } else { Spread { count, sum, min, max, buckets } }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::model::Histogram;

    proptest! {
        #[test]
        fn what_came_in_between(first in vec(0u64..1_000_000, 0..40), second in vec(0u64..1_000_000, 0..40)) {
            let of = |values: &[u64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|value| histogram.record(*value));
                histogram
            };
            let all: Vec<u64> = first.iter().chain(&second).copied().collect();
            let found = spread(&Spread::from(&of(&all)), &Spread::from(&of(&first)));
            let want = of(&second);
            prop_assert_eq!((found.count, found.sum), (want.count, want.sum));
            prop_assert_eq!(&found.buckets, &want.buckets().collect::<Vec<_>>());
            // Within a bucket: 1/16.
            prop_assert!(found.max >= want.max && found.max <= want.max + want.max / 16 + 1);
            prop_assert!(found.min <= want.min && found.min + found.min / 16 + 1 >= want.min);
            prop_assert!(found.histogram().quantile(0.5) <= found.max);
        }
    }
}
