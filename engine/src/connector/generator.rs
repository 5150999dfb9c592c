//! A source that makes its records from their number.
//!
//! Reader i of n makes the records i, i + n, i + 2n, … A rate is kept in total: record k is due k / rate after the start, so the
//! records of all readers together come evenly.
//!
//! **Invariants**
//! - Which records are made depends on the count alone, not on rate, time or parallelism.
//! - A reader that has fallen behind by more than a second forgets the rest of its delay: no burst is longer than what a second
//!   brings.

use std::fmt;
use std::sync::Arc;

use super::splits::{FixedSplits, HeldSplits, held_splits};
use crate::Result;
use crate::function::{
    Boundedness, InputStatus, ReaderContext, Source, SourceCollector, SourceReader, SourceSplit,
    SplitEnumerator,
};

const SECOND_NS: u64 = 1_000_000_000;

/// Makes records by a function of their number, endless unless [`count`](Self::count) is set, as fast as they are taken unless
/// [`records_per_second`](Self::records_per_second) is.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// let readings = source::DataGeneratorSource::new(|n| (n % 10, n as f64 * 0.5)).count(100);
/// let made = env.from_source(readings, "readings").collect();
/// env.execute("generate")?;
/// assert_eq!(made.take().len(), 100);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct DataGeneratorSource<T> {
    make: MakeRecord<T>,
    count: Option<u64>,
    records_per_second: Option<f64>,
}

type MakeRecord<T> = Arc<dyn Fn(u64) -> T + Send + Sync>;

impl<T> fmt::Debug for DataGeneratorSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DataGeneratorSource { count, records_per_second, .. } = self;
        let mut debug = f.debug_struct("DataGeneratorSource");
        debug.field("count", count).field("records_per_second", records_per_second);
        debug.finish_non_exhaustive()
    }
}

/// A generator's rate is no rate.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "a data generator cannot make {records_per_second} records per second; give a positive, \
     finite rate, or none for as fast as possible"
)]
pub struct RateError {
    /// What was asked for.
    pub records_per_second: f64,
}

impl<T: Send + 'static> DataGeneratorSource<T> {
    /// Record n is `make(n)`, from 0 on.
    pub fn new(make: impl Fn(u64) -> T + Send + Sync + 'static) -> Self {
        DataGeneratorSource { make: Arc::new(make), count: None, records_per_second: None }
    }

    /// How many records there are in total. Default: endless.
    #[must_use]
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// The rate in total, over all readers. A rate that is not positive and finite fails the job at its start. Default: as fast
    /// as they are taken.
    #[must_use]
    pub fn records_per_second(mut self, records_per_second: f64) -> Self {
        self.records_per_second = Some(records_per_second);
        self
    }

    fn check_rate(&self) -> Result<(), RateError> {
        match self.records_per_second {
            Some(records_per_second)
                if !(records_per_second > 0.0 && records_per_second.is_finite()) =>
            {
                Err(RateError { records_per_second })
            }
            _ => Ok(()),
        }
    }
}

/// What is left of the records of one reader.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratorSplit {
    /// The number of the next record.
    pub next: u64,
    /// Where the numbers end; excluded.
    pub end: u64,
    /// The distance of numbers, which is how many splits there are.
    pub stride: u64,
}

impl SourceSplit for GeneratorSplit {
    fn split_id(&self) -> String {
        format!("{} of {}", self.next % self.stride, self.stride)
    }
}

impl<T: Send + 'static> Source for DataGeneratorSource<T> {
    type Out = T;
    type Split = GeneratorSplit;
    type Reader = DataGeneratorReader<T>;

    fn boundedness(&self) -> Boundedness {
        if self.count.is_some() { Boundedness::Bounded } else { Boundedness::Unbounded }
    }

    fn create_enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator<GeneratorSplit>>>> {
        self.check_rate()?;
        let end = self.count.unwrap_or(u64::MAX);
        Ok(Some(FixedSplits::new(move |parallelism| {
            let stride = parallelism as u64;
            (0..stride).map(|next| GeneratorSplit { next, end, stride }).collect()
        })))
    }

    fn create_reader(&self, _: &ReaderContext) -> Result<DataGeneratorReader<T>> {
        let pace = self.records_per_second.map(|records_per_second| Pace {
            ns_per_record: SECOND_NS as f64 / records_per_second,
            origin: None,
        });
        Ok(DataGeneratorReader { make: self.make.clone(), pace, held: HeldSplits::new() })
    }
}

/// When records are due.
#[derive(Debug)]
struct Pace {
    /// In total.
    ns_per_record: f64,
    /// The time at which a record number is due; set at the first poll.
    origin: Option<(u64, u64)>,
}

impl Pace {
    /// The first number that is not due at `now_ns`, of a reader whose next number is `next`.
    fn due_end(&mut self, next: u64, now_ns: u64) -> u64 {
        let (mut origin_ns, mut first) = *self.origin.get_or_insert((now_ns, next));
        let due_ns = origin_ns.saturating_add(self.ns_until(next - first));
        if now_ns.saturating_sub(due_ns) > SECOND_NS {
            (origin_ns, first) = (now_ns - SECOND_NS, next);
            self.origin = Some((origin_ns, first));
        }
        let elapsed_ns = now_ns.saturating_sub(origin_ns) as f64;
        // A record is due at its time, not after it; `as` saturates.
        first.saturating_add((elapsed_ns / self.ns_per_record) as u64).saturating_add(1)
    }

    /// How long until `next` is due.
    fn wait_ns(&self, next: u64, now_ns: u64) -> u64 {
        let (origin_ns, first) = self.origin.unwrap_or((now_ns, next));
        origin_ns.saturating_add(self.ns_until(next - first)).saturating_sub(now_ns)
    }

    fn ns_until(&self, count: u64) -> u64 {
        (count as f64 * self.ns_per_record) as u64
    }
}

/// Reads a [`DataGeneratorSource`].
pub struct DataGeneratorReader<T> {
    make: MakeRecord<T>,
    pace: Option<Pace>,
    held: HeldSplits<GeneratorSplit>,
}

impl<T: Send + 'static> SourceReader for DataGeneratorReader<T> {
    type Out = T;
    type Split = GeneratorSplit;

    fn poll_batch(&mut self, max: usize, out: &mut SourceCollector<'_, T>) -> Result<InputStatus> {
        let Some(split) = self.held.splits.front_mut() else {
            return Ok(self.held.status_when_empty());
        };
        let now_ns = out.monotonic_ns();
        let due_end = match &mut self.pace {
            Some(pace) => pace.due_end(split.next, now_ns).min(split.end),
            None => split.end,
        };
        for _ in 0..max {
            if split.next >= due_end {
                break;
            }
            out.collect((self.make)(split.next));
            split.next = split.next.saturating_add(split.stride);
        }
        if split.next >= split.end {
            self.held.splits.pop_front();
        } else if let (true, Some(pace)) = (split.next >= due_end, &self.pace) {
            out.poll_again_in_ns(pace.wait_ns(split.next, now_ns).max(1));
            return Ok(InputStatus::NothingAvailable);
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
    fn readers_share_the_numbers() {
        let source = DataGeneratorSource::new(|n| n).count(1_001);
        let mut all = Vec::new();
        for (index, mut driver) in
            SourceDriver::start_all(&source, 4).unwrap().into_iter().enumerate()
        {
            let mine = driver.drain(64).unwrap();
            assert!(mine.iter().all(|n| *n % 4 == index as u64));
            all.extend(mine);
        }
        all.sort_unstable();
        assert_eq!(all, (0..1_001).collect::<Vec<_>>());
    }

    #[test]
    fn a_rate_is_kept_in_total_by_the_clock_given() {
        let source = DataGeneratorSource::new(|n| n).records_per_second(1_000.0).count(100_000);
        let mut drivers = SourceDriver::start_all(&source, 2).unwrap();
        let mut total = 0;
        for ms in 0..500 {
            for driver in &mut drivers {
                driver.set_time_ms(ms);
                assert_eq!(driver.poll(512).unwrap(), InputStatus::NothingAvailable);
                total += driver.take().len();
                let wake_ms = driver.next_timer_ms();
                assert!((ms + 1..=ms + 2).contains(&wake_ms), "{wake_ms} at {ms}");
            }
        }
        assert!((499..=502).contains(&total), "{total} records in half a second");
    }

    #[test]
    fn a_long_delay_is_not_made_good_beyond_a_second() {
        let source = DataGeneratorSource::new(|n| n).records_per_second(100.0);
        let mut driver = SourceDriver::start(&source, 1).unwrap();
        driver.poll(512).unwrap();
        assert_eq!(driver.take().len(), 1);
        driver.set_time_ms(60_000);
        driver.poll(512).unwrap();
        assert_eq!(driver.take().len(), 101);
        driver.set_time_ms(60_100);
        driver.poll(512).unwrap();
        assert_eq!(driver.take().len(), 10);
    }

    #[test]
    fn a_rate_below_one_and_bad_rates() {
        let source = DataGeneratorSource::new(|n| n).records_per_second(0.5).count(2);
        let mut driver = SourceDriver::start(&source, 1).unwrap();
        driver.poll(8).unwrap();
        driver.set_time_ms(1_999);
        assert_eq!(driver.poll(8).unwrap(), InputStatus::NothingAvailable);
        assert_eq!((driver.take(), driver.next_timer_ms()), (vec![0], 2_000));
        driver.set_time_ms(2_000);
        assert_eq!(driver.poll(8).unwrap(), InputStatus::EndOfInput);
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let source = DataGeneratorSource::new(|n| n).records_per_second(rate);
            let error = SourceDriver::start(&source, 1).err().expect("refused").to_string();
            assert!(error.contains("give a positive, finite rate"), "{error}");
        }
    }

    #[test]
    fn an_endless_source_and_a_split_given_back() {
        let source = DataGeneratorSource::new(|n| n);
        assert_eq!(source.boundedness(), Boundedness::Unbounded);
        let split = GeneratorSplit { next: 7, end: u64::MAX, stride: 2 };
        let mut driver = SourceDriver::with_splits(&source, vec![split]);
        assert_eq!(driver.poll(3).unwrap(), InputStatus::MoreAvailable);
        assert_eq!(driver.take(), [7, 9, 11]);
        assert_eq!(driver.reader.snapshot(), [GeneratorSplit { next: 13, ..split }]);
    }
}
