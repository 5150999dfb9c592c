//! The loop of one core: commands, time, tasks. Every shell drives this one.
//!
//! A round is
//! 1. read the clocks, write them into [`CoreServices`](super::task::CoreServices), close the books of the round before;
//! 2. take the commands, if the inbox's flag is up;
//! 3. run every task once, slot by slot, beginning with another slot each round;
//! 4. drop the tasks that ended, and report.
//!
//! A task that is idle or blocked is run like any other: it polls its rings, which is a load or two per input. There
//! are no wakers per task, so nothing is registered or freed on the record path.
//!
//! **Fairness.** Slots are the unit: a slot's budget is divided among those of its tasks that worked in the last round,
//! so a slot with five busy tasks gets no more of the core than a slot with one.
//!
//! **Invariants**
//! - The loop, its tasks and all they own stay on one thread; what crosses threads is in [`CoreLink`].
//! - The loop reads no clock but the one it is given, and neither sleeps nor locks while its inbox is empty.
//! - It does not unwind: user code runs behind the guard of `core_loop_task`.

use std::sync::Arc;
use std::time::Duration;

use super::core_loop_link::CoreLink;
use super::core_loop_task::{CoreTask, Ending, RunOutcome};
use super::core_loop_times::TimeBook;
use super::deployment::{CoreCommand, JobId, SlotId, TaskDeployment, TaskOrder};
use super::task::{CoreHandle, CoreServices};
use crate::time::Clock;

/// Below this a run is not worth its overhead, however many tasks share the slot.
const BUDGET_RECORDS_MIN: usize = 128;

/// Longest sleep while a processing-time timer is set: somebody may set the wall clock forward meanwhile, and a timer
/// must not be late by more than this then. One empty round a second costs nothing.
const PARK_WITH_TIMER_MAX: Duration = Duration::from_secs(1);

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Whether a command was taken or a task handled something.
    pub(crate) worked: bool,
    /// When the earliest processing-time timer of a waiting task is due; `i64::MAX` for none.
    pub(crate) next_timer_ms: i64,
}

/// For how long an idle core may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Park {
    /// Not at all: there is something to do.
    No,
    /// Until it is woken, but no longer than this.
    For(Duration),
    /// Until it is woken.
    UntilWoken,
}

/// The tasks of one slot of one job.
pub(crate) struct SlotTasks {
    job: JobId,
    slot: SlotId,
    pub(crate) tasks: Vec<CoreTask>,
    /// How many of them worked in the last round.
    active: usize,
}

/// The state of one core. See the module.
pub(crate) struct CoreLoop {
    link: Arc<CoreLink>,
    services: CoreHandle,
    clock: Arc<dyn Clock>,
    /// Slots with running tasks; none is empty.
    slots: Vec<SlotTasks>,
    /// Built, not started.
    built: Vec<CoreTask>,
    book: TimeBook,
    /// Tasks that ended in this round, as (slot, task), ascending in task within a slot.
    over: Vec<(usize, usize, Ending)>,
    /// The slot the next round begins with.
    first_slot: usize,
    /// How many rounds have worked, and the latest question to that which was answered (see `Pulse`).
    worked_rounds: u64,
    answered: u64,
    shut_down: bool,
}

impl CoreLoop {
    /// A loop without tasks. Call it on the thread that will drive it.
    pub(crate) fn new(link: Arc<CoreLink>, clock: Arc<dyn Clock>) -> Self {
        let services = CoreServices { waker: Arc::clone(link.waker()), ..CoreServices::default() };
        Self {
            link,
            services: CoreHandle::new(services),
            clock,
            slots: Vec::new(),
            built: Vec::new(),
            book: TimeBook::default(),
            over: Vec::new(),
            first_slot: 0,
            worked_rounds: 0,
            answered: 0,
            shut_down: false,
        }
    }

    pub(crate) fn link(&self) -> &Arc<CoreLink> {
        &self.link
    }

    /// Whether [`CoreCommand::Shutdown`] was taken; the shell drops the loop then.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down
    }

    /// The monotonic clock as of the latest round.
    pub(crate) fn monotonic_ns(&self) -> u64 {
        self.services.monotonic_ns.get()
    }

    /// One round, beginning with the slot after the one the last round began with.
    pub(crate) fn round(&mut self) -> Round {
        let first = self.first_slot;
        self.first_slot = if first + 1 < self.slots.len() { first + 1 } else { 0 };
        self.round_from(first)
    }

    /// One round beginning with slot `first` (the zeroth if there are not so many): the seeded shell draws it.
    pub(crate) fn round_from(&mut self, first: usize) -> Round {
        let question = self.link.pulse().question();
        self.refresh();
        let commanded = self.obey();
        let worked = self.run_slots(first);
        if !self.over.is_empty() {
            self.remove_over();
        }
        let worked = commanded || worked;
        self.worked_rounds += u64::from(worked);
        if question != self.answered {
            self.answered = question;
            self.link.pulse().answer(question, self.worked_rounds);
        }
        Round { worked, next_timer_ms: self.services.next_timer_ms.get() }
    }

    /// How many slots have running tasks.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Raises the sleeping flag, looks once more, and says for how long the core may sleep. The flag stays up unless
    /// the answer is [`Park::No`]; the shell lowers it when it has slept.
    pub(crate) fn prepare_to_park(&mut self) -> Park {
        self.link.waker().raise();
        let round = self.round();
        let park = if self.shut_down || round.worked {
            Park::No
        } else {
            park_until(round.next_timer_ms, self.services.now_ms.get())
        };
        if park == Park::No {
            self.link.waker().lower();
        }
        park
    }

    fn refresh(&mut self) {
        let now_ns = self.clock.monotonic_ns();
        self.services.monotonic_ns.set(now_ns);
        // Before the wall: see `Clock::holds_timers`.
        self.services.timers_held.set(self.clock.holds_timers());
        self.services.now_ms.set(self.clock.wall_ms());
        self.services.next_timer_ms.set(i64::MAX);
        self.book.settle(now_ns, &self.slots);
    }

    fn obey(&mut self) -> bool {
        let commands = self.link.take_commands();
        let commanded = !commands.is_empty();
        for command in commands {
            if self.shut_down {
                self.refuse(command);
                continue;
            }
            match command {
                CoreCommand::Deploy(deployment) => self.deploy(*deployment),
                CoreCommand::Start(job) => self.start(job),
                CoreCommand::Order(job, order) => self.order(job, order),
                CoreCommand::CancelJob(job) => self.cancel(|task| task.job == job),
                CoreCommand::Shutdown => self.shut_down(),
            }
        }
        commanded
    }

    fn deploy(&mut self, deployment: TaskDeployment) {
        self.built.extend(CoreTask::build(deployment, &self.services));
    }

    fn start(&mut self, job: JobId) {
        let now_ns = self.book.mark_ns();
        // `extract_if` keeps the order of deployment, upstream first, so that a record passes all tasks in one round.
        for mut task in self.built.extract_if(.., |task| task.job == job) {
            task.start(now_ns);
            let key = (task.job, task.slot);
            match self.slots.iter_mut().find(|slot| (slot.job, slot.slot) == key) {
                Some(slot) => slot.tasks.push(task),
                None => {
                    let (job, slot) = key;
                    self.slots.push(SlotTasks { job, slot, tasks: vec![task], active: 0 });
                }
            }
        }
    }

    fn order(&mut self, job: JobId, order: TaskOrder) {
        let running = self.slots.iter_mut().filter(|slot| slot.job == job);
        running.flat_map(|slot| &mut slot.tasks).for_each(|task| task.order(order));
    }

    /// Drops the chosen tasks, running or not.
    fn cancel(&mut self, chosen: impl Fn(&CoreTask) -> bool) {
        self.settle_now();
        let now_ns = self.book.mark_ns();
        for task in self.built.extract_if(.., |task| chosen(task)) {
            task.dispose(Ending::Cancelled);
        }
        for slot in &mut self.slots {
            for task in slot.tasks.extract_if(.., |task| chosen(task)) {
                task.times.end_span(now_ns);
                task.dispose(Ending::Cancelled);
            }
        }
        self.drop_empty_slots();
    }

    fn shut_down(&mut self) {
        self.shut_down = true;
        self.cancel(|_| true);
        for command in self.link.close() {
            self.refuse(command);
        }
    }

    fn refuse(&self, command: CoreCommand) {
        if let CoreCommand::Deploy(deployment) = command {
            CoreTask::refuse(*deployment, self.link.core());
        }
    }

    fn run_slots(&mut self, first: usize) -> bool {
        let Self { slots, book, over, clock, .. } = self;
        let count = slots.len();
        let first = if first < count { first } else { 0 };
        let mut worked = false;
        for index in (first..count).chain(0..first) {
            worked |= slots[index].run(index, book, &**clock, over);
        }
        worked
    }

    #[cold]
    fn remove_over(&mut self) {
        self.settle_now();
        let now_ns = self.book.mark_ns();
        let mut over = std::mem::take(&mut self.over);
        // From the back, so that the positions of the others in a slot hold.
        for (slot, task, ending) in over.drain(..).rev() {
            let task = self.slots[slot].tasks.remove(task);
            task.times.end_span(now_ns);
            task.dispose(ending);
        }
        self.over = over;
        self.drop_empty_slots();
    }

    fn drop_empty_slots(&mut self) {
        self.slots.retain(|slot| !slot.tasks.is_empty());
    }

    /// Closes the books before positions change.
    fn settle_now(&mut self) {
        let now_ns = self.clock.monotonic_ns();
        self.book.settle(now_ns, &self.slots);
    }
}

impl SlotTasks {
    fn run(
        &mut self,
        index: usize,
        book: &mut TimeBook,
        clock: &dyn Clock,
        over: &mut Vec<(usize, usize, Ending)>,
    ) -> bool {
        let sharers = self.active.max(1);
        self.active = 0;
        for (position, task) in self.tasks.iter_mut().enumerate() {
            match task.run(share_of_budget(task.budget_records, sharers)) {
                RunOutcome::Waits(waiting) => {
                    book.note_waiting(task, waiting);
                    continue;
                }
                RunOutcome::Worked => {}
                RunOutcome::Over(ending) => over.push((index, position, ending)),
            }
            book.note_worked(task, (index, position), clock);
            self.active += 1;
        }
        self.active > 0
    }
}

impl Drop for CoreLoop {
    /// On the core, when its loop ends in whatever way: nobody is left waiting for an event, and no producer holds on
    /// to a thread that is gone.
    fn drop(&mut self) {
        if !self.shut_down {
            self.shut_down();
        }
        self.link.waker().unbind();
    }
}

fn share_of_budget(budget_records: usize, sharers: usize) -> usize {
    if sharers == 1 {
        return budget_records;
    }
    (budget_records / sharers).max(BUDGET_RECORDS_MIN.min(budget_records))
}

fn park_until(next_timer_ms: i64, now_ms: i64) -> Park {
    if next_timer_ms == i64::MAX {
        return Park::UntilWoken;
    }
    match u64::try_from(next_timer_ms.saturating_sub(now_ms)) {
        Ok(remaining_ms) if remaining_ms > 0 => {
            Park::For(Duration::from_millis(remaining_ms).min(PARK_WITH_TIMER_MAX))
        }
        _ => Park::No,
    }
}

#[cfg(test)]
#[cfg(not(loom))]
#[path = "core_loop_tests.rs"]
mod tests;
