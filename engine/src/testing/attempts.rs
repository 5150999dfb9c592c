//! Jobs with checkpoints without a control plane: a test builds the tasks of an attempt, runs them on its own thread, orders
//! barriers, and begins the next attempt with what was gathered. For unit tests of operators.

use super::hub::Hub;
use super::input::{InputControl, InputQueue};
use super::output::{OutputEvent, OutputEvents};
use crate::api::StreamExecutionEnvironment;
use crate::checkpoint::snapshot::{Declined, RestoredPiece, RestoredState, TaskSnapshot};
use crate::config::{ConfigurationBuilder, StateBackend};
use crate::graph::PhysicalGraph;
use crate::graph::test_plan::allocate_round_robin;
use crate::operator::keyed_store::stores_of;
use crate::operator::pieces::Report;
use crate::record::{Barrier, CheckpointId};
use crate::runtime::state_files::{CheckpointedState, FilesPlace, StateFiles};
use crate::runtime::submission::Submission;
use crate::runtime::submission::blueprint::{Surroundings, deployments, job_blueprint};
use crate::runtime::{
    CheckpointReport, CoreEvent, CoreHandle, CoreServices, JobId, Progress, Task, TaskFailure,
    TaskOrder,
};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thalweg_io::storage::{MemoryStorage, Storage};
use thalweg_state::StateRoot;

/// A job that is tried again and again.
pub(crate) struct Attempts<W> {
    write: W,
    configuration: ConfigurationBuilder,
    root: Arc<StateRoot>,
    place: FilesPlace,
    retained: Vec<Arc<RestoredState>>,
}

impl<W: Fn(&StreamExecutionEnvironment)> Attempts<W> {
    pub(crate) fn new(parallelism: usize, backend: StateBackend, write: W) -> Self {
        Self::on(Arc::new(MemoryStorage::new()), parallelism, backend, write)
    }

    pub(crate) fn on(
        storage: Arc<dyn Storage>,
        parallelism: usize,
        backend: StateBackend,
        write: W,
    ) -> Self {
        Self::at(Path::new("/checkpoints"), storage, parallelism, backend, write)
    }

    pub(crate) fn at(
        directory: &Path,
        storage: Arc<dyn Storage>,
        parallelism: usize,
        backend: StateBackend,
        write: W,
    ) -> Self {
        let mut configuration = ConfigurationBuilder::new();
        configuration.parallelism(parallelism).state_backend(backend);
        let root = StateRoot::open(directory.join("state"), storage.clone()).unwrap();
        let place = FilesPlace::Simulated(storage);
        Attempts { write, configuration, root, place, retained: Vec::new() }
    }

    /// Stores have threads, as in production.
    pub(crate) fn with_threads(mut self) -> Self {
        self.place = FilesPlace::Local;
        self
    }

    pub(crate) fn set_parallelism(&mut self, parallelism: usize) {
        self.configuration.parallelism(parallelism);
    }

    pub(crate) fn root(&self) -> &Arc<StateRoot> {
        &self.root
    }

    /// Checkpoints that may be restored: `keep` of those that there were.
    pub(crate) fn retain(&mut self, state: &Arc<RestoredState>) {
        self.retained = vec![state.clone()];
    }

    /// Begins an attempt; panics if a task cannot be built.
    pub(crate) fn begin(&self, restored: Option<&Arc<RestoredState>>, now_ms: i64) -> Attempt {
        self.try_begin(restored, now_ms).unwrap_or_else(|failure| panic!("{failure}"))
    }

    pub(crate) fn try_begin(
        &self,
        restored: Option<&Arc<RestoredState>>,
        now_ms: i64,
    ) -> Result<Attempt, TaskFailure> {
        let retained: Vec<_> = self.retained.iter().chain(restored).collect();
        let stores = retained.iter().flat_map(|state| stores_of(state).unwrap()).collect();
        self.try_begin_with(restored, now_ms, stores)
    }

    /// As [`try_begin`](Self::try_begin), where it is not known which stores the checkpoint needs: all stay.
    pub(crate) fn try_begin_unchecked(
        &self,
        restored: &Arc<RestoredState>,
    ) -> Result<Attempt, TaskFailure> {
        let stores = self.root.stores().unwrap();
        let stores = stores.into_iter().map(|summary| summary.store.into_string()).collect();
        self.try_begin_with(Some(restored), 0, stores)
    }

    fn try_begin_with(
        &self,
        restored: Option<&Arc<RestoredState>>,
        now_ms: i64,
        stores: BTreeSet<String>,
    ) -> Result<Attempt, TaskFailure> {
        let hub = Hub::new();
        let env =
            StreamExecutionEnvironment::with_configuration(self.configuration.build().unwrap());
        hub.at_hand(|| (self.write)(&env));
        let submission = env.submission("attempt").unwrap();
        let core = CoreHandle::new(CoreServices::default());
        core.now_ms.set(now_ms);
        core.next_timer_ms.set(i64::MAX);
        let mut attempt = Attempt {
            hub,
            core,
            tasks: Vec::new(),
            events: Arc::default(),
            parallelism: HashMap::new(),
            snapshots: Vec::new(),
            declined: Vec::new(),
            sent: 0,
        };
        let files = self.files(&submission, restored, stores);
        self.build(&submission, files, restored, &mut attempt)?;
        attempt.settle();
        Ok(attempt)
    }

    fn files(
        &self,
        submission: &Submission,
        restored: Option<&Arc<RestoredState>>,
        stores: BTreeSet<String>,
    ) -> Option<Arc<StateFiles>> {
        let retained = self.retained.iter().chain(restored).map(|state| state.checkpoint).collect();
        let state = CheckpointedState { root: self.root.clone(), retained, stores };
        let nodes = submission.explain.stream_graph.nodes();
        let keyed_operators = nodes.iter().filter(|node| node.keyed).count();
        let configuration = &submission.configuration;
        StateFiles::in_checkpoints(configuration, keyed_operators, state, self.place.clone())
            .unwrap()
    }

    fn build(
        &self,
        submission: &Submission,
        state_files: Option<Arc<StateFiles>>,
        restored: Option<&Arc<RestoredState>>,
        attempt: &mut Attempt,
    ) -> Result<(), TaskFailure> {
        let allocation = allocate_round_robin(&submission.demand(), 1);
        let physical = PhysicalGraph::new(&submission.explain.job_graph, &allocation).unwrap();
        let state = crate::runtime::status::JobState::new(submission);
        let around = Surroundings {
            metrics: &state.metrics,
            names: &state.stage_names,
            wakers: HashMap::from([(0, attempt.core.waker.clone())]),
            mailboxes: HashMap::new(),
            state_files,
            checkpoints: Some(crate::config::CheckpointMode::ExactlyOnce),
            restored: restored.cloned(),
        };
        let blueprint = Arc::new(job_blueprint(submission, &physical, around));
        for node in submission.explain.stream_graph.nodes() {
            attempt.parallelism.insert(node.operator_id, node.parallelism);
        }
        let events = attempt.events.clone();
        let sink = move |event| events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        let job = JobId::allocate();
        for (_, deployment) in
            deployments(submission, &physical, &blueprint, job, &(Arc::new(sink) as _))
        {
            match (deployment.build)(&attempt.core) {
                Ok(task) => attempt.tasks.push(task),
                Err(error) => {
                    let failure = deployment.failure.take();
                    return Err(failure.unwrap_or_else(|| TaskFailure::from_error("task", error)));
                }
            }
        }
        Ok(())
    }
}

/// The tasks of an attempt; dropped as after a failure.
pub(crate) struct Attempt {
    hub: Arc<Hub>,
    pub(crate) core: CoreHandle,
    tasks: Vec<Box<dyn Task>>,
    events: Arc<Mutex<Vec<CoreEvent>>>,
    parallelism: HashMap<crate::graph::OperatorId, usize>,
    snapshots: Vec<TaskSnapshot>,
    pub(crate) declined: Vec<Declined>,
    sent: usize,
}

/// Runs of all tasks before a job counts as restless.
const RUNS_MAX: usize = 1_000_000;

impl Attempt {
    /// Runs all tasks until none has anything to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..RUNS_MAX {
            self.core.next_timer_ms.set(i64::MAX);
            let mut has_worked = false;
            self.tasks.retain_mut(|task| {
                let progress = task.run(2_048);
                has_worked |= matches!(progress, Progress::Worked | Progress::Done);
                progress != Progress::Done
            });
            self.take_events();
            if !has_worked {
                return;
            }
        }
        panic!("the job does not come to rest");
    }

    fn take_events(&mut self) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events.drain(..) {
            match event {
                CoreEvent::Checkpoint { report: CheckpointReport(report), .. } => match report {
                    Report::Ready(snapshot) => self.snapshots.push(snapshot),
                    Report::Declined(declined) => self.declined.push(declined),
                    Report::InputEnded => {}
                },
                CoreEvent::TaskFailed { failure, .. } => panic!("{failure}"),
                _ => {}
            }
        }
    }

    pub(crate) fn order(&mut self, order: TaskOrder) {
        self.tasks.iter_mut().for_each(|task| task.order(order));
        self.settle();
    }

    /// Two orders, with nothing between them.
    pub(crate) fn order_two(&mut self, first: TaskOrder, second: TaskOrder) {
        self.tasks.iter_mut().for_each(|task| task.order(first));
        self.tasks.iter_mut().for_each(|task| _ = task.run(1));
        self.order(second);
    }

    /// A checkpoint of all tasks, completed.
    pub(crate) fn checkpoint(&mut self, id: u64) -> Arc<RestoredState> {
        let state = self.try_checkpoint(id);
        let state = state.unwrap_or_else(|| panic!("declined: {:?}", self.declined));
        self.order(TaskOrder::Completed(CheckpointId(id)));
        state
    }

    /// As [`checkpoint`](Self::checkpoint), not completed yet; `None` if it is declined.
    pub(crate) fn try_checkpoint(&mut self, id: u64) -> Option<Arc<RestoredState>> {
        let id = CheckpointId(id);
        self.snapshots.clear();
        self.declined.clear();
        self.order(TaskOrder::Barrier(Barrier::periodic(id)));
        for _ in 0..10_000 {
            if !self.declined.is_empty() {
                return None;
            }
            if self.snapshots.len() == self.tasks.len() {
                break;
            }
            // A store's thread is at it.
            crate::sync::thread::park(Some(Duration::from_millis(1)));
            self.settle();
        }
        assert_eq!(self.snapshots.len(), self.tasks.len(), "a snapshot of each task");
        let mut pieces: HashMap<_, HashMap<String, Vec<RestoredPiece>>> = HashMap::new();
        for piece in self.snapshots.drain(..).flat_map(|snapshot| snapshot.pieces) {
            let (subtask, bytes) = (piece.subtask, piece.bytes.into_contiguous().into());
            let named = pieces.entry(piece.key.operator).or_default();
            let of_name = named.entry(piece.key.name.to_owned()).or_default();
            of_name.push(RestoredPiece { subtask, bytes });
        }
        pieces
            .values_mut()
            .flat_map(HashMap::values_mut)
            .for_each(|pieces| pieces.sort_by_key(|piece| piece.subtask));
        let parallelism = self.parallelism.clone();
        Some(Arc::new(RestoredState { checkpoint: id, parallelism, pieces }))
    }

    /// Gives a record to a subtask of an input, which is chosen by `turn`.
    pub(crate) fn pipe<T: Send + 'static>(
        &mut self,
        (input, turn): (&str, usize),
        record: T,
        timestamp_ms: i64,
    ) {
        let piped = self.hub.inputs.with_type::<T, _>(input, |ports| {
            let port = ports.by_subtask.values().nth(turn % ports.by_subtask.len());
            let queue = port.and_then(|port| port.as_any().downcast_ref::<InputQueue<T>>());
            queue.unwrap().push_record(record, timestamp_ms);
        });
        piped.unwrap();
        self.sent += 1;
        self.settle();
    }

    pub(crate) fn watermark(&mut self, input: &str, watermark_ms: i64) {
        let control = InputControl::Watermark(watermark_ms);
        let all = self.hub.inputs.with(input, |ports| {
            ports.by_subtask.values().for_each(|port| port.push_control(control));
        });
        all.unwrap();
        self.settle();
    }

    pub(crate) fn set_clock_ms(&mut self, now_ms: i64) {
        self.core.now_ms.set(now_ms);
        self.settle();
    }

    pub(crate) fn outputs<T: Send + 'static>(&mut self, output: &str) -> Vec<T> {
        let taken = self.hub.outputs.with_type::<T, _>(output, |ports| {
            let port = ports.by_subtask.values().next();
            let events = port.and_then(|port| port.as_any().downcast_ref::<OutputEvents<T>>());
            events.unwrap().take()
        });
        let record = |event| match event {
            OutputEvent::Record { value, .. } => Some(value),
            OutputEvent::Watermark(_) | OutputEvent::Status(_) => None,
        };
        taken.unwrap().into_iter().filter_map(record).collect()
    }
}
