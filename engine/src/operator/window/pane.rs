//! Windows kept one by one: a table of accumulators for each.

use crate::function::{AggregateFunction, KeySelector};
use crate::operator::Push;
use crate::operator::keyed::{KeyedLogic, Logic};
use crate::operator::side_outputs::SideOutputs;
use crate::operator::window::emit::EmitPlain;
use crate::operator::window::{Accumulators, WindowCore};
use crate::window::TimeWindow;
use std::collections::VecDeque;
use std::ops::Range;
use thalweg_state::KeyHash;

struct Pane<K, A> {
    window: TimeWindow,
    table: Accumulators<K, A>,
}

/// See the module docs.
pub(crate) struct PaneWindows<T, S: KeySelector<T>, A: AggregateFunction<T>, E> {
    core: WindowCore<T, S, A, E>,
    /// Open windows, by start.
    panes: VecDeque<Pane<S::Key, A::Accumulator>>,
    /// Emptied tables, to be filled again.
    spare: Vec<Accumulators<S::Key, A::Accumulator>>,
    /// Elements in this piece of time belong to `panes[current]`, none of which has fired. Reset by each watermark.
    piece: Range<i64>,
    current: Range<usize>,
    /// Windows that have fired, or are firing, lie before this index.
    fired: usize,
    /// The bucket to go on with in the window that is firing.
    bucket: usize,
}

/// Contains no instant.
const NOTHING: Range<i64> = 0..0;
/// Emptied tables that are kept.
const SPARE_MAX: usize = 4;

impl<T: 'static, S, A, E> PaneWindows<T, S, A, E>
where
    S: KeySelector<T>,
    A: AggregateFunction<T>,
    E: EmitPlain<S::Key, TimeWindow, A::Result>,
{
    pub(crate) fn new(core: WindowCore<T, S, A, E>) -> Self {
        let (panes, spare) = (VecDeque::new(), Vec::new());
        PaneWindows { core, panes, spare, piece: NOTHING, current: 0..0, fired: 0, bucket: 0 }
    }

    /// Finds or opens the windows of an element outside the current piece of time.
    fn open_windows(&mut self, timestamp: i64) -> Result<(), Missed> {
        let Some((piece, last)) = self.core.windows.slice(timestamp) else {
            // As in Flink, an element of no window is late by its own timestamp.
            let is_late = self.core.is_over(timestamp.saturating_add(1));
            return Err(if is_late { Missed::Late } else { Missed::Gap });
        };
        let (size_ms, slide_ms) = (self.core.windows.size_ms, self.core.windows.slide_ms);
        if self.core.is_over(last + size_ms) {
            return Err(Missed::Late);
        }
        let mut start = self.core.windows.first_start(piece.end);
        while self.core.is_over(start + size_ms) {
            start += slide_ms;
        }
        let first = self.panes.partition_point(|pane| pane.window.start < start);
        let mut index = first;
        while start <= last {
            if self.panes.get(index).is_none_or(|pane| pane.window.start != start) {
                self.open_window(index, TimeWindow { start, end: start + size_ms });
            }
            index += 1;
            start = start.saturating_add(slide_ms);
        }
        self.current = first..index;
        // While a window among them has fired, each element has to be looked at.
        let all_open = !self.core.has_fired(self.panes[first].window.end);
        self.piece = if all_open { piece.start..piece.end } else { NOTHING };
        Ok(())
    }

    fn open_window(&mut self, index: usize, window: TimeWindow) {
        let table = self.spare.pop().unwrap_or_default();
        self.panes.insert(index, Pane { window, table });
        if self.core.has_fired(window.end) {
            self.fired += 1;
        }
    }

    /// An element outside the current piece of time; some of its windows may have fired already.
    #[cold]
    #[inline(never)]
    fn apply_slowly<D: Push<E::Out>>(
        &mut self,
        (hash, record, timestamp): (u32, T, i64),
        next: &mut D,
    ) {
        if self.core.refuses(timestamp) {
            return;
        }
        match self.open_windows(timestamp) {
            Ok(()) => {}
            Err(Missed::Late) => return self.core.drop_late(record, timestamp),
            Err(Missed::Gap) => return,
        }
        // The last window first, as in Flink, where some of them fire again.
        for index in self.current.clone().rev() {
            let PaneWindows { core, panes, .. } = self;
            let Pane { window, table } = &mut panes[index];
            let (key, accumulator) = core.add(hash, &record, table);
            if core.has_fired(window.end) {
                core.fire_key(*window, (key, accumulator), next);
            }
        }
    }

    /// Gives up windows for which nothing more is accepted.
    fn close_windows(&mut self) {
        while let Some(pane) = self.panes.front()
            && self.fired > 0
            && self.core.is_over(pane.window.end)
        {
            let pane = self.panes.pop_front().expect("there is one");
            self.fired -= 1;
            if self.spare.len() < SPARE_MAX {
                let mut table = pane.table;
                table.clear();
                self.spare.push(table);
            }
        }
    }
}

enum Missed {
    Late,
    Gap,
}

impl<T: 'static, S, A, E> KeyedLogic for PaneWindows<T, S, A, E>
where
    S: KeySelector<T>,
    A: AggregateFunction<T>,
    E: EmitPlain<S::Key, TimeWindow, A::Result>,
{
    type Out = E::Out;

    fn is_deep(&mut self) -> bool {
        let current = self.current.clone();
        self.panes.range_mut(current).any(|pane| pane.table.is_deep())
    }

    fn advance(&mut self, watermark: i64) -> bool {
        self.core.watermark = watermark;
        let next = self.panes.get(self.fired).map(|pane| pane.window.end);
        let fires = next.is_some_and(|end_ms| self.core.has_fired(end_ms));
        let first = self.panes.front().map(|pane| pane.window.end);
        let closes = first.is_some_and(|end_ms| self.core.is_over(end_ms));
        if fires || closes {
            self.piece = NOTHING;
            self.current = 0..0;
        }
        fires || closes
    }

    fn fire<D: Push<E::Out>>(&mut self, budget: usize, next: &mut D) -> bool {
        let mut left = budget;
        while let Some(pane) = self.panes.get(self.fired)
            && self.core.has_fired(pane.window.end)
        {
            while self.bucket < pane.table.bucket_count() {
                if left == 0 {
                    return false;
                }
                if let Some((key, accumulator)) = pane.table.bucket(self.bucket) {
                    left -= 1;
                    self.core.fire_key(pane.window, (key, accumulator), next);
                }
                self.bucket += 1;
            }
            self.bucket = 0;
            self.fired += 1;
        }
        self.close_windows();
        true
    }

    fn sides(&mut self) -> Option<&mut SideOutputs> {
        Some(&mut self.core.sides)
    }
}

impl<T: 'static, S, A, E> Logic<T> for PaneWindows<T, S, A, E>
where
    S: KeySelector<T>,
    A: AggregateFunction<T>,
    E: EmitPlain<S::Key, TimeWindow, A::Result>,
{
    #[inline(always)]
    fn apply<D: Push<E::Out>>(&mut self, hash: u32, record: T, timestamp: i64, next: &mut D) {
        if !self.piece.contains(&timestamp) {
            return self.apply_slowly((hash, record, timestamp), next);
        }
        let PaneWindows { core, panes, current, .. } = self;
        for pane in panes.range_mut(current.clone()) {
            core.add(hash, &record, &mut pane.table);
        }
    }

    #[inline(always)]
    fn hint(&self, hash: u32) {
        if let Some(pane) = self.panes.get(self.current.start) {
            pane.table.hint(KeyHash::from_u32(hash));
        }
    }
}
