//! The keyed-state store by itself, beside plain hashbrown: what the binary `state` runs.
//!
//! 1. `arguments` reads the command line; `bench` is the list of what can be run.
//! 2. `events` makes the input, outside of what is timed; `pairing` lets store and baseline take
//!    turns over the same events and compares what they answer.
//! 3. `store` and `keyed_rows` are our side, `files` what it writes, `plain` the baseline; each `rmw`,
//!    `list`, `map`, `timers`, `snapshot` holds one workload, and `budget` is
//!    `rmw` with limited memory.
//! 4. `growth`, `single_calls`, `stopwatch`, `process` and `report` measure and print.
//!
//! **Invariants**
//! - Store and baseline see the same events in the same order, and their digests are compared: a
//!   run whose digests differ fails.
//! - They take turns in slices, so that noise of the machine hits both; ratios are medians over
//!   pairs of neighbouring slices.
//! - The baseline is fixed: `HashMap<u64, u64>` of hashbrown with foldhash, made with room for all
//!   keys, one `entry()` an event.

mod arguments;
mod events;
mod files;
mod growth;
mod pairing;
mod process;
mod report;
mod scratch;
mod single_calls;
mod stopwatch;
mod zipf;

mod keyed_rows;
mod plain;
mod store;

mod budget;
mod list;
mod map;
mod rmw;
mod snapshot;
mod timers;

#[cfg(feature = "rivals")]
mod rivals;

pub use arguments::{Backend, Bench, Layout, Options, Rival, StorageKind, declared};

use thalweg::Result;

/// Runs one bench and prints its lines.
///
/// # Errors
///
/// If the store refuses an operation or its digest is not the baseline's.
pub fn run(options: &Options) -> Result<()> {
    match options.bench {
        Bench::Rmw if options.budget_mib.is_some() => budget::run(options),
        Bench::Rmw => rmw::run(options),
        Bench::List => list::run(options),
        Bench::Map => map::run(options),
        Bench::Snapshot => snapshot::run_snapshot(options),
        Bench::Restore => snapshot::run_restore(options),
        Bench::Timers => timers::run(options),
    }
}

#[cfg(test)]
mod tests;
