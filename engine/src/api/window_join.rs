//! `join` and `co_group`: two streams in windows of their common keys.
//!
//! `left.join(right).where_key(..).equal_to(..).window(..)` and its settings end in `apply`; one set of types serves both,
//! with a marker for what `apply` is given: [`Pairs`] or [`WholeGroups`].

use crate::Result;
use crate::api::chain::Chain;
use crate::api::connected::{KeyedConnectedStreams, TwoHeadFactory};
use crate::api::keyed::KeyedStream;
use crate::api::plan_builder::Mistake;
use crate::api::stream::DataStream;
use crate::api::windowed::{ByDefault, ChooseEvictor, ChooseTrigger, Chosen, EvictedBy, NoEvictor};
use crate::exchange::gate::ConsumeTwo;
use crate::function::{
    ByValue, CoGroupFunction, Collector, KeySelector, OutputTag, TaggedUnion, UserFunction,
};
use crate::graph::NodeId;
use crate::operator::Push;
use crate::operator::build::BuildContext;
use crate::operator::keyed::{KeyedOperator, KeyedOperatorTwo};
use crate::operator::window::body::Body;
use crate::operator::window::co_group::{
    AsTagged, CoGroup, GroupsClosure, PairsClosure, TaggedSelector,
};
use crate::operator::window::general::{GeneralSettings, GeneralWindows};
use crate::record::Record;
use crate::state::StateValue;
use crate::time::duration_ms;
use crate::window::{Evictor, Trigger, WindowAssigner, WindowError};
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;
use thalweg_state::Key;

/// `apply` sees each pair.
#[derive(Clone, Copy, Debug)]
pub struct Pairs;

/// `apply` sees both groups.
#[derive(Clone, Copy, Debug)]
pub struct WholeGroups;

impl<A: Send + 'static, C: Chain<A>> DataStream<A, C> {
    /// Joins the records of two streams that have the same key and lie in the same window: an inner join. Each firing of
    /// a window emits all its pairs, the left records in order of arrival, for each the right ones in order of arrival,
    /// with the window's last instant as timestamp.
    ///
    /// Any windows will do. Assigners, triggers and evictors see the elements of both streams, as [`TaggedUnion`]; sessions
    /// grow by both. The watermark is the lower one of both. A late record that is still
    /// [allowed](JoinedWindows::allowed_lateness) fires its window again, so all its pairs are emitted again.
    ///
    /// Cost: a window keeps a copy of each of its records until it is given up; a record in overlapping windows is kept
    /// in each of them. What one firing emits is not bounded.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let by_time = || WatermarkStrategy::none().with_timestamp(|event: &(u8, i64)| event.1);
    /// let clicks = env.from_elements([(1, 2), (1, 5), (2, 7)]).assign_timestamps_and_watermarks(by_time());
    /// let views = env.from_elements([(1, 4), (2, 13)]).assign_timestamps_and_watermarks(by_time());
    /// let pairs = clicks
    ///     .join(views)
    ///     .where_key(|click| click.0)
    ///     .equal_to(|view| view.0)
    ///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///     .apply(|click, view| (click.0, click.1, view.1))
    ///     .collect();
    /// env.execute("clicks and views")?;
    /// assert_eq!(pairs.take(), [(1, 2, 4), (1, 5, 4)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn join<B: Send + 'static, C2: Chain<B>>(
        self,
        right: DataStream<B, C2>,
    ) -> JoinedStreams<Pairs, A, B, C, C2> {
        JoinedStreams { left: self, right, kind: PhantomData }
    }

    /// Brings the records of two streams together by key and window, also where only one of them has any: `apply` gets
    /// both groups, of which one may be empty. That is what outer joins are made of. Otherwise as [`join`](Self::join).
    ///
    /// # Examples
    /// A left outer join:
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let by_time = || WatermarkStrategy::none().with_timestamp(|event: &(u8, i64)| event.1);
    /// let orders = env.from_elements([(1, 2), (2, 5)]).assign_timestamps_and_watermarks(by_time());
    /// let payments = env.from_elements([(1, 4), (3, 6)]).assign_timestamps_and_watermarks(by_time());
    /// let paid = orders
    ///     .co_group(payments)
    ///     .where_key(|order| order.0)
    ///     .equal_to(|payment| payment.0)
    ///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///     .apply(|orders, payments, out| {
    ///         for order in orders {
    ///             out.collect((order.0, payments.first().map(|payment| payment.1)));
    ///         }
    ///     })
    ///     .collect();
    /// env.execute("orders and payments")?;
    /// let mut paid = paid.take();
    /// paid.sort();
    /// assert_eq!(paid, [(1, Some(4)), (2, None)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn co_group<B: Send + 'static, C2: Chain<B>>(
        self,
        right: DataStream<B, C2>,
    ) -> JoinedStreams<WholeGroups, A, B, C, C2> {
        JoinedStreams { left: self, right, kind: PhantomData }
    }
}

/// Two streams that are to be joined: say by which key.
#[must_use = "a join needs keys"]
pub struct JoinedStreams<J, A, B, C1, C2> {
    left: DataStream<A, C1>,
    right: DataStream<B, C2>,
    kind: PhantomData<J>,
}

impl<J, A, B, C1, C2> JoinedStreams<J, A, B, C1, C2>
where
    A: Record,
    B: Record,
    C1: Chain<A>,
    C2: Chain<B>,
{
    /// The key of the left records.
    #[track_caller]
    pub fn where_key<K, F>(self, selector: F) -> JoinedWhere<J, A, B, ByValue<F, K>, C2>
    where
        K: Key,
        F: FnMut(&A) -> K + UserFunction,
    {
        JoinedWhere { left: self.left.key_by(selector), right: self.right, kind: PhantomData }
    }
}

/// Two streams that are to be joined, one of them with its key.
#[must_use = "a join needs keys of both streams"]
pub struct JoinedWhere<J, A, B, S1, C2> {
    left: KeyedStream<A, S1>,
    right: DataStream<B, C2>,
    kind: PhantomData<J>,
}

impl<J, A, B, S1, C2> JoinedWhere<J, A, B, S1, C2>
where
    A: Record,
    B: Record,
    S1: KeySelector<A>,
    C2: Chain<B>,
{
    /// The key of the right records.
    #[track_caller]
    pub fn equal_to<F>(self, selector: F) -> JoinedEqualTo<J, A, B, S1, ByValue<F, S1::Key>>
    where
        F: FnMut(&B) -> S1::Key + UserFunction,
    {
        let right = self.right.key_by(selector);
        JoinedEqualTo { streams: self.left.connect(right), kind: PhantomData }
    }
}

/// Two streams that are to be joined by key: say in which windows.
#[must_use = "a join needs windows"]
pub struct JoinedEqualTo<J, A, B, S1, S2> {
    streams: KeyedConnectedStreams<A, B, S1, S2>,
    kind: PhantomData<J>,
}

impl<J, A, B, S1, S2> JoinedEqualTo<J, A, B, S1, S2>
where
    A: Record,
    B: Record,
    S1: KeySelector<A>,
    S2: KeySelector<B, Key = S1::Key>,
{
    /// The windows in which records meet.
    ///
    /// Any [`WindowAssigner`] will do. [`join`](DataStream::join) has an example and says what windows cost.
    #[track_caller]
    pub fn window<W: WindowAssigner<TaggedUnion<A, B>>>(
        self,
        assigner: W,
    ) -> JoinedWindows<J, A, B, S1, S2, W> {
        let mistakes = noted(assigner.validate(), Location::caller());
        let settings = JoinSettings { lateness_ms: 0, late: None, mistakes };
        let choices = (ByDefault, NoEvictor);
        JoinedWindows { streams: self.streams, assigner, choices, settings, kind: PhantomData }
    }
}

/// Two streams joined by key and window: say more of the windows, and what becomes of the records.
#[must_use = "a join needs a function"]
pub struct JoinedWindows<J, A, B, S1, S2, W, R = ByDefault, V = NoEvictor> {
    streams: KeyedConnectedStreams<A, B, S1, S2>,
    assigner: W,
    /// Trigger and evictor.
    choices: (R, V),
    settings: JoinSettings<TaggedUnion<A, B>>,
    kind: PhantomData<J>,
}

type Noted = Vec<(WindowError, &'static Location<'static>)>;

struct JoinSettings<T> {
    lateness_ms: i64,
    late: Option<OutputTag<T>>,
    /// What is wrong with the settings, and where it was said.
    mistakes: Noted,
}

fn noted(checked: Result<(), WindowError>, location: &'static Location<'static>) -> Noted {
    checked.err().map(|error| (error, location)).into_iter().collect()
}

impl<J, A, B, S1, S2, W, R, V> JoinedWindows<J, A, B, S1, S2, W, R, V>
where
    A: Record,
    B: Record,
    S1: KeySelector<A>,
    S2: KeySelector<B, Key = S1::Key>,
    W: WindowAssigner<TaggedUnion<A, B>>,
{
    /// Fires windows when `trigger` says so, and no more at their end unless it does.
    ///
    /// Cost: what the trigger says of itself, for each key and window.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::OperatorHarness;
    ///
    /// let join = |left: DataStream<i64>, right: DataStream<i64>| {
    ///     left.join(right)
    ///         .where_key(|_| 0_u8)
    ///         .equal_to(|_| 0_u8)
    ///         .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///         .trigger(CountTrigger::of(2))
    ///         .apply(|a, b| a + b)
    /// };
    /// let mut harness = OperatorHarness::new_two(join);
    /// harness.push(1, 1);
    /// harness.push_second(10, 2);
    /// assert_eq!(harness.outputs(), [11]); // before the window ends
    /// ```
    #[track_caller]
    pub fn trigger<X>(self, trigger: X) -> JoinedWindows<J, A, B, S1, S2, W, Chosen<X>, V>
    where
        X: Trigger<TaggedUnion<A, B>, W::Window> + UserFunction,
    {
        let JoinedWindows { streams, assigner, choices, mut settings, kind } = self;
        let location = Location::caller();
        settings.mistakes.extend(noted(trigger.validate(), location));
        if assigner.is_merging() && !trigger.can_merge() {
            let trigger = std::any::type_name::<X>();
            settings.mistakes.push((WindowError::TriggerCannotMerge { trigger }, location));
        }
        let choices = (Chosen(trigger), choices.1);
        JoinedWindows { streams, assigner, choices, settings, kind }
    }

    /// Drops elements of either stream around each firing. A window then keeps its elements one by one, and a firing copies
    /// those that are left.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::OperatorHarness;
    ///
    /// let join = |left: DataStream<i64>, right: DataStream<i64>| {
    ///     left.join(right)
    ///         .where_key(|_| 0_u8)
    ///         .equal_to(|_| 0_u8)
    ///         .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///         .evictor(CountEvictor::of(2))
    ///         .apply(|a, b| a + b)
    /// };
    /// let mut harness = OperatorHarness::new_two(join);
    /// harness.push(1, 1);
    /// harness.push(2, 2);
    /// harness.push_second(10, 3);
    /// harness.watermark(9);
    /// assert_eq!(harness.outputs(), [12]);
    /// ```
    #[track_caller]
    pub fn evictor<X>(self, evictor: X) -> JoinedWindows<J, A, B, S1, S2, W, R, EvictedBy<X>>
    where
        X: Evictor<TaggedUnion<A, B>, W::Window> + UserFunction,
    {
        let JoinedWindows { streams, assigner, choices, mut settings, kind } = self;
        settings.mistakes.extend(noted(evictor.validate(), Location::caller()));
        let choices = (choices.0, EvictedBy(evictor));
        JoinedWindows { streams, assigner, choices, settings, kind }
    }

    /// How long after its end a window still takes late records, each of which fires it again. Default 0.
    ///
    /// Cost: windows keep the elements of both streams that much longer.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::OperatorHarness;
    ///
    /// let join = |left: DataStream<i64>, right: DataStream<i64>| {
    ///     left.join(right)
    ///         .where_key(|_| 0_u8)
    ///         .equal_to(|_| 0_u8)
    ///         .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///         .allowed_lateness(milliseconds(5))
    ///         .apply(|a, b| a + b)
    /// };
    /// let mut harness = OperatorHarness::new_two(join);
    /// harness.push(1, 1);
    /// harness.push_second(10, 2);
    /// harness.watermark(9);
    /// assert_eq!(harness.outputs(), [11]);
    /// harness.push(2, 3);
    /// assert_eq!(harness.outputs(), [11, 12]);
    /// ```
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.settings.lateness_ms = duration_ms(lateness);
        self
    }

    /// [`allowed_lateness`](Self::allowed_lateness) in milliseconds. Less than zero is a mistake of the plan.
    #[track_caller]
    pub fn allowed_lateness_ms(mut self, lateness_ms: i64) -> Self {
        if lateness_ms < 0 {
            let error = WindowError::NegativeLateness { lateness_ms };
            self.settings.mistakes.push((error, Location::caller()));
        }
        self.settings.lateness_ms = lateness_ms;
        self
    }

    /// Sends records of either stream that come too late to `tag`, to be read by `side_output(&tag)` on the result.
    /// Without it they are dropped and counted.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::OperatorHarness;
    ///
    /// let late = OutputTag::<TaggedUnion<i64, i64>>::new("late");
    /// let join = |left: DataStream<i64>, right: DataStream<i64>| {
    ///     left.join(right)
    ///         .where_key(|_| 0_u8)
    ///         .equal_to(|_| 0_u8)
    ///         .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///         .side_output_late_data(&late)
    ///         .apply(|a, b| a + b)
    /// };
    /// let mut harness = OperatorHarness::builder().side_output(&late).build_two(join)?;
    /// harness.watermark(9);
    /// harness.push(1, 1);
    /// assert_eq!(harness.side_outputs(&late), [TaggedUnion::Left(1)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn side_output_late_data(mut self, tag: &OutputTag<TaggedUnion<A, B>>) -> Self {
        self.settings.late = Some(tag.clone());
        self
    }

    fn end<P>(
        self,
        operator: &'static str,
        function: P,
        location: &'static Location<'static>,
    ) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        A: StateValue + Clone,
        B: StateValue + Clone,
        R: ChooseTrigger<TaggedUnion<A, B>, W>,
        V: ChooseEvictor<TaggedUnion<A, B>, W::Window>,
        P: CoGroupFunction<Left = A, Right = B, Out: Send + 'static> + UserFunction,
    {
        let JoinedWindows { streams, assigner, choices: (trigger, evictor), settings, .. } = self;
        let body = evictor.wrap::<S1::Key, _>(CoGroup(function));
        let JoinSettings { lateness_ms, late, mistakes } = settings;
        let stream = streams.head(operator, location, |node, (selector1, selector2)| {
            let selector = TaggedSelector(selector1, selector2);
            JoinFactory { selector, assigner, trigger, body, lateness_ms, late, node }
        });
        let node = Some(stream.operator);
        let mistakes = mistakes.into_iter().map(|(error, location)| Mistake {
            node,
            message: error.to_string(),
            location,
        });
        stream.plan.with(|plan| plan.mistakes.extend(mistakes));
        stream
    }
}

impl<A, B, S1, S2, W, R, V> JoinedWindows<Pairs, A, B, S1, S2, W, R, V>
where
    A: Record + StateValue + Clone,
    B: Record + StateValue + Clone,
    S1: KeySelector<A>,
    S2: KeySelector<B, Key = S1::Key>,
    W: WindowAssigner<TaggedUnion<A, B>>,
    R: ChooseTrigger<TaggedUnion<A, B>, W>,
    V: ChooseEvictor<TaggedUnion<A, B>, W::Window>,
{
    /// Emits what `function` makes of each pair.
    ///
    /// An example is at [`join`](DataStream::join). A firing calls `function` for every pair: their number is a product.
    #[track_caller]
    pub fn apply<U, F>(self, function: F) -> DataStream<U, impl Chain<U>>
    where
        U: Send + 'static,
        F: FnMut(&A, &B) -> U + UserFunction,
    {
        let function = PairsClosure { function, types: PhantomData };
        self.end("window_join", function, Location::caller())
    }
}

impl<A, B, S1, S2, W, R, V> JoinedWindows<WholeGroups, A, B, S1, S2, W, R, V>
where
    A: Record + StateValue + Clone,
    B: Record + StateValue + Clone,
    S1: KeySelector<A>,
    S2: KeySelector<B, Key = S1::Key>,
    W: WindowAssigner<TaggedUnion<A, B>>,
    R: ChooseTrigger<TaggedUnion<A, B>, W>,
    V: ChooseEvictor<TaggedUnion<A, B>, W::Window>,
{
    /// Gives both groups of each firing to `function`, each in order of arrival.
    ///
    /// An example is at [`co_group`](DataStream::co_group).
    #[track_caller]
    pub fn apply<U, F>(self, function: F) -> DataStream<U, impl Chain<U>>
    where
        U: Send + 'static,
        F: FnMut(&[A], &[B], &mut Collector<'_, U>) + UserFunction,
    {
        let function = GroupsClosure { function, types: PhantomData };
        self.end("co_group", function, Location::caller())
    }

    /// [`apply`](Self::apply) with a rich function. See [`CoGroupFunction`].
    ///
    /// An example is at that trait.
    #[track_caller]
    pub fn apply_with<P>(self, function: P) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        P: CoGroupFunction<Left = A, Right = B, Out: Send + 'static> + UserFunction,
    {
        self.end("co_group", function, Location::caller())
    }
}

/// A window operator over two streams before it reaches its core.
struct JoinFactory<T, S, W, R, G> {
    selector: S,
    assigner: W,
    trigger: R,
    body: G,
    lateness_ms: i64,
    late: Option<OutputTag<T>>,
    node: NodeId,
}

impl<T, S: Clone, W: Clone, R: Clone, G: Clone> Clone for JoinFactory<T, S, W, R, G> {
    fn clone(&self) -> Self {
        JoinFactory {
            selector: self.selector.clone(),
            assigner: self.assigner.clone(),
            trigger: self.trigger.clone(),
            body: self.body.clone(),
            lateness_ms: self.lateness_ms,
            late: self.late.clone(),
            node: self.node,
        }
    }
}

impl<A, B, S, W, R, G> TwoHeadFactory<A, B> for JoinFactory<TaggedUnion<A, B>, S, W, R, G>
where
    A: 'static,
    B: 'static,
    S: KeySelector<TaggedUnion<A, B>>,
    W: WindowAssigner<TaggedUnion<A, B>>,
    R: ChooseTrigger<TaggedUnion<A, B>, W>,
    G: Body<TaggedUnion<A, B>, S::Key, W::Window, Out: Send + 'static> + UserFunction,
{
    type Out = G::Out;
    fn build<D: Push<G::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn ConsumeTwo<A, B>>> {
        let JoinFactory { selector, assigner, trigger, body, lateness_ms, late, node } = self;
        let trigger = trigger.make(&assigner);
        let settings =
            GeneralSettings { selector, assigner, trigger, body, lateness_ms, late, node };
        let logic = AsTagged(GeneralWindows::open(settings, context)?);
        Ok(Box::new(KeyedOperatorTwo(KeyedOperator::new(logic, next, context.stage.clone()))))
    }
}
