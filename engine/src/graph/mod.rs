//! From the plan as written to slots and cores; plans, never runs.
pub mod transformation;
pub use transformation::*;
