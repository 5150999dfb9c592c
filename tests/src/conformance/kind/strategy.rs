//! Watermark strategies as jobs name them.

use crate::conformance::bench::Bench;
use crate::conformance::event::Event;
use crate::conformance::kind::duration;
use serde::Deserialize;
use thalweg::prelude::*;
use thalweg::time::WatermarkGenerator;

/// A watermark strategy.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum StrategySpec {
    BoundedOutOfOrderness {
        delay_ms: i64,
        idle_timeout_ms: Option<i64>,
        timestamp_field: Option<TimestampField>,
    },
    Monotonous {
        idle_timeout_ms: Option<i64>,
        timestamp_field: Option<TimestampField>,
    },
    None {
        idle_timeout_ms: Option<i64>,
        timestamp_field: Option<TimestampField>,
    },
    /// An event whose `s` is `wm` is followed by the watermark of its timestamp less `u`.
    Punctuated {
        idle_timeout_ms: Option<i64>,
        timestamp_field: Option<TimestampField>,
    },
}

/// The field that becomes the timestamp.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TimestampField {
    U,
    V,
}

/// What all strategies have.
type Options = (Option<i64>, Option<TimestampField>);

impl StrategySpec {
    /// Assigns timestamps and watermarks to the events of an input, where one subtask sees all of them.
    pub(super) fn assign(self, bench: &Bench<'_>, events: DataStream<Event>) -> DataStream<Event> {
        let assigned = match self {
            StrategySpec::BoundedOutOfOrderness { delay_ms, idle_timeout_ms, timestamp_field } => {
                let strategy = WatermarkStrategy::bounded_out_of_orderness(duration(delay_ms));
                with(strategy, (idle_timeout_ms, timestamp_field), events)
            }
            StrategySpec::Monotonous { idle_timeout_ms, timestamp_field } => {
                with(WatermarkStrategy::monotonous(), (idle_timeout_ms, timestamp_field), events)
            }
            StrategySpec::None { idle_timeout_ms, timestamp_field } => {
                with(WatermarkStrategy::none(), (idle_timeout_ms, timestamp_field), events)
            }
            StrategySpec::Punctuated { idle_timeout_ms, timestamp_field } => {
                let strategy = WatermarkStrategy::punctuated(|event: &Event, timestamp_ms| {
                    let is_mark = event.s.as_deref() == Some("wm");
                    is_mark.then(|| timestamp_ms.saturating_sub(event.u))
                });
                with(strategy, (idle_timeout_ms, timestamp_field), events)
            }
        };
        if bench.parallelism > 1 { assigned.set_parallelism(1) } else { assigned }
    }
}

fn with<G: WatermarkGenerator<Event> + Clone + Send>(
    mut strategy: WatermarkStrategy<Event, G>,
    (idle_timeout_ms, field): Options,
    events: DataStream<Event>,
) -> DataStream<Event> {
    if let Some(idle_timeout_ms) = idle_timeout_ms {
        strategy = strategy.with_idleness(duration(idle_timeout_ms));
    }
    match field {
        None => events.assign_timestamps_and_watermarks(strategy).boxed(),
        Some(field) => {
            let strategy = strategy.with_timestamp(move |event: &Event| match field {
                TimestampField::U => event.u,
                TimestampField::V => event.v,
            });
            events.assign_timestamps_and_watermarks(strategy).boxed()
        }
    }
}
