//! Results that all systems compared agree on; a job that gives others is not measured.

use crate::workload::{
    Outcome, Settings, hot_keys, running_sum, running_sum_by_process, session_count, tumbling_count,
};
use thalweg::prelude::*;

/// A workload, and how it is run.
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) keys: u64,
    run: fn(&StreamExecutionEnvironment, &Settings) -> Result<Outcome, thalweg::Error>,
    /// So many events give this digest: of the last rows of the keys, or of all rows.
    events: u64,
    expected: Expected,
}

enum Expected {
    Last(u64),
    Rows(u64),
}

pub(super) static WORKLOADS: [Workload; 5] = [
    Workload {
        name: "w1",
        keys: 1_000,
        run: running_sum,
        events: 300_000,
        expected: Expected::Last(W1_LAST),
    },
    Workload {
        name: "w1p",
        keys: 1_000,
        run: running_sum_by_process,
        events: 300_000,
        expected: Expected::Last(W1_LAST),
    },
    Workload {
        name: "w2",
        keys: 10_000,
        run: tumbling_count,
        events: 3_000_000,
        expected: Expected::Rows(0x2b4b_7389_088a_0654),
    },
    Workload {
        name: "w3",
        keys: 10_000,
        run: hot_keys,
        events: 600_000,
        expected: Expected::Rows(0x6c03_42ea_8f41_85e6),
    },
    Workload {
        name: "w4",
        keys: 100_000,
        run: session_count,
        events: 3_000_000,
        expected: Expected::Rows(0x5a8a_c29f_93c7_eb1e),
    },
];

/// `final` of w1 with a thousand keys and 300,000 events.
pub(super) const W1_LAST: u64 = 0x7c9f_5a8c_7ba1_fa92;

impl Workload {
    pub(super) fn by_name(name: &str) -> thalweg::Result<&'static Workload> {
        let found = WORKLOADS.iter().find(|workload| workload.name == name);
        Ok(found.ok_or_else(|| format!("there is no workload '{name}' here"))?)
    }

    /// Runs it with a fixed number of events.
    ///
    /// # Errors
    /// Those of the job, and another result than is known.
    pub(super) fn check(&self, env: &StreamExecutionEnvironment) -> thalweg::Result<()> {
        let Workload { keys, events, .. } = *self;
        let with_final = matches!(self.expected, Expected::Last(_));
        let settings = Settings { keys, events, seconds: u64::MAX, rate: 0, with_final };
        let outcome = (self.run)(env, &settings)?;
        let (found, expected) = match self.expected {
            Expected::Last(last) => (outcome.last.unwrap_or(0), last),
            Expected::Rows(rows) => (outcome.reading.checksum, rows),
        };
        if found != expected {
            let name = self.name;
            return Err(format!(
                "{name}: the digest of {events} events is {found:016x}, not {expected:016x}"
            )
            .into());
        }
        Ok(())
    }

    /// Runs it for some seconds.
    ///
    /// # Errors
    /// Those of the job.
    pub(super) fn run(
        &self,
        env: &StreamExecutionEnvironment,
        seconds: u64,
    ) -> thalweg::Result<Outcome> {
        let settings =
            Settings { keys: self.keys, events: u64::MAX, seconds, rate: 0, with_final: false };
        Ok((self.run)(env, &settings)?)
    }
}
