//! One seed after the other, each in a world of its own, and what the results are compared with.

use super::report::{SeedReport, SimulationFailure, SimulationReport};
use super::settings::{Profile, Settings};
use super::world::World;
use crate::api::StreamExecutionEnvironment;
use crate::config::{ConfigurationBuilder, StateBackend};
use crate::runtime::shell::seeded::SplitMix;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::Range;

/// Subtasks of an operator at most, in checks.
const PARALLELISM_MAX: usize = 3;

/// Tells the numbers that decide what kind of fault a seed is about from the others.
const FOCUS: u64 = 0xBB67_AE85_84CA_A73B;

/// Checks a job with these seeds; see the [module](super).
///
/// # Panics
/// With the first run that broke a promise.
#[track_caller]
pub fn check(write: impl Fn(&StreamExecutionEnvironment), seeds: Range<u64>) -> SimulationReport {
    match check_with(write, seeds, Profile::default()) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    }
}

/// [`check`] with a choice of faults.
///
/// # Errors
/// The first run that broke a promise.
pub fn check_with(
    write: impl Fn(&StreamExecutionEnvironment),
    seeds: Range<u64>,
    profile: Profile,
) -> Result<SimulationReport, SimulationFailure> {
    let mut report = SimulationReport::default();
    let mut expected = BTreeMap::new();
    for seed in seeds {
        let run = run_seed(&write, seed, profile, &mut expected)?;
        report.add(&run.counts);
    }
    Ok(report)
}

/// Runs a job with one seed.
///
/// # Errors
/// What it broke.
pub fn replay(
    write: impl Fn(&StreamExecutionEnvironment),
    seed: u64,
) -> Result<SeedReport, SimulationFailure> {
    run_seed(&write, seed, Profile::default(), &mut BTreeMap::new())
}

fn run_seed(
    write: &impl Fn(&StreamExecutionEnvironment),
    seed: u64,
    profile: Profile,
    expected: &mut BTreeMap<usize, Vec<String>>,
) -> Result<SeedReport, SimulationFailure> {
    let simulation = Simulation::drawn(seed, profile, PARALLELISM_MAX);
    let parallelism = simulation.parallelism();
    let expected = match expected.entry(parallelism) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => {
            let settings = simulation.settings.undisturbed();
            let mut world = World::new(seed, SplitMix(seed), settings, (&|_| {}, &[]));
            world.run(write)?;
            place.insert(sorted(world.ledger().committed()))
        }
    };
    simulation.run(write, |found| compare(expected, &sorted(found.to_vec())))
}

/// One run of a job, audited by its owner: what [`check`] is made of, for those who know what a job must write without
/// running it undisturbed.
///
/// # Examples
///
/// ```
/// use thalweg::testing::sim::{self, Simulation};
///
/// let simulation = Simulation::new(7);
/// let report = simulation.run(
///     |env| {
///         let numbers = env.from_source(sim::source((0..100).map(|n| (n, n))), "numbers");
///         numbers.filter(|n| n % 2 == 0).sink_to(sim::sink()).name("even");
///     },
///     |records| match records.len() {
///         50 => Ok(()),
///         count => Err(format!("{count} records")),
///     },
/// )?;
/// assert_eq!(report.counts.records, 50);
/// # Ok::<(), sim::SimulationFailure>(())
/// ```
pub struct Simulation<'a> {
    seed: u64,
    random: SplitMix,
    settings: Settings,
    configure: Box<dyn Fn(&mut ConfigurationBuilder) + 'a>,
    points: Vec<&'static str>,
}

impl fmt::Debug for Simulation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.seed)
            .field("settings", &self.settings)
            .finish()
    }
}

impl<'a> Simulation<'a> {
    /// What this seed draws, with up to four subtasks of an operator.
    pub fn new(seed: u64) -> Self {
        Simulation::drawn(seed, Profile::default(), 4)
    }

    fn drawn(seed: u64, profile: Profile, parallelism_max: usize) -> Self {
        let mut random = SplitMix(seed);
        let settings =
            Settings::draw(&mut random, &mut SplitMix(seed ^ FOCUS), profile, parallelism_max);
        Simulation { seed, random, settings, configure: Box::new(|_| {}), points: Vec::new() }
    }

    /// More of the configuration.
    #[must_use]
    pub fn configure(mut self, configure: impl Fn(&mut ConfigurationBuilder) + 'a) -> Self {
        self.configure = Box::new(configure);
        self
    }

    /// Processes may die at these crash points, besides all other times. Without effect in a build without the feature
    /// `crash-points` of `thalweg-io`.
    #[must_use]
    pub fn crash_at(mut self, points: impl IntoIterator<Item = &'static str>) -> Self {
        self.points = points.into_iter().collect();
        self
    }

    /// Each process runs the job with another parallelism, up to this, and some end with a savepoint, with which the next begins
    /// in a directory of its own: what the job writes must not depend on either.
    ///
    /// # Panics
    /// If `parallelism_max` is 0.
    #[must_use]
    pub fn rescaling(mut self, parallelism_max: usize) -> Self {
        assert!(parallelism_max > 0, "an operator has a subtask");
        self.settings.rescales_to = Some(parallelism_max);
        self
    }

    /// Subtasks of each operator, in the first process of a job that is [rescaled](Self::rescaling).
    pub fn parallelism(&self) -> usize {
        self.settings.parallelism
    }

    /// Where keyed state is.
    pub fn backend(&self) -> StateBackend {
        self.settings.backend
    }

    /// Runs the job of `write` to its end, however often it is disturbed, and has `audit` look at what was committed: all
    /// records, in words, those of a subtask in the order in which they were written.
    ///
    /// # Errors
    /// What `audit` returns; a transaction that is left over; a file that is; a job that is stuck.
    pub fn run(
        self,
        write: impl Fn(&StreamExecutionEnvironment),
        audit: impl FnOnce(&[String]) -> Result<(), String>,
    ) -> Result<SeedReport, SimulationFailure> {
        let Simulation { seed, random, settings, configure, points } = self;
        let mut world = World::new(seed, random, settings, (&*configure, &points));
        world.run(&write)?;
        audit(&world.ledger().committed()).map_err(|what| world.failure(what))?;
        world.audit_rest(&write)?;
        world.counts.runs = 1;
        Ok(SeedReport {
            seed,
            log_hash: world.log_hash,
            counts: world.counts,
            crash_points: world.points_passed,
            marks: world.marks,
            log: world.log,
        })
    }
}

fn sorted(mut records: Vec<String>) -> Vec<String> {
    records.sort_unstable();
    records
}

/// Compares what is visible with what it is to be; both are sorted.
///
/// # Errors
/// What is lost, and what is there too often or wrong.
pub fn compare(expected: &[String], found: &[String]) -> Result<(), String> {
    let (lost, more) = difference(expected, found);
    if lost.is_empty() && more.is_empty() {
        return Ok(());
    }
    let told = |records: &[String]| records.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    Err(format!(
        "{} records are lost ({}), {} are too many ({})",
        lost.len(),
        told(&lost),
        more.len(),
        told(&more)
    ))
}

/// What is in one sorted list and not in the other, each way; records count as often as they are there.
fn difference(expected: &[String], found: &[String]) -> (Vec<String>, Vec<String>) {
    let mut counts: BTreeMap<&String, i64> = BTreeMap::new();
    expected.iter().for_each(|record| *counts.entry(record).or_insert(0) += 1);
    found.iter().for_each(|record| *counts.entry(record).or_insert(0) -= 1);
    let repeated = |sign: i64| {
        let counts = counts.iter().filter(move |(_, count)| **count * sign > 0);
        counts.flat_map(|(record, count)| vec![(*record).clone(); count.unsigned_abs() as usize])
    };
    (repeated(1).collect(), repeated(-1).collect())
}
