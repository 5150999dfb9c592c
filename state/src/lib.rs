//! The keyed-state store of one task slot.
//!
//! A keyed operator owns one [`RowStore`]: all states of a key lie in one row, so the value, list
//! and map handles of one record share a single lookup. The crate knows no engine; a test or a tool
//! uses it directly.
//!
//! 1. [`StateRegistrar`] takes descriptors in `open` and gives handles; every mistake is a
//!    [`StateError`] here.
//! 2. [`RowStore::new`] fixes the row layout and takes the registrar, so no state can be added to
//!    existing rows.
//! 3. Per record, [`RowStore::enter`] finds the key's row and lends a [`RowCursor`]; handles read
//!    and write through it.
//! 4. [`RowStore::release`] returns the row of a key that has neither state nor timers left.
//!
//! **Invariants**
//! - A store has one owner and takes no locks; nothing in this crate starts a thread, reads a clock
//!   or draws a random number, so equal calls give equal results in equal order.
//! - The key hash ([`KEY_HASH_NAME`]) is a part of the state format and changes only with its
//!   version.
//! - Unsafe code lies in `memory` alone (rows: `row_*`, `slot`, `registrar`, `field_code`,
//!   `tracking`, `residence`; tables: `prefetch_table`, `table_memory`) and in one line of `value`.
//!
//! # Examples
//!
//! ```
//! use thalweg_state::{Key, RowStore, StateRegistrar, ValueStateDescriptor};
//!
//! # fn main() -> Result<(), thalweg_state::StateError> {
//! let mut registrar = StateRegistrar::new::<String>("clicks");
//! let count = registrar.register_value(&ValueStateDescriptor::<u64>::new("count"))?;
//! let mut rows = RowStore::<String>::new(registrar)?;
//! for user in ["ann", "bob", "ann"].map(String::from) {
//!     let (mut cursor, _) = rows.enter(user.key_hash(), &user)?;
//!     count.modify(&mut cursor, |n| *n += 1)?;
//! }
//! let ann = String::from("ann");
//! let (cursor, _) = rows.enter(ann.key_hash(), &ann)?;
//! assert_eq!(count.value(&cursor)?, Some(2));
//! # Ok(())
//! # }
//! ```
mod error;
mod function;
mod hash;
mod schema;
mod ttl;
mod type_name;
mod value;

mod key_group;

mod backend;
mod cache;
mod codec;
mod compaction;
mod delta;
mod inspect;
mod manifest;
mod merge;
mod read;
mod snapshot;
mod sst;

mod descriptor;
mod handle;
mod memory;
mod operator_state;
pub mod schema_evolution;
mod timer_queue;

#[cfg(test)]
mod test_random;
#[cfg(test)]
mod test_spawner;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use backend::{
    Epoch, LevelStatistics, LsmOptions, LsmStore, OlderCheckpoints, SchemaChange, StoreError,
    StoreStatistics,
};
pub use descriptor::{
    AggregatingStateDescriptor, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor,
    ValueStateDescriptor,
};
pub use error::{OperatorStateChange, StateError};
pub use function::AggregateFunction;
pub use handle::{
    AggregatingState, KeyedContext, KeyedState, ListIter, ListState, MapIter, MapState,
    ReducingState, ValueState,
};
pub use hash::{KEY_HASH_NAME, KEY_HASH_VERSION, KeyHash, KeyHasher};
pub use inspect::{FileReport, Report, StoreReport, inspect};
pub use key_group::{
    KeyGroup, KeyGroupRange, MAX_PARALLELISM_LIMIT, default_max_parallelism, key_group_of,
    subtask_of,
};
pub use memory::flat_store::FlatStore;
pub use memory::table_memory::TableMemory;
pub use memory::{
    MAX_ALIGNMENT, MAX_ROW_BYTES, MAX_STATES, MemoryPressure, PrefetchSlab, PrefetchTable,
    Progress, RowCursor, RowId, RowStore, StateInfo, StateKind, StateRegistrar,
};
pub use operator_state::{
    BroadcastIter, BroadcastState, OperatorContext, OperatorContextMut, OperatorListState,
    OperatorStateInfo, OperatorStateKind, OperatorStateStore, Redistribution,
};
pub use rkyv;
pub use schema::{
    Evolution, EvolutionError, FieldsBuilder, MalformedSchema, Migrated, OldFields, OldType,
    OldValue, Schema, SchemaBuilder, SchemaDescription, SchemaFingerprint, SchemaRefused,
    VariantsBuilder,
};
pub use snapshot::{
    CheckpointId, CheckpointSummary, PinnedCheckpoint, PinnedFile, RestoreSource, StateRoot,
    StoreEvent, StoreSummary, crash_points,
};
pub use timer_queue::{DueTimer, KeyedTimers, TimeDomain, Timer, TimerQueue};
pub use ttl::{StateTtl, TtlUpdate, TtlVisibility};
pub use value::{Key, Namespaced, StateValue};
