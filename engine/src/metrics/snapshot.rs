//! The metrics of a job as plain structs, to be served, scraped or compared.
//!
//! Numbers are totals since the attempt was deployed; a reader that wants rates takes two snapshots and its own clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::group::{OperatorMetrics, UserMetrics};
use super::histogram::{HistogramCounts, HistogramSnapshot};
use super::subtask::SubtaskValues;

/// All metrics of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSnapshot {
    /// Its name.
    pub job: String,
    /// How often it was restarted.
    pub restarts: u64,
    /// Its vertices in the order of the plan.
    pub vertices: Vec<VertexSnapshot>,
    /// Its edges by producer and consumer.
    pub edges: Vec<EdgeSnapshot>,
}

/// The metrics of one vertex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VertexSnapshot {
    /// Its name.
    pub vertex: String,
    /// All subtasks put together, see [`SubtaskValues::total`].
    pub total: SubtaskValues,
    /// User metrics over all subtasks: counters and gauges summed, histograms merged.
    pub operators: Vec<OperatorSnapshot>,
    /// Its subtasks in order.
    pub subtasks: Vec<SubtaskSnapshot>,
}

/// The metrics of one subtask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskSnapshot {
    /// Counted from zero.
    pub subtask: usize,
    /// What the engine counts.
    pub values: SubtaskValues,
    /// What user functions count, by operator.
    pub operators: Vec<OperatorSnapshot>,
}

/// The user metrics of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorSnapshot {
    /// Its name.
    pub operator: String,
    /// By name.
    pub counters: BTreeMap<String, u64>,
    /// By name.
    pub gauges: BTreeMap<String, i64>,
    /// By name.
    pub histograms: BTreeMap<String, HistogramSnapshot>,
    /// How often a metric was refused because the operator had too many.
    pub refused_count: u64,
}

/// The metrics of one edge between two subtasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeSnapshot {
    /// The producing vertex.
    pub from: String,
    /// Its subtask.
    pub from_subtask: usize,
    /// The consuming vertex.
    pub to: String,
    /// Its subtask.
    pub to_subtask: usize,
    /// The consumer's input.
    pub input: usize,
    /// Pages the ring holds when full.
    pub ring_capacity: usize,
    /// Pages in it when the producer last looked.
    pub ring_fill: i64,
    /// Pages put into it.
    pub pages_sent: u64,
    /// Pages taken out of it.
    pub pages_received: u64,
    /// Pages that went through spare memory because it was full.
    pub spilled_pages: u64,
}

impl VertexSnapshot {
    /// Reads the user metrics of a vertex' subtasks and sums everything up.
    pub(super) fn of<'a>(
        name: &str,
        subtasks: impl Iterator<Item = (SubtaskSnapshot, &'a UserMetrics)>,
    ) -> Self {
        let mut sums = BTreeMap::<String, OperatorCounts>::new();
        let subtasks: Vec<_> = subtasks
            .map(|(mut subtask, user)| {
                for (operator, metrics) in user.operators() {
                    let counts = OperatorCounts::of(&metrics);
                    subtask.operators.push(counts.snapshot(&operator));
                    sums.entry(operator).or_default().merge(counts);
                }
                subtask
            })
            .collect();
        Self {
            vertex: name.to_owned(),
            total: SubtaskValues::total(subtasks.iter().map(|subtask| &subtask.values)),
            operators: sums.iter().map(|(operator, counts)| counts.snapshot(operator)).collect(),
            subtasks,
        }
    }
}

/// An operator's metrics as numbers that can still be merged.
#[derive(Default)]
struct OperatorCounts {
    counters: BTreeMap<String, u64>,
    gauges: BTreeMap<String, i64>,
    histograms: BTreeMap<String, HistogramCounts>,
    refused_count: u64,
}

impl OperatorCounts {
    fn of(metrics: &OperatorMetrics) -> Self {
        Self {
            counters: read(&metrics.counters, |counter| counter.get()),
            gauges: read(&metrics.gauges, |gauge| gauge.get()),
            histograms: read(&metrics.histograms, |histogram| histogram.counts()),
            refused_count: metrics.refused_count,
        }
    }

    fn merge(&mut self, other: Self) {
        for (name, value) in other.counters {
            let sum = self.counters.entry(name).or_default();
            *sum = sum.wrapping_add(value);
        }
        for (name, value) in other.gauges {
            let sum = self.gauges.entry(name).or_default();
            *sum = sum.saturating_add(value);
        }
        for (name, counts) in other.histograms {
            self.histograms.entry(name).or_default().merge(&counts);
        }
        self.refused_count += other.refused_count;
    }

    fn snapshot(&self, operator: &str) -> OperatorSnapshot {
        OperatorSnapshot {
            operator: operator.to_owned(),
            counters: self.counters.clone(),
            gauges: self.gauges.clone(),
            histograms: read(&self.histograms, HistogramCounts::summary),
            refused_count: self.refused_count,
        }
    }
}

fn read<T, V>(metrics: &BTreeMap<String, T>, value: impl Fn(&T) -> V) -> BTreeMap<String, V> {
    metrics.iter().map(|(name, metric)| (name.clone(), value(metric))).collect()
}
