//! The LSM store below the tables of one keyed operator in one subtask.
//!
//! An operator opens its store, if the job has one, makes its tables in it, calls [`maintain`](KeyedStore::maintain) between
//! batches, and with checkpoints [`snapshot`](KeyedStore::snapshot) at each barrier:
//!
//! ```text
//! snapshot: a barrier of each table ──► maintain, maintain, ..: changed rows are written ──► the worker: durable
//!                └── the store is behind: declined        ──► the store says so: the piece is delivered, its name and key groups
//! ```
//! A restored subtask opens its store at the checkpoint, or, where parallelism has changed, makes a new one that shares the
//! files of the old. Rows are read when they are asked for, and, where memory is not limited, all others between batches.
//!
//! **Invariants**
//! - The tables are dropped before the store, and the store before the job's files.
//! - As long as changed rows wait to be written, the task counts as working; what comes of the store's worker wakes the core.
//! - A checkpoint that was given up is released in the store, whatever comes first: its end there or the notice.

use crate::checkpoint::crash_points;
use crate::checkpoint::metadata::CheckpointMetadata;
use crate::checkpoint::snapshot::{RestoredPiece, RestoredState};
use crate::graph::NodeId;
use crate::operator::TaskContext;
use crate::operator::build::BuildContext;
use crate::operator::pieces::{Notice, Piece, PieceError, value_of};
use crate::record::CheckpointId;
use crate::runtime::state_files::{StateFiles, StoreBegin, StoreRequest};
use crate::{BoxError, Result};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use thalweg_io::crash_point;
use thalweg_state::{
    FlatStore, Key, KeyGroupRange, KeyedTimers, LsmStore, MemoryPressure, Progress, RestoreSource,
    RowStore, StateError, StateRegistrar, StateValue, StoreError, StoreEvent,
};

/// The name of the piece.
pub(crate) const PIECE: &str = "keyed state";
/// The store that has the state of a subtask, and the first and the last but one of its key groups.
type StoredState = (String, u16, u16);

/// Changed rows that are written in one call of [`KeyedStore::maintain`]; twice a batch, so that most of them are written
/// before they change again.
const BEAT_ROWS: usize = 2048;
/// How often a call asks for room when memory is short, before it goes on without.
const PATIENCE: usize = 64;
/// Calls between two key groups that are read in the background.
const CALLS_PER_GROUP: u32 = 8;
/// What work in the background counts for in a task's budget of records: so much that a run ends soon.
const BACKGROUND_COST: u64 = 512;

/// See the module docs.
pub(crate) struct KeyedStore {
    store: LsmStore,
    /// `None` without checkpoints.
    checkpoints: Option<Checkpoints>,
    /// What is not resident is read in the background.
    is_loading: bool,
    calls: u32,
    /// What went wrong at a barrier, until it can be returned.
    failure: Option<BoxError>,
    has_warned: bool,
    task: Rc<TaskContext>,
    place: Place,
    /// Dropped last.
    _files: Arc<StateFiles>,
}

/// Whose store it is.
#[derive(Clone, Debug)]
struct Place {
    operator: Box<str>,
    subtask: usize,
}

/// The keyed state of an operator cannot be opened or restored.
#[derive(Debug, thiserror::Error)]
#[error("the keyed state of operator '{operator}' (subtask {}) cannot be opened: {source}", subtask + 1)]
pub(crate) struct KeyedStateError {
    operator: Box<str>,
    subtask: usize,
    source: StateError,
}

impl Place {
    fn refused(&self, source: StateError) -> KeyedStateError {
        let Place { operator, subtask } = self.clone();
        KeyedStateError { operator, subtask, source }
    }
}

/// What a store does for checkpoints.
struct Checkpoints {
    piece: Piece,
    stored: StoredState,
    /// Begun, and neither durable nor failed; in order.
    begun: VecDeque<CheckpointId>,
    /// Those of them that were given up meanwhile, and others whose barrier may still come.
    aborted: Vec<CheckpointId>,
}

/// A table in a store.
pub(crate) trait StoredTable {
    /// Ends the current epoch.
    fn barrier(&mut self) -> Result<(), StateError>;
    /// Writes some rows of ended epochs, and makes room if there is too little.
    fn beat(&mut self, rows_max: usize) -> Result<Progress, StateError>;
    /// Reads some rows that are not resident; whether there are more to be read so.
    fn restore_step(&mut self) -> Result<bool, StateError>;
}

impl<K: Key> StoredTable for RowStore<K> {
    fn barrier(&mut self) -> Result<(), StateError> {
        RowStore::barrier(self).map(drop)
    }
    fn beat(&mut self, rows_max: usize) -> Result<Progress, StateError> {
        RowStore::beat(self, rows_max)
    }
    fn restore_step(&mut self) -> Result<bool, StateError> {
        RowStore::restore_step(self)
    }
}

impl<K: Key, S: StateValue> StoredTable for FlatStore<K, S> {
    fn barrier(&mut self) -> Result<(), StateError> {
        FlatStore::barrier(self);
        Ok(())
    }
    fn beat(&mut self, rows_max: usize) -> Result<Progress, StateError> {
        FlatStore::beat(self, rows_max)
    }
    fn restore_step(&mut self) -> Result<bool, StateError> {
        FlatStore::restore_step(self)
    }
}

/// Rows and the timers that pin them: their two tables as one, since timers are written with the keys of the rows.
pub(crate) struct TimedRows<'a, K: Key> {
    pub(crate) rows: &'a mut RowStore<K>,
    pub(crate) timers: &'a mut KeyedTimers,
}

impl<K: Key> StoredTable for TimedRows<'_, K> {
    fn barrier(&mut self) -> Result<(), StateError> {
        self.timers.barrier();
        self.rows.barrier().map(drop)
    }
    fn beat(&mut self, rows_max: usize) -> Result<Progress, StateError> {
        let mut progress = self.rows.beat(rows_max)?;
        if !self.timers.beat(self.rows, rows_max)? {
            progress.rows += rows_max;
            progress.epochs_unfinished = progress.epochs_unfinished.max(1);
        }
        Ok(progress)
    }
    fn restore_step(&mut self) -> Result<bool, StateError> {
        self.rows.restore_step()
    }
}

impl KeyedStore {
    /// Does the work of the store that is due between two batches, a bounded part of it: changed rows are written, rows leave
    /// memory when it is short, pieces are delivered. `tables` are all tables of the store.
    ///
    /// # Errors
    ///
    /// What reading and writing rows returns. A disk that does not take the rows is no error: they stay in memory, and the
    /// first refusal is logged.
    pub(crate) fn maintain(&mut self, tables: &mut [&mut dyn StoredTable]) -> Result {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        for _ in 0..PATIENCE {
            self.store.poll().into_iter().for_each(|event| self.note(event));
            let Beat { rows, is_unfinished, memory } = beat(tables)?;
            if is_unfinished || !self.store.is_idle() {
                self.task.worked(rows as u64 + BACKGROUND_COST);
            }
            if memory.wants_spill {
                self.spill(tables)?;
            }
            if !memory.is_over {
                break;
            }
        }
        self.take_notices();
        if self.is_loading {
            self.load(tables)?;
        }
        Ok(())
    }

    /// A barrier has come: what was changed before it will be written, and the piece delivered when it is durable.
    pub(crate) fn snapshot(
        &mut self,
        checkpoint: CheckpointId,
        tables: &mut [&mut dyn StoredTable],
    ) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        if checkpoints.is_given_up(checkpoint) {
            return; // The changes go into the next one.
        }
        if let Err(error) = self.store.begin_checkpoint(checkpoint) {
            // Nothing has begun: the changes go into the next one.
            return checkpoints.piece.decline(checkpoint, error.into());
        }
        checkpoints.begun.push_back(checkpoint);
        self.task.worked(1);
        if let Err(error) = tables.iter_mut().try_for_each(|table| table.barrier()) {
            // Some tables may be in one epoch and some in another.
            self.failure.get_or_insert(error.into());
        }
    }

    fn spill(&mut self, tables: &mut [&mut dyn StoredTable]) -> Result {
        match self.store.begin_spill() {
            Ok(_) => Ok(tables.iter_mut().try_for_each(|table| table.barrier())?),
            Err(StoreError::Congested { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads rows in the background, now and then.
    #[cold]
    fn load(&mut self, tables: &mut [&mut dyn StoredTable]) -> Result {
        self.task.worked(BACKGROUND_COST);
        self.calls = self.calls.wrapping_add(1);
        if !self.calls.is_multiple_of(CALLS_PER_GROUP) {
            return Ok(());
        }
        self.is_loading = false;
        for table in tables {
            self.is_loading |= table.restore_step()?;
        }
        Ok(())
    }

    fn note(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::CheckpointComplete { id, .. } => self.end_checkpoint(id, Ok(())),
            StoreEvent::CheckpointFailed { id, error } => self.end_checkpoint(id, Err(error)),
            StoreEvent::SpillFailed { error, .. } | StoreEvent::CompactionFailed { error }
                if !self.has_warned =>
            {
                self.has_warned = true;
                tracing::warn!("state that was to leave memory stays there: {error}");
            }
            StoreEvent::ReleaseFailed { error } | StoreEvent::GarbageKept { error } => {
                tracing::warn!("files of state that nobody needs remain for now: {error}");
            }
            _ => {}
        }
    }

    /// A checkpoint is durable in the store, or will not be.
    fn end_checkpoint(&mut self, id: CheckpointId, result: Result<(), StoreError>) {
        let Some(Checkpoints { piece, stored, begun, aborted }) = &mut self.checkpoints else {
            return;
        };
        begun.retain(|begun| *begun != id);
        let is_aborted = aborted.contains(&id);
        aborted.retain(|aborted| *aborted != id);
        match result {
            Ok(()) if is_aborted => self.release(id),
            Ok(()) => piece.deliver_value(id, stored),
            Err(_) if is_aborted => {}
            Err(error) => piece.decline(id, error.into()),
        }
    }

    fn take_notices(&mut self) {
        let Some(Checkpoints { piece, begun, aborted, .. }) = &mut self.checkpoints else { return };
        while let Some(notice) = piece.next_notice_if_any() {
            match notice {
                Notice::Completed(_) => {}
                Notice::Aborted(id) => {
                    aborted.push(id);
                    if !begun.contains(&id) {
                        self.store.release_checkpoint(id);
                    }
                }
                Notice::Released(id) => self.store.release_checkpoint(id),
            }
            // A store without a thread does it when it is polled next.
            self.task.worked(1);
        }
    }

    fn release(&self, id: CheckpointId) {
        self.store.release_checkpoint(id);
        self.task.worked(1);
    }
}

impl Checkpoints {
    /// Was the checkpoint whose barrier has come given up before?
    fn is_given_up(&mut self, checkpoint: CheckpointId) -> bool {
        let is_given_up = self.aborted.contains(&checkpoint);
        // Barriers ascend.
        let Checkpoints { aborted, begun, .. } = self;
        aborted.retain(|aborted| *aborted > checkpoint || begun.contains(aborted));
        is_given_up
    }
}

/// What a beat of all tables came to.
struct Beat {
    rows: usize,
    is_unfinished: bool,
    memory: MemoryPressure,
}

fn beat(tables: &mut [&mut dyn StoredTable]) -> Result<Beat, StateError> {
    let mut beat = Beat { rows: 0, is_unfinished: false, memory: MemoryPressure::default() };
    for table in tables {
        let progress = table.beat(BEAT_ROWS)?;
        beat.rows += progress.rows;
        beat.is_unfinished |= !progress.is_done();
        beat.memory.wants_spill |= progress.memory.wants_spill;
        beat.memory.is_over |= progress.memory.is_over;
    }
    Ok(beat)
}

impl BuildContext {
    /// The store of a keyed operator, with what the checkpoint has that the job goes on from; `None` if all of its state
    /// stays in memory.
    ///
    /// # Errors
    /// [`PieceError`] if the piece of the checkpoint cannot be used; [`KeyedStateError`] with what opening or restoring a store
    /// returns.
    pub(crate) fn open_keyed_store(&self, node: NodeId) -> Result<Option<KeyedStore>> {
        let Some(files) = &self.job.state_files else { return Ok(None) };
        let (subtask, parallelism) = (narrow(self.stage.subtask), narrow(self.stage.parallelism));
        let max_parallelism = self.stage.max_parallelism;
        let key_groups = KeyGroupRange::of(subtask, parallelism, max_parallelism)?;
        let operator = self.job.operator_ids[node.0 as usize];
        let begin = self.store_begin(node, key_groups)?;
        let is_loading = !matches!(begin, StoreBegin::Empty);
        let task = self.stage.task.clone();
        let place =
            Place { operator: self.stage.names.get(node).into(), subtask: self.stage.subtask };
        let store = files.open_store(StoreRequest {
            name: format!("{operator}-{subtask}"),
            key_groups,
            max_parallelism,
            begin,
            waker: Waker::from(task.core.waker.clone()),
        });
        let store = store.map_err(|error| place.refused(error))?;
        if is_loading {
            crash_point(crash_points::STATE_LOADED);
        }
        let stored = (store.options().name().to_owned(), key_groups.start, key_groups.end);
        let checkpoints = self.has_checkpoints().then(|| {
            let piece = self.piece(node, PIECE);
            Checkpoints { piece, stored, begun: VecDeque::new(), aborted: Vec::new() }
        });
        Ok(Some(KeyedStore {
            store,
            checkpoints,
            is_loading,
            calls: 0,
            failure: None,
            has_warned: false,
            task,
            place,
            _files: files.clone(),
        }))
    }

    /// What the store of this subtask begins with.
    fn store_begin(&self, node: NodeId, groups: KeyGroupRange) -> Result<StoreBegin, PieceError> {
        let stored = self.restored_values::<StoredState>(node, PIECE)?;
        let Some(restored) = self.job.restored.as_ref().filter(|_| !stored.is_empty()) else {
            return Ok(StoreBegin::Empty);
        };
        let checkpoint = restored.checkpoint;
        let own = stored.get(self.stage.subtask).filter(|_| stored.len() == self.stage.parallelism);
        if let Some((store, start, end)) = own
            && (*start, *end) == (groups.start, groups.end)
        {
            return Ok(StoreBegin::At { store: store.clone(), checkpoint });
        }
        let sources = stored.into_iter().filter(|(_, start, end)| {
            !groups.intersection(KeyGroupRange { start: *start, end: *end }).is_empty()
        });
        let sources =
            sources.map(|(store, ..)| RestoreSource { store: store.into(), checkpoint }).collect();
        Ok(StoreBegin::From(sources))
    }
}

/// The stores that have the keyed state of a checkpoint.
///
/// # Errors
/// [`PieceError`] for a piece that cannot be read.
pub(crate) fn stores_of(state: &RestoredState) -> Result<BTreeSet<String>, PieceError> {
    let mut stores = BTreeSet::new();
    for (operator, pieces) in &state.pieces {
        for piece in pieces.get(PIECE).into_iter().flatten() {
            let (store, ..) = value_of::<StoredState>(&operator.to_string(), PIECE, piece)?;
            stores.insert(store);
        }
    }
    Ok(stores)
}

/// As [`stores_of`], of a checkpoint as it is written.
#[cfg_attr(not(feature = "object-store"), expect(dead_code, reason = "for copies"))]
pub(crate) fn stores_in(metadata: &CheckpointMetadata) -> Result<BTreeSet<String>, PieceError> {
    let mut stores = BTreeSet::new();
    for operator in &metadata.operators {
        for piece in operator.pieces.iter().filter(|piece| piece.name == PIECE) {
            let (subtask, bytes) =
                (piece.subtask as usize, piece.bytes.clone().into_contiguous().into());
            let piece = RestoredPiece { subtask, bytes };
            let (store, ..) = value_of::<StoredState>(&operator.name, PIECE, &piece)?;
            stores.insert(store);
        }
    }
    Ok(stores)
}

/// Parallelism is at most 32768 in a checked plan.
fn narrow(count: usize) -> u16 {
    u16::try_from(count).expect("a checked plan has at most 32768 subtasks")
}

/// The rows of an operator's table, in its store if it has one.
pub(crate) fn open_rows<K: Key>(
    registrar: StateRegistrar,
    store: Option<&KeyedStore>,
    table: &str,
) -> Result<RowStore<K>> {
    match store {
        None => Ok(RowStore::new(registrar)?),
        Some(store) => {
            let rows = RowStore::new_in(registrar, &store.store, table);
            Ok(rows.map_err(|error| store.place.refused(error))?)
        }
    }
}

/// The one table of an operator that keeps a value a key, in its store if it has one.
pub(crate) fn open_flat<K: Key, S: StateValue>(
    store: Option<&KeyedStore>,
    table: &str,
) -> Result<FlatStore<K, S>, KeyedStateError> {
    match store {
        None => Ok(FlatStore::new()),
        Some(store) => {
            FlatStore::new_in(&store.store, table).map_err(|error| store.place.refused(error))
        }
    }
}

/// The timers of an operator, which pin `rows`: in its store if there are checkpoints, with those of the checkpoint that the
/// job goes on from.
pub(crate) fn open_timers<K: Key>(
    store: Option<&KeyedStore>,
    table: &str,
    rows: &mut RowStore<K>,
) -> Result<KeyedTimers, KeyedStateError> {
    match store {
        Some(store) if store.checkpoints.is_some() => {
            let timers = KeyedTimers::new_in(&store.store, table, rows);
            timers.map_err(|error| store.place.refused(error))
        }
        _ => Ok(KeyedTimers::new()),
    }
}
