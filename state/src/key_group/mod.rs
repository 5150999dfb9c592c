//! Key groups: the unit in which keyed state is assigned to subtasks and moved when a job is
//! rescaled.
//!
//! `key -> hash -> group -> subtask`. The number of groups is the maximum parallelism, fixed for
//! the life of the state; subtasks own contiguous ranges of groups by Flink's formulas
//! (`KeyGroupRangeAssignment`).
//!
//! **Invariants**
//! - The group is taken from a multiplicative mix of the hash, never from its low bits or its top
//!   7: all keys of one subtask share leading group bits, and a hash table that used the same bits
//!   would lose buckets or tags.
//! - For every parallelism the ranges of its subtasks partition the groups, and `subtask_of` agrees
//!   with them.

use crate::{KeyHash, StateError};

/// The greatest number of key groups, as in Flink.
pub const MAX_PARALLELISM_LIMIT: u16 = 1 << 15;

/// Fewest groups the default gives, so that small jobs can grow.
const DEFAULT_LOWER_BOUND: u16 = 1 << 7;

/// Mixes the hash before the group is taken; frozen as a part of the state format.
const GROUP_MULTIPLIER: u32 = 0x9E37_79B1;

/// A key group: all keys with this number move together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyGroup(pub u16);

/// A contiguous range of key groups, `start <= group < end`; never empty when it comes from
/// [`KeyGroupRange::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyGroupRange {
    /// The first group of the range.
    pub start: u16,
    /// One past the last group of the range.
    pub end: u16,
}

impl KeyGroupRange {
    /// The groups of a subtask.
    ///
    /// # Errors
    ///
    /// [`StateError::InvalidParallelism`] unless `subtask < parallelism <= max_parallelism <=
    /// 32768`.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg_state::KeyGroupRange;
    /// # fn main() -> Result<(), thalweg_state::StateError> {
    /// assert_eq!(KeyGroupRange::of(1, 3, 128)?, KeyGroupRange { start: 43, end: 86 });
    /// # Ok(())
    /// # }
    /// ```
    pub fn of(subtask: u16, parallelism: u16, max_parallelism: u16) -> Result<Self, StateError> {
        let valid = subtask < parallelism
            && parallelism <= max_parallelism
            && max_parallelism <= MAX_PARALLELISM_LIMIT;
        if !valid {
            return Err(StateError::InvalidParallelism { subtask, parallelism, max_parallelism });
        }
        let first = |subtask: u32| {
            (subtask * u32::from(max_parallelism)).div_ceil(u32::from(parallelism)) as u16
        };
        Ok(KeyGroupRange { start: first(subtask.into()), end: first(u32::from(subtask) + 1) })
    }

    /// Whether the group lies in the range.
    #[inline]
    pub const fn contains(self, group: KeyGroup) -> bool {
        self.start <= group.0 && group.0 < self.end
    }

    /// How many groups the range has.
    #[inline]
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether the range has no group.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The groups both ranges have; empty when they are disjoint.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        KeyGroupRange { start, end: self.end.min(other.end).max(start) }
    }

    /// The groups of the range, in order.
    pub fn groups(self) -> impl Iterator<Item = KeyGroup> {
        (self.start..self.end).map(KeyGroup)
    }
}

/// The key group of a hash: `max_parallelism` shares of the mixed 32-bit space.
#[inline]
pub const fn key_group_of(hash: KeyHash, max_parallelism: u16) -> KeyGroup {
    KeyGroup(((group_bits(hash) as u64 * max_parallelism as u64) >> 32) as u16)
}

/// The bits that groups are shares of, first bit first: keys whose leading bits agree lie in
/// neighbouring groups, so a table that divides its keys by these bits divides them by groups.
#[inline(always)]
pub(crate) const fn group_bits(hash: KeyHash) -> u32 {
    let hash = hash.as_u32();
    (hash ^ (hash >> 15)).wrapping_mul(GROUP_MULTIPLIER)
}

/// The subtask that owns a group: `group * parallelism / max_parallelism`. Zero where
/// `max_parallelism` is zero.
#[inline]
pub const fn subtask_of(group: KeyGroup, max_parallelism: u16, parallelism: u16) -> u16 {
    if max_parallelism == 0 {
        return 0;
    }
    (group.0 as u32 * parallelism as u32 / max_parallelism as u32) as u16
}

/// The maximum parallelism of a job that names none: 1.5 times the parallelism, rounded up to a
/// power of two, between 128 and 32768.
///
/// # Examples
///
/// ```
/// use thalweg_state::default_max_parallelism;
/// assert_eq!(default_max_parallelism(4), 128);
/// assert_eq!(default_max_parallelism(100), 256);
/// assert_eq!(default_max_parallelism(u16::MAX), 32768);
/// ```
pub const fn default_max_parallelism(parallelism: u16) -> u16 {
    let rounded = (parallelism as u32 + parallelism as u32 / 2).next_power_of_two();
    if rounded < DEFAULT_LOWER_BOUND as u32 {
        DEFAULT_LOWER_BOUND
    } else if rounded > MAX_PARALLELISM_LIMIT as u32 {
        MAX_PARALLELISM_LIMIT
    } else {
        rounded as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_partition(parallelism: u16, max_parallelism: u16) {
        let mut next = 0;
        for subtask in 0..parallelism {
            let range = KeyGroupRange::of(subtask, parallelism, max_parallelism).unwrap();
            assert_eq!(range.start, next, "p {parallelism} max {max_parallelism}");
            assert!(!range.is_empty());
            for group in range.groups() {
                assert_eq!(subtask_of(group, max_parallelism, parallelism), subtask);
            }
            next = range.end;
        }
        assert_eq!(next, max_parallelism);
    }

    #[test]
    fn ranges_partition_the_groups() {
        for max_parallelism in [1, 2, 3, 7, 100, 127, 128, 129, 1000] {
            for parallelism in 1..=max_parallelism {
                check_partition(parallelism, max_parallelism);
            }
        }
        for parallelism in [1, 2, 3, 5, 999, 4097, 32767, 32768] {
            check_partition(parallelism, MAX_PARALLELISM_LIMIT);
        }
    }

    #[test]
    fn ranges_agree_with_flinks_inclusive_formula() {
        for max_parallelism in [128_u32, 200, 32768] {
            for parallelism in [1_u32, 2, 3, 7, 64, 127] {
                for subtask in 0..parallelism {
                    let start = (subtask * max_parallelism).div_ceil(parallelism);
                    let end = ((subtask + 1) * max_parallelism - 1) / parallelism;
                    let range = KeyGroupRange::of(
                        subtask as u16,
                        parallelism as u16,
                        max_parallelism as u16,
                    );
                    let expected = KeyGroupRange { start: start as u16, end: end as u16 + 1 };
                    assert_eq!(range.unwrap(), expected);
                }
            }
        }
    }

    #[test]
    fn impossible_ranges_are_errors() {
        for (subtask, parallelism, max) in [(0, 0, 128), (4, 4, 128), (0, 129, 128), (0, 1, 40_000)]
        {
            let error = KeyGroupRange::of(subtask, parallelism, max).unwrap_err();
            assert!(matches!(error, StateError::InvalidParallelism { .. }), "{error}");
        }
        assert_eq!(key_group_of(KeyHash::from_u32(9), 0), KeyGroup(0));
        assert_eq!(subtask_of(KeyGroup(9), 0, 4), 0);
    }

    #[test]
    fn default_is_flinks() {
        for (parallelism, expected) in
            [(1, 128), (85, 128), (86, 256), (128, 256), (171, 256), (172, 512), (30_000, 32768)]
        {
            assert_eq!(default_max_parallelism(parallelism), expected, "{parallelism}");
        }
    }

    #[test]
    fn intersections_are_exact_or_empty() {
        let range = |start, end| KeyGroupRange { start, end };
        assert_eq!(range(0, 10).intersection(range(5, 20)), range(5, 10));
        assert!(range(0, 5).intersection(range(5, 20)).is_empty());
        assert!(range(9, 12).intersection(range(0, 3)).is_empty());
    }

    /// Within one group, bucket bits and tag bits must still take all their values evenly.
    #[test]
    fn groups_leave_bucket_and_tag_bits_alone() {
        let (mut buckets, mut tags, mut count) = ([0_u32; 128], [0_u32; 128], 0_u32);
        for key in 0..4_000_000_u64 {
            let hash = KeyHash::of(&key);
            if key_group_of(hash, 128) == KeyGroup(17) {
                buckets[hash.as_u32() as usize % 128] += 1;
                tags[(hash.wide() >> 57) as usize] += 1;
                count += 1;
            }
        }
        let mean = f64::from(count) / 128.0;
        assert!((f64::from(count) - 31_250.0).abs() < 1_000.0, "{count}");
        for counts in [buckets, tags] {
            let chi_square: f64 =
                counts.iter().map(|seen| (f64::from(*seen) - mean).powi(2) / mean).sum();
            assert!(chi_square < 200.0, "{chi_square}"); // 127 degrees of freedom: p = 0.00004
        }
    }
}
