//! A source of numbers: `from_sequence`.

use std::ops::RangeInclusive;

use super::splits::{FixedSplits, HeldSplits, held_splits};
use crate::Result;
use crate::function::{
    InputStatus, ReaderContext, Source, SourceCollector, SourceReader, SourceSplit, SplitEnumerator,
};

/// Emits the numbers of a range. Each reader gets a stretch of it, as long as the others' or one longer, and emits it in order.
#[derive(Clone, Debug)]
pub struct SequenceSource {
    range: RangeInclusive<i64>,
}

impl SequenceSource {
    /// The numbers of `range`; none if it is empty.
    pub fn new(range: RangeInclusive<i64>) -> Self {
        SequenceSource { range }
    }
}

/// What is left of a stretch of numbers.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceSplit {
    /// Which stretch it is.
    pub index: u64,
    /// The next number.
    pub next: i64,
    /// The last number.
    pub last: i64,
}

impl SourceSplit for SequenceSplit {
    fn split_id(&self) -> String {
        format!("stretch {}", self.index)
    }
}

/// Cuts a range into `count` stretches whose lengths differ by at most one; leaves out empty ones.
fn stretches(range: &RangeInclusive<i64>, count: usize) -> Vec<SequenceSplit> {
    // In 128 bits the length of every range fits, and so does its product with any number of readers.
    let (first, last) = (i128::from(*range.start()), i128::from(*range.end()));
    let length = (last - first + 1).max(0);
    let begin_of = |index: usize| first + length * index as i128 / count as i128;
    let stretch = |index: usize| {
        let (next, last) = (begin_of(index), begin_of(index + 1) - 1);
        let bounds = (next <= last).then(|| (i64::try_from(next), i64::try_from(last)));
        let (next, last) = (bounds?.0.ok()?, bounds?.1.ok()?);
        Some(SequenceSplit { index: index as u64, next, last })
    };
    (0..count).filter_map(stretch).collect()
}

impl Source for SequenceSource {
    type Out = i64;
    type Split = SequenceSplit;
    type Reader = SequenceReader;

    fn create_enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator<SequenceSplit>>>> {
        let range = self.range.clone();
        Ok(Some(FixedSplits::new(move |parallelism| stretches(&range, parallelism))))
    }

    fn create_reader(&self, _: &ReaderContext) -> Result<SequenceReader> {
        Ok(SequenceReader { held: HeldSplits::new() })
    }
}

/// Reads a [`SequenceSource`].
#[derive(Debug)]
pub struct SequenceReader {
    held: HeldSplits<SequenceSplit>,
}

impl SourceReader for SequenceReader {
    type Out = i64;
    type Split = SequenceSplit;

    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, i64>,
    ) -> Result<InputStatus> {
        let Some(split) = self.held.splits.front_mut() else {
            return Ok(self.held.status_when_empty());
        };
        let batch_last = split.next.saturating_add(max as i64 - 1).min(split.last);
        for number in split.next..=batch_last {
            out.collect(number);
        }
        match batch_last < split.last {
            true => split.next = batch_last + 1,
            false => drop(self.held.splits.pop_front()),
        }
        Ok(self.held.status_when_empty())
    }

    held_splits!();
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::connector::test_support::SourceDriver;

    #[test]
    fn stretches_cover_the_range_evenly() {
        for (first, last, count) in [(0, 9, 3), (-5, 5, 4), (7, 7, 3), (1, 0, 2), (0, 99, 1)] {
            let splits = stretches(&(first..=last), count);
            let all: Vec<_> = splits.iter().flat_map(|split| split.next..=split.last).collect();
            assert_eq!(all, (first..=last).collect::<Vec<_>>());
            let lengths: Vec<_> = splits.iter().map(|split| split.last - split.next).collect();
            if let (Some(least), Some(most)) = (lengths.iter().min(), lengths.iter().max()) {
                assert!(most - least <= 1);
            }
        }
        let whole = stretches(&(i64::MIN..=i64::MAX), 2);
        assert_eq!((whole[0].next, whole[0].last), (i64::MIN, -1));
        assert_eq!((whole[1].next, whole[1].last), (0, i64::MAX));
    }

    #[test]
    fn each_reader_emits_its_stretch() {
        let source = SequenceSource::new(1..=1_000);
        let mut all = Vec::new();
        for mut driver in SourceDriver::start_all(&source, 3).unwrap() {
            all.extend(driver.drain(100).unwrap());
        }
        assert_eq!(all, (1..=1_000).collect::<Vec<_>>());
    }

    #[test]
    fn the_largest_number_is_reached_without_overflow() {
        let source = SequenceSource::new(i64::MAX - 2..=i64::MAX);
        let mut driver = SourceDriver::start(&source, 1).unwrap();
        assert_eq!(driver.drain(2).unwrap(), [i64::MAX - 2, i64::MAX - 1, i64::MAX]);
    }

    #[test]
    fn more_readers_than_numbers_end_too() {
        let source = SequenceSource::new(5..=5);
        let drivers = SourceDriver::start_all(&source, 4).unwrap();
        let counts = drivers.into_iter().map(|mut driver| driver.drain(8).unwrap().len());
        assert_eq!(counts.sum::<usize>(), 1);
    }
}
