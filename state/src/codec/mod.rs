//! Bytes of rows: what the resident tables hand to the files below, and get back from them.
//!
//! ```text
//! row    = prefix (table, key group, hash) + archived key + records
//! record = state, kind, sub-key, expiry, archived value
//! ```
//! 1. [`RowPrefix`] sorts rows: by table, key group and key hash, then by the key's archive.
//! 2. [`Record`] is one thing said about a row: a value, a list chunk, a map entry, or that
//!    something is gone.
//! 3. [`archive`](crate::codec::archive) gives the archived form of keys and values without an
//!    allocation a value.
//!
//! **Invariants**
//! - Nothing but rkyv's archived form and the lengths around it is written; no native layout.
//! - A removal kills what older files hold of the row, state or entry; a put beside it in the same
//!   file is newer than it.
//! - Decoding checks every length before it is used and allocates nothing.

mod archive;
mod record;
mod row_prefix;
mod varint;

pub(crate) use archive::ArchiveBuffer;
pub(crate) use record::{
    DamagedRow, EncodedRow, IS_LAST, Record, RecordKind, RowWriter, RowsWriter, decode_record,
    decode_row, write_record,
};
pub(crate) use row_prefix::{RowPrefix, StateIndex, TableId};
pub(crate) use varint::{read_varint, write_varint};
