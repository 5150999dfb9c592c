//! Where copies go and how, read from the job's [`Configuration`].

use super::{Interrupt, StatisticsCell};
use crate::config::{Configuration, Restore, Secret};
use crate::time::Clock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thalweg_io::storage::Storage;

/// See the module docs; the options of the same names say what each is.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "object-store"), expect(dead_code, reason = "only the URL is reported"))]
pub(crate) struct RemoteSettings {
    pub(crate) url: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) access_key: Option<String>,
    pub(crate) secret_key: Option<Secret>,
    pub(crate) part_bytes: usize,
    pub(crate) parallelism: usize,
    pub(crate) timeout: Duration,
    pub(crate) retained: usize,
    pub(crate) commits_wait: bool,
}

impl RemoteSettings {
    /// `None` where no copies are made.
    pub(crate) fn of(configuration: &Configuration) -> Option<Self> {
        Some(RemoteSettings {
            url: configuration.checkpoint_remote()?.to_owned(),
            endpoint: configuration.checkpoint_remote_endpoint().map(str::to_owned),
            region: configuration.checkpoint_remote_region().map(str::to_owned),
            access_key: configuration.checkpoint_remote_access_key().map(str::to_owned),
            secret_key: configuration.checkpoint_remote_secret_key().cloned(),
            part_bytes: configuration.checkpoint_remote_part_bytes(),
            parallelism: configuration.checkpoint_remote_parallelism(),
            timeout: configuration.checkpoint_remote_timeout(),
            retained: configuration.checkpoints_remote_retained(),
            commits_wait: configuration.commits_wait_for_upload(),
        })
    }
}

/// The job whose checkpoints are copied.
#[cfg_attr(not(feature = "object-store"), expect(dead_code, reason = "only the URL is reported"))]
pub(crate) struct RemoteJob {
    pub(crate) settings: RemoteSettings,
    pub(crate) name: String,
    /// Unique in the process.
    pub(crate) number: u64,
    /// The local copy: where, and through what.
    pub(crate) directory: PathBuf,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) restore: Restore,
    pub(crate) allow_repeated_commits: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) statistics: StatisticsCell,
    /// Ends what is under way, also while the job is not open yet.
    pub(crate) interrupt: Interrupt,
    /// There is one thread: a copy is made within the call that asks for it.
    pub(crate) is_inline: bool,
}
