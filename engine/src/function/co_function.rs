//! Functions of two connected streams.

use crate::Result;
use crate::function::{Collector, RuntimeContext};

/// One record in, one record out, on two streams of different types.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a CoMapFunction")]
pub trait CoMapFunction: 'static {
    /// Records of the first stream.
    type In1: 'static;
    /// Records of the second stream.
    type In2: 'static;
    /// Records given.
    type Out: 'static;
    /// Called once on the function's core, before the first record.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Maps a record of the first stream.
    ///
    /// # Errors
    /// Any error fails the job.
    fn map1(&mut self, record: Self::In1) -> Result<Self::Out>;
    /// Maps a record of the second stream.
    ///
    /// # Errors
    /// Any error fails the job.
    fn map2(&mut self, record: Self::In2) -> Result<Self::Out>;
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// One record in, any number out, on two streams of different types. On one side the rules, say, on the other the events.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a CoFlatMapFunction")]
pub trait CoFlatMapFunction: 'static {
    /// Records of the first stream.
    type In1: 'static;
    /// Records of the second stream.
    type In2: 'static;
    /// Records given.
    type Out: 'static;
    /// Called once on the function's core, before the first record.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Emits what follows from a record of the first stream.
    ///
    /// # Errors
    /// Any error fails the job.
    fn flat_map1(&mut self, record: Self::In1, out: &mut Collector<'_, Self::Out>) -> Result<()>;
    /// Emits what follows from a record of the second stream.
    ///
    /// # Errors
    /// Any error fails the job.
    fn flat_map2(&mut self, record: Self::In2, out: &mut Collector<'_, Self::Out>) -> Result<()>;
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A [`CoMapFunction`] seen as a [`CoFlatMapFunction`].
#[derive(Clone)]
pub(crate) struct MapAsFlatMap<F>(pub(crate) F);

impl<F: CoMapFunction> CoFlatMapFunction for MapAsFlatMap<F> {
    type In1 = F::In1;
    type In2 = F::In2;
    type Out = F::Out;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.0.open(context)
    }
    #[inline(always)]
    fn flat_map1(&mut self, record: F::In1, out: &mut Collector<'_, F::Out>) -> Result<()> {
        out.collect(self.0.map1(record)?);
        Ok(())
    }
    #[inline(always)]
    fn flat_map2(&mut self, record: F::In2, out: &mut Collector<'_, F::Out>) -> Result<()> {
        out.collect(self.0.map2(record)?);
        Ok(())
    }
    fn close(&mut self) -> Result<()> {
        self.0.close()
    }
}

/// Two closures seen as a [`CoMapFunction`].
pub(crate) struct TwoClosures<F, G, A, B, U> {
    pub(crate) first: F,
    pub(crate) second: G,
    pub(crate) types: std::marker::PhantomData<fn(A, B) -> U>,
}

impl<F: Clone, G: Clone, A, B, U> Clone for TwoClosures<F, G, A, B, U> {
    fn clone(&self) -> Self {
        let (first, second) = (self.first.clone(), self.second.clone());
        TwoClosures { first, second, types: std::marker::PhantomData }
    }
}

impl<F, G, A, B, U> CoMapFunction for TwoClosures<F, G, A, B, U>
where
    F: FnMut(A) -> U + 'static,
    G: FnMut(B) -> U + 'static,
    A: 'static,
    B: 'static,
    U: 'static,
{
    type In1 = A;
    type In2 = B;
    type Out = U;
    #[inline(always)]
    fn map1(&mut self, record: A) -> Result<U> {
        Ok((self.first)(record))
    }
    #[inline(always)]
    fn map2(&mut self, record: B) -> Result<U> {
        Ok((self.second)(record))
    }
}
