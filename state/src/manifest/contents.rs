//! What the edits of a manifest add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::edit::{EditRecord, Identity, Source, StoredSchema};
use super::{FileMeta, FilePart, Version};
use crate::backend::Epoch;
use crate::codec::{StateIndex, TableId};
use crate::snapshot::{CheckpointId, DataFile};

/// A store as of one edit.
///
/// # Invariants
///
/// - Whatever can be reached from it (the live version, the checkpoints' versions) is durable, when
///   the edit is: files are made durable before the edit that adds them.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    pub(crate) identity: Identity,
    pub(crate) sources: Vec<Source>,
    pub(crate) tables: BTreeMap<TableId, StoredTable>,
    /// The files that the worker goes on with.
    pub(crate) live: Arc<Version>,
    /// The completed checkpoints that nobody released.
    pub(crate) checkpoints: BTreeMap<CheckpointId, StoredCheckpoint>,
    /// Described files that are not live, until a checkpoint names them; by name and level.
    retired: BTreeMap<(FilePart, u8), Arc<FileMeta>>,
}

/// A table and its states, as first registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredTable {
    pub(crate) name: Box<str>,
    pub(crate) key: StoredSchema,
    pub(crate) states: BTreeMap<StateIndex, StoredState>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredState {
    pub(crate) name: Box<str>,
    pub(crate) schema: StoredSchema,
}

/// A completed checkpoint: all changes up to the end of its epoch, in the files of its version.
#[derive(Clone, Debug)]
pub(crate) struct StoredCheckpoint {
    pub(crate) epoch: Epoch,
    pub(crate) version: Arc<Version>,
}

impl Contents {
    /// A store without tables and files.
    pub(crate) fn new(identity: Identity) -> Self {
        Contents {
            identity,
            sources: Vec::new(),
            tables: BTreeMap::new(),
            live: Arc::new(Version::default()),
            checkpoints: BTreeMap::new(),
            retired: BTreeMap::new(),
        }
    }

    /// The contents after one more edit.
    ///
    /// # Errors
    ///
    /// What does not fit: expected and found. The contents are of no use then.
    pub(crate) fn apply(&mut self, edit: &[EditRecord]) -> Result<(), Box<str>> {
        let mut live = Version::clone(&self.live);
        live.number += 1;
        for record in edit {
            self.apply_record(record, &mut live)?;
        }
        self.live = Arc::new(live);
        for record in edit {
            let EditRecord::Checkpoint { id, epoch } = *record else { continue };
            let version = Arc::clone(&self.live);
            self.checkpoints.insert(id, StoredCheckpoint { epoch, version });
        }
        Ok(())
    }

    fn apply_record(&mut self, record: &EditRecord, live: &mut Version) -> Result<(), Box<str>> {
        match record {
            EditRecord::Identity(identity) if *identity != self.identity => {
                let (expected, found) = (&self.identity.store, &identity.store);
                return Err(format!("expected edits of store '{expected}', found '{found}'").into());
            }
            EditRecord::Identity(_) | EditRecord::Checkpoint { .. } => {}
            EditRecord::Table { table, name, key } => {
                let (name, key) = (name.clone(), key.clone());
                let states = BTreeMap::new();
                self.tables.insert(*table, StoredTable { name, key, states });
            }
            EditRecord::State { table, state, name, schema } => {
                let stored = StoredState { name: name.clone(), schema: schema.clone() };
                let Some(table) = self.tables.get_mut(table) else {
                    return Err(format!("expected a table for state '{name}', found none").into());
                };
                table.states.insert(*state, stored);
            }
            EditRecord::Add { is_live: true, file } => live.try_insert(Arc::new(file.clone()))?,
            EditRecord::Add { is_live: false, file } => {
                self.retired.insert((file.part(), file.level), Arc::new(file.clone()));
            }
            EditRecord::Remove(part) => live.remove(*part)?,
            EditRecord::Epoch(epoch) => live.epoch = Some(*epoch),
            EditRecord::CheckpointOf { id, epoch, files } => {
                let version = self.version_of(live, *epoch, files)?;
                let checkpoint = StoredCheckpoint { epoch: *epoch, version: Arc::new(version) };
                self.checkpoints.insert(*id, checkpoint);
            }
            EditRecord::Release(id) => drop(self.checkpoints.remove(id)),
            EditRecord::Source(source) => self.sources.push(source.clone()),
        }
        Ok(())
    }

    /// The version of a checkpoint whose files were described before.
    fn version_of(
        &self,
        live: &Version,
        epoch: Epoch,
        names: &[(FilePart, u8)],
    ) -> Result<Version, Box<str>> {
        let known = live.files().map(|file| ((file.part(), file.level), file));
        let known: BTreeMap<_, _> =
            known.chain(self.retired.iter().map(|(k, f)| (*k, f))).collect();
        let mut version = Version { epoch: Some(epoch), ..Version::default() };
        for name in names {
            let Some(file) = known.get(name) else {
                let (FilePart { id, first_group }, level) = name;
                let what = format!(
                    "expected a description of file {id} (level {level}, from key group {first_group}), found none"
                );
                return Err(what.into());
            };
            version.try_insert(Arc::clone(file))?;
        }
        Ok(version)
    }

    /// All files that something refers to.
    pub(crate) fn referenced(&self) -> BTreeSet<DataFile> {
        let versions = self.checkpoints.values().map(|checkpoint| &checkpoint.version);
        let files = versions.chain([&self.live]).flat_map(|version| version.files());
        files.map(|file| file.data_file()).collect()
    }

    /// All that there is to say, as one edit of a new log.
    pub(crate) fn snapshot(&self) -> Vec<EditRecord> {
        let mut records = vec![EditRecord::Identity(self.identity.clone())];
        records.extend(self.sources.iter().cloned().map(EditRecord::Source));
        for (id, table) in &self.tables {
            records.extend(table.records(*id));
        }
        let mut described = BTreeSet::new();
        for file in self.live.files() {
            described.insert((file.part(), file.level));
            records.push(EditRecord::Add { is_live: true, file: FileMeta::clone(file) });
        }
        records.extend(self.live.epoch.map(EditRecord::Epoch));
        for (id, checkpoint) in &self.checkpoints {
            let mut files = Vec::new();
            for file in checkpoint.version.files() {
                files.push((file.part(), file.level));
                if described.insert((file.part(), file.level)) {
                    records.push(EditRecord::Add { is_live: false, file: FileMeta::clone(file) });
                }
            }
            let epoch = checkpoint.epoch;
            records.push(EditRecord::CheckpointOf { id: *id, epoch, files });
        }
        records
    }

    /// Names the live version a checkpoint.
    pub(crate) fn complete(&mut self, id: CheckpointId) {
        let epoch = self.live.epoch.unwrap_or(Epoch(0));
        let version = Arc::clone(&self.live);
        self.checkpoints.insert(id, StoredCheckpoint { epoch, version });
    }

    /// The contents without files, of a store that never completed a checkpoint.
    pub(crate) fn emptied(mut self) -> Self {
        let number = self.live.number + 1;
        self.live = Arc::new(Version { number, ..Version::default() });
        self
    }

    /// A store that has this checkpoint alone, and its files as the live ones.
    pub(crate) fn as_of(&self, id: CheckpointId) -> Option<Self> {
        let checkpoint = self.checkpoints.get(&id)?.clone();
        let mut contents = Contents::new(self.identity.clone());
        contents.tables = self.tables.clone();
        contents.live = Arc::clone(&checkpoint.version);
        contents.checkpoints = BTreeMap::from([(id, checkpoint)]);
        Some(contents)
    }

    /// The contents with a checkpoint's files as the live ones, and without later checkpoints.
    pub(crate) fn rewound_to(mut self, id: CheckpointId) -> Option<Self> {
        let checkpoint = self.checkpoints.get(&id)?.clone();
        self.checkpoints.retain(|other, _| *other <= id);
        let number = self.live.number + 1;
        self.live = Arc::new(Version { number, ..Version::clone(&checkpoint.version) });
        Some(self)
    }
}

impl StoredTable {
    /// The records that describe the table.
    pub(crate) fn records(&self, table: TableId) -> Vec<EditRecord> {
        let (name, key) = (self.name.clone(), self.key.clone());
        let states = self.states.iter().map(|(state, stored)| EditRecord::State {
            table,
            state: *state,
            name: stored.name.clone(),
            schema: stored.schema.clone(),
        });
        std::iter::once(EditRecord::Table { table, name, key }).chain(states).collect()
    }
}
