//! Timeout, capacity and retries of asynchronous requests.

use crate::Result;
use crate::time::duration_ms;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

type OnTimeout<In, Out> = Arc<dyn Fn(&In) -> Result<Vec<Out>> + Send + Sync>;
type IfResult<Out> = Arc<dyn Fn(&[Out]) -> bool + Send + Sync>;
type IfError = Arc<dyn Fn(&(dyn Error + Send + Sync + 'static)) -> bool + Send + Sync>;

/// Requests in flight unless said otherwise.
const CAPACITY: usize = 100;

/// How an asynchronous operator treats its requests: timeout, capacity, retries.
///
/// Times run on the core's processing-time clock, so a test may set it.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// let options: AsyncOptions<u64, String> = AsyncOptions::timeout(seconds(5))
///     .capacity(1_000)
///     .retry(AsyncRetry::fixed_delay(3, milliseconds(100)).if_error(|_| true))
///     .on_timeout(|id| Ok(vec![format!("{id} took too long")]));
/// ```
pub struct AsyncOptions<In, Out> {
    timeout_ms: i64,
    capacity: usize,
    retry: Option<AsyncRetry<Out>>,
    on_timeout: Option<OnTimeout<In, Out>>,
}

impl<In, Out> AsyncOptions<In, Out> {
    /// Requests time out after `timeout`, which is counted from the first attempt and spans all retries; zero for never.
    ///
    /// Milliseconds count: a shorter timeout that is not zero is one millisecond.
    #[must_use]
    pub fn timeout(timeout: Duration) -> Self {
        let timeout_ms = whole_ms(timeout);
        AsyncOptions { timeout_ms, capacity: CAPACITY, retry: None, on_timeout: None }
    }

    /// Requests wait as long as it takes.
    #[must_use]
    pub fn without_timeout() -> Self {
        Self::timeout(Duration::ZERO)
    }

    /// Most requests in flight in one subtask, at least 1; default 100. Requests whose result waits for earlier ones count, and
    /// so do the watermarks between them. When there are so many, the operator takes nothing more: backpressure.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Repeats requests that failed, or whose result will not do. Default: never.
    #[must_use]
    pub fn retry(mut self, retry: AsyncRetry<Out>) -> Self {
        self.retry = Some(retry);
        self
    }

    /// What is emitted for a request that timed out; an error fails the job. It takes the place of
    /// [`AsyncFunction::timeout`](crate::function::AsyncFunction::timeout). Default: the job fails.
    #[must_use]
    pub fn on_timeout(
        mut self,
        function: impl Fn(&In) -> Result<Vec<Out>> + Send + Sync + 'static,
    ) -> Self {
        self.on_timeout = Some(Arc::new(function));
        self
    }

    /// What cannot be meant, for the plan's errors.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.capacity == 0 {
            mistakes.push("capacity 0 lets no request begin; say at least 1".to_owned());
        }
        if let Some(retry) = &self.retry {
            retry.add_mistakes(&mut mistakes);
        }
        mistakes
    }

    pub(crate) fn into_settings(self) -> Settings<In, Out> {
        let AsyncOptions { timeout_ms, capacity, retry, on_timeout } = self;
        let timeout_ms = (timeout_ms > 0).then_some(timeout_ms);
        Settings { timeout_ms, capacity: capacity.max(1), retry, on_timeout }
    }
}

impl<In, Out> fmt::Debug for AsyncOptions<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncOptions")
            .field("timeout_ms", &self.timeout_ms)
            .field("capacity", &self.capacity)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// The options as the operator reads them.
pub(crate) struct Settings<In, Out> {
    pub(crate) timeout_ms: Option<i64>,
    pub(crate) capacity: usize,
    pub(crate) retry: Option<AsyncRetry<Out>>,
    pub(crate) on_timeout: Option<OnTimeout<In, Out>>,
}

impl<In, Out> Clone for Settings<In, Out> {
    fn clone(&self) -> Self {
        let Settings { timeout_ms, capacity, .. } = *self;
        Settings {
            timeout_ms,
            capacity,
            retry: self.retry.clone(),
            on_timeout: self.on_timeout.clone(),
        }
    }
}

/// When a request is repeated, how often, and after what time.
///
/// It needs at least one of [`if_error`](Self::if_error) and [`if_result`](Self::if_result). When all retries are used up
/// the last answer counts. After a timeout, and after the end of input, there are no more retries; a retry that waits for
/// its time when the input ends begins at once.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// // 100 ms, 200 ms, 400 ms, 500 ms, 500 ms.
/// let retry: AsyncRetry<String> =
///     AsyncRetry::exponential_backoff(5, milliseconds(100), milliseconds(500), 2.0)
///         .if_error(|error| error.to_string().contains("busy"))
///         .if_result(|results| results.is_empty());
/// ```
pub struct AsyncRetry<Out> {
    retries_max: u32,
    backoff: Backoff,
    if_result: Option<IfResult<Out>>,
    if_error: Option<IfError>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Backoff {
    Fixed { delay_ms: i64 },
    Exponential { first_ms: i64, max_ms: i64, multiplier: f64 },
}

impl<Out> AsyncRetry<Out> {
    /// Up to `retries_max` retries after the first attempt, each `delay` after the answer before it.
    #[must_use]
    pub fn fixed_delay(retries_max: u32, delay: Duration) -> Self {
        Self::new(retries_max, Backoff::Fixed { delay_ms: whole_ms(delay) })
    }

    /// Up to `retries_max` retries, the first `delay` after the answer before it and each other one `multiplier` times as
    /// long, but at most `delay_max`. Each request counts for itself (in Flink all requests of a subtask share the growing
    /// delay, so that they lengthen each other's).
    #[must_use]
    pub fn exponential_backoff(
        retries_max: u32,
        delay: Duration,
        delay_max: Duration,
        multiplier: f64,
    ) -> Self {
        let (first_ms, max_ms) = (whole_ms(delay), whole_ms(delay_max));
        Self::new(retries_max, Backoff::Exponential { first_ms, max_ms, multiplier })
    }

    fn new(retries_max: u32, backoff: Backoff) -> Self {
        AsyncRetry { retries_max, backoff, if_result: None, if_error: None }
    }

    /// Retries a request whose results are such.
    #[must_use]
    pub fn if_result(mut self, predicate: impl Fn(&[Out]) -> bool + Send + Sync + 'static) -> Self {
        self.if_result = Some(Arc::new(predicate));
        self
    }

    /// Retries a request that failed with such an error.
    #[must_use]
    pub fn if_error(
        mut self,
        predicate: impl Fn(&(dyn Error + Send + Sync + 'static)) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.if_error = Some(Arc::new(predicate));
        self
    }

    /// After how many ms to repeat a request that was begun `attempts` times; `last_ms` is the delay before the last attempt.
    pub(crate) fn delay_ms(&self, attempts: u32, last_ms: i64) -> Option<i64> {
        if attempts > self.retries_max {
            return None;
        }
        Some(match self.backoff {
            Backoff::Fixed { delay_ms } => delay_ms,
            Backoff::Exponential { first_ms, .. } if attempts <= 1 => first_ms,
            Backoff::Exponential { max_ms, multiplier, .. } => {
                // Truncates and saturates, which is what is wanted.
                ((last_ms as f64 * multiplier) as i64).min(max_ms)
            }
        })
    }

    /// Will these results not do?
    pub(crate) fn wants_other_results(&self, results: &[Out]) -> bool {
        self.if_result.as_ref().is_some_and(|predicate| predicate(results))
    }

    /// Is the error one to be retried?
    pub(crate) fn wants_retry_after(&self, error: &(dyn Error + Send + Sync + 'static)) -> bool {
        self.if_error.as_ref().is_some_and(|predicate| predicate(error))
    }

    fn add_mistakes(&self, mistakes: &mut Vec<String>) {
        if self.if_result.is_none() && self.if_error.is_none() {
            mistakes
                .push("the retry strategy retries nothing; add if_error or if_result".to_owned());
        }
        if self.retries_max == 0 {
            mistakes.push("0 retries are none; say at least 1, or leave retry away".to_owned());
        }
        match self.backoff {
            Backoff::Fixed { delay_ms: 0 } | Backoff::Exponential { first_ms: 0, .. } => {
                mistakes.push(
                    "a retry delay of 0 would ask again at once; say at least 1 ms".to_owned(),
                );
            }
            Backoff::Exponential { first_ms, max_ms, .. } if max_ms < first_ms => {
                mistakes.push(format!(
                    "the longest retry delay, {max_ms} ms, is below the first, {first_ms} ms; swap them"
                ));
            }
            Backoff::Fixed { .. } | Backoff::Exponential { .. } => {}
        }
        if let Backoff::Exponential { multiplier, .. } = self.backoff
            && (multiplier.is_nan() || multiplier < 1.0)
        {
            mistakes.push(format!(
                "backoff multiplier {multiplier} would shorten delays; say at least 1"
            ));
        }
    }
}

impl<Out> Clone for AsyncRetry<Out> {
    fn clone(&self) -> Self {
        AsyncRetry {
            retries_max: self.retries_max,
            backoff: self.backoff,
            if_result: self.if_result.clone(),
            if_error: self.if_error.clone(),
        }
    }
}

impl<Out> fmt::Debug for AsyncRetry<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRetry")
            .field("retries_max", &self.retries_max)
            .field("backoff", &self.backoff)
            .field("if_result", &self.if_result.is_some())
            .field("if_error", &self.if_error.is_some())
            .finish()
    }
}

/// In whole milliseconds; what is not zero does not become zero.
fn whole_ms(duration: Duration) -> i64 {
    duration_ms(duration).max(i64::from(!duration.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::milliseconds;

    fn delays(retry: &AsyncRetry<u8>) -> Vec<i64> {
        let mut last_ms = 0;
        (1..)
            .map_while(|attempts| retry.delay_ms(attempts, last_ms).inspect(|ms| last_ms = *ms))
            .collect()
    }

    #[test]
    fn delays_are_those_of_flink() {
        assert_eq!(delays(&AsyncRetry::fixed_delay(3, milliseconds(10))), [10, 10, 10]);
        let exponential = |multiplier| {
            AsyncRetry::exponential_backoff(5, milliseconds(10), milliseconds(70), multiplier)
        };
        assert_eq!(delays(&exponential(2.0)), [10, 20, 40, 70, 70]);
        assert_eq!(delays(&exponential(1.5)), [10, 15, 22, 33, 49]);
        assert_eq!(delays(&exponential(f64::INFINITY)), [10, 70, 70, 70, 70]);
    }

    #[test]
    fn what_cannot_be_meant_is_a_mistake() {
        let check = |options: AsyncOptions<(), u8>, expected: &[&str]| {
            let mistakes = options.mistakes();
            assert_eq!(mistakes.len(), expected.len(), "{mistakes:?}");
            for (mistake, expected) in mistakes.iter().zip(expected) {
                assert!(mistake.contains(expected), "{mistake}");
            }
        };
        let retrying = |retry: AsyncRetry<u8>| AsyncOptions::without_timeout().retry(retry);
        let ms = milliseconds;
        check(AsyncOptions::without_timeout(), &[]);
        check(AsyncOptions::without_timeout().capacity(0), &["capacity 0"]);
        check(retrying(AsyncRetry::fixed_delay(1, ms(1))), &["retries nothing"]);
        let fixed = |retries, delay| AsyncRetry::fixed_delay(retries, delay).if_error(|_| true);
        check(retrying(fixed(0, ms(0))), &["0 retries", "delay of 0"]);
        check(retrying(fixed(1, Duration::from_nanos(1))), &[]);
        let backoff = |first, max, multiplier| {
            retrying(AsyncRetry::exponential_backoff(1, first, max, multiplier).if_error(|_| true))
        };
        check(backoff(ms(1), ms(1), 1.0), &[]);
        check(backoff(ms(2), ms(1), f64::NAN), &["swap them", "multiplier NaN"]);
        check(backoff(ms(1), ms(1), 0.5), &["multiplier 0.5"]);
    }
}
