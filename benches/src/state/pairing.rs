//! Store and baseline take turns over the same input.

use thalweg::Result;

use super::Options;
use super::process::{thread_waited_ns, written_bytes};
use crate::now_ns;

/// How many pairs of slices are run at least, however short the run is to be.
const PAIRS_MIN: usize = 3;

/// One side's answer for one phase of a slice: how many operations it did, and a digest of what it
/// saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) operations: u64,
    pub(super) digest: u64,
}

/// A side that takes turns: runs a phase of a slice over the input.
pub(super) trait Side<I> {
    fn run(&mut self, input: &I, phase: usize) -> Result<Answer>;

    /// Waits, untimed, for what the side still does in the background, so that it does not disturb
    /// the other one.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// How many barriers there were.
    fn barrier_count(&self) -> u64 {
        0
    }
}

/// What was measured of one phase.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    /// Operations a second of each slice.
    ours: Vec<f64>,
    plain: Vec<f64>,
    /// Operations of our slices together, and what was written during them and until they were
    /// settled.
    pub(super) ours_operations: u64,
    pub(super) ours_written_bytes: u64,
    /// How long our slices and the baseline's were ready and had no processor.
    pub(super) ours_waited_ns: u64,
    pub(super) plain_waited_ns: u64,
}

impl Rates {
    /// Median of our slices, in million operations a second.
    pub(super) fn ours_mops(&self) -> f64 {
        median(self.ours.clone()) / 1e6
    }

    /// Median of the baseline's slices, in million operations a second.
    pub(super) fn plain_mops(&self) -> f64 {
        median(self.plain.clone()) / 1e6
    }

    /// Median, over neighbouring slices, of our rate by the baseline's.
    pub(super) fn ratio(&self) -> f64 {
        median(self.ours.iter().zip(&self.plain).map(|(ours, plain)| ours / plain).collect())
    }
}

/// The middle value; not a number if there is none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs slices in turn until the time is over and there were so many barriers as asked for: ours, plain, then plain, ours, and so on. `prepare`
/// makes the next input, outside of what is timed.
///
/// # Errors
///
/// The error of a side, or that their digests differ.
pub(super) fn alternate<I, const PHASES: usize>(
    options: &Options,
    mut prepare: impl FnMut() -> I,
    ours: &mut impl Side<I>,
    plain: &mut impl Side<I>,
) -> Result<[Rates; PHASES]> {
    let mut rates = [(); PHASES].map(|()| Rates::default());
    let (mut timed_ns, mut pairs) = (0, 0);
    while pairs < PAIRS_MIN
        || (timed_ns as f64) < options.seconds * 1e9
        || ours.barrier_count() < options.barriers
    {
        let input = prepare();
        for (phase, rates) in rates.iter_mut().enumerate() {
            let mut ours_taken = Taken::default();
            let is_first = pairs % 2 == 0;
            if is_first {
                ours_taken = take_turn(ours, &input, phase)?;
            }
            let plain_taken = take_turn(plain, &input, phase)?;
            if !is_first {
                ours_taken = take_turn(ours, &input, phase)?;
            }
            if ours_taken.answer != plain_taken.answer {
                let (ours, plain) = (ours_taken.answer, plain_taken.answer);
                return Err(
                    format!("phase {phase}: we answer {ours:?}, hashbrown {plain:?}").into()
                );
            }
            rates.ours.push(ours_taken.per_second());
            rates.plain.push(plain_taken.per_second());
            rates.ours_operations += ours_taken.answer.operations;
            rates.ours_written_bytes += ours_taken.written_bytes;
            rates.ours_waited_ns += ours_taken.waited_ns;
            rates.plain_waited_ns += plain_taken.waited_ns;
            timed_ns += ours_taken.ns + plain_taken.ns;
        }
        pairs += 1;
    }
    Ok(rates)
}

/// A phase that is over.
struct Taken {
    ns: u64,
    waited_ns: u64,
    written_bytes: u64,
    answer: Answer,
}

impl Default for Taken {
    fn default() -> Self {
        Taken { ns: 1, waited_ns: 0, written_bytes: 0, answer: Answer { operations: 0, digest: 0 } }
    }
}

impl Taken {
    fn per_second(&self) -> f64 {
        self.answer.operations as f64 / self.ns as f64 * 1e9
    }
}

fn take_turn<I>(side: &mut impl Side<I>, input: &I, phase: usize) -> Result<Taken> {
    let (written, waited_ns, begin_ns) = (written_bytes(), thread_waited_ns(), now_ns());
    let answer = side.run(input, phase)?;
    let ns = (now_ns() - begin_ns).max(1);
    let waited_ns = thread_waited_ns().saturating_sub(waited_ns);
    side.settle()?;
    Ok(Taken { ns, waited_ns, written_bytes: written_bytes() - written, answer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_neighbours() {
        let rates =
            Rates { ours: vec![4.0, 1.0, 9.0], plain: vec![2.0, 1.0, 3.0], ..Rates::default() };
        assert_eq!((rates.ratio(), rates.ours_mops()), (2.0, 4.0 / 1e6));
    }
}
