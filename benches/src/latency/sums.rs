//! The digest of a running sum that does not depend on the order in which records of several sources meet.
//!
//! A row says what the sum of its key was before the record and what it is behind it. Its contribution is
//! `f(key, after) - f(key, before)`. As long as each row goes on where the last one of its key has stopped, all but the first and
//! the last of a key cancel, so the digest is that of the last sums; one that was lost, repeated or mixed up leaves a rest. The
//! sink keeps nothing for it.

use crate::digest::splitmix64;

/// What a row contributes whose record has added `value`.
#[inline(always)]
pub(crate) fn contribution(key: u64, value: u64, after: u64) -> u64 {
    mark(key, after).wrapping_sub(mark(key, after.wrapping_sub(value)))
}

#[inline(always)]
fn mark(key: u64, sum: u64) -> u64 {
    splitmix64(key.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ sum)
}

/// The digest of the events that the source subtasks have emitted, so many each, by the plainest loop.
pub(crate) fn expected(keys: u64, counts: &[u64]) -> u64 {
    let mut sums = vec![0_u64; keys as usize];
    let step = counts.len() as u64;
    for (subtask, count) in (0..).zip(counts) {
        for n in 0..*count {
            let r = splitmix64(subtask + n * step);
            sums[(r % keys) as usize] += r >> 48;
        }
    }
    let marks = (0..).zip(&sums).map(|(key, sum)| mark(key, *sum).wrapping_sub(mark(key, 0)));
    marks.fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of a loop that takes the events in any order, and may forget one.
    fn digest_of(events: impl Iterator<Item = u64>, keys: u64, forgets: Option<u64>) -> u64 {
        let mut sums = vec![0_u64; keys as usize];
        let mut digest = 0_u64;
        for i in events {
            let r = splitmix64(i);
            let (key, value) = (r % keys, r >> 48);
            if forgets == Some(i) {
                continue;
            }
            sums[key as usize] += value;
            digest = digest.wrapping_add(contribution(key, value, sums[key as usize]));
        }
        digest
    }

    #[test]
    fn any_order_gives_the_digest_of_the_last_sums() {
        assert_eq!(digest_of(0..1_000, 7, None), expected(7, &[1_000]));
        assert_eq!(digest_of((0..1_000).rev(), 7, None), expected(7, &[1_000]));
        assert_eq!(digest_of(0..1_000, 7, None), expected(7, &[500, 500]));
        // A source that has stopped earlier than the other.
        let uneven = (0..600).map(|n| 2 * n).chain((0..400).map(|n| 2 * n + 1));
        assert_eq!(digest_of(uneven, 7, None), expected(7, &[600, 400]));
    }

    #[test]
    fn what_is_lost_or_wrong_is_seen() {
        assert_ne!(digest_of(0..1_000, 7, Some(500)), expected(7, &[1_000]));
        // A sum that begins anew in the middle.
        let halves = digest_of(0..500, 7, None).wrapping_add(digest_of(500..1_000, 7, None));
        assert_ne!(halves, expected(7, &[1_000]));
    }
}
