//! Many seeds, on all cores, and what came of them.
//!
//! **Invariants**
//! - A run is on one thread, so threads change nothing but how long it takes.
//! - Each [`REPLAY_EACH`]th seed is run twice: the same log, or it is a failure.

use super::run;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use thalweg::testing::crash_points;
use thalweg::testing::sim::{SeedReport, SimulationReport};

/// How seldom a seed is run a second time, to see whether it replays.
pub const REPLAY_EACH: u64 = 50;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seeds, in this order.
    pub seeds: Vec<u64>,
    /// Threads; each takes the next seed.
    pub threads: usize,
    /// Stop at the first failure.
    pub is_first_enough: bool,
}

/// What came of the seeds.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Of all runs that were green.
    pub counts: SimulationReport,
    /// Passes of each crash point, and deaths there.
    pub crash_points: BTreeMap<&'static str, (u64, u64)>,
    /// Situations that were reached.
    pub marks: BTreeMap<&'static str, u64>,
    /// Seeds that were run twice.
    pub replayed: u64,
    /// Over all logs, whatever the order of the seeds.
    pub log_hash: u64,
    /// Seed and what was broken.
    pub failures: Vec<(u64, String)>,
}

/// Runs the seeds.
pub fn run_all(plan: &Plan) -> Outcome {
    let queue: Mutex<VecDeque<u64>> = Mutex::new(plan.seeds.iter().copied().collect());
    let outcome = Mutex::new(Outcome::default());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            scope.spawn(|| {
                while let Some(seed) = next() {
                    let result = run_guarded(seed);
                    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                    let has_failed = result.is_err();
                    outcome.add(seed, result);
                    if has_failed && plan.is_first_enough {
                        queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    }
                }
            });
        }
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// A run, twice now and then; a panic of the engine is a failure.
fn run_guarded(seed: u64) -> Result<(SeedReport, bool), String> {
    let once = || match catch_unwind(AssertUnwindSafe(|| run(seed))) {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(failure)) => Err(failure.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            Err(format!("panicked: {}", text.unwrap_or("with something that is no text")))
        }
    };
    let first = once()?;
    if !seed.is_multiple_of(REPLAY_EACH) {
        return Ok((first, false));
    }
    let second = once()?;
    match first == second {
        true => Ok((first, true)),
        false => {
            let apart = first.log.iter().zip(&second.log).find(|(one, other)| one != other);
            Err(format!("does not replay: {apart:?}"))
        }
    }
}

impl Outcome {
    fn add(&mut self, seed: u64, result: Result<(SeedReport, bool), String>) {
        let (report, is_replayed) = match result {
            Ok(report) => report,
            Err(what) => return self.failures.push((seed, what)),
        };
        self.counts.add(&report.counts);
        self.replayed += u64::from(is_replayed);
        self.log_hash ^= report.log_hash.rotate_left((seed % 64) as u32);
        for (point, (passes, deaths)) in report.crash_points {
            let counts = self.crash_points.entry(point).or_default();
            *counts = (counts.0 + passes, counts.1 + deaths);
        }
        for (mark, count) in report.marks {
            *self.marks.entry(mark).or_default() += count;
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "crash points: passes, deaths")?;
        let never =
            crash_points::ESSENTIAL.iter().filter(|point| !self.crash_points.contains_key(*point));
        for (point, (passes, deaths)) in &self.crash_points {
            writeln!(f, "  {point:28} {passes:9} {deaths:6}")?;
        }
        never.into_iter().try_for_each(|point| writeln!(f, "  {point:28}     never"))?;
        writeln!(f, "marks")?;
        for (mark, count) in &self.marks {
            writeln!(f, "  {count:9} {mark}")?;
        }
        for (seed, what) in &self.failures {
            writeln!(f, "FAILED seed {seed}: {what}\n")?;
        }
        let SimulationReport { runs, records, checkpoints, failed_checkpoints, .. } = &self.counts;
        let SimulationReport { crashes, restarts, exits, .. } = &self.counts;
        write!(
            f,
            "runs={runs} records={records} checkpoints={checkpoints} given_up={failed_checkpoints} crashes={crashes} \
             restarts={restarts} exits={exits} replayed={} log_hash={:016x} failures={}",
            self.replayed,
            self.log_hash,
            self.failures.len()
        )
    }
}

/// The file of the seeds that have failed once.
pub fn regressions_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/simulate_regressions.txt")
}

/// The seeds that have failed once: a number a line, and why after `#`.
///
/// # Errors
/// A line that is no seed.
pub fn regressions() -> Result<Vec<u64>, String> {
    let path = regressions_path();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    let seed = |line: &str| {
        line.parse().map_err(|error| format!("{}: '{line}' is no seed: {error}", path.display()))
    };
    lines.filter(|line| !line.is_empty()).map(seed).collect()
}
