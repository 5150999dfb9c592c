//! The source of the workloads: event `i` is made from `splitmix64(i)` alone.

use super::{Meter, Settings};
use crate::digest::splitmix64;
use crate::now_ns;
use std::sync::Arc;
use thalweg::prelude::*;

/// 24 bytes of plain data.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Which key.
    pub key: u64,
    /// Event time in milliseconds.
    pub ts: u64,
    /// What is summed up.
    pub value: u64,
}

/// Subtask `s` of `p` emits the events `i` with `i % p == s`.
pub struct Events {
    keys: u64,
    events: u64,
    seconds: u64,
    events_per_ms: u64,
    meter: Arc<Meter>,
}

impl Events {
    /// Events whose time advances by one millisecond every `events_per_ms`.
    pub fn new(settings: &Settings, meter: Arc<Meter>, events_per_ms: u64) -> Self {
        let Settings { keys, events, seconds, .. } = *settings;
        Events { keys, events, seconds, events_per_ms, meter }
    }
}

impl Source for Events {
    type Out = Event;
    type Split = NoSplit;
    type Reader = EventReader;

    fn create_reader(&self, context: &ReaderContext) -> thalweg::Result<EventReader> {
        Ok(EventReader {
            keys: self.keys,
            events: self.events,
            stop_ns: self.seconds.saturating_mul(1_000_000_000),
            events_per_ms: self.events_per_ms,
            next: context.subtask_index as u64,
            step: context.parallelism as u64,
            started: false,
            polls: 0,
            meter: self.meter.clone(),
        })
    }
}

/// One subtask of [`Events`].
pub struct EventReader {
    keys: u64,
    events: u64,
    /// When to stop, on the clock of the meter.
    stop_ns: u64,
    events_per_ms: u64,
    next: u64,
    step: u64,
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
        let (keys, step, events_per_ms) = (self.keys, self.step, self.events_per_ms);
        let end = self.events.min(self.next.saturating_add(max as u64 * step));
        let mut i = self.next;
        if events_per_ms == 1 {
            while i < end {
                let r = splitmix64(i);
                out.collect(Event { key: r % keys, ts: i, value: r >> 48 });
                i += step;
            }
        } else {
            while i < end {
                let r = splitmix64(i);
                out.collect(Event { key: r % keys, ts: i / 1000, value: r >> 48 });
                i += step;
            }
        }
        self.meter.emitted((i - self.next) / step);
        self.next = i;
        // The clock is read every 32 batches: at 4 ns an event that is every 60 us.
        self.polls = self.polls.wrapping_add(1);
        let is_over =
            self.polls.is_multiple_of(32) && self.stop_ns != u64::MAX && now_ns() >= self.stop_ns;
        Ok(if i >= self.events || is_over {
            InputStatus::EndOfInput
        } else {
            InputStatus::MoreAvailable
        })
    }
}
