//! The parent: starts jobs, kills them, starts them again, and audits.
//!
//! Where the sums go to Kafka the broker is killed and frozen too, while a process lives and between its death and the next.
//! A process whose broker is away for too long fails by itself, which is no mistake: it is started again.

use super::audit::{audit, audit_store, unneeded};
use super::child::{CHILD_ARGUMENT, ChildEnd};
use super::event::Script;
use super::job::{PARALLELISM, Place, RemotePlace, SOURCES, Topic};
use super::verdict::Verdict;
use crate::Random;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use thalweg::testing::crash_points;
use thalweg_io::{CRASH_POINT_VARIABLE, PLANTED_VARIABLE};

/// Kills of one job; then it runs to its end.
const KILLS_PER_JOB: u64 = 6;
/// Of ten kills, those at crash points; the others come at random times.
const POINTS_OF_TEN: u64 = 6;
/// The latest time of a random kill, after the start of the process.
const KILL_AFTER_MS: u64 = 350;
/// A child that has not come to its crash point by then is killed all the same.
const POINT_WITHIN: Duration = Duration::from_millis(900);
/// The same where each checkpoint waits for its copy.
const POINT_WITHIN_REMOTE: Duration = Duration::from_millis(2_500);
/// A child that is left alone has finished by then, or is stuck.
const FINISH_WITHIN: Duration = Duration::from_secs(60);
/// The same where each checkpoint waits for its copy, a few dozen synced objects.
const FINISH_WITHIN_REMOTE: Duration = Duration::from_secs(240);
/// Between two looks at a child.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// Of ten processes of a job that is rescaled, those that end with a savepoint if they are not killed before.
const SAVEPOINTS_OF_TEN: u64 = 4;
/// When, at the latest.
const SAVEPOINT_AFTER_MS: u64 = 250;
/// What the names of points in the copying to stores begin with.
const COPIES: &str = "remote.";
/// `SIGABRT`, by which a crash point ends the process.
const ABORT: i32 = 6;

/// Where the sums go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SinkKind {
    /// To files.
    #[default]
    Files,
    /// To a topic of a broker that is started for it.
    Kafka,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct KillPlan {
    /// Where the sums go.
    pub sink: SinkKind,
    /// In all.
    pub kills: u64,
    /// Decides records, times and points.
    pub seed: u64,
    /// Records of each source subtask.
    pub records: u64,
    /// Between two checkpoints, as the first job has it; others take up to twice as long.
    pub interval_ms: u64,
    /// Each process has another parallelism, up to this.
    pub rescale: Option<usize>,
    /// The fault that is planted in all children.
    pub plant: Option<u8>,
    /// Only this point.
    pub point: Option<String>,
    /// Where checkpoints are copied to: `here` for a directory of each job's own, or the URL below which each job has one.
    pub remote: Option<String>,
    /// The server of `s3://`.
    pub remote_endpoint: Option<String>,
    /// Where jobs have their directories.
    pub directory: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct KillReport {
    /// Processes that were killed, by the parent or at a point.
    pub kills: u64,
    /// Jobs that ran to their end.
    pub jobs: u64,
    /// Processes that ended with a savepoint.
    pub savepoints: u64,
    /// Of all children, as far as they came to say so.
    pub checkpoints: u64,
    /// How often the broker was killed or frozen.
    pub outages: u64,
    /// By name: how often a process ended there.
    pub hits: BTreeMap<&'static str, u64>,
    /// Of all jobs.
    pub verdict: Verdict,
    /// Points that are to be hit in any case.
    pub essential: Vec<&'static str>,
    /// Children that ended in other ways.
    pub failures: Vec<String>,
}

impl KillReport {
    /// Nothing lost, nothing twice, nobody failed.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.verdict.is_clean()
    }
}

impl fmt::Display for KillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let essential = self.essential.iter().map(|name| (*name, self.hits_of(name)));
        let others = self.hits.iter().map(|(name, hits)| (*name, *hits));
        let others = others.filter(|(name, _)| !self.essential.contains(name));
        for (name, hits) in essential.chain(others) {
            writeln!(f, "point {name}: {hits}")?;
        }
        for failure in &self.failures {
            writeln!(f, "failure: {failure}")?;
        }
        for example in &self.verdict.examples {
            writeln!(f, "example: {example}")?;
        }
        let Verdict { audited, lost, duplicate, unordered, wrong, leaked, .. } = self.verdict;
        let at_points: u64 = self.hits.values().sum();
        writeln!(
            f,
            "jobs={} savepoints={} audited={audited} checkpoints={} kills_at_points={at_points} outages={} failures={} wrong={wrong} \
             leaked={leaked}",
            self.jobs,
            self.savepoints,
            self.checkpoints,
            self.outages,
            self.failures.len(),
        )?;
        write!(f, "kills={} lost={lost} duplicate={duplicate} unordered={unordered}", self.kills)
    }
}

impl KillReport {
    fn hits_of(&self, name: &str) -> u64 {
        self.hits.get(name).copied().unwrap_or(0)
    }
}

/// How a child's life ended.
#[derive(Debug)]
enum Ending {
    /// It has said that the job is through.
    Finished,
    /// With a savepoint.
    Savepoint,
    /// By the parent.
    Killed,
    /// At the point that was armed.
    AtPoint(&'static str),
    /// By the broker's absence.
    #[cfg(feature = "kafka")]
    GaveUp,
    /// It failed, or hung.
    Failed(String),
}

/// What is to end it.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Live,
    KillAfter(Duration),
    /// At its n-th pass.
    Point(&'static str, u64),
    /// The broker is away for a while, that long after its start; it may live on.
    #[cfg(feature = "kafka")]
    Outage(Duration, super::kafka::Outage),
}

/// Runs jobs until there were as many kills as the plan says, or something failed.
///
/// # Errors
/// If a child cannot be started, or a file cannot be read.
pub fn run_kills(plan: &KillPlan, mut tell: impl FnMut(&str)) -> io::Result<KillReport> {
    let mut random = Random::new(plan.seed);
    let mut points = Points::new(plan, &mut random);
    let essential = points.essential.clone();
    let mut report = KillReport { essential, ..KillReport::default() };
    let world = World::of(plan)?;
    while report.kills < plan.kills && report.is_clean() {
        let number = report.jobs;
        let script = Script {
            seed: random.number(),
            sources: SOURCES * PARALLELISM as u32,
            count: plan.records,
            keys: 150 << (number % 4),
        };
        let directory = plan.directory.join(format!("job-{number}"));
        fs::create_dir_all(&directory)?;
        let interval_ms = plan.interval_ms + random.below(plan.interval_ms + 1);
        let url = plan.remote.as_ref().map(|remote| match remote.as_str() {
            "here" => format!("file://{}/store", directory.display()),
            url => format!("{url}/{}-job-{number}", std::process::id()),
        });
        let remote = url.map(|url| RemotePlace { url, endpoint: plan.remote_endpoint.clone() });
        let place = Place { topic: world.topic(number), ..Place::from(&*directory) };
        let mut job = Job { plan, script, interval_ms, place, remote, world: &world };
        job.run(&mut random, &mut points, &mut report)?;
        report.jobs += 1;
        tell(&format!("job {number}: kills so far {}, {}", report.kills, report.verdict));
        match report.is_clean() {
            true => fs::remove_dir_all(&directory)?,
            false => tell(&format!("its files are kept: {}", directory.display())),
        }
    }
    Ok(report)
}

/// What is there beside the processes.
struct World {
    #[cfg(feature = "kafka")]
    broker: Option<crate::kafka::Broker>,
}

impl World {
    #[cfg(feature = "kafka")]
    fn of(plan: &KillPlan) -> io::Result<Self> {
        Ok(World { broker: (plan.sink == SinkKind::Kafka).then(crate::kafka::Broker::start) })
    }

    #[cfg(feature = "kafka")]
    fn topic(&self, number: u64) -> Option<Topic> {
        self.broker.as_ref().map(|broker| super::kafka::topic(broker, number))
    }

    #[cfg(not(feature = "kafka"))]
    fn of(plan: &KillPlan) -> io::Result<Self> {
        match plan.sink {
            SinkKind::Files => Ok(World {}),
            SinkKind::Kafka => {
                Err(io::Error::other("this build has no Kafka: build it with --features kafka"))
            }
        }
    }

    #[cfg(not(feature = "kafka"))]
    fn topic(&self, _: u64) -> Option<Topic> {
        None
    }
}

/// One job, over all its processes.
struct Job<'a> {
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "files need no broker"))]
    world: &'a World,
    plan: &'a KillPlan,
    script: Script,
    interval_ms: u64,
    place: Place,
    remote: Option<RemotePlace>,
}

impl Job<'_> {
    /// The machine is lost, with all checkpoints that it has; what sinks have written is elsewhere.
    fn lose_machine(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.place.checkpoints()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn run(
        &mut self,
        random: &mut Random,
        points: &mut Points,
        report: &mut KillReport,
    ) -> io::Result<()> {
        let left = (self.plan.kills - report.kills).min(KILLS_PER_JOB);
        let until = report.kills + left;
        loop {
            let fate = match report.kills < until {
                true => points.next_fate(random),
                false => Fate::Live,
            };
            let ending = self.live(fate, random)?;
            self.between_lives(&ending, fate, random, report);
            match (&ending, fate) {
                (Ending::AtPoint(name), _) => *report.hits.entry(name).or_default() += 1,
                (_, Fate::Point(name, _)) => points.missed(name),
                _ => {}
            }
            match ending {
                Ending::Killed | Ending::AtPoint(_) => {
                    report.kills += 1;
                    if self.remote.is_some() && random.below(3) > 0 {
                        self.lose_machine()?;
                    }
                }
                #[cfg(feature = "kafka")]
                Ending::GaveUp => report.kills += 1,
                Ending::Finished => break,
                Ending::Savepoint => {
                    report.savepoints += 1;
                    self.move_on()?;
                }
                Ending::Failed(why) => {
                    report.failures.push(why);
                    return Ok(());
                }
            }
        }
        let before = unneeded(&self.place)?;
        if self.remote.is_some() {
            self.lose_machine()?;
        }
        // Whoever starts it once more finds nothing to do.
        if let Ending::Failed(why) = self.live(Fate::Live, random)? {
            report.failures.push(format!("started again after its end: {why}"));
        }
        report.checkpoints += fs::metadata(self.place.directory.join("completed"))
            .map_or(0, |metadata| metadata.len());
        report.verdict.add(audit(&self.script, &self.place, &before, self.plan.rescale.is_some())?);
        if self.remote.is_some() {
            report.verdict.add(audit_store(&self.place)?);
        }
        Ok(())
    }

    /// The next process begins with the savepoint, elsewhere, and nothing else is left of this one.
    fn move_on(&mut self) -> io::Result<()> {
        fs::remove_dir_all(self.place.checkpoints())?;
        if let Some(savepoint) = self.place.savepoint() {
            fs::remove_dir_all(savepoint)?;
        }
        self.place.moves += 1;
        Ok(())
    }

    /// The broker may die with a process, so that neither knows how far the other was.
    #[cfg(feature = "kafka")]
    fn between_lives(
        &self,
        ending: &Ending,
        fate: Fate,
        random: &mut Random,
        report: &mut KillReport,
    ) {
        let Some(broker) = &self.world.broker else { return };
        report.outages += u64::from(matches!(fate, Fate::Outage(..)));
        if matches!(ending, Ending::AtPoint(_)) && random.below(3) == 0 {
            super::kafka::Outage::Killed.happen(broker);
            report.outages += 1;
        }
    }

    #[cfg(not(feature = "kafka"))]
    fn between_lives(&self, _: &Ending, _: Fate, _: &mut Random, _: &mut KillReport) {}

    /// Starts a process and sees it to its end.
    fn live(&self, fate: Fate, random: &mut Random) -> io::Result<Ending> {
        let log = self.place.directory.join("log");
        let mut child = self.start(fate, random, &log)?;
        let (patience, is_to_die) = match fate {
            Fate::Live if self.remote.is_some() => (FINISH_WITHIN_REMOTE, false),
            Fate::Live => (self.plan.sink.finish_within(), false),
            Fate::KillAfter(time) => (time, true),
            Fate::Point(..) if self.remote.is_some() => (POINT_WITHIN_REMOTE, true),
            Fate::Point(..) => (self.plan.sink.point_within(), true),
            #[cfg(feature = "kafka")]
            Fate::Outage(after, outage) => {
                if let Some(status) = wait(&mut child, after)? {
                    return Ok(judge_end(status, fate, &log));
                }
                let broker = self.world.broker.as_ref().expect("outages are of a broker");
                outage.happen(broker);
                // Then it is killed while it recovers from that, or has given up.
                (Duration::from_millis(200), true)
            }
        };
        if let Some(status) = wait(&mut child, patience)? {
            return Ok(judge_end(status, fate, &log));
        }
        child.kill()?;
        let status = child.wait()?;
        if !is_to_die {
            return Ok(Ending::Failed(format!(
                "had not finished after {patience:?}: it is stuck; {}",
                tail(&log)
            )));
        }
        // It may have come to its end meanwhile.
        Ok(match status.signal() {
            Some(signal) if signal != ABORT => Ending::Killed,
            _ => judge_end(status, fate, &log),
        })
    }

    /// Subtasks of the next process, and when it is to end with a savepoint.
    fn scale(&self, random: &mut Random) -> (u64, u64) {
        let Some(most) = self.plan.rescale else { return (PARALLELISM as u64, 0) };
        let ends = random.below(10) < SAVEPOINTS_OF_TEN;
        let stop_after_ms = if ends { 1 + random.below(SAVEPOINT_AFTER_MS) } else { 0 };
        (1 + random.below(most as u64), stop_after_ms)
    }

    fn start(&self, fate: Fate, random: &mut Random, log: &Path) -> io::Result<Child> {
        // A savepoint that its process did not come to complete is of no use, and in the way of the next.
        let unfinished = self.place.next_savepoint();
        if unfinished.exists() {
            fs::remove_dir_all(unfinished)?;
        }
        let (parallelism, stop_after_ms) = self.scale(random);
        let Script { seed, sources, count, keys } = self.script;
        let log = File::create(log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(CHILD_ARGUMENT).arg(&self.place.directory);
        let of_script = [self.interval_ms, seed, u64::from(sources), count, keys];
        for number in of_script.into_iter().chain([parallelism, self.place.moves, stop_after_ms]) {
            command.arg(number.to_string());
        }
        if let Some(RemotePlace { url, endpoint }) = &self.remote {
            command.arg(format!("store={url}"));
            command.args(endpoint.iter().map(|endpoint| format!("endpoint={endpoint}")));
        }
        if let Some(Topic { servers, name }) = &self.place.topic {
            command.args([format!("servers={servers}"), format!("topic={name}")]);
        }
        command.env_remove(CRASH_POINT_VARIABLE).env_remove(PLANTED_VARIABLE);
        if let Fate::Point(name, pass) = fate {
            command.env(CRASH_POINT_VARIABLE, format!("{name}:{pass}"));
        }
        if let Some(fault) = self.plan.plant {
            command.env(PLANTED_VARIABLE, fault.to_string());
        }
        command.stdout(log.try_clone()?).stderr(log).spawn()
    }
}

fn judge_end(status: ExitStatus, fate: Fate, log: &Path) -> Ending {
    match (status.code(), status.signal(), fate) {
        (Some(0), ..) => Ending::Finished,
        (Some(code), ..) if code == i32::from(ChildEnd::Savepoint.code()) => Ending::Savepoint,
        (None, Some(ABORT), Fate::Point(name, _)) if tail(log).contains(name) => {
            Ending::AtPoint(name)
        }
        #[cfg(feature = "kafka")]
        (Some(_), None, _) if has_given_up(&tail(log)) => Ending::GaveUp,
        _ => Ending::Failed(format!("ended with {status} ({fate:?}); {}", tail(log))),
    }
}

/// Has it failed because the broker was away? So it says what was, and what helps.
#[cfg(feature = "kafka")]
fn has_given_up(said: &str) -> bool {
    let words = ["check the broker's load", "check that the broker runs", "TransportFailure"];
    said.contains("kafka:") && words.iter().any(|word| said.contains(word))
}

/// The end of what a child has said.
fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_default();
    let from = text.char_indices().rev().nth(1_500).map_or(0, |(at, _)| at);
    format!("it said: {}", text[from..].trim())
}

/// Waits for its end, so long at most.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    #[expect(clippy::disallowed_methods, reason = "a process that is killed sees the real time")]
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= patience {
            return Ok(None);
        }
        #[expect(clippy::disallowed_methods, reason = "the parent has nothing else to do")]
        std::thread::sleep(LOOK_INTERVAL);
    }
}

impl SinkKind {
    /// Points that are to be hit in any case.
    fn essential(self) -> Vec<&'static str> {
        match self {
            #[cfg(feature = "kafka")]
            SinkKind::Kafka => super::kafka::points(),
            _ => crash_points::ESSENTIAL.into(),
        }
    }

    /// A broker needs longer for everything.
    fn kill_after_ms(self) -> u64 {
        match self {
            SinkKind::Files => KILL_AFTER_MS,
            SinkKind::Kafka => 2_500,
        }
    }

    fn finish_within(self) -> Duration {
        match self {
            SinkKind::Files => FINISH_WITHIN,
            // Child and broker share the machine with whatever else runs on it.
            SinkKind::Kafka => 5 * FINISH_WITHIN,
        }
    }

    fn point_within(self) -> Duration {
        match self {
            SinkKind::Files => POINT_WITHIN,
            SinkKind::Kafka => Duration::from_secs(6),
        }
    }
}

/// Whose turn it is to be armed: the essential points first, then all.
struct Points {
    sink: SinkKind,
    /// Tried again soon when they are missed.
    essential: Vec<&'static str>,
    due: VecDeque<&'static str>,
    only: Option<&'static str>,
    kills: u64,
}

impl Points {
    fn new(plan: &KillPlan, random: &mut Random) -> Self {
        let is_of_copies = |name: &&str| name.starts_with(COPIES);
        let mut all = crash_points::all();
        let mut essential: Vec<_> = match plan.remote {
            None => plan.sink.essential(),
            Some(_) => all.iter().copied().filter(is_of_copies).collect(),
        };
        if plan.remote.is_none() {
            all.retain(|name| !is_of_copies(name));
        }
        all.extend(plan.sink.essential());
        let only = plan.point.as_deref();
        let only = only.and_then(|name| all.iter().copied().find(|known| *known == name));
        let of_savepoints = crash_points::SAVEPOINTS;
        let is_other = |name: &&str| !essential.contains(name) && !of_savepoints.contains(name);
        let mut others: Vec<_> = all.into_iter().filter(is_other).collect();
        // Others do not come there; they are as often as others where there are few in between.
        if plan.rescale.is_some() {
            essential = of_savepoints.into_iter().chain(essential).collect();
        }
        shuffle(&mut essential, random);
        shuffle(&mut others, random);
        let sink = plan.sink;
        if sink == SinkKind::Kafka {
            // What Kafka has no part in is tried with files.
            others.clear();
        }
        let due = essential.iter().copied().chain(others).collect();
        Points { sink, essential, due, only, kills: 0 }
    }

    fn next_fate(&mut self, random: &mut Random) -> Fate {
        self.kills += 1;
        if let Some(only) = self.only {
            return Fate::Point(only, 1 + random.below(passes_max(only)));
        }
        #[cfg(feature = "kafka")]
        if self.sink == SinkKind::Kafka && self.kills % 10 >= POINTS_OF_TEN + 2 {
            let after = Duration::from_millis(400 + random.below(1_500));
            return Fate::Outage(after, super::kafka::Outage::draw(random));
        }
        // The first life of a job is a long one, so that there is something to restore.
        if self.kills % 10 >= POINTS_OF_TEN {
            return Fate::KillAfter(Duration::from_millis(random.below(self.sink.kill_after_ms())));
        }
        match self.due.pop_front() {
            Some(name) => {
                self.due.push_back(name);
                Fate::Point(name, 1 + random.below(passes_max(name)))
            }
            None => Fate::KillAfter(Duration::from_millis(random.below(self.sink.kill_after_ms()))),
        }
    }

    /// The process did not come there: if it is to be hit in any case, it is tried again soon.
    fn missed(&mut self, name: &'static str) {
        if self.due.back() == Some(&name) && self.essential.contains(&name) {
            self.due.pop_back();
            let at = self.due.len().min(3);
            self.due.insert(at, name);
        }
    }
}

/// How often a process comes to a point in a short life, at least.
fn passes_max(name: &str) -> u64 {
    match name {
        "manifest.rename" | "manifest.dirsync" => 4,
        "remote.parts_sent" | "remote.file_fetched" => 6,
        "remote.noted" | "remote.claimed" => 1,
        _ if name.starts_with("remote.fetch") || name == "remote.files_fetched" => 1,
        "kafka.fenced" | "kafka.marker_read" | "kafka.resent" | "kafka.recovered" => 2,
        _ if name.starts_with("restore.") => 2,
        "copy.file" => 3,
        _ if crash_points::SAVEPOINTS.contains(&name) => 1,
        _ if name.starts_with("compact.") || name.starts_with("gc.") => 2,
        _ => 12,
    }
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for at in (1..items.len()).rev() {
        items.swap(at, random.below(at as u64 + 1) as usize);
    }
}
