//! One generator for each split that a source reader reads; the watermark of the subtask is their minimum.
//!
//! 1. The source task tells [`SourceSplits`] which splits the reader has, and which one the next records are of.
//! 2. Each split has a generator and an idleness of its own. Records outside any split count as a split of their own.
//! 3. The watermark is the minimum over the splits that are not idle; when all are, the maximum over all, and then the subtask
//!    is idle. A split that begins later or comes back behind the watermark holds it until it has caught up, as in Flink.
//! 4. A split that has ended is forgotten: it neither holds the watermark nor raises it.
//!
//! 5. A checkpoint has the generators of open splits by the names of the splits. After a restart a split goes on with its own,
//!    in whatever subtask it is read; it counts from when the reader is given it, if readers named their splits before.
//!
//! **Invariants**
//! - A slot is given to another split only when no record of the former is waiting: it is freed at a tick.
//! - Slot 0 is that of records outside any split; it counts once it has had a record, or while it is the only one.

use super::emitter::WatermarkEmitter;
use super::one_generator::restore_generator;
use super::piece::{GeneratorPiece, TimestampsPiece};
use super::{Ticks, WatermarkMaker};
use crate::Result;
use crate::operator::source_splits::{SourceSplits, SplitChange};
use crate::record::{Control, StreamStatus};
use crate::time::{IdlenessTimer, WatermarkGenerator, WatermarkOutput};
use std::collections::BTreeMap;
use std::rc::Rc;
use thalweg_io::{Fault, planted};

struct Split<G> {
    generator: G,
    idleness: Option<IdlenessTimer>,
    watermark_ms: i64,
    idle: bool,
    /// Since the last tick or batch.
    saw_record: bool,
    /// Has begun and not ended.
    open: bool,
}

impl<G> Split<G> {
    fn to_piece<T>(&self, split: Option<String>, now_ns: u64) -> Result<GeneratorPiece>
    where
        G: WatermarkGenerator<T>,
    {
        Ok(GeneratorPiece {
            split,
            state: self.generator.snapshot_state()?,
            watermark_ms: self.watermark_ms,
            is_idle: self.idle,
            saw_record: self.saw_record,
            is_open: self.open,
            silent_ns: self.idleness.as_ref().and_then(|timer| timer.silent_ns(now_ns)),
        })
    }

    fn restore<T>(&mut self, piece: &GeneratorPiece, now_ns: u64) -> Result
    where
        G: WatermarkGenerator<T>,
    {
        restore_generator(&mut self.generator, &piece.state)?;
        self.idleness.iter_mut().for_each(|timer| timer.restore(piece.silent_ns, now_ns));
        self.watermark_ms = piece.watermark_ms;
        (self.idle, self.saw_record, self.open) = (piece.is_idle, piece.saw_record, piece.is_open);
        Ok(())
    }

    fn take(&mut self, said: impl Iterator<Item = Control>) {
        said.for_each(|control| match control {
            Control::Watermark(watermark_ms) => {
                // Also one that is not higher shows that the split is alive.
                self.idle = false;
                self.watermark_ms = self.watermark_ms.max(watermark_ms);
            }
            Control::Status(status) => self.idle = status == StreamStatus::Idle,
            Control::Barrier(_) | Control::End => unreachable!("generators speak of time alone"),
        });
    }
}

/// See the module docs.
pub(crate) struct PerSplit<G> {
    prototype: G,
    /// What timers are made of: ticks and timeout.
    idleness: Option<(Ticks, u64)>,
    register: Rc<SourceSplits>,
    /// By slot.
    splits: Vec<Split<G>>,
    /// From a checkpoint, by name: splits that have not begun in this run yet.
    unclaimed: BTreeMap<String, Split<G>>,
    /// Slots of splits that have ended since the last tick.
    ended: Vec<usize>,
    out: WatermarkOutput,
    /// The monotonic clock at the last tick or batch.
    now_ns: u64,
}

impl<G: Clone> PerSplit<G> {
    pub(crate) fn new(
        prototype: G,
        idleness: Option<(Ticks, u64)>,
        register: Rc<SourceSplits>,
        now_ns: u64,
    ) -> Self {
        let (splits, ended, out) = (Vec::new(), Vec::new(), WatermarkOutput::new());
        let unclaimed = BTreeMap::new();
        let mut per_split =
            PerSplit { prototype, idleness, register, splits, unclaimed, ended, out, now_ns };
        per_split.begin(SourceSplits::OUTSIDE);
        per_split
    }

    fn fresh(&self) -> Split<G> {
        Split {
            generator: self.prototype.clone(),
            idleness: self.idleness.map(|(ticks, ns)| ticks.idleness(ns, self.now_ns)),
            watermark_ms: i64::MIN,
            idle: false,
            saw_record: false,
            open: true,
        }
    }

    fn begin(&mut self, slot: usize) {
        let known = self.register.id_of(slot).and_then(|id| self.unclaimed.remove(&id));
        let split = known.unwrap_or_else(|| self.fresh());
        if slot == self.splits.len() {
            self.splits.push(split);
        } else {
            self.splits[slot] = split;
        }
        // Slot 0 opens itself with its first record.
        self.splits[SourceSplits::OUTSIDE].open &= slot != SourceSplits::OUTSIDE;
    }

    fn end(&mut self, slot: usize) {
        self.splits[slot].open = false;
        self.ended.push(slot);
        if !self.splits.iter().any(|split| split.open) {
            // The next split may be on its way: only now the silence begins.
            let outside = &mut self.splits[SourceSplits::OUTSIDE];
            (outside.idle, outside.saw_record) = (false, true);
        }
    }

    #[cold]
    fn follow_changes(&mut self) {
        for change in self.register.take_changes() {
            match change {
                SplitChange::Began(slot) => self.begin(slot),
                SplitChange::Ended(slot) => self.end(slot),
            }
        }
    }

    /// The watermark over all splits, and whether all of them are idle.
    fn combine(&mut self, emitter: &mut WatermarkEmitter) {
        let is_alone = !self.splits.iter().any(|split| split.open);
        let counted = || {
            let (outside, others) = self.splits.split_at(1);
            outside
                .iter()
                .filter(move |split| split.open || is_alone)
                .chain(others.iter().filter(|split| split.open))
        };
        let is_counted = |split: &&Split<G>| !split.idle || planted(Fault::IdleHolds);
        let active = counted().filter(is_counted).map(|split| split.watermark_ms).min();
        let all = counted().map(|split| split.watermark_ms).max();
        active.or(all).into_iter().for_each(|watermark_ms| emitter.emit_watermark(watermark_ms));
        if active.is_none() {
            emitter.mark_idle();
        }
    }

    /// Before a tick or batch: what has changed, and the slots that are free again.
    fn begin_round(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        if self.register.has_changes() {
            self.follow_changes();
        }
        self.ended.drain(..).for_each(|slot| self.register.free(slot));
        if self.register.is_waiting() {
            // It is the source that keeps silent, for the sake of others of its group.
            self.splits.iter_mut().for_each(|split| split.saw_record = true);
        }
    }

    /// The splits that may speak: those that are open, and slot 0, which waits for its first record.
    fn speakers(splits: &mut [Split<G>]) -> impl Iterator<Item = &mut Split<G>> {
        splits.iter_mut().enumerate().filter(|(slot, s)| s.open || *slot == 0).map(|(_, s)| s)
    }
}

impl<T: 'static, G: WatermarkGenerator<T> + Clone> WatermarkMaker<T> for PerSplit<G> {
    const PUNCTUATED: bool = G::PUNCTUATED;
    /// The slot of the split.
    type Place = usize;

    #[inline(always)]
    fn place(&self) -> usize {
        self.register.current()
    }

    #[inline(always)]
    fn on_event(
        &mut self,
        record: &T,
        timestamp_ms: i64,
        slot: usize,
        emitter: &mut WatermarkEmitter,
    ) {
        if self.register.has_changes() {
            self.follow_changes();
        }
        let split = &mut self.splits[slot];
        split.saw_record = true;
        split.open |= slot == SourceSplits::OUTSIDE;
        split.generator.on_event(record, timestamp_ms, &mut self.out);
        if G::PUNCTUATED && !self.out.is_empty() {
            split.take(self.out.drain());
            // Records that waited behind a punctuation may be those of a split that has ended meanwhile: it ends behind them.
            let is_open = std::mem::replace(&mut split.open, true);
            self.combine(emitter);
            self.splits[slot].open = is_open;
        }
    }

    fn on_tick(&mut self, now_ns: u64, emitter: &mut WatermarkEmitter) {
        self.begin_round(now_ns);
        for split in Self::speakers(&mut self.splits) {
            let saw_record = std::mem::take(&mut split.saw_record);
            let timer = split.idleness.as_mut();
            if timer.is_some_and(|timer| timer.is_idle_at_tick(saw_record, now_ns)) {
                split.idle = true;
                continue;
            }
            split.generator.on_periodic(&mut self.out);
            split.take(self.out.drain());
        }
        self.combine(emitter);
    }

    fn on_batch(&mut self, now_ns: u64, emitter: &mut WatermarkEmitter) -> Option<u64> {
        self.begin_round(now_ns);
        let mut least_left_ns = None;
        for split in Self::speakers(&mut self.splits) {
            let saw_record = std::mem::take(&mut split.saw_record);
            if let Some(timer) = &mut split.idleness {
                let Some(left_ns) = timer.silence_left_ns(saw_record, now_ns) else {
                    split.idle = true;
                    continue;
                };
                least_left_ns = Some(least_left_ns.map_or(left_ns, |least| left_ns.min(least)));
            }
            split.generator.on_periodic(&mut self.out);
            split.take(self.out.drain());
        }
        self.combine(emitter);
        least_left_ns
    }

    fn snapshot(&mut self, now_ns: u64, piece: &mut TimestampsPiece) -> Result {
        if self.register.has_changes() {
            self.follow_changes();
        }
        piece.names_splits = self.register.names_splits();
        for (slot, split) in self.splits.iter().enumerate() {
            if slot == SourceSplits::OUTSIDE || split.open {
                piece.generators.push(split.to_piece::<T>(self.register.id_of(slot), now_ns)?);
            }
        }
        // The reader has some that it has not named yet in this run.
        for (id, split) in self.unclaimed.iter().filter(|(id, _)| self.register.knows(id)) {
            piece.generators.push(split.to_piece::<T>(Some(id.clone()), now_ns)?);
        }
        Ok(())
    }

    fn restore(&mut self, piece: &TimestampsPiece, now_ns: u64) -> Result {
        for stored in &piece.generators {
            let mut split = self.fresh();
            split.restore::<T>(stored, now_ns)?;
            match &stored.split {
                None => self.splits[SourceSplits::OUTSIDE] = split,
                Some(id) => {
                    self.unclaimed.insert(id.clone(), split);
                }
            }
        }
        if piece.names_splits {
            self.register.restore_names_splits();
        }
        Ok(())
    }

    fn measures_idleness(&self) -> bool {
        self.idleness.is_some()
    }

    fn postpone_ns(&mut self, by_ns: u64) {
        let timers = self.splits.iter_mut().filter_map(|split| split.idleness.as_mut());
        timers.for_each(|timer| timer.postpone_ns(by_ns));
    }

    fn has_said(&self, control: Control) {
        self.register.has_said(control);
    }
}
