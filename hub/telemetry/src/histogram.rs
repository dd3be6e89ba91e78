//! A histogram of microseconds: two relaxed additions a measurement, no lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the buckets, microseconds: from one signature check to the longest deadline.
pub const LATENCY_US: [u64; 16] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 5_000_000,
    30_000_000,
];
const BUCKETS: usize = LATENCY_US.len() + 1;

/// Counts by bucket, and the sum.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Adds one measurement, microseconds.
    pub fn add(&self, us: u64) {
        let at = LATENCY_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// How many measurements.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// Their sum, microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us.load(Ordering::Relaxed)
    }

    /// Upper bound in microseconds (none = no bound) and measurements up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = LATENCY_US.iter().map(|bound| Some(*bound)).chain([None]);
        let mut below = 0_u64;
        bounds.zip(&self.buckets).map(move |(bound, bucket)| {
            below = below.saturating_add(bucket.load(Ordering::Relaxed));
            (bound, below)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_lies_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for us in [0, 10, 11, 30_000_000, 30_000_001] {
            histogram.add(us);
        }
        let cumulative: Vec<_> = histogram.cumulative().collect();
        assert_eq!(cumulative.first(), Some(&(Some(10), 2)));
        assert_eq!(cumulative.get(1), Some(&(Some(25), 3)));
        assert_eq!(cumulative.get(15), Some(&(Some(30_000_000), 4)));
        assert_eq!(cumulative.last(), Some(&(None, 5)));
        assert_eq!((histogram.count(), histogram.sum_us()), (5, 60_000_022));
    }
}
