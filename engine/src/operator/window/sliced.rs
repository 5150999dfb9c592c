//! Overlapping windows over shared slices: one update an element, merged when a window fires.
//!
//! A slice is the time between two window boundaries; all its elements belong to the same windows. When the watermark
//! passes the end of a window, its slices are merged into one table, in bounded steps, and emitted from there. (The
//! paper behind it: Li et al., "No pane, no gain", SIGMOD Record 2005.)
//!
//! A checkpoint has all slices, the watermark and the next window to fire; a barrier finds no firing under way. While it
//! is written, elements of a slice that it lacks take the slow path.

use crate::Result;
use crate::function::{AggregateFunction, KeySelector};
use crate::operator::Push;
use crate::operator::build::BuildContext;
use crate::operator::keyed::{KeyedLogic, Logic};
use crate::operator::keyed_services::restored_watermark;
use crate::operator::side_outputs::SideOutputs;
use crate::operator::window::emit::EmitPlain;
use crate::operator::window::table_bytes::TableKind;
use crate::operator::window::window_tables::{WindowTable, WindowTables};
use crate::operator::window::{Accumulators, WindowCore};
use crate::record::CheckpointId;
use crate::window::TimeWindow;
use std::collections::VecDeque;
use std::ops::Range;
use thalweg_state::{Key, KeyHash};

/// Where the firing of a window stands.
enum Firing {
    /// The slice (index) and bucket to merge next.
    Merging(usize, usize),
    /// The bucket of the merged table to emit next.
    Emitting(usize),
}

/// See the module docs.
pub(crate) struct SlicedWindows<T, S: KeySelector<T>, A: AggregateFunction<T>, E> {
    core: WindowCore<T, S, A, E>,
    /// Slices that some window still needs.
    slices: WindowTables<S::Key, A::Accumulator>,
    /// The window that fires, merged.
    merged: Accumulators<S::Key, A::Accumulator>,
    /// Elements in this piece of time belong to `slices.open[current]`, none of whose windows has fired and which no
    /// checkpoint lacks.
    piece: Range<i64>,
    current: usize,
    /// The end of the first window that has not fired; `i64::MAX` while there is no slice.
    next_end_ms: i64,
    firing: Firing,
}

/// Contains no instant.
const NOTHING: Range<i64> = 0..0;

impl<T: 'static, S, A, E> SlicedWindows<T, S, A, E>
where
    S: KeySelector<T>,
    A: AggregateFunction<T>,
    E: EmitPlain<S::Key, TimeWindow, A::Result>,
{
    pub(crate) fn open(core: WindowCore<T, S, A, E>, context: &BuildContext) -> Result<Self> {
        let slices = WindowTables::new(context, core.node);
        let mut windows = SlicedWindows {
            core,
            slices,
            merged: Accumulators::default(),
            piece: NOTHING,
            current: 0,
            next_end_ms: i64::MAX,
            firing: Firing::Merging(0, 0),
        };
        let header = windows.core.header(TableKind::Slices, i64::MAX);
        let restored = windows.slices.restore(context, windows.core.node, &header)?;
        if let Some((watermark, next_end_ms)) = restored {
            windows.core.watermark = restored_watermark(watermark);
            windows.next_end_ms = next_end_ms;
        }
        Ok(windows)
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
        // Only overlapping windows are sliced, and those have no gaps.
        let Some((piece, last)) = self.core.windows.slice(timestamp) else { return };
        let size_ms = self.core.windows.size_ms;
        if self.core.is_over(last + size_ms) {
            return self.core.drop_late(record, timestamp);
        }
        let index = self.slices.index_of(piece.start).unwrap_or_else(|index| {
            self.slices.insert(index, piece);
            if index <= self.current {
                self.current += 1; // it has moved up
            }
            index
        });
        self.slices.before_change(index, hash);
        self.core.add(hash, &record, &mut self.slices.open[index].table);
        let first_end_ms = self.core.windows.first_start(piece.end) + size_ms;
        self.schedule(first_end_ms);
        if self.core.has_fired(first_end_ms) {
            return self.fire_again(hash, &record, first_end_ms, last, next);
        }
        self.current = index;
        let is_plain = !self.slices.lacks(index..index + 1);
        self.piece = if is_plain { piece.start..piece.end } else { NOTHING };
    }

    /// Makes sure that the first of the windows from `end_ms` on that has not fired will.
    fn schedule(&mut self, end_ms: i64) {
        let mut end_ms = end_ms;
        while self.core.has_fired(end_ms) {
            end_ms += self.core.windows.slide_ms;
        }
        self.next_end_ms = self.next_end_ms.min(end_ms);
    }

    /// The windows of a late element that have fired and are not over fire again, for its key; the last of them first, as in
    /// Flink.
    fn fire_again<D: Push<E::Out>>(
        &mut self,
        hash: u32,
        record: &T,
        first_end_ms: i64,
        last_start_ms: i64,
        next: &mut D,
    ) {
        let (size_ms, slide_ms) = (self.core.windows.size_ms, self.core.windows.slide_ms);
        let mut end_ms = last_start_ms + size_ms;
        while end_ms >= first_end_ms && !self.core.is_over(end_ms) {
            if self.core.has_fired(end_ms) {
                let window = TimeWindow { start: end_ms - size_ms, end: end_ms };
                self.fire_key_again(hash, record, window, next);
            }
            end_ms -= slide_ms;
        }
    }

    fn fire_key_again<D: Push<E::Out>>(
        &mut self,
        hash: u32,
        record: &T,
        window: TimeWindow,
        next: &mut D,
    ) {
        let hash = KeyHash::from_u32(hash);
        let key = self.core.selector.with_key(record, Clone::clone);
        let mut merged: Option<A::Accumulator> = None;
        let slices = &self.slices.open;
        for slice in slices_of(slices, window).map(|index| &slices[index]) {
            let Some((_, part)) = slice.table.find(hash, |entry| entry.0 == key) else { continue };
            match &mut merged {
                Some(into) => self.core.aggregate.merge(into, part),
                None => merged = Some(part.clone()),
            }
        }
        if let Some(accumulator) = &merged {
            self.core.fire_key(window, (&key, accumulator), next);
        }
    }

    /// Merges and emits the window that ends at `next_end_ms`; false when the budget has run out before that.
    fn fire_window<D: Push<E::Out>>(&mut self, left: &mut usize, next: &mut D) -> bool {
        let end = self.next_end_ms;
        let window = TimeWindow { start: end - self.core.windows.size_ms, end };
        if let Firing::Merging(..) = self.firing {
            if !self.merge_slices(window, left) {
                return false;
            }
            self.firing = Firing::Emitting(0);
        }
        self.emit_merged(window, left, next)
    }

    fn merge_slices(&mut self, window: TimeWindow, left: &mut usize) -> bool {
        let SlicedWindows { core, slices, merged, firing, .. } = self;
        let Firing::Merging(done, bucket) = firing else { return true };
        let range = slices_of(&slices.open, window);
        while let Some(index) = range.clone().nth(*done) {
            let table = &slices.open[index].table;
            while *bucket < table.bucket_count() {
                if *left == 0 {
                    return false;
                }
                if let Some((key, part)) = table.bucket(*bucket) {
                    *left -= 1;
                    merge_entry(&core.aggregate, merged, key, part);
                }
                *bucket += 1;
            }
            (*done, *bucket) = (*done + 1, 0);
        }
        true
    }

    fn emit_merged<D: Push<E::Out>>(
        &mut self,
        window: TimeWindow,
        left: &mut usize,
        next: &mut D,
    ) -> bool {
        let SlicedWindows { core, merged, firing, .. } = self;
        let Firing::Emitting(bucket) = firing else { return true };
        while *bucket < merged.bucket_count() {
            if *left == 0 {
                return false;
            }
            if let Some((key, accumulator)) = merged.bucket(*bucket) {
                *left -= 1;
                core.fire_key(window, (key, accumulator), next);
            }
            *bucket += 1;
        }
        merged.clear();
        *firing = Firing::Merging(0, 0);
        true
    }

    /// After a window has fired: the next one, skipping windows without slices.
    fn advance_window(&mut self) {
        let fired = self.next_end_ms;
        let size_ms = self.core.windows.size_ms;
        let start_ms = fired - size_ms + self.core.windows.slide_ms;
        let needed = self.slices.open.iter().find(|slice| slice.window.start >= start_ms);
        self.next_end_ms = match needed {
            Some(slice) => {
                let first = self.core.windows.first_start(slice.window.end) + size_ms;
                first.max(fired + self.core.windows.slide_ms)
            }
            None => i64::MAX,
        };
    }

    /// Are all windows of this slice over?
    fn is_over(&self, slice: &WindowTable<S::Key, A::Accumulator>) -> bool {
        let windows = &self.core.windows;
        self.core.is_over(windows.last_start(slice.window.start) + windows.size_ms)
    }

    /// Gives up slices all of whose windows are over.
    fn drop_slices(&mut self) {
        while self.slices.open.front().is_some_and(|slice| self.is_over(slice)) {
            self.slices.pop_front();
        }
    }
}

/// Indices of the slices of a window.
fn slices_of<K, A>(slices: &VecDeque<WindowTable<K, A>>, window: TimeWindow) -> Range<usize> {
    let first = slices.partition_point(|slice| slice.window.start < window.start);
    let end = slices.partition_point(|slice| slice.window.start < window.end);
    first..end
}

#[inline]
fn merge_entry<T, K: Key, A: AggregateFunction<T>>(
    aggregate: &A,
    merged: &mut Accumulators<K, A::Accumulator>,
    key: &K,
    part: &A::Accumulator,
) {
    let hash = key.key_hash();
    match merged.find_mut(hash, |entry| entry.0 == *key) {
        Some(entry) => aggregate.merge(&mut entry.1, part),
        None => merged.insert_unique(hash, (key.clone(), part.clone()), |entry| entry.0.key_hash()),
    }
}

impl<T: 'static, S, A, E> KeyedLogic for SlicedWindows<T, S, A, E>
where
    S: KeySelector<T>,
    A: AggregateFunction<T>,
    E: EmitPlain<S::Key, TimeWindow, A::Result>,
{
    type Out = E::Out;

    fn is_deep(&mut self) -> bool {
        self.slices.open.get_mut(self.current).is_some_and(|slice| slice.table.is_deep())
    }

    fn maintain(&mut self) -> Result {
        self.slices.step();
        Ok(())
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) {
        debug_assert!(self.merged.is_empty(), "a barrier comes when nothing is firing");
        let header = self.core.header(TableKind::Slices, self.next_end_ms);
        self.slices.begin_copy(checkpoint, &header);
        self.piece = NOTHING;
    }

    fn advance(&mut self, watermark: i64) -> bool {
        self.core.watermark = watermark;
        let fires = self.next_end_ms != i64::MAX && self.next_end_ms - 1 <= watermark;
        let closes = self.core.lateness_ms > 0
            && self.slices.open.front().is_some_and(|slice| self.is_over(slice));
        if fires || closes {
            self.piece = NOTHING;
        }
        fires || closes
    }

    fn fire<D: Push<E::Out>>(&mut self, budget: usize, next: &mut D) -> bool {
        let mut left = budget;
        while self.next_end_ms - 1 <= self.core.watermark && self.next_end_ms != i64::MAX {
            if !self.fire_window(&mut left, next) {
                return false;
            }
            self.advance_window();
        }
        self.drop_slices();
        self.piece = NOTHING;
        true
    }

    fn sides(&mut self) -> Option<&mut SideOutputs> {
        Some(&mut self.core.sides)
    }
}

impl<T: 'static, S, A, E> Logic<T> for SlicedWindows<T, S, A, E>
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
        self.core.add(hash, &record, &mut self.slices.open[self.current].table);
    }

    #[inline(always)]
    fn hint(&self, hash: u32) {
        if let Some(slice) = self.slices.open.get(self.current) {
            slice.table.hint(KeyHash::from_u32(hash));
        }
    }
}
