//! One generator for all records of a subtask.

use super::WatermarkMaker;
use super::emitter::WatermarkEmitter;
use super::piece::{GeneratorPiece, TimestampsPiece};
use crate::Result;
use crate::time::{IdlenessTimer, StrategyState, WatermarkGenerator, WatermarkOutput};

/// See the module docs.
pub(crate) struct OneGenerator<G> {
    generator: G,
    out: WatermarkOutput,
    idleness: Option<IdlenessTimer>,
    /// Since the last tick or batch.
    saw_record: bool,
}

impl<G> OneGenerator<G> {
    pub(crate) fn new(generator: G, idleness: Option<IdlenessTimer>) -> Self {
        OneGenerator { generator, out: WatermarkOutput::new(), idleness, saw_record: false }
    }
}

impl<T: 'static, G: WatermarkGenerator<T>> WatermarkMaker<T> for OneGenerator<G> {
    const PUNCTUATED: bool = G::PUNCTUATED;
    type Place = ();

    #[inline(always)]
    fn place(&self) {}

    #[inline(always)]
    fn on_event(&mut self, record: &T, timestamp_ms: i64, (): (), emitter: &mut WatermarkEmitter) {
        self.saw_record = true;
        self.generator.on_event(record, timestamp_ms, &mut self.out);
        if G::PUNCTUATED && !self.out.is_empty() {
            emitter.take(self.out.drain());
        }
    }

    fn on_tick(&mut self, now_ns: u64, emitter: &mut WatermarkEmitter) {
        let saw_record = std::mem::take(&mut self.saw_record);
        if let Some(timer) = &mut self.idleness
            && timer.is_idle_at_tick(saw_record, now_ns)
        {
            return emitter.mark_idle();
        }
        self.generator.on_periodic(&mut self.out);
        emitter.take(self.out.drain());
    }

    #[inline]
    fn on_batch(&mut self, now_ns: u64, emitter: &mut WatermarkEmitter) -> Option<u64> {
        self.generator.on_periodic(&mut self.out);
        emitter.take(self.out.drain());
        if !emitter.is_empty() {
            return None;
        }
        let timer = self.idleness.as_mut()?;
        let left_ns = timer.silence_left_ns(std::mem::take(&mut self.saw_record), now_ns);
        if left_ns.is_none() {
            emitter.mark_idle();
        }
        left_ns
    }

    fn snapshot(&mut self, now_ns: u64, piece: &mut TimestampsPiece) -> Result {
        piece.generators.push(GeneratorPiece {
            split: None,
            state: self.generator.snapshot_state()?,
            watermark_ms: piece.watermark_ms,
            is_idle: piece.is_idle,
            saw_record: self.saw_record,
            is_open: true,
            silent_ns: self.idleness.as_ref().and_then(|timer| timer.silent_ns(now_ns)),
        });
        Ok(())
    }

    fn restore(&mut self, piece: &TimestampsPiece, now_ns: u64) -> Result {
        let Some(own) = piece.generators.iter().find(|own| own.split.is_none()) else {
            return Ok(());
        };
        restore_generator(&mut self.generator, &own.state)?;
        self.saw_record = own.saw_record;
        self.idleness.iter_mut().for_each(|timer| timer.restore(own.silent_ns, now_ns));
        Ok(())
    }

    fn measures_idleness(&self) -> bool {
        self.idleness.is_some()
    }

    fn postpone_ns(&mut self, by_ns: u64) {
        self.idleness.iter_mut().for_each(|timer| timer.postpone_ns(by_ns));
    }
}

/// Gives a fresh generator what a checkpoint has of it.
pub(super) fn restore_generator<T, G: WatermarkGenerator<T>>(
    generator: &mut G,
    state: &StrategyState,
) -> Result {
    match state.is_none() {
        true => Ok(()),
        false => generator.restore_state(state),
    }
}
