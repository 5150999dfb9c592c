//! Where a job lives in a world that rescales: the directory of its checkpoints, and the savepoint it has begun with.
//!
//! 1. A process may be asked for a savepoint, and to end with it, or to go on.
//! 2. If it has ended with one, the job moves: the next process begins with the savepoint in a directory of its own, and the old
//!    directory is removed, so that a savepoint that needs it is found out.
//! 3. As long as that process, or a later one, is killed, the savepoint stays in the settings, as a supervisor would have it.
//!
//! **Invariants**
//! - What is drawn here comes from a stream of its own: other decisions of a seed do not depend on it.

use crate::config::ConfigurationBuilder;
use crate::runtime::savepoint::{Afterwards, SavepointError, SavepointHandle};
use crate::runtime::shell::seeded::SplitMix;
use crate::runtime::stepped::SteppedJob;
use std::fmt;
use std::path::{Path, PathBuf};
use thalweg_io::storage::{FaultProfile, FaultStorage, remove_tree};

/// Tells the numbers that are drawn here from the others of a seed.
const MOVES: u64 = 0x3C6E_F372_FE94_F82B;

/// See the module docs.
pub(super) struct Home {
    random: SplitMix,
    checkpoints: PathBuf,
    savepoint: Option<PathBuf>,
    /// Savepoints that were asked for so far.
    count: u64,
    /// The one with which the process is to end.
    last: Option<SavepointHandle>,
    /// One with which it goes on.
    side: Option<SavepointHandle>,
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {:?}", self.checkpoints.display(), self.savepoint)
    }
}

impl Home {
    pub(super) fn new(seed: u64) -> Self {
        Home {
            random: SplitMix(seed ^ MOVES),
            checkpoints: PathBuf::from("/job/checkpoints"),
            savepoint: None,
            count: 0,
            last: None,
            side: None,
        }
    }

    pub(super) fn checkpoints(&self) -> &Path {
        &self.checkpoints
    }

    /// All that a process that begins may read.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.checkpoints), self.savepoint.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    pub(super) fn has_savepoint(&self) -> bool {
        self.savepoint.is_some()
    }

    pub(super) fn configure(&self, configuration: &mut ConfigurationBuilder) {
        configuration.checkpoint_directory(&self.checkpoints);
        if let Some(savepoint) = &self.savepoint {
            configuration.savepoint(savepoint);
        }
    }

    /// Subtasks of the process that begins, and its cores.
    pub(super) fn draw_parallelism(&mut self, parallelism_max: usize) -> (usize, usize) {
        let parallelism = 1 + self.random.below(parallelism_max);
        (parallelism, 1 + self.random.below(parallelism))
    }

    /// Asks for a savepoint, if none was asked for; in words.
    pub(super) fn want_savepoint(&mut self, job: &SteppedJob) -> Option<String> {
        let is_last = self.random.below(2) == 0;
        let wanted = if is_last { &mut self.last } else { &mut self.side };
        if wanted.as_ref().is_some_and(|handle| is_last || !handle.is_finished()) {
            return None;
        }
        self.count += 1;
        let directory = PathBuf::from(format!("/job/savepoint-{}", self.count));
        let afterwards = if is_last { Afterwards::Stop } else { Afterwards::GoOn };
        *wanted = Some(job.savepoint(&directory, afterwards));
        Some(format!("savepoint {} is wanted, {afterwards:?}", directory.display()))
    }

    /// A process begins: nobody waits for what was asked of the one before.
    pub(super) fn forget_wishes(&mut self) {
        (self.last, self.side) = (None, None);
    }

    /// The process has finished. If it has done so because it was asked for a last savepoint, the job goes on: in words.
    pub(super) fn moves(&mut self, disk: &FaultStorage) -> Option<String> {
        let result = self.last.take()?.result();
        match result {
            Some(Ok(savepoint)) => {
                disk.set_profile(FaultProfile::none());
                let old = std::mem::replace(
                    &mut self.checkpoints,
                    PathBuf::from(format!("/job/checkpoints-{}", self.count)),
                );
                let old = [Some(old), self.savepoint.replace(savepoint.directory.clone())];
                // What remains is in nobody's way.
                old.into_iter().flatten().for_each(|directory| drop(remove_tree(disk, &directory)));
                Some(format!("goes on with savepoint {}", savepoint.directory.display()))
            }
            // All input was read before.
            Some(Err(SavepointError::JobOver { .. })) | None => None,
            Some(Err(error)) => Some(format!("goes on without a savepoint: {error}")),
        }
    }
}
