//! Records kept in memory for whoever started the job.

use std::fmt;
use std::sync::Arc;

use crate::Result;
use crate::function::{Sink, SinkStatus};
use crate::sync::{Mutex, lock};

/// What a stream that ended in [`collect`](crate::api::DataStream::collect) has brought. Clones share it.
///
/// Records come in the order of each subtask; those of several subtasks are mixed batch by batch. There is no bound: for streams that
/// end, and fit in memory. A job that fails leaves what came until then.
pub struct Collected<T> {
    records: Arc<Mutex<Vec<T>>>,
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Collected { records: self.records.clone() }
    }
}

impl<T> fmt::Debug for Collected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").field("length", &self.len()).finish_non_exhaustive()
    }
}

impl<T> Default for Collected<T> {
    fn default() -> Self {
        Collected { records: Arc::default() }
    }
}

impl<T> Collected<T> {
    /// Takes what has come since the last call.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *lock(&self.records))
    }

    /// [`take`](Self::take), sorted: for results of several subtasks.
    pub fn take_sorted(&self) -> Vec<T>
    where
        T: Ord,
    {
        let mut records = self.take();
        records.sort();
        records
    }

    /// How many records are there to take.
    pub fn len(&self) -> usize {
        lock(&self.records).len()
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The sink of a [`Collected`].
pub struct CollectSink<T> {
    collected: Collected<T>,
    batch: Vec<T>,
}

impl<T> fmt::Debug for CollectSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectSink").finish_non_exhaustive()
    }
}

impl<T> Clone for CollectSink<T> {
    fn clone(&self) -> Self {
        CollectSink::into(&self.collected)
    }
}

impl<T> CollectSink<T> {
    /// A sink that adds to `collected`.
    pub fn into(collected: &Collected<T>) -> Self {
        CollectSink { collected: collected.clone(), batch: Vec::new() }
    }

    fn hand_over(&mut self) {
        if !self.batch.is_empty() {
            lock(&self.collected.records).append(&mut self.batch);
        }
    }
}

impl<T: Send + 'static> Sink<T> for CollectSink<T> {
    #[inline]
    fn write(&mut self, record: T, _: i64) -> Result<()> {
        self.batch.push(record);
        Ok(())
    }

    fn poll_ready(&mut self, _: i64, _: bool) -> Result<SinkStatus> {
        self.hand_over();
        Ok(SinkStatus::Ready)
    }

    fn finish(&mut self) -> Result<SinkStatus> {
        self.hand_over();
        Ok(SinkStatus::Ready)
    }

    fn close(&mut self) -> Result<()> {
        self.hand_over();
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::connector::test_support::SinkDriver;

    #[test]
    fn batches_are_handed_over_and_taken_once() {
        let collected = Collected::default();
        let mut driver = SinkDriver::open(CollectSink::into(&collected), 0, 1).unwrap();
        driver.sink.write(3, 0).unwrap();
        assert!(collected.is_empty());
        driver.write([1, 2]).unwrap();
        assert_eq!(collected.take_sorted(), [1, 2, 3]);
        driver.sink.write(4, 0).unwrap();
        driver.end::<i32>().unwrap();
        assert_eq!((collected.take(), collected.len()), (vec![4], 0));
    }
}
