//! Functions of windows.

use crate::Result;
use crate::function::{Collector, RuntimeContext};
use crate::window::TimeWindow;
use thalweg_state::Key;

/// Sees each result of a window with its key and window.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a ProcessWindowFunction")]
pub trait ProcessWindowFunction: 'static {
    /// The stream's key.
    type Key: Key;
    /// What the window's aggregate gives.
    type In: 'static;
    /// Records given.
    type Out: 'static;
    /// Called once on the function's core, before the first record.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called when a key's window fires; what is emitted carries the window's last instant.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process(
        &mut self,
        key: &Self::Key,
        context: &WindowContext,
        result: Self::In,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a window function may know.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WindowContext {
    /// The window that fires.
    pub window: TimeWindow,
    /// Event time when it fires.
    pub current_watermark: i64,
}
