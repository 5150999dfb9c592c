//! `usecase`: the jobs that tutorials show, each as users would write it.

mod fraud;
mod hot_items;
mod login_fail;
mod order_timeout;
mod page_views;
mod temperature_rise;

use crate::conformance::bench::Bench;
use crate::conformance::case::take;
use crate::conformance::event::Event;
use crate::conformance::kind::strategy::StrategySpec;
use crate::conformance::kind::{Interpreter, read};
use serde::Deserialize;
use serde_json::{Map, Value};
use thalweg::prelude::*;

/// A use case, and what comes before it.
#[derive(Debug)]
pub(super) struct UsecaseJob {
    only_s: Option<String>,
    strategy: Option<StrategySpec>,
    usecase: Usecase,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "case", rename_all = "snake_case", deny_unknown_fields)]
enum Usecase {
    Pv {
        size_ms: i64,
    },
    Uv {
        size_ms: i64,
    },
    HotItems {
        size_ms: i64,
        slide_ms: i64,
        top_n: usize,
        #[serde(default)]
        allowed_lateness_ms: i64,
        #[serde(default)]
        clear_after_emit: bool,
    },
    LateUpdate {
        size_ms: i64,
        #[serde(default)]
        allowed_lateness_ms: i64,
    },
    TemperatureRise {
        rise_ms: i64,
        #[serde(default)]
        time: Time,
    },
    LoginFail {
        n: usize,
        within_ms: i64,
    },
    Fraud {
        small: i64,
        large: i64,
        within_ms: i64,
    },
    OrderTimeout {
        timeout_ms: i64,
    },
}

/// Which time a job runs by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Time {
    #[default]
    Event,
    Processing,
}

impl UsecaseJob {
    pub(super) fn read(mut job: Map<String, Value>) -> Result<Self, String> {
        let (only_s, strategy) = (take(&mut job, "only_s")?, take(&mut job, "strategy")?);
        Ok(UsecaseJob { only_s, strategy, usecase: read(job)? })
    }

    fn input(&self, bench: &Bench<'_>) -> DataStream<Event> {
        let events = match self.strategy {
            Some(_) => bench.lone_input(0),
            None => bench.input(0),
        };
        let events = match self.only_s.clone() {
            Some(only) => {
                let kept = events.filter(move |event| event.s.as_ref() == Some(&only)).boxed();
                match self.strategy.is_some() && bench.parallelism > 1 {
                    true => kept.set_parallelism(1),
                    false => kept,
                }
            }
            None => events,
        };
        match self.strategy {
            Some(strategy) => strategy.assign(bench, events),
            None => events,
        }
    }
}

impl Interpreter for UsecaseJob {
    fn build(&self, bench: &Bench<'_>) {
        let events = self.input(bench);
        match self.usecase {
            Usecase::Pv { size_ms } => page_views::build_views(bench, events, size_ms),
            Usecase::Uv { size_ms } => page_views::build_visitors(bench, events, size_ms),
            Usecase::HotItems {
                size_ms,
                slide_ms,
                top_n,
                allowed_lateness_ms,
                clear_after_emit,
            } => {
                let rank = hot_items::Rank::new(top_n, clear_after_emit);
                let windows = (size_ms, slide_ms, allowed_lateness_ms);
                hot_items::build(bench, events, windows, rank);
            }
            Usecase::LateUpdate { size_ms, allowed_lateness_ms } => {
                page_views::build_late_update(bench, events, size_ms, allowed_lateness_ms);
            }
            Usecase::TemperatureRise { rise_ms, time } => {
                temperature_rise::build(bench, events, rise_ms, time);
            }
            Usecase::LoginFail { n, within_ms } => login_fail::build(bench, events, n, within_ms),
            Usecase::Fraud { small, large, within_ms } => {
                fraud::build(bench, events, (small, large), within_ms);
            }
            Usecase::OrderTimeout { timeout_ms } => order_timeout::build(bench, events, timeout_ms),
        }
    }
}
