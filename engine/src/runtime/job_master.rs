//! The job master: takes one job from its slots to its end.
//!
//! 1. [`launch`](JobMaster::launch): with the slots at hand, makes the sources' enumerators, builds the blueprint and
//!    deploys every task.
//! 2. When all tasks are built it starts them; while they run it serves the enumerators.
//! 3. The first failure is kept and the other tasks are cancelled; a wish to cancel does the same without a failure.
//! 4. When every task has been dropped the job is [over](JobMaster::is_over), and [`outcome`](JobMaster::outcome) says
//!    how it ended.
//!
//! What is legal when is decided by the [`ExecutionGraph`](crate::graph::ExecutionGraph); this file reports steps to
//! it and acts.
//!
//! **Invariants**
//! - Called from the engine's control thread alone.
//! - Each deployed task is counted in `alive` until its `TaskDisposed`; the job is not over while one is.
//! - User code of the control plane (enumerators) runs behind a panic guard.

mod blame;
mod sources;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::core_loop_link::CoreGone;
use super::deployment::{
    CoreCommand, CoreEvent, EventSink, JobId, TaskDeployment, TaskFailure, TaskId,
};
use super::dispatcher::ControlSender;
use super::state_files::StateFiles;
use super::status::{JobResult, JobState, Outcome, TaskClock};
use super::submission::Submission;
use super::submission::blueprint::{Surroundings, deployments, job_blueprint};
use super::task_manager::TaskManager;
use crate::error::{BoxError, JobFailure};
use crate::graph::{
    Allocation, ExecutionId, ExecutionState, JobStatus, NodeId, PhysicalGraph, VertexIndex,
};
use sources::Sources;

/// See the module docs.
pub(crate) struct JobMaster {
    submission: Submission,
    state: Arc<JobState>,
    tasks: HashMap<TaskId, RunningTask>,
    /// Tasks that are deployed and not disposed of.
    alive: usize,
    /// Tasks that are not built yet.
    unbuilt: usize,
    cores: BTreeSet<usize>,
    sources: Sources,
    failure: Option<JobFailure>,
    engine_gone: bool,
    launched_ns: u64,
}

/// One deployed task.
struct RunningTask {
    vertices: Vec<VertexIndex>,
    subtask: usize,
    name: String,
}

impl JobMaster {
    /// A job without slots.
    pub(crate) fn new(submission: Submission, state: Arc<JobState>) -> Self {
        Self {
            submission,
            state,
            tasks: HashMap::new(),
            alive: 0,
            unbuilt: 0,
            cores: BTreeSet::new(),
            sources: Sources::default(),
            failure: None,
            engine_gone: false,
            launched_ns: 0,
        }
    }

    pub(crate) fn state(&self) -> &Arc<JobState> {
        &self.state
    }

    fn id(&self) -> JobId {
        self.state.id
    }

    /// The job has slots: deploys it.
    pub(crate) fn launch(
        &mut self,
        allocation: &Allocation,
        manager: &TaskManager,
        control: &ControlSender,
        now_ns: u64,
    ) {
        self.launched_ns = now_ns;
        if self.state.step(|graph| graph.run()).is_err() {
            return; // cancelled while it waited
        }
        match self.sources.open(&self.submission, self.id(), control, now_ns) {
            Ok(()) => self.deploy(allocation, manager, control),
            Err(failure) => self.fail(failure, manager),
        }
    }

    fn deploy(&mut self, allocation: &Allocation, manager: &TaskManager, control: &ControlSender) {
        let physical = match PhysicalGraph::new(&self.submission.explain.job_graph, allocation) {
            Ok(physical) => physical,
            Err(error) => return self.fail(blame::job(&self.state.name, error.into()), manager),
        };
        let state_files = match self.state_files(manager) {
            Ok(state_files) => state_files,
            Err(error) => return self.fail(blame::job(&self.state.name, error), manager),
        };
        let around = Surroundings {
            metrics: &self.state.metrics,
            names: &self.state.stage_names,
            wakers: manager.wakers(),
            mailboxes: self.sources.take_mailboxes(),
            state_files,
            has_checkpoints: false,
            restored: None,
        };
        let blueprint = Arc::new(job_blueprint(&self.submission, &physical, around));
        let events = event_sink(self.id(), control);
        let all = deployments(&self.submission, &physical, &blueprint, self.id(), &events);
        self.note_tasks(&physical, &all);
        for (core, deployment) in all {
            self.deploy_one(core, deployment, manager);
        }
    }

    fn state_files(&self, manager: &TaskManager) -> Result<Option<Arc<StateFiles>>, BoxError> {
        let Submission { configuration, explain, .. } = &self.submission;
        let keyed_operators = explain.stream_graph.nodes().iter().filter(|node| node.keyed).count();
        StateFiles::of_job(configuration, self.id(), keyed_operators, manager.files())
    }

    /// Writes down what is about to be deployed, before the first report about it can come.
    fn note_tasks(&mut self, physical: &PhysicalGraph, all: &[(usize, TaskDeployment)]) {
        let mut clocks = Vec::new();
        for (task, (core, deployment)) in physical.tasks().iter().zip(all) {
            let (vertices, subtask) = (task.vertices.clone(), task.subtask);
            let times = deployment.times.clone();
            clocks.push(TaskClock { vertices: vertices.clone(), subtask, times });
            let running = RunningTask { vertices, subtask, name: deployment.name.clone() };
            self.tasks.insert(deployment.task, running);
            self.cores.insert(*core);
        }
        (self.alive, self.unbuilt) = (all.len(), all.len());
        self.state.place(physical.clone(), clocks);
    }

    fn deploy_one(&mut self, core: usize, deployment: TaskDeployment, manager: &TaskManager) {
        if self.state.status() != JobStatus::Running {
            // A core refused an earlier task: this one need not be built, and nobody will report about it.
            self.alive -= 1;
            return;
        }
        let task = deployment.task;
        self.step(task, ExecutionState::Scheduled);
        self.step(task, ExecutionState::Deploying);
        if let Err(gone) = manager.deploy(core, deployment) {
            self.refused(task, &gone, manager);
        }
    }

    /// A core that has shut down does not take a deployment.
    fn refused(&mut self, task: TaskId, gone: &CoreGone, manager: &TaskManager) {
        debug_assert!(matches!(*gone.command, CoreCommand::Deploy(_)));
        let name = self.tasks.get(&task).map_or(String::new(), |task| task.name.clone());
        let failure = TaskFailure::from_error(&name, gone.to_string().into());
        self.on_core_event(CoreEvent::TaskFailed { task, failure }, manager);
        self.on_core_event(CoreEvent::TaskDisposed(task), manager);
    }

    /// A core reports.
    pub(crate) fn on_core_event(&mut self, event: CoreEvent, manager: &TaskManager) {
        match event {
            CoreEvent::TaskBuilt(task) => {
                self.step(task, ExecutionState::Initializing);
                self.unbuilt -= 1;
                if self.unbuilt == 0 && self.state.status() == JobStatus::Running {
                    self.start(manager);
                }
            }
            CoreEvent::TaskRunning(task) => self.step(task, ExecutionState::Running),
            CoreEvent::TaskFinished(task) => self.step(task, ExecutionState::Finished),
            CoreEvent::TaskFailed { task, failure } => {
                let subtask = self.tasks.get(&task).map_or(0, |task| task.subtask);
                let failure = blame::task(&self.state.name, subtask, failure);
                self.failure.get_or_insert(failure);
                self.step(task, ExecutionState::Failed);
                self.cancel_tasks(manager);
            }
            CoreEvent::Checkpoint { .. } => {}
            CoreEvent::TaskDisposed(task) => {
                self.alive -= 1;
                self.require_end(task, manager);
                self.step(task, ExecutionState::Canceled);
            }
        }
    }

    /// A task that is gone without having finished, failed or been told to stop was dropped by a core that shut down.
    fn require_end(&mut self, task: TaskId, manager: &TaskManager) {
        let Some(running) = self.tasks.get(&task) else { return };
        let (vertex, subtask) = (running.vertices.first().copied(), running.subtask);
        let Some(vertex) = vertex else { return };
        let state = self.state.step(|graph| graph.execution(ExecutionId { vertex, subtask }));
        let ended =
            |state: ExecutionState| state.is_terminal() || state == ExecutionState::Canceling;
        if state.is_some_and(|execution| !ended(execution.state)) {
            let error = "its core shut down; restart the engine".into();
            let failure = TaskFailure::from_error(&running.name, error);
            self.on_core_event(CoreEvent::TaskFailed { task, failure }, manager);
        }
    }

    fn start(&mut self, manager: &TaskManager) {
        for core in self.cores.clone() {
            if let Err(gone) = manager.start_job(core, self.id()) {
                let failure = blame::job(&self.state.name, gone.to_string().into());
                self.fail(failure, manager);
            }
        }
    }

    /// A task took a step: one of each of its vertices. A step that comes too late means nothing: a task that is being
    /// cancelled may finish first, and the last report about any task is that it was disposed of.
    fn step(&mut self, task: TaskId, to: ExecutionState) {
        let Some(task) = self.tasks.get(&task) else { return };
        self.state.step(|graph| {
            for vertex in &task.vertices {
                let id = ExecutionId { vertex: *vertex, subtask: task.subtask };
                let from = graph.execution(id).map(|execution| execution.state);
                if from.is_some_and(|from| is_news(from, to))
                    && let Err(error) = graph.transition(id, to)
                {
                    tracing::error!(task = %task.name, "{error}");
                }
            }
        });
    }

    /// Fails the job for a reason outside its tasks.
    pub(crate) fn fail(&mut self, failure: JobFailure, manager: &TaskManager) {
        if self.state.step(|graph| graph.fail()).is_ok() {
            self.failure.get_or_insert(failure);
        }
        self.cancel_tasks(manager);
    }

    /// The user wants it stopped.
    pub(crate) fn cancel(&mut self, manager: &TaskManager) {
        let is_failing = self.state.status() == JobStatus::Failing;
        if !is_failing && self.state.step(|graph| graph.cancel()).is_ok() {
            self.cancel_tasks(manager);
        }
    }

    /// The engine goes down.
    pub(crate) fn engine_goes(&mut self, manager: &TaskManager) {
        self.engine_gone = true;
        self.cancel(manager);
    }

    /// Stops what is to be stopped, if the job's status says so.
    fn cancel_tasks(&mut self, manager: &TaskManager) {
        let told = self.state.step(|graph| {
            let executions: Vec<_> = graph.to_cancel().collect();
            for id in &executions {
                let state = graph.execution(*id).map(|execution| execution.state);
                let to = match state {
                    // Not deployed: nobody will report.
                    Some(ExecutionState::Created | ExecutionState::Scheduled) => {
                        ExecutionState::Canceled
                    }
                    _ => ExecutionState::Canceling,
                };
                if let Err(error) = graph.transition(*id, to) {
                    tracing::error!("{error}");
                }
            }
            executions.len()
        });
        if told == 0 {
            return;
        }
        for core in &self.cores {
            if let Err(gone) = manager.cancel_job(*core, self.id()) {
                // It has dropped all its tasks, and said so.
                tracing::warn!("{gone}");
            }
        }
    }

    /// A reader asks its source's enumerator for a split.
    pub(crate) fn on_split_request(
        &mut self,
        source: NodeId,
        subtask: usize,
        manager: &TaskManager,
    ) {
        if self.state.status() == JobStatus::Running {
            let answer = self.sources.on_request(source, subtask);
            self.after_enumerators(answer, manager);
        }
    }

    /// Lets the enumerators whose time has come look for splits.
    pub(crate) fn discover(&mut self, now_ns: u64, manager: &TaskManager) {
        if self.state.status() == JobStatus::Running {
            let answer = self.sources.discover(now_ns);
            self.after_enumerators(answer, manager);
        }
    }

    /// When [`discover`](Self::discover) wants to be called next.
    pub(crate) fn next_discovery_ns(&self) -> Option<u64> {
        (self.state.status() == JobStatus::Running).then(|| self.sources.next_discovery_ns())?
    }

    fn after_enumerators(&mut self, answer: Result<(), sources::Refusal>, manager: &TaskManager) {
        if let Err(refusal) = answer {
            let failure = self.sources.failure(&self.submission, refusal);
            return self.fail(failure, manager);
        }
        // A reader that sleeps on its core must see what was posted.
        let wakers = manager.wakers();
        self.cores.iter().filter_map(|core| wakers.get(core)).for_each(|w| w.wake_if_sleeping());
    }

    /// Is nothing of it left on any core, and its status final?
    pub(crate) fn is_over(&mut self) -> bool {
        if self.alive > 0 {
            return false;
        }
        self.state.step(|graph| {
            if graph.status() == JobStatus::Failing && graph.live_count() == 0 {
                let given_up = graph.give_up();
                debug_assert!(given_up.is_ok(), "a failing job without live subtasks may give up");
            }
            graph.status().is_terminal()
        })
    }

    /// How it ended; asked once it is over.
    pub(crate) fn outcome(&mut self, now_ns: u64) -> Outcome {
        match self.state.status() {
            JobStatus::Finished => Outcome::Finished(JobResult {
                job: self.id(),
                name: self.state.name.clone(),
                runtime: Duration::from_nanos(now_ns.saturating_sub(self.launched_ns)),
                metrics: self.state.snapshot(),
            }),
            JobStatus::Failed => {
                Outcome::Failed(self.failure.take().unwrap_or_else(|| {
                    blame::job(&self.state.name, "no failure was reported".into())
                }))
            }
            _ if self.engine_gone => Outcome::EngineGone,
            _ => Outcome::Cancelled,
        }
    }
}

/// Does a report that a subtask took a step tell anything new?
fn is_news(from: ExecutionState, to: ExecutionState) -> bool {
    match (from, to) {
        (from, _) if from.is_terminal() => false,
        (ExecutionState::Canceling, to) => {
            matches!(to, ExecutionState::Canceled | ExecutionState::Failed)
        }
        (_, ExecutionState::Canceled) => false,
        _ => true,
    }
}

fn event_sink(job: JobId, control: &ControlSender) -> EventSink {
    let control = control.clone();
    Arc::new(move |event| control.core_event(job, event))
}
