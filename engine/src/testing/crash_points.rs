//! The names of all places at which a crash test can end the process.
//!
//! A build with the feature `crash-points` of `thalweg-io` aborts at the point that the environment variable
//! `THALWEG_CRASH_POINT` names, `NAME` at the first pass, `NAME:3` at the third (see [`thalweg_io::crash_point`]).
//!
//! | steps | points | layer |
//! |---|---|---|
//! | the log of a store's edits, its write-ahead log | `wal.before_write`, `wal.after_write`, `wal.after_fsync` | `io`, `checkpoint_file::crash_points` |
//! | a delta with the changed rows of a checkpoint | `flush.block`, `flush.index`, `flush.footer`, `flush.fsync` | `state::crash_points` |
//! | a manifest: an edit (`write`, `fsync`), a new log (all four) | `manifest.write`, `.fsync`, `.rename`, `.dirsync` | `state` |
//! | the checkpoint of a store | `ckpt.files_durable`, `ckpt.complete` | `state` |
//! | a barrier | `ckpt.barrier_injected`, `ckpt.shard_snapshot`, `ckpt.all_acked` | engine |
//! | the metadata of a job's checkpoint | `ckpt.meta_write`, `ckpt.meta_fsync`, `ckpt.published` | engine |
//! | giving it up | `ckpt.before_unlink`, `ckpt.after_unlink` | engine |
//! | a transaction | `sink.precommit`, `sink.commit_sent`, `sink.commit_acked` | engine, `TwoPhase` |
//! | files of a sink | `file_sink.created` to `file_sink.leftover_removed` | engine, `FileSink` |
//! | files that nothing refers to | `gc.before_unlink`, `gc.after_unlink` | `state` |
//! | a restart | `restore.state_loaded`, `restore.sources_rewound`, `restore.tasks_built`, `restore.referenced` (rescaling) | engine, `state` |
//! | merging sorted files | `compact.block` to `compact.after_edit` | `state` |
//! | stores that are copied | `copy.begun`, `copy.file`, `copy.files_durable` | `state` |
//! | a savepoint, and a job that begins with one | `savepoint.state`, `savepoint.complete`, `import.begun` to `import.complete` | engine |
//! | any file | `file.created` to `file.published`, `checkpoint_file.created` to `checkpoint_file.published` | `io` |
//!
//! A delta has its index in its footer, so `flush.index` and `flush.footer` leave the same files.

use crate::checkpoint::crash_points as checkpoint;
use crate::function::two_phase::crash_points as two_phase_crash_points;
use crate::sink::file_crash_points;
use thalweg_io::{checkpoint_file, file};
use thalweg_state::crash_points as state;

/// The points that every kill test is to hit.
pub const ESSENTIAL: [&str; 24] = [
    checkpoint_file::crash_points::LOG_BEFORE_WRITE,
    checkpoint_file::crash_points::LOG_WRITTEN,
    checkpoint_file::crash_points::LOG_SYNCED,
    state::FLUSH_BLOCK,
    state::FLUSH_INDEX,
    state::FLUSH_FOOTER,
    state::FLUSH_FSYNC,
    state::MANIFEST_WRITE,
    state::MANIFEST_FSYNC,
    state::MANIFEST_RENAME,
    state::MANIFEST_DIRSYNC,
    checkpoint::BARRIER_INJECTED,
    checkpoint::SHARD_SNAPSHOT,
    checkpoint::ALL_ACKED,
    checkpoint::META_WRITE,
    checkpoint::META_FSYNC,
    checkpoint::PUBLISHED,
    two_phase_crash_points::PRE_COMMITTED,
    two_phase_crash_points::COMMIT_SENT,
    two_phase_crash_points::COMMIT_ACKED,
    state::GC_BEFORE_UNLINK,
    state::GC_AFTER_UNLINK,
    checkpoint::STATE_LOADED,
    checkpoint::SOURCES_REWOUND,
];

/// The points of savepoints and of jobs that are rescaled, which others do not pass.
pub const SAVEPOINTS: [&str; 9] = [
    state::COPY_BEGUN,
    state::COPY_FILE,
    state::COPY_FILES_DURABLE,
    checkpoint::SAVEPOINT_STATE,
    checkpoint::SAVEPOINT_COMPLETE,
    checkpoint::IMPORT_BEGUN,
    checkpoint::IMPORT_STATE,
    checkpoint::IMPORT_COMPLETE,
    state::RESTORE_REFERENCED,
];

/// Every point of every layer.
pub fn all() -> Vec<&'static str> {
    let mut all = Vec::new();
    all.extend(file::crash_points::ALL);
    all.extend(checkpoint_file::crash_points::ALL);
    all.extend(state::ALL);
    all.extend(checkpoint::ALL);
    all.extend(two_phase_crash_points::ALL);
    all.extend(file_crash_points::ALL);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_name_is_one_place() {
        let all = all();
        let names: BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(names.len(), all.len());
        assert!(ESSENTIAL.iter().chain(&SAVEPOINTS).all(|name| names.contains(name)));
        assert_eq!(BTreeSet::from(ESSENTIAL).len(), ESSENTIAL.len());
    }
}
