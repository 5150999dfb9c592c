//! `assign_timestamps_and_watermarks`: stamps records and emits watermarks, by ticks or as records ask for.
//!
//! Watermarks from upstream are replaced, all but the last one; so are statuses. A watermark leaves between batches: at
//! once after each batch where the interval is 0, else at the first batch or tick after the interval has passed.
//!
//! **Invariants**
//! - Watermarks only rise.
//! - Records behind a punctuated watermark wait until it has left.

use crate::graph::NodeId;
use crate::operator::{Flow, Push, StageContext, UserCall};
use crate::record::{Control, MAX_WATERMARK, StreamStatus};
use crate::time::{TimestampAssigner, WatermarkGenerator};
use std::collections::VecDeque;
use std::rc::Rc;

/// See the module docs.
pub(crate) struct Timestamps<T, G, A, D> {
    generator: G,
    assigner: A,
    next: D,
    emitted_ms: i64,
    /// A punctuated watermark that must leave before the records in `waiting`.
    punctuation: Option<i64>,
    waiting: VecDeque<(T, i64)>,
    interval_ms: i64,
    tick_ms: i64,
    idle_timeout_ms: Option<i64>,
    saw_record: bool,
    active_ms: i64,
    idle: bool,
    stage: Rc<StageContext>,
    node: NodeId,
}

impl<T, G, A, D> Timestamps<T, G, A, D> {
    pub(crate) fn new(
        (generator, assigner, idle_timeout_ms): (G, A, Option<i64>),
        next: D,
        interval_ms: i64,
        (stage, node): (Rc<StageContext>, NodeId),
    ) -> Self {
        let now_ms = stage.task.core.now_ms.get();
        Timestamps {
            generator,
            assigner,
            next,
            emitted_ms: i64::MIN,
            punctuation: None,
            waiting: VecDeque::new(),
            interval_ms,
            tick_ms: now_ms.saturating_add(interval_ms),
            idle_timeout_ms,
            saw_record: false,
            active_ms: now_ms,
            idle: false,
            stage,
            node,
        }
    }
}

impl<T, G, A, D> Timestamps<T, G, A, D>
where
    T: 'static,
    G: WatermarkGenerator<T>,
    A: TimestampAssigner<T>,
    D: Push<T>,
{
    #[inline(always)]
    fn forward(&mut self, record: T, timestamp: i64) {
        self.saw_record = true;
        let call = UserCall::begin(&self.stage, self.node);
        let punctuation = self.generator.on_event(&record, timestamp);
        call.end();
        if G::PUNCTUATED && punctuation.is_some_and(|w| w > self.emitted_ms) {
            self.punctuation = punctuation;
        }
        self.next.push(record, timestamp);
    }

    /// What is to be emitted now, downstream being ready.
    fn due(&mut self) -> Option<Control> {
        if let Some(watermark) = self.punctuation.take() {
            return self.emit(watermark);
        }
        let now_ms = self.stage.task.core.now_ms.get();
        let is_tick = self.interval_ms == 0 || now_ms >= self.tick_ms;
        if is_tick {
            self.tick_ms = now_ms.saturating_add(self.interval_ms);
            let call = UserCall::begin(&self.stage, self.node);
            let watermark = self.generator.on_periodic().filter(|w| *w > self.emitted_ms);
            call.end();
            if let Some(watermark) = watermark {
                return self.emit(watermark);
            }
        }
        self.check_idleness(now_ms)
    }

    fn emit(&mut self, watermark: i64) -> Option<Control> {
        if self.idle {
            // Active again: said first, the watermark follows with the next drive.
            self.idle = false;
            self.punctuation = Some(watermark);
            return Some(Control::Status(StreamStatus::Active));
        }
        self.emitted_ms = watermark;
        self.stage.metrics.current_output_watermark_ms.set(watermark);
        Some(Control::Watermark(watermark))
    }

    fn check_idleness(&mut self, now_ms: i64) -> Option<Control> {
        let timeout_ms = self.idle_timeout_ms?;
        if std::mem::take(&mut self.saw_record) {
            self.active_ms = now_ms;
        }
        if self.idle {
            return None;
        }
        let idle_at_ms = self.active_ms.saturating_add(timeout_ms);
        if now_ms >= idle_at_ms {
            self.idle = true;
            return Some(Control::Status(StreamStatus::Idle));
        }
        self.wake_at(idle_at_ms);
        None
    }

    fn wake_at(&self, at_ms: i64) {
        let next = &self.stage.task.core.next_timer_ms;
        next.set(next.get().min(at_ms));
    }

    fn release_waiting(&mut self) {
        while self.punctuation.is_none()
            && let Some((record, timestamp)) = self.waiting.pop_front()
        {
            self.forward(record, timestamp);
        }
    }
}

impl<T, G, A, D> Push<T> for Timestamps<T, G, A, D>
where
    T: 'static,
    G: WatermarkGenerator<T>,
    A: TimestampAssigner<T>,
    D: Push<T>,
{
    #[inline(always)]
    fn push(&mut self, record: T, recorded: i64) {
        let call = UserCall::begin(&self.stage, self.node);
        let timestamp = self.assigner.timestamp_ms(&record, recorded);
        call.end();
        if G::PUNCTUATED && self.punctuation.is_some() {
            return self.waiting.push_back((record, timestamp));
        }
        self.forward(record, timestamp);
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Watermark(MAX_WATERMARK) => {
                self.emitted_ms = MAX_WATERMARK;
                self.next.control(control);
            }
            Control::Watermark(_) | Control::Status(_) => {}
            Control::Barrier(_) | Control::End => self.next.control(control),
        }
    }

    #[inline]
    fn drive(&mut self, dry: bool) -> Flow {
        let flow = self.next.drive(dry);
        if flow != Flow::Ready || self.emitted_ms == MAX_WATERMARK {
            return flow;
        }
        if let Some(control) = self.due() {
            self.next.control(control);
            self.stage.task.worked(1);
            return match self.next.drive(dry) {
                // There may be more to say: a status and a watermark, records behind a punctuation.
                Flow::Ready if G::PUNCTUATED || self.punctuation.is_some() => Flow::Busy,
                flow => flow,
            };
        }
        if G::PUNCTUATED && !self.waiting.is_empty() {
            self.release_waiting();
            return Flow::Busy;
        }
        if self.interval_ms > 0 {
            self.wake_at(self.tick_ms);
        }
        Flow::Ready
    }
}
