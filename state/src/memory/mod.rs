//! Resident state: typed values in rows, found through a hash index that can be prefetched. Alone it
//! is the memory backend; with a table of the persistent tier below it, the LSM backend.
//!
//! ```text
//! index: PrefetchTable<(hash, row)>        row arena: chunks of fixed-stride rows, 64-byte aligned, never moved
//!   hash ─► (hash, row number) ──────────►  | presence | dirty | hash | marks | key | state 0 | state 1 | .. |
//! ```
//! 1. [`StateRegistrar`] lays the fields of a row out, one for each state, and gives handles their
//!    slots.
//! 2. [`RowStore`] owns index and rows; its [`RowCursor`] is an exclusive view of one row.
//! 3. A state with a TTL has an `Expiring` value, list or map in its field; what reads remove from it
//!    is dropped when the row is released.
//! 4. `Slot<V>` is the proof of where a `V` lies; together with a cursor it is all that handles
//!    need, and both are safe.
//! 5. Slots mark the states that change; `tracking` lists the rows at their release, and from there
//!    they go down (`row_changes`). Rows that are not resident are read (`row_loading`), others leave
//!    where memory is limited (`row_eviction`).
//!
//! **Invariants**
//! - Every index entry names a live row; a live row has an initialised key, and a field is
//!   initialised exactly where its presence bit is set. A free row has nothing initialised but its
//!   header.
//! - Rows never move; growth takes a chunk of at most 256 KiB and copies nothing. (The index divides
//!   a part of at most 28,672 entries at a time.)
//! - A slot works only with cursors of the operator whose registrar made it: addresses of
//!   `OperatorInfo` are compared.

mod content;
mod content_hints;
mod dirty_rows;
mod expiring;
mod field_code;
pub(crate) mod flat_store;
mod huge_pages;
mod list_content;
mod map_changes;
mod map_table;
mod place;
mod prefetch_slab;
pub(crate) mod prefetch_table;
mod registrar;
mod removed_rows;
mod residence;
mod row_arena;
mod row_changes;
mod row_cursor;
mod row_eviction;
mod row_header;
mod row_loading;
mod row_store;
mod slot;
pub(crate) mod table_memory;
mod tracking;

pub use prefetch_slab::PrefetchSlab;
pub use prefetch_table::PrefetchTable;
pub use registrar::{
    MAX_ALIGNMENT, MAX_ROW_BYTES, MAX_STATES, StateInfo, StateKind, StateRegistrar,
};
pub use row_changes::Progress;
pub use row_cursor::{RowCursor, RowId};
pub use row_eviction::MemoryPressure;
pub use row_store::RowStore;

pub(crate) use expiring::{
    Access, Expiring, ExpiringList, ExpiringMap, ReadEntries, VisibleElements,
};
#[cfg(test)]
use expiring::{Purge, Purged};
pub(crate) use list_content::ListContent;
pub(crate) use map_table::MapTable;
pub(crate) use place::Place;

#[cfg(test)]
mod content_model_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tracking_model_tests;
#[cfg(test)]
mod ttl_model_tests;
#[cfg(test)]
mod ttl_restore_tests;
