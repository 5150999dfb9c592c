//! The settings of a job's checkpoints and of its restarts, read from its [`Configuration`].

use crate::config::{CheckpointMode, Configuration, OnCancel, RestartKind, Restore};
use std::path::PathBuf;
use std::time::Duration;

/// How a job takes checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointSettings {
    pub(crate) interval_ns: u64,
    /// After so long a checkpoint that is not complete is given up.
    pub(crate) timeout_ns: u64,
    /// Between the end of one and the beginning of the next.
    pub(crate) pause_min_ns: u64,
    /// So many in a row may fail; `None` for any number.
    pub(crate) tolerated_failures: Option<u32>,
    /// So many complete ones are kept.
    pub(crate) retained: usize,
    pub(crate) mode: CheckpointMode,
    /// `None` for memory.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) memory_bytes_max: u64,
    pub(crate) on_cancel: OnCancel,
    pub(crate) restore: Restore,
    /// Whether an older checkpoint may be restored than sinks have committed.
    pub(crate) allow_repeated_commits: bool,
    /// `None` for a job that does not begin with one.
    pub(crate) savepoint: Option<SavepointSettings>,
}

/// The savepoint that a job begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavepointSettings {
    pub(crate) directory: PathBuf,
    /// The job that it is of, if that has another name.
    pub(crate) job: Option<String>,
    pub(crate) allow_non_restored_state: bool,
}

impl CheckpointSettings {
    /// `None` where there is no interval, and so are no checkpoints.
    pub(crate) fn of(configuration: &Configuration) -> Option<Self> {
        Some(CheckpointSettings {
            interval_ns: nanoseconds(configuration.checkpoint_interval()?),
            timeout_ns: nanoseconds(configuration.checkpoint_timeout()),
            pause_min_ns: nanoseconds(configuration.checkpoint_min_pause()),
            tolerated_failures: configuration.checkpoint_tolerated_failures(),
            retained: configuration.checkpoints_retained(),
            mode: configuration.checkpoint_mode(),
            directory: configuration.checkpoint_directory().map(PathBuf::from),
            memory_bytes_max: configuration.checkpoint_memory_bytes(),
            on_cancel: configuration.checkpoints_on_cancel(),
            restore: configuration.restore(),
            allow_repeated_commits: configuration.allow_repeated_commits(),
            savepoint: configuration.savepoint().map(|directory| SavepointSettings {
                directory: directory.to_path_buf(),
                job: configuration.savepoint_job().map(str::to_owned),
                allow_non_restored_state: configuration.allow_non_restored_state(),
            }),
        })
    }
}

/// When a job that failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartSettings {
    Never,
    FixedDelay { attempts_max: u32, delay_ns: u64 },
    ExponentialDelay { first_ns: u64, max_ns: u64, multiplier: u32, reset_after_ns: u64 },
    FailureRate { failures_max: u32, interval_ns: u64, delay_ns: u64 },
}

impl RestartSettings {
    /// Where the configuration does not say: with checkpoints exponential delays, else never, as in Flink.
    pub(crate) fn of(configuration: &Configuration) -> Self {
        let delay_ns = nanoseconds(configuration.restart_delay());
        let kind = configuration.restart_strategy().unwrap_or_else(|| {
            let has_checkpoints = configuration.checkpoint_interval().is_some();
            if has_checkpoints { RestartKind::ExponentialDelay } else { RestartKind::Never }
        });
        match kind {
            RestartKind::Never => RestartSettings::Never,
            RestartKind::FixedDelay => RestartSettings::FixedDelay {
                attempts_max: configuration.restart_attempts(),
                delay_ns,
            },
            RestartKind::ExponentialDelay => RestartSettings::ExponentialDelay {
                first_ns: delay_ns,
                max_ns: nanoseconds(configuration.restart_delay_max()),
                multiplier: configuration.restart_backoff_multiplier(),
                reset_after_ns: nanoseconds(configuration.restart_reset_after()),
            },
            RestartKind::FailureRate => RestartSettings::FailureRate {
                failures_max: configuration.restart_failures_max(),
                interval_ns: nanoseconds(configuration.restart_failure_interval()),
                delay_ns,
            },
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
