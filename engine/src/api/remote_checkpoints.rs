//! Copies of checkpoints in an object store (feature `object-store`): a job goes on although its machine is lost.
//!
//! ```no_run
//! use thalweg::api::remote_checkpoints::RemoteOptions;
//! use thalweg::prelude::*;
//!
//! let env = StreamExecutionEnvironment::new();
//! env.enable_checkpointing(seconds(1))
//!     .at("/var/lib/orders")
//!     .remote("s3://checkpoints/orders", RemoteOptions::new().commits_wait_for_upload(true));
//! ```
//!
//! # What is copied, and when
//!
//! A checkpoint is complete when it is durable in the local directory, as without copies: barriers, slots and checkpoints
//! never wait for the store. Then a thread of the job's copies it. Files are cut into parts (`checkpoint_remote_part_mib`), each
//! named by the SHA-256 of its bytes, so what did not change since the copy before, or was sent before a crash, is not sent
//! again. The index of the copy is written last: without it there is no copy. When the next checkpoint is complete before its
//! predecessor's turn has come, that one is left out. Parts that no kept copy needs are removed
//! (`checkpoints_remote_retained`); those of a copy that is being made are not.
//!
//! # What a start goes on from
//!
//! | local directory | store | the job goes on from |
//! |---|---|---|
//! | has a checkpoint | last claimed by this directory | the local checkpoint; what is not copied of it is |
//! | has a checkpoint | empty, or does not answer | the local checkpoint; copied as soon as the store answers |
//! | has a checkpoint | claimed since by another directory | refused: the two are not of one history |
//! | is empty | has copies | the newest complete copy, fetched, each part checked |
//! | is empty | has none | the beginning |
//! | is empty | does not answer, or refuses | refused: nobody knows what is there |
//! | either | has copies of a job of another name | refused |
//!
//! With `restore = nothing` all copies are given up as the local checkpoints are. An upload without its index is no copy, and is
//! passed over. A damaged or missing object is named in the error; an older copy is taken instead if the job has no sinks that
//! commit, or `allow_repeated_commits` is set.
//!
//! # What is guaranteed when the machine is lost
//!
//! | `commits_wait_for_upload` | sinks commit when | after going on from the store alone |
//! |---|---|---|
//! | `false` (default) | the local checkpoint is complete | state exactly once; what sinks committed behind the copy comes twice, so such a start is refused unless `allow_repeated_commits` is set (the last copy of a job that has finished is always taken) |
//! | `true` | its copy is complete | exactly once, sinks included |
//!
//! Waiting adds the time of the upload to the latency of committed results, and to nothing else. If a copy is not complete
//! within `checkpoint_remote_timeout_ms` the checkpoint fails, nothing is committed, and the next one has all of it
//! (`checkpoint_tolerated_failures` bounds that).
//!
//! # When the store is away
//!
//! The job runs on. [`RemoteStatistics`] in [`JobHandle::checkpoints`](crate::JobHandle::checkpoints) says how often a copy
//! failed and why, and the log does; the copy is tried again after pauses of up to 10 s, by then for the newest checkpoint. The
//! files of at most two checkpoints stay on the local disk for it. A job that has finished waits for its last copy,
//! `checkpoint_remote_timeout_ms` at most; one that fails, is cancelled or restarted waits for none.
//!
//! # One job at a time
//!
//! Each start claims the place by an object of its own, which works for one process. A process that finds another claim after
//! it wrote an index copies nothing any more, and commits nothing any more if commits wait for copies. So the same job on two
//! machines at once commits nothing twice; whoever started last has the place. A process that was stopped for long between
//! its look at the claim and a removal may remove a part that its successor just found there: the copy that names it is
//! refused then, never used. Do not let two processes run one job.
//!
//! # The store
//!
//! `file:///DIRECTORY` is a directory, for instance on a mounted disk of another machine; objects are synced. `s3://BUCKET/PREFIX` is
//! S3, or with [`RemoteOptions::endpoint`] any server that speaks it and knows `If-None-Match`. Keys come from the options, or
//! as for other programs from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or from the cloud's machine. They must be
//! allowed to list, read, write and remove objects.

use crate::api::Checkpointing;
use std::fmt;
use std::time::Duration;

pub use crate::checkpoint::remote::{RemoteError, RemoteStatistics};

/// How checkpoints are copied; each of these is an option of the [`configuration`](crate::config) too. What is not given here is
/// as file, environment and command line say.
#[derive(Clone, Default)]
#[must_use = "given to `Checkpointing::remote`"]
pub struct RemoteOptions {
    endpoint: Option<String>,
    region: Option<String>,
    keys: Option<(String, String)>,
    part_mib: Option<u64>,
    parallelism: Option<usize>,
    timeout: Option<Duration>,
    retained: Option<usize>,
    commits_wait: Option<bool>,
}

impl RemoteOptions {
    /// All by default.
    pub fn new() -> Self {
        Self::default()
    }

    /// The URL of a server that speaks S3; `http://` is not encrypted. Default: that of AWS, or of the variable `AWS_ENDPOINT_URL`.
    pub fn endpoint(mut self, url: &str) -> Self {
        self.endpoint = Some(url.to_owned());
        self
    }

    /// The region of the bucket. Default: the variable `AWS_REGION`, or us-east-1.
    pub fn region(mut self, region: &str) -> Self {
        self.region = Some(region.to_owned());
        self
    }

    /// Who asks the server, and what proves it. Default: the variables `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or what the
    /// machine is given by its cloud.
    pub fn keys(mut self, access_key: &str, secret_key: &str) -> Self {
        self.keys = Some((access_key.to_owned(), secret_key.to_owned()));
        self
    }

    /// Size of the parts that files are sent in, in MiB, 1 to 1024. Default: 8. So much memory times
    /// [`parallelism`](Self::parallelism) is used. With another size than before everything is sent again once.
    pub fn part_mib(mut self, size_mib: u64) -> Self {
        self.part_mib = Some(size_mib);
        self
    }

    /// How many parts are on their way at once, 1 to 256. Default: 4.
    pub fn parallelism(mut self, count: usize) -> Self {
        self.parallelism = Some(count);
        self
    }

    /// How long a commit, or the end of a job, waits for a copy; whole milliseconds. Default: 10 minutes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many complete copies are kept, at least 1. Default: 2.
    pub fn retained(mut self, count: usize) -> Self {
        self.retained = Some(count);
        self
    }

    /// Do sinks commit only when the copy of a checkpoint is complete? Default: no; see the table of guarantees above.
    pub fn commits_wait_for_upload(mut self, yes: bool) -> Self {
        self.commits_wait = Some(yes);
        self
    }
}

impl fmt::Debug for RemoteOptions {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteOptions")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key", &self.keys.as_ref().map(|(access_key, _)| access_key))
            .field("part_mib", &self.part_mib)
            .field("parallelism", &self.parallelism)
            .field("timeout", &self.timeout)
            .field("retained", &self.retained)
            .field("commits_wait", &self.commits_wait)
            .finish()
    }
}

impl Checkpointing<'_> {
    /// Copies each complete checkpoint to an object store, `file:///DIRECTORY` or `s3://BUCKET/PREFIX`, which belongs to this job
    /// alone; and fetches the newest copy if the local directory is empty. See [the guide](crate::api::remote_checkpoints).
    ///
    /// # Errors
    /// A URL of neither kind fails the job with [`RemoteError::Url`]; a store that does not answer fails it only if there is no
    /// local checkpoint to go on from.
    ///
    /// # Examples
    /// ```
    /// use thalweg::api::remote_checkpoints::RemoteOptions;
    /// use thalweg::prelude::*;
    ///
    /// # let scratch = tempfile::tempdir()?;
    /// # let (local, store) = (scratch.path().join("local"), scratch.path().join("store"));
    /// let store = format!("file://{}", store.display());
    /// let run = || {
    ///     let env = StreamExecutionEnvironment::new();
    ///     env.set_parallelism(1);
    ///     env.enable_checkpointing(seconds(1)).at(&local).remote(&store, RemoteOptions::new());
    ///     let sums = env.from_sequence(1..=100).key_by(|n| n % 3).scan(0, |sum, n| { *sum += n; *sum }).collect();
    ///     env.execute("sums").map(|_| sums.len())
    /// };
    /// assert_eq!(run()?, 100);
    /// std::fs::remove_dir_all(&local)?;
    /// assert_eq!(run()?, 0, "the copy says that all is done");
    /// # Ok::<(), thalweg::BoxError>(())
    /// ```
    #[track_caller]
    pub fn remote(&self, url: &str, options: RemoteOptions) -> &Self {
        self.env().configure(|c| {
            c.checkpoint_remote(url);
            if let Some(url) = &options.endpoint {
                c.checkpoint_remote_endpoint(url);
            }
            if let Some(region) = &options.region {
                c.checkpoint_remote_region(region);
            }
            if let Some((access_key, secret_key)) = &options.keys {
                c.checkpoint_remote_keys(access_key, secret_key);
            }
            if let Some(size_mib) = options.part_mib {
                c.checkpoint_remote_part_mib(size_mib);
            }
            if let Some(count) = options.parallelism {
                c.checkpoint_remote_parallelism(count);
            }
            if let Some(timeout) = options.timeout {
                c.checkpoint_remote_timeout(timeout);
            }
            if let Some(count) = options.retained {
                c.checkpoints_remote_retained(count);
            }
            if let Some(yes) = options.commits_wait {
                c.commits_wait_for_upload(yes);
            }
            c
        });
        self
    }
}
