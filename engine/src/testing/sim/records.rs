//! The source of simulations: records with timestamps, known beforehand, read by position.

use crate::Result;
use crate::function::{
    EnumeratorContext, InputStatus, ReaderContext, Source, SourceCollector, SourceReader,
    SourceSplit, SplitEnumerator,
};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Records with their timestamps in milliseconds, each of which one of the subtasks emits. It can replay.
///
/// # Examples
/// See the [module](super).
pub fn source<T>(records: impl IntoIterator<Item = (i64, T)>) -> SimulatedSource<T>
where
    T: Clone + Send + Sync + 'static,
{
    SimulatedSource { records: records.into_iter().collect() }
}

/// See [`source`].
pub struct SimulatedSource<T> {
    records: Arc<[(i64, T)]>,
}

impl<T> fmt::Debug for SimulatedSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedSource").field("records", &self.records.len()).finish()
    }
}

/// What is left of every so-many-th record.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedSplit {
    /// Which of the splits it is.
    pub index: u64,
    /// The number of the next record.
    pub next: u64,
    /// How many splits there are.
    pub stride: u64,
}

impl SourceSplit for SimulatedSplit {
    fn split_id(&self) -> String {
        format!("every {} from {}", self.stride, self.index)
    }
}

/// Gives each reader its split, once: what was assigned before a restart its readers have.
struct Enumerator;

impl SplitEnumerator<SimulatedSplit> for Enumerator {
    fn discover(&mut self, context: &mut EnumeratorContext<SimulatedSplit>) -> Result<()> {
        let stride = context.parallelism();
        for index in 0..stride {
            let split =
                SimulatedSplit { index: index as u64, next: index as u64, stride: stride as u64 };
            context.assign_split(index, split);
        }
        (0..stride).for_each(|index| context.signal_no_more_splits(index));
        Ok(())
    }

    fn handle_split_request(
        &mut self,
        subtask_index: usize,
        context: &mut EnumeratorContext<SimulatedSplit>,
    ) -> Result<()> {
        context.signal_no_more_splits(subtask_index);
        Ok(())
    }

    fn add_splits_back(&mut self, _: Vec<SimulatedSplit>, _: usize) {}
}

impl<T: Clone + Send + Sync + 'static> Source for SimulatedSource<T> {
    type Out = T;
    type Split = SimulatedSplit;
    type Reader = SimulatedReader<T>;

    fn create_enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator<SimulatedSplit>>>> {
        Ok(Some(Box::new(Enumerator)))
    }

    fn create_reader(&self, _: &ReaderContext) -> Result<SimulatedReader<T>> {
        let records = self.records.clone();
        Ok(SimulatedReader { records, splits: VecDeque::new(), no_more: false })
    }
}

/// Reads a [`SimulatedSource`].
pub struct SimulatedReader<T> {
    records: Arc<[(i64, T)]>,
    splits: VecDeque<SimulatedSplit>,
    no_more: bool,
}

impl<T> fmt::Debug for SimulatedReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedReader").field("splits", &self.splits).finish_non_exhaustive()
    }
}

impl<T: Clone + Send + Sync + 'static> SourceReader for SimulatedReader<T> {
    type Out = T;
    type Split = SimulatedSplit;

    fn poll_batch(&mut self, max: usize, out: &mut SourceCollector<'_, T>) -> Result<InputStatus> {
        let Some(split) = self.splits.front_mut() else {
            return Ok(match self.no_more {
                true => InputStatus::EndOfInput,
                false => InputStatus::NothingAvailable,
            });
        };
        out.begin_split(&split.split_id());
        for _ in 0..max {
            let Some((timestamp_ms, record)) = self.records.get(split.next as usize) else {
                out.end_split(&split.split_id());
                self.splits.pop_front();
                break;
            };
            out.collect_with_timestamp(record.clone(), *timestamp_ms);
            split.next += split.stride;
        }
        Ok(InputStatus::MoreAvailable)
    }

    fn add_splits(&mut self, splits: Vec<SimulatedSplit>) {
        self.splits.extend(splits);
    }

    fn no_more_splits(&mut self) {
        self.no_more = true;
    }

    fn wants_split(&self) -> bool {
        self.splits.is_empty() && !self.no_more
    }

    fn snapshot(&self) -> Vec<SimulatedSplit> {
        self.splits.iter().cloned().collect()
    }
}
