//! What the area tests share: the matrix of shells and parallelisms, reproducible random numbers, and places that see
//! what a job did.
//!
//! One file an area under `tests/`. A test is a function of an [`On`]; [`matrix!`] makes six tests of it. All go through
//! the public API alone, and none depends on the speed of the machine.

pub mod conformance;
pub mod crash;
#[cfg(feature = "kafka")]
pub mod kafka;
mod lifecycle;
mod matrix;
pub mod metamorphic;
mod place;
mod random;
pub mod running_sums;
pub mod simulation;
mod steps;

pub use lifecycle::Lifecycle;
pub use matrix::{On, failure_of};
pub use place::{Place, WithSubtask};
pub use random::{Random, splitmix64};
pub use steps::Steps;
