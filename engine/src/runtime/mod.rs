//! Slots, shells and the control plane.
//!
//! ```text
//! control ──▶ Executors ──▶ CoreHandleRemote ──commands──▶ CoreLoop ──run──▶ Task
//!    ▲                                                        │
//!    └────────────────────── CoreEvent ◀──────────────────────┘
//! ```
pub(crate) mod coordinator;
pub mod task;

pub mod resource_manager;
pub mod slot_allocation;
pub mod deployment;
pub mod deployment_times;
pub mod executors;
pub mod shell;
pub(crate) mod threads;
pub mod wake;

pub(crate) mod core_loop;
pub(crate) mod core_loop_link;
pub(crate) mod core_loop_panic;
pub(crate) mod core_loop_task;
pub(crate) mod core_loop_times;

pub use core_loop_link::CoreGone;
pub use deployment::{
    BuildTask, CoreCommand, CoreEvent, DEFAULT_BUDGET_RECORDS, EventSink, FailureCell, JobId,
    SlotId, TaskDeployment, TaskFailure, TaskId,
};
pub use deployment_times::{TaskTimes, TaskTimesReading};
pub use resource_manager::{
    AllocationError, Grant, RegisterError, ResourceManager, SlotResponse, TaskManagerId, WhenBusy,
};
pub use executors::{CoreHandleRemote, ExecutorError, Executors, ShellKind};
pub use shell::{IdlePolicy, Shell, allowed_cores};
pub use task::{CoreHandle, CoreServices, Progress, Task};
pub use wake::CoreWaker;
