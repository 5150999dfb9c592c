//! State of an operator as such, which belongs to no key: lists and broadcast maps.
//!
//! 1. An operator owns one [`OperatorStateStore`] in each subtask; `open` registers descriptors with
//!    it and gets handles.
//! 2. A context lends the store ([`OperatorContext`], and [`OperatorContextMut`] where it may be
//!    changed); handles read and write through it.
//! 3. A checkpoint has [`OperatorStateStore::snapshot`] of each subtask, from which
//!    [`OperatorStateStore::restored`] goes on.
//! 4. When an operator's parallelism changes, its lists are dealt out ([`Redistribution`]); a
//!    broadcast map is the same in every subtask and goes to all of them.
//!
//! **Invariants**
//! - Names are unique within an operator, over lists and broadcast maps; the same name with the same
//!   kind, types and redistribution gives the same state. Keyed state has names of its own.
//! - A handle works only with the store that made it.
//! - Order is a part of the contract: lists keep the order of adding, broadcast maps that of first
//!   insertion.

mod broadcast;
mod context;
mod list;
mod ordered_table;
mod snapshot;
mod store;

pub use broadcast::{BroadcastIter, BroadcastState};
pub use context::{OperatorContext, OperatorContextMut};
pub use list::OperatorListState;
pub use store::{OperatorStateInfo, OperatorStateKind, OperatorStateStore, Redistribution};

#[cfg(test)]
mod tests;
