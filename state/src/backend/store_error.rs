//! What can go wrong with a store's files.

use std::fmt;
use std::path::{Path, PathBuf};

use thalweg_io::IoError;

use crate::KeyGroupRange;
use crate::snapshot::CheckpointId;

/// An error of the persistent tier: what, where, expected, found, remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file operation failed.
    #[error("store '{store}': {source}")]
    Io {
        /// The store.
        store: Box<str>,
        /// Operation, file and offset.
        source: Box<IoError>,
    },
    /// A file is damaged, foreign or of a later version.
    #[error("store '{store}': {source}{older}")]
    Damaged {
        /// The store.
        store: Box<str>,
        /// File, offset, expected and found.
        source: Box<IoError>,
        /// What can be opened instead.
        older: OlderCheckpoints,
    },
    /// The bytes of a file that passed its checksum make no sense: a bug, or a hand-made file.
    #[error(
        "store '{store}': {path} at byte {offset}: {what}; restore the file from a copy, or go back to an older checkpoint{older}"
    )]
    Malformed {
        /// The store.
        store: Box<str>,
        /// The file.
        path: Box<Path>,
        /// Where.
        offset: u64,
        /// Expected and found.
        what: Box<str>,
        /// What can be opened instead.
        older: OlderCheckpoints,
    },
    /// No store of this name.
    #[error("there is no store '{store}' in {directory}; create it, or restore it from others")]
    NoSuchStore {
        /// The name asked for.
        store: Box<str>,
        /// The root.
        directory: PathBuf,
    },
    /// The name is taken.
    #[error("store '{store}' is already in {directory}; open it, or use another name")]
    StoreExists {
        /// The name asked for.
        store: Box<str>,
        /// The root.
        directory: PathBuf,
    },
    /// The store is open in this process.
    #[error("store '{store}' is open already; a store has one owner")]
    StoreInUse {
        /// The name asked for.
        store: Box<str>,
    },
    /// The checkpoint was never completed, or was released.
    #[error("store '{store}' has no checkpoint {checkpoint}{older}")]
    NoSuchCheckpoint {
        /// The store.
        store: Box<str>,
        /// The checkpoint asked for.
        checkpoint: CheckpointId,
        /// What can be opened instead.
        older: OlderCheckpoints,
    },
    /// A type differs from the one that the files were written with, whose values it does not take.
    #[error("store '{store}': {change}")]
    SchemaChanged {
        /// The store.
        store: Box<str>,
        /// What has changed.
        change: Box<SchemaChange>,
    },
    /// A setting that is fixed for the life of a store.
    #[error(
        "store '{store}' was written with {setting} {expected} and is opened with {found}; {remedy}"
    )]
    SettingChanged {
        /// The store.
        store: Box<str>,
        /// What differs.
        setting: &'static str,
        /// The manifest's.
        expected: Box<str>,
        /// What was asked for.
        found: Box<str>,
        /// What helps.
        remedy: &'static str,
    },
    /// An option out of its bounds.
    #[error("store '{store}': {option} is {given} and has to be {bounds}")]
    InvalidOption {
        /// The store.
        store: Box<str>,
        /// Which option.
        option: &'static str,
        /// What was given.
        given: Box<str>,
        /// What is allowed.
        bounds: &'static str,
    },
    /// The sources of a restore do not cover the store's key groups exactly once.
    #[error(
        "store '{store}' of key groups {wanted:?} is restored from sources that {fault} key group {group}; name each source once, with its own key groups"
    )]
    SourcesDoNotFit {
        /// The store.
        store: Box<str>,
        /// Its key groups.
        wanted: KeyGroupRange,
        /// "lack" or "share".
        fault: &'static str,
        /// The first group concerned.
        group: u16,
    },
    /// Table numbers are exhausted.
    #[error("store '{store}': table '{table}' is one more than the {limit} a directory can hold")]
    TooManyTables {
        /// The store.
        store: Box<str>,
        /// The refused table.
        table: Box<str>,
        /// The greatest number.
        limit: usize,
    },
    /// A table of this name was opened before.
    #[error(
        "table '{table}' of store '{store}' is open already; give every table a name of its own"
    )]
    TableInUse {
        /// The store.
        store: Box<str>,
        /// The name asked for.
        table: Box<str>,
    },
    /// More changes wait for the disk than memory is meant to hold.
    #[error(
        "store '{store}': {waiting_bytes} bytes of changes wait for the disk and {limit_bytes} are the most; try again when checkpoints complete"
    )]
    Congested {
        /// The store.
        store: Box<str>,
        /// The bytes that are not durable.
        waiting_bytes: u64,
        /// The bound.
        limit_bytes: u64,
    },
    /// The worker's thread could not be started.
    #[error("store '{store}': its thread could not be started: {source}")]
    NoThread {
        /// The store.
        store: Box<str>,
        /// What the spawner said.
        source: std::io::Error,
    },
    /// The worker has ended, by a bug: its thread panicked.
    #[error("store '{store}': its worker has ended unexpectedly; open the store anew")]
    WorkerEnded {
        /// The store.
        store: Box<str>,
    },
}

impl StoreError {
    /// An error of the storage; damage becomes [`StoreError::Damaged`].
    pub(crate) fn io(store: &str, source: IoError) -> Self {
        let (store, source) = (store.into(), Box::new(source));
        match source.corruption() {
            Some(_) => StoreError::Damaged { store, source, older: OlderCheckpoints::default() },
            None => StoreError::Io { store, source },
        }
    }

    /// The same error with what can be opened instead, if it is one of damage.
    #[must_use]
    pub(crate) fn with_older(
        mut self,
        checkpoints: impl IntoIterator<Item = CheckpointId>,
    ) -> Self {
        if let StoreError::Damaged { older, .. } | StoreError::Malformed { older, .. } = &mut self {
            *older = OlderCheckpoints(checkpoints.into_iter().collect());
        }
        self
    }

    /// Whether the same call may succeed once somebody has freed space.
    pub fn is_no_space(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if source.is_no_space())
    }

    /// Whether files are damaged, so that another checkpoint has to be opened.
    pub fn is_damage(&self) -> bool {
        matches!(self, StoreError::Damaged { .. } | StoreError::Malformed { .. })
    }
}

/// The checkpoints of a store that do not need a damaged file; its text names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OlderCheckpoints(pub Box<[CheckpointId]>);

impl fmt::Display for OlderCheckpoints {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, checkpoint) in self.0.iter().enumerate() {
            let before = if index == 0 { "; retained and usable: checkpoint " } else { ", " };
            write!(formatter, "{before}{checkpoint}")?;
        }
        Ok(())
    }
}

/// A type of a table that is not what it was, and cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaChange {
    /// The table.
    pub table: Box<str>,
    /// The key, or which state.
    pub what: Box<str>,
    /// Kind, types and fingerprint in the manifest.
    pub expected: Box<str>,
    /// Those that were asked for.
    pub found: Box<str>,
    /// What part of it does not fit, and what to do.
    pub remedy: Box<str>,
}

impl fmt::Display for SchemaChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SchemaChange { table, what, expected, found, remedy } = self;
        write!(
            formatter,
            "{what} of table '{table}' was written as {expected} and is registered as {found}: {remedy}"
        )
    }
}
