//! Attributing the time of a round to the tasks that ran in it, with as few clock reads as possible.
//!
//! 1. The round's own read of the clock (needed for the services) closes the books of the round before: when one task
//!    worked in it, the whole time since the last reading is that task's; polls of idle tasks are a few nanoseconds.
//! 2. When two or more tasks worked in the round before, this round is *exact*: the clock is read after every run that
//!    worked. A vDSO read is 20-30 ns here; per run of up to 2048 records, on cores with several busy tasks only.
//! 3. The one round in which a second task begins to work is not exact; its time is split evenly.
//!
//! Idle and backpressured times need no reads: they are spans between two readings that are there anyway.

use super::core_loop::SlotTasks;
use super::core_loop_task::CoreTask;
use super::deployment_times::Waiting;
use crate::time::Clock;

/// The books of one core.
#[derive(Debug, Default)]
pub(crate) struct TimeBook {
    /// The latest reading of the clock.
    mark_ns: u64,
    /// Who worked since the round began, as (slot, task) positions. Positions hold until [`settle`](Self::settle) is
    /// called, which removal of tasks does first.
    worked: Vec<(usize, usize)>,
    /// Whether each working run of this round is measured.
    exact: bool,
}

impl TimeBook {
    /// The latest reading of the clock.
    pub(crate) fn mark_ns(&self) -> u64 {
        self.mark_ns
    }

    /// Closes the books up to `now_ns` and opens those of the next round.
    #[inline]
    pub(crate) fn settle(&mut self, now_ns: u64, slots: &[SlotTasks]) {
        let worked = self.worked.len();
        if worked > 0 {
            if !self.exact {
                let share_ns = now_ns.saturating_sub(self.mark_ns) / worked as u64;
                for &(slot, task) in &self.worked {
                    slots[slot].tasks[task].times.add_busy(share_ns);
                }
            }
            self.worked.clear();
        }
        self.exact = worked >= 2;
        self.mark_ns = now_ns;
    }

    /// Notes that the task at `position` worked.
    #[inline]
    pub(crate) fn note_worked(
        &mut self,
        task: &mut CoreTask,
        position: (usize, usize),
        clock: &dyn Clock,
    ) {
        if task.waiting.take().is_some() {
            task.times.end_span(self.mark_ns);
        }
        self.worked.push(position);
        if self.exact {
            let now_ns = clock.monotonic_ns();
            task.times.add_busy(now_ns.saturating_sub(self.mark_ns));
            self.mark_ns = now_ns;
        }
    }

    /// Notes that the task waits.
    #[inline]
    pub(crate) fn note_waiting(&self, task: &mut CoreTask, waiting: Waiting) {
        if task.waiting != Some(waiting) {
            task.waiting = Some(waiting);
            task.times.begin_span(waiting, self.mark_ns);
        }
    }
}
