//! The task manager: the cores of an engine and the slots on them.
//!
//! 1. [`TaskManager::start`] leases the cores and numbers the slots; slot i lies on core i modulo the number of cores.
//! 2. The dispatcher registers the slots with the [`ResourceManager`](super::ResourceManager).
//! 3. Job masters deploy, start and cancel the tasks of their jobs through it; answers come back as
//!    [`CoreEvent`](super::CoreEvent)s.
//!
//! **Invariants**
//! - Every slot lies on a leased core; the leases end with the task manager.
//! - A task manager decides nothing: it carries commands.

pub(crate) mod job_task;
pub(crate) mod memory;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::core_loop_link::CoreGone;
use super::deployment::{CoreCommand, JobId, TaskDeployment, TaskOrder};
use super::executors::{CoreHandleRemote, ExecutorError, Executors, ShellKind};
use super::resource_manager::TaskManagerId;
use super::shell::IdlePolicy;
use super::state_files::FilesPlace;
use super::wake::CoreWaker;
use crate::config::{Configuration, Profile};
use crate::graph::{CoreIndex, Slot, SlotId};
use crate::time::Clock;

/// What a task manager is made of.
#[derive(Clone)]
pub(crate) struct TaskManagerOptions {
    /// Cores in the order in which slots are placed on them; not empty.
    pub(crate) cores: Vec<usize>,
    pub(crate) slot_count: usize,
    /// Memory of a slot's state; `None` for an equal share.
    pub(crate) slot_memory_bytes: Option<u64>,
    pub(crate) shell: ShellKind,
    pub(crate) idle: IdlePolicy,
    /// Where state goes that is not in memory.
    pub(crate) files: FilesPlace,
    /// Runs the cores by this clock: then they are not shared with other engines. `None` for the machine's.
    pub(crate) clock: Option<Arc<dyn Clock>>,
}

impl TaskManagerOptions {
    /// As the configuration says, on these cores, with this many slots.
    pub(crate) fn new(configuration: &Configuration, cores: Vec<usize>, slot_count: usize) -> Self {
        Self {
            cores,
            slot_count,
            slot_memory_bytes: configuration.slot_memory_bytes(),
            shell: configuration.shell(),
            idle: idle_policy(configuration),
            files: FilesPlace::Local,
            clock: None,
        }
    }

    /// The slots that a task manager with these options has.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        let share = || memory::state_memory_bytes() / self.slot_count.max(1) as u64;
        let memory_bytes = self.slot_memory_bytes.unwrap_or_else(share);
        let slot = |(id, core): (u32, &usize)| Slot {
            id: SlotId(id),
            core: CoreIndex(*core),
            memory_bytes,
        };
        (0..).zip(self.cores.iter().cycle().take(self.slot_count)).map(slot).collect()
    }
}

/// What a profile means for an idle core.
pub(crate) fn idle_policy(configuration: &Configuration) -> IdlePolicy {
    match configuration.profile() {
        Profile::Latency => IdlePolicy::LATENCY,
        Profile::Efficient => IdlePolicy::EFFICIENT,
        Profile::Balanced => {
            // The option's upper bound is a second.
            let spin_us = u32::try_from(configuration.spin().as_micros()).unwrap_or(u32::MAX);
            IdlePolicy { never_park: false, spin_us }
        }
    }
}

/// See the module docs.
pub(crate) struct TaskManager {
    cores: BTreeMap<usize, Arc<CoreHandleRemote>>,
    slots: Vec<Slot>,
    files: FilesPlace,
}

impl TaskManager {
    /// An engine has one task manager.
    pub(crate) const ID: TaskManagerId = TaskManagerId(0);

    /// Leases the cores that have slots.
    pub(crate) fn start(options: &TaskManagerOptions) -> Result<Self, ExecutorError> {
        Self::over(options, |core| match &options.clock {
            None => Executors::core(options.shell, core, options.idle),
            Some(clock) => Executors::own_core(options.shell, core, options.idle, clock.clone()),
        })
    }

    /// A task manager over cores that `lease` gives, each once.
    pub(crate) fn over(
        options: &TaskManagerOptions,
        mut lease: impl FnMut(usize) -> Result<Arc<CoreHandleRemote>, ExecutorError>,
    ) -> Result<Self, ExecutorError> {
        let slots = options.slots();
        let mut cores = BTreeMap::new();
        for core in slots.iter().map(|slot| slot.core.0) {
            if let Entry::Vacant(vacant) = cores.entry(core) {
                vacant.insert(lease(core)?);
            }
        }
        Ok(Self { cores, slots, files: options.files.clone() })
    }

    /// Its cores, in order.
    pub(crate) fn cores(&self) -> impl Iterator<Item = &Arc<CoreHandleRemote>> {
        self.cores.values()
    }

    /// Where state goes that is not in memory.
    pub(crate) fn files(&self) -> FilesPlace {
        self.files.clone()
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The wakers of its cores, by core.
    pub(crate) fn wakers(&self) -> HashMap<usize, Arc<CoreWaker>> {
        self.cores.iter().map(|(core, handle)| (*core, handle.waker())).collect()
    }

    /// Has a task built on a core.
    pub(crate) fn deploy(&self, core: usize, deployment: TaskDeployment) -> Result<(), CoreGone> {
        self.send(core, CoreCommand::Deploy(Box::new(deployment)))
    }

    /// Lets the built tasks of a job run on a core.
    pub(crate) fn start_job(&self, core: usize, job: JobId) -> Result<(), CoreGone> {
        self.send(core, CoreCommand::Start(job))
    }

    /// Tells the tasks of a job on a core.
    pub(crate) fn order(&self, core: usize, job: JobId, order: TaskOrder) -> Result<(), CoreGone> {
        self.send(core, CoreCommand::Order(job, order))
    }

    /// Has the tasks of a job dropped on a core.
    pub(crate) fn cancel_job(&self, core: usize, job: JobId) -> Result<(), CoreGone> {
        self.send(core, CoreCommand::CancelJob(job))
    }

    fn send(&self, core: usize, command: CoreCommand) -> Result<(), CoreGone> {
        match self.cores.get(&core) {
            Some(handle) => handle.send(command),
            None => Err(CoreGone { core, command: Box::new(command) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_spread_over_the_cores_in_order() {
        let mut builder = crate::config::ConfigurationBuilder::new();
        builder.slot_memory_mib(3);
        let options = TaskManagerOptions::new(&builder.build().unwrap(), vec![4, 1], 3);
        let slots = options.slots();
        assert_eq!(slots.iter().map(|slot| slot.core.0).collect::<Vec<_>>(), [4, 1, 4]);
        assert_eq!(slots.iter().map(|slot| slot.id.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(slots.iter().all(|slot| slot.memory_bytes == 3 << 20));
    }

    #[test]
    fn profiles_are_idle_policies() {
        let policy = |profile, spin_us| {
            let mut builder = crate::config::ConfigurationBuilder::new();
            builder.profile(profile).spin(std::time::Duration::from_micros(spin_us));
            idle_policy(&builder.build().unwrap())
        };
        assert_eq!(policy(Profile::Latency, 5), IdlePolicy::LATENCY);
        assert_eq!(policy(Profile::Balanced, 5), IdlePolicy { never_park: false, spin_us: 5 });
        assert_eq!(policy(Profile::Efficient, 5), IdlePolicy::EFFICIENT);
    }
}
