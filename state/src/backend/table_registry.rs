//! The tables and states of a store, and their types.

use std::collections::{BTreeMap, BTreeSet};

use super::{StoreError, TableStore};
use crate::codec::{StateIndex, TableId};
use crate::manifest::{EditRecord, StoredSchema, StoredState, StoredTable};
use crate::{SchemaDescription, SchemaFingerprint};

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
}

/// All tables that a store knows.
#[derive(Debug)]
pub(super) struct TableRegistry {
    store: Box<str>,
    tables: BTreeMap<TableId, StoredTable>,
    open: BTreeSet<TableId>,
}

/// An open table's numbers, and what the manifest has to be told.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) states: Box<[StateIndex]>,
    pub(super) new_records: Vec<EditRecord>,
}

impl TableRegistry {
    pub(super) fn new(store: &str, tables: BTreeMap<TableId, StoredTable>) -> Self {
        TableRegistry { store: store.into(), tables, open: BTreeSet::new() }
    }

    /// Opens a table under its number.
    pub(super) fn open(
        &mut self,
        id: TableId,
        request: &TableRequest<'_>,
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
        self.check(request, "the key", &table.key, request.key)?;
        let states = request.states.iter().map(|state| {
            let known = table.states.iter().find(|(_, known)| *known.name == *state.name);
            if let Some((index, known)) = known {
                self.check(
                    request,
                    &format!("state '{}'", state.name),
                    &known.schema,
                    state.schema,
                )?;
                return Ok(*index);
            }
            let (index, record) = self.add_state(id, &mut table, state)?;
            new_records.push(record);
            Ok(index)
        });
        let states = states.collect::<Result<_, StoreError>>()?;
        self.tables.insert(id, table);
        self.open.insert(id);
        Ok(Registered { states, new_records })
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
        let stored = StoredState { name: state.name.into(), schema: stored(state.schema) };
        let (name, schema) = (stored.name.clone(), stored.schema.clone());
        table.states.insert(index, stored);
        Ok((index, EditRecord::State { table: id, state: index, name, schema }))
    }

    fn check(
        &self,
        request: &TableRequest<'_>,
        what: &str,
        expected: &StoredSchema,
        found: &SchemaDescription,
    ) -> Result<(), StoreError> {
        if expected.fingerprint == found.fingerprint().0 {
            return Ok(());
        }
        let describe = |text: &str, fingerprint| format!("{text} (fingerprint {fingerprint})");
        Err(StoreError::SchemaChanged {
            store: self.store.clone(),
            table: request.name.into(),
            what: what.into(),
            expected: describe(&expected.text, SchemaFingerprint(expected.fingerprint)).into(),
            found: describe(found.text(), found.fingerprint()).into(),
        })
    }
}

fn stored(schema: &SchemaDescription) -> StoredSchema {
    StoredSchema { fingerprint: schema.fingerprint().0, text: schema.text().into() }
}
