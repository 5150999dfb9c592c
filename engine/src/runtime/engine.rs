//! [`Engine`]: slots on cores, and the control thread that gives them to jobs.
//!
//! ```text
//! Engine::builder().cores([2, 3]).build()
//!   └─ task manager (leases cores, has slots) ─┐
//!   └─ dispatcher on its own thread ◄──────────┘
//! engine.submit("scores", |env| ..) ─► Submission ─► dispatcher ─► JobHandle
//! ```
//!
//! Nothing is global but the registry of executors: several engines live in one process, each with its own slots and
//! control thread, and share a core where both name it.
//!
//! **Invariants**
//! - An engine that is gone has no job left: shutting down and dropping cancel its jobs and wait until the last task
//!   has been dropped on its core.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::dispatcher::{ControlSender, Dispatcher, Lifetime};
use super::executors::ExecutorError;
use super::job_handle::JobHandle;
use super::shell::allowed_cores;
use super::status::JobState;
use super::submission::Submission;
use super::task_manager::{TaskManager, TaskManagerOptions};
use crate::config::{Configuration, ConfigurationBuilder, Origin, Profile, ShellKind, keys};
use crate::error::Error;
use crate::graph::{Slot, SlotDemand};
use crate::time::SystemClock;

/// Options that are an engine's and none of its jobs'.
const ENGINE_KEYS: [&str; 6] =
    [keys::SLOTS, keys::CORES, keys::SLOT_MEMORY_MIB, keys::SHELL, keys::PROFILE, keys::SPIN_US];

/// Runs jobs in slots of its own. Dropping it cancels its jobs and waits until they are gone; user code that does not
/// return holds that up.
///
/// # Examples
///
/// ```
/// use thalweg::runtime::Engine;
///
/// let engine = Engine::builder().name("scores").slots(2).build()?;
/// assert_eq!(engine.slots().len(), 2);
/// engine.shutdown();
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct Engine {
    access: EngineAccess,
    thread: Option<JoinHandle<()>>,
}

/// What of an engine may be held elsewhere: submits jobs while the engine lives.
#[derive(Clone)]
pub(crate) struct EngineAccess {
    name: Arc<str>,
    configuration: Arc<Configuration>,
    slots: Arc<[Slot]>,
    control: ControlSender,
}

impl Engine {
    /// An engine with the defaults: one slot on every core the process may use.
    pub fn builder() -> EngineBuilder {
        EngineBuilder { name: "thalweg".to_owned(), configuration: ConfigurationBuilder::new() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.access.name
    }

    /// Its settings, which are the defaults of its jobs.
    pub fn configuration(&self) -> &Configuration {
        &self.access.configuration
    }

    /// Its slots, with their cores and their shares of memory.
    pub fn slots(&self) -> &[Slot] {
        &self.access.slots
    }

    /// Cancels all jobs and waits until nothing of them is left on any core. Who waits for one of them gets
    /// [`Error::EngineGone`].
    pub fn shutdown(self) {
        drop(self);
    }

    pub(crate) fn access(&self) -> &EngineAccess {
        &self.access
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.access.control.shut_down();
        let Some(thread) = self.thread.take() else { return };
        // Somebody may let an enumerator own the engine it runs in: that thread cannot wait for itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!(engine = %self.access.name, "the control thread panicked");
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("name", &self.name()).field("slots", &self.slots()).finish()
    }
}

/// Sets up an [`Engine`]. What is wrong is said by [`build`](Self::build), all at once.
#[derive(Clone, Debug)]
pub struct EngineBuilder {
    name: String,
    configuration: ConfigurationBuilder,
}

impl EngineBuilder {
    /// For logs. Default: `thalweg`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Cores the slots are placed on, in this order. Default: every core the process may use.
    #[track_caller]
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.configuration.cores(cores);
        self
    }

    /// How many task slots, placed on the cores in turn. Default: one a core, as Flink advises, which is what one job
    /// of the default parallelism needs; take a multiple to run several jobs side by side.
    #[track_caller]
    pub fn slots(mut self, count: usize) -> Self {
        self.configuration.slots(count);
        self
    }

    /// What an idle core does. Default: balanced.
    #[track_caller]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.configuration.profile(profile);
        self
    }

    /// What drives the tasks. Default: auto, which is glommio where io_uring is allowed and plain threads elsewhere.
    #[track_caller]
    pub fn shell(mut self, shell: ShellKind) -> Self {
        self.configuration.shell(shell);
        self
    }

    /// Memory of a slot's state, in MiB. Default: an equal share of half of the machine's memory.
    #[track_caller]
    pub fn slot_memory_mib(mut self, size_mib: u64) -> Self {
        self.configuration.slot_memory_mib(size_mib);
        self
    }

    /// Any other option, and defaults for the engine's jobs: `configure(|c| c.parallelism(2).chaining(false))`.
    pub fn configure(
        mut self,
        set: impl FnOnce(&mut ConfigurationBuilder) -> &mut ConfigurationBuilder,
    ) -> Self {
        set(&mut self.configuration);
        self
    }

    /// Begins with a configuration that was read elsewhere (see [`config::load`](crate::config::load)); forgets what
    /// was set before.
    pub fn configuration(mut self, configuration: Configuration) -> Self {
        self.configuration = configuration.into_builder();
        self
    }

    /// Leases the cores and starts the control thread.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration; a core that cannot be had; no thread.
    pub fn build(self) -> Result<Engine, Error> {
        let configuration = self.configuration.build()?;
        let cores = cores_of(&configuration)?;
        let slot_count = configuration.slots().unwrap_or(cores.len());
        let configuration = fit_parallelism(configuration, slot_count)?;
        let options = TaskManagerOptions::new(&configuration, cores, slot_count);
        let (access, thread) = lead(&self.name, configuration, &options, Lifetime::Engine)?;
        Ok(Engine { access, thread: Some(thread) })
    }
}

/// The default parallelism of an engine's jobs is the number of cores, but never more than its slots.
fn fit_parallelism(
    configuration: Configuration,
    slot_count: usize,
) -> Result<Configuration, Error> {
    let is_said = configuration.origin(keys::PARALLELISM) != Some(&Origin::Default);
    if is_said || configuration.parallelism() <= slot_count {
        return Ok(configuration);
    }
    let mut builder = configuration.into_builder();
    builder.parallelism(slot_count);
    Ok(builder.build()?)
}

fn lead(
    name: &str,
    configuration: Configuration,
    options: &TaskManagerOptions,
    lifetime: Lifetime,
) -> Result<(EngineAccess, JoinHandle<()>), Error> {
    let manager = TaskManager::start(options)?;
    let slots = manager.slots().into();
    let (control, thread) = start(name, manager, options, lifetime)?;
    let (name, configuration) = (name.into(), Arc::new(configuration));
    let access = EngineAccess { name, configuration, slots, control };
    Ok((access, thread))
}

/// Starts the control thread over `manager`.
pub(crate) fn start(
    name: &str,
    manager: TaskManager,
    options: &TaskManagerOptions,
    lifetime: Lifetime,
) -> Result<(ControlSender, JoinHandle<()>), Error> {
    let clock = options.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new()));
    Dispatcher::start(manager, lifetime, clock)
        .map_err(|source| Error::ControlThread { engine: name.to_owned(), source })
}

/// The cores an engine may place slots on.
pub(crate) fn cores_of(configuration: &Configuration) -> Result<Vec<usize>, Error> {
    match configuration.cores() {
        Some(cores) => Ok(cores.as_slice().to_vec()),
        None => Ok(allowed_cores().map_err(ExecutorError::Affinity)?),
    }
}

/// The slots of the engine that a job without an engine gets: those of the option `slots`, or else what it needs.
pub(crate) fn local_options(
    configuration: &Configuration,
    demand: &SlotDemand,
) -> Result<TaskManagerOptions, Error> {
    let slot_count = configuration.slots().unwrap_or_else(|| demand.slot_count());
    Ok(TaskManagerOptions::new(configuration, cores_of(configuration)?, slot_count))
}

/// Runs one job in an engine of its own, which ends with it.
pub(crate) fn submit_alone(submission: Submission) -> Result<JobHandle, Error> {
    let options = local_options(&submission.configuration, &submission.demand())?;
    let configuration = submission.configuration.clone();
    let (access, _thread) = lead(&submission.name, configuration, &options, Lifetime::OneJob)?;
    // The thread ends by itself when the job is over, or refused.
    access.submit(submission)
}

impl EngineAccess {
    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(crate) fn submit(&self, submission: Submission) -> Result<JobHandle, Error> {
        self.refuse_engine_options(&submission.configuration)?;
        let state = JobState::new(&submission);
        match self.control.submit(submission, state.clone()) {
            Some(Ok(())) => Ok(JobHandle::new(state, self.control.clone())),
            Some(Err(error)) => Err(error.into()),
            None => Err(Error::EngineGone(state.name.clone())),
        }
    }

    fn refuse_engine_options(&self, configuration: &Configuration) -> Result<(), Error> {
        for key in ENGINE_KEYS {
            let (ours, theirs) = (self.configuration.value(key), configuration.value(key));
            if ours != theirs {
                let origin = configuration.origin(key).cloned().unwrap_or(Origin::Default);
                return Err(Error::EngineOption { key, origin });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod test_jobs;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
