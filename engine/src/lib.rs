//! Thalweg.
pub mod config;
pub mod error;
pub mod graph;
pub mod metrics;
pub mod record;
pub mod runtime;
pub(crate) mod sync;
pub mod time;

pub use error::BoxError;

/// Result of user code and of `main`: any error converts with `?`.
pub type Result<T, E = BoxError> = std::result::Result<T, E>;
