//! What was committed, and how it compares with the model.

use super::{Model, Script};
use std::collections::BTreeMap;
use std::fmt;

/// A record with the sum of its key after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SumRow {
    /// Its source subtask.
    pub source: u32,
    /// Its number there.
    pub n: u64,
    /// Its key.
    pub key: u64,
    /// What it adds.
    pub value: i64,
    /// Of all of its key so far.
    pub sum: i64,
}

/// A window that has fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowRow {
    /// Its key.
    pub key: u64,
    /// Its start.
    pub start: i64,
    /// Its records.
    pub count: u64,
    /// Of their values.
    pub sum: i64,
}

/// A timer that has fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerRow {
    /// Its key.
    pub key: u64,
    /// When it was due.
    pub at: i64,
    /// Records of the key since the timer before.
    pub count: u64,
}

/// The rows of a run; those of each key in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// One a record.
    pub sums: Vec<SumRow>,
    /// One a key and window.
    pub windows: Vec<WindowRow>,
    /// One a key and slot.
    pub timers: Vec<TimerRow>,
}

/// See the module docs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Rows that were looked at.
    pub audited: u64,
    /// Records, windows and timers of which there is no row.
    pub lost: u64,
    /// Of which there is more than one.
    pub duplicate: u64,
    /// Records of a key that come before an earlier one of the same source, and timers and windows of a key that come
    /// before an earlier one.
    pub unordered: u64,
    /// Rows that should not be, or have another sum or count.
    pub wrong: u64,
    /// Files that nothing refers to.
    pub leaked: u64,
    /// Words for the first few finds.
    pub examples: Vec<String>,
}

const EXAMPLES_MAX: usize = 8;

impl Verdict {
    /// Compares all rows of a run that has come to its end.
    pub fn of(script: &Script, committed: &Committed) -> Self {
        let model = Model::of(script);
        let mut verdict = Verdict::default();
        verdict.judge_sums(script, &committed.sums);
        verdict.judge_windows(&model, &committed.windows);
        verdict.judge_timers(&model, &committed.timers);
        verdict
    }

    /// Is there nothing to complain of?
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicate + self.unordered + self.wrong + self.leaked == 0
    }

    /// Adds another one.
    pub fn add(&mut self, other: Verdict) {
        self.audited += other.audited;
        self.lost += other.lost;
        self.duplicate += other.duplicate;
        self.unordered += other.unordered;
        self.wrong += other.wrong;
        self.leaked += other.leaked;
        other.examples.into_iter().for_each(|example| self.note(|| example));
    }

    pub(super) fn note(&mut self, example: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }

    fn judge_sums(&mut self, script: &Script, rows: &[SumRow]) {
        let mut seen = vec![vec![0_u32; script.count as usize]; script.sources as usize];
        let mut last_of: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        let mut sums: BTreeMap<u64, i64> = BTreeMap::new();
        for row in rows {
            self.audited += 1;
            let times = seen.get_mut(row.source as usize).and_then(|n| n.get_mut(row.n as usize));
            let Some(times) = times else {
                self.wrong += 1;
                self.note(|| format!("nobody made {row:?}"));
                continue;
            };
            *times += 1;
            if *times > 1 {
                self.duplicate += 1;
                self.note(|| format!("{row:?} comes {times} times"));
            }
            let last = last_of.insert((row.source, row.key), row.n);
            if last.is_some_and(|last| last > row.n) {
                self.unordered += 1;
                self.note(|| format!("{row:?} comes behind number {last:?}"));
            }
            let made = script.event(row.source, row.n);
            let sum = sums.entry(row.key).or_default();
            *sum += row.value;
            if (made.key, made.value) != (row.key, row.value) || *sum != row.sum {
                self.wrong += 1;
                self.note(|| format!("{row:?}, but the sum is {sum}, of {made:?}"));
                *sum = row.sum;
            }
        }
        for (source, seen) in seen.iter().enumerate() {
            for (n, _) in seen.iter().enumerate().filter(|(_, times)| **times == 0) {
                self.lost += 1;
                self.note(|| format!("record {n} of source {source} is lost"));
            }
        }
    }

    fn judge_windows(&mut self, model: &Model, rows: &[WindowRow]) {
        let mut left = model.windows.clone();
        let mut last_of: BTreeMap<u64, i64> = BTreeMap::new();
        for row in rows {
            self.audited += 1;
            match (left.remove(&(row.key, row.start)), model.windows.get(&(row.key, row.start))) {
                (Some(expected), _) if expected == (row.count, row.sum) => {}
                (Some(expected), _) => {
                    self.wrong += 1;
                    self.note(|| format!("{row:?}, but its count and sum are {expected:?}"));
                }
                (None, Some(_)) => {
                    self.duplicate += 1;
                    self.note(|| format!("{row:?} comes again"));
                }
                (None, None) => {
                    self.wrong += 1;
                    self.note(|| format!("there is no {row:?}"));
                }
            }
            if last_of.insert(row.key, row.start).is_some_and(|last| last > row.start) {
                self.unordered += 1;
                self.note(|| format!("{row:?} comes behind a later one"));
            }
        }
        self.lost += left.len() as u64;
        if let Some(window) = left.keys().next() {
            self.note(|| format!("the window {window:?} (key, start) is lost, and others"));
        }
    }

    fn judge_timers(&mut self, model: &Model, rows: &[TimerRow]) {
        let mut left = model.timers.clone();
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        let mut last_of: BTreeMap<u64, i64> = BTreeMap::new();
        for row in rows {
            self.audited += 1;
            if left.remove(&(row.key, row.at)).is_none() {
                let is_known = model.timers.contains_key(&(row.key, row.at));
                *if is_known { &mut self.duplicate } else { &mut self.wrong } += 1;
                self.note(|| format!("{row:?} comes again, or should not"));
            }
            *counts.entry(row.key).or_default() += row.count;
            if last_of.insert(row.key, row.at).is_some_and(|last| last > row.at) {
                self.unordered += 1;
                self.note(|| format!("{row:?} comes behind a later one"));
            }
        }
        self.lost += left.len() as u64;
        if let Some(timer) = left.keys().next() {
            self.note(|| format!("the timer {timer:?} (key, time) is lost, and others"));
        }
        for (key, expected) in &model.key_counts {
            let found = counts.get(key).copied().unwrap_or(0);
            if found != *expected {
                self.wrong += 1;
                self.note(|| format!("timers of key {key} count {found} records of {expected}"));
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { audited, lost, duplicate, unordered, wrong, leaked, .. } = self;
        write!(
            f,
            "rows={audited} lost={lost} duplicate={duplicate} unordered={unordered} wrong={wrong} leaked={leaked}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::timer_of;
    use super::*;

    const SCRIPT: Script = Script { seed: 1, sources: 2, count: 900, keys: 7 };

    /// What a job without faults writes.
    fn exact() -> Committed {
        let model = Model::of(&SCRIPT);
        let mut sums: BTreeMap<u64, i64> = BTreeMap::new();
        let rows = SCRIPT.events().map(|event| {
            let sum = sums.entry(event.key).or_default();
            *sum += event.value;
            let Event { source, n, key, value, .. } = event;
            SumRow { source, n, key, value, sum: *sum }
        });
        let sums = rows.collect();
        let windows = model.windows.iter().map(|((key, start), (count, sum))| WindowRow {
            key: *key,
            start: *start,
            count: *count,
            sum: *sum,
        });
        let mut counts: BTreeMap<(u64, i64), u64> = BTreeMap::new();
        SCRIPT.events().for_each(|e| *counts.entry((e.key, timer_of(e.ts))).or_default() += 1);
        let timers =
            counts.iter().map(|((key, at), count)| TimerRow { key: *key, at: *at, count: *count });
        Committed { sums, windows: windows.collect(), timers: timers.collect() }
    }

    use super::super::Event;

    fn check(change: impl FnOnce(&mut Committed), expected: [u64; 4]) {
        let mut committed = exact();
        change(&mut committed);
        let verdict = Verdict::of(&SCRIPT, &committed);
        let found = [verdict.lost, verdict.duplicate, verdict.unordered, verdict.wrong];
        assert_eq!(found, expected, "{verdict}: {:?}", verdict.examples);
        assert_eq!(verdict.is_clean(), expected == [0; 4]);
    }

    #[test]
    fn what_is_wrong_is_found() {
        check(|_| {}, [0, 0, 0, 0]);
        check(|rows| rows.windows.truncate(rows.windows.len() - 1), [1, 0, 0, 0]);
        check(|rows| rows.windows.push(rows.windows[0]), [0, 1, 1, 0]);
        check(|rows| rows.windows[5].count += 1, [0, 0, 0, 1]);
        check(|rows| rows.timers[3].count += 1, [0, 0, 0, 1]);
        // A record that is lost leaves its successor with a sum that does not follow.
        check(
            |rows| {
                rows.sums.remove(0);
            },
            [1, 0, 0, 1],
        );
        // One that comes twice, the first time where the sum begins.
        check(|rows| rows.sums.insert(0, rows.sums[0]), [0, 1, 0, 1]);
        check(|rows| rows.sums[0].n = 900, [1, 0, 0, 2]);
    }

    #[test]
    fn records_of_a_key_are_in_order() {
        let swap = |rows: &mut Committed| {
            let key = rows.sums[0].key;
            let next = (1..rows.sums.len()).find(|at| rows.sums[*at].key == key).unwrap();
            rows.sums.swap(0, next);
        };
        // The sums do not follow either: of the two, and of the one behind them.
        check(swap, [0, 0, 1, 3]);
    }
}
