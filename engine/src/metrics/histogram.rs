//! [`Histogram`]: how values are distributed, at a fixed relative resolution over all of `u64`.
//!
//! Buckets are log-linear, as in HdrHistogram: values below 128 have a bucket each; above, every power of two is cut
//! into 64 buckets of equal width, so a bucket is at most 1/64 = 1.6 % of its values wide.
//!
//! ```text
//! value      0 1 2 .. 127 | 128..129 130..131 .. 254..255 | 256..259 .. 508..511 | ..
//! bucket     0 1 2 .. 127 |      128      129 ..      191 |      192 ..      255 | ..
//! ```
//!
//! **Invariants**
//! - All memory, 30 KiB, is taken when the histogram is made; recording is a few plain loads and stores.
//! - One writer, as for [`Counter`](super::Counter). A reader that comes in between two stores of one record may see it in
//!   the buckets and not yet in the sum; each number by itself is right.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::cell::Owner;

/// Buckets in each power of two, as a power of two.
const PRECISION_BITS: u32 = 6;
const PER_OCTAVE: usize = 1 << PRECISION_BITS;
/// The octaves of values 2^6 and up, each with `PER_OCTAVE` buckets, after the `PER_OCTAVE` values below.
const BUCKET_COUNT: usize = PER_OCTAVE + (u64::BITS - PRECISION_BITS) as usize * PER_OCTAVE;

const _: () = assert!(bucket_of(u64::MAX) == BUCKET_COUNT - 1);

/// The bucket of a value.
const fn bucket_of(value: u64) -> usize {
    if value < PER_OCTAVE as u64 {
        return value as usize;
    }
    let octave = value.ilog2() - PRECISION_BITS;
    octave as usize * PER_OCTAVE + (value >> octave) as usize
}

/// The smallest and the largest value of a bucket.
const fn bounds_of(bucket: usize) -> (u64, u64) {
    if bucket < PER_OCTAVE {
        return (bucket as u64, bucket as u64);
    }
    let octave = bucket / PER_OCTAVE - 1;
    let first = ((bucket - octave * PER_OCTAVE) as u64) << octave;
    (first, first + ((1 << octave) - 1))
}

/// Counts values by size; for one writer.
///
/// ```
/// let latency_us = thalweg::metrics::Histogram::new();
/// (1..=1_000).for_each(|us| latency_us.record(us));
/// let summary = latency_us.counts().summary();
/// assert_eq!(summary.count, 1_000);
/// assert!((500..=508).contains(&summary.p50));
/// assert_eq!(summary.max, 1_000);
/// ```
#[derive(Debug)]
pub struct Histogram {
    /// Each written by the owner alone; read by anyone; publishes nothing. So are the fields below.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
    owner: Owner,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// Empty. Takes all memory it will ever need.
    pub fn new() -> Self {
        Self {
            buckets: (0..BUCKET_COUNT).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
            owner: Owner::new(),
        }
    }

    /// Counts one value. For the owner alone.
    ///
    /// # Panics
    /// In debug builds, if another thread has written before.
    #[inline]
    pub fn record(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// Counts a value `count` times. For the owner alone.
    ///
    /// # Panics
    /// In debug builds, if another thread has written before.
    #[inline]
    pub fn record_many(&self, value: u64, count: u64) {
        self.owner.assert_here();
        if count == 0 {
            return;
        }
        let add = |cell: &AtomicU64, n: u64| {
            cell.store(cell.load(Ordering::Relaxed).saturating_add(n), Ordering::Relaxed);
        };
        add(&self.buckets[bucket_of(value)], count);
        add(&self.sum, value.saturating_mul(count));
        if value < self.min.load(Ordering::Relaxed) {
            self.min.store(value, Ordering::Relaxed);
        }
        if value > self.max.load(Ordering::Relaxed) {
            self.max.store(value, Ordering::Relaxed);
        }
    }

    /// The counts now.
    pub fn counts(&self) -> HistogramCounts {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        HistogramCounts {
            buckets: self.buckets.iter().map(load).collect(),
            sum: load(&self.sum),
            min: load(&self.min),
            max: load(&self.max),
        }
    }
}

/// What a histogram has counted, as plain numbers that can be merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramCounts {
    buckets: Vec<u64>,
    sum: u64,
    min: u64,
    max: u64,
}

impl Default for HistogramCounts {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKET_COUNT], sum: 0, min: u64::MAX, max: 0 }
    }
}

impl HistogramCounts {
    /// Adds what another histogram counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*theirs);
        }
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum: u64, bucket| sum.saturating_add(*bucket))
    }

    /// The value that `quantile` (0 to 1) of all values do not exceed, rounded up to the end of its bucket, so by at most
    /// 1.6 %; 0 if nothing was counted.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let count = self.count();
        if count == 0 {
            return 0;
        }
        // Beyond 2^53 values the product is off by a few of them, which no bucket shows.
        let rank = ((quantile.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count);
        let mut seen = 0u64;
        for (bucket, here) in self.buckets.iter().enumerate() {
            seen = seen.saturating_add(*here);
            if seen >= rank {
                let (first, last) = bounds_of(bucket);
                // The maximum is exact, but may be read a moment before the bucket it belongs to.
                return last.min(self.max.max(first));
            }
        }
        self.max
    }

    /// The numbers a person reads.
    pub fn summary(&self) -> HistogramSnapshot {
        let count = self.count();
        let min = if count == 0 { 0 } else { self.min.min(self.quantile(0.0)) };
        HistogramSnapshot {
            count,
            sum: self.sum,
            min,
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: self.max.max(self.quantile(1.0)),
        }
    }
}

/// The distribution of a histogram's values; all zero if it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistogramSnapshot {
    /// How many values.
    pub count: u64,
    /// Their sum; stays at `u64::MAX` once it gets there.
    pub sum: u64,
    /// The smallest, exact.
    pub min: u64,
    /// Half of the values do not exceed this; it and the other quantiles are at most 1.6 % too large.
    pub p50: u64,
    /// Nor 90 % this.
    pub p90: u64,
    /// Nor 99 % this.
    pub p99: u64,
    /// Nor 99.9 % this.
    pub p999: u64,
    /// The largest, exact.
    pub max: u64,
}

impl HistogramSnapshot {
    /// The mean; 0 without values.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_tile_all_of_u64() {
        let mut next = 0u64;
        for bucket in 0..BUCKET_COUNT {
            let (first, last) = bounds_of(bucket);
            assert_eq!(first, next, "bucket {bucket}");
            assert_eq!((bucket_of(first), bucket_of(last)), (bucket, bucket));
            assert!(last - first <= first / 64, "bucket {bucket} is too wide");
            next = last.wrapping_add(1);
        }
        assert_eq!(next, 0, "the last bucket ends at the largest value");
    }

    #[test]
    fn quantiles_agree_with_sorted_values() {
        // A fixed linear congruence, spread over many magnitudes.
        let mut state = 1u64;
        let mut values: Vec<u64> = (0..10_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 20) >> (state % 40)
            })
            .collect();
        let histogram = Histogram::new();
        values.iter().for_each(|value| histogram.record(*value));
        values.sort_unstable();
        let counts = histogram.counts();
        for quantile in [0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let rank = ((quantile * values.len() as f64).ceil() as usize).max(1);
            let (exact, read) = (values[rank - 1], counts.quantile(quantile));
            assert!(read >= exact && read - exact <= exact / 64, "{quantile}: {read} for {exact}");
        }
        let summary = counts.summary();
        assert_eq!(summary.min, values[0]);
        assert_eq!(summary.max, values[values.len() - 1]);
        assert_eq!(summary.sum, values.iter().sum::<u64>());
    }

    #[test]
    fn an_empty_histogram_is_all_zero() {
        assert_eq!(Histogram::new().counts().summary(), HistogramSnapshot::default());
        assert_eq!(HistogramSnapshot::default().mean(), 0.0);
        assert_eq!(HistogramCounts::default(), Histogram::new().counts());
    }

    #[test]
    fn extremes() {
        let histogram = Histogram::new();
        histogram.record(u64::MAX);
        histogram.record(0);
        histogram.record_many(3, 0);
        let summary = histogram.counts().summary();
        assert_eq!((summary.count, summary.min, summary.p50, summary.max), (2, 0, 0, u64::MAX));
        histogram.record(u64::MAX);
        assert_eq!(histogram.counts().summary().sum, u64::MAX);
    }

    #[test]
    fn merging_is_counting_together() {
        let (left, right, both) = (Histogram::new(), Histogram::new(), Histogram::new());
        for value in 0..5_000u64 {
            let part = if value % 3 == 0 { &left } else { &right };
            part.record_many(value * value, 2);
            both.record_many(value * value, 2);
        }
        let mut merged = left.counts();
        merged.merge(&right.counts());
        assert_eq!(merged, both.counts());
        merged.merge(&HistogramCounts::default());
        assert_eq!(merged.summary(), both.counts().summary());
        assert_eq!(merged.summary().mean(), both.counts().sum as f64 / 10_000.0);
    }
}
