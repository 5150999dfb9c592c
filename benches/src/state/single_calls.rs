//! How long single calls take: every fourth is timed, in turn with the baseline.

use thalweg::Result;

use super::Options;
use super::stopwatch::{Latencies, Ticks};

/// Calls of which single ones are timed before the other side has its turn.
const BURST: usize = 65_536;
/// Turns of each side.
const TURNS_MAX: usize = 16;
/// Every so many calls one is timed.
const TIMED_EVERY: usize = 4;

/// A side whose calls can be made one by one.
pub(super) trait Single<C> {
    /// Makes a call of a phase; its part of the digest.
    fn single(&mut self, call: &C, phase: usize) -> Result<u64>;
}

/// How many single calls a run makes.
pub(super) fn single_count(options: &Options) -> usize {
    options.slice.min(TURNS_MAX * BURST)
}

/// The latencies of our side and the baseline's.
///
/// # Errors
///
/// The error of a side, or that their digests differ.
pub(super) fn time_singles<C>(
    ticks: Ticks,
    (calls, phase): (&[C], usize),
    ours: &mut impl Single<C>,
    plain: &mut impl Single<C>,
) -> Result<[Latencies; 2]> {
    let mut latencies = [Latencies::new(ticks), Latencies::new(ticks)];
    for burst in calls.chunks(BURST) {
        let ours_digest = time_burst((burst, phase), ours, &mut latencies[0])?;
        let plain_digest = time_burst((burst, phase), plain, &mut latencies[1])?;
        if ours_digest != plain_digest {
            return Err(format!(
                "single calls of phase {phase}: {ours_digest} is not {plain_digest}"
            )
            .into());
        }
    }
    Ok(latencies)
}

#[inline(never)]
fn time_burst<C>(
    (calls, phase): (&[C], usize),
    side: &mut impl Single<C>,
    latencies: &mut Latencies,
) -> Result<u64> {
    let mut digest = 0_u64;
    for (i, call) in calls.iter().enumerate() {
        let answer = if i % TIMED_EVERY == 0 {
            latencies.time(|| side.single(call, phase))
        } else {
            side.single(call, phase)
        };
        digest = digest.wrapping_add(answer?);
    }
    Ok(digest)
}
