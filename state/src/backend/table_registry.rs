//! The tables and states of a store, and their types.
//!
//! A state whose type has changed gets a further *version*, if its values of all versions before can become values of the new
//! type ([`Evolution`]). Each value says of which version it is; what was written stays as it is until it changes.
//!
//! **Invariants**
//! - A version keeps its number as long as a value of it may be in a file. It has none yet if the store has gone back behind the
//!   epoch that it was registered in.
//! - The type of keys never changes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Epoch, SchemaChange, StateVersions, StoreError, TableStore};
use crate::codec::{StateIndex, TableId};
use crate::manifest::{EditRecord, LaterSchema, StoredSchema, StoredState, StoredTable, Version};
use crate::{Evolution, SchemaDescription, SchemaFingerprint};

/// What a resident table asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableRequest<'a> {
    pub(crate) name: &'a str,
    pub(crate) key: &'a SchemaDescription,
    /// The states in the order of the table's own numbers; names are unique.
    pub(crate) states: &'a [StateRequest<'a>],
}

/// A state's name, and its kind and types as one description.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateRequest<'a> {
    pub(crate) name: &'a str,
    pub(crate) schema: &'a SchemaDescription,
}

/// What a resident table gets.
#[derive(Debug)]
pub(crate) struct OpenedTable {
    pub(crate) store: TableStore,
    /// The number of each state in files, in the order asked for. Files may hold records of other
    /// numbers: states that were written before and are not asked for now.
    pub(crate) states: Box<[StateIndex]>,
    /// The versions of each state, in the same order.
    pub(crate) versions: Vec<StateVersions>,
}

/// All tables that a store knows.
#[derive(Debug)]
pub(super) struct TableRegistry {
    store: Box<str>,
    tables: BTreeMap<TableId, StoredTable>,
    /// The first epoch that something in files is of, by table, when the store was opened.
    oldest: BTreeMap<TableId, Epoch>,
    open: BTreeSet<TableId>,
}

/// An open table's numbers, and what the manifest has to be told.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) states: Box<[StateIndex]>,
    pub(super) versions: Vec<StateVersions>,
    pub(super) new_records: Vec<EditRecord>,
}

impl TableRegistry {
    /// Of a store that goes on from these files.
    pub(super) fn new(
        store: &str,
        mut tables: BTreeMap<TableId, StoredTable>,
        live: &Version,
    ) -> Self {
        for state in tables.values_mut().flat_map(|table| table.states.values_mut()) {
            let is_used = |later: &&LaterSchema| live.epoch.is_some_and(|last| later.since <= last);
            let used = state.later.iter().take_while(is_used).count();
            state.later.truncate(used);
        }
        let mut oldest = BTreeMap::new();
        for file in live.files() {
            for table in &file.tables {
                let epoch = oldest.entry(*table).or_insert(file.first_epoch);
                *epoch = file.first_epoch.min(*epoch);
            }
        }
        TableRegistry { store: store.into(), tables, oldest, open: BTreeSet::new() }
    }

    /// Opens a table under its number, in the current epoch.
    pub(super) fn open(
        &mut self,
        id: TableId,
        request: &TableRequest<'_>,
        epoch: Epoch,
    ) -> Result<Registered, StoreError> {
        if self.open.contains(&id) {
            let (store, table) = (self.store.clone(), request.name.into());
            return Err(StoreError::TableInUse { store, table });
        }
        let mut new_records = Vec::new();
        let mut table = match self.tables.get(&id) {
            Some(table) => table.clone(),
            None => {
                let (name, key) = (request.name.into(), stored(request.key));
                let table = StoredTable { name, key, states: BTreeMap::new() };
                new_records.extend(table.records(id));
                table
            }
        };
        self.check_key(request, &table.key)?;
        let (mut states, mut versions) = (Vec::new(), Vec::new());
        for state in request.states {
            let known = table.states.iter_mut().find(|(_, known)| *known.name == *state.name);
            let Some((index, known)) = known else {
                let (index, record) = self.add_state(id, &mut table, state)?;
                new_records.push(record);
                states.push(index);
                versions.push(StateVersions::default());
                continue;
            };
            let (found, record) = self.version_of(request, (id, *index), known, state, epoch)?;
            new_records.extend(record);
            states.push(*index);
            versions.push(found);
        }
        self.tables.insert(id, table);
        self.open.insert(id);
        Ok(Registered { states: states.into(), versions, new_records })
    }

    /// The version that a state's values are written in from now on, a new one if its type is, and how all others are read.
    fn version_of(
        &self,
        request: &TableRequest<'_>,
        (table, index): (TableId, StateIndex),
        known: &mut StoredState,
        state: &StateRequest<'_>,
        epoch: Epoch,
    ) -> Result<(StateVersions, Option<EditRecord>), StoreError> {
        let fingerprint = state.schema.fingerprint().0;
        let is_last = known.schemas().last().is_some_and(|last| last.fingerprint == fingerprint);
        let current = known.later.len() + usize::from(!is_last);
        let too_many = || StoreError::InvalidOption {
            store: self.store.clone(),
            option: "the number of types that a state ever had",
            given: format!("{} of state '{}'", current + 1, known.name).into(),
            bounds: "at most 255; use a new state",
        };
        let current_byte = u8::try_from(current).ok().filter(|version| *version < u8::MAX);
        let current_byte = current_byte.ok_or_else(too_many)?;
        // The versions before one that all that is in files has, are of no value.
        let oldest = self.oldest.get(&table);
        let is_gone = |later: &LaterSchema| oldest.is_none_or(|oldest| later.all_since <= *oldest);
        let mut first = known.later.iter().rposition(is_gone).map_or(0, |index| index + 1);
        if oldest.is_none() {
            first = current;
        }
        let mut others = Vec::new();
        for (version, schema) in known.schemas().enumerate().take(current).skip(first) {
            let evolution = Evolution::between(&schema.text, state.schema);
            let evolution =
                evolution.map_err(|refused| self.changed(request, state, schema, &refused))?;
            others.resize_with(version + 1, || None);
            others[version] = Some(evolution);
        }
        let mut record = None;
        if !is_last {
            let later =
                LaterSchema { since: epoch, all_since: epoch, schema: stored(state.schema) };
            known.later.push(later.clone());
            let version = current_byte;
            record = Some(EditRecord::Version { table, state: index, version, schema: later });
        }
        Ok((StateVersions { current: current_byte, others: others.into() }, record))
    }

    /// Gives a state the lowest free number.
    fn add_state(
        &self,
        id: TableId,
        table: &mut StoredTable,
        state: &StateRequest<'_>,
    ) -> Result<(StateIndex, EditRecord), StoreError> {
        let free = (0..StateIndex::MAX).find(|index| !table.states.contains_key(index));
        let index = free.ok_or_else(|| StoreError::InvalidOption {
            store: self.store.clone(),
            option: "the number of states that a table ever had",
            given: format!("{} in table '{}'", table.states.len() + 1, table.name).into(),
            bounds: "at most 255; use a new table",
        })?;
        let schema = stored(state.schema);
        let stored = StoredState { name: state.name.into(), schema, later: Vec::new() };
        let (name, schema) = (stored.name.clone(), stored.schema.clone());
        table.states.insert(index, stored);
        Ok((index, EditRecord::State { table: id, state: index, name, schema }))
    }

    fn check_key(
        &self,
        request: &TableRequest<'_>,
        expected: &StoredSchema,
    ) -> Result<(), StoreError> {
        if expected.fingerprint == request.key.fingerprint().0 {
            return Ok(());
        }
        let change = SchemaChange {
            table: request.name.into(),
            what: "the key".into(),
            expected: describe(&expected.text, expected.fingerprint),
            found: describe(request.key.text(), request.key.fingerprint().0),
            remedy: "the type of keys is fixed: change it back, or begin without the checkpoint"
                .into(),
        };
        Err(StoreError::SchemaChanged { store: self.store.clone(), change: Box::new(change) })
    }

    fn changed(
        &self,
        request: &TableRequest<'_>,
        state: &StateRequest<'_>,
        expected: &StoredSchema,
        refused: &crate::SchemaRefused,
    ) -> StoreError {
        let change = SchemaChange {
            table: request.name.into(),
            what: format!("state '{}'", state.name).into(),
            expected: describe(&expected.text, expected.fingerprint),
            found: describe(state.schema.text(), state.schema.fingerprint().0),
            remedy: refused.to_string().into(),
        };
        StoreError::SchemaChanged { store: self.store.clone(), change: Box::new(change) }
    }
}

fn describe(text: &str, fingerprint: u64) -> Box<str> {
    format!("{text} (fingerprint {})", SchemaFingerprint(fingerprint)).into()
}

fn stored(schema: &SchemaDescription) -> StoredSchema {
    StoredSchema { fingerprint: schema.fingerprint().0, text: schema.text().into() }
}
