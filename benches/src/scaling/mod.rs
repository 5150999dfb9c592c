//! How cost grows with slots, keys, operators and jobs: what the binary `scaling` runs.
//!
//! | what | runs |
//! |---|---|
//! | `slots` | w1 and w2 with 1, 2 and 4 slots on the cores there are |
//! | `keys` | a running sum over 1 thousand to 100 million keys that are all there, beside an array of the same size |
//! | `chain` | 1 to 32 maps: fused, erased, cut, and as tasks of their own on one core; beside a plain loop |
//! | `jobs` | 1 to 16 jobs of w1 in one engine at the same time, on the same cores |
//! | `allocations` | allocations an event in the steady state; fails if w1 makes any |
//!
//! **Invariants**
//! - No number is printed of a job whose results were not compared with those of a plain loop, or with the digests that all systems
//!   compared agree on: in the run itself, or, where it ends by the clock and the digest needs a fixed number of
//!   events, in one with the same settings before.
//! - What is compared takes turns, so that noise of the machine hits all; each line is the median of the rounds.

mod allocations;
mod arguments;
mod chain;
mod filled;
mod floor;
mod jobs;
mod keys;
mod known;
mod slots;

pub use arguments::{Bench, Options, declared};

/// Runs one bench and prints its lines.
///
/// # Errors
/// Those of the jobs; results that are wrong; w1 with allocations.
pub fn run(options: &Options) -> thalweg::Result<()> {
    match options.bench {
        Bench::Slots => slots::run(options),
        Bench::Keys => keys::run(options),
        Bench::Chain => chain::run(options),
        Bench::Jobs => jobs::run(options),
        Bench::Allocations => allocations::run(options),
    }
}

/// Numbers of several rounds.
#[derive(Clone, Debug, Default)]
struct Rounds(Vec<f64>);

impl Rounds {
    fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle one; of an even number the upper of both.
    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_have_a_middle_and_ends() {
        let mut rounds = Rounds::default();
        assert!(rounds.median().is_nan());
        for value in [5.0, 1.0, 3.0] {
            rounds.add(value);
        }
        assert_eq!((rounds.least(), rounds.median(), rounds.most()), (1.0, 3.0, 5.0));
    }
}
