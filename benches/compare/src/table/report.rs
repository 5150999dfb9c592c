//! What a table was made of: every single result, as JSON, and what follows from them.

use super::machine::Machine;
use crate::Error;
use crate::case::{Measured, Quantiles, System, Workload};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// All results of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) command: String,
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
}

/// The results of a row, by system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) parallelism: usize,
    pub(crate) keys: u64,
    pub(crate) results: Vec<SystemResult>,
}

/// The results of one system, one a round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SystemResult {
    pub(crate) system: System,
    /// Its answer was compared, and is the right one.
    pub(crate) is_checked: bool,
    /// Measured in a run of its own, not round by round with the others.
    #[serde(default)]
    pub(crate) is_apart: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) events_per_s: Vec<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) latencies: Vec<Quantiles>,
}

impl SystemResult {
    pub(crate) fn new(system: System) -> Self {
        let (events_per_s, latencies) = (Vec::new(), Vec::new());
        SystemResult { system, is_checked: false, is_apart: false, events_per_s, latencies }
    }

    pub(crate) fn add(&mut self, measured: &Measured) {
        match measured {
            Measured::Throughput { events_per_s, .. } => self.events_per_s.push(*events_per_s),
            Measured::Latency { quantiles, .. } => self.latencies.push(*quantiles),
        }
    }

    /// The rate, if there is one.
    pub(crate) fn rate(&self) -> Option<Spread> {
        Spread::of(&self.events_per_s)
    }

    /// One of the quantiles, if there are any.
    pub(crate) fn quantile(&self, which: impl Fn(&Quantiles) -> f64) -> Option<Spread> {
        Spread::of(&self.latencies.iter().map(which).collect::<Vec<_>>())
    }
}

impl Row {
    pub(crate) fn result(&self, system: System) -> Option<&SystemResult> {
        self.results.iter().find(|result| result.system == system)
    }

    /// How many times as fast Thalweg is. Of systems that ran in the same rounds it is the median over rounds, because the speed
    /// of a shared machine drifts; of others, that of medians.
    pub(crate) fn ratio(&self, system: System) -> Option<Spread> {
        let (ours, theirs) = (self.result(System::Thalweg)?, self.result(system)?);
        if !theirs.is_checked || system == System::Thalweg {
            return None;
        }
        if theirs.is_apart {
            let ratio = ours.rate()?.median / theirs.rate()?.median;
            return Some(Spread { median: ratio, min: ratio, max: ratio });
        }
        let pairs = ours.events_per_s.iter().zip(&theirs.events_per_s);
        Spread::of(&pairs.map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
    }
}

/// Median and extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// In another unit.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        let Spread { median, min, max } = self;
        Spread { median: median * factor, min: min * factor, max: max * factor }
    }

    /// `None` of nothing.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Spread { median, min, max })
    }
}

impl Report {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        Ok(serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        write(path, &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// Takes over what was measured in another run, for rows that are here.
    pub(crate) fn add_apart(&mut self, other: &Report) {
        for row in &mut self.rows {
            let same = other.rows.iter().find(|theirs| {
                (theirs.workload, theirs.parallelism, theirs.keys)
                    == (row.workload, row.parallelism, row.keys)
            });
            let results = same.map_or(&[][..], |theirs| &theirs.results).iter().cloned();
            row.results.extend(results.map(|result| SystemResult { is_apart: true, ..result }));
        }
    }

    /// The row with this work, which is added if it is not there.
    pub(crate) fn row_mut(&mut self, key: (Workload, usize, u64)) -> &mut Row {
        let place =
            self.rows.iter().position(|row| (row.workload, row.parallelism, row.keys) == key);
        let place = place.unwrap_or_else(|| {
            let (workload, parallelism, keys) = key;
            self.rows.push(Row { workload, parallelism, keys, results: Vec::new() });
            self.rows.len() - 1
        });
        &mut self.rows[place]
    }
}

impl Row {
    /// The results of a system, which are added if they are not there.
    pub(crate) fn result_mut(&mut self, system: System) -> &mut SystemResult {
        let place = self.results.iter().position(|result| result.system == system);
        let place = place.unwrap_or_else(|| {
            self.results.push(SystemResult::new(system));
            self.results.len() - 1
        });
        &mut self.results[place]
    }
}

/// Writes a file; an error names it.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text)
        .map_err(|error| format!("{} cannot be written: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(results: &[(System, &[f64])]) -> Row {
        let results = results.iter().map(|(system, rates)| {
            let events_per_s = rates.to_vec();
            SystemResult { is_checked: true, events_per_s, ..SystemResult::new(*system) }
        });
        Row { workload: Workload::W1, parallelism: 1, keys: 1, results: results.collect() }
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread { median: 2.5, min: 1.0, max: 4.0 };
        assert_eq!(Spread::of(&[4.0, 1.0, 3.0, 2.0]), Some(spread));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ours: &[f64] = &[10.0, 30.0, 20.0];
        let row = row(&[(System::Thalweg, ours), (System::Timely, &[5.0, 10.0, 20.0])]);
        let spread = Spread { median: 2.0, min: 1.0, max: 3.0 };
        assert_eq!(row.ratio(System::Timely), Some(spread));
        assert_eq!(row.ratio(System::Thalweg), None);
        assert_eq!(row.ratio(System::Native), None);
    }

    #[test]
    fn who_answers_another_question_has_no_ratio() {
        let mut row = row(&[(System::Thalweg, &[1.0]), (System::Renoir, &[1.0])]);
        row.result_mut(System::Renoir).is_checked = false;
        assert_eq!(row.ratio(System::Renoir), None);
    }
}
