//! How large levels and files are meant to be.

/// What the choice of compactions is made by. Sizes are those of files, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompactionOptions {
    /// So many deltas are merged, whatever their size: each is looked into by every read.
    pub(crate) delta_count: usize,
    /// Deltas are merged when they have this share of the sorted files, in percent, too.
    pub(crate) delta_percent: u64,
    /// What deltas and the uppermost level may have in any case.
    pub(crate) level_bytes: u64,
    /// How much larger each level is than the one above.
    pub(crate) level_factor: u64,
    /// The largest files.
    pub(crate) file_bytes_max: u64,
    /// The smallest files: each costs a sync.
    pub(crate) file_bytes_min: u64,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        CompactionOptions {
            delta_count: 4,
            delta_percent: 25,
            level_bytes: 8 << 20,
            level_factor: 8,
            file_bytes_max: 32 << 20,
            file_bytes_min: 2 << 20,
        }
    }
}
