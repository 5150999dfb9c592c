//! Who has which slot, and who waits for some.
//!
//! 1. Task managers [`register`](ResourceManager::register) their slots.
//! 2. A job [`request`](ResourceManager::request)s the slots of its job graph. It gets all of them, or waits, or is
//!    refused, as it chose; more than the engine has is refused at once.
//! 3. [`release`](ResourceManager::release) and `register` hand slots to those who wait and say to whom.
//!
//! **Invariants**
//! - A slot has one owner or none; a job is an owner, or waits, or is unknown.
//! - First come, first served: nobody gets slots while an earlier job waits, not even one that needs fewer. So no job
//!   starves.
//! - No waiting job needs more slots than there are.

use super::deployment::JobId;
use super::slot_allocation::choose_slots;
use crate::graph::{Allocation, Slot, SlotDemand, SlotId};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Names a task manager: a set of slots that comes and goes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskManagerId(pub u32);

impl fmt::Display for TaskManagerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What a job wants if its slots are not free now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhenBusy {
    /// To be served when its turn comes.
    #[default]
    Wait,
    /// An error.
    Refuse,
}

/// Answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotResponse {
    /// The slots are the job's until it releases them.
    Allocated(Allocation),
    /// The job waits.
    Waiting {
        /// How many wait before it.
        ahead: usize,
    },
}

/// Slots that a job which waited has been given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The job.
    pub job: JobId,
    /// Its slots.
    pub allocation: Allocation,
}

/// What became of jobs when a task manager left.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Departure {
    /// Jobs that had a slot there. They have lost all their slots and have to fail.
    pub lost: Vec<JobId>,
    /// Jobs that waited and now need more than there is.
    pub refused: Vec<(JobId, AllocationError)>,
    /// Jobs that waited and got slots which the lost jobs had elsewhere.
    pub granted: Vec<Grant>,
}

/// Why a request was refused; nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// The engine is too small, now and later.
    #[error(
        "parallelism {parallelism}{} needs {needed} slots, the engine has {total}; \
         lower the parallelism or give the engine more slots",
        in_groups(*group_count)
    )]
    EngineTooSmall {
        /// The widest vertex of the job.
        parallelism: usize,
        /// How many slot sharing groups it has.
        group_count: usize,
        /// The slots it needs.
        needed: usize,
        /// The slots there are.
        total: usize,
    },
    /// Others have the slots.
    #[error(
        "the job needs {needed} slots, {free} of the engine's {total} are free; \
         stop another job, or submit with the choice to wait"
    )]
    NotEnough {
        /// The slots it needs.
        needed: usize,
        /// The slots nobody has.
        free: usize,
        /// The slots there are.
        total: usize,
    },
    /// Slots are free but promised to those who came before.
    #[error(
        "{waiting} jobs wait for slots already; let them run first, or submit with the choice to wait"
    )]
    OthersWait {
        /// How many.
        waiting: usize,
    },
    /// The job has slots or waits for some.
    #[error("job {job} has asked for slots before; release them first")]
    AlreadyRequested {
        /// The job.
        job: JobId,
    },
}

fn in_groups(group_count: usize) -> String {
    match group_count {
        0 | 1 => String::new(),
        several => format!(" in {several} slot sharing groups"),
    }
}

/// Why slots could not be registered; nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The slot is known.
    #[error(
        "slot {slot} of task manager {task_manager} is registered already; number slots uniquely in the engine"
    )]
    DuplicateSlot {
        /// The slot.
        slot: SlotId,
        /// Who wanted to register it.
        task_manager: TaskManagerId,
    },
}

struct Registered {
    slot: Slot,
    task_manager: TaskManagerId,
    owner: Option<JobId>,
}

struct Waiting {
    job: JobId,
    demand: SlotDemand,
}

/// The slots of an engine and the jobs that have or want them.
#[derive(Default)]
pub struct ResourceManager {
    slots: BTreeMap<SlotId, Registered>,
    waiting: VecDeque<Waiting>,
}

impl ResourceManager {
    /// Without slots and jobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many slots there are.
    pub fn total_count(&self) -> usize {
        self.slots.len()
    }

    /// How many slots nobody has.
    pub fn free_count(&self) -> usize {
        self.slots.values().filter(|registered| registered.owner.is_none()).count()
    }

    /// Jobs that wait, the next first.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = JobId> {
        self.waiting.iter().map(|waiting| waiting.job)
    }

    /// Every slot with its owner, by id.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = (Slot, Option<JobId>)> {
        self.slots.values().map(|registered| (registered.slot, registered.owner))
    }

    /// Adds the slots of a task manager (which may have registered others before); gives the jobs served with them.
    ///
    /// # Errors
    /// If a slot's id is taken, or occurs twice.
    pub fn register(
        &mut self,
        task_manager: TaskManagerId,
        slots: &[Slot],
    ) -> Result<Vec<Grant>, RegisterError> {
        for (index, slot) in slots.iter().enumerate() {
            let is_repeated = slots[..index].iter().any(|earlier| earlier.id == slot.id);
            if is_repeated || self.slots.contains_key(&slot.id) {
                return Err(RegisterError::DuplicateSlot { slot: slot.id, task_manager });
            }
        }
        let registered = |slot: &Slot| Registered { slot: *slot, task_manager, owner: None };
        self.slots.extend(slots.iter().map(|slot| (slot.id, registered(slot))));
        Ok(self.serve())
    }

    /// Takes a task manager's slots away.
    pub fn unregister(&mut self, task_manager: TaskManagerId) -> Departure {
        let leaving = |registered: &Registered| registered.task_manager == task_manager;
        let mut lost: Vec<JobId> = self
            .slots
            .values()
            .filter(|slot| leaving(slot))
            .filter_map(|slot| slot.owner)
            .collect();
        lost.sort();
        lost.dedup();
        self.slots.retain(|_, registered| !leaving(registered));
        for job in &lost {
            self.free_slots_of(*job);
        }
        let total = self.slots.len();
        let mut refused = Vec::new();
        self.waiting.retain(|waiting| match too_small(&waiting.demand, total) {
            Some(error) => {
                refused.push((waiting.job, error));
                false
            }
            None => true,
        });
        Departure { lost, refused, granted: self.serve() }
    }

    /// Asks for all slots of a job.
    ///
    /// # Errors
    /// If the engine has fewer slots than that; if they are not free and the job chose not to wait; if the job has
    /// asked before.
    pub fn request(
        &mut self,
        job: JobId,
        demand: SlotDemand,
        when_busy: WhenBusy,
    ) -> Result<SlotResponse, AllocationError> {
        if self.is_known(job) {
            return Err(AllocationError::AlreadyRequested { job });
        }
        if let Some(error) = too_small(&demand, self.total_count()) {
            return Err(error);
        }
        let ahead = self.waiting.len();
        if ahead == 0
            && let Some(allocation) = self.allocate(job, &demand)
        {
            return Ok(SlotResponse::Allocated(allocation));
        }
        let (needed, free, total) = (demand.slot_count(), self.free_count(), self.total_count());
        match when_busy {
            WhenBusy::Wait => {
                self.waiting.push_back(Waiting { job, demand });
                Ok(SlotResponse::Waiting { ahead })
            }
            WhenBusy::Refuse if needed > free => {
                Err(AllocationError::NotEnough { needed, free, total })
            }
            WhenBusy::Refuse => Err(AllocationError::OthersWait { waiting: ahead }),
        }
    }

    /// Gives a job's slots back, or takes it off the queue; gives the jobs served thereby. A job without either is no
    /// error: releasing twice does nothing.
    pub fn release(&mut self, job: JobId) -> Vec<Grant> {
        self.free_slots_of(job);
        self.waiting.retain(|waiting| waiting.job != job);
        self.serve()
    }

    fn is_known(&self, job: JobId) -> bool {
        self.slots.values().any(|registered| registered.owner == Some(job))
            || self.waiting().any(|waiting| waiting == job)
    }

    fn free_slots_of(&mut self, job: JobId) {
        for registered in self.slots.values_mut().filter(|slot| slot.owner == Some(job)) {
            registered.owner = None;
        }
    }

    /// Serves those who wait, in order, until one can't be.
    fn serve(&mut self) -> Vec<Grant> {
        let mut grants = Vec::new();
        while let Some(next) = self.waiting.pop_front() {
            match self.allocate(next.job, &next.demand) {
                Some(allocation) => grants.push(Grant { job: next.job, allocation }),
                None => {
                    self.waiting.push_front(next);
                    break;
                }
            }
        }
        grants
    }

    fn allocate(&mut self, job: JobId, demand: &SlotDemand) -> Option<Allocation> {
        let (free, used): (Vec<&Registered>, Vec<&Registered>) =
            self.slots.values().partition(|registered| registered.owner.is_none());
        let plain = |slots: Vec<&Registered>| -> Vec<Slot> {
            slots.into_iter().map(|registered| registered.slot).collect()
        };
        let allocation = choose_slots(demand, &plain(free), &plain(used))?;
        for slot in allocation.slots() {
            if let Some(registered) = self.slots.get_mut(&slot.id) {
                registered.owner = Some(job);
            }
        }
        Some(allocation)
    }
}

fn too_small(demand: &SlotDemand, total: usize) -> Option<AllocationError> {
    let needed = demand.slot_count();
    (needed > total).then(|| AllocationError::EngineTooSmall {
        parallelism: demand.parallelism_max(),
        group_count: demand.groups.len(),
        needed,
        total,
    })
}

#[cfg(test)]
mod tests;
