//! Percentiles from buckets whose borders are fixed, so that every source of the same events gives the same numbers.
//!
//! Each power of two is divided into 64 buckets of equal width; values below 64 have one each:
//!
//!     bucket(v) = v                                       v < 64
//!               = (s + 1) * 64 + (v >> s) - 64            s = floor(log2 v) - 6
//!
//! A percentile is told as the greatest value of its bucket: never below the true one, and above it by less than 1/64 (1.6 %).

/// Buckets in each power of two.
const PARTS: u64 = 64;
const PARTS_BITS: u32 = PARTS.ilog2();
/// Buckets of all of `u64`.
const BUCKETS: usize = (64 - PARTS_BITS as usize + 1) * PARTS as usize;

/// Counts of values, by bucket.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Greatest error of a percentile, as a part of the true value. It is never below.
    pub const ERROR: f64 = 1.0 / PARTS as f64;

    /// Returns the number of the bucket of a value.
    pub fn bucket(value: u64) -> usize {
        if value < PARTS {
            return usize::try_from(value).unwrap_or(usize::MAX);
        }
        let shift = value.ilog2() - PARTS_BITS;
        usize::try_from(u64::from(shift + 1) * PARTS + (value >> shift) - PARTS).unwrap_or(usize::MAX)
    }

    /// Returns the greatest value of a bucket.
    pub fn greatest(bucket: usize) -> u64 {
        let bucket = bucket as u64;
        if bucket < PARTS {
            return bucket;
        }
        let shift = bucket / PARTS - 1;
        // The last bucket's is the greatest there is: computed in more bits than it has.
        u64::try_from(((u128::from(bucket % PARTS + PARTS) + 1) << shift) - 1).unwrap_or(u64::MAX)
    }

    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        self.add_bucket(Self::bucket(value), 1);
        self.max = self.max.max(value);
    }

    /// Counts `count` values of one bucket, as a database that has counted by bucket gives them; see also [`Histogram::seen`].
    pub fn add_bucket(&mut self, bucket: usize, count: u64) {
        if let Some(slot) = self.counts.get_mut(bucket) {
            *slot += count;
            self.total += count;
        }
    }

    /// Notes the greatest value, where values were counted by bucket.
    pub fn seen(&mut self, max: u64) {
        self.max = self.max.max(max);
    }

    /// Returns how many values were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Returns the greatest value, exactly.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Returns the least value that at least `percent` of a hundred values do not exceed, by the bucket; 0 where there is none.
    pub fn percentile(&self, percent: u64) -> u64 {
        let rank = (u128::from(self.total) * u128::from(percent)).div_ceil(100).max(1);
        let mut below = 0_u128;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += u128::from(*count);
            if below >= rank {
                return Self::greatest(bucket).min(self.max);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap_up_to_the_greatest_number() {
        let mut last = 0;
        for bucket in 1..BUCKETS {
            let first = Histogram::greatest(bucket - 1) + 1;
            assert_eq!((Histogram::bucket(first - 1), Histogram::bucket(first)), (bucket - 1, bucket));
            last = Histogram::greatest(bucket);
        }
        assert_eq!((last, Histogram::bucket(u64::MAX)), (u64::MAX, BUCKETS - 1));
    }

    #[test]
    fn small_values_are_exact_and_none_is_zero() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.percentile(50), histogram.count(), histogram.max()), (0, 0, 0));
        (1..=40).for_each(|value| histogram.add(value));
        assert_eq!([0, 50, 95, 99, 100].map(|percent| histogram.percentile(percent)), [1, 20, 38, 40, 40]);
    }

    proptest! {
        #[test]
        fn a_percentile_is_never_below_and_at_most_the_stated_error_above(
            mut values in prop::collection::vec(prop_oneof![0..200_u64, 0..10_000_000_u64, any::<u64>()], 1..200), percent in 1..=100_u64,
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            values.sort_unstable();
            let exact = values[(values.len() * percent as usize).div_ceil(100) - 1];
            let told = histogram.percentile(percent);
            prop_assert!(told >= exact);
            prop_assert!((told - exact) as f64 <= exact as f64 * Histogram::ERROR, "{told} for {exact}");
        }

        #[test]
        fn counted_by_bucket_it_says_the_same(values in prop::collection::vec(any::<u32>(), 1..100)) {
            let (mut one, mut other) = (Histogram::default(), Histogram::default());
            for value in values.iter().map(|value| u64::from(*value)) {
                one.add(value);
                other.add_bucket(Histogram::bucket(value), 1);
                other.seen(value);
            }
            for percent in [50, 95, 99] {
                prop_assert_eq!(one.percentile(percent), other.percentile(percent));
            }
        }
    }
}
