//! The errors of the engine.

/// Any error of user code; what [`crate::Result`] carries.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
