//! What flows between operators, and the memory it lies in.
//!
//! ```text
//!  Block<T>   values T..T | hashes u32..u32 | timestamps i64..i64     by value: same core, or plain data across cores
//!  ArchivePage  rkyv bytes -> .. <- (root u32, hash u32, timestamp i64)   heap data across cores
//! ```
//!
//! 1. Inside a chain a record is a plain `T` with a timestamp; nothing is encoded.
//! 2. At an edge it is appended to a `Block` (columns), which the consumer drains in one call.
//! 3. Across cores plain data goes by value in a block too, heap data as a rkyv archive in an `ArchivePage`, because
//!    freeing a `String` on another core than the one that made it costs more than copying its bytes (272 against 170-207 ns a record with the
//!    cores far apart).
//!
//! **Invariants**
//! - Which representation crosses cores is decided per type at compile time (`Record::codec`).
//! - The bytes of a by-value block are never hashed, compared or written to disk: they may hold padding.
//! - Timestamps are milliseconds; [`NO_TIMESTAMP`] means none.

mod archive;
mod block;
mod element;

pub use archive::Record;
pub(crate) use archive::{ArchivePage, Codec, PageError, larger_page};
pub(crate) use block::{Block, Columns};
pub use element::{Barrier, CheckpointId, Control, MAX_WATERMARK, NO_TIMESTAMP, StreamStatus};
