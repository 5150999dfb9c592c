//! Sources written as closures, called once a subtask: `from_parallel`, `from_reader`.

use std::fmt;
use std::marker::PhantomData;

use crate::Result;
use crate::function::{
    Boundedness, InputStatus, NoSplit, ReaderContext, Source, SourceCollector, SourceReader,
};

/// Each reader emits the items of what a closure makes for it. No splits, so nothing is replayed after a failure but the whole.
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
    type Split = NoSplit;
    type Reader = ParallelIteratorReader<I::IntoIter>;

    fn create_reader(&self, context: &ReaderContext) -> Result<Self::Reader> {
        Ok(ParallelIteratorReader { items: (self.make)(context).into_iter() })
    }
}

/// Reads a [`ParallelIteratorSource`].
pub struct ParallelIteratorReader<I> {
    items: I,
}

impl<I: Iterator<Item: 'static> + 'static> SourceReader for ParallelIteratorReader<I> {
    type Out = I::Item;
    type Split = NoSplit;

    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, I::Item>,
    ) -> Result<InputStatus> {
        for _ in 0..max {
            match self.items.next() {
                Some(item) => out.collect(item),
                None => return Ok(InputStatus::EndOfInput),
            }
        }
        Ok(InputStatus::MoreAvailable)
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

    #[test]
    fn a_reader_of_ones_own_may_fail() {
        let source = ReaderSource::new(|context: &ReaderContext| match context.subtask_index {
            0 => Ok(ParallelIteratorReader { items: 0..3 }),
            _ => Err("no second port".into()),
        });
        let source = source.unbounded().non_parallel();
        assert!(source.is_non_parallel() && source.boundedness() == Boundedness::Unbounded);
        assert_eq!(SourceDriver::start(&source, 1).unwrap().drain(2).unwrap(), [0, 1, 2]);
        assert!(SourceDriver::start_all(&source, 2).is_err());
    }
}
