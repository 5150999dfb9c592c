//! Thalweg.
extern crate self as thalweg;

pub mod api;
pub mod config;
pub mod error;
pub(crate) mod exchange;
pub mod function;
pub mod graph;
pub mod metrics;
pub(crate) mod operator;
pub mod prelude;
pub mod record;
pub mod runtime;
pub(crate) mod sync;
pub mod time;
pub mod window;

pub use error::{BoxError, Error, JobFailure};
pub use runtime::{Engine, JobHandle, JobResult};
pub use thalweg_macros::record;
pub use thalweg_state as state;
pub use thalweg_state::rkyv;

/// Result of user code and of `main`: any error converts with `?`.
pub type Result<T = (), E = BoxError> = std::result::Result<T, E>;
