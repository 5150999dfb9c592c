//! A case of the corpus: read strictly, so that nothing in it is ignored.
//!
//! 1. [`load`] reads the kind first. `cep` and `sql` come back as [`Loaded::Skipped`]; of these only the syntax is checked.
//! 2. Steps and expected rows are read with line and column; a field or a value that the schema does not know is an error.
//! 3. The job is read by its kind's interpreter, less what all kinds share ([`Common`]).
//!
//! **Invariants**
//! - A step's input is one that the job has; its index is its place in the list, which is what `at` means.
//! - Only `process` has commands in its events: elsewhere they are an error, not ignored.

use crate::conformance::event::{Command, Event};
use crate::conformance::kind::{Interpreter, interpreter};
use crate::conformance::row::{Body, Row};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What came of a file.
pub enum Loaded {
    /// A case that can be run.
    Case(Box<Case>),
    /// A case of a kind that is not built yet.
    Skipped {
        /// Its name.
        name: String,
        /// Why.
        reason: &'static str,
    },
}

/// One case.
pub struct Case {
    /// Its name: unique in the corpus.
    pub name: String,
    /// The part of the engine it is about.
    pub area: String,
    /// The interpreter's name.
    pub kind: String,
    /// Set where Flink's answer is a wart, which an engine may answer otherwise.
    pub quirk: Option<String>,
    /// What all kinds have in common.
    pub common: Common,
    /// How rows may be permuted.
    pub order: Order,
    /// What is done, one by one.
    pub steps: Vec<Step>,
    /// What must come out.
    pub expected: Vec<Row>,
    pub(super) job: Box<dyn Interpreter>,
}

/// What a job of any kind may say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// Watermarks and stream statuses are part of the output.
    pub record_watermarks: bool,
    /// Period of watermark generators; Flink's default is 200.
    pub auto_watermark_interval_ms: Option<u64>,
}

/// How rows of one output may be permuted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Not at all.
    Exact,
    /// Within a step.
    Step,
    /// Those of one timestamp within a step.
    StepAndTimestamp,
}

/// One thing that is done; all its effects are complete before the next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A record.
    Event {
        /// Where it comes in.
        input: usize,
        /// Its timestamp, if it has one.
        timestamp_ms: Option<i64>,
        /// The record.
        event: Event,
    },
    /// A watermark on one input, or on all in order.
    Watermark {
        /// Where it comes in.
        input: Option<usize>,
        /// The watermark.
        watermark_ms: i64,
    },
    /// The stream is idle, or active again.
    Status {
        /// Where.
        input: Option<usize>,
        /// Idle or active.
        idle: bool,
    },
    /// End of one input, or of all in order.
    End {
        /// Which ends.
        input: Option<usize>,
    },
    /// The clock jumps.
    ProcessingTime {
        /// To here.
        now_ms: i64,
    },
    /// An asynchronous request completes. One that is not open (it timed out, say) is left alone.
    Complete {
        /// Which.
        id: i64,
        /// With what.
        results: Vec<Value>,
    },
    /// A checkpoint is taken; the job fails and goes on from it.
    Restore,
}

/// Why a file is not a case.
#[derive(Debug, thiserror::Error)]
#[error("{}: {place}: {what}", file.display())]
pub struct CaseError {
    /// The file.
    pub file: PathBuf,
    /// Where in it: a line, a step or the job.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    area: String,
    kind: String,
    #[serde(rename = "description")]
    _description: String,
    quirk: Option<String>,
    job: Map<String, Value>,
    ordered: bool,
    permute: Option<Permute>,
    input: Vec<RawStep>,
    expected: Vec<RawRow>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Permute {
    At,
    AtTs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    event: Option<RawEvent>,
    watermark: Option<i64>,
    status: Option<RawStatus>,
    end: Option<bool>,
    processing_time: Option<i64>,
    complete: Option<i64>,
    results: Option<Vec<Value>>,
    restore: Option<bool>,
    input: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawStatus {
    Idle,
    Active,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvent {
    key: String,
    ts: Option<i64>,
    #[serde(default)]
    v: i64,
    s: Option<String>,
    #[serde(default)]
    u: i64,
    #[serde(default)]
    cmds: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    at: usize,
    out: String,
    ts: Option<i64>,
    value: Option<Value>,
    watermark: Option<i64>,
    status: Option<String>,
}

/// Reads the case in `text`, which is the content of `file`.
///
/// # Errors
/// With the file and the place in it.
pub fn load(file: &Path, text: &str) -> Result<Loaded, CaseError> {
    let at = |place: String, what: String| CaseError { file: file.to_owned(), place, what };
    let header: Header = read(file, text)?;
    if let Some(reason) = kind_not_built(&header.kind) {
        return Ok(Loaded::Skipped { name: header.name, reason });
    }
    let document: Document = read(file, text)?;
    let (kind, has_commands) = (document.kind, header.kind == "process");
    let mut job = document.job;
    let common = Common::take(&mut job).map_err(|what| at("job".into(), what))?;
    let job = interpreter(&kind, job).map_err(|what| at("job".into(), what))?;
    let inputs = job.inputs();
    let read_step = |(index, step)| {
        read_step(step, inputs, has_commands).map_err(|what| at(format!("input[{index}]"), what))
    };
    let steps = document.input.into_iter().enumerate().map(read_step).collect::<Result<_, _>>()?;
    let read_row =
        |(index, row)| read_row(row).map_err(|what| at(format!("expected[{index}]"), what));
    let expected = document.expected.into_iter().enumerate().map(read_row);
    let expected = expected.collect::<Result<_, _>>()?;
    let order = order_of(document.ordered, document.permute);
    let (name, area, quirk) = (document.name, document.area, document.quirk);
    let case = Case { name, area, kind, quirk, common, order, steps, expected, job };
    Ok(Loaded::Case(Box::new(case)))
}

fn kind_not_built(kind: &str) -> Option<&'static str> {
    match kind {
        "cep" => Some("cep"),
        "sql" => Some("sql"),
        _ => None,
    }
}

fn read<'a, T: Deserialize<'a>>(file: &Path, text: &'a str) -> Result<T, CaseError> {
    serde_json::from_str(text).map_err(|error| CaseError {
        file: file.to_owned(),
        place: format!("line {}, column {}", error.line(), error.column()),
        what: without_place(&error),
    })
}

/// The message alone: serde_json puts line and column behind it, which are told as the place.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(place.as_str()).unwrap_or(&text).to_owned()
}

fn order_of(ordered: bool, permute: Option<Permute>) -> Order {
    match (ordered, permute) {
        (true, _) => Order::Exact,
        (false, Some(Permute::AtTs)) => Order::StepAndTimestamp,
        (false, _) => Order::Step,
    }
}

impl Common {
    fn take(job: &mut Map<String, Value>) -> Result<Common, String> {
        Ok(Common {
            record_watermarks: take(job, "record_watermarks")?.unwrap_or(false),
            auto_watermark_interval_ms: take(job, "auto_watermark_interval_ms")?,
        })
    }
}

/// Takes an optional field out of a job, so that the rest can be read strictly.
pub(super) fn take<T: for<'a> Deserialize<'a>>(
    job: &mut Map<String, Value>,
    field: &str,
) -> Result<Option<T>, String> {
    let Some(value) = job.remove(field) else {
        return Ok(None);
    };
    T::deserialize(value).map(Some).map_err(|error| format!("{field}: {error}"))
}

fn read_step(raw: RawStep, inputs: usize, has_commands: bool) -> Result<Step, String> {
    if let Some(input) = raw.input.filter(|input| *input >= inputs) {
        return Err(format!("input {input} of a job that has {inputs}"));
    }
    let input = raw.input;
    let is_for_an_input =
        raw.processing_time.is_none() && raw.complete.is_none() && raw.restore.is_none();
    if input.is_some() && !is_for_an_input {
        return Err("neither clock, nor completed request, nor restore belongs to an input".into());
    }
    if raw.results.is_some() && raw.complete.is_none() {
        return Err("results without the request that they complete".into());
    }
    let end = raw.end.map(|end| match end {
        true => Ok(Step::End { input }),
        false => Err("an end that is false".to_owned()),
    });
    let restore = raw.restore.map(|restore| match restore {
        true => Ok(Step::Restore),
        false => Err("a restore that is false".to_owned()),
    });
    let results = raw.results.unwrap_or_default();
    let alternatives = [
        raw.event.map(|event| read_event(event, input.unwrap_or(0), has_commands)),
        raw.watermark.map(|watermark_ms| Ok(Step::Watermark { input, watermark_ms })),
        raw.status
            .map(|status| Ok(Step::Status { input, idle: matches!(status, RawStatus::Idle) })),
        end,
        restore,
        raw.processing_time.map(|now_ms| Ok(Step::ProcessingTime { now_ms })),
        raw.complete.map(|id| Ok(Step::Complete { id, results })),
    ];
    let mut given = alternatives.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(step), None) => step,
        (None, _) => Err("a step that does nothing".into()),
        (Some(_), Some(_)) => Err("two steps in one".into()),
    }
}

fn read_event(raw: RawEvent, input: usize, has_commands: bool) -> Result<Step, String> {
    if !raw.cmds.is_empty() && !has_commands {
        return Err("commands in an event of a job that takes none".into());
    }
    let read =
        |(index, command)| Command::read(command).map_err(|what| format!("cmds[{index}]: {what}"));
    let commands = raw.cmds.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let RawEvent { key, ts, v, s, u, .. } = raw;
    Ok(Step::Event { input, timestamp_ms: ts, event: Event { key, v, s, u, commands } })
}

fn read_row(raw: RawRow) -> Result<Row, String> {
    let RawRow { at, out, ts, value, watermark, status } = raw;
    let body = match (value, watermark, status.as_deref()) {
        (Some(value), None, None) => Body::Record { timestamp_ms: ts, value },
        (None, Some(watermark_ms), None) => Body::Watermark(watermark_ms),
        (None, None, Some("idle")) => Body::Status { idle: true },
        (None, None, Some("active")) => Body::Status { idle: false },
        (None, None, Some(other)) => return Err(format!("unknown status '{other}'")),
        _ => return Err("one of value, watermark and status is wanted".into()),
    };
    Ok(Row { at, out, body })
}

#[cfg(test)]
mod tests;
