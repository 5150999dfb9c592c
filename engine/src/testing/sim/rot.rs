//! A bit that flips on the disk while no process runs, and what may come of it.
//!
//! 1. The machine has stopped, so all that is on the disk is durable. [`Rot::strike`] keeps a copy of the disk and flips one bit
//!    of a file below the directory of checkpoints, or of the savepoint that a job begins with: half of the times of the newest
//!    metadata, else of any file.
//! 2. The next process may refuse to begin, or end, if its failure [names the damage](names_damage). Then it is healed: by the
//!    copy if no checkpoint was complete since ([`Rot::undo`]), else at its place ([`Rot::heal`]).
//! 3. Or it runs, because nobody needs to read that bit, or not yet. It is healed when the job fails again and again, or at the
//!    latest when the process ends.
//!
//! **Invariants**
//! - Nobody may go on from an older checkpoint than was complete, as sinks have committed behind it.
//! - A bit is flipped back only in a file that still begins as it was: who has replaced it is left alone.

use crate::checkpoint::restore_fault::RestoreFault;
use crate::runtime::shell::seeded::SplitMix;
use std::error::Error;
use std::path::{Path, PathBuf};
use thalweg_io::IoError;
use thalweg_io::storage::{FaultProfile, FaultStorage, FileKind, Storage};

/// See the module docs.
#[derive(Debug)]
pub(super) struct Rot {
    before: FaultStorage,
    path: PathBuf,
    offset: u64,
    mask: u8,
    /// The file as it is since.
    damaged: Vec<u8>,
}

impl Rot {
    /// Flips a bit in one of these directories; `None` if there is no file yet.
    pub(super) fn strike<'a>(
        disk: &FaultStorage,
        directories: impl IntoIterator<Item = &'a Path>,
        random: &mut SplitMix,
    ) -> Option<Self> {
        disk.set_profile(FaultProfile::none());
        let (wants_metadata, pick) = (random.below(2) == 0, random.below(1 << 20));
        let (at, bit, seed) = (random.below(1 << 30), random.below(8), random.next());
        let below = directories.into_iter().flat_map(|directory| files_below(disk, directory));
        let files: Vec<PathBuf> = below.collect();
        let is_metadata = |path: &&PathBuf| path.extension().is_some_and(|it| it == "chk");
        let metadata = files.iter().filter(is_metadata).max().filter(|_| wants_metadata);
        let path = metadata.or_else(|| files.get(pick % files.len().max(1)))?.clone();
        let mut damaged = contents(disk, &path).ok().filter(|bytes| !bytes.is_empty())?;
        let (at, mask) = (at % damaged.len(), 1 << bit);
        let (before, offset) = (disk.kill(seed), at as u64);
        disk.damage(&path, offset, mask).ok()?;
        damaged[at] ^= mask;
        Some(Rot { before, path, offset, mask, damaged })
    }

    /// Where it is, in words.
    pub(super) fn place(&self) -> String {
        format!("byte {} of {} in {}", self.offset, self.damaged.len(), self.path.display())
    }

    /// The disk as it was before.
    pub(super) fn undo(self) -> FaultStorage {
        self.before
    }

    /// Flips the bit back, if it is still there.
    pub(super) fn heal(self, disk: &FaultStorage) {
        disk.set_profile(FaultProfile::none());
        if contents(disk, &self.path).is_ok_and(|bytes| bytes.starts_with(&self.damaged)) {
            // There is such a byte: it was just read.
            let _ = disk.damage(&self.path, self.offset, self.mask);
        }
    }
}

/// Is this what a damaged file may lead to? A panic, or a failure without a cause, is not.
pub(super) fn names_damage(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if is_of_checkpoint(error) {
            return true;
        }
        next = error.source();
    }
    false
}

fn is_of_checkpoint(error: &(dyn Error + 'static)) -> bool {
    RestoreFault::of(error).is_some()
        || error.is::<crate::checkpoint::store::CheckpointStoreError>()
        || error.is::<crate::checkpoint::savepoint::BeginError>()
        || error.is::<crate::state::StoreError>()
        || error.is::<IoError>()
}

/// All files below a directory, in order.
fn files_below(disk: &FaultStorage, directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in disk.list(directory).unwrap_or_default() {
        match disk.metadata(&path) {
            Ok(metadata) if metadata.kind == FileKind::Directory => {
                files.extend(files_below(disk, &path));
            }
            Ok(metadata) if metadata.length_bytes > 0 => files.push(path),
            _ => {}
        }
    }
    files
}

fn contents(disk: &FaultStorage, path: &Path) -> Result<Vec<u8>, IoError> {
    let file = disk.open_read(path)?;
    let mut bytes = vec![0; file.length_bytes()? as usize];
    file.read_exact_at(0, &mut bytes)?;
    Ok(bytes)
}
