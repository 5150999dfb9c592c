//! The dispatcher: the one place where an engine decides.
//!
//! ```text
//! submit, cancel, shutdown ─┐
//! reports of cores ─────────┼─ events ─► dispatcher ─► resource manager: who gets which slots
//! requests for splits ──────┘                     └──► job masters: what each job does next
//! ```
//!
//! 1. A submission asks for its slots; it is launched at once, waits its turn, or is refused, as it chose.
//! 2. Every other event goes to the job master it concerns.
//! 3. A job that is over gives its slots back, which may launch jobs that waited; then those who wait for it are told.
//!
//! [`start`](Dispatcher::start) gives it a thread of its own, which sleeps between events. The seeded shell has none: it
//! calls [`step`](Dispatcher::step) between the rounds of its cores.
//!
//! **Invariants**
//! - Resource manager, task manager and job masters are touched by one thread alone, so none of them locks.
//! - Every job that was accepted gets an outcome, also when this thread comes to a bad end.
//! - Once closing, nothing more is accepted; the thread ends when its last job is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::core_loop_panic::caught;
use super::deployment::{CoreEvent, JobId};
use super::job_master::{JobMaster, SaverDone};
use super::resource_manager::{AllocationError, Grant, ResourceManager, SlotResponse, WhenBusy};
use super::savepoint::SavepointWish;
use super::status::{JobState, Outcome};
use super::submission::Submission;
use super::task_manager::TaskManager;
use crate::config::WhenSlotsAreTaken;
use crate::graph::{Allocation, NodeId};
use crate::time::Clock;

/// What the control thread is told.
enum ControlEvent {
    Submit {
        submission: Box<Submission>,
        state: Arc<JobState>,
        /// Dropped without an answer if the engine is closing.
        reply: SyncSender<Result<(), AllocationError>>,
    },
    Core {
        job: JobId,
        event: CoreEvent,
    },
    SplitRequest {
        job: JobId,
        source: NodeId,
        subtask: usize,
    },
    Cancel(JobId),
    /// Take a checkpoint now.
    Checkpoint(JobId),
    /// Read no further, take a last checkpoint, commit, and end.
    Stop(JobId),
    /// The same, and let event time come to its end.
    Drain(JobId),
    /// Take a savepoint.
    Savepoint(JobId, SavepointWish),
    /// Cancel, and keep the checkpoints.
    Halt(JobId),
    /// Fail, as if a task had: for tests.
    Fail(JobId, String),
    /// A file of a checkpoint was written or removed.
    Saved(JobId, SaverDone),
    /// Cancel everything and end.
    Shutdown,
    /// Somebody wants to know how much was done when everything sent before this is done; no event by itself.
    Fence(SyncSender<u64>),
}

/// Tells the control thread. A thread that has ended has nothing to be told any more, so sending never fails.
#[derive(Clone, Debug)]
pub(crate) struct ControlSender(Sender<ControlEvent>);

impl ControlSender {
    fn send(&self, event: ControlEvent) {
        let _ = self.0.send(event);
    }

    pub(crate) fn core_event(&self, job: JobId, event: CoreEvent) {
        self.send(ControlEvent::Core { job, event });
    }

    pub(crate) fn split_request(&self, job: JobId, source: NodeId, subtask: usize) {
        self.send(ControlEvent::SplitRequest { job, source, subtask });
    }

    pub(crate) fn cancel(&self, job: JobId) {
        self.send(ControlEvent::Cancel(job));
    }

    pub(crate) fn shut_down(&self) {
        self.send(ControlEvent::Shutdown);
    }

    /// Asks for a checkpoint.
    pub(crate) fn checkpoint(&self, job: JobId) {
        self.send(ControlEvent::Checkpoint(job));
    }

    /// Asks for a graceful end.
    pub(crate) fn stop(&self, job: JobId) {
        self.send(ControlEvent::Stop(job));
    }

    /// Asks for a graceful end, with the end of event time.
    pub(crate) fn drain(&self, job: JobId) {
        self.send(ControlEvent::Drain(job));
    }

    /// Asks for a savepoint.
    pub(crate) fn savepoint(&self, job: JobId, wish: SavepointWish) {
        self.send(ControlEvent::Savepoint(job, wish));
    }

    /// Asks for an end at once, from which the job can go on.
    pub(crate) fn halt(&self, job: JobId) {
        self.send(ControlEvent::Halt(job));
    }

    /// Fails the job.
    pub(crate) fn fail(&self, job: JobId, why: &str) {
        self.send(ControlEvent::Fail(job, why.to_owned()));
    }

    pub(crate) fn saved(&self, job: JobId, done: SaverDone) {
        self.send(ControlEvent::Saved(job, done));
    }

    /// Submits a job and waits until it is launched, waits for slots, or is refused. `None` if the engine is closing.
    pub(crate) fn submit(
        &self,
        submission: Submission,
        state: Arc<JobState>,
    ) -> Option<Result<(), AllocationError>> {
        self.post(submission, state).recv().ok()
    }

    /// Submits a job without waiting; the answer is that of [`submit`](Self::submit), or none at all.
    pub(crate) fn post(
        &self,
        submission: Submission,
        state: Arc<JobState>,
    ) -> Receiver<Result<(), AllocationError>> {
        let (reply, answer) = sync_channel(1);
        let submission = Box::new(submission);
        self.send(ControlEvent::Submit { submission, state, reply });
        answer
    }

    /// Waits until everything that was sent before is done, and returns how much was done since the start. `None` if
    /// the thread has ended.
    pub(crate) fn fence(&self) -> Option<u64> {
        let (reply, answer) = sync_channel(1);
        self.send(ControlEvent::Fence(reply));
        answer.recv().ok()
    }
}

/// For how many jobs a control thread lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until it is shut down.
    Engine,
    /// For one job; ends by itself with it.
    OneJob,
}

/// See the module docs.
pub(crate) struct Dispatcher {
    events: Receiver<ControlEvent>,
    control: ControlSender,
    task_manager: TaskManager,
    resources: ResourceManager,
    jobs: BTreeMap<JobId, JobMaster>,
    clock: Arc<dyn Clock>,
    lifetime: Lifetime,
    closing: bool,
    /// Events handled and discoveries made.
    done: u64,
}

/// While jobs run and nothing is heard for so long, the cores are nudged: what ends a sleep that glommio began with a
/// runnable task (see its shell) when the core's own heartbeats were left lying too. That was seen once, on a machine
/// so busy that both had expired together.
const QUIET_MAX: Duration = Duration::from_millis(250);

/// Linux shows 15 characters of it.
const THREAD_NAME: &str = "thalweg-control";

impl Dispatcher {
    /// A dispatcher over the slots of `task_manager`, for its owner to step.
    pub(crate) fn new(
        task_manager: TaskManager,
        lifetime: Lifetime,
        clock: Arc<dyn Clock>,
    ) -> (Self, ControlSender) {
        let (sender, events) = channel();
        let control = ControlSender(sender);
        let mut resources = ResourceManager::new();
        let registered = resources.register(TaskManager::ID, task_manager.slots());
        debug_assert!(registered.is_ok_and(|grants| grants.is_empty()), "nobody waits yet");
        let dispatcher = Self {
            events,
            control: control.clone(),
            task_manager,
            resources,
            jobs: BTreeMap::new(),
            clock,
            lifetime,
            closing: false,
            done: 0,
        };
        (dispatcher, control)
    }

    /// Starts the control thread over the slots of `task_manager`.
    pub(crate) fn start(
        task_manager: TaskManager,
        lifetime: Lifetime,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<(ControlSender, JoinHandle<()>)> {
        let (dispatcher, control) = Self::new(task_manager, lifetime, clock);
        let thread = std::thread::Builder::new().name(THREAD_NAME.to_owned());
        let thread = thread.spawn(move || dispatcher.run())?;
        Ok((control, thread))
    }

    fn run(mut self) {
        while !(self.closing && self.jobs.is_empty()) {
            if let Some(event) = self.next_event() {
                self.handle(event);
            }
            self.do_what_is_due();
        }
    }

    /// Handles one event, if there is one, and what is due by the clock. False if there was nothing to do.
    pub(crate) fn step(&mut self) -> bool {
        let before = self.done;
        if let Ok(event) = self.events.try_recv() {
            self.handle(event);
        }
        self.do_what_is_due();
        self.done > before
    }

    /// The next event, or nothing when a job has something to do by the clock or it has been quiet for long; then it nudges the cores.
    fn next_event(&self) -> Option<ControlEvent> {
        if self.jobs.is_empty() {
            // `control` is a sender, so the channel is never disconnected.
            return self.events.recv().ok();
        }
        let due_ns = self.jobs.values().filter_map(JobMaster::next_due_ns).min();
        let until_due = due_ns.map(|due_ns| due_ns.saturating_sub(self.clock.monotonic_ns()));
        let patience = until_due.map_or(QUIET_MAX, Duration::from_nanos).min(QUIET_MAX);
        let event = self.events.recv_timeout(patience).ok();
        if event.is_none() && patience == QUIET_MAX {
            self.task_manager.cores().for_each(|core| core.waker().nudge());
        }
        event
    }

    fn handle(&mut self, event: ControlEvent) {
        if let ControlEvent::Fence(reply) = event {
            // Who does not wait for the answer any more does not need it.
            let _ = reply.send(self.done);
            return;
        }
        self.done += 1;
        match event {
            ControlEvent::Fence(_) => {}
            ControlEvent::Submit { .. } if self.closing => {}
            ControlEvent::Submit { submission, state, reply } => {
                self.submit(*submission, state, &reply);
            }
            ControlEvent::Core { job, event } => {
                self.with_job(job, |master, manager| master.on_core_event(event, manager));
            }
            ControlEvent::SplitRequest { job, source, subtask } => {
                self.with_job(job, |master, manager| {
                    master.on_split_request(source, subtask, manager);
                });
            }
            ControlEvent::Cancel(job) => self.with_job(job, JobMaster::cancel),
            ControlEvent::Checkpoint(job) => self.with_job(job, JobMaster::want_checkpoint),
            ControlEvent::Stop(job) => self.with_job(job, JobMaster::stop),
            ControlEvent::Drain(job) => self.with_job(job, JobMaster::drain),
            // If the job is over, the wish is dropped, which says so.
            ControlEvent::Savepoint(job, wish) => {
                self.with_job(job, |master, manager| master.take_savepoint(wish, manager));
            }
            ControlEvent::Halt(job) => self.with_job(job, JobMaster::halt),
            ControlEvent::Fail(job, why) => {
                self.with_job(job, |master, manager| master.fail_because(&why, manager));
            }
            ControlEvent::Saved(job, done) => {
                self.with_job(job, |master, manager| master.on_saved(done, manager));
            }
            ControlEvent::Shutdown => {
                self.closing = true;
                for job in self.jobs.keys().copied().collect::<Vec<_>>() {
                    self.with_job(job, JobMaster::engine_goes);
                }
            }
        }
    }

    fn submit(
        &mut self,
        submission: Submission,
        state: Arc<JobState>,
        reply: &SyncSender<Result<(), AllocationError>>,
    ) {
        self.closing = self.lifetime == Lifetime::OneJob;
        let when_busy = match submission.configuration.when_slots_are_taken() {
            WhenSlotsAreTaken::Wait => WhenBusy::Wait,
            WhenSlotsAreTaken::Refuse => WhenBusy::Refuse,
        };
        let (id, demand) = (state.id, submission.demand());
        let response = self.resources.request(id, demand, when_busy);
        let allocation = match response {
            Ok(SlotResponse::Allocated(allocation)) => Some(allocation),
            Ok(SlotResponse::Waiting { ahead }) => {
                tracing::info!(job = %state.name, ahead, "waits for slots");
                None
            }
            Err(error) => {
                // The caller waits for the answer; if it is gone, so is its interest.
                let _ = reply.send(Err(error));
                return;
            }
        };
        let (control, clock) = (self.control.clone(), self.clock.clone());
        self.jobs.insert(id, JobMaster::new(submission, state, control, clock));
        let _ = reply.send(Ok(()));
        if let Some(allocation) = allocation {
            self.launch(id, &allocation);
        }
    }

    fn launch(&mut self, job: JobId, allocation: &Allocation) {
        self.with_job(job, |master, manager| master.launch(allocation, manager));
    }

    /// Lets a job act, and sees it off if it is over.
    fn with_job(&mut self, job: JobId, act: impl FnOnce(&mut JobMaster, &TaskManager)) {
        // Reports about a job that is over may still be on their way.
        let Some(master) = self.jobs.get_mut(&job) else { return };
        act(master, &self.task_manager);
        if master.is_over() {
            self.see_off(job);
        }
    }

    fn see_off(&mut self, job: JobId) {
        let Some(mut master) = self.jobs.remove(&job) else { return };
        let outcome = master.outcome();
        let state = master.state().clone();
        // What users moved into their functions is dropped here at the latest.
        if let Err(text) = caught(|| drop(master)) {
            tracing::error!(job = %state.name, "panicked while the job was dropped: {text}");
        }
        let grants = self.resources.release(job);
        state.complete(outcome);
        for Grant { job, allocation } in grants {
            self.launch(job, &allocation);
        }
    }

    fn do_what_is_due(&mut self) {
        let now_ns = self.clock.monotonic_ns();
        let is_due = |master: &JobMaster| master.next_due_ns().is_some_and(|at| at <= now_ns);
        let due: Vec<JobId> =
            self.jobs.iter().filter(|(_, master)| is_due(master)).map(|(job, _)| *job).collect();
        for job in due {
            self.done += 1;
            self.with_job(job, JobMaster::on_time);
        }
    }
}

impl Drop for Dispatcher {
    /// However the thread ends, nobody waits for ever.
    fn drop(&mut self) {
        for master in self.jobs.values() {
            master.state().complete(Outcome::EngineGone);
        }
    }
}
