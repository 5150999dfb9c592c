//! The world of one seed: a disk, a clock, a ledger, the processes in it one after the other, and what goes wrong.
//!
//! 1. A process begins: the job is written and launched, and takes turns.
//! 2. Between turns the seed decides: time passes, a checkpoint is wanted, the job fails, the process is killed. Some processes
//!    die at a crash point instead, see [`Death`].
//! 3. The next process finds what a disk may have after that, and so on until the job has finished.
//!    In some seeds a sync fails, and the machine stops when a checkpoint is complete after that; in some a bit flips while no
//!    process runs, see [`Rot`].
//!    In a world that rescales each process has a parallelism of its own, and some end with a savepoint, from which the next
//!    begins, elsewhere; see [`Home`].
//! 4. One more process finds a job that has read all its input, and must add nothing. Then the disk must hold no file that
//!    nothing refers to.
//!
//! **Invariants**
//! - Everything that happens comes from the seed.
//! - When no fault is to come any more a checkpoint completes within [`PATIENCE_MS`] of the simulated clock, or the job is
//!   stuck.

use super::death::{Armed, Death, PointCounts};
use super::home::Home;
use super::ledger::{Ledger, at_hand};
use super::report::{SimulationFailure, SimulationReport};
use super::rot::{Rot, names_damage};
use super::settings::Settings;
use crate::api::StreamExecutionEnvironment;
use crate::config::ConfigurationBuilder;
use crate::runtime::shell::seeded::SplitMix;
use crate::runtime::stepped::{SteppedJob, Stepping};
use crate::testing::clock::StepClock;
use crate::time::Clock as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_io::storage::{ArmedFault, FaultKind, FaultProfile, FaultStorage, Storage};

/// Turns after which a run must have ended: no job of a simulation is that long.
const TURNS_MAX: u64 = 40_000_000;
/// Turns between two decisions: about as many as a batch takes to its sink.
const TURNS_EACH: usize = 4;
/// So many of the first and of the last events are told of a run that failed.
const LOG_TOLD: usize = 60;
/// So long a job without faults may be without a checkpoint.
const PATIENCE_MS: i64 = 30_000;
/// So long a job without faults may take to its end: inputs are small.
const END_PATIENCE_MS: i64 = 15_000;
/// So many processes in a row may end by themselves although the disk is well.
const EXITS_MAX: u32 = 3;
/// So many files stores may leave that end in good order.
const FILES_LEFT_MAX: usize = 32;
/// So many restarts in a process may come of a bit that has flipped, before it is flipped back.
const RESTARTS_ROTTEN_MAX: u32 = 3;
/// At the last of how many syncs in a process one fails at most.
const SYNCS_MAX: usize = 60;
/// At the last of how many passes of a crash point a process dies at most.
const PASSES_MAX: usize = 6;

/// More of the configuration, as the caller of the simulation wants it.
pub(super) type Configure<'a> = &'a dyn Fn(&mut ConfigurationBuilder);

/// See the module docs.
pub(super) struct World<'a> {
    seed: u64,
    random: SplitMix,
    settings: Settings,
    configure: Configure<'a>,
    /// Where processes may die.
    points: &'a [&'static str],
    disk: FaultStorage,
    home: Home,
    clock: Arc<StepClock>,
    ledger: Arc<Ledger>,
    faults_left: u64,
    /// When the last checkpoint was complete, or faults were over, or the process began.
    well_since_ms: i64,
    /// When faults were over, or the process began.
    calm_since_ms: i64,
    /// Processes in a row that ended by themselves on a disk that is well.
    calm_exits: u32,
    /// The newest checkpoint that any process has seen complete.
    newest: u64,
    /// The bit that has flipped, until it is flipped back.
    rot: Option<Rot>,
    /// The failed syncs of this disk after which no checkpoint was complete yet are those behind so many.
    syncs_failed: u64,
    /// The machine is to stop now.
    stops_now: bool,
    /// What the process should not have done.
    violation: Option<String>,
    pub(super) counts: SimulationReport,
    pub(super) points_passed: PointCounts,
    pub(super) marks: BTreeMap<&'static str, u64>,
    pub(super) log: Vec<String>,
    pub(super) log_hash: u64,
}

/// How a process ended.
enum Exit {
    Finished,
    Gone,
}

/// What a process has counted when it was looked at last.
#[derive(Default)]
struct Seen {
    completed: u64,
    failed: u64,
    restarts: u32,
}

impl<'a> World<'a> {
    pub(super) fn new(
        seed: u64,
        random: SplitMix,
        settings: Settings,
        (configure, points): (Configure<'a>, &'a [&'static str]),
    ) -> Self {
        let faults_left = settings.faults;
        World {
            seed,
            random,
            settings,
            configure,
            points,
            disk: FaultStorage::new(seed, FaultProfile::none()),
            home: Home::new(seed),
            clock: Arc::new(StepClock::new()),
            ledger: Arc::new(Ledger::default()),
            faults_left,
            well_since_ms: 0,
            calm_since_ms: 0,
            calm_exits: 0,
            newest: 0,
            rot: None,
            syncs_failed: 0,
            stops_now: false,
            violation: None,
            counts: SimulationReport::default(),
            points_passed: PointCounts::new(),
            marks: BTreeMap::new(),
            log: Vec::new(),
            log_hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn hash(&mut self, event: &str) {
        for byte in event.bytes() {
            self.log_hash = (self.log_hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(super) fn note(&mut self, event: impl Into<String>) {
        let event = event.into();
        let now_ms = self.clock.wall_ms();
        self.hash(&event);
        self.log_hash = self.log_hash.wrapping_add(now_ms as u64);
        self.log.push(format!("{now_ms:6} ms  {event}"));
    }

    fn mark(&mut self, situation: &'static str) {
        *self.marks.entry(situation).or_default() += 1;
    }

    pub(super) fn failure(&self, what: impl Into<String>) -> SimulationFailure {
        let mut log = format!("{:?}\n", self.settings);
        let last = self.log.len().saturating_sub(LOG_TOLD);
        let first = last.min(LOG_TOLD);
        log.push_str(&self.log[..first].join("\n"));
        log.push_str(if first < last { "\n...\n" } else { "\n" });
        log.push_str(&self.log[last..].join("\n"));
        SimulationFailure { seed: self.seed, what: what.into(), log }
    }

    /// Runs processes, one after the other, until one has finished the job.
    pub(super) fn run(
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
        self.arm_failed_sync();
        let is_full = is_faulty && self.random.below(3) == 0;
        let free_bytes = 4_096 + self.random.below(200_000) as u64;
        self.disk.set_budget_bytes(is_full.then(|| self.disk.used_bytes() + free_bytes));
        if is_faulty {
            self.note(format!("the disk fails {rate} times in a million, full: {is_full}"));
            self.mark("disk that fails");
        }
        if is_full {
            self.mark("disk that is full");
        }
    }

    /// One sync of a file fails: of metadata, or of any.
    fn arm_failed_sync(&mut self) {
        self.syncs_failed = self.disk.counters().syncs_failed;
        self.stops_now = false;
        self.disk.disarm();
        if !self.settings.has_failed_syncs || self.faults_left == 0 {
            return;
        }
        let (name_part, syncs) =
            if self.random.below(2) == 0 { (".chk", 4) } else { ("", SYNCS_MAX) };
        let let_through = self.random.below(syncs) as u64;
        self.note(format!("a sync of '{name_part}' fails after {let_through}"));
        self.disk.arm(ArmedFault::next(FaultKind::Sync).of(name_part).after(let_through));
    }

    /// A checkpoint is complete. If a sync has failed before, and what it was for is believed to be durable, this shows when
    /// the machine stops before that is written anew.
    fn stop_after_failed_sync(&mut self) {
        let syncs_failed = self.disk.counters().syncs_failed;
        let has_failed = std::mem::replace(&mut self.syncs_failed, syncs_failed) < syncs_failed;
        if has_failed && self.settings.has_failed_syncs && self.faults_left > 0 {
            self.stops_now = true;
            self.mark("machine that stops after a failed sync");
        }
    }

    /// Where the process that begins dies, if it is to.
    fn arm(&mut self) -> Option<Armed> {
        if self.points.is_empty()
            || self.faults_left == 0
            || self.rot.is_some()
            || self.random.below(2) > 0
        {
            return None;
        }
        let point = self.points[self.random.below(self.points.len())];
        let pass = 1 + self.random.below(PASSES_MAX) as u64;
        let is_machine = self.random.below(4) > 0;
        self.note(format!("is to die at pass {pass} of {point}, machine: {is_machine}"));
        Some(Armed { point, pass, seed: self.random.next(), is_machine })
    }

    fn process(
        &mut self,
        write: &impl Fn(&StreamExecutionEnvironment),
    ) -> Result<Exit, SimulationFailure> {
        let process = self.ledger.next_process();
        self.note(format!("process {process} begins"));
        self.home.forget_wishes();
        self.rescale();
        self.well_since_ms = self.clock.wall_ms();
        self.calm_since_ms = self.clock.wall_ms();
        let armed = self.arm();
        let death = Death::watch(&self.disk, &self.ledger, armed);
        let launched = self.launch(process, write);
        let exit = match (death.take(), launched) {
            (Some(died), launched) => {
                self.die(died, launched.ok());
                Exit::Gone
            }
            (None, Err(error)) if self.settings.may_give_up() && self.faults_left > 0 => {
                self.give_up(&error.to_string());
                Exit::Gone
            }
            (None, Err(error)) if self.rot.is_some() && names_damage(&error) => {
                self.heal_refused(&error.to_string(), 0);
                Exit::Gone
            }
            (None, Err(error)) => {
                return Err(self.failure(format!("the job is refused: {error}")));
            }
            (None, Ok(job)) => self.step(job, &death)?,
        };
        for (point, (passes, kills)) in death.take_counts() {
            let counts = self.points_passed.entry(point).or_default();
            *counts = (counts.0 + passes, counts.1 + kills);
        }
        Ok(exit)
    }

    /// The process that begins has another parallelism.
    fn rescale(&mut self) {
        let Some(parallelism_max) = self.settings.rescales_to else { return };
        let (parallelism, cores) = self.home.draw_parallelism(parallelism_max);
        if parallelism != self.settings.parallelism && self.newest > 0 {
            self.mark("process of another parallelism");
        }
        if self.home.has_savepoint() {
            self.mark("process that may begin with a savepoint");
        }
        (self.settings.parallelism, self.settings.cores) = (parallelism, cores);
        self.note(format!("{parallelism} subtasks on {cores} cores, {:?}", self.home));
    }

    fn launch(
        &mut self,
        process: u64,
        write: &impl Fn(&StreamExecutionEnvironment),
    ) -> Result<SteppedJob, crate::Error> {
        let mut configuration = ConfigurationBuilder::new();
        self.settings.configure(&mut configuration);
        self.home.configure(&mut configuration);
        (self.configure)(&mut configuration);
        let env = StreamExecutionEnvironment::with_configuration(configuration.build()?);
        at_hand(&self.ledger, process, || write(&env));
        let stepping = Stepping::Seeded {
            seed: self.random.next(),
            cores: Some(self.settings.cores),
            disk: Arc::new(self.disk.clone()),
        };
        SteppedJob::launch(env.submission("simulated")?, stepping, self.clock.clone())
    }

    fn step(&mut self, mut job: SteppedJob, death: &Death) -> Result<Exit, SimulationFailure> {
        let (mut turns, mut seen) = (0, Seen::default());
        while !job.state().has_ended() {
            turns += TURNS_EACH as u64;
            let has_worked = job.take_turns(TURNS_EACH);
            if let Some(died) = death.take() {
                self.die(died, Some(job));
                return Ok(Exit::Gone);
            }
            self.look(&job, &mut seen);
            if let Some(violation) = self.violation.take() {
                return Err(self.failure(violation));
            }
            if turns > TURNS_MAX || self.is_stuck() {
                let statistics = job.state().checkpoints();
                return Err(self.failure(format!(
                    "the job is stuck: no checkpoint is complete and it does not come to its end ({statistics:?})"
                )));
            }
            if self.decide(&mut job, has_worked, seen.completed) {
                self.kill(job);
                return Ok(Exit::Gone);
            }
        }
        self.end(&job)
    }

    /// The job has ended by itself.
    fn end(&mut self, job: &SteppedJob) -> Result<Exit, SimulationFailure> {
        self.count(job);
        match job.state().failure() {
            None => {
                self.heal();
                self.note("the job has finished");
                match self.home.moves(&self.disk) {
                    None => Ok(Exit::Finished),
                    Some(told) => {
                        self.note(told);
                        Ok(Exit::Gone)
                    }
                }
            }
            // What the disk did while it failed may show later.
            Some(failure) if self.settings.may_give_up() && self.calm_exits < EXITS_MAX => {
                self.give_up(&failure.to_string());
                Ok(Exit::Gone)
            }
            Some(failure) if self.rot.is_some() && names_damage(&failure) => {
                self.heal_refused(&failure.to_string(), job.state().checkpoints().completed);
                Ok(Exit::Gone)
            }
            Some(failure) => Err(self.failure(format!("the job failed: {failure}"))),
        }
    }

    fn give_up(&mut self, why: &str) {
        self.note(format!("the process gives up: {why}"));
        self.mark("process that gives up");
        self.counts.exits += 1;
        self.calm_exits = if self.faults_left == 0 { self.calm_exits + 1 } else { 0 };
        self.faults_left = self.faults_left.saturating_sub(1);
    }

    /// The damage was seen: the disk becomes what it was. What is complete since must stay.
    fn heal_refused(&mut self, why: &str, completed: u64) {
        self.note(format!("the process gives up: {why}"));
        self.mark("flipped bit that was seen");
        self.counts.exits += 1;
        match self.rot.take() {
            Some(rot) if completed == 0 => self.disk = rot.undo(),
            Some(rot) => rot.heal(&self.disk),
            None => {}
        }
    }

    /// A flipped bit flips back, whether anybody has seen it or not.
    fn heal(&mut self) {
        if let Some(rot) = self.rot.take() {
            self.note("the bit flips back");
            rot.heal(&self.disk);
        }
    }

    /// A bit flips, as long as faults are to come.
    fn rot(&mut self) {
        self.heal();
        if !self.settings.has_bit_rot {
            return;
        }
        self.rot = Rot::strike(&self.disk, self.home.directories(), &mut self.random);
        if let Some(rot) = &self.rot {
            let place = rot.place();
            self.note(format!("a bit flips: {place}"));
            self.mark("flipped bit");
        }
    }

    fn is_stuck(&self) -> bool {
        let waited_ms = |since_ms: i64| self.clock.wall_ms() - since_ms;
        self.faults_left == 0
            && (waited_ms(self.well_since_ms) > PATIENCE_MS
                || waited_ms(self.calm_since_ms) > END_PATIENCE_MS)
    }

    /// Notes what has changed since the last look.
    fn look(&mut self, job: &SteppedJob, seen: &mut Seen) {
        let statistics = job.state().checkpoints();
        if statistics.completed > seen.completed {
            seen.completed = statistics.completed;
            self.well_since_ms = self.clock.wall_ms();
            self.newest = self.newest.max(statistics.latest.map_or(0, |id| id.0));
            self.note(format!("checkpoint {} is complete", self.newest));
            self.stop_after_failed_sync();
        }
        if statistics.failed > seen.failed {
            seen.failed = statistics.failed;
            self.mark("checkpoint given up");
            self.note(format!("a checkpoint failed: {:?}", statistics.latest_failure));
        }
        if statistics.restarts > seen.restarts {
            if seen.restarts > 0 && statistics.completed == 0 {
                self.mark("restarted again without a checkpoint");
            }
            seen.restarts = statistics.restarts;
            self.mark("restarted in the process");
            let (from, why) =
                (statistics.restored.map(|id| id.0), statistics.latest_restart.clone());
            self.note(format!("restart {} from {from:?}, because {why:?}", seen.restarts));
            self.look_at_restart(seen.restarts, why.as_deref());
        }
        if turns_to_restored(&statistics, self.newest) {
            let restored = statistics.restored.map_or(0, |id| id.0);
            if let Some(rot) = &self.rot {
                let (newest, place) = (self.newest, rot.place());
                self.violation = Some(format!(
                    "went on from checkpoint {restored} although {newest} was complete and sinks commit; damaged is {place}"
                ));
            }
            self.newest = restored;
            self.mark("went on from an older checkpoint than was complete");
        }
    }

    /// A job that has a damaged file may fail by it, but neither panic nor fail for ever.
    fn look_at_restart(&mut self, restarts: u32, why: Option<&str>) {
        let Some(rot) = &self.rot else { return };
        if let Some(why) = why.filter(|why| why.contains("panicked")) {
            self.violation = Some(format!("{why}; damaged is {}", rot.place()));
        }
        if restarts >= RESTARTS_ROTTEN_MAX {
            self.heal();
        }
    }

    /// What happens next; true if the process is killed. One that has found a flipped bit is left alone until its first
    /// checkpoint is complete: only then is it certain what it did with it.
    fn decide(&mut self, job: &mut SteppedJob, has_worked: bool, completed: u64) -> bool {
        if self.stops_now && self.faults_left > 0 {
            self.spend_fault();
            return true;
        }
        let is_examined = self.rot.is_none() || completed > 0;
        // Time passes, faster where nobody has anything to do but to wait for it.
        if !has_worked || self.random.below(4) == 0 {
            let by_ms = 1 + self.random.below(10) as i64;
            self.clock.step_to_ms(self.clock.wall_ms() + by_ms);
        }
        match self.random.below(200) {
            0 | 1 if self.faults_left > 0 => {
                self.spend_fault();
                self.note("the job fails");
                job.fail("simulated");
            }
            2 | 3 if self.faults_left > 0 && is_examined => {
                self.spend_fault();
                return true;
            }
            4 | 5 => {
                self.note("a checkpoint is wanted");
                job.checkpoint();
            }
            6 | 7 if self.settings.rescales_to.is_some() && is_examined => {
                if let Some(told) = self.home.want_savepoint(job) {
                    self.note(told);
                }
            }
            _ => {}
        }
        false
    }

    fn spend_fault(&mut self) {
        // A crash point that was armed before may come after the last fault.
        self.faults_left = self.faults_left.saturating_sub(1);
        if self.faults_left == 0 {
            self.well_since_ms = self.clock.wall_ms();
            self.calm_since_ms = self.clock.wall_ms();
            // A disk that fails would go on failing until the process ends.
            self.disk.set_profile(FaultProfile::none());
            self.disk.set_budget_bytes(None);
            self.disk.disarm();
        }
    }

    /// Nothing that the process still does has any effect: not on the ledger, and not on the disk that the next one finds.
    fn kill(&mut self, job: SteppedJob) {
        self.mark_ledger();
        let seed = self.random.next();
        let is_machine = self.random.below(4) > 0 || self.stops_now || self.settings.has_bit_rot;
        self.mark(if is_machine { "machine that stops" } else { "process that is killed" });
        let after = if is_machine { self.disk.crash(seed) } else { self.disk.kill(seed) };
        // The sinks of the old process find themselves in a process that is gone.
        self.ledger.next_process();
        self.bury(job, "is killed", after);
        if is_machine {
            self.rot();
        }
    }

    /// The process has died at a crash point.
    fn die(&mut self, (point, after): (&'static str, FaultStorage), job: Option<SteppedJob>) {
        self.spend_fault();
        self.mark("process that dies at a crash point");
        match job {
            Some(job) => self.bury(job, &format!("dies at {point}"), after),
            None => {
                self.note(format!("the process dies at {point} while it begins"));
                self.counts.crashes += 1;
                self.disk = after;
            }
        }
    }

    fn bury(&mut self, job: SteppedJob, how: &str, after: FaultStorage) {
        self.count(&job);
        self.counts.crashes += 1;
        let statistics = job.state().checkpoints();
        if statistics.restored.is_some() && statistics.completed == 0 {
            self.mark("killed before the first checkpoint after a restart");
        }
        self.note(format!("the process {how}, {} checkpoints complete", statistics.completed));
        drop(job);
        self.disk = after;
    }

    fn mark_ledger(&mut self) {
        let (open, prepared) = self.ledger.pending();
        if prepared > 0 {
            self.mark("killed between pre-commit and commit");
        }
        if open > 0 {
            self.mark("killed with an open transaction");
        }
    }

    fn count(&mut self, job: &SteppedJob) {
        let statistics = job.state().checkpoints();
        self.counts.checkpoints += statistics.completed;
        self.counts.failed_checkpoints += statistics.failed;
        self.counts.restarts += u64::from(statistics.restarts);
    }

    /// What any run must leave: no transaction that nobody will commit, nothing new from a process that finds the job
    /// finished, no file that nothing refers to.
    pub(super) fn audit_rest(
        &mut self,
        write: &impl Fn(&StreamExecutionEnvironment),
    ) -> Result<(), SimulationFailure> {
        if let Some(violation) = self.ledger.violations().first() {
            return Err(self.failure(violation.clone()));
        }
        if let Some(transaction) = self.ledger.dangling().first() {
            return Err(self.failure(format!("transaction {transaction} is left over")));
        }
        let before = self.ledger.committed();
        before.iter().for_each(|record| self.hash(record));
        let (commits, aborts) = self.ledger.counts();
        self.counts.records += before.len() as u64;
        self.note(format!("{} records, {commits} commits, {aborts} aborts", before.len()));
        self.faults_left = 0;
        self.disk.disarm();
        self.run(write)?;
        self.mark("began again after all input was read");
        let more = self.ledger.committed().len() - before.len();
        if more > 0 {
            return Err(self.failure(format!(
                "{more} records are written by a process that found the job finished"
            )));
        }
        match self.leaked() {
            Ok(leaked) if leaked.is_empty() => Ok(()),
            Ok(leaked) => Err(self.failure(format!("nothing refers to {}", leaked.join(", ")))),
            Err(error) => Err(self.failure(format!("the files cannot be looked at: {error}"))),
        }
    }

    /// Files that nothing refers to, files that are missing or damaged. A store that is closed may leave some that it had
    /// not come to remove; who opens the directory next removes these.
    fn leaked(&self) -> Result<Vec<String>, crate::BoxError> {
        let (directory, disk) = (self.home.checkpoints(), Arc::new(self.disk.clone()));
        let count = thalweg_state::inspect(directory, disk.clone(), false)?
            .files()
            .iter()
            .filter(|file| file.stores().is_empty())
            .count();
        let many = (count > FILES_LEFT_MAX).then(|| format!("{count} files of stores that ended"));
        drop(thalweg_state::StateRoot::open(directory, disk.clone())?);
        let report = thalweg_state::inspect(directory, disk, true)?;
        let unsound = (!report.is_sound()).then(|| format!("what is sound: {report}"));
        let orphans = report.files().iter().filter(|file| file.stores().is_empty());
        let orphans = orphans.map(|file| file.path().display().to_string());
        let mut leaked: Vec<String> = orphans.chain(unsound).chain(many).collect();
        let checkpoints = self.disk.list(&directory.join("checkpoints"))?;
        let is_whole = |path: &&std::path::PathBuf| path.extension().is_some_and(|it| it == "chk");
        let newest = checkpoints.iter().filter(is_whole).max();
        let is_old = |path: &&std::path::PathBuf| Some(*path) != newest;
        leaked.extend(checkpoints.iter().filter(is_old).map(|path| path.display().to_string()));
        Ok(leaked)
    }
}

/// Does the job go on from an older checkpoint than the newest that was complete?
fn turns_to_restored(
    statistics: &crate::runtime::status::CheckpointStatistics,
    newest: u64,
) -> bool {
    statistics.completed == 0 && statistics.restored.is_some_and(|restored| restored.0 < newest)
}
