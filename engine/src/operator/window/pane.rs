//! Windows kept one by one: a table of accumulators for each.
//!
//! A checkpoint has all open windows and the watermark; which of them have fired follows from that, since a barrier finds
//! no firing under way. While it is written, elements of a window that it lacks take the slow path.

use crate::Result;
use crate::function::{AggregateFunction, KeySelector};
use crate::operator::Push;
use crate::operator::build::BuildContext;
use crate::operator::keyed::{KeyedLogic, Logic};
use crate::operator::keyed_services::restored_watermark;
use crate::operator::side_outputs::SideOutputs;
use crate::operator::window::WindowCore;
use crate::operator::window::emit::EmitPlain;
use crate::operator::window::table_bytes::TableKind;
use crate::operator::window::window_tables::{WindowTable, WindowTables};
use crate::record::CheckpointId;
use crate::window::TimeWindow;
use std::ops::Range;
use thalweg_state::KeyHash;

/// See the module docs.
pub(crate) struct PaneWindows<T, S: KeySelector<T>, A: AggregateFunction<T>, E> {
    core: WindowCore<T, S, A, E>,
    /// Open windows.
    panes: WindowTables<S::Key, A::Accumulator>,
    /// Elements in this piece of time belong to `panes.open[current]`, none of which has fired or is lacking in a checkpoint.
    /// Reset by each watermark and barrier.
    piece: Range<i64>,
    current: Range<usize>,
    /// Windows that have fired, or are firing, lie before this index.
    fired: usize,
    /// The bucket to go on with in the window that is firing.
    bucket: usize,
}

/// Contains no instant.
const NOTHING: Range<i64> = 0..0;

impl<T: 'static, S, A, E> PaneWindows<T, S, A, E>
where
    S: KeySelector<T>,
    A: AggregateFunction<T>,
    E: EmitPlain<S::Key, TimeWindow, A::Result>,
{
    pub(crate) fn open(core: WindowCore<T, S, A, E>, context: &BuildContext) -> Result<Self> {
        let panes = WindowTables::new(context, core.node);
        let mut windows =
            PaneWindows { core, panes, piece: NOTHING, current: 0..0, fired: 0, bucket: 0 };
        let header = windows.core.header(TableKind::Panes, i64::MAX);
        let restored = windows.panes.restore(context, windows.core.node, &header)?;
        if let Some((watermark, _)) = restored {
            windows.core.watermark = restored_watermark(watermark);
            let open = &windows.panes.open;
            windows.fired = open.partition_point(|pane| windows.core.has_fired(pane.window.end));
        }
        Ok(windows)
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
        let (Ok(first) | Err(first)) = self.panes.index_of(start);
        let mut index = first;
        while start <= last {
            if self.panes.open.get(index).is_none_or(|pane| pane.window.start != start) {
                self.open_window(index, TimeWindow { start, end: start + size_ms });
            }
            index += 1;
            start = start.saturating_add(slide_ms);
        }
        self.current = first..index;
        // While a window among them has fired, each element has to be looked at; also while a checkpoint lacks one.
        let all_open = !self.core.has_fired(self.panes.open[first].window.end);
        let is_plain = all_open && !self.panes.lacks(first..index);
        self.piece = if is_plain { piece.start..piece.end } else { NOTHING };
        Ok(())
    }

    fn open_window(&mut self, index: usize, window: TimeWindow) {
        self.panes.insert(index, window);
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
            self.panes.before_change(index, hash);
            let PaneWindows { core, panes, .. } = self;
            let WindowTable { window, table, .. } = &mut panes.open[index];
            let (key, accumulator) = core.add(hash, &record, table);
            if core.has_fired(window.end) {
                core.fire_key(*window, (key, accumulator), next);
            }
        }
    }

    /// Gives up windows for which nothing more is accepted.
    fn close_windows(&mut self) {
        while let Some(pane) = self.panes.open.front()
            && self.fired > 0
            && self.core.is_over(pane.window.end)
        {
            self.panes.pop_front();
            self.fired -= 1;
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
        self.panes.open.range_mut(current).any(|pane| pane.table.is_deep())
    }

    fn maintain(&mut self) -> Result {
        self.panes.step();
        Ok(())
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) {
        debug_assert_eq!(self.bucket, 0, "a barrier comes when nothing is firing");
        self.panes.begin_copy(checkpoint, &self.core.header(TableKind::Panes, i64::MAX));
        self.piece = NOTHING;
    }

    fn advance(&mut self, watermark: i64) -> bool {
        self.core.watermark = watermark;
        let next = self.panes.open.get(self.fired).map(|pane| pane.window.end);
        let fires = next.is_some_and(|end_ms| self.core.has_fired(end_ms));
        let first = self.panes.open.front().map(|pane| pane.window.end);
        let closes = first.is_some_and(|end_ms| self.core.is_over(end_ms));
        if fires || closes {
            self.piece = NOTHING;
            self.current = 0..0;
        }
        fires || closes
    }

    fn fire<D: Push<E::Out>>(&mut self, budget: usize, next: &mut D) -> bool {
        let mut left = budget;
        while let Some(pane) = self.panes.open.get(self.fired)
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
        for pane in panes.open.range_mut(current.clone()) {
            core.add(hash, &record, &mut pane.table);
        }
    }

    #[inline(always)]
    fn hint(&self, hash: u32) {
        if let Some(pane) = self.panes.open.get(self.current.start) {
            pane.table.hint(KeyHash::from_u32(hash));
        }
    }
}
