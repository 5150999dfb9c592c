//! Latency under load: what the binary `latency` runs.
//!
//! The job is w5 of the workloads (see `job`). All latencies are told twice: from the **emission** of a record, and from when it was
//! **due**. The second is the correction for coordinated omission: a source that is held up emits late, so the records that a stall
//! has delayed most would look fast if their time began with their emission, and those that were not emitted at all would not
//! be counted. Here each record is due at a time that nothing can move, is emitted in any case, and its time begins then.
//!
//! | what | runs |
//! |---|---|
//! | `sweep` | rates from `--rate` up to saturation, then between the last that was sustained and the first that was not |
//! | `checkpoints` | a million keys on files, with and without a checkpoint a second |
//! | `compaction` | a million keys on files, with less memory than the state takes and without a limit |
//! | `busy` | alone, and with w1 at full speed on the same cores in the same engine |
//! | `noise` | the engine, and the same job by hand on the same cores, in turns |
//!
//! Each line is a run; where two ways are compared they take turns, and the last lines have all runs of each and their ratios.
//!
//! **What is the engine's and what is the host's.** On a machine that is shared, most of a p99.9 is somebody else's, and two cores
//! leave no third one to watch from. So there are two controls (see `noise`):
//! - *The same job by hand* ([`pair`]): engine and hand-written threads have the same cores for a phase each, many times in a
//!   run, so both meet the same host, and their quantiles are compared. Noise only adds: the best phase of each is
//!   closest to its own work, the merged phases are what a user sees.
//! - *A clock that is read all the time*: with one slot, a thread on another core does nothing but that. What its gaps would do to events that
//!   came at any time ([`gaps`]) is what the host adds to a program that does no work at all.
//!
//! **Invariants**
//! - No line is printed of a run whose rows or sums are not those of a plain loop over the same events.
//! - Both ways of a comparison have the same generator, the same stamps, the same recorder.

mod alternating;
mod arguments;
pub mod gaps;
pub(crate) mod host;
mod job;
mod latencies;
mod noise;
pub mod pair;
mod scratch;
mod sums;
mod sweep;
mod transfer;

pub use arguments::{Bench, Options, declared};
pub use job::{Measurement, Pace, Run, Stamped, write_job};
pub use latencies::Latencies;

pub(crate) use scratch::Scratch;
pub(crate) use sums::contribution;
#[cfg(test)]
pub(crate) use sums::expected;

use thalweg::prelude::*;

/// Runs one bench and prints its lines.
///
/// # Errors
/// Those of the jobs; sums that are not those of the events.
pub fn run(options: &Options) -> thalweg::Result<()> {
    match options.bench {
        Bench::Sweep => sweep::run(options),
        Bench::Checkpoints => alternating::checkpoints(options),
        Bench::Compaction => alternating::compaction(options),
        Bench::Busy => alternating::busy(options),
        Bench::Noise => noise::run(options),
    }
}

/// One run of the job, in an engine of its own.
fn run_once(
    options: &Options,
    pace: &Pace,
    configure: impl FnOnce(&StreamExecutionEnvironment),
) -> thalweg::Result<Measurement> {
    let env = StreamExecutionEnvironment::with_configuration(options.configuration.clone());
    configure(&env);
    let run = write_job(&env, pace);
    env.execute("latency")?;
    run.measurement()
}
