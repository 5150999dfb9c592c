//! `assign_timestamps_and_watermarks` and `from_source_with`.

use crate::Result;
use crate::api::chain::{Chain, FromSource, OperatorFactory, Plan, make_then};
use crate::api::plan_builder::{Mistake, PlanBuilder};
use crate::api::{DataStream, StreamExecutionEnvironment};
use crate::function::Source;
use crate::graph::NodeId;
use crate::operator::build::{BuildContext, Make};
use crate::operator::source_splits::SourceSplits;
use crate::operator::timestamps::{OneGenerator, PerSplit, Ticks, Timestamps};
use crate::operator::{Push, StageContext};
use crate::time::{TimestampAssigner, WatermarkAlignment, WatermarkGenerator, WatermarkStrategy};
use std::panic::Location;
use std::rc::Rc;

impl<T: Send + 'static, C: Chain<T>> DataStream<T, C> {
    /// Stamps records and makes watermarks; see [`WatermarkStrategy`]. One generator a subtask; watermarks and idleness
    /// from upstream are dropped, all but the end of time.
    ///
    /// Costs what the assigner and the generator cost for each record, and one control a batch or tick.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// let counts = env
    ///     .from_elements([(1_000, 'a'), (1_500, 'a'), (2_100, 'b')])
    ///     .assign_timestamps_and_watermarks(
    ///         WatermarkStrategy::bounded_out_of_orderness(seconds(1)).with_timestamp(|r: &(i64, char)| r.0),
    ///     )
    ///     .key_by(|r| r.1)
    ///     .window(TumblingEventTimeWindows::of(seconds(1)))
    ///     .aggregate(Count)
    ///     .collect();
    /// env.execute("counts")?;
    /// let mut counts = counts.take();
    /// counts.sort();
    /// assert_eq!(counts, [1, 2]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    ///
    /// # Errors
    /// `execute` reports an idle timeout of zero, and an alignment: that is for sources.
    #[track_caller]
    pub fn assign_timestamps_and_watermarks<G, A>(
        self,
        strategy: WatermarkStrategy<T, G, A>,
    ) -> DataStream<T, impl Chain<T>>
    where
        G: WatermarkGenerator<T> + Clone + Send,
        A: TimestampAssigner<T> + Clone + Send,
    {
        let location = Location::caller();
        let (idle, alignment) = (strategy.mistake(), strategy.alignment.is_some());
        let operator = "timestamps/watermarks";
        let stream = self.then(operator, location, |node| TimestampsFactory { strategy, node });
        let alignment = alignment.then_some(
            "only sources can be aligned; give the strategy to from_source_with instead, or leave with_alignment out",
        );
        stream.plan.with(|plan| {
            let mistakes = idle.into_iter().chain(alignment);
            mistakes.for_each(|message| note(plan, stream.node, message.to_owned(), location));
        });
        stream
    }
}

impl StreamExecutionEnvironment {
    /// [`from_source`](Self::from_source) with timestamps and watermarks made in the source, for each split by itself.
    ///
    /// A reader may read several splits, one after the other or in turns. Each split has its own generator and idleness;
    /// the watermark of the subtask is the minimum over its splits that are not idle. So records of a split are not late
    /// because another one is read faster, and a split needs no tolerance but for its own disorder. A split that has
    /// ended is forgotten, and one that begins holds the watermark where it is until its own has caught up. Readers name
    /// their splits by [`begin_split`](crate::function::SourceCollector::begin_split); one that does not has a single
    /// generator. (Files are splits.)
    ///
    /// A split counts from when the reader is given it. Files are given one by one, as readers ask: only what is open side
    /// by side (followed files) is merged, and a file of older records that begins later is late, as in Flink.
    ///
    /// Watermarks and statuses that the reader emits itself are dropped. It costs as much as
    /// [`assign_timestamps_and_watermarks`](DataStream::assign_timestamps_and_watermarks), and a call of the generator of
    /// each open split a batch or tick.
    ///
    /// Where it differs from Flink: records outside any split join the minimum as a split of their own, and a subtask whose
    /// splits have all ended can go idle.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// # let directory = std::env::temp_dir().join(format!("thalweg-per-split-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// # std::fs::write(directory.join("a.txt"), "1000\n2000\n")?;
    /// # std::fs::write(directory.join("b.txt"), "1500\n2500\n")?;
    /// let times = env
    ///     .from_source_with(
    ///         FileSource::lines(&directory),
    ///         WatermarkStrategy::monotonous().with_timestamp(|line: &String| line.parse().unwrap_or(0)),
    ///         "logs",
    ///     )
    ///     .collect();
    /// env.execute("logs")?;
    /// assert_eq!(times.take().len(), 4);
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `execute` reports an idle timeout of zero, and two sources of one alignment group that differ in drift or interval.
    #[track_caller]
    pub fn from_source_with<S, G, A, N>(
        &self,
        source: S,
        strategy: WatermarkStrategy<S::Out, G, A>,
        name: N,
    ) -> DataStream<S::Out, impl Chain<S::Out> + use<S, G, A, N>>
    where
        S: Source,
        G: WatermarkGenerator<S::Out> + Clone + Send,
        A: TimestampAssigner<S::Out> + Clone + Send,
        N: Into<String>,
    {
        let location = Location::caller();
        let source = self.add_source(source, "source", location);
        let DataStream { plan, node, chain, .. } = source;
        plan.with(|plan| {
            if let Some(message) = strategy.mistake() {
                note(plan, node, message.to_owned(), location);
            }
            if let Some(alignment) = &strategy.alignment {
                join_group(plan, node, alignment, location);
            }
        });
        let factory = PerSplitFactory { strategy, node };
        DataStream::new(plan, node, FromSourceWith { source: chain, factory }).name(name)
    }
}

fn note(
    plan: &mut PlanBuilder,
    node: NodeId,
    message: String,
    location: &'static Location<'static>,
) {
    plan.mistakes.push(Mistake { node: Some(node), message, location });
}

/// Sources of one group must agree on what it is.
fn join_group(
    plan: &mut PlanBuilder,
    node: NodeId,
    alignment: &WatermarkAlignment,
    location: &'static Location<'static>,
) {
    let known = plan.alignments.entry(alignment.group.clone()).or_insert_with(|| alignment.clone());
    if known != alignment {
        let (group, drift, other) = (&known.group, alignment.max_drift_ms, known.max_drift_ms);
        let (interval, other_interval) = (alignment.update_interval_ms, known.update_interval_ms);
        let message = format!(
            "it joins alignment group '{group}' with a drift of {drift} ms and an interval of {interval} ms, but an \
             earlier source has {other} ms and {other_interval} ms there; say the same for all sources of a group, \
             or name another group"
        );
        note(plan, node, message, location);
    }
}

/// The root of a chain at a source with a strategy.
struct FromSourceWith<S, B> {
    source: FromSource<S>,
    factory: B,
}

impl<S: Source, B: OperatorFactory<S::Out>> Chain<B::Out> for FromSourceWith<S, B> {
    type Isolated = Self;

    fn isolate(self, _: &Plan, _: NodeId) -> Self {
        self
    }

    fn attach<D: Push<B::Out>>(self, plan: &Plan, make: impl Make<D>) {
        self.source.attach(plan, make_then(self.factory, make));
    }
}

fn now_ns(stage: &StageContext) -> u64 {
    stage.task.core.monotonic_ns.get()
}

/// `assign_timestamps_and_watermarks`.
struct TimestampsFactory<T, G, A> {
    strategy: WatermarkStrategy<T, G, A>,
    node: NodeId,
}

impl<T, G: Clone, A: Clone> Clone for TimestampsFactory<T, G, A> {
    fn clone(&self) -> Self {
        TimestampsFactory { strategy: self.strategy.clone(), node: self.node }
    }
}

impl<T, G, A> OperatorFactory<T> for TimestampsFactory<T, G, A>
where
    T: Send + 'static,
    G: WatermarkGenerator<T> + Clone + Send,
    A: TimestampAssigner<T> + Clone + Send,
{
    type Out = T;
    type Operator<D: Push<T>> = Timestamps<T, OneGenerator<G>, A, D>;
    fn build<D: Push<T>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Timestamps<T, OneGenerator<G>, A, D>> {
        let (stage, now_ms) = (context.stage.clone(), context.stage.task.core.now_ms.get());
        let ticks = Ticks::new(context.job.auto_watermark_interval_ms, now_ms);
        let (timeout_ns, now_ns) = (self.strategy.idle_timeout_ns(), now_ns(&stage));
        let idleness = timeout_ns.map(|timeout_ns| ticks.idleness(timeout_ns, now_ns));
        let WatermarkStrategy { generator, assigner, .. } = self.strategy;
        let maker = OneGenerator::new(generator, idleness);
        Timestamps::open((maker, assigner), next, ticks, context, self.node)
    }
}

/// `from_source_with`.
struct PerSplitFactory<T, G, A> {
    strategy: WatermarkStrategy<T, G, A>,
    node: NodeId,
}

impl<T, G: Clone, A: Clone> Clone for PerSplitFactory<T, G, A> {
    fn clone(&self) -> Self {
        PerSplitFactory { strategy: self.strategy.clone(), node: self.node }
    }
}

impl<T, G, A> OperatorFactory<T> for PerSplitFactory<T, G, A>
where
    T: Send + 'static,
    G: WatermarkGenerator<T> + Clone + Send,
    A: TimestampAssigner<T> + Clone + Send,
{
    type Out = T;
    type Operator<D: Push<T>> = Timestamps<T, PerSplit<G>, A, D>;
    fn build<D: Push<T>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Timestamps<T, PerSplit<G>, A, D>> {
        let (stage, now_ms) = (context.stage.clone(), context.stage.task.core.now_ms.get());
        let ticks = Ticks::new(context.job.auto_watermark_interval_ms, now_ms);
        let idleness = self.strategy.idle_timeout_ns().map(|timeout_ns| (ticks, timeout_ns));
        let WatermarkStrategy { generator, assigner, alignment, .. } = self.strategy;
        let alignment = alignment.map(|alignment| context.job.alignment.join(&alignment));
        // The source of this task is built next, and takes its end of it.
        let splits = Rc::new(SourceSplits::new(alignment));
        context.source_splits = Some(splits.clone());
        let maker = PerSplit::new(generator, idleness, splits, now_ns(&stage));
        Timestamps::open((maker, assigner), next, ticks, context, self.node)
    }
}
