//! What a file sink does when its job begins, from a checkpoint or anew.
//!
//! 1. Files that the checkpoint has pending are published, in the order of its checkpoints.
//! 2. Files in progress are cut to the length that the checkpoint has, and written on.
//! 3. All other files in progress of this sink are removed: an attempt that failed has left them.
//!
//! **Invariant**: what any subtask has in the checkpoint is kept; each file is taken over by exactly one subtask.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use thalweg_io::file::IN_PROGRESS_SUFFIX;
use thalweg_io::storage::{FileKind, Storage};
use thalweg_io::{IoError, crash_point};

use super::crash_points;
use super::part::{PendingFile, in_progress_path};
use super::parts::Names;
use super::stored::{Stored, StoredPart, from_stored};
use crate::Result;
use crate::function::SinkStateContext;
use crate::record::CheckpointId;

/// What a subtask takes over.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) next_counter: u64,
    pub(super) open: Vec<StoredPart>,
    pub(super) pending: Vec<(CheckpointId, Vec<PendingFile>)>,
    /// There is no checkpoint, or nothing of the sink in it.
    pub(super) is_new: bool,
    /// In-progress files of all subtasks in the checkpoint.
    known: BTreeSet<PathBuf>,
}

impl Recovered {
    pub(super) fn from(context: &SinkStateContext<'_>, directory: &Path) -> Result<Self> {
        let states = context.states::<Stored>()?;
        let mut recovered = Recovered { is_new: states.is_empty(), ..Self::default() };
        for (subtask, (next_counter, open, pending)) in states {
            // Of all subtasks, so that no number is used twice whatever becomes of the parallelism.
            recovered.next_counter = recovered.next_counter.max(next_counter);
            let names = open.iter().map(|(bucket, name, ..)| (bucket, name));
            let waiting = pending.iter().flat_map(|(_, files)| files);
            let names = names.chain(waiting.map(|(bucket, name, _)| (bucket, name)));
            let paths = names.map(|(bucket, name)| directory.join(bucket).join(name));
            recovered.known.extend(paths.map(|path| in_progress_path(&path)));
            if context.takes_over(subtask) {
                recovered.open.extend(open);
                let files = |files: Vec<_>| files.into_iter().map(from_stored).collect();
                let pending = pending.into_iter();
                recovered.pending.extend(pending.map(|(id, all)| (CheckpointId(id), files(all))));
            }
        }
        Ok(recovered)
    }

    /// Removes what earlier attempts have left.
    pub(super) fn remove_leftovers(
        &self,
        context: &SinkStateContext<'_>,
        storage: &dyn Storage,
        names: &Names,
    ) -> Result<(), IoError> {
        let mut directories = vec![names.directory.clone()];
        while let Some(directory) = directories.pop() {
            for path in storage.list(&directory)? {
                match storage.metadata(&path).map(|found| found.kind) {
                    Ok(FileKind::Directory) => directories.push(path),
                    Ok(FileKind::File) if self.is_leftover(context, names, &path) => {
                        storage.remove(&path)?;
                        crash_point(crash_points::LEFTOVER_REMOVED);
                        tracing::debug!(file = %path.display(), "removed a file of a failed attempt");
                    }
                    // Removed meanwhile, by the subtask whose it is.
                    Ok(_) | Err(IoError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn is_leftover(&self, context: &SinkStateContext<'_>, names: &Names, path: &Path) -> bool {
        let Some(name) = path.to_str().filter(|name| name.ends_with(IN_PROGRESS_SUFFIX)) else {
            return false;
        };
        // A copy that was to become a file cut to its beginning.
        let original = name.strip_suffix(".cut.inprogress").unwrap_or(name);
        let is_ours = names.parse(Path::new(original));
        let is_copy = original.len() < name.len();
        is_ours.is_some_and(|(subtask, _)| context.takes_over(subtask))
            && (is_copy || !self.known.contains(path))
    }
}
