//! What users ask of a running job: a checkpoint, a savepoint, a graceful end.

use super::JobMaster;
use super::blame;
use super::checkpoints::{Checkpoints, Demand};
use crate::error::JobFailure;
use crate::graph::JobStatus;
use crate::runtime::TaskOrder;
use crate::runtime::savepoint::{Afterwards, SavepointError, SavepointWish};
use crate::runtime::task_manager::TaskManager;

impl JobMaster {
    /// Somebody wants a checkpoint.
    pub(crate) fn want_checkpoint(&mut self, manager: &TaskManager) {
        self.checkpoints.iter_mut().for_each(Checkpoints::want);
        if self.state.status() == JobStatus::Running {
            self.on_time(manager);
        }
    }

    /// The job is to end where it is: sources read no further, and a last checkpoint is taken and committed. Without
    /// checkpoints it is cancelled.
    pub(crate) fn stop(&mut self, manager: &TaskManager) {
        self.end_by(TaskOrder::StopReading, manager);
    }

    /// The same, with the end of event time.
    pub(crate) fn drain(&mut self, manager: &TaskManager) {
        self.end_by(TaskOrder::Drain, manager);
    }

    fn end_by(&mut self, order: TaskOrder, manager: &TaskManager) {
        use JobStatus::{Failing, Restarting, Running};
        let status = self.state.status();
        if self.checkpoints.is_none() || !matches!(status, Running | Failing | Restarting) {
            return self.cancel(manager);
        }
        if self.stop_until_ns.is_none() {
            let until_ns = self.clock.monotonic_ns().saturating_add(self.stop_timeout_ns());
            (self.stop_until_ns, self.stop_order) = (Some(until_ns), order);
            // Tasks that do not run yet are told when they start.
            if status == Running && self.unbuilt == 0 {
                self.meet(vec![Demand::Order(order)], manager);
            }
        }
    }

    /// Somebody wants a savepoint, with which the job goes on or ends.
    pub(crate) fn take_savepoint(&mut self, wish: SavepointWish, manager: &TaskManager) {
        let (job, directory) = wish.subject();
        if self.submission.configuration.checkpoint_interval().is_none() {
            return wish.answer(Err(SavepointError::NoCheckpoints { job }));
        }
        if self.state.status().is_terminal() {
            return wish.answer(Err(SavepointError::JobOver { job }));
        }
        let is_first = self.savepoints.is_last_free();
        if wish.afterwards() == Afterwards::Drain && is_first && self.is_stopping_undrained() {
            // What has been asked for first is under way: event time may not move behind the last checkpoint.
            let cause = "the job is being stopped without being drained already".to_owned();
            return wish.answer(Err(SavepointError::NotWritten { job, directory, cause }));
        }
        let free = self.checkpoints.as_ref().map_or(Ok(()), |c| c.check_savepoint(&directory));
        if let Err(error) = free {
            let cause = error.to_string();
            return wish.answer(Err(SavepointError::NotWritten { job, directory, cause }));
        }
        match self.savepoints.wish(wish) {
            Some(Afterwards::GoOn) if self.unbuilt == 0 => self.want_checkpoint(manager),
            Some(Afterwards::Stop) => self.stop(manager),
            Some(Afterwards::Drain) => self.drain(manager),
            Some(Afterwards::GoOn) | None => {}
        }
    }

    fn is_stopping_undrained(&self) -> bool {
        self.stop_until_ns.is_some() && self.stop_order != TaskOrder::Drain
    }

    pub(super) fn is_stop_overdue(&self, now_ns: u64) -> bool {
        self.stop_until_ns.is_some_and(|until| now_ns >= until)
    }

    pub(super) fn stop_timeout_failure(&self) -> JobFailure {
        let error = StopTimeout { timeout_ms: self.stop_timeout_ns() / 1_000_000 };
        blame::job(&self.state.name, error.into())
    }

    fn stop_timeout_ns(&self) -> u64 {
        let timeout = self.submission.configuration.stop_timeout();
        u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A graceful stop took too long.
#[derive(Debug, thiserror::Error)]
#[error(
    "the job did not stop within {timeout_ms} ms (`stop_timeout_ms`): its last checkpoint is not complete; it can go on from \
     the one before"
)]
struct StopTimeout {
    timeout_ms: u64,
}
