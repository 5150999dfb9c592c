//! When has a stream been silent for too long?
//!
//! Two ways to measure, as the ticks of the operator go:
//! - *At ticks* of an interval, by Flink's bookkeeping: a tick that saw records since the last one starts anew, the next
//!   one without records starts the countdown, and a later one finds the stream idle when **more** than the timeout has
//!   passed since. So with a timeout of 500 ms and ticks each 200 ms, a record at 100 ms is followed by idleness at 1,000
//!   ms: 200 has seen it, 400 starts the countdown, 1,000 is the first tick that is more than 500 ms later.
//! - *At batches*: idle when the timeout has passed since the last batch with a record, to the millisecond.
//!
//! **Invariant**: a clock that is set back restarts the countdown instead of making it endless.

/// See the module docs. All times are of the wall clock.
#[derive(Clone, Debug)]
pub(crate) struct IdlenessTimer {
    timeout_ms: i64,
    /// When the countdown began.
    since_ms: Option<i64>,
}

impl IdlenessTimer {
    pub(crate) fn new(timeout_ms: i64, now_ms: i64, is_at_ticks: bool) -> Self {
        let since_ms = if is_at_ticks { None } else { Some(now_ms) };
        IdlenessTimer { timeout_ms, since_ms }
    }

    /// At a tick: has it been silent for too long? `saw_record`: since the last tick.
    pub(crate) fn is_idle_at_tick(&mut self, saw_record: bool, now_ms: i64) -> bool {
        if saw_record {
            self.since_ms = None;
            return false;
        }
        match self.since_ms.filter(|since_ms| *since_ms <= now_ms) {
            None => {
                self.since_ms = Some(now_ms);
                false
            }
            Some(since_ms) => now_ms.saturating_sub(since_ms) > self.timeout_ms,
        }
    }

    /// After a batch: `None` when it has been silent for too long, else when to look again.
    pub(crate) fn idle_at_batch(&mut self, saw_record: bool, now_ms: i64) -> Option<i64> {
        let since_ms = self.since_ms.filter(|since_ms| !saw_record && *since_ms <= now_ms);
        let since_ms = *self.since_ms.insert(since_ms.unwrap_or(now_ms));
        // Not at once, even if the timeout is below a millisecond.
        let idle_at_ms = since_ms.saturating_add(self.timeout_ms.max(1));
        (now_ms < idle_at_ms).then_some(idle_at_ms)
    }

    /// The operator could not take records for `by_ms`: that was not the stream's silence.
    pub(crate) fn postpone_ms(&mut self, by_ms: i64) {
        self.since_ms = self.since_ms.map(|since_ms| since_ms.saturating_add(by_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first tick that finds the stream idle, after a record before the first tick.
    fn idle_at_tick(timeout_ms: i64, interval_ms: i64) -> i64 {
        let mut timer = IdlenessTimer::new(timeout_ms, 0, true);
        let mut ticks = (1..).map(|n| n * interval_ms);
        ticks.find(|now_ms| timer.is_idle_at_tick(*now_ms == interval_ms, *now_ms)).unwrap()
    }

    #[test]
    fn two_ticks_of_bookkeeping_and_strictly_more_than_the_timeout() {
        for (timeout_ms, interval_ms, expected_ms) in [
            (500, 200, 1_000),
            (400, 200, 1_000),
            (399, 200, 800),
            (1, 200, 600),
            (200, 200, 800),
            (1_000, 200, 1_600),
            (500, 100, 800),
            (0, 50, 150),
        ] {
            assert_eq!(idle_at_tick(timeout_ms, interval_ms), expected_ms, "{timeout_ms} ms");
        }
    }

    #[test]
    fn without_any_record_the_first_tick_starts_the_countdown() {
        let mut timer = IdlenessTimer::new(500, 0, true);
        let idle: Vec<_> = (1..6).map(|n| timer.is_idle_at_tick(false, n * 200)).collect();
        assert_eq!(idle, [false, false, false, true, true]);
    }

    #[test]
    fn a_record_starts_anew() {
        let mut timer = IdlenessTimer::new(300, 0, true);
        let records = [true, false, true, false, false, false, true, false];
        let idle = records.iter().zip(1..).map(|(saw, n)| timer.is_idle_at_tick(*saw, n * 200));
        assert_eq!(
            idle.collect::<Vec<_>>(),
            [false, false, false, false, false, true, false, false]
        );
    }

    #[test]
    fn at_batches_it_is_exact() {
        let mut timer = IdlenessTimer::new(300, 50, false);
        assert_eq!(timer.idle_at_batch(false, 100), Some(350));
        assert_eq!(timer.idle_at_batch(true, 200), Some(500));
        assert_eq!(timer.idle_at_batch(false, 499), Some(500));
        assert_eq!(timer.idle_at_batch(false, 500), None);
        assert_eq!(timer.idle_at_batch(true, 501), Some(801));
    }

    #[test]
    fn a_clock_set_back_restarts_the_countdown() {
        let mut timer = IdlenessTimer::new(300, 0, true);
        assert!(!timer.is_idle_at_tick(false, 10_000));
        assert!(!timer.is_idle_at_tick(false, 1_000));
        assert!(!timer.is_idle_at_tick(false, 1_300));
        assert!(timer.is_idle_at_tick(false, 1_301));
        let mut timer = IdlenessTimer::new(300, 10_000, false);
        assert_eq!(timer.idle_at_batch(false, 1_000), Some(1_300));
        assert_eq!(timer.idle_at_batch(false, 1_300), None);
    }

    #[test]
    fn time_under_backpressure_does_not_count() {
        let mut timer = IdlenessTimer::new(300, 0, true);
        assert!(!timer.is_idle_at_tick(false, 200));
        timer.postpone_ms(60_000);
        assert!(!timer.is_idle_at_tick(false, 60_400));
        assert!(timer.is_idle_at_tick(false, 60_501));
    }
}
