//! What a function holds: handles to the states of the current key.
//!
//! A handle is made by [`StateRegistrar`](crate::StateRegistrar) in `open`, from a descriptor, and
//! used with the context of every record: `self.last.update(ctx, value)?`. It holds no value and no
//! key, only where its field lies in the rows of its operator; all handles of a record share the
//! one lookup that the context's cursor stands for. `Default` gives an unopened handle, so
//! functions can derive `Default` and `Clone`.
//!
//! **Invariants**
//! - A handle checks, at every use, that the context is of the operator that made it: one
//!   comparison.
//! - Lists and maps that become empty are absent, so that a key without state gives its row back.
//! - State with a TTL goes through functions of its own, off the path of state without.
//! - A panic in a closure leaves the state as the closure left it.

mod aggregating;
mod context;
mod keyed_state;
mod list;
mod map;
mod reducing;
mod value;

pub use aggregating::AggregatingState;
pub use context::KeyedContext;
pub use keyed_state::KeyedState;
pub use list::{ListIter, ListState};
pub use map::{MapIter, MapState};
pub use reducing::ReducingState;
pub use value::ValueState;

#[cfg(test)]
mod tests;
