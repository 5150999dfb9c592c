//! How large levels and files are meant to be.

/// What the choice of compactions is made by. Sizes are those of files, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompactionOptions {
    /// So many deltas are merged, whatever their size: each is looked into by every read.
    pub(crate) delta_count: usize,
    /// Deltas are merged, too, when they have this share of the sorted files, in percent.
    pub(crate) delta_percent: u64,
    /// Each delta is sorted by itself as soon as it is there, into one of the levels above the base:
    /// for stores whose rows are read from files, since a delta is read partition by partition.
    pub(crate) sorts_deltas: bool,
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
            sorts_deltas: false,
            level_bytes: 8 << 20,
            level_factor: 8,
            file_bytes_max: 16 << 20,
            file_bytes_min: 2 << 20,
        }
    }
}

impl CompactionOptions {
    /// The uppermost level that is not young. Where deltas are sorted as they come there are young
    /// levels for those that come while the ones before them are merged.
    pub(crate) fn base_min(&self) -> u8 {
        if self.sorts_deltas { YOUNG_LEVELS + 1 } else { 1 }
    }
}

/// How many levels are kept for deltas that are sorted as they come.
const YOUNG_LEVELS: u8 = 8;

#[cfg(test)]
impl CompactionOptions {
    /// Levels and files so small that a few hundred rows fill three of them.
    pub(crate) const SMALL: CompactionOptions = CompactionOptions {
        delta_count: 3,
        delta_percent: 25,
        sorts_deltas: false,
        level_bytes: 8_000,
        level_factor: 3,
        file_bytes_max: 16_000,
        file_bytes_min: 2_000,
    };
}
