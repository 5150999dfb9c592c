//! Windows over keyed streams.
//!
//! Four ways to keep them, with the same answers (tests hold them against each other):
//! - [`pane`]: a table for each open window; an element updates all its windows. For aligned event-time windows with
//!   their own trigger, no evictor, and an incremental function that has no state of its own.
//! - [`sliced`]: a table for each slice (the time between two window boundaries); an element updates one slice, and
//!   a window merges its slices when it fires. For overlapping windows of aggregates that declare themselves
//!   [`SLICEABLE`](crate::function::AggregateFunction::SLICEABLE): 12 times less work at 1 h / 5 min.
//! - [`sessions`]: the open sessions of each key in its entry. For event-time sessions of one gap, with the same conditions
//!   as panes.
//! - [`general`]: everything else: a row for each key and window, and timers.
//!
//! **Invariants** (of all of them)
//! - An element is late where `window end - 1 + allowed lateness <= watermark` for all its windows; then it goes to the late
//!   side output, or is dropped and counted. An element in a gap between windows is dropped; it counts as late where
//!   its own timestamp is behind the watermark by more than the allowed lateness.
//! - Windows fire in order of their ends, in bounded steps, each with the timestamp `end - 1`.
//! - A late element that is still allowed fires its key's windows again at once, the last of them first.

pub(crate) mod body;
#[cfg(test)]
#[cfg(not(loom))]
mod checkpoint_tests;
pub(crate) mod co_group;
pub(crate) mod emit;
pub(crate) mod general;
pub(crate) mod late;
pub(crate) mod pane;
pub(crate) mod part_set;
pub(crate) mod sessions;
pub(crate) mod sliced;
pub(crate) mod stored;
pub(crate) mod table_bytes;
pub(crate) mod window_tables;

use crate::Result;
use crate::function::{AggregateFunction, Collector, KeySelector, OutputTag};
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::opened::Opened;
use crate::operator::side_outputs::SideOutputs;
use crate::operator::window::emit::EmitPlain;
use crate::operator::window::late::LateRecords;
use crate::operator::window::table_bytes::{TableHeader, TableKind};
use crate::operator::{Push, StageContext, UserCall};
use crate::record::NO_TIMESTAMP;
use crate::window::{AlignedWindows, TimeWindow};
use std::rc::Rc;
use thalweg_state::{Key, KeyHash, PrefetchTable};

/// Keys and accumulators of one window or slice.
pub(crate) type Accumulators<K, A> = PrefetchTable<(K, A)>;

/// What panes and slices share.
pub(crate) struct WindowCore<T, S, A, E> {
    pub(crate) selector: S,
    pub(crate) aggregate: A,
    pub(crate) emit: Opened<E>,
    pub(crate) windows: AlignedWindows,
    pub(crate) lateness_ms: i64,
    pub(crate) late: LateRecords<T>,
    pub(crate) sides: SideOutputs,
    pub(crate) watermark: i64,
    pub(crate) stage: Rc<StageContext>,
    pub(crate) node: NodeId,
}

/// What a window operator is made of, before it reaches its core.
pub(crate) struct WindowSettings<T, S, A> {
    pub(crate) selector: S,
    pub(crate) aggregate: A,
    pub(crate) windows: AlignedWindows,
    pub(crate) lateness_ms: i64,
    pub(crate) late: Option<OutputTag<T>>,
    pub(crate) node: NodeId,
}

impl<T: 'static, S, A, E> WindowCore<T, S, A, E>
where
    S: KeySelector<T>,
    A: AggregateFunction<T>,
    E: EmitPlain<S::Key, TimeWindow, A::Result>,
{
    pub(crate) fn open(
        settings: WindowSettings<T, S, A>,
        emit: Opened<E>,
        context: &mut BuildContext,
    ) -> Result<Self> {
        let WindowSettings { selector, aggregate, windows, lateness_ms, late, node } = settings;
        let sides = context.open_sides(node)?;
        let (watermark, stage) = (i64::MIN, context.stage.clone());
        let late = LateRecords::new(late, stage.clone(), node);
        Ok(WindowCore {
            selector,
            aggregate,
            emit,
            windows,
            lateness_ms,
            late,
            sides,
            watermark,
            stage,
            node,
        })
    }

    /// What a checkpoint says of all windows.
    pub(crate) fn header(&self, kind: TableKind, next_end_ms: i64) -> TableHeader {
        TableHeader {
            kind,
            max_parallelism: self.stage.max_parallelism,
            windows: Some(self.windows),
            watermark: self.watermark,
            next_end_ms,
        }
    }

    /// Has the watermark passed the last instant of a window that ends at `end_ms`?
    pub(crate) fn has_fired(&self, end_ms: i64) -> bool {
        end_ms - 1 <= self.watermark
    }

    /// Will nothing more be accepted for a window that ends at `end_ms`?
    pub(crate) fn is_over(&self, end_ms: i64) -> bool {
        (end_ms - 1).saturating_add(self.lateness_ms) <= self.watermark
    }

    /// An element all of whose windows are over.
    #[cold]
    pub(crate) fn drop_late(&mut self, record: T, timestamp: i64) {
        self.late.take(record, timestamp, self.watermark, &mut self.sides);
    }

    /// Fails the job at an element whose timestamp is missing or too near the end of time; true if it is one.
    pub(crate) fn refuses(&self, timestamp: i64) -> bool {
        let refuses = timestamp == NO_TIMESTAMP || !self.windows.fits(timestamp);
        if refuses {
            self.stage.fail(self.node, AlignedWindows::misfit(timestamp).into());
        }
        refuses
    }

    /// Adds `record` to its key's accumulator in `table`.
    #[inline(always)]
    pub(crate) fn add<'t>(
        &mut self,
        hash: u32,
        record: &T,
        table: &'t mut Accumulators<S::Key, A::Accumulator>,
    ) -> &'t mut (S::Key, A::Accumulator) {
        let WindowCore { selector, aggregate, stage, node, .. } = self;
        let call = UserCall::begin(stage, node);
        let entry = selector.with_key(record, |key| {
            table.find_or_insert_with(
                KeyHash::from_u32(hash),
                |entry| entry.0 == *key,
                |entry| entry.0.key_hash(),
                || (key.clone(), aggregate.create_accumulator()),
            )
        });
        aggregate.add(&mut entry.1, record);
        call.end();
        entry
    }

    /// Emits the result of a key's window.
    #[inline]
    pub(crate) fn fire_key<D: Push<E::Out>>(
        &mut self,
        window: TimeWindow,
        (key, accumulator): (&S::Key, &A::Accumulator),
        next: &mut D,
    ) {
        let aggregate = &self.aggregate;
        self.emit.call(|emit| {
            let result = aggregate.result(accumulator);
            let out = &mut Collector::new(next, window.max_timestamp());
            emit.emit(key, window, result, out)
        });
    }
}
