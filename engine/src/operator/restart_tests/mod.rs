//! Restarts of keyed operators: a run that is restarted, at whatever record, gives what the uninterrupted run gives.

mod keyed;
mod requests;
mod windows;

use crate::api::StreamExecutionEnvironment;
use crate::config::StateBackend;
use crate::testing::attempts::{Attempt, Attempts};
use std::fmt::Debug;

/// One step of a run: an input's record or watermark, or the clock.
pub(super) type Step = Box<dyn Fn(&mut Attempt)>;

/// A run: what it is of, its steps, and what its output is called.
pub(super) struct Run<W> {
    pub(super) write: W,
    pub(super) steps: Vec<Step>,
    /// Results of one step come in any order.
    pub(super) is_unordered: bool,
}

pub(super) const BACKENDS: [StateBackend; 2] = [StateBackend::Memory, StateBackend::Lsm];

/// A record for an input, as the `turn`-th of it.
pub(super) fn record<T: Clone + Send + 'static>(
    input: &'static str,
    turn: usize,
    record: T,
    timestamp_ms: i64,
) -> Step {
    Box::new(move |attempt| attempt.pipe((input, turn), record.clone(), timestamp_ms))
}

pub(super) fn watermark(inputs: &'static [&'static str], watermark_ms: i64) -> Step {
    Box::new(move |attempt| inputs.iter().for_each(|input| attempt.watermark(input, watermark_ms)))
}

pub(super) fn clock(now_ms: i64) -> Step {
    Box::new(move |attempt| attempt.set_clock_ms(now_ms))
}

impl<W: Fn(&StreamExecutionEnvironment) + Clone> Run<W> {
    /// Does the steps from `from` on, up to `to`, and gives the results of each.
    fn go<T>(&self, attempt: &mut Attempt, from: usize, to: usize) -> Vec<Vec<T>>
    where
        T: Ord + Send + 'static,
    {
        let steps = self.steps[from..to].iter().map(|step| {
            step(attempt);
            let mut results = attempt.outputs::<T>("out");
            if self.is_unordered {
                results.sort();
            }
            results
        });
        steps.collect()
    }

    /// Restarts at every step, at two places behind the checkpoint: results are those of the uninterrupted run. Every second
    /// restart goes on from a checkpoint that was taken after a restart.
    pub(super) fn check<T: Ord + Debug + Send + 'static>(&self) {
        for backend in BACKENDS {
            for parallelism in [1, 2, 4] {
                self.check_with::<T>(parallelism, backend);
            }
        }
    }

    /// [`check`](Self::check) with half of its combinations, where there are many runs.
    pub(super) fn check_briefly<T: Ord + Debug + Send + 'static>(&self) {
        self.check_with::<T>(1, StateBackend::Memory);
        self.check_with::<T>(2, StateBackend::Lsm);
        self.check_with::<T>(4, StateBackend::Memory);
    }

    fn check_with<T: Ord + Debug + Send + 'static>(
        &self,
        parallelism: usize,
        backend: StateBackend,
    ) {
        let count = self.steps.len();
        let plain = Attempts::new(parallelism, backend, self.write.clone());
        let expected = self.go::<T>(&mut plain.begin(None, 0), 0, count);
        assert!(expected.iter().any(|results| !results.is_empty()), "the run has results");
        for at in 0..count {
            let mut attempts = Attempts::new(parallelism, backend, self.write.clone());
            let mut attempt = attempts.begin(None, 0);
            let place = format!("{backend:?}, parallelism {parallelism}, step {at} of {count}");
            assert_eq!(self.go::<T>(&mut attempt, 0, at), expected[..at], "before {place}");
            let state = attempt.checkpoint(1);
            let now_ms = attempt.core.now_ms.get();
            let lost = (at + 3).min(count);
            assert_eq!(self.go::<T>(&mut attempt, at, lost), expected[at..lost], "behind {place}");
            drop(attempt);
            attempts.retain(&state);
            let mut attempt = attempts.begin(Some(&state), now_ms);
            let again = (at + 2).min(count);
            assert_eq!(self.go::<T>(&mut attempt, at, again), expected[at..again], "after {place}");
            let state = attempt.checkpoint(2);
            let now_ms = attempt.core.now_ms.get();
            drop(attempt);
            attempts.retain(&state);
            let mut attempt = attempts.begin(Some(&state), now_ms);
            let rest = self.go::<T>(&mut attempt, again, count);
            assert_eq!(rest, expected[again..], "after two restarts, {place}");
        }
    }
}
