//! The command line of the binary `scaling`.

use std::str::FromStr;
use thalweg::config::StateBackend;
use thalweg::config::{Argument, Arguments, Configuration, DeclaredArguments};
use thalweg::prelude::*;

/// What can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bench {
    /// More slots on the same cores.
    Slots,
    /// More keys.
    Keys,
    /// More operators.
    Chain,
    /// More jobs.
    Jobs,
    /// Allocations an event.
    Allocations,
}

impl FromStr for Bench {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "slots" => Bench::Slots,
            "keys" => Bench::Keys,
            "chain" => Bench::Chain,
            "jobs" => Bench::Jobs,
            "allocations" => Bench::Allocations,
            other => {
                return Err(format!(
                    "unknown bench '{other}'; there are slots, keys, chain, jobs, allocations"
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
    /// Seconds of a run.
    pub seconds: u64,
    /// How often each is run.
    pub rounds: u64,
    /// The most keys.
    pub keys_max: u64,
}

/// The arguments beside the engine's.
pub fn declared() -> DeclaredArguments {
    DeclaredArguments::new(
        "How cost grows with slots, keys, operators and jobs. The state backend is memory.",
    )
    .with(Argument::positional("bench").required().help("slots, keys, chain, jobs or allocations"))
    .with(Argument::option("seconds", "S").help("seconds of a run").default(3))
    .with(Argument::option("rounds", "N").help("how often each is run").default(3))
    .with(Argument::option("keys-max", "K").help("the most keys of `keys`").default(100_000_000))
}

impl Options {
    /// What was said.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(env: &StreamExecutionEnvironment, arguments: &Arguments) -> thalweg::Result<Self> {
        env.configure(|c| c.state_backend(StateBackend::Memory));
        let options = Options {
            bench: arguments.parse("bench")?,
            configuration: env.configuration()?,
            seconds: arguments.parse("seconds")?,
            rounds: arguments.parse("rounds")?,
            keys_max: arguments.parse("keys-max")?,
        };
        if options.seconds == 0 || options.rounds == 0 || options.seconds > 3_600 {
            return Err("--seconds must be from 1 to 3600, and --rounds above 0".into());
        }
        Ok(options)
    }

    /// A new environment for a job of this parallelism.
    pub(super) fn environment(&self, parallelism: usize) -> StreamExecutionEnvironment {
        let env = StreamExecutionEnvironment::with_configuration(self.configuration.clone());
        env.set_parallelism(parallelism);
        env
    }

    /// The cores that slots are placed on.
    pub(super) fn cores(&self) -> thalweg::Result<Vec<usize>> {
        Ok(match self.configuration.cores() {
            Some(cores) => cores.as_slice().to_vec(),
            None => crate::latency::host::allowed_cores()?,
        })
    }
}
