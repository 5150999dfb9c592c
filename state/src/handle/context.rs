//! What handles ask of a context: the cursor of the current key.

use crate::RowCursor;

/// A context with a current key. Reads take `&C`, writes take `&mut C`; a function's `ctx: &mut
/// Context` serves both.
///
/// # Examples
///
/// ```
/// use thalweg_state::{KeyedContext, RowCursor, StateError, ValueState};
///
/// struct Context<'a> {
///     cursor: RowCursor<'a>,
///     timestamp_ms: i64,
/// }
///
/// impl KeyedContext for Context<'_> {
///     fn cursor(&self) -> &RowCursor<'_> {
///         &self.cursor
///     }
///     fn cursor_mut(&mut self) -> RowCursor<'_> {
///         self.cursor.reborrow()
///     }
/// }
///
/// fn touch(last: &ValueState<i64>, ctx: &mut Context<'_>) -> Result<Option<i64>, StateError> {
///     let previous = last.value(ctx)?;
///     last.update(ctx, ctx.timestamp_ms)?;
///     Ok(previous)
/// }
/// # let mut ctx = Context { cursor: RowCursor::detached(), timestamp_ms: 0 };
/// # assert!(touch(&ValueState::default(), &mut ctx).is_err());
/// ```
pub trait KeyedContext {
    /// The current key's row, to read; a detached cursor where no key is set.
    fn cursor(&self) -> &RowCursor<'_>;

    /// The current key's row, to change: [`RowCursor::reborrow`] of the same cursor.
    fn cursor_mut(&mut self) -> RowCursor<'_>;
}

impl KeyedContext for RowCursor<'_> {
    #[inline(always)]
    fn cursor(&self) -> &RowCursor<'_> {
        self
    }

    #[inline(always)]
    fn cursor_mut(&mut self) -> RowCursor<'_> {
        self.reborrow()
    }
}
