//! A histogram of durations with bounded relative error and exact merging.
//!
//! Log-linear buckets as in HdrHistogram: values below 16 have a bucket each; above, each power of
//! two is split into 16 buckets, so a bucket is at most 1/16 of its value wide. Only the range that
//! was met is stored.

const SUB_BITS: u32 = 4;
const SUB: u64 = 1 << SUB_BITS;

/// Durations in nanoseconds, counted in buckets; `sum`, `min` and `max` are exact.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Number of values.
    pub count: u64,
    /// Sum of the values, ns.
    pub sum: u64,
    /// Least value, ns; 0 while empty.
    pub min: u64,
    /// Greatest value, ns.
    pub max: u64,
    /// Bucket number of `counts[0]`.
    first: u32,
    counts: Vec<u64>,
}

/// The bucket of a value.
pub fn bucket(value: u64) -> u32 {
    if value < SUB {
        return value as u32;
    }
    let exponent = 63 - value.leading_zeros();
    let sub = (value >> (exponent - SUB_BITS)) & (SUB - 1);
    ((exponent - SUB_BITS + 1) << SUB_BITS) + sub as u32
}

/// The last bucket: that of `u64::MAX`.
pub const LAST_BUCKET: u32 = ((64 - SUB_BITS) << SUB_BITS) + (SUB as u32 - 1);

/// Least value of a bucket, up to [`LAST_BUCKET`].
pub fn bucket_low(bucket: u32) -> u64 {
    if u64::from(bucket) < SUB {
        return u64::from(bucket);
    }
    let exponent = (bucket >> SUB_BITS) + SUB_BITS - 1;
    let sub = u64::from(bucket) & (SUB - 1);
    (SUB + sub) << (exponent - SUB_BITS)
}

impl Histogram {
    /// Puts a histogram together from what [`Self::buckets`] and the public fields tell.
    ///
    /// `None` where the buckets do not ascend, one is past [`LAST_BUCKET`] or holds nothing, or the
    /// counts add up to more than a `u64` holds.
    pub fn from_parts(count: u64, sum: u64, min: u64, max: u64, buckets: &[(u32, u64)]) -> Option<Self> {
        let mut histogram = Self { count, sum, min, max, first: 0, counts: Vec::new() };
        let (Some((first, _)), Some((last, _))) = (buckets.first(), buckets.last()) else { return Some(histogram) };
        let ascending = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let total = buckets.iter().try_fold(0u64, |total, (_, count)| total.checked_add(*count));
        if !ascending || *last > LAST_BUCKET || total.is_none() || buckets.iter().any(|(_, count)| *count == 0) {
            return None;
        }
        histogram.first = *first;
        histogram.counts.resize((last - first) as usize + 1, 0);
        for (bucket, count) in buckets {
            histogram.counts[(bucket - first) as usize] = *count;
        }
        Some(histogram)
    }

    /// Counts one value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.record_summary(1, value, value, value);
        *self.slot(bucket(value)) += 1;
    }

    /// Counts values known by their sum and extremes only; the buckets are told by [`Self::add_to_bucket`].
    #[inline]
    pub fn record_summary(&mut self, count: u64, sum: u64, min: u64, max: u64) {
        if count == 0 {
            return;
        }
        self.min = if self.count == 0 { min } else { self.min.min(min) };
        self.max = self.max.max(max);
        self.count += count;
        self.sum = self.sum.saturating_add(sum);
    }

    /// Adds to the bucket of `value` without touching the sums.
    pub fn add_to_bucket(&mut self, value: u64, count: u64) {
        *self.slot(bucket(value)) += count;
    }

    #[inline]
    fn slot(&mut self, bucket: u32) -> &mut u64 {
        let at = bucket.wrapping_sub(self.first) as usize;
        if at >= self.counts.len() {
            return self.new_slot(bucket);
        }
        &mut self.counts[at]
    }

    /// The same where the bucket lies outside the range that was met so far.
    #[cold]
    fn new_slot(&mut self, bucket: u32) -> &mut u64 {
        if self.counts.is_empty() {
            self.first = bucket;
        }
        if bucket < self.first {
            let missing = (self.first - bucket) as usize;
            self.counts.splice(0..0, core::iter::repeat_n(0, missing));
            self.first = bucket;
        }
        let at = (bucket - self.first) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        &mut self.counts[at]
    }

    /// Adds another histogram's values.
    pub fn merge(&mut self, other: &Self) {
        self.record_summary(other.count, other.sum, other.min, other.max);
        for (bucket, count) in other.buckets() {
            *self.slot(bucket) += count;
        }
    }

    /// The buckets that hold something: (bucket, count), ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let first = self.first;
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(move |(at, count)| (first + at as u32, *count))
    }

    /// The value below which a share `q` (0 to 1) of the values lies, ns, within 1/16 of it; 0 while empty.
    pub fn quantile(&self, q: f64) -> u64 {
        let total: u64 = self.counts.iter().sum();
        if total == 0 {
            return 0;
        }
        let rank = ((q * total as f64).ceil() as u64).clamp(1, total);
        let mut below = 0;
        for (bucket, count) in self.buckets() {
            if below + count >= rank {
                let low = bucket_low(bucket);
                let width = if bucket < LAST_BUCKET { bucket_low(bucket + 1) - low } else { u64::MAX - low };
                let within = (rank - below) as f64 / count as f64;
                let value = low.saturating_add((width as f64 * within) as u64);
                // Not `clamp`, which panics where a recording has its extremes the wrong way round.
                return value.max(self.min).min(self.max);
            }
            below += count;
        }
        self.max
    }

    /// Mean, ns; 0 while empty.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        let mut last = 0;
        for value in (0..10_000u64).chain((14..44).flat_map(|e| [(1 << e) - 1, 1 << e, (1 << e) + 1])) {
            let at = bucket(value);
            assert!(bucket_low(at) <= value && value < bucket_low(at + 1), "{value}");
            assert!(at >= last);
            last = at;
            assert!((bucket_low(at + 1) - bucket_low(at)) as f64 <= (value as f64 / 16.0).max(1.0));
        }
        assert_eq!(bucket(u64::MAX), LAST_BUCKET);
    }

    #[test]
    fn the_greatest_value_has_a_quantile() {
        let mut histogram = Histogram::default();
        histogram.record(u64::MAX);
        assert_eq!(histogram.quantile(0.5), u64::MAX);
    }

    #[test]
    fn parts_make_the_same_histogram() {
        let mut histogram = Histogram::default();
        [0, 7, 100, 5_000, 1 << 40].into_iter().for_each(|value| histogram.record(value));
        let buckets: Vec<_> = histogram.buckets().collect();
        let rebuild = |buckets: &[(u32, u64)]| {
            Histogram::from_parts(histogram.count, histogram.sum, histogram.min, histogram.max, buckets)
        };
        assert_eq!(rebuild(&buckets), Some(histogram.clone()));
        assert_eq!(rebuild(&[(3, 1), (3, 1)]), None);
        assert_eq!(rebuild(&[(3, 0)]), None);
        assert_eq!(rebuild(&[(LAST_BUCKET + 1, 1)]), None);
        assert_eq!(rebuild(&[(3, u64::MAX), (4, 1)]), None);
    }

    #[test]
    fn quantiles_of_known_values() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|v| histogram.record(v * 1000));
        assert_eq!((histogram.count, histogram.min, histogram.max), (1000, 1000, 1_000_000));
        for (q, want) in [(0.5, 500_000.0), (0.9, 900_000.0), (0.99, 990_000.0)] {
            assert!((histogram.quantile(q) as f64 - want).abs() / want < 1.0 / 16.0);
        }
    }

    #[test]
    fn merging_equals_recording_together() {
        let (mut a, mut b, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for v in 0..5000u64 {
            let value = v.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 30;
            if v % 3 == 0 {
                a.record(value)
            } else {
                b.record(value)
            }
            both.record(value);
        }
        a.merge(&b);
        assert!(a.buckets().eq(both.buckets()));
        assert_eq!((a.count, a.sum, a.min, a.max), (both.count, both.sum, both.min, both.max));
    }
}
