//! Windows that merge: the set of a key's open windows, and what is brought together when some become one.

use super::store::{Element, WindowStore};
use crate::Result;
use crate::operator::Push;
use crate::operator::window::body::Body;
use crate::operator::window::general::UserCode;
use crate::operator::window::stored::Contents;
use crate::state::StateValue;
use crate::window::merging::{MergeStep, MergingWindowSet};
use crate::window::{OnMergeContext, Trigger, Window, WindowAssigner, WindowError};
use thalweg_state::{Key, KeyHash, RowId};

impl<K: Key, W: Window, S: StateValue> WindowStore<K, W, S> {
    /// Puts an element into the windows that its own are, or become a part of; returns it if it is late.
    pub(super) fn on_merging_element<T, A, R, B, D>(
        &mut self,
        code: &mut UserCode<A, R, B>,
        (hash, key): (KeyHash, &K),
        assigned: &[W],
        (record, timestamp): (T, i64),
        next: &mut D,
    ) -> Result<Option<T>>
    where
        A: WindowAssigner<T, Window = W>,
        R: Trigger<T, W>,
        B: Body<T, K, W, State = S>,
        D: Push<B::Out>,
    {
        let mut set = self.merging.take(&mut self.keys.enter(hash, key)?.0)?.unwrap_or_default();
        let (mut record, mut is_taken) = (Some(record), false);
        for (index, window) in assigned.iter().enumerate() {
            let Some(actual) = self.add_window(code, &mut set, (hash, key), *window)? else {
                continue;
            };
            is_taken = true;
            let state = set.state_of(&actual).unwrap_or(actual);
            let rows = (self.row_of(hash, key, &actual)?, self.row_of(hash, key, &state)?);
            let is_last = index + 1 == assigned.len();
            let element = match record.take_if(|_| is_last) {
                Some(record) => Element::Owned(record),
                None => match &record {
                    Some(record) => Element::Shared(record),
                    None => break,
                },
            };
            self.on_element(code, rows, element, timestamp, next)?;
        }
        self.put_back(set, (hash, key))?;
        Ok(record.filter(|_| !is_taken && self.is_element_late(timestamp)))
    }

    /// Adds a window to a key's set and merges; the window it is a part of now, unless that is over.
    fn add_window<T, A, R, B>(
        &mut self,
        code: &mut UserCode<A, R, B>,
        set: &mut MergingWindowSet<W>,
        key: (KeyHash, &K),
        window: W,
    ) -> Result<Option<W>>
    where
        A: WindowAssigner<T, Window = W>,
        R: Trigger<T, W>,
        B: Body<T, K, W, State = S>,
    {
        let mut steps = Vec::new();
        let merge =
            |windows: &[W], groups: &mut Vec<_>| code.assigner.merge_windows(windows, groups);
        let actual = set.add(window, merge, &mut steps);
        for step in steps {
            self.merge(code, key, &step)?;
        }
        if self.is_late(&actual) {
            set.retire(&actual);
            return Ok(None);
        }
        Ok(Some(actual))
    }

    /// Brings trigger and contents of merged windows together.
    fn merge<T, A, R, B>(
        &mut self,
        code: &mut UserCode<A, R, B>,
        (hash, key): (KeyHash, &K),
        step: &MergeStep<W>,
    ) -> Result<()>
    where
        R: Trigger<T, W>,
        B: Body<T, K, W, State = S>,
    {
        self.check_merge(&step.result)?;
        let target = self.row_of(hash, key, &step.result)?;
        let rows = step.merged.iter().map(|window| self.row_of(hash, key, window));
        let merged = rows.collect::<Result<Vec<RowId>, _>>()?;
        let WindowStore { windows, services, .. } = self;
        let mut context = OnMergeContext { rows: windows, target, merged: &merged, services };
        code.trigger.on_merge(&step.result, &mut context)?;
        for (window, row) in step.merged.iter().zip(&merged) {
            code.trigger.clear(window, &mut self.at(*row)?.0)?;
            self.delete_cleanup(*row)?;
        }
        self.merge_contents::<T, B>(&mut code.body, (hash, key), step)?;
        merged.iter().for_each(|row| self.windows.release(*row));
        Ok(())
    }

    fn merge_contents<T, B>(
        &mut self,
        body: &mut B,
        (hash, key): (KeyHash, &K),
        step: &MergeStep<W>,
    ) -> Result<()>
    where
        B: Body<T, K, W, State = S>,
    {
        if step.merged_states.is_empty() {
            return Ok(());
        }
        let into = self.row_of(hash, key, &step.state)?;
        let mut whole = self.take_contents(into)?;
        for window in &step.merged_states {
            let row = self.row_of(hash, key, window)?;
            let part = self.take_contents(row)?;
            self.windows.release(row);
            whole = match (whole, part) {
                (Some(mut whole), Some(part)) => {
                    body.merge(&mut whole, part);
                    Some(whole)
                }
                (whole, part) => whole.or(part),
            };
        }
        if whole.is_some() {
            self.contents.update(&mut self.windows.cursor(into)?.0, Contents(whole))?;
        }
        Ok(())
    }

    fn take_contents(&mut self, row: RowId) -> Result<Option<S>> {
        let contents = self.contents.take(&mut self.windows.cursor(row)?.0)?;
        Ok(contents.and_then(|contents| contents.0))
    }

    /// A window must not be over already when it is made by merging.
    fn check_merge(&self, window: &W) -> Result<(), WindowError> {
        let now_ms = match self.limits.is_event_time {
            true => self.services.watermark,
            false => self.services.now_ms(),
        };
        if self.limits.cleanup_ms(window) <= now_ms {
            return Err(WindowError::MergedIntoThePast { window: format!("{window:?}"), now_ms });
        }
        Ok(())
    }

    fn put_back(&mut self, set: MergingWindowSet<W>, (hash, key): (KeyHash, &K)) -> Result<()> {
        let (mut cursor, _) = self.keys.enter(hash, key)?;
        let row = cursor.row_id().expect("a cursor from a store has a row");
        if !set.is_empty() {
            self.merging.update(&mut cursor, set)?;
        }
        self.keys.release(row);
        Ok(())
    }

    /// Where the contents of a window are; `None` if it is not open.
    pub(super) fn merging_contents_row(&mut self, row: RowId) -> Result<Option<RowId>> {
        let (_, at) = self.windows.cursor(row)?;
        let (key, window) = (at.key.clone(), at.namespace);
        let hash = key.key_hash();
        let Some(key_row) = self.keys.find(hash, &key)? else { return Ok(None) };
        let (cursor, _) = self.keys.cursor(key_row)?;
        let state =
            self.merging.with_ref(&cursor, |set| set.and_then(|set| set.state_of(&window)))?;
        match state {
            Some(state) => Ok(Some(self.row_of(hash, &key, &state)?)),
            None => Ok(None),
        }
    }

    /// Forgets an open window.
    pub(super) fn retire(&mut self, row: RowId, window: &W) -> Result<()> {
        let (_, at) = self.windows.cursor(row)?;
        let Some(key_row) = self.keys.find(at.key.key_hash(), &at.key)? else { return Ok(()) };
        let (mut cursor, _) = self.keys.cursor(key_row)?;
        let is_empty = self.merging.modify(&mut cursor, |set| {
            set.retire(window);
            set.is_empty()
        })?;
        if is_empty {
            self.merging.clear(&mut cursor)?;
        }
        self.keys.release(key_row);
        Ok(())
    }
}
