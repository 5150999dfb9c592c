//! What a script must come to, computed in the simplest way.

use super::Script;
use std::collections::BTreeMap;

/// Length of a window, and how far apart they begin.
pub(super) const WINDOW_MS: i64 = 2_000;
pub(super) const SLIDE_MS: i64 = 1_000;
/// A key's timer is due at the end of each slot in which it has a record.
pub(super) const SLOT_MS: i64 = 5_000;

/// See the module docs.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Records and sum of each window, by key and start.
    pub windows: BTreeMap<(u64, i64), (u64, i64)>,
    /// By key and time: how often the timer fires, which is once.
    pub timers: BTreeMap<(u64, i64), u64>,
    /// Records of each key.
    pub key_counts: BTreeMap<u64, u64>,
}

impl Model {
    /// Of all of a script.
    pub fn of(script: &Script) -> Self {
        let mut model = Model::default();
        for event in script.events() {
            let newest = event.ts.div_euclid(SLIDE_MS) * SLIDE_MS;
            let mut start = newest;
            while start > event.ts - WINDOW_MS {
                let (count, sum) = model.windows.entry((event.key, start)).or_default();
                *count += 1;
                *sum += event.value;
                start -= SLIDE_MS;
            }
            model.timers.insert((event.key, timer_of(event.ts)), 1);
            *model.key_counts.entry(event.key).or_default() += 1;
        }
        model
    }
}

/// When the timer of a record is due.
pub(super) fn timer_of(ts: i64) -> i64 {
    (ts.div_euclid(SLOT_MS) + 1) * SLOT_MS
}
