//! Slots, shells and the control plane.
pub mod resource_manager;
pub mod slot_allocation;
pub mod task;
pub use resource_manager::*;
pub use task::{CoreHandle, CoreServices, Progress, Task};
