//! The rows of windows and keys, and what happens to one window.

use crate::Result;
use crate::function::{Collector, TimeDomain, WindowContext};
use crate::operator::Push;
use crate::operator::keyed_services::KeyedServices;
use crate::operator::keyed_store::KeyedStore;
use crate::operator::window::body::Body;
use crate::operator::window::general::UserCode;
use crate::operator::window::stored::Contents;
use crate::state::{StateValue, ValueState};
use crate::window::merging::MergingWindowSet;
use crate::window::trigger::context::LendRow;
use crate::window::{Trigger, TriggerContext, TriggerResult, Window};
use thalweg_state::{DueTimer, Key, KeyHash, Namespaced, RowCursor, RowId, RowStore, StateError};

/// When windows are over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) is_event_time: bool,
    pub(crate) lateness_ms: i64,
}

impl Limits {
    /// When a window is given up; `i64::MAX` for never.
    pub(crate) fn cleanup_ms<W: Window>(&self, window: &W) -> i64 {
        match self.is_event_time {
            true => window.max_timestamp().saturating_add(self.lateness_ms),
            false => window.max_timestamp(),
        }
    }

    /// The clock that gives windows up.
    fn domain(&self) -> TimeDomain {
        if self.is_event_time { TimeDomain::EventTime } else { TimeDomain::ProcessingTime }
    }
}

/// An element that a window takes: for itself, or shared with others.
pub(super) enum Element<'a, T> {
    Owned(T),
    Shared(&'a T),
}

impl<T> Element<'_, T> {
    fn get(&self) -> &T {
        match self {
            Element::Owned(record) => record,
            Element::Shared(record) => record,
        }
    }
}

/// See the module docs.
pub(super) struct WindowStore<K: Key, W: Window, S> {
    pub(super) windows: RowStore<Namespaced<K, W>>,
    pub(super) keys: RowStore<K>,
    /// Where windows and keys lie that are not in memory.
    pub(super) files: Option<KeyedStore>,
    pub(super) contents: ValueState<Contents<S>>,
    /// Of a key; unopened where windows do not merge.
    pub(super) merging: ValueState<MergingWindowSet<W>>,
    pub(super) is_merging: bool,
    /// Does the function have state of the key?
    pub(super) has_key_state: bool,
    pub(super) services: KeyedServices,
    pub(super) limits: Limits,
}

/// The rows of a window: its own, and that of its contents, which differ where windows merge.
pub(super) type Rows = (RowId, RowId);

impl<K: Key, W: Window> LendRow for RowStore<Namespaced<K, W>> {
    fn lend(&mut self, row: RowId) -> Result<RowCursor<'_>, StateError> {
        Ok(self.cursor(row)?.0)
    }
}

impl<K: Key, W: Window, S: StateValue> WindowStore<K, W, S> {
    /// Has the watermark passed the window and its allowed lateness?
    pub(super) fn is_late(&self, window: &W) -> bool {
        self.limits.is_event_time && self.limits.cleanup_ms(window) <= self.services.watermark
    }

    /// Is an element that no window takes late?
    pub(super) fn is_element_late(&self, timestamp: i64) -> bool {
        let Limits { is_event_time, lateness_ms } = self.limits;
        is_event_time && timestamp.saturating_add(lateness_ms) <= self.services.watermark
    }

    /// The row of a key's window, added if there is none.
    #[inline]
    pub(super) fn row_of(
        &mut self,
        hash: KeyHash,
        key: &K,
        window: &W,
    ) -> Result<RowId, StateError> {
        let (cursor, _) = self.windows.enter_namespaced(hash, key, window)?;
        Ok(cursor.row_id().expect("a cursor from a store has a row"))
    }

    /// Tells state with a time to live what time it is.
    #[inline]
    pub(super) fn tell_time(&mut self) {
        if self.windows.has_ttl() {
            self.windows.set_now_ms(self.services.now_ms());
        }
        if self.keys.has_ttl() {
            self.keys.set_now_ms(self.services.now_ms());
        }
    }

    /// The context of the trigger at a window, and the window.
    pub(super) fn at(&mut self, row: RowId) -> Result<(TriggerContext<'_>, W), StateError> {
        let (cursor, at) = self.windows.cursor(row)?;
        let context = TriggerContext { cursor, services: &mut self.services };
        Ok((context, at.namespace))
    }

    /// Adds an element to a window and does what its trigger says.
    pub(super) fn on_element<T, A, R, B, D>(
        &mut self,
        code: &mut UserCode<A, R, B>,
        rows: Rows,
        element: Element<'_, T>,
        timestamp: i64,
        next: &mut D,
    ) -> Result<()>
    where
        R: Trigger<T, W>,
        B: Body<T, K, W, State = S>,
        D: Push<B::Out>,
    {
        let (mut context, window) = self.at(rows.0)?;
        let result = code.trigger.on_element(element.get(), timestamp, &window, &mut context)?;
        let (mut cursor, _) = self.windows.cursor(rows.1)?;
        self.contents.modify(&mut cursor, |contents| match element {
            Element::Owned(record) => code.body.add(&mut contents.0, record, timestamp),
            Element::Shared(record) => code.body.add_copy(&mut contents.0, record, timestamp),
        })?;
        self.fire_and_purge(code, rows, result, next)?;
        self.register_cleanup(rows.0)?;
        self.release(rows);
        Ok(())
    }

    /// Asks the trigger at a timer, and gives the window up if it is the time.
    pub(super) fn on_timer<T, A, R, B, D>(
        &mut self,
        code: &mut UserCode<A, R, B>,
        domain: TimeDomain,
        timer: DueTimer,
        next: &mut D,
    ) -> Result<()>
    where
        R: Trigger<T, W>,
        B: Body<T, K, W, State = S>,
        D: Push<B::Out>,
    {
        self.tell_time();
        let (timestamp_ms, row) = (timer.timestamp_ms(), timer.row());
        timer.unpin(&mut self.windows.cursor(row)?.0);
        let Some(contents_row) = self.contents_row(row)? else {
            // The trigger of a window that was merged into another one has left a timer.
            self.windows.release(row);
            return Ok(());
        };
        let rows = (row, contents_row);
        let (mut context, window) = self.at(row)?;
        let (context, trigger) = (&mut context, &mut code.trigger);
        let result = match domain {
            TimeDomain::EventTime => trigger.on_event_time(timestamp_ms, &window, context)?,
            TimeDomain::ProcessingTime => {
                trigger.on_processing_time(timestamp_ms, &window, context)?
            }
        };
        self.fire_and_purge(code, rows, result, next)?;
        if domain == self.limits.domain() && timestamp_ms == self.limits.cleanup_ms(&window) {
            self.give_up(code, rows, window)?;
        }
        self.release(rows);
        Ok(())
    }

    /// Where the contents of a window are; `None` if it is not open.
    fn contents_row(&mut self, row: RowId) -> Result<Option<RowId>> {
        match self.is_merging {
            true => self.merging_contents_row(row),
            false => Ok(Some(row)),
        }
    }

    fn fire_and_purge<T, A, R, B, D>(
        &mut self,
        code: &mut UserCode<A, R, B>,
        rows: Rows,
        result: TriggerResult,
        next: &mut D,
    ) -> Result<()>
    where
        B: Body<T, K, W, State = S>,
        D: Push<B::Out>,
    {
        if result.is_fire() {
            self.fire(&mut code.body, rows, next)?;
        }
        if result.is_purge() {
            let (mut cursor, _) = self.windows.cursor(rows.1)?;
            self.contents.clear(&mut cursor)?;
        }
        Ok(())
    }

    /// Calls the function for a window, if it has contents.
    fn fire<T, B, D>(&mut self, body: &mut B, rows: Rows, next: &mut D) -> Result<()>
    where
        B: Body<T, K, W, State = S>,
        D: Push<B::Out>,
    {
        // Taken out meanwhile: the function may use state of the same row.
        let contents = self.contents.take(&mut self.windows.cursor(rows.1)?.0)?;
        let Some(state) = contents.and_then(|contents| contents.0) else { return Ok(()) };
        let kept = self.with_function(rows.0, |key, context| {
            let out = &mut Collector::new(next, context.window.max_timestamp());
            body.fire(state, key, context, out)
        })?;
        if kept.is_some() {
            self.contents.update(&mut self.windows.cursor(rows.1)?.0, Contents(kept))?;
        }
        Ok(())
    }

    /// Runs code of the function at a window.
    fn with_function<O>(
        &mut self,
        row: RowId,
        code: impl FnOnce(&K, &mut WindowContext<'_, W>) -> Result<O>,
    ) -> Result<O> {
        let WindowStore { windows, keys, services, is_merging, has_key_state, .. } = self;
        let (cursor, at) = windows.cursor(row)?;
        let window_row = if *is_merging { RowCursor::detached() } else { cursor };
        let mut released = None;
        let key_row = match has_key_state {
            true => {
                let (cursor, _) = keys.enter(at.key.key_hash(), &at.key)?;
                released = cursor.row_id();
                cursor
            }
            false => RowCursor::detached(),
        };
        let context = &mut WindowContext { window: at.namespace, window_row, key_row, services };
        let result = code(&at.key, context);
        released.into_iter().for_each(|row| keys.release(row));
        result
    }

    /// Sets the timer that gives a window up.
    fn register_cleanup(&mut self, row: RowId) -> Result<()> {
        let limits = self.limits;
        let (mut context, window) = self.at(row)?;
        match limits.cleanup_ms(&window) {
            i64::MAX => {}
            at_ms => context.register_timer(limits.domain(), at_ms),
        }
        Ok(())
    }

    /// Deletes the timer that gives a window up.
    pub(super) fn delete_cleanup(&mut self, row: RowId) -> Result<()> {
        let limits = self.limits;
        let (mut context, window) = self.at(row)?;
        match limits.cleanup_ms(&window) {
            i64::MAX => {}
            at_ms => context.delete_timer(limits.domain(), at_ms),
        }
        Ok(())
    }

    /// Clears all that a window has.
    fn give_up<T, A, R, B>(
        &mut self,
        code: &mut UserCode<A, R, B>,
        rows: Rows,
        window: W,
    ) -> Result<()>
    where
        R: Trigger<T, W>,
        B: Body<T, K, W, State = S>,
    {
        self.contents.clear(&mut self.windows.cursor(rows.1)?.0)?;
        code.trigger.clear(&window, &mut self.at(rows.0)?.0)?;
        self.with_function(rows.0, |_, context| code.body.clear(context))?;
        if self.is_merging {
            self.retire(rows.0, &window)?;
        }
        Ok(())
    }

    pub(super) fn release(&mut self, rows: Rows) {
        self.windows.release(rows.0);
        if rows.1 != rows.0 {
            self.windows.release(rows.1);
        }
    }
}
