//! How large the levels of a version are, and how large they are meant to be.

use super::CompactionOptions;
use crate::manifest::{FileMeta, LEVEL_MAX, Version};

const LEVELS: usize = LEVEL_MAX as usize + 1;

/// Sizes of levels, by their number; 0 are the deltas.
///
/// The bottom level decides: the level above it may have an eighth of its bytes, and so on up to the
/// first that may have no more than `level_bytes`, the **base**. So all levels from the base to the
/// one above the bottom have a seventh of its bytes together, whatever its size.
///
/// Levels above the base are **young**, as deltas are: each may have one sorted run that will be
/// merged into the base together with all others and the deltas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    /// Bytes as they are.
    pub(super) bytes: [u64; LEVELS],
    /// Bytes with what the removals in them would free below.
    pub(super) weight_bytes: [u64; LEVELS],
    /// Bytes there may be; that of 0 is for all that is young, and young levels have none.
    pub(super) target_bytes: [u64; LEVELS],
    /// The uppermost level that is not young.
    pub(super) base: u8,
    /// What a removal frees below, on average.
    pub(super) removal_bytes: u64,
}

impl Levels {
    pub(super) fn of(version: &Version, options: &CompactionOptions) -> Self {
        let bytes: [u64; LEVELS] = std::array::from_fn(|level| {
            version.level(level as u8).iter().map(|file| file.length_bytes()).sum()
        });
        let bottom_rows: u64 = version.level(LEVEL_MAX).iter().map(|file| file.row_count).sum();
        let removal_bytes = bytes[LEVELS - 1] / bottom_rows.max(1);
        let weigh = |file: &FileMeta| file.length_bytes() + file.removal_count * removal_bytes;
        let weight_bytes = std::array::from_fn(|level| {
            version.level(level as u8).iter().map(|file| weigh(file)).sum()
        });
        let mut target_bytes = [0; LEVELS];
        let largest = bytes[1..].iter().copied().max().unwrap_or(0);
        let mut target = largest.max(options.level_bytes);
        let mut base = LEVEL_MAX;
        target_bytes[base as usize] = target;
        while target > options.level_bytes && base > options.base_min() {
            base -= 1;
            target /= options.level_factor.max(2);
            target_bytes[base as usize] = target;
        }
        target_bytes[0] = options
            .level_bytes
            .max(bytes[1..].iter().sum::<u64>().saturating_mul(options.delta_percent) / 100);
        Levels { bytes, weight_bytes, target_bytes, base, removal_bytes }
    }

    /// How full a level from the base on is, in thousandths; at 1000 it is to be made smaller.
    pub(super) fn fullness(&self, level: u8) -> u64 {
        let target = self.target_bytes[level as usize].max(1);
        self.weight_bytes[level as usize].saturating_mul(1_000) / target
    }

    /// The same of deltas and young levels, by their bytes or by how many there are.
    pub(super) fn young_fullness(&self, version: &Version, options: &CompactionOptions) -> u64 {
        let young = ..self.base as usize;
        let runs = self.bytes[1..self.base as usize].iter().filter(|bytes| **bytes > 0).count();
        let count = (version.deltas.len() + runs) as u64;
        let by_count = count * 1_000 / options.delta_count.max(1) as u64;
        let weight: u64 = self.weight_bytes[young].iter().sum();
        by_count.max(weight.saturating_mul(1_000) / self.target_bytes[0].max(1))
    }

    /// Bytes of deltas and young levels.
    pub(super) fn young_bytes(&self) -> u64 {
        self.bytes[..self.base as usize].iter().sum()
    }

    /// The young level that a new run goes to: above all that is sorted.
    pub(super) fn free_young_level(&self) -> Option<u8> {
        let used = (1..=self.base).find(|level| self.bytes[*level as usize] > 0);
        used.unwrap_or(self.base).min(self.base).checked_sub(1).filter(|level| *level > 0)
    }

    /// How large the files of a level are made: a level has 32 of them, so that one can be merged
    /// into the next without touching most of that.
    pub(super) fn file_bytes(&self, level: u8, options: &CompactionOptions) -> u64 {
        let share = self.target_bytes[level as usize] / 32;
        share.clamp(options.file_bytes_min, options.file_bytes_max.max(options.file_bytes_min))
    }
}
