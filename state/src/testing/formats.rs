//! Readers of each format on bytes alone, for fuzzing: no answer is wrong but a panic.

use crate::codec::decode_row;
use crate::manifest::decode_edit;

/// Decodes rows as delta blocks have them; how many records there are before the end or the damage.
pub fn read_rows(mut bytes: &[u8]) -> usize {
    let mut record_count = 0;
    while !bytes.is_empty() {
        let Ok(row) = decode_row(&mut bytes) else { break };
        record_count += row.records().count();
    }
    record_count
}

/// Decodes an edit of a manifest; whether it is one.
pub fn read_edit(bytes: &[u8]) -> bool {
    decode_edit(bytes).is_ok()
}
