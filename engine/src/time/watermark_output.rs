//! [`WatermarkOutput`]: where generators say what time it is.

use crate::record::{Control, StreamStatus};

/// Takes the watermarks and statuses of a [`WatermarkGenerator`](crate::time::WatermarkGenerator), in order.
///
/// A watermark that is not above the last one is dropped behind it, and so is a status that changes nothing. A watermark
/// makes an idle stream active.
///
/// # Examples
/// The test of a generator:
/// ```
/// use thalweg::record::Control;
/// use thalweg::time::{BoundedOutOfOrderness, WatermarkGenerator, WatermarkOutput, milliseconds};
///
/// let mut generator = BoundedOutOfOrderness::new(milliseconds(3));
/// let mut out = WatermarkOutput::new();
/// generator.on_event(&"a record", 10, &mut out);
/// assert_eq!(out.take(), []);
/// WatermarkGenerator::<&str>::on_periodic(&mut generator, &mut out);
/// assert_eq!(out.take(), [Control::Watermark(6)]);
/// ```
#[derive(Debug, Default)]
pub struct WatermarkOutput {
    said: Vec<Control>,
}

impl WatermarkOutput {
    /// One that nothing has been said to.
    pub fn new() -> Self {
        Self::default()
    }

    /// No record with a timestamp at or below `watermark_ms` is expected any more.
    pub fn emit_watermark(&mut self, watermark_ms: i64) {
        self.said.push(Control::Watermark(watermark_ms));
    }

    /// Nothing is to be expected for a while: the stream must not hold others back.
    pub fn mark_idle(&mut self) {
        self.said.push(Control::Status(StreamStatus::Idle));
    }

    /// The stream takes part in the progress of time again, from where it was.
    pub fn mark_active(&mut self) {
        self.said.push(Control::Status(StreamStatus::Active));
    }

    /// What was said since the last call, in order.
    pub fn take(&mut self) -> Vec<Control> {
        std::mem::take(&mut self.said)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// As [`take`](Self::take), keeping the memory.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Control> + '_ {
        self.said.drain(..)
    }
}
