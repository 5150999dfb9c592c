//! From the physical graph to what the cores build from: wiring, names, metrics, and one deployment a task.
//!
//! **Invariants**
//! - Both ends of an edge, on whatever core, read the same [`EdgeWiring`], so they agree on every channel.
//! - A subtask's metrics are registered before its task is deployed, once an attempt.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use super::Submission;
use crate::checkpoint::snapshot::RestoredState;
use crate::config::CheckpointMode;
use crate::exchange::channel::ChannelOptions;
use crate::exchange::wiring::{EdgeWiring, Wiring};
use crate::graph::{EdgePlan, JobGraph, NodeId, PhysicalGraph, PhysicalTask};
use crate::metrics::{JobMetrics, MetricGroup};
use crate::operator::OperatorNames;
use crate::operator::alignment::AlignmentGroups;
use crate::operator::build::JobBlueprint;
use crate::runtime::deployment::{EventSink, FailureCell, JobId, TaskDeployment, TaskId};
use crate::runtime::deployment_times::TaskTimes;
use crate::runtime::state_files::StateFiles;
use crate::runtime::status::StageNames;
use crate::runtime::task_manager::job_task::{TaskBlueprint, build};
use crate::runtime::wake::CoreWaker;

/// `Arc<SplitMailbox<S>>` by source and subtask.
pub(crate) type MailboxesBySource = HashMap<(NodeId, usize), Box<dyn Any + Send + Sync>>;

/// What of the running job goes into its blueprint.
pub(crate) struct Surroundings<'a> {
    pub(crate) metrics: &'a Arc<JobMetrics>,
    pub(crate) names: &'a StageNames,
    pub(crate) wakers: HashMap<usize, Arc<CoreWaker>>,
    pub(crate) mailboxes: MailboxesBySource,
    pub(crate) state_files: Option<Arc<StateFiles>>,
    pub(crate) checkpoints: Option<CheckpointMode>,
    pub(crate) restored: Option<Arc<RestoredState>>,
}

/// Everything the cores need to build the tasks of `submission`.
pub(crate) fn job_blueprint(
    submission: &Submission,
    physical: &PhysicalGraph,
    around: Surroundings<'_>,
) -> JobBlueprint {
    let Surroundings { metrics, names, wakers, mailboxes, state_files, checkpoints, restored } =
        around;
    let configuration = &submission.configuration;
    let graphs = &submission.explain;
    let options = ChannelOptions {
        page_bytes: configuration.page_bytes(),
        pages_in_flight: configuration.pages_in_flight(),
    };
    let edges = edge_wirings(submission, physical, names);
    let interval_ms = configuration.auto_watermark_interval().as_millis();
    JobBlueprint {
        blueprint: submission.blueprint.clone(),
        wiring: Wiring::new(edges, options, metrics.clone(), wakers),
        names: Arc::new(OperatorNames(
            graphs.stream_graph.nodes().iter().map(|node| node.name.clone()).collect(),
        )),
        parallelism: parallelism_by_head(submission),
        metrics: register(&graphs.job_graph, names, metrics),
        mailboxes,
        state_files,
        seed: configuration.seed(),
        batch_records: submission.configuration.batch_records(),
        auto_watermark_interval_ms: i64::try_from(interval_ms).unwrap_or(i64::MAX),
        alignment: AlignmentGroups::default(),
        operator_ids: graphs.stream_graph.nodes().iter().map(|node| node.operator_id).collect(),
        checkpoints,
        restored,
    }
}

/// One deployment a task, in the order of the physical graph: producers before consumers. The core comes with each.
pub(crate) fn deployments(
    submission: &Submission,
    physical: &PhysicalGraph,
    blueprint: &Arc<JobBlueprint>,
    job: JobId,
    events: &EventSink,
) -> Vec<(usize, TaskDeployment)> {
    let job_graph = &submission.explain.job_graph;
    let budget_records = submission.configuration.drain_budget_records();
    let deployment = |task: &PhysicalTask| {
        let (root, core) = (job_graph.stage(task.root), task.slot.core.0);
        let vertex = &job_graph.vertex(root.vertex).name;
        let name = format!("{vertex} ({}/{})", task.subtask + 1, root.parallelism);
        let (failure, id) = (FailureCell::new(), TaskId::allocate());
        let plan = TaskBlueprint {
            blueprint: blueprint.clone(),
            job,
            core,
            head: root.head,
            subtask: task.subtask,
            name: name.clone(),
            failure: failure.clone(),
            task: id,
            events: events.clone(),
        };
        let build = Box::new(move |core: &_| build(plan, core));
        let times = Arc::new(TaskTimes::new());
        let deployment = TaskDeployment {
            task: id,
            failure,
            times,
            budget_records,
            ..TaskDeployment::new(job, task.slot.id, name, events.clone(), build)
        };
        (core, deployment)
    };
    physical.tasks().iter().map(deployment).collect()
}

fn edge_wirings(
    submission: &Submission,
    physical: &PhysicalGraph,
    names: &StageNames,
) -> Vec<Option<EdgeWiring>> {
    let job_graph = &submission.explain.job_graph;
    let plans = job_graph.edge_plans();
    let count = plans.iter().map(|plan| plan.id.0 as usize + 1).max().unwrap_or(0);
    let mut edges: Vec<Option<EdgeWiring>> = (0..count).map(|_| None).collect();
    for plan in plans {
        let cores = |node: NodeId| -> Vec<usize> {
            let stage = job_graph.stage_of(node);
            let task_of = |subtask| physical.task_of(stage, subtask);
            (0..stage.parallelism).filter_map(task_of).map(|task| task.slot.core.0).collect()
        };
        let vertex_name = |node: NodeId| names.vertex(job_graph.stage_of(node).vertex);
        edges[plan.id.0 as usize] = Some(EdgeWiring {
            to: job_graph.stage_of(plan.to).head,
            ship: plan.ship,
            nested: plan.nested,
            producer_cores: cores(plan.from),
            consumer_cores: cores(plan.to),
            key_groups: narrow(plan.key_groups),
            label: (vertex_name(plan.from), vertex_name(plan.to)),
            input: input_index(submission, plan),
        });
    }
    edges
}

/// Which input of its consumer an edge is.
fn input_index(submission: &Submission, plan: &EdgePlan) -> usize {
    let mut inputs = submission.explain.stream_graph.inputs(plan.to);
    inputs.position(|input| input.edge == Some(plan.id)).unwrap_or(0)
}

fn parallelism_by_head(submission: &Submission) -> HashMap<NodeId, (usize, u16)> {
    let graphs = &submission.explain;
    let of_stage = |head: NodeId, parallelism| {
        (head, (parallelism, narrow(graphs.stream_graph.node(head).max_parallelism)))
    };
    graphs.job_graph.stages().iter().map(|s| of_stage(s.head, s.parallelism)).collect()
}

/// Key groups are at most 32768 in a checked plan.
fn narrow(key_groups: usize) -> u16 {
    u16::try_from(key_groups).expect("a checked plan has at most 32768 key groups")
}

fn register(
    job_graph: &JobGraph,
    names: &StageNames,
    metrics: &JobMetrics,
) -> HashMap<(NodeId, usize), MetricGroup> {
    let mut registered = HashMap::new();
    for stage in job_graph.stages() {
        for subtask in 0..stage.parallelism {
            let group = metrics.register_subtask(names.stage(stage.index), subtask);
            registered.insert((stage.head, subtask), group);
        }
    }
    registered
}
