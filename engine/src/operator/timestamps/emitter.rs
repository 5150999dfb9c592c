//! What a stream has been told of time, and what is still to be said.

use crate::record::{Control, MAX_WATERMARK, StreamStatus};
use std::collections::VecDeque;

/// Takes watermarks and statuses as generators say them, keeps those that change something, and gives them out one by one.
///
/// **Invariants**
/// - Watermarks only rise, and an idle stream is said to be active before its next watermark.
/// - It is empty whenever a generator is asked at a tick, so it holds no more than one call has said.
#[derive(Debug)]
pub(crate) struct WatermarkEmitter {
    watermark_ms: i64,
    idle: bool,
    due: VecDeque<Control>,
}

impl WatermarkEmitter {
    pub(super) fn new() -> Self {
        WatermarkEmitter { watermark_ms: i64::MIN, idle: false, due: VecDeque::new() }
    }

    /// What was said last: the watermark, and whether the stream is idle. Nothing must be waiting to be said.
    pub(super) fn said(&self) -> (i64, bool) {
        debug_assert!(self.due.is_empty(), "all that was to be said has been");
        (self.watermark_ms, self.idle)
    }

    /// Goes on from what was said in the run before, and says it once more: with another parallelism, whoever listens knows only
    /// what all had said. At the end of time nothing else would be said.
    pub(super) fn restore(&mut self, watermark_ms: i64, idle: bool) {
        self.emit_watermark(watermark_ms);
        if idle {
            self.mark_idle();
        }
    }

    pub(super) fn take(&mut self, said: impl Iterator<Item = Control>) {
        said.for_each(|control| match control {
            Control::Watermark(watermark_ms) => self.emit_watermark(watermark_ms),
            Control::Status(StreamStatus::Idle) => self.mark_idle(),
            Control::Status(StreamStatus::Active) => self.mark_active(),
            Control::Barrier(_) | Control::End => unreachable!("generators speak of time alone"),
        });
    }

    pub(super) fn emit_watermark(&mut self, watermark_ms: i64) {
        if watermark_ms > self.watermark_ms {
            self.watermark_ms = watermark_ms;
            self.mark_active();
            self.due.push_back(Control::Watermark(watermark_ms));
        }
    }

    pub(super) fn mark_idle(&mut self) {
        if !std::mem::replace(&mut self.idle, true) {
            self.due.push_back(Control::Status(StreamStatus::Idle));
        }
    }

    pub(super) fn mark_active(&mut self) {
        if std::mem::replace(&mut self.idle, false) {
            self.due.push_back(Control::Status(StreamStatus::Active));
        }
    }

    /// Nothing is waiting to be said.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// The end of time has been said.
    #[inline]
    pub(super) fn is_at_end(&self) -> bool {
        self.watermark_ms == MAX_WATERMARK && self.is_empty()
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<Control> {
        self.due.pop_front()
    }
}
