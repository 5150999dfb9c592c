//! The errors of the engine.

use crate::config::{ConfigErrors, LoadError, Origin};
use crate::graph::PlanErrors;
use crate::runtime::{AllocationError, ExecutorError};
use std::fmt;
use std::sync::Arc;

/// Any error of user code; what [`crate::Result`] carries.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What went wrong with a job or an engine. `Debug` prints what `Display` prints, so `main` may return it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is not valid, or help was asked for.
    #[error(transparent)]
    Configuration(#[from] LoadError),
    /// The plan is not valid; all mistakes at once.
    #[error(transparent)]
    Plan(#[from] PlanErrors),
    /// The engine cannot give the slots that the job needs.
    #[error(transparent)]
    Slots(#[from] AllocationError),
    /// A core or its executor cannot be had.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// An operator failed, or user code panicked.
    #[error(transparent)]
    Job(#[from] JobFailure),
    /// The job was cancelled.
    #[error("job '{0}' was cancelled")]
    Cancelled(String),
    /// The engine that ran the job was shut down.
    #[error("the engine was shut down while job '{0}' ran")]
    EngineGone(String),
    /// A job that runs in an engine set an option that is the engine's.
    #[error(
        "'{key}' ({origin}) belongs to the engine, not to one of its jobs; set it on Engine::builder()"
    )]
    EngineOption {
        /// The option.
        key: &'static str,
        /// Where the job set it.
        origin: Origin,
    },
    /// The signals that end a process cannot be listened to.
    #[error("SIGTERM and SIGINT cannot be listened to: {source}")]
    Signals {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The control thread of an engine could not be started.
    #[error(
        "the control thread of engine '{engine}' could not be started; raise the limit of threads (ulimit -u)"
    )]
    ControlThread {
        /// The engine's name.
        engine: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl From<ConfigErrors> for Error {
    fn from(errors: ConfigErrors) -> Self {
        Error::Configuration(errors.into())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first failure of a job: where, when and why.
///
/// It can be cloned, because each who waits for the job gets one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobFailure {
    /// The job's name.
    pub job: String,
    /// The operator whose code failed, or the task if no operator is to blame.
    pub operator: String,
    /// Which parallel instance, from 0.
    pub subtask: usize,
    /// How many parallel instances there are; 0 for code that runs once a job, such as a source's enumerator.
    pub parallelism: usize,
    /// Ordinal (from 1) of the record at hand among those its task's stage has read; 0 before the first.
    pub record: u64,
    /// Whether it was a panic.
    pub panicked: bool,
    /// What was said.
    pub message: String,
    /// The error of user code or of a connector.
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JobFailure { job, operator, subtask, parallelism, record, panicked, message, .. } =
            self;
        write!(f, "job '{job}': operator '{operator}' ")?;
        if *parallelism > 0 {
            write!(f, "(subtask {} of {parallelism}) ", subtask + 1)?;
        }
        f.write_str(if *panicked { "panicked" } else { "failed" })?;
        if *record > 0 {
            write!(f, " at record {record} of its input")?;
        }
        write!(f, ": {message}")
    }
}

impl std::error::Error for JobFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}
