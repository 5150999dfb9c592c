//! Savepoints: a checkpoint in a directory of its own, which belongs to whoever asked for it, and jobs that begin with one.
//!
//! ```text
//! checkpoints of a job ──write──► SAVEPOINT/ files/, manifests/, checkpoints/<id>.chk ──begin──► checkpoints of another job
//! ```
//! 1. A savepoint has the layout of a directory of checkpoints (see [`CheckpointStore`]), with one checkpoint in it whose
//!    metadata says that it is a savepoint. It needs nothing else: it may be moved, and outlives its job.
//! 2. [`write`] copies the stores, checks what it has copied, and names the checkpoint last: before that there is no
//!    savepoint.
//! 3. [`begin`] copies it into the directory of a job's checkpoints, as the first of them, named last again. From there the
//!    job goes on as from any checkpoint, and the savepoint is not needed any more.
//! 4. Each later checkpoint of that job knows the savepoint it comes from, so that a process that is started again with the
//!    same settings goes on where the job was, and does not begin again with the savepoint.
//!
//! **Invariants**
//! - Nothing is written into a savepoint that is complete, and nothing that is in a directory is overwritten by one.
//! - State that has no operator any more is given up only by whoever says `allow_non_restored_state`.

use super::crash_points;
use super::metadata::{CheckpointMetadata, MetadataError, OperatorDescription};
use super::store::{CheckpointStore, ids_in};
use crate::BoxError;
use crate::config::Restore;
use crate::operator::keyed_store::stores_of;
use crate::operator::pieces::PieceError;
use crate::record::CheckpointId;
use crate::state::StoreError;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_io::storage::{Storage, remove_tree};
use thalweg_io::{IoError, crash_point};

/// A savepoint cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(
        "{} exists and is not empty; name a directory that does not exist, or remove it", directory.display()
    )]
    InTheWay { directory: PathBuf },
    #[error("{}: {source}", directory.display())]
    Io { directory: PathBuf, source: IoError },
    #[error("the checkpoint could not be copied: {0}")]
    Copy(BoxError),
}

/// A job cannot begin with a savepoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error(
        "the job has no checkpoints, so it cannot begin with the savepoint in {} (option `savepoint`): call `enable_checkpointing`, or set \
         `checkpoint_interval_ms`", directory.display()
    )]
    NoCheckpoints { directory: PathBuf },
    #[error(
        "there is no savepoint in {} (option `savepoint`): it has no complete checkpoint. A savepoint that was being written when its \
         process ended is of no use; name another, or leave the option out", directory.display()
    )]
    NoSavepoint { directory: PathBuf },
    #[error(
        "{} (option `savepoint`) has checkpoints of the job '{job}', and is no savepoint: take one with `JobHandle::savepoint`, or go on \
         from the checkpoints by the option `checkpoint_directory`", directory.display()
    )]
    Checkpoints { directory: PathBuf, job: String },
    #[error("the savepoint in {}: {source}", directory.display())]
    Io { directory: PathBuf, source: IoError },
    #[error("the savepoint in {}: {source}", directory.display())]
    Metadata { directory: PathBuf, source: MetadataError },
    #[error("the savepoint in {}: {source}", directory.display())]
    Piece { directory: PathBuf, source: Box<PieceError> },
    #[error("the keyed state of the savepoint in {} could not be copied: {source}", directory.display())]
    Copy { directory: PathBuf, source: Box<StoreError> },
    #[error(
        "the savepoint in {} is of the job '{found}', not of '{expected}'; say `savepoint_job = \"{found}\"` if this job is to go \
         on with its state", directory.display()
    )]
    OtherJob { directory: PathBuf, expected: String, found: String },
    #[error(
        "the job has checkpoints of its own, up to {newest}, which do not come from the savepoint in {}: leave the option `savepoint` out \
         to go on from them, or set `restore = \"nothing\"` to give them up", directory.display()
    )]
    OwnCheckpoints { directory: PathBuf, newest: CheckpointId },
    #[error(
        "the savepoint in {} has state of the operator '{operator}' ({uid}), which this job does not have; give the operator that is \
         to go on with it this uid, or set `allow_non_restored_state` to give its state up", directory.display()
    )]
    UnknownOperator { directory: PathBuf, operator: String, uid: String },
}

/// What a job says about the savepoint it begins with.
#[derive(Debug)]
pub(crate) struct Begin<'a> {
    pub(crate) directory: &'a Path,
    /// Where the savepoint is.
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) job_name: &'a str,
    /// The job whose savepoint it is, if that is another.
    pub(crate) savepoint_job: Option<&'a str>,
    pub(crate) allow_non_restored_state: bool,
    pub(crate) allow_repeated_commits: bool,
    pub(crate) restore: Restore,
    pub(crate) operators: &'a [OperatorDescription],
}

/// Is the directory free for a savepoint?
///
/// # Errors
/// [`WriteError::InTheWay`] if there is anything in it; what the storage says.
pub(crate) fn require_free(storage: &dyn Storage, directory: &Path) -> Result<(), WriteError> {
    let owned = || directory.to_path_buf();
    match storage.list(directory) {
        Ok(found) if found.is_empty() => Ok(()),
        Ok(_) => Err(WriteError::InTheWay { directory: owned() }),
        Err(error) if error.is_not_found() => Ok(()),
        Err(source) => Err(WriteError::Io { directory: owned(), source }),
    }
}

/// Copies a complete checkpoint, which nobody removes meanwhile, into a directory; its bytes. What this job has written there
/// before, it replaces.
///
/// # Errors
/// If there is something else; what reading and writing says. The directory is as it was then, or empty.
pub(crate) fn write(
    checkpoints: &CheckpointStore,
    id: CheckpointId,
    (storage, directory): (&Arc<dyn Storage>, &Path),
    has_been_written: bool,
) -> Result<u64, WriteError> {
    if has_been_written {
        remove(&**storage, directory)?;
    }
    require_free(&**storage, directory)?;
    let written = write_free(checkpoints, id, storage, directory);
    if written.is_err()
        && let Err(error) = remove(&**storage, directory)
    {
        tracing::warn!("a savepoint that failed leaves files: {error}");
    }
    written.map_err(WriteError::Copy)
}

fn remove(storage: &dyn Storage, directory: &Path) -> Result<(), WriteError> {
    let failed = |source| WriteError::Io { directory: directory.to_path_buf(), source };
    remove_tree(storage, directory).map_err(failed)
}

fn write_free(
    checkpoints: &CheckpointStore,
    id: CheckpointId,
    storage: &Arc<dyn Storage>,
    directory: &Path,
) -> Result<u64, BoxError> {
    let mut metadata = checkpoints.load(id)?;
    let stores = stores_of(&metadata.clone().into_restored())?;
    let savepoint = CheckpointStore::open(storage.clone(), directory)?;
    let state_bytes = savepoint.root().import(checkpoints.place(), id, &stores)?;
    crash_point(crash_points::SAVEPOINT_STATE);
    metadata.is_savepoint = true;
    metadata.origin = None;
    let metadata_bytes = savepoint.save(&metadata)?;
    crash_point(crash_points::SAVEPOINT_COMPLETE);
    Ok(state_bytes + metadata_bytes)
}

/// What a job that begins with a savepoint goes on from: the savepoint, which is a checkpoint of its own from now on, or a later
/// one that comes from it. With the checkpoints that are kept.
///
/// # Errors
/// See [`BeginError`]; what opening checkpoints returns.
pub(crate) fn begin(
    checkpoints: &CheckpointStore,
    settings: &Begin<'_>,
) -> Result<(CheckpointMetadata, VecDeque<CheckpointId>), BoxError> {
    let directory = || settings.directory.to_path_buf();
    let mut metadata = read(&*settings.storage, settings.directory)?;
    let identity = metadata.identity();
    if settings.restore == Restore::Nothing {
        checkpoints.clear()?;
    }
    let own = checkpoints.latest(settings.job_name, settings.allow_repeated_commits, None)?;
    match own {
        Some((own, retained)) if own.origin.as_ref() == Some(&identity) => {
            tracing::info!(
                checkpoint = own.checkpoint,
                "goes on from its own checkpoint, which comes from the savepoint"
            );
            return Ok((own, retained));
        }
        // Nothing has happened since the savepoint was taken.
        Some((own, _)) if own.identity() == identity => {}
        Some((own, _)) => {
            let newest = CheckpointId(own.checkpoint);
            return Err(BeginError::OwnCheckpoints { directory: directory(), newest }.into());
        }
        None => {}
    }
    let of_job = settings.savepoint_job.unwrap_or(settings.job_name);
    if metadata.job_name != of_job {
        let (expected, found) = (of_job.to_owned(), metadata.job_name);
        return Err(BeginError::OtherJob { directory: directory(), expected, found }.into());
    }
    match_operators(&mut metadata, settings)?;
    let piece = |source| BeginError::Piece { directory: directory(), source: Box::new(source) };
    let stores = stores_of(&metadata.clone().into_restored()).map_err(piece)?;
    checkpoints.remove_names()?;
    crash_point(crash_points::IMPORT_BEGUN);
    let (id, from) = (CheckpointId(metadata.checkpoint), (settings.directory, &settings.storage));
    let imported = checkpoints.root().import(from, id, &stores);
    imported.map_err(|source| {
        let (directory, source) = (directory(), Box::new(source));
        BeginError::Copy { directory, source }
    })?;
    crash_point(crash_points::IMPORT_STATE);
    settings.job_name.clone_into(&mut metadata.job_name);
    metadata.is_savepoint = false;
    metadata.origin = Some(identity);
    checkpoints.save(&metadata)?;
    crash_point(crash_points::IMPORT_COMPLETE);
    Ok((metadata, VecDeque::from([id])))
}

/// The metadata of the savepoint in a directory.
fn read(storage: &dyn Storage, directory: &Path) -> Result<CheckpointMetadata, BeginError> {
    let owned = || directory.to_path_buf();
    let ids = match ids_in(storage, directory) {
        Ok(ids) => ids,
        Err(error) if error.is_not_found() => Vec::new(),
        Err(source) => return Err(BeginError::Io { directory: owned(), source }),
    };
    let Some(id) = ids.last() else {
        return Err(BeginError::NoSavepoint { directory: owned() });
    };
    let metadata = CheckpointMetadata::of(storage, directory, *id)
        .map_err(|source| BeginError::Metadata { directory: owned(), source })?;
    if !metadata.is_savepoint {
        return Err(BeginError::Checkpoints { directory: owned(), job: metadata.job_name });
    }
    Ok(metadata)
}

/// Requires an operator of the plan for all state, or gives up that which has none.
fn match_operators(
    metadata: &mut CheckpointMetadata,
    settings: &Begin<'_>,
) -> Result<(), BeginError> {
    let directory = || settings.directory.to_path_buf();
    while let Some(stranger) = metadata.operator_not_in(settings.operators) {
        let (id, operator, uid) = (stranger.id, stranger.name.clone(), stranger.told_uid());
        if !settings.allow_non_restored_state {
            return Err(BeginError::UnknownOperator { directory: directory(), operator, uid });
        }
        tracing::warn!(%operator, %uid, "the savepoint's state of an operator that the job does not have is given up");
        metadata.operators.retain(|stored| stored.id != id);
    }
    Ok(())
}
