//! Files that were given up and wait to be segments again.
//!
//! Their blocks are allocated and written, so that writing them anew changes no metadata but the
//! time of change: a sync then only flushes the device (0.1 ms) and commits no journal (4 ms).
//!
//! 1. Giving a file up renames it to `<directory>/<number>.spare`.
//! 2. A segment takes the smallest spare that is large enough and not wastefully larger, and
//!    renames it to its own name.
//! 3. When there are more bytes than allowed, the oldest spares are removed. A file that would take
//!    much of the room by itself is not taken.
//!
//! What is there when a storage is opened is taken over; nothing in these files is ever read.
//!
//! # Invariants
//!
//! - A spare in the list belongs to this pool alone: taking it removes it from the list first.
//! - Numbers grow, so a name is never given twice while a file may still have it.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{IoError, IoSite, Operation};

const SUFFIX: &str = "spare";

/// A spare may be this much larger than what is asked for, in times; small ones by any measure.
const WASTE_FACTOR: u64 = 2;

/// A single spare may have this part of the bytes that are allowed.
const SHARE_MAX: u64 = 8;

/// What counts as small.
const SMALL_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct SparePool {
    directory: PathBuf,
    bytes_max: u64,
    state: Mutex<Spares>,
}

#[derive(Debug, Default)]
struct Spares {
    /// Oldest first.
    list: VecDeque<Spare>,
    number_last: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spare {
    pub(super) path: PathBuf,
    pub(super) length_bytes: u64,
}

impl SparePool {
    /// The pool in `directory`, with what an earlier one left there.
    pub(super) fn open(directory: &Path, bytes_max: u64) -> Result<Self, IoError> {
        let failed =
            |operation, source| IoError::from_system(IoSite::new(operation, directory), source);
        fs::create_dir_all(directory)
            .map_err(|source| failed(Operation::CreateDirectory, source))?;
        let mut found = Vec::new();
        let listed = |source| failed(Operation::List, source);
        for entry in fs::read_dir(directory).map_err(listed)? {
            let path = entry.map_err(listed)?.path();
            let Some(number) = number_of(&path) else { continue };
            // Gone or unreadable meanwhile: it is no spare of ours then.
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_file() {
                found.push((number, Spare { path, length_bytes: metadata.len() }));
            }
        }
        found.sort_unstable_by_key(|(number, _)| *number);
        let number_last = found.last().map_or(0, |(number, _)| *number);
        let list = found.into_iter().map(|(_, spare)| spare).collect();
        let state = Mutex::new(Spares { list, number_last });
        Ok(Self { directory: directory.to_path_buf(), bytes_max, state })
    }

    /// A spare fit for a segment of `expected_bytes`; it is the caller's now.
    pub(super) fn take(&self, expected_bytes: u64) -> Option<Spare> {
        let mut state = self.lock();
        let lengths = state.list.iter().map(|spare| spare.length_bytes);
        let chosen = choose(lengths, expected_bytes)?;
        state.list.remove(chosen)
    }

    /// Whether a file of this length may be a spare.
    pub(super) fn takes(&self, length_bytes: u64) -> bool {
        length_bytes <= self.bytes_max / SHARE_MAX
    }

    /// A name for a file that is given up.
    pub(super) fn new_name(&self) -> PathBuf {
        let mut state = self.lock();
        state.number_last += 1;
        self.directory.join(format!("{:012}.{SUFFIX}", state.number_last))
    }

    /// Takes a file that has its new name by now, and removes the oldest beyond the limit.
    pub(super) fn put(&self, spare: Spare) {
        let mut state = self.lock();
        state.list.push_back(spare);
        let mut total_bytes: u64 = state.list.iter().map(|spare| spare.length_bytes).sum();
        while total_bytes > self.bytes_max
            && let Some(oldest) = state.list.pop_front()
        {
            total_bytes -= oldest.length_bytes;
            // If it stays, the next who opens the pool finds it.
            let _ = fs::remove_file(&oldest.path);
        }
    }

    /// Frees the space of all spares, for a disk that is full; whether there were any.
    pub(super) fn remove_all(&self) -> bool {
        let spares = std::mem::take(&mut self.lock().list);
        for spare in &spares {
            let _ = fs::remove_file(&spare.path);
        }
        !spares.is_empty()
    }

    /// List and number change in single steps.
    fn lock(&self) -> MutexGuard<'_, Spares> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number_of(path: &Path) -> Option<u64> {
    let is_spare = path.extension().is_some_and(|extension| extension == SUFFIX);
    path.file_stem().filter(|_| is_spare)?.to_str()?.parse().ok()
}

/// Which spare a segment of `expected_bytes` takes: the smallest that fits. Pure.
fn choose(lengths: impl Iterator<Item = u64>, expected_bytes: u64) -> Option<usize> {
    let largest = expected_bytes.saturating_mul(WASTE_FACTOR).max(SMALL_BYTES);
    lengths
        .enumerate()
        .filter(|(_, length)| (expected_bytes.max(1)..=largest).contains(length))
        .min_by_key(|(_, length)| *length)
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_fits_is_chosen() {
        let check = |lengths: &[u64], expected_bytes, chosen| {
            assert_eq!(choose(lengths.iter().copied(), expected_bytes), chosen, "{lengths:?}");
        };
        const MIB: u64 = 1 << 20;
        check(&[], 100, None);
        check(&[64 << 10, 4096], 4096, Some(1));
        check(&[64 << 10, 4096], 4097, Some(0));
        check(&[0], 0, None);
        check(&[5 * MIB, 4 * MIB, 9 * MIB], 3 * MIB, Some(1));
        check(&[9 * MIB], 3 * MIB, None);
        check(&[2 * MIB], 3 * MIB, None);
        check(&[2 * MIB], 1000, None);
        check(&[u64::MAX], u64::MAX, Some(0));
    }

    #[test]
    fn takes_over_what_is_there_and_keeps_to_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let spares = directory.path().join("a/spare");
        fs::create_dir_all(&spares).unwrap();
        for (name, length) in [("000000000007.spare", 5000), ("x.spare", 1), ("8.other", 1)] {
            fs::write(spares.join(name), vec![1; length]).unwrap();
        }
        fs::create_dir(spares.join("9.spare")).unwrap();
        let pool = SparePool::open(&spares, 10_000).unwrap();
        let old = pool.take(4096).unwrap();
        assert_eq!((old.path.clone(), old.length_bytes), (spares.join("000000000007.spare"), 5000));
        assert_eq!(pool.take(1), None);
        pool.put(old.clone());
        for length in [4000, 3000] {
            let path = pool.new_name();
            fs::write(&path, vec![2; length]).unwrap();
            pool.put(Spare { path, length_bytes: length as u64 });
        }
        assert!(!old.path.exists(), "the oldest went");
        assert!(spares.join("000000000008.spare").exists());
        assert_eq!(pool.take(1).unwrap().length_bytes, 3000);
        assert!(pool.remove_all() && !pool.remove_all());
        assert!(!spares.join("000000000008.spare").exists());
        assert!(spares.join("x.spare").exists(), "what is not ours stays");
    }
}
