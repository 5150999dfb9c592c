//! Functions of two connected streams.

use crate::Result;
use crate::function::{Collector, RuntimeContext, checkpoint_hooks, pass_hooks_on};

/// One record in, one record out, on two streams of different types.
///
/// Each subtask has a clone; there is no keyed state, and no order between the streams. Costs what the calls cost.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone)]
/// struct ToCelsius;
///
/// impl CoMapFunction for ToCelsius {
///     type In1 = f64;
///     type In2 = f32;
///     type Out = f64;
///     fn map1(&mut self, celsius: f64) -> thalweg::Result<f64> {
///         Ok(celsius)
///     }
///     fn map2(&mut self, fahrenheit: f32) -> thalweg::Result<f64> {
///         Ok((f64::from(fahrenheit) - 32.0) / 1.8)
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let celsius = env.from_elements([20.0]);
/// let fahrenheit = env.from_elements([212.0_f32]);
/// let all = celsius.connect(fahrenheit).map_with(ToCelsius).collect();
/// env.execute("to celsius")?;
/// let mut all = all.take();
/// all.sort_by(f64::total_cmp);
/// assert_eq!(all, [20.0, 100.0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
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
    checkpoint_hooks!();
}

/// One record in, any number out, on two streams of different types. On one side the rules, say, on the other the events.
///
/// Each subtask has a clone: rules that all must know are [broadcast](crate::api::DataStream::broadcast). There is no keyed state,
/// and no order between the streams. Costs what the calls cost, and memory for what one call emits beyond the room downstream.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::OperatorHarness;
///
/// /// Passes numbers up to a limit that comes beside them.
/// #[derive(Clone)]
/// struct UpTo(i64);
///
/// impl CoFlatMapFunction for UpTo {
///     type In1 = i64;
///     type In2 = i64;
///     type Out = i64;
///     fn flat_map1(&mut self, n: i64, out: &mut Collector<'_, i64>) -> thalweg::Result {
///         if n <= self.0 {
///             out.collect(n);
///         }
///         Ok(())
///     }
///     fn flat_map2(&mut self, limit: i64, _: &mut Collector<'_, i64>) -> thalweg::Result {
///         self.0 = limit;
///         Ok(())
///     }
/// }
///
/// let mut harness = OperatorHarness::new_two(|numbers: DataStream<i64>, limits: DataStream<i64>| {
///     numbers.connect(limits).flat_map_with(UpTo(10))
/// });
/// harness.push_untimed(12);
/// harness.push_second_untimed(15);
/// harness.push_untimed(12);
/// assert_eq!(harness.outputs(), [12]);
/// ```
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
    checkpoint_hooks!();
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
    pass_hooks_on!(0);
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
