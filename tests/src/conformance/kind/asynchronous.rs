//! `async`: requests that the script completes.
//!
//! At parallelism > 1 the events are partitioned by key, so that those of a key keep their order. What a subtask waits
//! for does not hold back the others: with several keys, rows may come in earlier steps than at parallelism 1.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use crate::conformance::kind::{Interpreter, duration};
use crate::conformance::requests::Requests;
use serde::Deserialize;
use serde_json::json;
use thalweg::prelude::*;

/// An asynchronous function of each event.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AsyncJob {
    mode: Mode,
    /// 0 is none.
    #[serde(default)]
    timeout_ms: i64,
    #[serde(default)]
    on_timeout: OnTimeout,
    retry: Option<Retry>,
    capacity: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Ordered,
    Unordered,
}

/// What becomes of a request that is not answered in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnTimeout {
    /// `{id, timeout: true}`.
    #[default]
    Value,
    /// Nothing.
    Empty,
}

/// A request is made again, so often and so much later, when its result is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    #[serde(alias = "attempts")]
    max_attempts: u32,
    #[serde(alias = "backoff_ms")]
    delay_ms: i64,
}

impl Interpreter for AsyncJob {
    fn orders_across_keys(&self) -> bool {
        true
    }

    /// Requests that are issued again have all their time again.
    fn is_changed_by_restarts(&self) -> bool {
        self.timeout_ms > 0
    }

    fn build(&self, bench: &Bench<'_>) {
        let events = bench.input(0);
        let events = match bench.parallelism {
            1 => events,
            _ => events.partition_custom(|event, lanes| {
                event.key.bytes().fold(0, |sum: usize, byte| sum * 31 % 65_521 + byte as usize)
                    % lanes
            }),
        };
        let request = Request { requests: bench.requests.clone(), on_timeout: self.on_timeout };
        let mut options = AsyncOptions::timeout(duration(self.timeout_ms));
        if let Some(Retry { max_attempts, delay_ms }) = self.retry {
            let retry = AsyncRetry::fixed_delay(max_attempts, duration(delay_ms));
            options = options.retry(retry.if_result(|results| results.is_empty()));
        }
        if let Some(capacity) = self.capacity {
            options = options.capacity(capacity);
        }
        let answered = match self.mode {
            Mode::Ordered => events.async_ordered(request, options).boxed(),
            Mode::Unordered => events.async_unordered(request, options).boxed(),
        };
        bench.outputs("main", answered);
    }
}

/// Leaves each request to the script.
#[derive(Clone)]
struct Request {
    requests: Requests,
    on_timeout: OnTimeout,
}

impl AsyncFunction for Request {
    type In = Event;
    type Out = Output;

    fn invoke(&mut self, event: &Event, result: ResultFuture<Output>) -> thalweg::Result<()> {
        self.requests.open(event.u, result);
        Ok(())
    }

    fn timeout(&mut self, event: &Event, result: ResultFuture<Output>) -> thalweg::Result<()> {
        let timed_out = || Output::new(&json!({"id": event.u, "timeout": true}));
        result.complete(match self.on_timeout {
            OnTimeout::Value => vec![timed_out()],
            OnTimeout::Empty => Vec::new(),
        });
        Ok(())
    }
}
