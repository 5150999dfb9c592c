//! When has a stream been silent for too long?
//!
//! Two ways to measure, as the ticks of the operator go:
//! - *At ticks* of an interval, by Flink's bookkeeping: a tick that saw records since the last one starts anew, the next
//!   one without records starts the countdown, and a later one finds the stream idle when **more** than the timeout has
//!   passed since. So with a timeout of 500 ms and ticks each 200 ms, a record at 100 ms is followed by idleness at 1,000
//!   ms: 200 has seen it, 400 starts the countdown, 1,000 is the first tick that is more than 500 ms later.
//! - *At batches*: idle when the timeout has passed since the last batch with a record, to the millisecond.
//!
//! Measured by the monotonic clock: setting the wall clock makes nothing idle.

/// See the module docs.
#[derive(Clone, Debug)]
pub(crate) struct IdlenessTimer {
    timeout_ns: u64,
    /// When the countdown began.
    since_ns: Option<u64>,
    /// Silence before that, in a run that was ended.
    before_ns: u64,
}

impl IdlenessTimer {
    pub(crate) fn new(timeout_ns: u64, now_ns: u64, is_at_ticks: bool) -> Self {
        let since_ns = if is_at_ticks { None } else { Some(now_ns) };
        IdlenessTimer { timeout_ns, since_ns, before_ns: 0 }
    }

    /// How long it has been silent, if the countdown has begun; for a run to go on from.
    pub(crate) fn silent_ns(&self, now_ns: u64) -> Option<u64> {
        self.since_ns.map(|since_ns| self.before_ns.saturating_add(now_ns.saturating_sub(since_ns)))
    }

    /// Goes on from what [`silent_ns`](Self::silent_ns) told: the time in between does not count.
    pub(crate) fn restore(&mut self, silent_ns: Option<u64>, now_ns: u64) {
        self.since_ns = silent_ns.map(|_| now_ns);
        self.before_ns = silent_ns.unwrap_or(0);
    }

    /// At a tick: has it been silent for too long? `saw_record`: since the last tick.
    pub(crate) fn is_idle_at_tick(&mut self, saw_record: bool, now_ns: u64) -> bool {
        if saw_record {
            (self.since_ns, self.before_ns) = (None, 0);
            return false;
        }
        self.since_ns.get_or_insert(now_ns);
        self.silent_ns(now_ns).is_some_and(|silent_ns| silent_ns > self.timeout_ns)
    }

    /// After a batch: how long it may stay silent yet; `None` when it has been so for too long.
    pub(crate) fn silence_left_ns(&mut self, saw_record: bool, now_ns: u64) -> Option<u64> {
        if saw_record {
            (self.since_ns, self.before_ns) = (Some(now_ns), 0);
        }
        self.since_ns.get_or_insert(now_ns);
        let silent_ns = self.silent_ns(now_ns).unwrap_or(0);
        self.timeout_ns.checked_sub(silent_ns).filter(|left_ns| *left_ns > 0)
    }

    /// The operator could not take records for `by_ns`: that was not the stream's silence.
    pub(crate) fn postpone_ns(&mut self, by_ns: u64) {
        self.since_ns = self.since_ns.map(|since_ns| since_ns.saturating_add(by_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first tick that finds the stream idle, after a record before the first tick.
    fn idle_at_tick(timeout: u64, interval: u64) -> u64 {
        let mut timer = IdlenessTimer::new(timeout, 0, true);
        let mut ticks = (1..).map(|n| n * interval);
        ticks.find(|now| timer.is_idle_at_tick(*now == interval, *now)).unwrap()
    }

    #[test]
    fn two_ticks_of_bookkeeping_and_strictly_more_than_the_timeout() {
        for (timeout, interval, expected) in [
            (500, 200, 1_000),
            (400, 200, 1_000),
            (399, 200, 800),
            (1, 200, 600),
            (200, 200, 800),
            (1_000, 200, 1_600),
            (500, 100, 800),
            (u64::from(u32::MAX), 1 << 31, 4 << 31),
        ] {
            assert_eq!(idle_at_tick(timeout, interval), expected, "{timeout}");
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
        assert_eq!(timer.silence_left_ns(false, 100), Some(250));
        assert_eq!(timer.silence_left_ns(true, 200), Some(300));
        assert_eq!(timer.silence_left_ns(false, 499), Some(1));
        assert_eq!(timer.silence_left_ns(false, 500), None);
        assert_eq!(timer.silence_left_ns(true, 501), Some(300));
    }

    #[test]
    fn a_restart_goes_on_with_the_silence_there_was() {
        let mut before = IdlenessTimer::new(300, 1_000_000, true);
        assert!(!before.is_idle_at_tick(false, 1_000_200));
        let silent_ns = before.silent_ns(1_000_400);
        assert_eq!(silent_ns, Some(200));
        // Of another clock, which has just begun.
        let mut after = IdlenessTimer::new(300, 5, true);
        after.restore(silent_ns, 10);
        assert!(!after.is_idle_at_tick(false, 110));
        assert!(after.is_idle_at_tick(false, 111));
        assert!(!after.is_idle_at_tick(true, 200));
        assert!(!after.is_idle_at_tick(false, 300));
        assert!(after.is_idle_at_tick(false, 601));
        let mut batches = IdlenessTimer::new(300, 5, false);
        batches.restore(silent_ns, 10);
        assert_eq!(batches.silence_left_ns(false, 60), Some(50));
        assert_eq!(batches.silence_left_ns(true, 70), Some(300));
        let mut fresh = IdlenessTimer::new(300, 5, true);
        fresh.restore(None, 10);
        assert!(!fresh.is_idle_at_tick(false, 1_000));
        assert!(fresh.is_idle_at_tick(false, 1_301));
    }

    #[test]
    fn time_under_backpressure_does_not_count() {
        let mut timer = IdlenessTimer::new(300, 0, true);
        assert!(!timer.is_idle_at_tick(false, 200));
        timer.postpone_ns(60_000);
        assert!(!timer.is_idle_at_tick(false, 60_400));
        assert!(timer.is_idle_at_tick(false, 60_501));
    }
}
