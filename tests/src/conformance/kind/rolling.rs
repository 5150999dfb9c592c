//! `rolling`: aggregates of a keyed stream that emit after each record.

use crate::conformance::bench::Bench;
use crate::conformance::event::Event;
use crate::conformance::kind::Interpreter;
use serde::Deserialize;
use thalweg::prelude::*;

/// Which of equal records is kept whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tie {
    #[default]
    First,
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Operation {
    Sum,
    Min,
    Max,
    MinBy,
    MaxBy,
    Reduce,
}

/// A rolling aggregate of `v`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollingJob {
    op: Operation,
    tie: Option<Tie>,
}

impl RollingJob {
    pub(super) fn checked(self) -> Result<Self, String> {
        match self.tie.is_some() && !matches!(self.op, Operation::MinBy | Operation::MaxBy) {
            true => Err("tie: only min_by and max_by have ties".into()),
            false => Ok(self),
        }
    }
}

/// Keeps the first event's other fields, and adds `v`.
pub(super) fn add(mut first: Event, second: Event) -> Event {
    first.v = first.v.wrapping_add(second.v);
    first
}

impl Interpreter for RollingJob {
    fn build(&self, bench: &Bench<'_>) {
        let keyed = bench.input(0).key_by_ref(|event| &event.key);
        let tie = self.tie.unwrap_or_default();
        let rolled: DataStream<Event> = match (self.op, tie) {
            (Operation::Sum, _) => keyed.sum(|event| &mut event.v).boxed(),
            (Operation::Min, _) => keyed.min(|event| &mut event.v).boxed(),
            (Operation::Max, _) => keyed.max(|event| &mut event.v).boxed(),
            (Operation::MinBy, Tie::First) => keyed.min_by(|event| event.v).boxed(),
            (Operation::MinBy, Tie::Last) => keyed.min_by_last(|event| event.v).boxed(),
            (Operation::MaxBy, Tie::First) => keyed.max_by(|event| event.v).boxed(),
            (Operation::MaxBy, Tie::Last) => keyed.max_by_last(|event| event.v).boxed(),
            (Operation::Reduce, _) => keyed.reduce(add).boxed(),
        };
        bench.events("main", rolled);
    }
}
