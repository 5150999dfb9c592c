//! [`WindowElements`]: the elements of a window, with their timestamps.

use crate::record::NO_TIMESTAMP;

/// The elements of a window in order of arrival, with their timestamps.
///
/// Values and timestamps lie in columns, so that functions get the values as a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowElements<T> {
    pub(crate) values: Vec<T>,
    pub(crate) timestamps: Vec<i64>,
}

impl<T> Default for WindowElements<T> {
    fn default() -> Self {
        WindowElements { values: Vec::new(), timestamps: Vec::new() }
    }
}

impl<T> WindowElements<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }
    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
    /// The values, without timestamps.
    pub fn values(&self) -> &[T] {
        &self.values
    }
    /// Values and timestamps (ms), `None` for an element without.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&T, Option<i64>)> {
        self.values.iter().zip(self.timestamps.iter().map(|at| known(*at)))
    }
    /// Keeps the elements for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&T, Option<i64>) -> bool) {
        let mut kept = Vec::with_capacity(self.timestamps.len());
        let mut at = self.timestamps.iter();
        self.values.retain(|value| {
            let Some(timestamp) = at.next() else { return true };
            let keeps = keep(value, known(*timestamp));
            if keeps {
                kept.push(*timestamp);
            }
            keeps
        });
        self.timestamps = kept;
    }
    /// Drops the first `count` elements, or all if there are less.
    pub fn evict_first(&mut self, count: usize) {
        let count = count.min(self.len());
        self.values.drain(..count);
        self.timestamps.drain(..count);
    }

    pub(crate) fn push(&mut self, value: T, timestamp: i64) {
        self.values.push(value);
        self.timestamps.push(timestamp);
    }
    pub(crate) fn append(&mut self, mut other: Self) {
        self.values.append(&mut other.values);
        self.timestamps.append(&mut other.timestamps);
    }
}

fn known(timestamp: i64) -> Option<i64> {
    (timestamp != NO_TIMESTAMP).then_some(timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_timestamps_go_together() {
        let mut elements = WindowElements::default();
        (0..6).for_each(|n| elements.push(n, 10 * n));
        elements.push(6, NO_TIMESTAMP);
        elements.evict_first(2);
        elements.retain(|value, at| value % 2 == 0 || at == Some(50));
        let left: Vec<_> = elements.iter().map(|(value, at)| (*value, at)).collect();
        assert_eq!(left, [(2, Some(20)), (4, Some(40)), (5, Some(50)), (6, None)]);
        elements.evict_first(100);
        assert!(elements.is_empty() && elements.timestamps.is_empty());
    }
}
