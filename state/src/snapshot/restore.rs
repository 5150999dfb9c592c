//! A new store made of checkpoints of others.

use std::sync::Arc;

use thalweg_io::crash_point;

use super::{CheckpointId, StateRoot, crash_points};
use crate::KeyGroupRange;
use crate::backend::{Epoch, OlderCheckpoints, SchemaChange, StoreError};
use crate::codec::TableId;
use crate::manifest::{Contents, Identity, Source, StoredState, StoredTable, Version};

/// A checkpoint to restore from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreSource {
    /// The store that completed it.
    pub store: Box<str>,
    /// Which one.
    pub checkpoint: CheckpointId,
}

/// The contents of a new store that takes its key groups from checkpoints of others. The root
/// knows of its files when this returns, so no other store removes them.
///
/// # Errors
///
/// If a source is not there or damaged, was written with other settings or types, or if the sources
/// do not cover the key groups exactly once.
pub(crate) fn restored_contents(
    root: &StateRoot,
    identity: Identity,
    sources: &[RestoreSource],
) -> Result<Contents, StoreError> {
    let mut contents = Contents::new(identity);
    let mut live = Version { number: 1, ..Version::default() };
    let mut covered = Vec::new();
    for source in sources {
        let found = read_source(root, &contents.identity, source)?;
        let groups = found.identity.groups.intersection(contents.identity.groups);
        if groups.is_empty() {
            continue;
        }
        covered.push(groups);
        add_tables(&mut contents, &found)?;
        let checkpoint = &found.checkpoints[&source.checkpoint];
        live.epoch = live.epoch.max(Some(checkpoint.epoch));
        for file in checkpoint.version.files().filter_map(|file| file.clipped(groups)) {
            live.try_insert(Arc::new(file)).map_err(|what| malformed(root, source, what))?;
        }
        let (store, checkpoint) = (source.store.clone(), source.checkpoint);
        contents.sources.push(Source { store, checkpoint, groups });
    }
    check_cover(&contents.identity, covered)?;
    live.epoch = live.epoch.or(Some(Epoch(0)));
    contents.live = Arc::new(live);
    name_checkpoint(&mut contents, sources);
    root.refer(&contents.identity.store, contents.referenced());
    crash_point(crash_points::RESTORE_REFERENCED);
    Ok(contents)
}

/// If all sources are of one checkpoint, the new store has it too: it can be opened, and restored
/// from, before it completes one of its own.
fn name_checkpoint(contents: &mut Contents, sources: &[RestoreSource]) {
    let Some(first) = sources.first() else { return };
    if sources.iter().all(|source| source.checkpoint == first.checkpoint) {
        contents.complete(first.checkpoint);
    }
}

fn read_source(
    root: &StateRoot,
    identity: &Identity,
    source: &RestoreSource,
) -> Result<Contents, StoreError> {
    let recovered = root.read_store(&source.store)?;
    let contents = recovered.contents;
    if !contents.checkpoints.contains_key(&source.checkpoint) {
        let older = OlderCheckpoints(contents.checkpoints.keys().rev().copied().collect());
        let (store, checkpoint) = (source.store.clone(), source.checkpoint);
        return Err(recovered.damage.unwrap_or(StoreError::NoSuchCheckpoint {
            store,
            checkpoint,
            older,
        }));
    }
    let (expected, found) = (&contents.identity, identity);
    check_setting(
        &source.store,
        "maximum parallelism",
        expected.max_parallelism,
        found.max_parallelism,
    )?;
    check_key_hash(expected, found)?;
    Ok(contents)
}

/// Fails unless a setting is as the manifest says.
pub(crate) fn check_setting<T: PartialEq + std::fmt::Display>(
    store: &str,
    setting: &'static str,
    expected: T,
    found: T,
) -> Result<(), StoreError> {
    if expected == found {
        return Ok(());
    }
    Err(StoreError::SettingChanged {
        store: store.into(),
        setting,
        expected: expected.to_string().into(),
        found: found.to_string().into(),
        remedy: "it is fixed for the life of the state: use the old value",
    })
}

/// Fails unless keys are hashed as they were when the files were written.
pub(crate) fn check_key_hash(expected: &Identity, found: &Identity) -> Result<(), StoreError> {
    let describe = |identity: &Identity| {
        format!("{} version {}", identity.key_hash_name, identity.key_hash_version)
    };
    check_setting(&expected.store, "key hash", describe(expected), describe(found))
}

fn add_tables(contents: &mut Contents, found: &Contents) -> Result<(), StoreError> {
    for (id, table) in &found.tables {
        match contents.tables.get_mut(id) {
            None => drop(contents.tables.insert(*id, table.clone())),
            Some(known) => merge_states(&contents.identity.store, *id, known, table)?,
        }
    }
    Ok(())
}

/// Adds the states that one source has and another has not; those of both have to be the same.
fn merge_states(
    store: &str,
    id: TableId,
    known: &mut StoredTable,
    table: &StoredTable,
) -> Result<(), StoreError> {
    let changed = |what: String, expected: &str, found: &str| StoreError::SchemaChanged {
        store: store.into(),
        change: Box::new(SchemaChange {
            table: table.name.clone(),
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
            remedy: "restore from checkpoints of one job".into(),
        }),
    };
    if known.name != table.name || known.key != table.key {
        let what = format!("the key of table number {} in another source", id.0);
        return Err(changed(what, &known.key.text, &table.key.text));
    }
    for (index, state) in &table.states {
        let Some(other) = known.states.get_mut(index) else {
            known.states.insert(*index, state.clone());
            continue;
        };
        if !merge_versions(other, state) {
            let what = format!("state '{}' (number {index} in another source)", state.name);
            return Err(changed(what, &other.schema.text, &state.schema.text));
        }
    }
    Ok(())
}

/// Makes the versions of a state those of both sources, if those of one are the first ones of the other.
fn merge_versions(known: &mut StoredState, other: &StoredState) -> bool {
    let is_same = known.name == other.name
        && known.schemas().zip(other.schemas()).all(|(known, other)| known == other);
    if !is_same {
        return false;
    }
    let both = known.later.len().min(other.later.len());
    for (known, other) in known.later.iter_mut().zip(&other.later) {
        known.since = known.since.min(other.since);
        known.all_since = known.all_since.max(other.all_since);
    }
    known.later.extend_from_slice(other.later.get(both..).unwrap_or_default());
    // What one of them has before, and the other has not, is of any epoch.
    known.later.iter_mut().skip(both).for_each(|later| later.all_since = Epoch(u64::MAX));
    true
}

/// Fails unless the ranges cover the store's key groups exactly once.
fn check_cover(identity: &Identity, mut covered: Vec<KeyGroupRange>) -> Result<(), StoreError> {
    covered.sort_by_key(|groups| groups.start);
    let unfit = |fault, group| {
        let (store, wanted) = (identity.store.clone(), identity.groups);
        Err(StoreError::SourcesDoNotFit { store, wanted, fault, group })
    };
    let mut next = identity.groups.start;
    for groups in covered {
        if groups.start > next {
            return unfit("lack", next);
        }
        if groups.start < next {
            return unfit("share", groups.start);
        }
        next = groups.end;
    }
    match next == identity.groups.end {
        true => Ok(()),
        false => unfit("lack", next),
    }
}

fn malformed(root: &StateRoot, source: &RestoreSource, what: Box<str>) -> StoreError {
    let (store, path) = (source.store.clone(), root.manifest_path(&source.store).into());
    StoreError::Malformed { store, path, offset: 0, what, older: OlderCheckpoints::default() }
}
