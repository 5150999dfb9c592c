//! Where streams end.

use crate::Result;
use crate::function::RuntimeContext;
use crate::record::Control;

/// How a sink stands to the records it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkStatus {
    /// Takes more.
    Ready,
    /// Cannot take more just now: the engine holds records back until it can.
    Full,
}

/// Takes the records of a stream out of the engine. Each subtask has its own.
///
/// `write` never waits: a sink that may be full buffers what one batch brings and says so in `poll_ready`.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a sink for records of type `{T}`")]
pub trait Sink<T>: 'static {
    /// Called once on the sink's core, before the first record.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Takes one record; `timestamp_ms` is [`NO_TIMESTAMP`](crate::record::NO_TIMESTAMP) for none.
    ///
    /// # Errors
    /// Any error fails the job, with the cause kept.
    fn write(&mut self, record: T, timestamp_ms: i64) -> Result<()>;
    /// Can it take more? Asked once a batch; `now_ms` is the wall clock, `dry` says that nothing more is coming just now, so
    /// that buffered records should go out.
    ///
    /// # Errors
    /// Any error fails the job.
    fn poll_ready(&mut self, _now_ms: i64, _dry: bool) -> Result<SinkStatus> {
        Ok(SinkStatus::Ready)
    }
    /// When, in wall-clock milliseconds, `poll_ready` wants to be asked again at the latest although no record may come until
    /// then. Read after each `poll_ready`.
    fn next_poll_ms(&self) -> Option<i64> {
        None
    }
    /// A watermark, a status or another control has come, after all records before it. The engine's own: what a test sees
    /// of a stream beside its records.
    ///
    /// # Errors
    /// Any error fails the job.
    #[doc(hidden)]
    fn on_control(&mut self, _control: Control) -> Result<()> {
        Ok(())
    }
    /// Called once at the end of input: everything written must be out when it has answered `Ready`.
    ///
    /// # Errors
    /// Any error fails the job.
    fn finish(&mut self) -> Result<SinkStatus> {
        Ok(SinkStatus::Ready)
    }
    /// Called once at last, also after failure and cancellation.
    ///
    /// # Errors
    /// Any error fails the job if it has not failed yet.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A sink made of a closure; `sink_to(|record| ...)`.
#[derive(Clone)]
pub struct FnSink<F>(pub(crate) F);

impl<T: 'static, F: FnMut(T) + 'static> Sink<T> for FnSink<F> {
    #[inline(always)]
    fn write(&mut self, record: T, _: i64) -> Result<()> {
        (self.0)(record);
        Ok(())
    }
}
