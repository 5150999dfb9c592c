//! Where user functions put what they emit.

use crate::operator::Push;

/// Takes the results of a function and hands them to the next operator.
///
/// `dyn` inside, yet a direct call after inlining: the operator makes it from its own successor.
pub struct Collector<'a, T> {
    next: &'a mut dyn Push<T>,
    timestamp: i64,
}

impl<'a, T: 'static> Collector<'a, T> {
    #[inline(always)]
    pub(crate) fn new(next: &'a mut dyn Push<T>, timestamp: i64) -> Self {
        Collector { next, timestamp }
    }

    /// The same place, for records with another timestamp.
    #[inline(always)]
    pub(crate) fn at(&mut self, timestamp: i64) -> Collector<'_, T> {
        Collector { next: &mut *self.next, timestamp }
    }

    /// Emits `record` with the timestamp of the record, timer or window at hand.
    #[inline(always)]
    pub fn collect(&mut self, record: T) {
        self.next.push(record, self.timestamp);
    }

    /// Emits `record` with a timestamp of its own, in milliseconds.
    #[inline(always)]
    pub fn collect_with_timestamp(&mut self, record: T, timestamp_ms: i64) {
        self.next.push(record, timestamp_ms);
    }
}
