//! Random jobs of the real operators in the simulator, audited against models: what the binary `simulate` runs.
//!
//! A seed draws:
//!
//! 1. an `Input`: splits of records `(split, number, key, time, value)`, some of which fall idle;
//! 2. a graph: sources, a chain of stateless operators or a union before them, and one to three
//!    branches, each an operator with its own sink of transactions;
//! 3. what goes wrong, see [`Simulation`]: three to ten kills and failures, at random times and at crash points, a disk
//!    that fails or is full;
//! 4. each second seed, whether each process has another parallelism, and ends with a savepoint now and then.
//!
//! In the end each branch compares what was committed with what a model makes of the input: nothing lost, nothing twice,
//! each key in order, every window and timer once with the right value, no state that expired early or late. The
//! simulator looks for transactions and files that were left, and for jobs that are stuck.
//!
//! **Invariant**: the models are written from the semantics, never from the engine's code or an undisturbed run, which
//! would have the same fault.

mod branch;
mod functions;
mod input;
mod model;
pub mod seeds;
mod write_ahead;

use crate::Random;
use branch::Branch;
use input::Input;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use thalweg::config::{CheckpointMode, StateBackend};
use thalweg::prelude::*;
use thalweg::testing::crash_points;
use thalweg::testing::sim::{SeedReport, Simulation, SimulationFailure};
use write_ahead::Outbox;

/// Subtasks of an operator at most, where they change from process to process.
const PARALLELISM_MAX: usize = 5;

/// Branch, and four numbers that the branch gives a meaning.
type Row = (i64, i64, i64, i64, i64);

/// What lies outside of the job, and outlives it.
#[derive(Clone, Debug, Default)]
struct Outside {
    /// A window behind the split that is idle has fired: the split may end.
    has_passed_idle: Arc<AtomicBool>,
    outbox: Outbox,
}

/// A drawn job.
struct Graph {
    input: Input,
    branches: Vec<Branch>,
    /// The stateless operators before the branches.
    has_detour: bool,
    mode: CheckpointMode,
    outside: Outside,
}

impl Graph {
    fn draw(seed: u64) -> Graph {
        let mut random = Random::new(seed ^ 0x6A09_E667_F3BC_C908);
        let is_repeating = random.once_in(8);
        let input = Input::draw(&mut random);
        let mut branches = Vec::new();
        if input.idle.is_some() {
            branches.push(Branch::Tumbling);
        }
        let choice = if is_repeating { Branch::THAT_MAY_REPEAT } else { Branch::ALL };
        for _ in 0..1 + random.below(3) {
            let branch = choice[random.below(choice.len() as u64) as usize];
            if !branches.contains(&branch) {
                branches.push(branch);
            }
        }
        let mode = match is_repeating {
            true => CheckpointMode::AtLeastOnce,
            false => CheckpointMode::ExactlyOnce,
        };
        if branches == [Branch::Late] {
            branches.push(Branch::Stateless); // The main source needs a reader.
        }
        // A detour may let what is cancelled overtake what it cancels.
        let has_detour = random.once_in(3) && !branches.contains(&Branch::Timers);
        Graph { input, branches, has_detour, mode, outside: Outside::default() }
    }

    fn write(&self, env: &StreamExecutionEnvironment) {
        let source = self.input.source(&self.outside);
        let events = env.from_source_with(source, self.input.strategy(), "events").boxed();
        let events = match self.has_detour {
            false => events,
            true => {
                let even = events.clone().filter(|event| event.number % 2 == 0).rebalance();
                let odd = events.filter(|event| event.number % 2 != 0);
                even.union(odd).boxed()
            }
        };
        for branch in &self.branches {
            branch.write(env, events.clone(), self);
        }
    }

    fn audit(&self, committed: &[String], parallelism: usize) -> Result<(), String> {
        let mut rows: Vec<Row> =
            committed.iter().map(|text| parse(text)).collect::<Result<_, _>>()?;
        rows.extend(self.outside.outbox.rows()?);
        for branch in &self.branches {
            let own: Vec<Row> =
                rows.iter().copied().filter(|row| row.0 == branch.number()).collect();
            branch
                .audit(&own, self, parallelism)
                .map_err(|what| format!("{branch:?}, {:?}: {what}", self.mode))?;
        }
        Ok(())
    }

    fn marks(&self, simulation: &Simulation<'_>) -> Vec<&'static str> {
        let mut marks: Vec<&'static str> = self.branches.iter().map(|it| it.mark()).collect();
        marks.push(match simulation.backend() {
            StateBackend::Memory => "state in memory, full checkpoints",
            _ => "state in files, incremental checkpoints",
        });
        marks.push(
            ["", "parallelism 1", "parallelism 2", "parallelism 3", "parallelism 4"]
                [simulation.parallelism().min(4)],
        );
        if self.mode == CheckpointMode::AtLeastOnce {
            marks.push("at least once");
        }
        if self.input.idle.is_some() {
            marks.push("split that falls idle");
        }
        if self.has_detour {
            marks.push("union");
        }
        marks
    }
}

/// A row as the simulator has it, in words.
fn parse(text: &str) -> Result<Row, String> {
    let numbers = text.trim_matches(['(', ')']).split(", ").map(str::parse);
    let numbers: Vec<i64> = numbers
        .collect::<Result<_, _>>()
        .map_err(|error| format!("'{text}' is no row: {error}"))?;
    match numbers[..] {
        [branch, a, b, c, d] => Ok((branch, a, b, c, d)),
        _ => Err(format!("'{text}' has not five numbers")),
    }
}

/// Runs the job of one seed.
///
/// # Errors
/// The promise that was broken.
pub fn run(seed: u64) -> Result<SeedReport, SimulationFailure> {
    let graph = Graph::draw(seed);
    let mode = graph.mode;
    // Each subtask emits what it knows of the rules.
    let is_rescaled = seed % 2 == 1 && !graph.branches.contains(&Branch::Rules);
    let points = crash_points::ESSENTIAL.into_iter().chain(["restore.tasks_built"]);
    let of_savepoints = if is_rescaled { &crash_points::SAVEPOINTS[..] } else { &[] };
    let points = points.chain(of_savepoints.iter().copied());
    let simulation = Simulation::new(seed).crash_at(points).configure(move |configuration| {
        configuration.checkpoint_mode(mode);
    });
    let simulation = if is_rescaled { simulation.rescaling(PARALLELISM_MAX) } else { simulation };
    let parallelism = simulation.parallelism();
    let marks = graph.marks(&simulation);
    let audit = |committed: &[String]| graph.audit(committed, parallelism);
    let mut report = simulation.run(|env| graph.write(env), audit)?;
    // The process that found the job finished must have sent nothing either.
    if graph.branches.contains(&Branch::WriteAhead) {
        let sent = graph.outside.outbox.rows();
        let audited = sent.and_then(|rows| Branch::WriteAhead.audit(&rows, &graph, parallelism));
        let failure = |what| SimulationFailure { seed, what, log: report.log.join("\n") };
        audited.map_err(failure)?;
    }
    for mark in marks {
        *report.marks.entry(mark).or_default() += 1;
    }
    Ok(report)
}
