//! States of a subtask and of a job, as Flink names them, and which follow which.
//!
//! ```text
//! subtask  CREATED ─► SCHEDULED ─► DEPLOYING ─► INITIALIZING ─► RUNNING ─► FINISHED
//!             │           │            └──────────────┴────────────┴─► CANCELING ─► CANCELED
//!             └───────────┴────────────────────────────────────────────────────────────▲
//!          (any state but the last three) ─► FAILED
//!
//! job      CREATED ─► RUNNING ─► FINISHED
//!             │          └─► FAILING ─► FAILED
//!             │                 └─► RESTARTING ─► CREATED
//!             └──── any of these ─► CANCELLING ─► CANCELED;  any but the three ends ─► SUSPENDED
//! ```
//!
//! **Invariants**
//! - A state without a way out is terminal; [`ExecutionState::try_transition`] and [`JobStatus::try_transition`] are
//!   the only ways from one state to another.

use std::fmt;

/// A step that is not in the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} can't go from {from} to {to}; this is a bug of whoever reported the step")]
pub struct IllegalTransition {
    /// `subtask` or `job`.
    pub what: &'static str,
    /// Flink's word for the state it is in.
    pub from: &'static str,
    /// Flink's word for the state it was to take.
    pub to: &'static str,
}

/// How far one subtask of a vertex has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ExecutionState {
    /// Planned.
    #[default]
    Created,
    /// Wants a slot.
    Scheduled,
    /// Has a slot; its task is being built there.
    Deploying,
    /// Built; restores its state and opens its functions.
    Initializing,
    /// Takes records.
    Running,
    /// Has seen the end of its input and handed over everything.
    Finished,
    /// Was told to stop.
    Canceling,
    /// Has stopped because it was told to.
    Canceled,
    /// Has stopped because of an error.
    Failed,
}

impl ExecutionState {
    /// All states, in the order of the diagram.
    pub const ALL: [Self; 9] = [
        Self::Created,
        Self::Scheduled,
        Self::Deploying,
        Self::Initializing,
        Self::Running,
        Self::Finished,
        Self::Canceling,
        Self::Canceled,
        Self::Failed,
    ];

    /// Flink's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Scheduled => "SCHEDULED",
            Self::Deploying => "DEPLOYING",
            Self::Initializing => "INITIALIZING",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Canceling => "CANCELING",
            Self::Canceled => "CANCELED",
            Self::Failed => "FAILED",
        }
    }

    /// Does no state follow?
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Canceled | Self::Failed)
    }

    /// The state after a step.
    ///
    /// # Errors
    /// If the diagram has no such step; the state stays what it was.
    pub fn try_transition(self, to: Self) -> Result<Self, IllegalTransition> {
        use ExecutionState as S;
        let legal = match (self, to) {
            (from, S::Failed) => !from.is_terminal(),
            (S::Created, S::Scheduled | S::Canceled)
            | (S::Scheduled, S::Deploying | S::Canceled)
            | (S::Deploying, S::Initializing | S::Canceling)
            // A subtask whose input was already at its end may finish while it initialises.
            | (S::Initializing, S::Running | S::Finished | S::Canceling)
            | (S::Running, S::Finished | S::Canceling)
            | (S::Canceling, S::Canceled) => true,
            _ => false,
        };
        let refused = IllegalTransition { what: "subtask", from: self.name(), to: to.name() };
        legal.then_some(to).ok_or(refused)
    }
}

impl fmt::Display for ExecutionState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum JobStatus {
    /// Planned, or about to run once more.
    #[default]
    Created,
    /// Its subtasks are being deployed or run.
    Running,
    /// A subtask has failed; the others are being stopped.
    Failing,
    /// Has failed for good.
    Failed,
    /// Was told to stop; its subtasks are being stopped.
    Cancelling,
    /// Has stopped because it was told to.
    Canceled,
    /// All its subtasks have finished.
    Finished,
    /// All its subtasks have stopped after a failure; waits to be created anew.
    Restarting,
    /// Left as it is by an engine that goes down; can be recovered from its last checkpoint.
    Suspended,
}

impl JobStatus {
    /// All states.
    pub const ALL: [Self; 9] = [
        Self::Created,
        Self::Running,
        Self::Failing,
        Self::Failed,
        Self::Cancelling,
        Self::Canceled,
        Self::Finished,
        Self::Restarting,
        Self::Suspended,
    ];

    /// Flink's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Failing => "FAILING",
            Self::Failed => "FAILED",
            Self::Cancelling => "CANCELLING",
            Self::Canceled => "CANCELED",
            Self::Finished => "FINISHED",
            Self::Restarting => "RESTARTING",
            Self::Suspended => "SUSPENDED",
        }
    }

    /// Does no state follow? True of `SUSPENDED` too: what is recovered later is another execution graph.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Failed | Self::Canceled | Self::Finished | Self::Suspended)
    }

    /// Are subtasks to be stopped in this state?
    pub const fn stops_subtasks(self) -> bool {
        matches!(self, Self::Failing | Self::Cancelling | Self::Suspended)
    }

    /// The state after a step.
    ///
    /// # Errors
    /// If the diagram has no such step; the state stays what it was.
    pub fn try_transition(self, to: Self) -> Result<Self, IllegalTransition> {
        use JobStatus as S;
        let legal = match (self, to) {
            (from, S::Suspended) => !from.is_terminal(),
            (S::Created, S::Running | S::Failing | S::Cancelling)
            | (S::Running, S::Finished | S::Failing | S::Cancelling)
            | (S::Failing, S::Failed | S::Restarting | S::Cancelling)
            | (S::Cancelling, S::Canceled)
            | (S::Restarting, S::Created | S::Failed | S::Cancelling) => true,
            _ => false,
        };
        let refused = IllegalTransition { what: "job", from: self.name(), to: to.name() };
        legal.then_some(to).ok_or(refused)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtask_steps() {
        use ExecutionState::*;
        let followers = |from: ExecutionState| -> Vec<ExecutionState> {
            ExecutionState::ALL.into_iter().filter(|to| from.try_transition(*to).is_ok()).collect()
        };
        assert_eq!(followers(Created), [Scheduled, Canceled, Failed]);
        assert_eq!(followers(Scheduled), [Deploying, Canceled, Failed]);
        assert_eq!(followers(Deploying), [Initializing, Canceling, Failed]);
        assert_eq!(followers(Initializing), [Running, Finished, Canceling, Failed]);
        assert_eq!(followers(Running), [Finished, Canceling, Failed]);
        assert_eq!(followers(Canceling), [Canceled, Failed]);
        for state in ExecutionState::ALL {
            assert_eq!(followers(state).is_empty(), state.is_terminal(), "{state}");
        }
    }

    #[test]
    fn job_steps() {
        use JobStatus::*;
        let followers = |from: JobStatus| -> Vec<JobStatus> {
            JobStatus::ALL.into_iter().filter(|to| from.try_transition(*to).is_ok()).collect()
        };
        assert_eq!(followers(Created), [Running, Failing, Cancelling, Suspended]);
        assert_eq!(followers(Running), [Failing, Cancelling, Finished, Suspended]);
        assert_eq!(followers(Failing), [Failed, Cancelling, Restarting, Suspended]);
        assert_eq!(followers(Cancelling), [Canceled, Suspended]);
        assert_eq!(followers(Restarting), [Created, Failed, Cancelling, Suspended]);
        for state in JobStatus::ALL {
            assert_eq!(followers(state).is_empty(), state.is_terminal(), "{state}");
        }
    }

    #[test]
    fn refusals_name_both_states() {
        let refused = ExecutionState::Created.try_transition(ExecutionState::Running);
        let text = refused.unwrap_err().to_string();
        assert!(text.starts_with("subtask can't go from CREATED to RUNNING"), "{text}");
    }
}
