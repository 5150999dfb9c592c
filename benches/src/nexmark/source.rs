//! The source of the queries.

use super::{Cursor, Dataset, Event};
use crate::now_ns;
use crate::workload::Meter;
use std::sync::Arc;
use thalweg::prelude::*;

/// Subtask `s` of `p` emits the events `i` with `i % p == s`.
pub(super) struct Events {
    pub(super) dataset: Arc<Dataset>,
    /// How many events, or `u64::MAX`.
    pub(super) events: u64,
    /// How long, or `u64::MAX`.
    pub(super) seconds: u64,
    pub(super) meter: Arc<Meter>,
}

impl Source for Events {
    type Out = Event;
    type Split = NoSplit;
    type Reader = EventReader;

    fn create_reader(&self, context: &ReaderContext) -> thalweg::Result<EventReader> {
        let (subtask, parallelism) = (context.subtask_index, context.parallelism);
        Ok(EventReader {
            dataset: self.dataset.clone(),
            cursor: Cursor::new(subtask, parallelism),
            left: self.events.saturating_sub(subtask as u64).div_ceil(parallelism as u64),
            stop_ns: self.seconds.saturating_mul(1_000_000_000),
            started: false,
            polls: 0,
            meter: self.meter.clone(),
        })
    }
}

pub(super) struct EventReader {
    dataset: Arc<Dataset>,
    cursor: Cursor,
    left: u64,
    /// When to stop, on the clock of the meter.
    stop_ns: u64,
    started: bool,
    polls: u32,
    meter: Arc<Meter>,
}

impl SourceReader for EventReader {
    type Out = Event;
    type Split = NoSplit;

    #[inline(always)]
    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, Event>,
    ) -> thalweg::Result<InputStatus> {
        if !self.started {
            self.started = true;
            self.meter.started();
            self.stop_ns = self.stop_ns.saturating_add(now_ns());
        }
        let count = self.left.min(max as u64);
        for _ in 0..count {
            out.collect(self.cursor.next(&self.dataset));
        }
        self.left -= count;
        self.meter.emitted(count);
        // The clock is read every 32 batches.
        self.polls = self.polls.wrapping_add(1);
        let is_over =
            self.polls.is_multiple_of(32) && self.stop_ns != u64::MAX && now_ns() >= self.stop_ns;
        Ok(if self.left == 0 || is_over {
            InputStatus::EndOfInput
        } else {
            InputStatus::MoreAvailable
        })
    }
}
