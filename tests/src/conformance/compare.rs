//! When two outputs are the same: the rules of the corpus' README, as `compare.py` has them.
//!
//! At parallelism 1, for each output:
//! - [`Order::Exact`]: equal sequences of rows with equal step, timestamp and value.
//! - [`Order::Step`]: rows of one step may be permuted.
//! - [`Order::StepAndTimestamp`]: rows of one step and timestamp may be permuted; the groups keep the order of their
//!   first rows. For jobs of kind `process`, whose timers of two clocks may meet in one step, this is as `Step`.
//!
//! The order across outputs is free.
//!
//! At parallelism > 1 the order is one per key: the rule holds for the rows of each key of each output by themselves, and
//! for the watermarks and statuses of each output, which are the minimum over all subtasks. Rows must still come in
//! their very step. Rows that name no key come from one subtask.

use crate::conformance::case::Order;
use crate::conformance::row::Row;
use std::collections::BTreeMap;
use std::fmt;

/// How outputs are compared.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// How rows may be permuted.
    pub order: Order,
    /// The case is of kind `process`.
    pub is_process: bool,
    /// Rows of different keys may be permuted: for parallelism > 1.
    pub per_key: bool,
    /// Rows may come in other steps: for what is ordered across keys at parallelism 1 and per key beyond.
    pub any_step: bool,
}

/// The first difference of two outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where: the output, and the key.
    pub place: String,
    /// The rows that were expected from there on.
    pub expected: String,
    /// The rows that came.
    pub got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {} | got {}", self.place, self.expected, self.got)
    }
}

/// Rows shown of either side, from the first that differs.
const SHOWN_MAX: usize = 4;

/// Where `got` differs from `expected`.
pub fn difference(rule: Rule, expected: &[Row], got: &[Row]) -> Option<Difference> {
    let (mut expected, mut got) = (by_place(rule, expected), by_place(rule, got));
    let places: Vec<_> = expected.keys().chain(got.keys()).cloned().collect();
    places.into_iter().find_map(|place| {
        let expected = sequence(rule, expected.remove(&place).unwrap_or_default());
        let got = sequence(rule, got.remove(&place).unwrap_or_default());
        let same = expected.iter().zip(&got).take_while(|(a, b)| a == b).count();
        let differ = same < expected.len().max(got.len());
        differ.then(|| Difference {
            place: place_name(&place, same),
            expected: shown(&expected[same..]),
            got: shown(&got[same..]),
        })
    })
}

type Place = (String, String);

fn by_place(rule: Rule, rows: &[Row]) -> BTreeMap<Place, Vec<&Row>> {
    let mut places: BTreeMap<Place, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let key = if rule.per_key { row.key() } else { String::new() };
        places.entry((row.out.clone(), key)).or_default().push(row);
    }
    places
}

/// The rows in the order in which they are compared.
fn sequence(rule: Rule, mut rows: Vec<&Row>) -> Vec<String> {
    let step = |row: &Row| if rule.any_step { 0 } else { row.at };
    match rule.order {
        Order::Exact => {}
        Order::StepAndTimestamp if !rule.is_process && !rule.any_step => {
            let groups: Vec<_> = rows.iter().map(|row| (row.at, row.timestamp_ms())).collect();
            let first = |row: &Row| groups.iter().position(|g| *g == (row.at, row.timestamp_ms()));
            rows.sort_by_cached_key(|row| (first(row), row.text()));
        }
        _ => rows.sort_by_cached_key(|row| (step(row), row.text())),
    }
    let text = |row: &&Row| if rule.any_step { row.text() } else { row.to_string() };
    rows.iter().map(text).collect()
}

fn place_name((out, key): &Place, index: usize) -> String {
    match key.is_empty() {
        true => format!("out {out} row {index}"),
        false => format!("out {out} ({key}) row {index}"),
    }
}

fn shown(rows: &[String]) -> String {
    match rows.len() {
        0 => "nothing".into(),
        count if count > SHOWN_MAX => {
            format!("{}, and {} more", rows[..SHOWN_MAX].join(", "), count - SHOWN_MAX)
        }
        _ => rows.join(", "),
    }
}

#[cfg(test)]
mod tests;
