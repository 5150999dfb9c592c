//! Where the checkpoints of a job are: a directory, or the memory of the process.
//!
//! ```text
//! DIRECTORY/LOCK, ROOT, files/, manifests/     the stores of keyed operators (thalweg_state::StateRoot)
//! DIRECTORY/checkpoints/00000000000000000007.chk     a complete checkpoint (metadata.rs)
//! ```
//!
//! 1. A checkpoint is complete when its metadata file has its name, durably: what it refers to was durable before.
//! 2. It is given up by removing that name, durably, before any of its files.
//! 3. Which one a job goes on from is found by [`CheckpointStore::latest`]: the newest, or an older one if that is damaged and no
//!    sink can have committed a newer.
//!
//! **Invariants**
//! - One job of one process at a time: the lock of the `StateRoot` is held as long as this lives.
//! - Ids are never used again: [`CheckpointStore::last_id`] counts damaged ones too.

use super::crash_points;
use super::metadata::{CheckpointMetadata, MetadataError, OperatorDescription};
use super::restore_fault::RestoreFault;
use crate::record::CheckpointId;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_io::IoError;
use thalweg_io::crash_point;
use thalweg_io::file::IN_PROGRESS_SUFFIX;
use thalweg_io::storage::{Storage, create_durable_dir_all};
use thalweg_state::{StateRoot, StoreError};

const SUFFIX: &str = "chk";
/// How often the name of a checkpoint that failed is removed, on a disk that fails.
const GIVE_UP_ATTEMPTS: usize = 5;

/// Checkpoints cannot be kept here, or none of those that are here can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointStoreError {
    #[error("the checkpoint directory {}: {source}", directory.display())]
    Io { directory: PathBuf, source: IoError },
    #[error("the checkpoint directory {}: {source}", directory.display())]
    Root { directory: PathBuf, source: Box<StoreError> },
    #[error(
        "checkpoint {newest} in {} cannot be used: {source}. Checkpoint {older} is whole, but sinks may have committed \
         results behind it, which would come twice: set `allow_repeated_commits` to go on from it all the same",
        directory.display()
    )]
    BehindCommit {
        directory: PathBuf,
        newest: CheckpointId,
        older: CheckpointId,
        source: Box<MetadataError>,
    },
    #[error(
        "none of the {count} checkpoints in {} can be used; the newest: {source}. Set `restore = \"nothing\"` to begin anew",
        directory.display()
    )]
    NoneUsable { directory: PathBuf, count: usize, source: Box<MetadataError> },
    #[error(
        "the checkpoints in {} are of the job '{found}', not of '{expected}'; give each job a directory of its own",
        directory.display()
    )]
    OtherJob { directory: PathBuf, expected: String, found: String },
    #[error(
        "checkpoint {checkpoint} in {} cannot be read: {source}. No older one was tried, as nothing says that this one is \
         damaged", directory.display()
    )]
    Unreadable { directory: PathBuf, checkpoint: CheckpointId, source: Box<MetadataError> },
    #[error(
        "checkpoint {checkpoint} in {} has state of the operator '{operator}' ({uid}), which this job does not have; give \
         the operator that is to go on with it this uid, or set `restore = \"nothing\"` to begin anew",
        directory.display()
    )]
    UnknownOperator { directory: PathBuf, checkpoint: CheckpointId, operator: String, uid: String },
    #[error(
        "checkpoint {checkpoint} in {} has keyed state of the operator '{operator}' in {found} key groups (its max parallelism), this \
         job has {expected}: they are fixed for the life of the state. Say `max_parallelism({found})` for the operator",
        directory.display()
    )]
    MaxParallelism {
        directory: PathBuf,
        checkpoint: CheckpointId,
        operator: String,
        expected: usize,
        found: u32,
    },
    #[error(
        "{} is a savepoint, which jobs do not write to: name it by the option `savepoint`, and another directory for the job's checkpoints",
        directory.display()
    )]
    Savepoint { directory: PathBuf },
}

/// A checkpoint that has turned out to be damaged when its state was read, and how.
pub(crate) type Unusable = (CheckpointId, String);

/// See the module docs.
#[derive(Debug)]
pub(crate) struct CheckpointStore {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    root: Arc<StateRoot>,
}

impl CheckpointStore {
    /// Takes the directory, and makes it if there is none.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        directory: &Path,
    ) -> Result<Self, CheckpointStoreError> {
        let checkpoints = directory.join("checkpoints");
        let io = |source| CheckpointStoreError::Io { directory: directory.to_path_buf(), source };
        create_durable_dir_all(&*storage, &checkpoints).map_err(io)?;
        let root = StateRoot::open(directory, storage.clone()).map_err(|source| {
            CheckpointStoreError::Root {
                directory: directory.to_path_buf(),
                source: Box::new(source),
            }
        })?;
        let store = CheckpointStore { storage, directory: directory.to_path_buf(), root };
        store.remove_unfinished().map_err(io)?;
        Ok(store)
    }

    /// Removes metadata files that a process has begun and not finished: they have no name, so nobody would ever.
    fn remove_unfinished(&self) -> Result<(), IoError> {
        let paths = self.storage.list(&self.directory.join("checkpoints"))?;
        let is_unfinished =
            |path: &&PathBuf| path.to_str().is_some_and(|path| path.ends_with(IN_PROGRESS_SUFFIX));
        paths.iter().filter(is_unfinished).try_for_each(|path| self.storage.remove(path))
    }

    /// A checkpoint that is kept.
    pub(crate) fn load(&self, id: CheckpointId) -> Result<CheckpointMetadata, MetadataError> {
        CheckpointMetadata::of(&*self.storage, &self.directory, id)
    }

    /// The directory, and what it is in.
    pub(crate) fn place(&self) -> (&Path, &Arc<dyn Storage>) {
        (&self.directory, &self.storage)
    }

    /// Where the stores of keyed operators are.
    pub(crate) fn root(&self) -> &Arc<StateRoot> {
        &self.root
    }

    /// Where all of it is, and through what it is read.
    #[cfg_attr(not(feature = "object-store"), expect(dead_code, reason = "for copies"))]
    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    #[cfg_attr(not(feature = "object-store"), expect(dead_code, reason = "for copies"))]
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// All that have a name, oldest first.
    pub(crate) fn list(&self) -> Result<Vec<CheckpointId>, CheckpointStoreError> {
        ids_in(&*self.storage, &self.directory).map_err(|source| self.io(source))
    }

    /// The highest id that has a name; 0 if none has.
    pub(crate) fn last_id(&self) -> Result<u64, CheckpointStoreError> {
        Ok(self.list()?.last().map_or(0, |id| id.0))
    }

    /// Makes a checkpoint complete; the bytes of its metadata.
    pub(crate) fn save(&self, metadata: &CheckpointMetadata) -> Result<u64, MetadataError> {
        let path = self.path(CheckpointId(metadata.checkpoint));
        metadata.write(&self.storage, &path).inspect_err(|_| self.give_up(metadata.checkpoint))
    }

    /// Removes what there is of a checkpoint that could not be saved. Perhaps it has its name already, and only that this is
    /// durable could not be seen to: the stores give it up, so nobody may find it.
    pub(crate) fn give_up(&self, id: u64) {
        let path = self.path(CheckpointId(id));
        let mut unfinished = path.into_os_string();
        unfinished.push(IN_PROGRESS_SUFFIX);
        // If this fails, too, it is removed when the directory is opened next. A full disk wants it now.
        let _ = self.storage.remove(Path::new(&unfinished));
        let is_gone = (0..GIVE_UP_ATTEMPTS).any(|_| self.remove(CheckpointId(id)).is_ok());
        if !is_gone {
            tracing::error!(
                checkpoint = id,
                "a checkpoint that failed keeps its name; remove the file before the job is started anew"
            );
        }
    }

    /// The checkpoint to go on from, if there is one, and the older ones that are kept: the newest that is older than what is
    /// known to be `unusable`. Those that are newer are removed, as their files are given up by going on from an older one.
    pub(crate) fn latest(
        &self,
        job_name: &str,
        allow_repeated_commits: bool,
        unusable: Option<Unusable>,
    ) -> Result<Option<(CheckpointMetadata, VecDeque<CheckpointId>)>, CheckpointStoreError> {
        let mut ids = self.list()?;
        let count = ids.len();
        let mut damage: Option<(CheckpointId, MetadataError)> = None;
        while let Some(id) = ids.pop() {
            let read = match &unusable {
                Some((bad, what)) if id >= *bad => Err(MetadataError::State { what: what.clone() }),
                _ => self.load(id),
            };
            match read {
                Ok(found) => {
                    return self
                        .accept(found, damage, job_name, allow_repeated_commits, ids)
                        .map(Some);
                }
                Err(error) if error.fault() != Some(RestoreFault::Damaged) => {
                    let (directory, source) = (self.directory.clone(), Box::new(error));
                    let checkpoint = id;
                    return Err(CheckpointStoreError::Unreadable { directory, checkpoint, source });
                }
                Err(error) => {
                    tracing::warn!(checkpoint = id.0, "a checkpoint cannot be used: {error}");
                    damage.get_or_insert((id, error));
                }
            }
        }
        match damage {
            None => Ok(None),
            Some((_, source)) => {
                let (directory, source) = (self.directory.clone(), Box::new(source));
                Err(CheckpointStoreError::NoneUsable { directory, count, source })
            }
        }
    }

    fn accept(
        &self,
        found: CheckpointMetadata,
        damage: Option<(CheckpointId, MetadataError)>,
        job_name: &str,
        allow_repeated_commits: bool,
        older: Vec<CheckpointId>,
    ) -> Result<(CheckpointMetadata, VecDeque<CheckpointId>), CheckpointStoreError> {
        let directory = self.directory.clone();
        if found.job_name != job_name {
            let (expected, found) = (job_name.to_owned(), found.job_name);
            return Err(CheckpointStoreError::OtherJob { directory, expected, found });
        }
        if found.is_savepoint {
            return Err(CheckpointStoreError::Savepoint { directory });
        }
        let id = CheckpointId(found.checkpoint);
        if let Some((newest, source)) = damage {
            if found.commits && !allow_repeated_commits {
                let source = Box::new(source);
                return Err(CheckpointStoreError::BehindCommit {
                    directory,
                    newest,
                    older: id,
                    source,
                });
            }
            tracing::warn!(
                checkpoint = id.0,
                damaged = newest.0,
                "goes on from an older checkpoint"
            );
            for newer in self.list()?.into_iter().filter(|other| *other > id) {
                self.remove(newer)?;
            }
        }
        let retained = older.into_iter().chain([id]).collect();
        Ok((found, retained))
    }

    /// Does a plan have all operators that a checkpoint has state of, with as many key groups?
    pub(crate) fn check_operators(
        &self,
        found: &CheckpointMetadata,
        plan: &[OperatorDescription],
    ) -> Result<(), CheckpointStoreError> {
        let (directory, checkpoint) = (self.directory.clone(), CheckpointId(found.checkpoint));
        if let Some(stranger) = found.operator_not_in(plan) {
            let (operator, uid) = (stranger.name.clone(), stranger.told_uid());
            return Err(CheckpointStoreError::UnknownOperator {
                directory,
                checkpoint,
                operator,
                uid,
            });
        }
        let Some((stored, expected)) = found.other_key_groups(plan) else { return Ok(()) };
        let (operator, found) = (stored.name.clone(), stored.max_parallelism);
        Err(CheckpointStoreError::MaxParallelism {
            directory,
            checkpoint,
            operator,
            expected,
            found,
        })
    }

    /// Removes the name of a checkpoint, durably.
    pub(crate) fn remove(&self, id: CheckpointId) -> Result<(), CheckpointStoreError> {
        let path = self.path(id);
        crash_point(crash_points::BEFORE_UNLINK);
        let removed = self.storage.remove(&path).and_then(|()| {
            crash_point(crash_points::AFTER_UNLINK);
            self.storage.sync_dir(&self.directory.join("checkpoints"))
        });
        match removed {
            Err(error) if error.is_not_found() => Ok(()),
            removed => removed.map_err(|source| self.io(source)),
        }
    }

    /// Removes the names of all checkpoints, the newest at last.
    pub(crate) fn remove_names(&self) -> Result<(), CheckpointStoreError> {
        self.list()?.into_iter().try_for_each(|id| self.remove(id))
    }

    /// Removes all checkpoints and all stores.
    pub(crate) fn clear(&self) -> Result<(), CheckpointStoreError> {
        self.remove_names()?;
        let root = |source| CheckpointStoreError::Root {
            directory: self.directory.clone(),
            source: Box::new(source),
        };
        for store in self.root.stores().map_err(root)? {
            self.root.remove_store(&store.store).map_err(root)?;
        }
        Ok(())
    }

    /// The metadata file of a checkpoint.
    pub(crate) fn path(&self, id: CheckpointId) -> PathBuf {
        path_of(&self.directory, id)
    }

    fn io(&self, source: IoError) -> CheckpointStoreError {
        CheckpointStoreError::Io { directory: self.directory.clone(), source }
    }
}

impl CheckpointMetadata {
    /// That of a checkpoint in a directory.
    pub(crate) fn of(
        storage: &dyn Storage,
        directory: &Path,
        id: CheckpointId,
    ) -> Result<Self, MetadataError> {
        Self::read(storage, &path_of(directory, id))
    }
}

/// The checkpoints of a directory that have a name, oldest first.
pub(crate) fn ids_in(
    storage: &dyn Storage,
    directory: &Path,
) -> Result<Vec<CheckpointId>, IoError> {
    let paths = storage.list(&directory.join("checkpoints"))?;
    let mut ids: Vec<CheckpointId> = paths.iter().filter_map(|path| id_of(path)).collect();
    ids.sort_unstable();
    Ok(ids)
}

fn path_of(directory: &Path, id: CheckpointId) -> PathBuf {
    directory.join("checkpoints").join(format!("{:020}.{SUFFIX}", id.0))
}

/// Files that are still being written have another ending.
fn id_of(path: &Path) -> Option<CheckpointId> {
    let is_named = path.extension().is_some_and(|extension| extension == SUFFIX);
    let digits = path.file_stem().filter(|_| is_named)?.to_str()?;
    digits.parse().ok().map(CheckpointId)
}
