//! The copies of one job, as its checkpoints know them; see the docs of the module above.

use super::claim::{ClaimRequest, claim};
use super::download::Fetch;
use super::local::LocalCopy;
use super::objects::Objects;
use super::place::ObjectPlace;
use super::upload::{Copier, Pinned};
use super::uploader::{Closing, Shared, Unfinished, Uploader, forget_copies};
use super::{Ending, Interrupt, RemoteError, RemoteJob, StatisticsCell};
use crate::BoxError;
use crate::checkpoint::metadata::CheckpointMetadata;
use crate::checkpoint::store::CheckpointStore;
use crate::config::Restore;
use crate::record::CheckpointId;
use crate::runtime::threads::RuntimeThreads;
use crate::sync::{Mutex, lock};
use crate::time::Clock;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thalweg_io::Spawner as _;

/// Linux shows 15 characters of it.
const THREAD_NAME: &str = "thalweg-copies";
/// How long a start that can do without the store waits for each of its answers.
const CLAIM_WITHIN: Duration = Duration::from_secs(3);
/// How long the thread may take to end when it is told to end now: a request that was sent is given up at once.
const END_WITHIN: Duration = Duration::from_secs(10);

/// See the module docs. Clones are of one job.
#[derive(Clone)]
pub(crate) struct RemoteCopy(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    objects: Arc<dyn Objects>,
    interrupt: Interrupt,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    commits_wait: bool,
    part_bytes: usize,
    statistics: StatisticsCell,
    /// Complete copies that were there at the start: the number, and the parts of the metadata file.
    found: Vec<(CheckpointId, Vec<super::part::PartRef>)>,
    /// Where there is no thread: copies within the call.
    inline: Option<Mutex<Uploader>>,
}

impl RemoteCopy {
    /// Claims the place of a job's copies, and fetches the newest one if the local directory has no checkpoint and the job is
    /// to go on from the latest. Waits for the store. If that does not answer, and there are local checkpoints, and commits do
    /// not wait for copies, the place is claimed when it answers.
    ///
    /// # Errors
    /// A [`RemoteError`].
    pub(crate) fn open(job: RemoteJob) -> Result<Self, BoxError> {
        let objects = ObjectPlace::open(&job.settings, job.interrupt.clone())?;
        Ok(Self::open_at(job, Arc::new(objects))?)
    }

    pub(super) fn open_at(job: RemoteJob, objects: Arc<dyn Objects>) -> Result<Self, RemoteError> {
        let RemoteJob { settings, name, storage, directory, clock, statistics, .. } = job;
        statistics.count(|_| {});
        let local = LocalCopy { storage, directory };
        local.create()?;
        let lock = local.storage.lock(&local.directory.join("LOCK"));
        let lock = lock.map_err(|error| local.failed(error))?;
        let newest = local.newest()?;
        let goes_on_locally = job.restore == Restore::Latest && newest.is_some();
        local.remove_leftovers(true)?;
        let nonce = format!("{}-{}", clock.monotonic_ns(), job.number);
        let request = ClaimRequest {
            job: &name,
            local: &local,
            goes_on_locally,
            claimed_at_ms: clock.wall_ms(),
            nonce: nonce.clone(),
        };
        let can_go_on = goes_on_locally && !settings.commits_wait;
        objects.set_patience(can_go_on.then_some(CLAIM_WITHIN));
        let answer = claim(&request, &*objects);
        objects.set_patience(None);
        let mut claimed = match answer {
            Ok(claimed) => Some(claimed),
            Err(error @ RemoteError::Store { .. }) if can_go_on => {
                tracing::warn!(job = %name, "goes on from its local checkpoint: {error}");
                statistics.count(|s| {
                    s.failed += 1;
                    s.latest_failure = Some(error.to_string());
                });
                None
            }
            Err(error) => return Err(error),
        };
        let sizes = (settings.part_bytes, settings.parallelism);
        let copier =
            Copier::new(objects.clone(), name, sizes, settings.commits_wait, statistics.clone());
        let mut found = Vec::new();
        if let Some(claimed) = &mut claimed {
            if job.restore != Restore::Latest {
                forget_copies(claimed, &copier)?;
            } else if !goes_on_locally {
                let fetch = Fetch {
                    objects: &*objects,
                    local: &local,
                    parallelism: settings.parallelism,
                    allow_repeated_commits: job.allow_repeated_commits,
                    statistics: &statistics,
                };
                fetch.newest(claimed)?;
            }
            let metadata_parts = |index: &super::index::Index| {
                Some((index.checkpoint, index.files.last()?.parts.clone()))
            };
            found.extend(claimed.indexes.values().flatten().filter_map(metadata_parts));
        }
        drop(lock);
        let shared = Shared::new();
        let uploader = Uploader {
            shared: shared.clone(),
            copier,
            claimed,
            local,
            nonce,
            clock: clock.clone(),
            retained: settings.retained,
        };
        let inline = match job.is_inline {
            true => Some(Mutex::new(uploader)),
            false => {
                let spawned = RuntimeThreads.spawn(THREAD_NAME, Box::new(|| uploader.run()));
                spawned.map_err(|source| RemoteError::Thread { source: source.into() })?;
                None
            }
        };
        Ok(RemoteCopy(Arc::new(Handle {
            shared,
            objects,
            interrupt: job.interrupt,
            clock,
            timeout: settings.timeout,
            commits_wait: settings.commits_wait,
            part_bytes: settings.part_bytes,
            statistics,
            found,
            inline,
        })))
    }

    /// The job goes on from this local checkpoint, which is copied unless it is: a process that died may have left that out.
    /// Where commits wait for copies this waits, as the sinks commit next.
    ///
    /// # Errors
    /// A [`RemoteError`], if the copy is waited for.
    pub(crate) fn resume(
        &self,
        store: &CheckpointStore,
        metadata: &CheckpointMetadata,
    ) -> Result<(), BoxError> {
        let pinned = Pinned::of(store, metadata)?;
        let checkpoint = pinned.checkpoint;
        let parts = pinned.metadata_parts(self.0.part_bytes)?;
        if self.0.found.contains(&(checkpoint, parts)) {
            self.0.statistics.count(|statistics| statistics.latest = Some(checkpoint));
            self.0.shared.note_copied(checkpoint);
            return Ok(());
        }
        self.post(pinned);
        match self.0.commits_wait {
            true => Ok(self.wait_for(checkpoint)?),
            false => Ok(()),
        }
    }

    /// A checkpoint is complete in the local directory, and nobody was told: it will be copied, and is, if commits wait for
    /// that.
    ///
    /// # Errors
    /// If commits wait for it and it is not copied: the local checkpoint is given up, so that nobody commits it.
    pub(crate) fn saved(
        &self,
        store: &CheckpointStore,
        metadata: &CheckpointMetadata,
    ) -> Result<(), String> {
        let checkpoint = CheckpointId(metadata.checkpoint);
        let copied = match Pinned::of(store, metadata) {
            Ok(pinned) => {
                self.post(pinned);
                match self.0.commits_wait {
                    true => self.wait_for(checkpoint),
                    false => return Ok(()),
                }
            }
            Err(error) => {
                let text = error.to_string();
                tracing::warn!(checkpoint = checkpoint.0, "a checkpoint is not copied: {text}");
                self.0.statistics.count(|statistics| {
                    statistics.failed += 1;
                    statistics.latest_failure = Some(text);
                });
                Err(error)
            }
        };
        match copied {
            Err(error) if self.0.commits_wait => {
                store.give_up(checkpoint.0);
                Err(error.to_string())
            }
            _ => Ok(()),
        }
    }

    fn post(&self, pinned: Pinned) {
        if let Some(uploader) = &self.0.inline {
            lock(uploader).copy(pinned);
            return;
        }
        if let Some(left_out) = self.0.shared.post(pinned) {
            drop(left_out);
            self.0.statistics.count(|statistics| statistics.skipped += 1);
        }
    }

    fn wait_for(&self, checkpoint: CheckpointId) -> Result<(), RemoteError> {
        let Handle { shared, timeout, clock, interrupt, .. } = &*self.0;
        // Without a thread it was tried within the call, and is not tried again before the next.
        let timeout = if self.0.inline.is_some() { Duration::ZERO } else { *timeout };
        let url = self.0.objects.url().to_owned();
        shared.wait_for(checkpoint, timeout, &**clock, interrupt).map_err(|why| match why {
            Unfinished::CutShort => RemoteError::CutShort { url },
            Unfinished::NotInTime(why) => RemoteError::NotInTime { url, checkpoint, timeout, why },
            Unfinished::Refused(why) => RemoteError::Refused { url, why },
        })
    }

    /// Whoever waits for a copy gives up, until [`expect_copies`](Self::expect_copies): an attempt of the job is over.
    pub(crate) fn abandon_waits(&self) {
        self.0.shared.set_abandoned(true);
    }

    /// An attempt begins.
    pub(crate) fn expect_copies(&self) {
        self.0.shared.set_abandoned(false);
    }

    /// The job is over: waits until its copies are as they are to be. Then no file of the local directory is open.
    pub(crate) fn finish(&self, ending: Ending) {
        let Handle { shared, clock, timeout, objects, inline, .. } = &*self.0;
        if let Some(uploader) = inline {
            lock(uploader).end_inline(ending == Ending::Remove);
            return;
        }
        let closing = match ending {
            Ending::Complete => Closing::Drained,
            Ending::CutShort => Closing::Now,
            Ending::Remove => Closing::Removed,
        };
        shared.close(closing);
        if ending != Ending::CutShort && shared.wait_for_end(*timeout, &**clock) {
            return;
        }
        if ending != Ending::CutShort {
            tracing::warn!(
                "{}: the job ends although its last checkpoint was not copied within {} ms (`checkpoint_remote_timeout_ms`); \
                 the next start goes on with it",
                objects.url(),
                timeout.as_millis()
            );
        }
        shared.close(Closing::Now);
        objects.cut_short();
        if !shared.wait_for_end(END_WITHIN, &**clock) {
            tracing::error!("{}: the thread that copies has not ended", objects.url());
        }
    }
}

impl Drop for Handle {
    /// However the job ends, the thread does.
    fn drop(&mut self) {
        self.shared.close(Closing::Now);
        self.objects.cut_short();
    }
}

impl fmt::Debug for RemoteCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteCopy").field(&self.0.objects.url()).finish()
    }
}
