//! The rows of the table: which systems do what, and how their answers are compared.

use crate::case::{Case, Measured, System, Until, Workload};
use crate::nexmark;
use thalweg_benches::nexmark::expected;

/// A row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workload: Workload,
    pub(crate) parallelism: usize,
    pub(crate) keys: u64,
    pub(crate) systems: Vec<System>,
}

/// Which digest is the same whatever the interleaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    /// Of all rows.
    Rows,
    /// Of the last row of each key.
    LastRows,
}

/// The answer that all systems have to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) events: u64,
    pub(crate) digest: u64,
}

const ALL: &[System] = &[System::Thalweg, System::Native, System::Timely, System::Renoir];
const WITH_PREFETCHES: &[System] =
    &[System::Thalweg, System::Native, System::NativePrefetched, System::Timely, System::Renoir];
const WITH_OWN_WINDOWS: &[System] =
    &[System::Thalweg, System::Native, System::Timely, System::Renoir, System::RenoirWindows];
const LATENCY: &[System] = &[
    System::Thalweg,
    System::ThalwegBalanced,
    System::Native,
    System::Timely,
    System::Renoir,
    System::RenoirSingle,
];
const NEXMARK: &[System] = &[System::Thalweg, System::Timely, System::Renoir];
const CHECKPOINTS: &[System] = &[System::Thalweg, System::ThalwegWithoutCheckpoints];

/// How many events Flink was asked for its answers to the queries.
const NEXMARK_EVENTS: u64 = 100_000;

/// All rows, or those of some workloads.
pub(crate) fn plans(only: Option<&[Workload]>) -> Vec<Plan> {
    let row = |workload, parallelism, keys, systems: &[System]| Plan {
        workload,
        parallelism,
        keys,
        systems: systems.to_vec(),
    };
    let mut plans = Vec::new();
    for keys in [1_000, 1_000_000] {
        let systems = if keys > 1_000 { WITH_PREFETCHES } else { ALL };
        plans.extend([1, 2].map(|p| row(Workload::W1, p, keys, systems)));
    }
    let by_workload = [
        (Workload::W2, WITH_OWN_WINDOWS),
        (Workload::W3, WITH_OWN_WINDOWS),
        (Workload::W4, ALL),
        (Workload::W7, ALL),
        (Workload::W6, CHECKPOINTS),
    ];
    for (workload, systems) in by_workload {
        plans.extend([1, 2].map(|p| row(workload, p, workload.default_keys(), systems)));
    }
    for (workload, systems) in [(Workload::W5, LATENCY), (Workload::W6Latency, CHECKPOINTS)] {
        plans.push(row(workload, 2, workload.default_keys(), systems));
    }
    for query in [0, 1, 2, 3, 4, 5, 7, 8] {
        plans.extend([1, 2].map(|p| row(Workload::Nexmark(query), p, 0, NEXMARK)));
    }
    plans.retain(|plan| only.is_none_or(|only| only.contains(&plan.workload)));
    plans
}

impl Plan {
    pub(crate) fn case(&self, system: System, until: Until) -> Case {
        let Plan { workload, parallelism, keys, .. } = *self;
        Case { system, workload, parallelism, keys, until }
    }

    /// How many events are enough to compare answers.
    pub(crate) fn check_events(&self) -> u64 {
        published(self.workload, 1, self.keys).map_or(3_000_000, |published| published.events)
    }
}

/// Which digest of a row is compared. Running sums of a key come in another order when there are two sources.
pub(crate) fn compared(workload: Workload, parallelism: usize) -> Digest {
    match workload {
        Workload::W1 | Workload::W6 if parallelism > 1 => Digest::LastRows,
        Workload::W7 | Workload::Nexmark(_) => Digest::LastRows,
        _ => Digest::Rows,
    }
}

impl Digest {
    pub(crate) fn of(self, measured: &Measured) -> Option<u64> {
        match (self, measured) {
            (Digest::Rows, Measured::Throughput { checksum, .. }) => Some(*checksum),
            (Digest::LastRows, Measured::Throughput { last, .. }) => *last,
            (_, Measured::Latency { .. }) => None,
        }
    }
}

/// What Flink, Hazelcast Jet and a plain script agree on.
pub(crate) fn published(workload: Workload, parallelism: usize, keys: u64) -> Option<Published> {
    if let Workload::Nexmark(query) = workload {
        let table = expected(&format!("q{query}"), NEXMARK_EVENTS)?;
        return Some(Published { events: NEXMARK_EVENTS, digest: nexmark::digest(&table) });
    }
    let (events, digest) = match (workload, compared(workload, parallelism)) {
        (Workload::W1, Digest::Rows) if keys == 1_000 => (300_000, 0x0000_0159_3bdb_353e),
        (Workload::W1, Digest::LastRows) if keys == 1_000 => (300_000, 0x7c9f_5a8c_7ba1_fa92),
        (Workload::W2, _) => (3_000_000, 0x2b4b_7389_088a_0654),
        (Workload::W3, _) => (600_000, 0x6c03_42ea_8f41_85e6),
        (Workload::W4, _) => (3_000_000, 0x5a8a_c29f_93c7_eb1e),
        (Workload::W7, _) => (300_000, 0xa735_2f4c_8d63_eeb7),
        _ => return None,
    };
    Some(Published { events, digest })
}

/// Whether a system answers the question of the workload. renoir's windows begin at the first record of each key.
pub(crate) fn answers(system: System, workload: Workload) -> bool {
    match system {
        System::RenoirWindows => false,
        System::Renoir => !matches!(workload, Workload::Nexmark(5 | 7 | 8)),
        _ => true,
    }
}
