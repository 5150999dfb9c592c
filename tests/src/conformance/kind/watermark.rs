//! `watermark`: passes events with the watermark that their operator sees.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use crate::conformance::kind::Interpreter;
use crate::conformance::kind::strategy::StrategySpec;
use serde::Deserialize;
use serde_json::json;
use thalweg::prelude::*;

/// Streams that meet in one operator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WatermarkJob {
    mode: Mode,
    inputs: usize,
    /// One for each input, or none at all.
    #[serde(default)]
    strategies: Vec<Option<StrategySpec>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Single,
    Union,
    Connect,
    ConnectOfUnions,
}

impl WatermarkJob {
    pub(super) fn checked(self) -> Result<Self, String> {
        let fits = match self.mode {
            Mode::Single => self.inputs == 1,
            Mode::Union => self.inputs >= 1,
            Mode::Connect => self.inputs == 2,
            Mode::ConnectOfUnions => self.inputs == 4,
        };
        let strategies = self.strategies.len();
        match (fits, strategies == 0 || strategies == self.inputs) {
            (false, _) => Err(format!("{} inputs do not fit mode {:?}", self.inputs, self.mode)),
            (_, false) => Err(format!("{strategies} strategies for {} inputs", self.inputs)),
            _ => Ok(self),
        }
    }

    fn input(&self, bench: &Bench<'_>, index: usize) -> DataStream<Event> {
        match self.strategies.get(index).copied().flatten() {
            Some(strategy) => strategy.assign(bench, bench.lone_input(index)),
            None => bench.input(index),
        }
    }
}

impl Interpreter for WatermarkJob {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn build(&self, bench: &Bench<'_>) {
        let first = self.input(bench, 0);
        let rest: Vec<_> = (1..self.inputs).map(|index| self.input(bench, index)).collect();
        match self.mode {
            Mode::Single => bench.outputs("main", first.process(Pass)),
            Mode::Union => bench.outputs("main", first.union_all(rest).process(Pass)),
            Mode::Connect => bench.outputs("main", first.connect(only(rest)).process(Pass)),
            Mode::ConnectOfUnions => {
                let mut rest = rest.into_iter();
                let (left, mut right) = (first.union_all(rest.by_ref().take(1)), rest);
                let third = right.next().expect("four inputs were checked");
                let united = third.union_all(right);
                bench.outputs("main", left.connect(united).process(Pass));
            }
        }
    }
}

fn only(rest: Vec<DataStream<Event>>) -> DataStream<Event> {
    rest.into_iter().next().expect("two inputs were checked")
}

/// Passes `{key, v, wm}`.
#[derive(Clone)]
struct Pass;

fn pass(event: &Event, context: &ProcessContext<'_>, out: &mut Collector<'_, Output>) {
    let wm = context.current_watermark();
    out.collect(Output::new(&json!({"key": event.key, "v": event.v, "wm": wm})));
}

impl ProcessFunction for Pass {
    type In = Event;
    type Out = Output;
    fn process_element(
        &mut self,
        event: Event,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        pass(&event, context, out);
        Ok(())
    }
}

impl CoProcessFunction for Pass {
    type In1 = Event;
    type In2 = Event;
    type Out = Output;
    fn process_element1(
        &mut self,
        event: Event,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        pass(&event, context, out);
        Ok(())
    }
    fn process_element2(
        &mut self,
        event: Event,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        pass(&event, context, out);
        Ok(())
    }
}
