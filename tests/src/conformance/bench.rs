//! Where an interpreter writes its job: inputs, outputs, and how the job is to run.
//!
//! At parallelism P > 1:
//! - [`Bench::input`] has P subtasks, which get the events in turn; watermarks, statuses and ends reach all of them.
//! - [`Bench::lone_input`] has one, because watermarks that are made from the events there must see all of them.
//! - An output has one subtask, where the streams of P meet: its watermark is the minimum over them.

use crate::conformance::event::{Event, Output};
use crate::conformance::requests::Requests;
use std::cell::RefCell;
use thalweg::api::Evaluation;
use thalweg::prelude::*;
use thalweg::testing;

/// What a job is built on.
pub(super) struct Bench<'a> {
    pub(super) env: &'a StreamExecutionEnvironment,
    pub(super) parallelism: usize,
    /// Windows are kept one by one, also where slices would do.
    pub(super) is_per_pane: bool,
    /// Where the asynchronous function of the job leaves its requests.
    pub(super) requests: Requests,
    /// The outputs that were written.
    pub(super) outputs: &'a RefCell<Vec<String>>,
}

/// Name of an input's source.
pub(super) fn input_name(index: usize) -> String {
    format!("input {index}")
}

impl Bench<'_> {
    /// The events of an input.
    pub(super) fn input(&self, index: usize) -> DataStream<Event> {
        self.env.from_source(testing::input::<Event>(), input_name(index)).boxed()
    }

    /// The events of an input whose watermarks are generated.
    pub(super) fn lone_input(&self, index: usize) -> DataStream<Event> {
        let source = self.env.from_source(testing::input::<Event>(), input_name(index));
        if self.parallelism == 1 { source.boxed() } else { source.set_parallelism(1) }
    }

    /// How overlapping windows are kept.
    pub(super) fn evaluation(&self) -> Evaluation {
        if self.is_per_pane { Evaluation::PerPane } else { Evaluation::Automatic }
    }

    /// Records what `stream` emits as the output `name`.
    pub(super) fn outputs<C: Chain<Output>>(&self, name: &str, stream: DataStream<Output, C>) {
        let sink = stream.sink_to(testing::output::<Output>()).name(name);
        if self.parallelism > 1 {
            let _ = sink.set_parallelism(1);
        }
        self.outputs.borrow_mut().push(name.to_owned());
    }

    /// Records the events of `stream` as the output `name`.
    pub(super) fn events<C: Chain<Event>>(&self, name: &str, stream: DataStream<Event, C>) {
        self.outputs(name, stream.map(|event| event.to_output()));
    }
}
