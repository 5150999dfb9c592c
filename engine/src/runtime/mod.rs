//! Slots, shells and the control plane.
//!
//! ```text
//! Engine ──▶ dispatcher (control thread): ResourceManager, a job master for each job, task manager
//!
//! control ──▶ Executors ──▶ CoreHandleRemote ──commands──▶ CoreLoop ──run──▶ Task
//!    ▲                                                        │
//!    └────────────────────── CoreEvent ◀──────────────────────┘
//! ```
pub mod engine;
pub mod job_handle;
pub mod savepoint;
pub mod status;

pub(crate) mod coordinator;
pub(crate) mod dispatcher;
pub(crate) mod job_master;
pub(crate) mod state_files;
pub(crate) mod stepped;
pub(crate) mod submission;
pub(crate) mod task_manager;
pub(crate) mod termination;

pub mod task;

pub mod deployment;
pub mod deployment_times;
pub mod executors;
pub mod resource_manager;
pub mod shell;
pub mod slot_allocation;
pub(crate) mod threads;
pub mod wake;

pub(crate) mod core_loop;
pub(crate) mod core_loop_link;
pub(crate) mod core_loop_panic;
pub(crate) mod core_loop_task;
pub(crate) mod core_loop_times;

pub use core_loop_link::CoreGone;
pub use deployment::{
    BuildTask, CheckpointReport, CoreCommand, CoreEvent, DEFAULT_BUDGET_RECORDS, EventSink,
    FailureCell, FailureSite, JobId, SlotId, TaskDeployment, TaskFailure, TaskId, TaskOrder,
};
pub use deployment_times::{TaskTimes, TaskTimesReading};
pub use engine::{Engine, EngineBuilder};
pub use executors::{CoreHandleRemote, ExecutorError, Executors, ShellKind};
pub use job_handle::JobHandle;
pub use resource_manager::{
    AllocationError, Grant, RegisterError, ResourceManager, SlotResponse, TaskManagerId, WhenBusy,
};
pub use savepoint::{Savepoint, SavepointError, SavepointHandle};
pub use shell::{IdlePolicy, Shell, allowed_cores};
pub use status::{CheckpointStatistics, JobResult};
pub use task::{CoreHandle, CoreServices, Progress, Task};
pub use wake::CoreWaker;
