//! Slots, shells and the control plane.
pub mod task;
pub use task::{CoreHandle, CoreServices, Progress, Task};
