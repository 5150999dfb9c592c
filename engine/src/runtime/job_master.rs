//! The job master: takes one job from its slots to its end.
//!
//! 1. [`launch`](JobMaster::launch): with the slots at hand, makes the sources' enumerators, builds the blueprint and
//!    deploys every task.
//! 2. When all tasks are built it starts them; while they run it serves the enumerators.
//! 3. The first failure is kept and the other tasks are cancelled; a wish to cancel does the same without a failure.
//! 4. When every task of an attempt that failed has been dropped, the restart strategy decides: after a delay another attempt
//!    begins, with the state of the last checkpoint, or the failure stands.
//! 5. When every task has been dropped for good the job is [over](JobMaster::is_over), and [`outcome`](JobMaster::outcome) says
//!    how it ended.
//!
//! A job with checkpoints ends in two steps: when all its input is read a last checkpoint is taken, and only when that is
//! complete, and committed, do its tasks end. A graceful [`stop`](JobMaster::stop) is the same without reading all.
//!
//! What is legal when is decided by the [`ExecutionGraph`](crate::graph::ExecutionGraph); this file reports steps to
//! it and acts.
//!
//! **Invariants**
//! - Called from the engine's control thread alone.
//! - Each deployed task is counted in `alive` until its `TaskDisposed`; the job is not over while one is.
//! - User code of the control plane (enumerators) runs behind a panic guard.

mod blame;
mod checkpoints;
mod savepoints;
mod sources;
mod wishes;

pub(crate) use checkpoints::SaverDone;

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
use crate::checkpoint::crash_points;
use crate::checkpoint::restart::{Decision, RestartStrategy};
use crate::checkpoint::restore_fault::RestoreFault;
use crate::checkpoint::settings::RestartSettings;
use crate::config::OnCancel;
use crate::error::{BoxError, JobFailure};
use crate::graph::{
    Allocation, ExecutionGraph, ExecutionId, ExecutionState, JobStatus, NodeId, NodeKind,
    PhysicalGraph, VertexIndex,
};
use crate::record::CheckpointId;
use crate::runtime::TaskOrder;
use crate::time::Clock;
use checkpoints::{Checkpoints, Demand};
use savepoints::Savepoints;
use sources::Sources;
use thalweg_io::crash_point;

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
    control: ControlSender,
    clock: Arc<dyn Clock>,
    /// Where it runs, also after a restart.
    allocation: Option<Allocation>,
    /// `None` without checkpoints, and before the first attempt.
    checkpoints: Option<Checkpoints>,
    restarts: RestartStrategy,
    /// When the next attempt begins.
    restart_at_ns: Option<u64>,
    checkpoint_begun_ns: u64,
    /// Until when a graceful stop may take.
    stop_until_ns: Option<u64>,
    /// What ends reading: [`TaskOrder::StopReading`] or [`TaskOrder::Drain`].
    stop_order: TaskOrder,
    savepoints: Savepoints,
    /// It was cancelled by somebody who wants to go on from its checkpoints.
    is_halted: bool,
}

/// One deployed task.
struct RunningTask {
    vertices: Vec<VertexIndex>,
    subtask: usize,
    name: String,
    has_source: bool,
}

impl JobMaster {
    /// A job without slots.
    pub(crate) fn new(
        submission: Submission,
        state: Arc<JobState>,
        control: ControlSender,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let restarts = RestartStrategy::new(RestartSettings::of(&submission.configuration));
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
            control,
            clock,
            allocation: None,
            checkpoints: None,
            restarts,
            restart_at_ns: None,
            checkpoint_begun_ns: 0,
            stop_until_ns: None,
            stop_order: TaskOrder::StopReading,
            savepoints: Savepoints::default(),
            is_halted: false,
        }
    }

    pub(crate) fn state(&self) -> &Arc<JobState> {
        &self.state
    }

    fn id(&self) -> JobId {
        self.state.id
    }

    /// The job has slots: deploys it.
    pub(crate) fn launch(&mut self, allocation: &Allocation, manager: &TaskManager) {
        self.launched_ns = self.clock.monotonic_ns();
        self.allocation = Some(allocation.clone());
        if self.state.step(|graph| graph.run()).is_err() {
            return; // cancelled while it waited
        }
        let place = (manager.files(), &self.control);
        match Checkpoints::open(&self.submission, self.id(), place) {
            Ok(checkpoints) => {
                self.checkpoints = checkpoints;
                self.attempt(manager);
            }
            Err(error) => {
                // Nothing that a restart could change.
                self.restarts = RestartStrategy::new(RestartSettings::Never);
                self.fail(blame::job(&self.state.name, error), manager);
            }
        }
    }

    /// Runs the job, from its last checkpoint if there is one.
    fn attempt(&mut self, manager: &TaskManager) {
        let (id, now_ns) = (self.id(), self.clock.monotonic_ns());
        self.tasks.clear();
        self.cores.clear();
        self.sources = Sources::default();
        let restored = self.checkpoints.as_ref().and_then(Checkpoints::restored);
        let restored_id = restored.as_ref().map(|restored| restored.checkpoint);
        self.state.count(|statistics| {
            statistics.restored = restored_id;
            statistics.latest = statistics.latest.max(restored_id);
        });
        match self.sources.open((&self.submission, id), restored.as_deref(), &self.control, now_ns)
        {
            Ok(()) => self.deploy(manager),
            Err(failure) => self.fail(failure, manager),
        }
    }

    fn deploy(&mut self, manager: &TaskManager) {
        let Some(allocation) = &self.allocation else { return };
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
            checkpoints: self.checkpoints.as_ref().map(|c| c.settings().mode),
            restored: self.checkpoints.as_ref().and_then(Checkpoints::restored),
        };
        let blueprint = Arc::new(job_blueprint(&self.submission, &physical, around));
        let events = event_sink(self.id(), &self.control);
        let all = deployments(&self.submission, &physical, &blueprint, self.id(), &events);
        self.note_tasks(&physical, &all);
        for (core, deployment) in all {
            self.deploy_one(core, deployment, manager);
        }
    }

    fn state_files(&mut self, manager: &TaskManager) -> Result<Option<Arc<StateFiles>>, BoxError> {
        let Submission { configuration, explain, .. } = &self.submission;
        let keyed_operators = explain.stream_graph.nodes().iter().filter(|node| node.keyed).count();
        let place = manager.files();
        match &mut self.checkpoints {
            None => StateFiles::of_job(configuration, self.id(), keyed_operators, place),
            Some(checkpoints) => {
                let state = checkpoints.keyed_state()?;
                StateFiles::in_checkpoints(configuration, keyed_operators, state, place)
            }
        }
    }

    /// Writes down what is about to be deployed, before the first report about it can come.
    fn note_tasks(&mut self, physical: &PhysicalGraph, all: &[(usize, TaskDeployment)]) {
        let mut clocks = Vec::new();
        for (task, (core, deployment)) in physical.tasks().iter().zip(all) {
            let (vertices, subtask) = (task.vertices.clone(), task.subtask);
            let times = deployment.times.clone();
            clocks.push(TaskClock { vertices: vertices.clone(), subtask, times });
            let root = self.submission.explain.job_graph.stage(task.root).head;
            let kind = self.submission.explain.stream_graph.node(root).kind;
            let has_source = matches!(kind, NodeKind::Source { .. });
            let name = deployment.name.clone();
            let running = RunningTask { vertices, subtask, name, has_source };
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
            CoreEvent::TaskFinished(task) => {
                self.step(task, ExecutionState::Finished);
                let now_ms = self.clock.wall_ms();
                let demands = self.checkpoints.as_mut().map(|c| c.on_finished(task, now_ms));
                self.meet(demands.unwrap_or_default(), manager);
            }
            CoreEvent::TaskFailed { task, failure } => {
                let subtask = self.tasks.get(&task).map_or(0, |task| task.subtask);
                let failure = blame::task(&self.state.name, subtask, failure);
                self.failure.get_or_insert(failure);
                self.step(task, ExecutionState::Failed);
                self.cancel_tasks(manager);
            }
            CoreEvent::Checkpoint { task, report } => {
                let now = self.now();
                let demands = self.checkpoints.as_mut().map(|c| c.on_report(task, report.0, now));
                self.meet(demands.unwrap_or_default(), manager);
            }
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
        if self.checkpoints.as_ref().is_some_and(|c| c.restored().is_some()) {
            crash_point(crash_points::TASKS_BUILT);
        }
        let tasks = self.tasks.iter().map(|(id, task)| (*id, task.has_source));
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.begin(tasks, self.clock.monotonic_ns());
        }
        for core in self.cores.clone() {
            if let Err(gone) = manager.start_job(core, self.id()) {
                let failure = blame::job(&self.state.name, gone.to_string().into());
                self.fail(failure, manager);
            }
        }
        if self.stop_until_ns.is_some() {
            // It was to stop before it ran, or before it failed.
            self.meet(vec![Demand::Order(self.stop_order)], manager);
        }
        if self.savepoints.want_checkpoint() {
            self.want_checkpoint(manager);
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

    /// As [`cancel`](Self::cancel), and its checkpoints stay.
    pub(crate) fn halt(&mut self, manager: &TaskManager) {
        self.is_halted = true;
        self.cancel(manager);
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

    /// When [`on_time`](Self::on_time) wants to be called next.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        match self.state.status() {
            JobStatus::Running => {
                let checkpoint_ns = self.checkpoints.as_ref().and_then(Checkpoints::next_ns);
                let discovery_ns = self.sources.next_discovery_ns();
                [discovery_ns, checkpoint_ns, self.stop_until_ns].into_iter().flatten().min()
            }
            JobStatus::Restarting => {
                [self.restart_at_ns, self.stop_until_ns].into_iter().flatten().min()
            }
            _ => None,
        }
    }

    /// Does what is due by the clock.
    pub(crate) fn on_time(&mut self, manager: &TaskManager) {
        let (now_ms, now_ns) = self.now();
        match self.state.status() {
            JobStatus::Running if self.is_stop_overdue(now_ns) => {
                self.restarts = RestartStrategy::new(RestartSettings::Never);
                self.fail(self.stop_timeout_failure(), manager);
            }
            JobStatus::Restarting if self.is_stop_overdue(now_ns) => {
                self.failure = Some(self.stop_timeout_failure());
                let given_up = self.state.step(|graph| graph.give_up());
                debug_assert!(given_up.is_ok(), "a job that restarts has no live subtasks");
            }
            JobStatus::Running => {
                let answer = self.sources.discover(now_ns);
                self.after_enumerators(answer, manager);
                let demands = self.checkpoints.as_mut().map(|c| c.on_time(now_ms, now_ns));
                self.meet(demands.unwrap_or_default(), manager);
            }
            JobStatus::Restarting if self.restart_at_ns.is_some_and(|at| now_ns >= at) => {
                self.restart(manager);
            }
            _ => {}
        }
    }

    fn now(&self) -> (i64, u64) {
        (self.clock.wall_ms(), self.clock.monotonic_ns())
    }

    /// The saver has done something.
    pub(crate) fn on_saved(&mut self, done: SaverDone, manager: &TaskManager) {
        let now = self.now();
        let demands = self.checkpoints.as_mut().map(|c| c.on_saved(done, now));
        self.meet(demands.unwrap_or_default(), manager);
    }

    /// Fails the job as a task would.
    pub(crate) fn fail_because(&mut self, why: &str, manager: &TaskManager) {
        self.fail(blame::job(&self.state.name, why.into()), manager);
    }

    /// Does what checkpoints demand.
    fn meet(&mut self, demands: Vec<Demand>, manager: &TaskManager) {
        for demand in demands {
            match demand {
                Demand::Fail(failure) => {
                    self.fail(blame::job(&self.state.name, failure.into()), manager);
                }
                Demand::BeginBarrier(barrier) => {
                    self.checkpoint_begun_ns = self.clock.monotonic_ns();
                    let id = barrier.checkpoint;
                    self.state.count(|statistics| statistics.in_progress = Some(id));
                    if self.savepoints.begun(barrier) {
                        self.checkpoints.iter_mut().for_each(|checkpoints| checkpoints.pin(id));
                    }
                    self.begin_barrier(manager);
                }
                Demand::Completed(id) => {
                    let now_ns = self.clock.monotonic_ns();
                    let duration_ns = now_ns.saturating_sub(self.checkpoint_begun_ns);
                    self.state.count(|statistics| {
                        statistics.completed += 1;
                        statistics.latest = Some(id);
                        statistics.latest_duration = Some(Duration::from_nanos(duration_ns));
                        statistics.in_progress = None;
                    });
                    self.write_savepoints(id);
                }
                Demand::Written(wish, result) => self.savepoints.written(wish, result),
                Demand::Warn(failure) => {
                    self.savepoints.failed(&failure);
                    tracing::warn!(job = %self.state.name, "{failure}; the job goes on");
                    self.state.count(|statistics| {
                        statistics.failed += 1;
                        statistics.latest_failure = Some(failure.to_string());
                        statistics.in_progress = None;
                    });
                }
                Demand::Order(order) => {
                    for core in &self.cores {
                        // A core that is gone has dropped its tasks, and said so.
                        let _ = manager.order(*core, self.state.id, order);
                    }
                }
            }
        }
        let is_quiet = self.checkpoints.as_ref().is_none_or(Checkpoints::is_quiet);
        self.state.set_saving(!is_quiet);
    }

    /// Has a complete checkpoint copied for those who wait for it.
    fn write_savepoints(&mut self, id: CheckpointId) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        for wish in self.savepoints.completed(id) {
            let has_been_written = self.savepoints.has_written_last(&wish);
            checkpoints.write_savepoint(id, wish, has_been_written);
        }
    }

    /// Adds what the enumerators have to the checkpoint that begins.
    fn begin_barrier(&mut self, manager: &TaskManager) {
        match self.sources.begin_barrier(&self.submission) {
            Ok(pieces) => {
                if let Some(checkpoints) = &mut self.checkpoints {
                    checkpoints.add(pieces);
                }
            }
            Err(refusal) => {
                let failure = self.sources.failure(&self.submission, refusal);
                self.fail(failure, manager);
            }
        }
    }

    /// The delay is over: the job begins its next attempt.
    fn restart(&mut self, manager: &TaskManager) {
        self.restart_at_ns = None;
        self.savepoints.restart();
        let is_new = self.state.step(|graph| graph.recreate().and_then(|()| graph.run()));
        if let Err(error) = is_new {
            return tracing::error!(job = %self.state.name, "{error}");
        }
        tracing::info!(job = %self.state.name, attempt = self.restarts.attempts(), "restarts");
        self.attempt(manager);
    }

    /// Every task of an attempt that failed is gone: tries again, or lets the failure stand.
    fn decide(&mut self) {
        let cause = self.failure.as_ref().and_then(|failure| failure.cause.as_deref());
        let fault = cause.and_then(|cause| RestoreFault::of(cause));
        let damage = cause.filter(|_| fault == Some(RestoreFault::Damaged)).map(|c| c.to_string());
        let ended = self.checkpoints.as_mut().map_or(Ok(true), |c| c.end(damage));
        let has_older = self.checkpoints.as_ref().is_some_and(Checkpoints::has_fallen_back);
        let decision = match ended {
            Ok(false) => return, // something is being saved; it will be asked again
            // Whoever does not want restarts wants the job to begin all the same.
            Ok(true) if has_older => Decision::RestartAfter { delay_ns: 0 },
            Ok(true) if fault == Some(RestoreFault::Refused) => {
                Decision::GiveUp { reason: "it does not fit its checkpoint".to_owned() }
            }
            Ok(true) => self.restarts.on_failure(self.clock.monotonic_ns()),
            Err(error) => {
                self.failure = Some(blame::job(&self.state.name, error));
                Decision::GiveUp { reason: "there is no checkpoint to go on from".to_owned() }
            }
        };
        let stepped = match decision {
            Decision::RestartAfter { delay_ns } if !self.engine_gone => {
                let why = self.failure.take().map(|failure| failure.to_string());
                if let Some(why) = &why {
                    let delay_ms = delay_ns / 1_000_000;
                    tracing::warn!(delay_ms, "{why}; the job will be restarted");
                }
                self.state.count(|statistics| {
                    statistics.restarts += 1;
                    statistics.in_progress = None;
                    statistics.latest_restart = why;
                });
                self.restart_at_ns = Some(self.clock.monotonic_ns().saturating_add(delay_ns));
                self.state.step(|graph| graph.restart())
            }
            Decision::RestartAfter { .. } => self.state.step(|graph| graph.give_up()),
            Decision::GiveUp { reason } => {
                tracing::debug!(job = %self.state.name, "is not restarted: {reason}");
                self.state.step(|graph| graph.give_up())
            }
        };
        debug_assert!(
            stepped.is_ok(),
            "a failing job without live subtasks may restart or give up"
        );
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
        let is_settled = |graph: &mut ExecutionGraph| {
            graph.status() == JobStatus::Failing && graph.live_count() == 0
        };
        if self.state.step(is_settled) {
            self.decide();
        }
        let is_quiet = self.checkpoints.as_ref().is_none_or(Checkpoints::is_quiet);
        is_quiet && self.state.step(|graph| graph.status().is_terminal())
    }

    /// How it ended; asked once it is over.
    pub(crate) fn outcome(&mut self) -> Outcome {
        let now_ns = self.clock.monotonic_ns();
        self.drop_checkpoints();
        let has_failed = self.state.status() == JobStatus::Failed;
        self.savepoints.end(self.failure.as_ref().filter(|_| has_failed));
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

impl JobMaster {
    /// Removes checkpoints that nobody will go on from, and lets go of the directory.
    ///
    /// The last one of a job that has finished stays: should the process die before anybody knows of the end, the next one goes
    /// on from there, and ends at once, instead of doing all once more.
    fn drop_checkpoints(&mut self) {
        let Some(checkpoints) = self.checkpoints.take() else { return };
        self.state.count(|statistics| statistics.in_progress = None);
        match self.state.status() {
            JobStatus::Finished => checkpoints.keep_last(),
            JobStatus::Canceled
                if !self.engine_gone
                    && !self.is_halted
                    && checkpoints.settings().on_cancel == OnCancel::Delete =>
            {
                checkpoints.remove_all();
            }
            _ => {}
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
