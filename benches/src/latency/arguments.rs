//! The command line of the binary `latency`.

use super::Pace;
use std::path::PathBuf;
use std::str::FromStr;
use thalweg::config::{Argument, Arguments, Configuration, DeclaredArguments, Origin, Profile};
use thalweg::prelude::*;

/// What can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bench {
    /// Rates up to saturation.
    Sweep,
    /// With checkpoints and without.
    Checkpoints,
    /// With less memory than the state takes, and with enough.
    Compaction,
    /// Beside a job at full speed, and alone.
    Busy,
    /// Beside the same job by hand.
    Noise,
}

impl FromStr for Bench {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "sweep" => Bench::Sweep,
            "checkpoints" => Bench::Checkpoints,
            "compaction" => Bench::Compaction,
            "busy" => Bench::Busy,
            "noise" => Bench::Noise,
            other => {
                return Err(format!(
                    "unknown bench '{other}'; there are sweep, checkpoints, compaction, busy, noise"
                ));
            }
        })
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to run.
    pub bench: Bench,
    /// The engine's settings.
    pub configuration: Configuration,
    /// Events a second, or those that a sweep begins with.
    pub rate: u64,
    /// Measured seconds of a run; a second before them is not looked at.
    pub seconds: u64,
    /// How often each way is run.
    pub rounds: u64,
    /// Number of keys.
    pub keys: u64,
    /// Memory of the state of a slot, in `compaction`.
    pub budget_mib: u64,
    /// Run one phase of the engine and print what it has measured, for another process.
    pub is_phase: bool,
    /// Where files are.
    pub directory: PathBuf,
}

/// The arguments beside the engine's.
pub fn declared() -> DeclaredArguments {
    DeclaredArguments::new(
        "Latency of a running sum at a steady rate (w5), alone and with other things going on. \
         The profile is latency unless said otherwise.",
    )
    .with(
        Argument::positional("bench").help("sweep, checkpoints, compaction, busy or noise").default("sweep"),
    )
    .with(
        Argument::option("rate", "R")
            .help("events a second (100000), or the first rate of a sweep (10000)"),
    )
    .with(
        Argument::option("seconds", "S")
            .help("measured seconds of a run, or of a phase of `noise` (sweep: 5, noise: 1, others: 10); the second before them is not looked at"),
    )
    .with(Argument::option("rounds", "N").help("how often each way is run (noise: 20, others: 3)"))
    .with(Argument::option("keys", "K").help("number of keys (checkpoints, compaction: 1000000, others: 1000)"))
    .with(
        Argument::option("budget-mib", "M")
            .help("memory of a slot's state in `compaction`, less than it takes")
            .default(4),
    )
    .with(Argument::flag("phase").help("of `noise`: one phase of the engine, as its processes run it"))
    .with(
        Argument::option("directory", "DIR")
            .help("where state and checkpoints go, in a directory of the run's own that is removed")
            .default(std::env::temp_dir().display()),
    )
}

impl Options {
    /// What was said.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(env: &StreamExecutionEnvironment, arguments: &Arguments) -> thalweg::Result<Self> {
        let bench: Bench = arguments.parse("bench")?;
        let (rate, seconds, rounds, keys) = match bench {
            Bench::Sweep => (10_000, 5, 1, 1_000),
            Bench::Checkpoints | Bench::Compaction => (100_000, 10, 3, 1_000_000),
            Bench::Busy => (100_000, 10, 3, 1_000),
            Bench::Noise => (100_000, 1, 20, 1_000),
        };
        let mut configuration = env.configuration()?;
        if configuration.origin("profile") == Some(&Origin::Default) {
            let mut builder = configuration.into_builder();
            builder.profile(Profile::Latency);
            configuration = builder.build()?;
        }
        let options = Options {
            bench,
            configuration,
            rate: arguments.parse_optional("rate")?.unwrap_or(rate),
            seconds: arguments.parse_optional("seconds")?.unwrap_or(seconds),
            rounds: arguments.parse_optional("rounds")?.unwrap_or(rounds),
            keys: arguments.parse_optional("keys")?.unwrap_or(keys),
            budget_mib: arguments.parse("budget-mib")?,
            is_phase: arguments.is_given("phase"),
            directory: arguments.get("directory").unwrap_or(".").into(),
        };
        let Options { rate, seconds, rounds, keys, .. } = options;
        if [rate, seconds, rounds, keys].contains(&0) {
            return Err("--rate, --seconds, --rounds and --keys must be above 0".into());
        }
        if seconds > 3_600 {
            return Err(format!("--seconds {seconds}: a run takes an hour at most").into());
        }
        Ok(options)
    }

    /// The pace of a run at a rate: a second of warm-up, then what is measured.
    pub(super) fn pace(&self, rate: u64, fills: bool) -> Pace {
        let second_ns = 1_000_000_000;
        let measured_ns = self.seconds * second_ns;
        Pace { keys: self.keys, rate, warm_up_ns: second_ns, measured_ns, fills }
    }

    /// The beginning of a line.
    pub(super) fn head(&self, bench: &str) -> String {
        let (p, profile) = (self.configuration.parallelism(), self.configuration.profile());
        format!("latency {bench} p={p} k={} profile={profile}", self.keys)
    }
}
