//! What keyed functions share with their operator: timers, time, side outputs, operator state.
//!
//! In checkpoints: the timers are a table of the operator's store, the watermark is a piece of its own.

use crate::Result;
use crate::function::TimeDomain;
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::keyed_store::{KeyedStore, TimedRows, open_timers};
use crate::operator::pieces::{Piece, PieceError};
use crate::operator::rich::FunctionStates;
use crate::operator::side_outputs::SideOutputs;
use crate::record::CheckpointId;
use crate::runtime::CoreHandle;
use thalweg_io::{Fault, planted};
use thalweg_state::{DueTimer, Key, KeyedTimers, RowCursor, RowId, RowStore, StateError};

/// The table of the timers.
const TIMERS: &str = "timers";

/// Timers of both domains, the watermark, the side outputs, the state that belongs to no key.
pub(crate) struct KeyedServices {
    timers: KeyedTimers,
    pub(crate) watermark: i64,
    pub(crate) sides: SideOutputs,
    pub(crate) states: FunctionStates,
    /// `None` until [`restore`](KeyedServices::restore).
    time: Option<OperatorTime>,
    core: CoreHandle,
}

impl KeyedServices {
    pub(crate) fn new(sides: SideOutputs, core: CoreHandle) -> Self {
        KeyedServices {
            timers: KeyedTimers::new(),
            watermark: i64::MIN,
            states: FunctionStates::none(sides.operator()),
            sides,
            time: None,
            core,
        }
    }

    /// Opens the timers, which pin `rows`, and goes on from where the checkpoint is. To be called once the rows are open.
    ///
    /// # Errors
    /// What the store returns; [`PieceError`] if the piece of the watermark cannot be used.
    pub(crate) fn restore<K: Key>(
        &mut self,
        context: &BuildContext,
        node: NodeId,
        (store, rows): (Option<&KeyedStore>, &mut RowStore<K>),
    ) -> Result {
        self.timers = open_timers(store, TIMERS, rows)?;
        let (time, watermark) = OperatorTime::open(context, node)?;
        (self.time, self.watermark) = (Some(time), watermark);
        Ok(())
    }

    /// Opens the operator state of a function. To be called before the function is opened.
    ///
    /// # Errors
    /// [`StateError`] if the piece of the checkpoint cannot be read.
    pub(crate) fn open_states(
        &mut self,
        context: &BuildContext,
        node: NodeId,
    ) -> Result<(), StateError> {
        self.states = FunctionStates::open(context, node)?;
        Ok(())
    }

    /// A barrier has come.
    pub(crate) fn snapshot(&self, checkpoint: CheckpointId) {
        if let Some(time) = &self.time {
            time.snapshot(checkpoint, self.watermark);
        }
    }

    /// The timers and the rows that they pin, as a table of the operator's store.
    pub(crate) fn with_timers<'a, K: Key>(
        &'a mut self,
        rows: &'a mut RowStore<K>,
    ) -> TimedRows<'a, K> {
        TimedRows { rows, timers: &mut self.timers }
    }

    /// Event time has reached `watermark`: is a timer due?
    ///
    /// A watermark that was there already makes nothing due: it is said once more when a job goes on from a checkpoint, and a
    /// timer that was registered behind its time waits for the next one.
    pub(crate) fn advance(&mut self, watermark: i64) -> bool {
        if watermark <= self.watermark {
            return false;
        }
        self.watermark = watermark;
        self.timers.next_ms(TimeDomain::EventTime).is_some_and(|next_ms| next_ms <= watermark)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.core.now_ms.get()
    }

    /// Registers a timer of the row that `cursor` is at, which stays pinned as long as it has timers.
    #[inline]
    pub(crate) fn register_timer(
        &mut self,
        domain: TimeDomain,
        timestamp_ms: i64,
        cursor: &mut RowCursor<'_>,
    ) {
        self.timers.register(domain, timestamp_ms, cursor);
    }

    /// Takes a timer of the row that `cursor` is at back; no effect if there is none.
    #[inline]
    pub(crate) fn delete_timer(
        &mut self,
        domain: TimeDomain,
        timestamp_ms: i64,
        cursor: &mut RowCursor<'_>,
    ) {
        self.timers.delete(domain, timestamp_ms, cursor);
    }

    /// Takes the earliest timer that is due out. Its row is still pinned for it.
    pub(crate) fn pop_due(&mut self, domain: TimeDomain) -> Option<DueTimer> {
        let up_to_ms = match domain {
            TimeDomain::EventTime => self.watermark,
            TimeDomain::ProcessingTime => self.now_ms(),
        };
        self.timers.pop_due(domain, up_to_ms)
    }

    /// The row of a timer that is popped soon after the last one.
    #[inline]
    pub(crate) fn upcoming(&self, domain: TimeDomain) -> Option<RowId> {
        self.timers.upcoming(domain)
    }

    /// When the clock next fires a timer; `i64::MAX` for never.
    pub(crate) fn next_processing_time_ms(&mut self) -> i64 {
        self.timers.next_ms(TimeDomain::ProcessingTime).unwrap_or(i64::MAX)
    }
}

/// The watermark of an operator, in checkpoints.
pub(crate) struct OperatorTime {
    piece: Piece,
}

/// The name of its piece.
const WATERMARK: &str = "watermark";

impl OperatorTime {
    /// Registers the piece, and gives the watermark to begin with: the operator's own, or, where there were more or fewer
    /// subtasks, the least of all.
    ///
    /// # Errors
    /// [`PieceError`] if a piece of the checkpoint cannot be used.
    pub(crate) fn open(context: &BuildContext, node: NodeId) -> Result<(Self, i64), PieceError> {
        let watermarks = context.restored_values::<i64>(node, WATERMARK)?;
        let is_same = watermarks.len() == context.stage.parallelism;
        let own = watermarks.get(context.stage.subtask).filter(|_| is_same);
        let watermark = own.or(watermarks.iter().min()).copied().unwrap_or(i64::MIN);
        let watermark = restored_watermark(watermark);
        Ok((OperatorTime { piece: context.piece(node, WATERMARK) }, watermark))
    }

    /// A barrier has come.
    pub(crate) fn snapshot(&self, checkpoint: CheckpointId, watermark: i64) {
        self.piece.deliver_value(checkpoint, &watermark);
    }
}

/// A watermark as the checkpoint has it, unless the fault is planted that forgets it.
pub(crate) fn restored_watermark(watermark: i64) -> i64 {
    if planted(Fault::WatermarkNotRestored) { i64::MIN } else { watermark }
}
