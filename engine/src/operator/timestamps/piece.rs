//! What a checkpoint has of an operator that makes watermarks: the generators, and what was said of event time.
//!
//! As archived values, so that a change of these types is noticed:
//! ```text
//! (watermark ms, is idle, next tick ms, names its splits, assigner's state, generators)
//! generator: (split, its own state, watermark ms, is idle, saw a record, counts, silence ns)
//! ```
//!
//! **Rules for other parallelism.** Splits go with their generators to whoever gets them. What belongs to no split is that of
//! the subtask that was furthest behind, so that no record becomes late that was not.

use crate::time::StrategyState;

/// One generator.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GeneratorPiece {
    /// `None` for the one of records outside any split.
    pub(crate) split: Option<String>,
    pub(crate) state: StrategyState,
    pub(crate) watermark_ms: i64,
    pub(crate) is_idle: bool,
    /// Since the last tick or batch.
    pub(crate) saw_record: bool,
    /// Takes part in the minimum.
    pub(crate) is_open: bool,
    /// For how long it has had no records; `None` if that is not measured, or the countdown has not begun.
    pub(crate) silent_ns: Option<u64>,
}

/// All of a subtask.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TimestampsPiece {
    /// What was said downstream.
    pub(crate) watermark_ms: i64,
    pub(crate) is_idle: bool,
    /// By the wall clock.
    pub(crate) next_tick_ms: i64,
    pub(crate) names_splits: bool,
    pub(crate) assigner: StrategyState,
    pub(crate) generators: Vec<GeneratorPiece>,
}

type StoredGenerator = (Option<String>, Option<Vec<u8>>, i64, bool, bool, bool, Option<u64>);
pub(crate) type StoredTimestamps = (i64, bool, i64, bool, Option<Vec<u8>>, Vec<StoredGenerator>);

impl GeneratorPiece {
    fn into_stored(self) -> StoredGenerator {
        let GeneratorPiece { split, state, watermark_ms, .. } = self;
        let GeneratorPiece { is_idle, saw_record, is_open, silent_ns, .. } = self;
        (split, state.into_bytes(), watermark_ms, is_idle, saw_record, is_open, silent_ns)
    }

    fn from_stored(stored: StoredGenerator) -> Self {
        let (split, state, watermark_ms, is_idle, saw_record, is_open, silent_ns) = stored;
        let state = StrategyState::from_bytes(state);
        GeneratorPiece { split, state, watermark_ms, is_idle, saw_record, is_open, silent_ns }
    }
}

impl TimestampsPiece {
    pub(crate) fn into_stored(self) -> StoredTimestamps {
        let generators = self.generators.into_iter().map(GeneratorPiece::into_stored).collect();
        let assigner = self.assigner.into_bytes();
        let TimestampsPiece { watermark_ms, is_idle, next_tick_ms, names_splits, .. } = self;
        (watermark_ms, is_idle, next_tick_ms, names_splits, assigner, generators)
    }

    fn from_stored(stored: StoredTimestamps) -> Self {
        let (watermark_ms, is_idle, next_tick_ms, names_splits, assigner, generators) = stored;
        let generators = generators.into_iter().map(GeneratorPiece::from_stored).collect();
        let assigner = StrategyState::from_bytes(assigner);
        TimestampsPiece { watermark_ms, is_idle, next_tick_ms, names_splits, assigner, generators }
    }

    /// What a subtask of as many as say `parallelism` takes of the pieces of all subtasks there were.
    pub(crate) fn share(
        stored: Vec<StoredTimestamps>,
        subtask: usize,
        parallelism: usize,
    ) -> Option<Self> {
        let mut pieces: Vec<_> = stored.into_iter().map(Self::from_stored).collect();
        if pieces.len() == parallelism {
            return Some(pieces.swap_remove(subtask));
        }
        let is_idle = pieces.iter().all(|piece| piece.is_idle);
        let names_splits = pieces.iter().any(|piece| piece.names_splits);
        // Those that are idle hold nobody back, unless there are no others.
        pieces.sort_by_key(|piece| (piece.is_idle, piece.watermark_ms));
        let mut pieces = pieces.into_iter();
        let mut share = pieces.next()?;
        let splits = pieces.flat_map(|piece| piece.generators);
        share.generators.extend(splits.filter(|generator| generator.split.is_some()));
        (share.is_idle, share.names_splits) = (is_idle, names_splits);
        Some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator(split: Option<&str>, watermark_ms: i64) -> GeneratorPiece {
        GeneratorPiece {
            split: split.map(str::to_owned),
            state: StrategyState::of(&watermark_ms).unwrap(),
            watermark_ms,
            is_idle: false,
            saw_record: true,
            is_open: true,
            silent_ns: Some(7),
        }
    }

    fn piece(watermark_ms: i64, is_idle: bool, splits: &[&str]) -> TimestampsPiece {
        let outside = generator(None, watermark_ms);
        let splits = splits.iter().map(|split| generator(Some(split), watermark_ms));
        TimestampsPiece {
            watermark_ms,
            is_idle,
            next_tick_ms: 200,
            names_splits: !splits.clone().collect::<Vec<_>>().is_empty(),
            assigner: StrategyState::none(),
            generators: std::iter::once(outside).chain(splits).collect(),
        }
    }

    fn share(pieces: &[TimestampsPiece], subtask: usize, parallelism: usize) -> TimestampsPiece {
        let stored = pieces.iter().cloned().map(TimestampsPiece::into_stored).collect();
        TimestampsPiece::share(stored, subtask, parallelism).unwrap()
    }

    #[test]
    fn a_subtask_gets_its_own_or_what_was_furthest_behind() {
        let pieces = [piece(50, false, &["a"]), piece(20, true, &["b"]), piece(30, false, &[])];
        for subtask in 0..3 {
            assert_eq!(share(&pieces, subtask, 3), pieces[subtask]);
        }
        let fewer = share(&pieces, 1, 2);
        assert_eq!((fewer.watermark_ms, fewer.is_idle, fewer.names_splits), (30, false, true));
        let splits: Vec<_> =
            fewer.generators.iter().map(|g| (g.split.as_deref(), g.watermark_ms)).collect();
        assert_eq!(splits, [(None, 30), (Some("a"), 50), (Some("b"), 20)]);
        let idle = share(&[piece(50, true, &[]), piece(20, true, &[])], 0, 1);
        assert_eq!((idle.watermark_ms, idle.is_idle, idle.names_splits), (20, true, false));
        assert_eq!(TimestampsPiece::share(Vec::new(), 0, 2), None);
    }
}
