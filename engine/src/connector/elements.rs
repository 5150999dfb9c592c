//! A source over an iterator: `from_elements`, `from_iter`.
//!
//! **Invariant**: the iterator has given `next_index` items, so a split that comes back skips exactly what was emitted. That is
//! a replay only if the iterator gives the same items again.

use std::fmt;

use super::splits::{FixedSplits, HeldSplits, held_splits};
use crate::Result;
use crate::function::{
    InputStatus, ReaderContext, Source, SourceCollector, SourceReader, SourceSplit, SplitEnumerator,
};
use crate::sync::{Mutex, lock};

/// Emits what an iterator gives, in order; not parallel.
pub struct IteratorSource<I> {
    make: MakeIterator<I>,
}

type MakeIterator<I> = Box<dyn Fn() -> I + Send + Sync>;

impl<I> fmt::Debug for IteratorSource<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IteratorSource").finish_non_exhaustive()
    }
}

impl<I> IteratorSource<I>
where
    I: IntoIterator<Item: Send + 'static, IntoIter: 'static> + 'static,
{
    /// The items of `items`, which is cloned for each run of the plan.
    pub fn new(items: I) -> Self
    where
        I: Clone + Send,
    {
        let items = Mutex::new(items);
        Self::from_factory(move || lock(&items).clone())
    }

    /// The items of what `make` makes; called once a run, on the core that reads.
    pub fn from_factory(make: impl Fn() -> I + Send + Sync + 'static) -> Self {
        IteratorSource { make: Box::new(make) }
    }
}

/// How far an iterator has been read.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IteratorSplit {
    /// How many items were emitted.
    pub next_index: u64,
}

impl SourceSplit for IteratorSplit {
    fn split_id(&self) -> String {
        "items".to_owned()
    }
}

impl<I> Source for IteratorSource<I>
where
    I: IntoIterator<Item: Send + 'static, IntoIter: 'static> + 'static,
{
    type Out = I::Item;
    type Split = IteratorSplit;
    type Reader = IteratorReader<I::IntoIter>;

    fn is_non_parallel(&self) -> bool {
        true
    }

    fn create_enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator<IteratorSplit>>>> {
        Ok(Some(FixedSplits::new(|_| vec![IteratorSplit { next_index: 0 }])))
    }

    fn create_reader(&self, _: &ReaderContext) -> Result<Self::Reader> {
        let items = (self.make)().into_iter();
        Ok(IteratorReader { items, taken: 0, held: HeldSplits::new() })
    }
}

/// Reads an [`IteratorSource`].
pub struct IteratorReader<I> {
    items: I,
    /// How many items the iterator has given.
    taken: u64,
    held: HeldSplits<IteratorSplit>,
}

impl<I: Iterator<Item: 'static> + 'static> SourceReader for IteratorReader<I> {
    type Out = I::Item;
    type Split = IteratorSplit;

    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, I::Item>,
    ) -> Result<InputStatus> {
        let Some(split) = self.held.splits.front_mut() else {
            return Ok(self.held.status_when_empty());
        };
        for _ in 0..max {
            let Some(item) = self.items.next() else {
                self.held.splits.clear();
                break;
            };
            self.taken += 1;
            if self.taken > split.next_index {
                split.next_index = self.taken;
                out.collect(item);
            }
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
    fn items_come_in_order_and_bounded_by_the_batch() {
        let source = IteratorSource::new(vec![3, 1, 2]);
        let mut driver = SourceDriver::start(&source, 1).unwrap();
        assert_eq!(driver.poll(2).unwrap(), InputStatus::MoreAvailable);
        assert_eq!(driver.take(), [3, 1]);
        assert_eq!(driver.reader.snapshot(), [IteratorSplit { next_index: 2 }]);
        assert_eq!(driver.poll(2).unwrap(), InputStatus::EndOfInput);
        assert_eq!(driver.take(), [2]);
    }

    #[test]
    fn a_plan_can_run_again_and_a_split_goes_on_where_it_stopped() {
        let source = IteratorSource::from_factory(|| 0..1_000u32);
        for _ in 0..2 {
            let mut driver = SourceDriver::start(&source, 1).unwrap();
            assert_eq!(driver.drain(64).unwrap(), (0..1_000).collect::<Vec<_>>());
        }
        let mut driver =
            SourceDriver::with_splits(&source, vec![IteratorSplit { next_index: 990 }]);
        assert_eq!(driver.drain(64).unwrap(), (990..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn no_items_is_the_end_at_once() {
        let source = IteratorSource::new(Vec::<String>::new());
        let mut driver = SourceDriver::start(&source, 1).unwrap();
        assert_eq!(driver.poll(8).unwrap(), InputStatus::EndOfInput);
    }
}
