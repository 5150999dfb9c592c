//! Rows of output, as the corpus writes them.

use serde_json::{Value, json};
use std::fmt;

/// One element of one output.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Index of the step that caused it.
    pub at: usize,
    /// The output: `main`, or a side output.
    pub out: String,
    /// What it is.
    pub body: Body,
}

/// What a row is.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A record.
    Record {
        /// Its timestamp, if it has one.
        timestamp_ms: Option<i64>,
        /// Its value.
        value: Value,
    },
    /// A watermark.
    Watermark(i64),
    /// A change of the stream's status.
    Status {
        /// Idle, or active again.
        idle: bool,
    },
}

/// Fields by which jobs name the key of what they emit, the strongest first.
const KEY_FIELDS: [&str; 6] = ["key", "item", "account", "user", "sensor", "order"];

impl Row {
    /// The row in the corpus' form.
    pub fn to_json(&self) -> Value {
        let (at, out) = (self.at, &self.out);
        match &self.body {
            Body::Record { timestamp_ms, value } => {
                json!({"at": at, "out": out, "ts": timestamp_ms, "value": value})
            }
            Body::Watermark(watermark_ms) => {
                json!({"at": at, "out": out, "watermark": watermark_ms})
            }
            Body::Status { idle } => {
                json!({"at": at, "out": out, "status": if *idle { "idle" } else { "active" }})
            }
        }
    }

    /// What compares equal for equal rows of the same step and output.
    pub(super) fn text(&self) -> String {
        match &self.body {
            Body::Record { timestamp_ms, value } => {
                format!("{value} ts {}", Timestamp(*timestamp_ms))
            }
            Body::Watermark(watermark_ms) => format!("watermark {watermark_ms}"),
            Body::Status { idle: true } => "idle".into(),
            Body::Status { idle: false } => "active".into(),
        }
    }

    pub(super) fn timestamp_ms(&self) -> Option<i64> {
        match self.body {
            Body::Record { timestamp_ms, .. } => timestamp_ms,
            _ => None,
        }
    }

    /// Rows of one such name come from one subtask, in an order that parallelism keeps: the key of the record; the end
    /// of the window in a ranking, which is keyed by it; nothing where a job has no keys. Watermarks and statuses, which
    /// are those of all subtasks together, have a name of their own.
    pub(super) fn key(&self) -> String {
        let Body::Record { value, .. } = &self.body else {
            return "watermarks".into();
        };
        let key = KEY_FIELDS.iter().find_map(|field| value.get(field).map(|key| (*field, key)));
        let ranked = value.get("top").and(value.get("end")).map(|end| ("end", end));
        key.or(ranked).map_or_else(String::new, |(field, key)| format!("{field} {key}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{} {}", self.at, self.text())
    }
}

struct Timestamp(Option<i64>);
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(timestamp_ms) => write!(f, "{timestamp_ms}"),
            None => f.write_str("none"),
        }
    }
}
