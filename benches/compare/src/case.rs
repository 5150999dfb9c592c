//! What is run, and the line that says what came out of it.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thalweg_benches::workload::{Latencies, Outcome, Settings};

/// Events a second of the paced workloads.
const RATE: u64 = 100_000;

/// A piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) enum Workload {
    W1,
    W2,
    W3,
    W4,
    W5,
    /// w1 with a checkpoint each second.
    W6,
    /// w5 with a checkpoint each second.
    W6Latency,
    W7,
    /// A query of Nexmark.
    Nexmark(u8),
}

impl Workload {
    /// Its result is a histogram, not a rate.
    pub(crate) fn is_latency(self) -> bool {
        matches!(self, Workload::W5 | Workload::W6Latency)
    }

    pub(crate) fn default_keys(self) -> u64 {
        match self {
            Workload::W1 | Workload::W5 => 1_000,
            Workload::W2 | Workload::W3 | Workload::W7 => 10_000,
            Workload::W4 => 100_000,
            Workload::W6 | Workload::W6Latency => 1_000_000,
            Workload::Nexmark(_) => 0,
        }
    }

    /// What it is, in a few words.
    pub(crate) fn title(self) -> String {
        match self {
            Workload::W1 => "running sum".to_owned(),
            Workload::W2 => "tumbling windows".to_owned(),
            Workload::W3 => "sliding windows, top 3".to_owned(),
            Workload::W4 => "sessions".to_owned(),
            Workload::W5 => "latency at 100,000 events/s".to_owned(),
            Workload::W6 => "running sum, checkpoint each second".to_owned(),
            Workload::W6Latency => "latency, checkpoint each second".to_owned(),
            Workload::W7 => "records with strings".to_owned(),
            Workload::Nexmark(query) => format!("Nexmark q{query}"),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workload::W1 => f.write_str("w1"),
            Workload::W2 => f.write_str("w2"),
            Workload::W3 => f.write_str("w3"),
            Workload::W4 => f.write_str("w4"),
            Workload::W5 => f.write_str("w5"),
            Workload::W6 => f.write_str("w6"),
            Workload::W6Latency => f.write_str("w6-latency"),
            Workload::W7 => f.write_str("w7"),
            Workload::Nexmark(query) => write!(f, "q{query}"),
        }
    }
}

impl FromStr for Workload {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let query = word.strip_prefix('q').and_then(|query| query.parse().ok());
        Ok(match (word, query) {
            ("w1", _) => Workload::W1,
            ("w2", _) => Workload::W2,
            ("w3", _) => Workload::W3,
            ("w4", _) => Workload::W4,
            ("w5", _) => Workload::W5,
            ("w6", _) => Workload::W6,
            ("w6-latency", _) => Workload::W6Latency,
            ("w7", _) => Workload::W7,
            (_, Some(query)) => Workload::Nexmark(query),
            _ => {
                let known = "w1 to w7, w6-latency and q0 to q8";
                return Err(format!("unknown workload '{word}'; there are {known}").into());
            }
        })
    }
}

impl From<Workload> for String {
    fn from(workload: Workload) -> Self {
        workload.to_string()
    }
}

impl TryFrom<String> for Workload {
    type Error = Error;

    fn try_from(word: String) -> Result<Self, Error> {
        word.parse()
    }
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) enum System {
    Thalweg,
    /// With the default profile instead of the one for latency.
    ThalwegBalanced,
    ThalwegWithoutCheckpoints,
    Native,
    /// With a table of its own and prefetches.
    NativePrefetched,
    Timely,
    Renoir,
    /// With renoir's own windows, which begin at the first record of each key: another question.
    RenoirWindows,
    /// With batches of one record.
    RenoirSingle,
    Flink,
    FlinkRocksDb,
    FlinkSql,
    Jet,
}

/// All of them, in the order of the tables, by name and title.
const SYSTEMS: [(System, &str, &str); 13] = [
    (System::Thalweg, "thalweg", "Thalweg"),
    (System::ThalwegBalanced, "thalweg-balanced", "Thalweg, balanced"),
    (System::ThalwegWithoutCheckpoints, "thalweg-without-checkpoints", "Thalweg, no checkpoints"),
    (System::Native, "native", "hand-written"),
    (System::NativePrefetched, "native-prefetched", "hand-written, prefetch"),
    (System::Timely, "timely", "timely"),
    (System::Renoir, "renoir", "renoir"),
    (System::RenoirWindows, "renoir-windows", "renoir, own windows"),
    (System::RenoirSingle, "renoir-single", "renoir, batches of one"),
    (System::Flink, "flink", "Flink"),
    (System::FlinkRocksDb, "flink-rocksdb", "Flink, RocksDB"),
    (System::FlinkSql, "flink-sql", "Flink SQL"),
    (System::Jet, "jet", "Hazelcast Jet"),
];

impl System {
    /// All of them, in the order of the tables.
    pub(crate) fn all() -> impl Iterator<Item = System> {
        SYSTEMS.iter().map(|entry| entry.0)
    }

    fn entry(self) -> &'static (System, &'static str, &'static str) {
        SYSTEMS.iter().find(|entry| entry.0 == self).expect("all systems are in the list")
    }

    /// As tables write it.
    pub(crate) fn title(self) -> &'static str {
        self.entry().2
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.entry().1)
    }
}

impl FromStr for System {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let entry = SYSTEMS.iter().find(|entry| entry.1 == word);
        entry.map(|entry| entry.0).ok_or_else(|| {
            let names: Vec<_> = SYSTEMS.iter().map(|entry| entry.1).collect();
            format!("unknown system '{word}'; there are {}", names.join(", ")).into()
        })
    }
}

impl From<System> for String {
    fn from(system: System) -> Self {
        system.to_string()
    }
}

impl TryFrom<String> for System {
    type Error = Error;

    fn try_from(word: String) -> Result<Self, Error> {
        word.parse()
    }
}

/// When the sources stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Events(u64),
    Seconds(u64),
}

/// One run of one system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) system: System,
    pub(crate) workload: Workload,
    pub(crate) parallelism: usize,
    pub(crate) keys: u64,
    pub(crate) until: Until,
}

impl Case {
    /// As Thalweg's jobs take it.
    pub(crate) fn settings(&self) -> Settings {
        let (events, seconds) = match self.until {
            Until::Events(events) => (events, u64::MAX),
            Until::Seconds(seconds) => (u64::MAX, seconds),
        };
        Settings { keys: self.keys, events, seconds, rate: RATE, with_final: seconds == u64::MAX }
    }

    /// The arguments that make this program run it.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let (option, limit) = match self.until {
            Until::Events(events) => ("--events", events),
            Until::Seconds(seconds) => ("--seconds", seconds),
        };
        let mut words = vec!["run".to_owned(), self.system.to_string(), self.workload.to_string()];
        words.extend(["-p".to_owned(), self.parallelism.to_string()]);
        words.extend(["--keys".to_owned(), self.keys.to_string()]);
        words.extend([option.to_owned(), limit.to_string()]);
        words
    }
}

/// Quantiles of a run, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
}

/// What came out of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Measured {
    Throughput {
        events: u64,
        events_per_s: f64,
        /// The sum over all rows, and over the last row of each key if that was asked for.
        checksum: u64,
        last: Option<u64>,
    },
    Latency {
        quantiles: Quantiles,
        samples: u64,
    },
}

impl Measured {
    pub(crate) fn throughput(outcome: &Outcome) -> Self {
        let reading = outcome.reading;
        Measured::Throughput {
            events: reading.events,
            events_per_s: reading.events as f64 / reading.seconds,
            checksum: reading.checksum,
            last: outcome.last,
        }
    }

    pub(crate) fn latencies(latencies: &Latencies) -> Self {
        let us = |quantile| latencies.all.value_at_quantile(quantile) as f64 / 1e3;
        let quantiles = Quantiles { p50_us: us(0.5), p99_us: us(0.99), p999_us: us(0.999) };
        Measured::Latency { quantiles, samples: latencies.all.len() }
    }

    /// The line of a run, without its line feed.
    pub(crate) fn line(&self, case: &Case) -> String {
        let Case { system, workload, parallelism, keys, .. } = case;
        let words = match self {
            Measured::Throughput { events, events_per_s, checksum, last } => {
                let last = last.map_or("-".to_owned(), |last| format!("{last:016x}"));
                format!(
                    "n={events} events_per_s={events_per_s:.0} checksum={checksum:016x} final={last}"
                )
            }
            Measured::Latency { quantiles: Quantiles { p50_us, p99_us, p999_us }, samples } => {
                format!(
                    "p50_us={p50_us:.2} p99_us={p99_us:.2} p999_us={p999_us:.2} samples={samples}"
                )
            }
        };
        format!("{system} {workload} p={parallelism} k={keys} {words}")
    }

    /// Reads what [`Measured::line`] has written.
    pub(crate) fn from_line(line: &str) -> Result<Self, Error> {
        let words = Words(line);
        if line.contains("p50_us=") {
            let p50_us = words.parse("p50_us")?;
            let (p99_us, p999_us) = (words.parse("p99_us")?, words.parse("p999_us")?);
            let quantiles = Quantiles { p50_us, p99_us, p999_us };
            return Ok(Measured::Latency { quantiles, samples: words.parse("samples")? });
        }
        let last = match words.find("final") {
            None | Some("-") => None,
            Some(digits) => Some(u64::from_str_radix(digits, 16)?),
        };
        Ok(Measured::Throughput {
            events: words.parse("n")?,
            events_per_s: words.parse("events_per_s")?,
            checksum: u64::from_str_radix(words.find("checksum").unwrap_or_default(), 16)?,
            last,
        })
    }
}

/// The `name=value` of a line.
pub(crate) struct Words<'a>(pub(crate) &'a str);

impl<'a> Words<'a> {
    pub(crate) fn find(&self, name: &str) -> Option<&'a str> {
        let mut words = self.0.split_whitespace().filter_map(|word| word.split_once('='));
        words.find(|word| word.0 == name).map(|word| word.1)
    }

    pub(crate) fn parse<T: FromStr>(&self, name: &str) -> Result<T, Error> {
        let found = self.find(name).and_then(|value| value.parse().ok());
        found.ok_or_else(|| format!("no '{name}' in the line '{}'", self.0).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: Case = Case {
        system: System::Native,
        workload: Workload::W1,
        parallelism: 2,
        keys: 1_000,
        until: Until::Events(300_000),
    };

    fn check_round_trip(measured: &Measured) {
        assert_eq!(Measured::from_line(&measured.line(&CASE)).unwrap(), *measured);
    }

    #[test]
    fn a_line_says_what_was_measured() {
        check_round_trip(&Measured::Throughput {
            events: 300_000,
            events_per_s: 1e7,
            checksum: 0x0000_0159_3bdb_353e,
            last: Some(u64::MAX),
        });
        check_round_trip(&Measured::Throughput {
            events: 1,
            events_per_s: 2.0,
            checksum: 0,
            last: None,
        });
        let quantiles = Quantiles { p50_us: 0.25, p99_us: 1.5, p999_us: 1000.0 };
        check_round_trip(&Measured::Latency { quantiles, samples: 900_000 });
    }

    #[test]
    fn what_is_printed_is_understood() {
        for system in System::all() {
            assert_eq!(system.to_string().parse::<System>().unwrap(), system);
        }
        for word in ["w1", "w2", "w3", "w4", "w5", "w6", "w6-latency", "w7", "q0", "q8"] {
            assert_eq!(word.parse::<Workload>().unwrap().to_string(), word);
        }
        assert!("w9".parse::<Workload>().is_err());
        assert!("storm".parse::<System>().is_err());
    }
}
