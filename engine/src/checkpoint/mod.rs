//! Checkpoints: what a job needs to go on after a failure as if nothing had happened.
//!
//! ```text
//! coordinator ──order──► sources ──barrier──► operators ──barrier──► sinks
//!      ▲                    └──────── pieces of state ──────┘
//!      └── all tasks have ──► metadata file ──► complete ──► sinks commit
//! ```
//!
//! - [`snapshot`] is what tasks hand over, and get back after a failure.
//! - [`savepoint`] brings a checkpoint into a directory of its own, and into that of another job.
//! - [`remote`] copies complete ones to an object store, and fetches them from there.

pub(crate) mod coordinator;
pub(crate) mod crash_points;
pub(crate) mod memory_full;
pub(crate) mod metadata;
pub(crate) mod piece_bytes;
pub(crate) mod remote;
pub(crate) mod restart;
pub(crate) mod restore_fault;
pub(crate) mod savepoint;
pub(crate) mod settings;
pub(crate) mod snapshot;
pub(crate) mod store;
