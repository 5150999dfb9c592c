//! One seed after the other: a world each, a job in it, and what goes wrong.

use super::ledger::{Ledger, at_hand};
use crate::api::StreamExecutionEnvironment;
use crate::config::{ConfigurationBuilder, RestartKind, StateBackend};
use crate::runtime::shell::seeded::SplitMix;
use crate::runtime::stepped::{SteppedJob, Stepping};
use crate::testing::clock::StepClock;
use crate::time::Clock as _;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use thalweg_io::storage::{FaultProfile, FaultStorage};

/// What a disk does besides losing what was not synced when the process is killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Nothing.
    Crash,
    /// In half of the runs reads, writes and syncs fail now and then, and the disk is full for a while.
    #[default]
    Disk,
}

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

impl SimulationReport {
    fn add(&mut self, other: &Self) {
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

/// What the seed decides before the run.
#[derive(Clone, Debug)]
struct Settings {
    parallelism: usize,
    cores: usize,
    backend: StateBackend,
    batch_records: usize,
    interval_ms: u64,
    retained: usize,
    has_disk_faults: bool,
    /// Kills and failures that are to come.
    faults: u64,
}

impl Settings {
    fn draw(random: &mut SplitMix, profile: Profile) -> Self {
        let parallelism = 1 + random.below(3);
        Settings {
            parallelism,
            cores: 1 + random.below(parallelism),
            backend: [StateBackend::Lsm, StateBackend::Memory][random.below(2)],
            batch_records: 1 + random.below(12),
            interval_ms: 5 + random.below(60) as u64,
            retained: 1 + random.below(3),
            has_disk_faults: profile == Profile::Disk && random.below(2) == 0,
            faults: 3 + random.below(8) as u64,
        }
    }

    fn configure(&self, configuration: &mut ConfigurationBuilder) {
        configuration
            .parallelism(self.parallelism)
            .state_backend(self.backend)
            .batch_records(self.batch_records)
            .pages_in_flight(2)
            .drain_budget_records(32)
            .checkpoint_interval(Duration::from_millis(self.interval_ms))
            .checkpoint_directory("/job/checkpoints")
            .checkpoint_timeout(Duration::from_millis(2_000))
            .checkpoints_retained(self.retained)
            .restart_strategy(RestartKind::FixedDelay)
            .restart_attempts(u32::MAX)
            .restart_delay(Duration::from_millis(2));
    }
}

/// Turns after which a run without faults must have ended: no job of a simulation is that long.
const TURNS_MAX: u64 = 40_000_000;
/// Turns between two decisions: about as many as a batch takes to its sink.
const TURNS_EACH: usize = 4;
/// So many of the last events are told of a run that failed.
const LOG_TOLD: usize = 60;

struct World {
    seed: u64,
    random: SplitMix,
    settings: Settings,
    disk: FaultStorage,
    clock: Arc<StepClock>,
    ledger: Arc<Ledger>,
    faults_left: u64,
    counts: SimulationReport,
    log: Vec<String>,
    log_hash: u64,
}

/// How a process ended.
enum Exit {
    Finished,
    Gone,
}

fn run_seed(
    write: &impl Fn(&StreamExecutionEnvironment),
    seed: u64,
    profile: Profile,
    expected: &mut BTreeMap<usize, Vec<String>>,
) -> Result<SeedReport, SimulationFailure> {
    let mut random = SplitMix(seed);
    let settings = Settings::draw(&mut random, profile);
    let parallelism = settings.parallelism;
    if !expected.contains_key(&parallelism) {
        let undisturbed = Settings { faults: 0, has_disk_faults: false, ..settings.clone() };
        let mut world = World::new(seed, SplitMix(seed), undisturbed);
        world.run(write)?;
        expected.insert(parallelism, world.ledger.visible());
    }
    let mut world = World::new(seed, random, settings);
    world.run(write)?;
    world.audit(&expected[&parallelism])?;
    world.counts.runs = 1;
    Ok(SeedReport { seed, log_hash: world.log_hash, counts: world.counts })
}

impl World {
    fn new(seed: u64, random: SplitMix, settings: Settings) -> Self {
        let disk = FaultStorage::new(seed, FaultProfile::none());
        let faults_left = settings.faults;
        World {
            seed,
            random,
            settings,
            disk,
            clock: Arc::new(StepClock::new()),
            ledger: Arc::new(Ledger::default()),
            faults_left,
            counts: SimulationReport::default(),
            log: Vec::new(),
            log_hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    fn note(&mut self, event: impl Into<String>) {
        let event = event.into();
        for byte in event.bytes() {
            self.log_hash = (self.log_hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.log.push(format!("{:6} ms  {event}", self.clock.wall_ms()));
    }

    fn failure(&self, what: impl Into<String>) -> SimulationFailure {
        let from = self.log.len().saturating_sub(LOG_TOLD);
        let mut log = format!("{:?}\n", self.settings);
        log.push_str(&self.log[from..].join("\n"));
        SimulationFailure { seed: self.seed, what: what.into(), log }
    }

    /// Runs processes, one after the other, until one has finished the job.
    fn run(
        &mut self,
        write: &impl Fn(&StreamExecutionEnvironment),
    ) -> Result<(), SimulationFailure> {
        loop {
            self.set_disk_faults();
            match self.process(write)? {
                Exit::Finished => return Ok(()),
                Exit::Gone => {}
            }
        }
    }

    /// The disk fails now and then, as long as faults are to come.
    fn set_disk_faults(&mut self) {
        let is_faulty = self.settings.has_disk_faults && self.faults_left > 0;
        let rate = if is_faulty { 200 + self.random.below(3_000) as u32 } else { 0 };
        let profile = if rate > 0 { FaultProfile::failing(rate) } else { FaultProfile::none() };
        self.disk.set_profile(profile);
        let budget = is_faulty && self.random.below(3) == 0;
        let free_bytes = 4_096 + self.random.below(200_000) as u64;
        self.disk.set_budget_bytes(budget.then(|| self.disk.used_bytes() + free_bytes));
        if is_faulty {
            self.note(format!("the disk fails {rate} times in a million, full: {budget}"));
        }
    }

    fn process(
        &mut self,
        write: &impl Fn(&StreamExecutionEnvironment),
    ) -> Result<Exit, SimulationFailure> {
        let process = self.ledger.next_process();
        self.note(format!("process {process} begins"));
        let mut configuration = ConfigurationBuilder::new();
        self.settings.configure(&mut configuration);
        let job = configuration.build().map_err(crate::error::Error::from).and_then(|settings| {
            let env = StreamExecutionEnvironment::with_configuration(settings);
            at_hand(&self.ledger, process, || write(&env));
            let stepping = Stepping::Seeded {
                seed: self.random.next(),
                cores: Some(self.settings.cores),
                disk: Arc::new(self.disk.clone()),
            };
            SteppedJob::launch(env.submission("simulated")?, stepping, self.clock.clone())
        });
        let mut job = job.map_err(|error| self.failure(format!("the job is refused: {error}")))?;
        let mut turns = 0;
        while !job.state().has_ended() {
            turns += TURNS_EACH as u64;
            if turns > TURNS_MAX {
                return Err(self.failure("the job is stuck: it does not come to its end"));
            }
            let has_worked = job.take_turns(TURNS_EACH);
            if self.decide(&mut job, has_worked) {
                self.kill(job);
                return Ok(Exit::Gone);
            }
        }
        self.count(&job);
        match job.state().failure() {
            None => {
                self.note("the job has finished");
                Ok(Exit::Finished)
            }
            Some(failure) if self.settings.has_disk_faults => {
                self.note(format!("the process gives up: {failure}"));
                self.counts.exits += 1;
                self.faults_left = self.faults_left.saturating_sub(1);
                Ok(Exit::Gone)
            }
            Some(failure) => Err(self.failure(format!("the job failed: {failure}"))),
        }
    }

    /// What happens next; true if the process is killed.
    fn decide(&mut self, job: &mut SteppedJob, has_worked: bool) -> bool {
        // Time passes, faster where nobody has anything to do but to wait for it.
        if !has_worked || self.random.below(4) == 0 {
            let by_ms = 1 + self.random.below(10) as i64;
            self.clock.step_to_ms(self.clock.wall_ms() + by_ms);
        }
        match self.random.below(200) {
            0 | 1 if self.faults_left > 0 => {
                self.faults_left -= 1;
                self.note("the job fails");
                job.fail("simulated");
            }
            2 | 3 if self.faults_left > 0 => {
                self.faults_left -= 1;
                return true;
            }
            4 | 5 => {
                self.note("a checkpoint is wanted");
                job.checkpoint();
            }
            _ => {}
        }
        false
    }

    /// Nothing that the process still does has any effect: not on the ledger, and not on the disk that the next one finds.
    fn kill(&mut self, job: SteppedJob) {
        self.count(&job);
        self.counts.crashes += 1;
        let statistics = job.state().checkpoints();
        self.note(format!("the process is killed, {} checkpoints complete", statistics.completed));
        let seed = self.random.next();
        let is_machine = self.random.below(4) > 0;
        let after = if is_machine { self.disk.crash(seed) } else { self.disk.kill(seed) };
        // The sinks of the old process find themselves in a process that is gone.
        self.ledger.next_process();
        drop(job);
        self.disk = after;
    }

    fn count(&mut self, job: &SteppedJob) {
        let statistics = job.state().checkpoints();
        self.counts.checkpoints += statistics.completed;
        self.counts.failed_checkpoints += statistics.failed;
        self.counts.restarts += u64::from(statistics.restarts);
    }

    /// Compares what is visible with what an undisturbed run has written.
    fn audit(&mut self, expected: &[String]) -> Result<(), SimulationFailure> {
        let visible = self.ledger.visible();
        self.counts.records += visible.len() as u64;
        let (commits, aborts) = self.ledger.counts();
        self.note(format!("{} records, {commits} commits, {aborts} aborts", visible.len()));
        let (lost, more) = difference(expected, &visible);
        if !lost.is_empty() || !more.is_empty() {
            let told =
                |records: &[String]| records.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            return Err(self.failure(format!(
                "{} records are lost ({}), {} are too many ({})",
                lost.len(),
                told(&lost),
                more.len(),
                told(&more)
            )));
        }
        if let Some(violation) = self.ledger.violations().first() {
            return Err(self.failure(violation.clone()));
        }
        match self.ledger.dangling().first() {
            Some(transaction) => {
                Err(self.failure(format!("transaction {transaction} is left over")))
            }
            None => Ok(()),
        }
    }
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
