//! `env.enable_checkpointing(..)`: the settings of checkpoints, as a job writes them.

use crate::api::StreamExecutionEnvironment;
use crate::config::CheckpointMode;
use std::path::Path;
use std::time::Duration;

/// What a job says about its checkpoints; made by
/// [`enable_checkpointing`](StreamExecutionEnvironment::enable_checkpointing). Each of these is an option of the
/// [`configuration`](crate::config) too, where there are more.
#[derive(Debug)]
pub struct Checkpointing<'a> {
    env: &'a StreamExecutionEnvironment,
}

impl StreamExecutionEnvironment {
    /// Takes a checkpoint each `interval` (whole milliseconds), and goes on from the last one when the job fails, after delays
    /// that grow (option `restart_strategy`). Without [`at`](Checkpointing::at) they are kept in memory and do not
    /// outlive the process.
    ///
    /// A job with checkpoints ends with a last one, so that everything is committed before it finishes.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// env.enable_checkpointing(seconds(1));
    /// let sums = env.from_sequence(1..=100).key_by(|n| n % 3).scan(0, |sum, n| { *sum += n; *sum }).collect();
    /// env.execute("sums")?;
    /// assert_eq!(sums.len(), 100);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn enable_checkpointing(&self, interval: Duration) -> Checkpointing<'_> {
        self.configure(|c| c.checkpoint_interval(interval));
        Checkpointing { env: self }
    }
}

impl<'a> Checkpointing<'a> {
    #[cfg(feature = "object-store")]
    pub(super) fn env(&self) -> &'a StreamExecutionEnvironment {
        self.env
    }
}

impl Checkpointing<'_> {
    /// Keeps them in a directory of the local file system (a path, or `file://` and a path), which belongs to this job alone.
    /// A job that is started goes on from the latest one there.
    #[track_caller]
    pub fn at(&self, directory: impl AsRef<Path>) -> &Self {
        let directory = directory.as_ref();
        let of_url = directory.to_str().and_then(|text| text.strip_prefix("file://"));
        let path = of_url.map_or(directory, Path::new);
        self.env.configure(|c| c.checkpoint_directory(path));
        self
    }

    /// What a restart may repeat. Default: exactly once.
    #[track_caller]
    pub fn mode(&self, mode: CheckpointMode) -> &Self {
        self.env.configure(|c| c.checkpoint_mode(mode));
        self
    }

    /// How long one may take before it is given up. Default: 10 minutes.
    #[track_caller]
    pub fn timeout(&self, timeout: Duration) -> &Self {
        self.env.configure(|c| c.checkpoint_timeout(timeout));
        self
    }

    /// Least time between the end of one and the beginning of the next. Default: 0.
    #[track_caller]
    pub fn min_pause(&self, pause: Duration) -> &Self {
        self.env.configure(|c| c.checkpoint_min_pause(pause));
        self
    }

    /// How many in a row may fail before the job does. Default: any number; a restart then goes on from the last complete one.
    #[track_caller]
    pub fn tolerated_failures(&self, count: u32) -> &Self {
        self.env.configure(|c| c.checkpoint_tolerated_failures(count));
        self
    }

    /// How many complete ones are kept, at least 1. Default: 2.
    #[track_caller]
    pub fn retained(&self, count: usize) -> &Self {
        self.env.configure(|c| c.checkpoints_retained(count));
        self
    }
}
