//! The LSM store below the tables of one keyed operator in one subtask.
//!
//! An operator opens its store, if the job has one, makes its row stores in it, and calls
//! [`maintain`](KeyedStore::maintain) between batches.
//!
//! **Invariants**
//! - The tables are dropped before the store, and the store before the job's files.

use crate::Result;
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::runtime::state_files::StateFiles;
use std::sync::Arc;
use thalweg_state::{
    FlatStore, Key, KeyGroupRange, LsmStore, MemoryPressure, Progress, RowStore, StateError,
    StateRegistrar, StateValue, StoreError, StoreEvent,
};

/// Changed rows that are written in one call of [`KeyedStore::maintain`]; twice a batch, so that most of them are written
/// before they change again.
const BEAT_ROWS: usize = 2048;
/// How often a call asks for room when memory is short, before it goes on without.
const PATIENCE: usize = 64;

/// See the module docs.
pub(crate) struct KeyedStore {
    store: LsmStore,
    /// Dropped last.
    _files: Arc<StateFiles>,
    has_warned: bool,
}

/// A table in a store.
pub(crate) trait StoredTable {
    /// Ends the current epoch.
    fn barrier(&mut self) -> Result<(), StateError>;
    /// Writes some rows of ended epochs, and makes room if there is too little.
    fn beat(&mut self, rows_max: usize) -> Result<Progress, StateError>;
}

impl<K: Key> StoredTable for RowStore<K> {
    fn barrier(&mut self) -> Result<(), StateError> {
        RowStore::barrier(self).map(drop)
    }
    fn beat(&mut self, rows_max: usize) -> Result<Progress, StateError> {
        RowStore::beat(self, rows_max)
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
}

impl KeyedStore {
    /// Does the work of the store that is due between two batches, a bounded part of it: changed rows are written, rows leave
    /// memory when it is short. `tables` are all tables of the store.
    ///
    /// # Errors
    ///
    /// What reading and writing rows returns. A disk that does not take the rows is no error: they stay in memory, and the
    /// first refusal is logged.
    pub(crate) fn maintain(&mut self, tables: &mut [&mut dyn StoredTable]) -> Result {
        for _ in 0..PATIENCE {
            self.store.poll().into_iter().for_each(|event| self.note(event));
            let memory = beat(tables)?;
            if memory.wants_spill {
                self.spill(tables)?;
            }
            if !memory.is_over {
                break;
            }
        }
        Ok(())
    }

    fn spill(&mut self, tables: &mut [&mut dyn StoredTable]) -> Result {
        match self.store.begin_spill() {
            Ok(_) => Ok(tables.iter_mut().try_for_each(|table| table.barrier())?),
            Err(StoreError::Congested { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn note(&mut self, event: StoreEvent) {
        let (StoreEvent::SpillFailed { error, .. } | StoreEvent::CompactionFailed { error }) =
            event
        else {
            return;
        };
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!("state that was to leave memory stays there: {error}");
        }
    }
}

fn beat(tables: &mut [&mut dyn StoredTable]) -> Result<MemoryPressure, StateError> {
    let mut memory = MemoryPressure::default();
    for table in tables {
        let of_table = table.beat(BEAT_ROWS)?.memory;
        memory.wants_spill |= of_table.wants_spill;
        memory.is_over |= of_table.is_over;
    }
    Ok(memory)
}

impl BuildContext {
    /// The store of a keyed operator; `None` if all of its state stays in memory.
    pub(crate) fn open_keyed_store(&self, node: NodeId) -> Result<Option<KeyedStore>> {
        let Some(files) = &self.job.state_files else { return Ok(None) };
        let (subtask, parallelism) = (narrow(self.stage.subtask), narrow(self.stage.parallelism));
        let max_parallelism = self.stage.max_parallelism;
        let groups = KeyGroupRange::of(subtask, parallelism, max_parallelism)?;
        let place = (node.0, self.stage.subtask);
        let store = files.open_store(place, groups, max_parallelism)?;
        Ok(Some(KeyedStore { store, _files: files.clone(), has_warned: false }))
    }
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
) -> Result<RowStore<K>, StateError> {
    match store {
        None => RowStore::new(registrar),
        Some(store) => RowStore::new_in(registrar, &store.store, table),
    }
}

/// The one table of an operator that keeps a value a key, in its store if it has one.
pub(crate) fn open_flat<K: Key, S: StateValue>(
    store: Option<&KeyedStore>,
    table: &str,
) -> Result<FlatStore<K, S>, StateError> {
    match store {
        None => Ok(FlatStore::new()),
        Some(store) => FlatStore::new_in(&store.store, table),
    }
}
