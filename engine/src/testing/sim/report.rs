//! What simulations have done, and how they failed.

use std::collections::BTreeMap;
use std::fmt;

/// What a check has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulationReport {
    /// Seeds.
    pub runs: u64,
    /// Records that were committed and compared, over all runs.
    pub records: u64,
    /// Complete checkpoints.
    pub checkpoints: u64,
    /// Checkpoints that were given up.
    pub failed_checkpoints: u64,
    /// Times that the process was killed.
    pub crashes: u64,
    /// Times that the job failed and went on in its process.
    pub restarts: u64,
    /// Times that a process could not begin, or ended, because of the disk.
    pub exits: u64,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeedReport {
    /// Its seed.
    pub seed: u64,
    /// Of all that happened, in order: the same seed gives the same.
    pub log_hash: u64,
    /// What it adds to the report of the check.
    pub counts: SimulationReport,
    /// How often each crash point was passed, and how often the process died there.
    pub crash_points: BTreeMap<&'static str, (u64, u64)>,
    /// Situations that were reached, and how often.
    pub marks: BTreeMap<&'static str, u64>,
    /// What happened, with the time.
    pub log: Vec<String>,
}

/// A run that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {what}; replay it with `sim::replay(job, {seed})`\n{log}")]
pub struct SimulationFailure {
    /// Replays it.
    pub seed: u64,
    /// What is lost, twice, wrong or stuck.
    pub what: String,
    /// What was done to the job, the last of it.
    pub log: String,
}

impl SimulationReport {
    /// Adds what another one has done.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.records += other.records;
        self.checkpoints += other.checkpoints;
        self.failed_checkpoints += other.failed_checkpoints;
        self.crashes += other.crashes;
        self.restarts += other.restarts;
        self.exits += other.exits;
    }
}

impl fmt::Display for SimulationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "runs={} records={} checkpoints={} failed_checkpoints={} crashes={} restarts={} exits={} failures=0",
            self.runs,
            self.records,
            self.checkpoints,
            self.failed_checkpoints,
            self.crashes,
            self.restarts,
            self.exits,
        )
    }
}
