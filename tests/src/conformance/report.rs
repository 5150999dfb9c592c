//! From directories of cases to verdicts.

use crate::conformance::case::{Case, Loaded, Step, load};
use crate::conformance::compare::{Rule, difference};
use crate::conformance::event::Event;
use crate::conformance::row::{Body, Row};
use crate::conformance::run::{Restarts, Setup, run};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The output is the expected one.
    Passed,
    /// It is not, or there is none; why, in one line.
    Failed(String),
    /// It is not, and Flink's answer is marked as a wart.
    DiffersFromQuirk(String),
    /// The kind is not built yet, or the case cannot be run in this setup.
    Skipped(&'static str),
}

/// Counts of verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Cases with the expected output.
    pub passed: usize,
    /// Names of the others, each with its reason.
    pub failures: BTreeMap<String, String>,
    /// Cases that differ where Flink's answer is a wart.
    pub quirks: usize,
    /// How many were skipped, by reason.
    pub skipped: BTreeMap<&'static str, usize>,
}

impl Report {
    /// Did all cases pass that were run?
    pub fn is_success(&self) -> bool {
        self.failures.is_empty()
    }

    fn count(&mut self, name: &str, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(why) => {
                // Two files may claim one name: both count.
                let mut name = name.to_owned();
                while self.failures.contains_key(&name) {
                    name.push('\'');
                }
                self.failures.insert(name, why.clone());
            }
            Verdict::DiffersFromQuirk(_) => self.quirks += 1,
            Verdict::Skipped(reason) => *self.skipped.entry(reason).or_default() += 1,
        }
    }
}

impl fmt::Display for Report {
    /// `N passed, N failed, N skipped`, and how many differ from a quirk if any do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped: usize = self.skipped.values().sum();
        write!(f, "{} passed, {} failed, {skipped} skipped", self.passed, self.failures.len())?;
        match self.quirks {
            0 => Ok(()),
            quirks => write!(f, " ({quirks} differ from a quirk)"),
        }
    }
}

/// The corpus of this repository.
pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/conformance")
}

/// Random cases, with results of real Flink too.
pub fn more() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/conformance_more")
}

/// All case files under `directories`, in order.
///
/// # Errors
/// If one cannot be read.
pub fn case_files(directories: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut open: Vec<PathBuf> = directories.to_vec();
    while let Some(path) = open.pop() {
        if !path.is_dir() {
            files.insert(path);
            continue;
        }
        for entry in std::fs::read_dir(&path)? {
            let path = entry?.path();
            if path.is_dir() || path.extension().is_some_and(|extension| extension == "json") {
                open.push(path);
            }
        }
    }
    Ok(files.into_iter().collect())
}

/// Runs the cases in `files` one by one; `tell` hears each verdict, `emit` gets what the engine produced, a line a case.
///
/// # Errors
/// If a file cannot be read or `emit` not be written.
pub fn run_files(
    files: &[PathBuf],
    setup: Setup,
    mut tell: impl FnMut(&str, &Verdict),
    emit: &mut dyn Write,
) -> io::Result<Report> {
    let mut report = Report::default();
    for file in files {
        let text = std::fs::read_to_string(file)?;
        let (name, verdict) = match load(file, &text) {
            Err(error) => (file.display().to_string(), Verdict::Failed(error.to_string())),
            Ok(Loaded::Skipped { name, reason }) => (name, Verdict::Skipped(reason)),
            Ok(Loaded::Case(case)) if is_changed(&case, setup) => {
                (case.name, Verdict::Skipped("timeouts"))
            }
            Ok(Loaded::Case(case)) => {
                let case = Arc::new(*case);
                (case.name.clone(), judge(&case, setup, emit)?)
            }
        };
        report.count(&name, &verdict);
        tell(&name, &verdict);
    }
    Ok(report)
}

fn is_changed(case: &Case, setup: Setup) -> bool {
    setup.restarts == Restarts::BeforeEachStep && case.job.is_changed_by_restarts()
}

fn judge(case: &Arc<Case>, setup: Setup, emit: &mut dyn Write) -> io::Result<Verdict> {
    let rows = match run(case, setup) {
        Ok(rows) => rows,
        Err(error) => return Ok(Verdict::Failed(format!("expected rows | got {error}"))),
    };
    let json: Vec<_> = rows.iter().map(Row::to_json).collect();
    writeln!(emit, "{}", json!({"name": case.name, "expected": json}))?;
    let rule = rule(case, setup);
    let (expected, rows) = match rule.any_step {
        true => (with_keys(case, case.expected.clone()), with_keys(case, rows)),
        false => (case.expected.clone(), rows),
    };
    Ok(match difference(rule, &expected, &rows) {
        None => Verdict::Passed,
        Some(difference) if case.quirk.is_some() => {
            Verdict::DiffersFromQuirk(difference.to_string())
        }
        Some(difference) => Verdict::Failed(difference.to_string()),
    })
}

fn rule(case: &Case, setup: Setup) -> Rule {
    let per_key = setup.parallelism > 1;
    let any_step = per_key && case.job.orders_across_keys() && has_several_keys(case);
    Rule { order: case.order, is_process: case.kind == "process", per_key, any_step }
}

fn has_several_keys(case: &Case) -> bool {
    events(case).map(|event| &event.key).collect::<BTreeSet<_>>().len() > 1
}

fn events(case: &Case) -> impl Iterator<Item = &Event> {
    case.steps.iter().filter_map(|step| match step {
        Step::Event { event, .. } => Some(event),
        _ => None,
    })
}

/// The rows with the keys of the events that they answer: results of requests name their event's id (`u`) only, and the
/// order at greater parallelism is one per key.
fn with_keys(case: &Case, mut rows: Vec<Row>) -> Vec<Row> {
    for row in &mut rows {
        let Body::Record { value: Value::Object(fields), .. } = &mut row.body else { continue };
        let id = fields.get("id").and_then(Value::as_i64);
        if let Some(event) = events(case).find(|event| Some(event.u) == id) {
            fields.entry("key").or_insert_with(|| event.key.clone().into());
        }
    }
    rows
}
