//! The records of a run: a function of seed, source subtask and number.

use crate::splitmix64;

/// Time between two records of a source subtask.
const TICK_MS: i64 = 10;
/// How far a record's time may be behind that of one before it, at most.
pub(super) const DISORDER_MS: i64 = 50;

/// A record.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The source subtask that made it.
    pub source: u32,
    /// Counts the records of the source subtask from 0.
    pub n: u64,
    /// What it is keyed by.
    pub key: u64,
    /// Its time.
    pub ts: i64,
    /// What is summed up.
    pub value: i64,
}

/// What all source subtasks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// Decides all records.
    pub seed: u64,
    /// Source subtasks.
    pub sources: u32,
    /// Records of each.
    pub count: u64,
    /// Different keys.
    pub keys: u64,
}

impl Script {
    /// Record `n` of a source subtask.
    pub fn event(&self, source: u32, n: u64) -> Event {
        let bits = splitmix64(self.seed ^ u64::from(source) << 48 ^ n);
        let disorder = (bits >> 32) as i64 % DISORDER_MS;
        Event {
            source,
            n,
            key: bits % self.keys,
            ts: n as i64 * TICK_MS + disorder,
            value: (bits >> 20 & 0x7FF) as i64 - 1_000,
        }
    }

    /// All records, source by source.
    pub fn events(&self) -> impl Iterator<Item = Event> + use<> {
        let script = *self;
        (0..script.sources).flat_map(move |s| (0..script.count).map(move |n| script.event(s, n)))
    }
}
