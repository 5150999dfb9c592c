//! Where event time comes from: timestamps, watermarks, idleness.
//!
//! A [`WatermarkStrategy`] is a generator of watermarks, a timestamp assigner and an idle timeout, each made once a subtask. The rules
//! are Flink's: a watermark `w` says that no record with a timestamp <= `w` is expected; nothing is emitted before the
//! first record; a watermark never falls.

use crate::time::duration_ms;
use std::marker::PhantomData;
use std::time::Duration;

/// Makes watermarks from the records it sees.
pub trait WatermarkGenerator<T>: 'static {
    /// Does [`on_event`](Self::on_event) answer with watermarks? (Then records after such a one wait until it has passed.)
    const PUNCTUATED: bool = false;

    /// Sees each record with its timestamp (ms). A punctuated generator may answer with a watermark.
    fn on_event(&mut self, record: &T, timestamp_ms: i64) -> Option<i64>;

    /// Asked at each periodic tick; `None` for no news.
    fn on_periodic(&mut self) -> Option<i64>;
}

/// Watermark = largest timestamp − delay − 1 ms.
#[derive(Clone, Debug)]
pub struct BoundedOutOfOrderness {
    delay_ms: i64,
    max_ms: i64,
}

impl BoundedOutOfOrderness {
    /// Records may be late by up to `delay`.
    pub fn new(delay: Duration) -> Self {
        BoundedOutOfOrderness { delay_ms: duration_ms(delay), max_ms: i64::MIN }
    }
}

impl<T> WatermarkGenerator<T> for BoundedOutOfOrderness {
    #[inline(always)]
    fn on_event(&mut self, _: &T, timestamp_ms: i64) -> Option<i64> {
        self.max_ms = self.max_ms.max(timestamp_ms);
        None
    }
    #[inline(always)]
    fn on_periodic(&mut self) -> Option<i64> {
        let seen = self.max_ms > i64::MIN;
        seen.then(|| self.max_ms.saturating_sub(self.delay_ms).saturating_sub(1))
    }
}

/// No watermarks: event time stands still until the end of input.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWatermarks;

impl<T> WatermarkGenerator<T> for NoWatermarks {
    #[inline(always)]
    fn on_event(&mut self, _: &T, _: i64) -> Option<i64> {
        None
    }
    #[inline(always)]
    fn on_periodic(&mut self) -> Option<i64> {
        None
    }
}

/// Watermarks that certain records carry.
#[derive(Clone)]
pub struct Punctuated<F>(F);

impl<T: 'static, F: FnMut(&T, i64) -> Option<i64> + 'static> WatermarkGenerator<T>
    for Punctuated<F>
{
    const PUNCTUATED: bool = true;
    fn on_event(&mut self, record: &T, timestamp_ms: i64) -> Option<i64> {
        (self.0)(record, timestamp_ms)
    }
    fn on_periodic(&mut self) -> Option<i64> {
        None
    }
}

/// Assigns event timestamps.
pub trait TimestampAssigner<T>: 'static {
    /// The timestamp in milliseconds; `recorded_ms` is the one that the source or an earlier assigner gave.
    fn timestamp_ms(&mut self, record: &T, recorded_ms: i64) -> i64;
}

/// Keeps the timestamp that a record already has.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordedTimestamps;

impl<T> TimestampAssigner<T> for RecordedTimestamps {
    #[inline(always)]
    fn timestamp_ms(&mut self, _: &T, recorded_ms: i64) -> i64 {
        recorded_ms
    }
}

/// Reads the timestamp from the record.
#[derive(Clone)]
pub struct ByFunction<F>(F);

impl<T: 'static, F: FnMut(&T) -> i64 + 'static> TimestampAssigner<T> for ByFunction<F> {
    #[inline(always)]
    fn timestamp_ms(&mut self, record: &T, _: i64) -> i64 {
        (self.0)(record)
    }
}

/// How a stream gets its timestamps and watermarks.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let strategy = WatermarkStrategy::bounded_out_of_orderness(seconds(5))
///     .with_timestamp(|reading: &(i64, f64)| reading.0)
///     .with_idleness(minutes(1));
/// # let _ = strategy;
/// ```
pub struct WatermarkStrategy<T, G = BoundedOutOfOrderness, A = RecordedTimestamps> {
    pub(crate) generator: G,
    pub(crate) assigner: A,
    pub(crate) idle_timeout_ms: Option<i64>,
    _record: PhantomData<fn(T)>,
}

impl<T, G: Clone, A: Clone> Clone for WatermarkStrategy<T, G, A> {
    fn clone(&self) -> Self {
        WatermarkStrategy {
            generator: self.generator.clone(),
            assigner: self.assigner.clone(),
            idle_timeout_ms: self.idle_timeout_ms,
            _record: PhantomData,
        }
    }
}

impl<T: 'static> WatermarkStrategy<T> {
    /// Records may come up to `delay` after others with later timestamps.
    pub fn bounded_out_of_orderness(delay: Duration) -> Self {
        WatermarkStrategy::for_generator(BoundedOutOfOrderness::new(delay))
    }

    /// Timestamps only rise.
    pub fn monotonous() -> Self {
        Self::bounded_out_of_orderness(Duration::ZERO)
    }
}

impl<T: 'static> WatermarkStrategy<T, NoWatermarks> {
    /// Timestamps without watermarks.
    pub fn none() -> Self {
        WatermarkStrategy::for_generator(NoWatermarks)
    }
}

impl<T: 'static, F> WatermarkStrategy<T, Punctuated<F>>
where
    F: FnMut(&T, i64) -> Option<i64> + Clone + Send + 'static,
{
    /// `function` sees each record with its timestamp and answers with a watermark where the record carries one.
    pub fn punctuated(function: F) -> Self {
        WatermarkStrategy::for_generator(Punctuated(function))
    }
}

impl<T: 'static, G: WatermarkGenerator<T> + Clone + Send> WatermarkStrategy<T, G> {
    /// Watermarks by a generator of your own.
    pub fn for_generator(generator: G) -> Self {
        let assigner = RecordedTimestamps;
        WatermarkStrategy { generator, assigner, idle_timeout_ms: None, _record: PhantomData }
    }
}

impl<T: 'static, G, A> WatermarkStrategy<T, G, A> {
    /// Reads the timestamp (ms) from the record; without it records keep the one their source gave them.
    pub fn with_timestamp<F: FnMut(&T) -> i64 + Clone + Send + 'static>(
        self,
        function: F,
    ) -> WatermarkStrategy<T, G, ByFunction<F>> {
        WatermarkStrategy {
            generator: self.generator,
            assigner: ByFunction(function),
            idle_timeout_ms: self.idle_timeout_ms,
            _record: PhantomData,
        }
    }

    /// A subtask without records for `timeout` no longer holds others back. A timeout of zero is taken as 1 ms.
    pub fn with_idleness(mut self, timeout: Duration) -> Self {
        self.idle_timeout_ms = Some(duration_ms(timeout).max(1));
        self
    }
}
