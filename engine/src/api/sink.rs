//! Where a stream ends: `sink_to` and kin.

use crate::api::chain::{Chain, Plan};
use crate::api::operators::{Cloned, Made, MakeFunction};
use crate::api::plan_builder::{NewNode, fused_input};
use crate::api::stream::DataStream;
use crate::function::{FnSink, Sink, SinkGuarantee, SinkPromise, UserFunction};
use crate::graph::{Chaining, NodeId, NodeKind, Transformation};
use crate::operator::build::{BuildContext, Make};
use crate::operator::sink::SinkOperator;
use std::marker::PhantomData;
use std::panic::Location;

/// A stream that has ended in a sink; name it, or set its parallelism. The sink joins the plan when this is dropped.
pub struct DataStreamSink {
    plan: Plan,
    node: NodeId,
    attach: Option<Attach>,
    separate: bool,
}

/// Puts the sink into the plan; true if exchanges belong around it.
type Attach = Box<dyn FnOnce(&Plan, bool)>;

impl DataStreamSink {
    fn set(&self, set: impl Fn(&mut Transformation)) {
        self.plan.with(|plan| set(plan.node(self.node)));
    }

    /// Names the sink, for graphs, metrics and errors.
    pub fn name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.set(|node| node.name = Some(name.clone()));
        self
    }

    /// Gives the sink a stable id, by which its state is found in savepoints. Unique in the job.
    pub fn uid(self, uid: impl Into<String>) -> Self {
        let uid = uid.into();
        self.set(|node| node.uid = Some(uid.clone()));
        self
    }

    /// What the sink promises of records that are written again after a restart, for closures and sinks that cannot say it
    /// themselves. It is your word: nothing but `explain` depends on it.
    ///
    /// # Examples
    /// ```
    /// use std::collections::BTreeMap;
    /// use std::sync::{Arc, Mutex};
    /// use thalweg::function::SinkGuarantee;
    /// use thalweg::prelude::*;
    ///
    /// let table = Arc::new(Mutex::new(BTreeMap::new()));
    /// let rows = table.clone();
    /// let env = StreamExecutionEnvironment::new();
    /// let counts = env.from_elements([("a", 1), ("b", 1), ("a", 2)]);
    /// // An upsert: writing a row twice is as good as writing it once.
    /// let sink = counts.for_each(move |(key, count)| drop(rows.lock().unwrap().insert(key, count)));
    /// sink.guarantee(SinkGuarantee::Idempotent).name("table");
    /// env.execute("counts")?;
    /// assert_eq!(*table.lock().unwrap(), BTreeMap::from([("a", 2), ("b", 1)]));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn guarantee(self, guarantee: SinkGuarantee) -> Self {
        self.set(|node| {
            if let NodeKind::Sink(promise) = &mut node.kind {
                promise.guarantee = guarantee;
            }
        });
        self
    }

    /// Number of parallel instances.
    pub fn set_parallelism(mut self, parallelism: usize) -> Self {
        self.separate = true;
        self.set(|node| node.parallelism = Some(parallelism));
        self
    }

    /// Slots that the sink shares with operators of the same group.
    pub fn slot_sharing_group(mut self, group: impl Into<String>) -> Self {
        self.separate = true;
        let group = group.into();
        self.set(|node| node.slot_sharing_group = Some(group.clone()));
        self
    }

    /// The sink is not chained to the operator before it.
    pub fn disable_chaining(mut self) -> Self {
        self.separate = true;
        self.set(|node| node.chaining = Chaining::Never);
        self
    }
}

impl Drop for DataStreamSink {
    fn drop(&mut self) {
        if let Some(attach) = self.attach.take() {
            attach(&self.plan, self.separate);
        }
    }
}

impl<T: Send + 'static, C: Chain<T>> DataStream<T, C> {
    pub(crate) fn end<M>(
        self,
        operator: &'static str,
        make: M,
        promise: SinkPromise,
        location: &'static Location<'static>,
    ) -> DataStreamSink
    where
        M: MakeFunction<Function: Sink<T>>,
    {
        let DataStream { plan, node: from, side_output, chain, .. } = self;
        let inputs = vec![fused_input(from, side_output)];
        let new =
            NewNode { kind: NodeKind::Sink(promise), operator, inputs, keyed: false, location };
        let node = plan.with(|plan| plan.add_node(new));
        let attach = move |plan: &Plan, separate: bool| {
            let make = make_sink::<T, M>(make, node);
            if !separate {
                return chain.attach(plan, make);
            }
            // An explicit partitioner in front becomes the sink's own: `broadcast()` reaches each of its subtasks.
            let boxed = chain.cut(plan, node);
            let head = boxed.exchange_node().expect("made by an exchange");
            plan.with(|plan| {
                let settings = plan.node(node).clone();
                plan.set_on_stage(head, |node| {
                    node.parallelism = settings.parallelism;
                    node.slot_sharing_group = settings.slot_sharing_group.clone();
                    node.chaining = settings.chaining;
                });
            });
            boxed.attach(plan, make);
        };
        DataStreamSink { plan, node, attach: Some(Box::new(attach)), separate: false }
    }

    /// Ends the stream in `sink`; each subtask gets a clone.
    #[track_caller]
    pub fn sink_to<S: Sink<T> + UserFunction>(self, sink: S) -> DataStreamSink {
        let (promise, details) = (sink.promise(), sink.details());
        let ended = self.end("sink", Cloned(sink), promise, Location::caller());
        ended.set(|node| node.details = details.clone());
        ended
    }

    /// Ends the stream in sinks that each subtask makes on its core. What they promise is not known while the plan is written: say
    /// it by [`guarantee`](DataStreamSink::guarantee).
    #[track_caller]
    pub fn sink_to_factory<S, M>(self, factory: M) -> DataStreamSink
    where
        S: Sink<T>,
        M: FnOnce() -> S + UserFunction,
    {
        let made = Made { make: factory, types: PhantomData };
        self.end("sink", made, SinkPromise::default(), Location::caller())
    }

    /// Ends the stream in a closure that sees each record.
    #[track_caller]
    pub fn for_each<F: FnMut(T) + UserFunction>(self, function: F) -> DataStreamSink {
        let sink = Cloned(FnSink(function));
        self.end("for_each", sink, SinkPromise::default(), Location::caller())
    }
}

fn make_sink<T: Send + 'static, M: MakeFunction<Function: Sink<T>>>(
    make: M,
    node: NodeId,
) -> impl Make<SinkOperator<T, M::Function>> {
    move |context: &mut BuildContext| SinkOperator::open(make.make(), context, node)
}
