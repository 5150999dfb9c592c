//! A job that is ready to run: its graphs, its factories and its settings.
//!
//! ```text
//! WrittenJob (what the calls on streams wrote) ──check──► StreamGraph ──► Submission ──► dispatcher
//!                                                └ all mistakes at once
//! Submission + Allocation ──► PhysicalGraph ──► JobBlueprint ──► one TaskDeployment a task
//! ```
//!
//! **Invariants**
//! - A submission's plan has no mistakes and every stage has a factory; only slots can be refused after this.
//! - It holds no thread, no ring and no open function; those are made on the cores, from the [`JobBlueprint`].
//!
//! [`JobBlueprint`]: crate::operator::build::JobBlueprint

pub(crate) mod blueprint;

use std::collections::HashMap;
use std::sync::Arc;

use super::coordinator::SourceCoordinatorFactory;
use crate::config::{CheckpointMode, Configuration};
use crate::graph::{
    CheckpointSettings, ExecutionGraph, Explain, JobGraph, NodeId, NodeKind, Plan, PlanError,
    PlanErrorCause, PlanErrors, PlanSettings, PlanSite, SlotDemand, StreamGraph,
};
use crate::operator::build::Blueprint;

/// What the calls on an environment's streams have written.
pub(crate) struct WrittenJob {
    pub(crate) plan: Plan,
    /// Mistakes that the plan itself does not show.
    pub(crate) mistakes: Vec<PlanError>,
    pub(crate) blueprint: Blueprint,
    /// By source.
    pub(crate) coordinators: HashMap<NodeId, SourceCoordinatorFactory>,
}

/// See the module docs.
pub(crate) struct Submission {
    pub(crate) name: String,
    pub(crate) configuration: Configuration,
    /// Without a physical graph.
    pub(crate) explain: Explain,
    pub(crate) blueprint: Arc<Blueprint>,
    pub(crate) coordinators: HashMap<NodeId, SourceCoordinatorFactory>,
}

/// The plan's settings, as the configuration says.
pub(crate) fn plan_settings(name: &str, configuration: &Configuration) -> PlanSettings {
    PlanSettings {
        job_name: name.to_owned(),
        parallelism: configuration.parallelism(),
        max_parallelism: configuration.max_parallelism(),
        chaining_enabled: configuration.chaining(),
        checkpoints: configuration.checkpoint_interval().map(|interval| CheckpointSettings {
            interval,
            timeout: configuration.checkpoint_timeout(),
            is_aligned: configuration.checkpoint_mode() == CheckpointMode::ExactlyOnce,
        }),
    }
}

/// Checks a plan; all that is wrong with it comes at once.
pub(crate) fn check(
    plan: &Plan,
    mistakes: &[PlanError],
    settings: &PlanSettings,
) -> Result<StreamGraph, PlanErrors> {
    match StreamGraph::new(plan, settings) {
        Ok(graph) if mistakes.is_empty() => Ok(graph),
        Ok(_) => Err(PlanErrors(mistakes.to_vec())),
        Err(PlanErrors(mut errors)) => {
            errors.extend_from_slice(mistakes);
            Err(PlanErrors(errors))
        }
    }
}

impl Submission {
    /// Checks a written job and plans it up to the slots.
    pub(crate) fn new(
        written: WrittenJob,
        settings: &PlanSettings,
        configuration: Configuration,
    ) -> Result<Self, PlanErrors> {
        let WrittenJob { plan, mistakes, blueprint, coordinators } = written;
        let stream_graph = check(&plan, &mistakes, settings)?;
        let job_graph = JobGraph::new(&stream_graph);
        require_factories(&job_graph, &stream_graph, &blueprint)?;
        let execution_graph = ExecutionGraph::new(&job_graph);
        let explain = Explain { stream_graph, job_graph, execution_graph, physical_graph: None };
        let (name, blueprint) = (settings.job_name.clone(), Arc::new(blueprint));
        Ok(Self { name, configuration, explain, blueprint, coordinators })
    }

    /// Has it sinks that commit when a checkpoint is complete?
    pub(crate) fn commits(&self) -> bool {
        let commits = |kind| matches!(kind, NodeKind::Sink(promise) if promise.guarantee.commits());
        self.explain.stream_graph.nodes().iter().any(|node| commits(node.kind))
    }

    /// The slots it needs.
    pub(crate) fn demand(&self) -> SlotDemand {
        self.explain.job_graph.slot_demand()
    }
}

/// A sink joins the plan when the value that names it is dropped; while that lives its stage is not complete.
fn require_factories(
    job_graph: &JobGraph,
    stream_graph: &StreamGraph,
    blueprint: &Blueprint,
) -> Result<(), PlanErrors> {
    let missing = job_graph.stages().iter().filter(|s| !blueprint.stages.contains_key(&s.head));
    let error = |head: NodeId| {
        let node = stream_graph.node(head);
        let (name, location) = (node.name.clone(), node.location);
        PlanError {
            site: PlanSite::Operator { node: head, name, location },
            cause: PlanErrorCause::Misuse {
                message: "the stream has not ended yet; drop what its sink's call returned before execute"
                    .to_owned(),
            },
        }
    };
    let errors: Vec<_> = missing.map(|stage| error(stage.head)).collect();
    if errors.is_empty() { Ok(()) } else { Err(PlanErrors(errors)) }
}
