//! Jobs in a world that goes wrong: a simulator that tries to break what checkpoints promise.
//!
//! A job is run to its end once, undisturbed. Then, for each seed, it is run again in a world of its own: a simulated disk
//! that loses what was not synced, a clock, cores that take turns in an order drawn from the seed, and a system of
//! transactions behind the sinks that outlives the job. The seed decides when checkpoints are taken, when the job fails
//! and restarts, when the process is killed, and what the disk does. However often that happens, in the end the
//! transactions that were committed must hold exactly what the undisturbed run has written: nothing lost, nothing
//! twice.
//!
//! ```
//! use thalweg::prelude::*;
//! use thalweg::testing::sim;
//!
//! // The job as it will run, between a source that replays and a sink with transactions.
//! fn write(env: &StreamExecutionEnvironment) {
//!     let clicks = (0..200).map(|n| (n * 10, (n % 7, 1_u64)));
//!     env.from_source(sim::source(clicks), "clicks")
//!         .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous())
//!         .key_by(|(user, _)| *user)
//!         .window(TumblingEventTimeWindows::of(milliseconds(500)))
//!         .aggregate_with(Count, |user, window, count, out| out.collect((*user, window.end(), count)))
//!         .sink_to(sim::sink())
//!         .name("counts");
//! }
//!
//! let report = sim::check(write, 0..20);
//! assert!(report.crashes > 0 && report.records > 0);
//! ```
//!
//! A run ends with a process that finds the job finished, and must add nothing; then no file may be left on the disk that
//! nothing refers to. Who knows what a job must write without running it undisturbed audits it by [`Simulation`].
//!
//! # What is simulated
//!
//! | part | how |
//! |---|---|
//! | cores, threads | one thread; whose turn it is comes from the seed |
//! | clock | moves by steps that the seed draws |
//! | disk | [`FaultStorage`](thalweg_io::storage::FaultStorage): a kill leaves one of the images that a real one could |
//! | operators | in jobs that [rescale](Simulation::rescaling) each process has another parallelism, and some begin with a savepoint |
//! | sources | [`source`]: records by position, replayed from it |
//! | sinks | [`sink()`]: transactions in a system that outlives the process |
//! | the engine | as it is |
//!
//! Jobs must be deterministic but for the order of records of different keys: event time, no randomness. Whatever
//! depends on the wall clock differs from run to run, and the check would say so.
//!
//! **Invariants**
//! - The same seed gives the same run: same turns, same disk, same faults ([`SeedReport::log_hash`]).
//! - After the last fault nothing stands in the way: a run that does not end then is stuck, which is a failure.

mod death;
mod home;
mod ledger;
mod records;
mod report;
mod rot;
mod run;
mod settings;
mod world;

pub use ledger::{LedgerSink, SimulatedProcess, process, sink};
pub use records::{SimulatedReader, SimulatedSource, SimulatedSplit, source};
pub use report::{SeedReport, SimulationFailure, SimulationReport};
pub use run::{Simulation, check, check_with, compare, replay};
pub use settings::Profile;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
