//! Sources written as closures, called once a subtask: `from_parallel`, `from_reader`.
//!
//! A reader of `from_parallel` makes its own split: which subtask of how many it is, and how many items it has emitted. It
//! goes on by leaving out so many, which is a replay only if the closure gives the same items again.

use std::fmt;
use std::marker::PhantomData;

use super::splits::{SubtaskSplit, SubtaskSplitError};
use crate::Result;
use crate::function::{
    Boundedness, InputStatus, NoSplit, ReaderContext, Source, SourceCollector, SourceReader,
};

/// Each reader emits the items of what a closure makes for it. After a failure it leaves out what was emitted, so the closure
/// should make the same items each time.
pub struct ParallelIteratorSource<F> {
    make: F,
}

impl<F> fmt::Debug for ParallelIteratorSource<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParallelIteratorSource").finish_non_exhaustive()
    }
}

impl<F> ParallelIteratorSource<F> {
    /// `make` is called once a subtask, on its core.
    pub fn new(make: F) -> Self {
        ParallelIteratorSource { make }
    }
}

impl<F, I> Source for ParallelIteratorSource<F>
where
    F: Fn(&ReaderContext) -> I + Send + Sync + 'static,
    I: IntoIterator<Item: Send + 'static, IntoIter: 'static>,
{
    type Out = I::Item;
    type Split = SubtaskSplit;
    type Reader = ParallelIteratorReader<I::IntoIter>;

    fn create_reader(&self, context: &ReaderContext) -> Result<Self::Reader> {
        let items = (self.make)(context).into_iter();
        let split = SubtaskSplit::start(context);
        Ok(ParallelIteratorReader { items, split, to_skip: 0, refusal: None })
    }
}

/// Reads a [`ParallelIteratorSource`].
pub struct ParallelIteratorReader<I> {
    items: I,
    /// Its position is how many items were emitted.
    split: SubtaskSplit,
    /// Items that were emitted before the checkpoint.
    to_skip: u64,
    refusal: Option<SubtaskSplitError>,
}

/// Items that are left out at a time, before other tasks of the core have their turn.
const SKIP_BATCH: u64 = 4_096;

impl<I: Iterator<Item: 'static> + 'static> SourceReader for ParallelIteratorReader<I> {
    type Out = I::Item;
    type Split = SubtaskSplit;

    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, I::Item>,
    ) -> Result<InputStatus> {
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal.into());
        }
        if self.to_skip > 0 {
            let count = self.to_skip.min(SKIP_BATCH);
            self.to_skip -= count;
            self.items.by_ref().take(count as usize).for_each(drop);
            return Ok(InputStatus::MoreAvailable);
        }
        for _ in 0..max {
            match self.items.next() {
                Some(item) => {
                    self.split.position += 1;
                    out.collect(item);
                }
                None => return Ok(InputStatus::EndOfInput),
            }
        }
        Ok(InputStatus::MoreAvailable)
    }

    fn add_splits(&mut self, splits: Vec<SubtaskSplit>) {
        match self.split.go_on(splits) {
            Ok(()) => self.to_skip = self.split.position,
            Err(refusal) => self.refusal = Some(refusal),
        }
    }

    fn snapshot(&self) -> Vec<SubtaskSplit> {
        vec![self.split]
    }
}

/// Each reader is what a closure makes.
pub struct ReaderSource<F, R> {
    make: F,
    boundedness: Boundedness,
    non_parallel: bool,
    _reader: PhantomData<fn() -> R>,
}

impl<F, R> fmt::Debug for ReaderSource<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderSource").finish_non_exhaustive()
    }
}

impl<F, R> ReaderSource<F, R>
where
    F: Fn(&ReaderContext) -> Result<R> + Send + Sync + 'static,
    R: SourceReader<Out: Send, Split = NoSplit>,
{
    /// A source that ends by itself; `make` is called once a subtask, on its core.
    pub fn new(make: F) -> Self {
        let (boundedness, non_parallel) = (Boundedness::Bounded, false);
        ReaderSource { make, boundedness, non_parallel, _reader: PhantomData }
    }

    /// The source does not end by itself.
    #[must_use]
    pub fn unbounded(mut self) -> Self {
        self.boundedness = Boundedness::Unbounded;
        self
    }

    /// There may be only one reader.
    #[must_use]
    pub fn non_parallel(mut self) -> Self {
        self.non_parallel = true;
        self
    }
}

impl<F, R> Source for ReaderSource<F, R>
where
    F: Fn(&ReaderContext) -> Result<R> + Send + Sync + 'static,
    R: SourceReader<Out: Send, Split = NoSplit>,
{
    type Out = R::Out;
    type Split = NoSplit;
    type Reader = R;

    fn boundedness(&self) -> Boundedness {
        self.boundedness
    }

    fn is_non_parallel(&self) -> bool {
        self.non_parallel
    }

    fn create_reader(&self, context: &ReaderContext) -> Result<R> {
        (self.make)(context)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::connector::test_support::SourceDriver;

    #[test]
    fn each_subtask_has_its_own_items() {
        let source = ParallelIteratorSource::new(|context: &ReaderContext| {
            let index = context.subtask_index as u64;
            (0..100).map(move |n| n * 10 + index)
        });
        for (index, mut driver) in
            SourceDriver::start_all(&source, 3).unwrap().into_iter().enumerate()
        {
            let expected: Vec<_> = (0..100).map(|n| n * 10 + index as u64).collect();
            assert_eq!(driver.drain(7).unwrap(), expected);
        }
    }

    struct Countdown(u32);

    impl SourceReader for Countdown {
        type Out = u32;
        type Split = NoSplit;
        fn poll_batch(
            &mut self,
            _: usize,
            out: &mut SourceCollector<'_, u32>,
        ) -> Result<InputStatus> {
            out.collect(self.0);
            self.0 -= 1;
            Ok(if self.0 > 0 { InputStatus::MoreAvailable } else { InputStatus::EndOfInput })
        }
    }

    #[test]
    fn the_position_of_another_subtask_is_refused() {
        let source = ParallelIteratorSource::new(|_: &ReaderContext| 0..10);
        let split = SubtaskSplit { subtask: 1, parallelism: 2, position: 4 };
        let mut driver = SourceDriver::with_splits(&source, vec![split]);
        let error = driver.poll(8).unwrap_err().to_string();
        assert!(error.contains("the position of subtask 2 of 2 of a source"), "{error}");
        assert!(
            error.ends_with("this is subtask 1 of 1; go on with the parallelism of the checkpoint")
        );
    }

    #[test]
    fn a_reader_of_ones_own_may_fail() {
        let source = ReaderSource::new(|context: &ReaderContext| match context.subtask_index {
            0 => Ok(Countdown(3)),
            _ => Err("no second port".into()),
        });
        let source = source.unbounded().non_parallel();
        assert!(source.is_non_parallel() && source.boundedness() == Boundedness::Unbounded);
        assert_eq!(SourceDriver::start(&source, 1).unwrap().drain(2).unwrap(), [3, 2, 1]);
        assert!(!source.is_replayable());
        assert!(SourceDriver::start_all(&source, 2).is_err());
    }
}
