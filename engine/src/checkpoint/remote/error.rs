//! Why checkpoints cannot be copied to an object store, or fetched from it.

use crate::BoxError;
use crate::record::CheckpointId;
use std::path::PathBuf;
use std::time::Duration;
use thalweg_io::IoError;
use thalweg_state::StoreError;

/// A copy of a checkpoint cannot be made, found or used: what, where, and what can be done.
///
/// The cause of the job's failure where a job cannot begin because of it
/// ([`JobFailure::cause`](crate::JobFailure::cause)); while a job runs it is in
/// [`RemoteStatistics::latest_failure`](super::RemoteStatistics::latest_failure) only, unless commits wait for copies.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// `checkpoint_remote` is no URL of an object store.
    #[error(
        "`checkpoint_remote` = '{url}': {what}; give file:///DIRECTORY or s3://BUCKET/PREFIX (another server by \
         `checkpoint_remote_endpoint`)"
    )]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The store refused, failed, or did not answer, also when it was asked again.
    #[error("{url}: cannot {action} '{object}': {source}; {remedy}")]
    Store {
        /// Which store.
        url: String,
        /// What was to be done.
        action: &'static str,
        /// To which object or folder.
        object: String,
        /// What the store said.
        #[source]
        source: BoxError,
        /// What can be done.
        remedy: &'static str,
    },
    /// The copies there are of another job.
    #[error(
        "{url} has the checkpoints of the job '{found}', not of '{expected}'; give each job a URL of its own"
    )]
    OtherJob {
        /// Which store.
        url: String,
        /// This job.
        expected: String,
        /// The other one.
        found: String,
    },
    /// Another process has begun to copy to the same place.
    #[error(
        "{url} was claimed by another process (epoch {found}, ours was {ours}): nothing more is copied there; let one process \
         at a time run the job"
    )]
    Taken {
        /// Which store.
        url: String,
        /// The epoch of this process.
        ours: u64,
        /// The newest one.
        found: u64,
    },
    /// The local directory has checkpoints, and the place was claimed since by somebody who did not know of them.
    #[error(
        "the checkpoints in {} and those at {url} are not of one history: the place was last claimed by epoch {found}, which \
         this directory does not know. To go on from the copies remove the directory; to go on from the directory give another \
         URL; to begin anew set `restore = \"nothing\"`",
        directory.display()
    )]
    OtherHistory {
        /// The local directory.
        directory: PathBuf,
        /// Which store.
        url: String,
        /// The newest epoch.
        found: u64,
    },
    /// An object is not what it was.
    #[error("{url}: '{object}' is damaged: {what}; {remedy}")]
    Damaged {
        /// Which store.
        url: String,
        /// Which object.
        object: String,
        /// What was expected, and found.
        what: String,
        /// What can be done.
        remedy: String,
    },
    /// An object is gone.
    #[error("{url}: '{object}', which checkpoint {checkpoint} needs, is not there; {remedy}")]
    Missing {
        /// Which store.
        url: String,
        /// Which object.
        object: String,
        /// Whose it is.
        checkpoint: CheckpointId,
        /// What can be done.
        remedy: String,
    },
    /// An object was written by a later version.
    #[error(
        "{url}: '{object}' has format {found}, this program reads {expected}; use the program version that wrote it"
    )]
    NewerFormat {
        /// Which store.
        url: String,
        /// Which object.
        object: String,
        /// The newest format known.
        expected: u64,
        /// Its format.
        found: u64,
    },
    /// Sinks may have committed more than the copy knows of.
    #[error(
        "the newest copy at {url} is checkpoint {checkpoint}, and the job's sinks may have committed results behind it, which \
         would come twice: set `allow_repeated_commits` to go on from it all the same. With `commits_wait_for_upload` sinks \
         commit only what is copied, and this does not come about"
    )]
    BehindCommit {
        /// Which store.
        url: String,
        /// The newest copy.
        checkpoint: CheckpointId,
    },
    /// A copy that somebody waits for was not complete in time.
    #[error(
        "checkpoint {checkpoint} was not copied to {url} within {} ms (`checkpoint_remote_timeout_ms`): {why}", timeout.as_millis()
    )]
    NotInTime {
        /// Which store.
        url: String,
        /// Which one.
        checkpoint: CheckpointId,
        /// The bound.
        timeout: Duration,
        /// The latest failure, or that it was still under way.
        why: String,
    },
    /// The place was lost, or what is there cannot be used: nothing is copied any more.
    #[error("{url}: {why}")]
    Refused {
        /// Which store.
        url: String,
        /// The error that was final.
        why: String,
    },
    /// The job has ended, or is to.
    #[error("{url}: what was under way was cut short, as the job ends")]
    CutShort {
        /// Which store.
        url: String,
    },
    /// The local copy cannot be read or written.
    #[error("the checkpoint directory {}: {source}", directory.display())]
    Local {
        /// Which directory.
        directory: PathBuf,
        /// What the file system said.
        #[source]
        source: Box<IoError>,
    },
    /// The keyed state of the local copy cannot be read.
    #[error("the checkpoint directory {}: {source}", directory.display())]
    State {
        /// Which directory.
        directory: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<StoreError>,
    },
    /// The thread that copies could not be started.
    #[error(
        "no thread for the copies of checkpoints: {source}; raise the limit of threads (`ulimit -u`)"
    )]
    Thread {
        /// What the system said.
        #[source]
        source: BoxError,
    },
}

impl RemoteError {
    /// May the same be tried again? Else it would fail for ever.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self,
            RemoteError::Store { .. } | RemoteError::Local { .. } | RemoteError::NotInTime { .. }
        )
    }
}
