//! `join`: interval joins, window joins and co-groups.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use crate::conformance::kind::window_spec::{TriggerSpec, WindowSpec};
use crate::conformance::kind::{Interpreter, interval_join, window_join};
use serde::Deserialize;
use serde_json::{Value, json};

/// A join by key.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum JoinJob {
    Interval {
        lower_ms: i64,
        upper_ms: i64,
        #[serde(default)]
        lower_exclusive: bool,
        #[serde(default)]
        upper_exclusive: bool,
        #[serde(default)]
        late_output: bool,
    },
    WindowJoin {
        window: WindowSpec,
        trigger: Option<TriggerSpec>,
        #[serde(default)]
        allowed_lateness_ms: i64,
    },
    CoGroup {
        window: WindowSpec,
        trigger: Option<TriggerSpec>,
        #[serde(default)]
        allowed_lateness_ms: i64,
        emit: Emit,
    },
}

/// What a co-group emits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Emit {
    /// Both groups as lists.
    Groups,
    /// A left outer join.
    Left,
    /// A right outer join.
    Right,
    /// A full outer join.
    Full,
}

impl Interpreter for JoinJob {
    fn inputs(&self) -> usize {
        2
    }

    fn build(&self, bench: &Bench<'_>) {
        match self {
            JoinJob::Interval {
                lower_ms,
                upper_ms,
                lower_exclusive,
                upper_exclusive,
                late_output,
            } => {
                let bounds = interval_join::Bounds {
                    lower_ms: *lower_ms,
                    upper_ms: *upper_ms,
                    lower_exclusive: *lower_exclusive,
                    upper_exclusive: *upper_exclusive,
                };
                interval_join::build(bench, bounds, *late_output);
            }
            JoinJob::WindowJoin { window, trigger, allowed_lateness_ms } => {
                let (window, trigger) = (*window, trigger.as_ref());
                let allowed_lateness_ms = *allowed_lateness_ms;
                let spec = window_join::Spec { window, trigger, allowed_lateness_ms };
                window_join::build_join(bench, spec);
            }
            JoinJob::CoGroup { window, trigger, allowed_lateness_ms, emit } => {
                let (window, trigger) = (*window, trigger.as_ref());
                let allowed_lateness_ms = *allowed_lateness_ms;
                let spec = window_join::Spec { window, trigger, allowed_lateness_ms };
                window_join::build_co_group(bench, spec, *emit);
            }
        }
    }
}

/// `{key, l, r}`.
pub(super) fn pair(key: &str, left: impl Into<Value>, right: impl Into<Value>) -> Output {
    Output::new(&json!({"key": key, "l": left.into(), "r": right.into()}))
}

impl Emit {
    /// What these groups of one key and window give.
    pub(super) fn rows(self, lefts: &[Event], rights: &[Event]) -> Vec<Output> {
        let Some(any) = lefts.first().or(rights.first()) else {
            return Vec::new();
        };
        let key = &any.key;
        let numbers = |events: &[Event]| events.iter().map(|event| event.v).collect::<Vec<_>>();
        let (lefts, rights) = (numbers(lefts), numbers(rights));
        let alone = |side: Emit| self == side || self == Emit::Full;
        match (lefts.is_empty(), rights.is_empty()) {
            _ if self == Emit::Groups => vec![pair(key, lefts, rights)],
            (_, true) if alone(Emit::Left) => {
                lefts.into_iter().map(|left| pair(key, left, Value::Null)).collect()
            }
            (true, _) if alone(Emit::Right) => {
                rights.into_iter().map(|right| pair(key, Value::Null, right)).collect()
            }
            _ => {
                let with = |left: i64| rights.iter().map(move |right| pair(key, left, *right));
                lefts.into_iter().flat_map(with).collect()
            }
        }
    }
}
