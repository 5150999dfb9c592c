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
use thalweg_state::{Key, KeyGroupRange, LsmStore, RowStore, StateError, StateRegistrar};

/// See the module docs.
pub(crate) struct KeyedStore {
    store: LsmStore,
    _files: Arc<StateFiles>,
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
        Ok(Some(KeyedStore { store, _files: files.clone() }))
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
