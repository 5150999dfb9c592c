//! Building a task on its core: from the factories of the plan to operators with open functions and linked rings.
//!
//! A factory is cloned once a subtask, sent to the core and called there with a [`BuildContext`]; so user functions,
//! state and rings are made where they live and may be `!Send`. A stage whose gate is nested is built by the router
//! above it, in the same task.

use crate::Result;
use crate::checkpoint::snapshot::RestoredState;
use crate::config::CheckpointMode;
use crate::exchange::channel::Writer;
use crate::exchange::gate::{ConsumeTwo, Gate, Inputs, OnePort, TwoPorts};
use crate::exchange::router::OwnLane;
use crate::exchange::wiring::{LocalLinks, Wiring};
use crate::graph::{EdgeId, NodeId, OperatorId};
use crate::metrics::MetricGroup;
use crate::operator::alignment::AlignmentGroups;
use crate::operator::fan_out::{FanOut, SidePort};
use crate::operator::side_outputs::SideOutputs;
use crate::operator::source::SplitMailbox;
use crate::operator::source_splits::SourceSplits;
use crate::operator::{Consume, OperatorNames, Plain, StageContext, TaskContext};
use crate::record::Codec;
use crate::runtime::Task;
use crate::runtime::state_files::StateFiles;
use std::any::Any;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

/// A factory of something that is built once a subtask.
pub trait Make<D>: FnOnce(&mut BuildContext) -> Result<D> + Clone + Send + 'static {}
impl<D, M: FnOnce(&mut BuildContext) -> Result<D> + Clone + Send + 'static> Make<D> for M {}

/// A factory that any thread may ask for a copy; erases its type.
pub(crate) struct Factory<D>(MakeShared<D>);

type MakeShared<D> = Box<dyn Fn(&mut BuildContext) -> Result<D> + Send + Sync>;

impl<D: 'static> Factory<D> {
    pub(crate) fn new(make: impl Make<D>) -> Self {
        let make = Mutex::new(make);
        Factory(Box::new(move |context| {
            let make = make.lock().unwrap_or_else(PoisonError::into_inner).clone();
            make(context)
        }))
    }

    pub(crate) fn make(&self, context: &mut BuildContext) -> Result<D> {
        (self.0)(context)
    }
}

/// How the tasks of one stage are made.
pub(crate) enum StageFactory {
    /// Always the root of a task (sources, stages with two types of input).
    Root(Factory<Box<dyn Task>>),
    /// A gate: the root of a task, or nested below its producer.
    Gate {
        /// An `Arc<GateFactory<T>>`.
        typed: Box<dyn Any + Send + Sync>,
        /// Makes the gate as a root.
        root: Factory<Box<dyn Task>>,
    },
}

/// How the gate of a stage with one type of input is made.
pub(crate) struct GateFactory<T> {
    pub(crate) edges: Vec<EdgeId>,
    pub(crate) codec: Option<Codec<T>>,
    pub(crate) make_head: Factory<Box<dyn Consume<T>>>,
}

/// One place where a stream is handed to several consumers: their factories, and how the fan-out clones.
pub(crate) struct Hub<T> {
    pub(crate) clone: Option<fn(&T) -> T>,
    pub(crate) consumers: Vec<Factory<Box<dyn Consume<T>>>>,
}

/// The producer side of an edge: the lane within the slot, if any, and a writer for each other consumer.
pub(crate) type OpenLanes<T> = (Option<OwnLane<T>>, Vec<Option<Writer<T>>>);

/// Names a [`Hub`] of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HubId(pub(crate) usize);

/// The factories of a plan. Read by all cores.
#[derive(Default)]
pub(crate) struct Blueprint {
    /// By the head of the stage.
    pub(crate) stages: HashMap<NodeId, StageFactory>,
    /// `Hub<T>`, by [`HubId`].
    pub(crate) hubs: Vec<Box<dyn Any + Send + Sync>>,
    /// Side outputs that somebody reads: by operator and tag.
    pub(crate) sides: HashMap<NodeId, Vec<SideFactory>>,
}

/// A side output that somebody reads.
pub(crate) struct SideFactory {
    pub(crate) tag: String,
    pub(crate) make: Factory<Box<dyn SidePort>>,
}

/// Everything a core needs to build the tasks of a job.
pub(crate) struct JobBlueprint {
    pub(crate) blueprint: Arc<Blueprint>,
    pub(crate) wiring: Wiring,
    pub(crate) names: Arc<OperatorNames>,
    /// Parallelism and max parallelism by head of a stage.
    pub(crate) parallelism: HashMap<NodeId, (usize, u16)>,
    /// Metrics by head of a stage and subtask.
    pub(crate) metrics: HashMap<(NodeId, usize), MetricGroup>,
    /// `Arc<SplitMailbox<S>>` by source and subtask.
    pub(crate) mailboxes: HashMap<(NodeId, usize), Box<dyn Any + Send + Sync>>,
    /// Where keyed state goes that is not in memory; `None` if all of it stays there.
    pub(crate) state_files: Option<Arc<StateFiles>>,
    /// Most records a source reader is asked for between two drives.
    pub(crate) batch_records: usize,
    /// For shuffles.
    pub(crate) seed: u64,
    /// Milliseconds of processing time between periodic watermarks; 0 for each batch.
    pub(crate) auto_watermark_interval_ms: i64,
    /// Sources that wait for each other.
    pub(crate) alignment: AlignmentGroups,
    /// By node.
    pub(crate) operator_ids: Vec<OperatorId>,
    /// What a restart may repeat; `None` if there are no checkpoints.
    pub(crate) checkpoints: Option<CheckpointMode>,
    /// What the job goes on from; `None` if it begins anew.
    pub(crate) restored: Option<Arc<RestoredState>>,
}

/// Handed down while a task is built.
pub struct BuildContext {
    pub(crate) job: Arc<JobBlueprint>,
    locals: Rc<LocalLinks>,
    /// The stage that is being built.
    pub(crate) stage: Rc<StageContext>,
    /// All stages of the task so far.
    pub(crate) stages: Vec<Rc<StageContext>>,
    /// What is built lies behind a fan-out of its stage, where records have been counted.
    pub(crate) is_behind_fan_out: bool,
    /// What the source of this task shares with the watermarks per split behind it.
    pub(crate) source_splits: Option<Rc<SourceSplits>>,
}

impl BuildContext {
    /// Begins the task whose root is the stage of `head`.
    pub(crate) fn new(
        job: Arc<JobBlueprint>,
        locals: Rc<LocalLinks>,
        task: Rc<TaskContext>,
        head: NodeId,
        subtask: usize,
    ) -> Self {
        task.restored.set(job.restored.as_ref().map(|restored| restored.checkpoint));
        let stage = new_stage(&job, task, head, subtask);
        let stages = vec![stage.clone()];
        let (is_behind_fan_out, source_splits) = (false, None);
        BuildContext { job, locals, stage, stages, is_behind_fan_out, source_splits }
    }

    /// Builds the root.
    pub(crate) fn build_root(&mut self) -> Result<Box<dyn Task>> {
        let blueprint = self.job.blueprint.clone();
        match blueprint.stages.get(&self.stage.head).expect("every task root has a factory") {
            StageFactory::Root(factory) | StageFactory::Gate { root: factory, .. } => {
                factory.make(self)
            }
        }
    }

    /// Builds the nested gate of stage `head`, in the same subtask.
    fn build_nested<T: Send + 'static>(&mut self, head: NodeId) -> Result<Gate<OnePort<T>>> {
        let above = self.stage.clone();
        let stage = new_stage(&self.job, above.task.clone(), head, above.subtask);
        self.stages.push(stage.clone());
        self.stage = stage;
        let blueprint = self.job.blueprint.clone();
        let Some(StageFactory::Gate { typed, .. }) = blueprint.stages.get(&head) else {
            unreachable!("only gates are nested");
        };
        let factory =
            typed.downcast_ref::<Arc<GateFactory<T>>>().expect("an edge has one record type");
        let was_behind = std::mem::take(&mut self.is_behind_fan_out);
        let gate = factory.build(self, true);
        self.is_behind_fan_out = was_behind;
        self.stage = above;
        gate
    }

    /// Opens the producer side of an edge.
    pub(crate) fn open_lanes<T: Send + 'static>(
        &mut self,
        id: EdgeId,
        codec: Option<Codec<T>>,
    ) -> Result<OpenLanes<T>> {
        let job = self.job.clone();
        let (edge, from) = (job.wiring.edge(id), self.stage.subtask);
        let own = if edge.nested {
            Some(OwnLane::new(from, self.build_nested::<T>(edge.to)?))
        } else {
            None
        };
        let open = |to| {
            let channel = edge.has_channel(from, to);
            channel.then(|| job.wiring.writer(&self.locals, (id, from, to), codec))
        };
        let lanes = (0..edge.consumers()).map(open).collect();
        Ok((own, lanes))
    }

    /// Opens the consumer side of edges that carry one type.
    pub(crate) fn open_inputs<T: Send + 'static>(
        &mut self,
        edges: &[EdgeId],
        codec: Option<Codec<T>>,
    ) -> Inputs<T> {
        let to = self.stage.subtask;
        let mut readers = Vec::new();
        for id in edges {
            let edge = self.job.wiring.edge(*id);
            for from in (0..edge.producers()).filter(|from| edge.has_channel(*from, to)) {
                readers.push(self.job.wiring.reader(&self.locals, (*id, from, to)));
            }
        }
        Inputs::new(readers, codec)
    }

    /// Builds the consumers of a hub.
    pub(crate) fn open_hub<T: Send + 'static>(&mut self, id: HubId) -> Result<FanOut<T>> {
        let blueprint = self.job.blueprint.clone();
        let hub = blueprint.hubs[id.0].downcast_ref::<Hub<T>>().expect("a hub has one record type");
        let was_behind = std::mem::replace(&mut self.is_behind_fan_out, true);
        let consumers = hub.consumers.iter().map(|consumer| consumer.make(self));
        let consumers = consumers.collect::<Result<_>>();
        self.is_behind_fan_out = was_behind;
        Ok(FanOut::new(hub.clone, consumers?))
    }

    /// A hub as the head of a stage; with one consumer the fan-out is left out.
    pub(crate) fn open_hub_head<T: Send + 'static>(
        &mut self,
        id: HubId,
    ) -> Result<Box<dyn Consume<T>>> {
        let blueprint = self.job.blueprint.clone();
        let hub = blueprint.hubs[id.0].downcast_ref::<Hub<T>>().expect("a hub has one record type");
        if let [consumer] = &hub.consumers[..] {
            return consumer.make(self);
        }
        let next = self.open_hub::<T>(id)?;
        Ok(Box::new(Plain { next, stage: self.stage.clone(), is_counted: false }))
    }

    /// The mailbox of the source reader that is being built, if its source assigns splits.
    pub(crate) fn split_mailbox<S: Send + 'static>(
        &self,
        node: NodeId,
    ) -> Option<Arc<SplitMailbox<S>>> {
        let mailbox = self.job.mailboxes.get(&(node, self.stage.subtask))?;
        let mailbox = mailbox.downcast_ref::<Arc<SplitMailbox<S>>>();
        Some(mailbox.expect("a source has one type of split").clone())
    }

    /// Builds the side outputs of an operator that somebody reads.
    pub(crate) fn open_sides(&mut self, node: NodeId) -> Result<SideOutputs> {
        let blueprint = self.job.blueprint.clone();
        let sides = blueprint.sides.get(&node).into_iter().flatten();
        let ports = sides.map(|side| Ok((side.tag.clone(), side.make.make(self)?)));
        Ok(SideOutputs::new(ports.collect::<Result<_>>()?, self.stage.clone(), node))
    }
}

impl<T: Send + 'static> GateFactory<T> {
    /// Builds the gate for the stage that `context` is at.
    pub(crate) fn build(
        &self,
        context: &mut BuildContext,
        nested: bool,
    ) -> Result<Gate<OnePort<T>>> {
        let head = self.make_head.make(context)?;
        let inputs = context.open_inputs(&self.edges, self.codec);
        Gate::open(OnePort { head, inputs }, nested, context)
    }
}

/// Builds a task with two types of input.
pub(crate) fn two_port_task<A: Send + 'static, B: Send + 'static>(
    context: &mut BuildContext,
    head: Box<dyn ConsumeTwo<A, B>>,
    first: (&[EdgeId], Option<Codec<A>>),
    second: (&[EdgeId], Option<Codec<B>>),
) -> Result<Box<dyn Task>> {
    let first = context.open_inputs(first.0, first.1);
    let second = context.open_inputs(second.0, second.1);
    Ok(Box::new(Gate::open(TwoPorts { head, first, second }, false, context)?))
}

fn new_stage(
    job: &JobBlueprint,
    task: Rc<TaskContext>,
    head: NodeId,
    subtask: usize,
) -> Rc<StageContext> {
    let (parallelism, max_parallelism) = job.parallelism[&head];
    let metrics = job.metrics[&(head, subtask)].clone();
    let place = (subtask, parallelism, max_parallelism);
    StageContext::new(task, job.names.clone(), head, place, metrics)
}
