//! Compaction: deltas and sorted files become fewer sorted files.
//!
//! ```text
//! Version ── choose (pure) ──► Choice ──► CompactionJob ── beat, beat, .. ──► VersionChange
//!                                          merge by bytes; no types
//! ```
//! Leveled, with sizes from the bottom up (see `levels`): data starts in level 12, and upper levels
//! are used as it grows. So the bytes above the bottom, and with them what is superseded in it, stay
//! a fixed share of it.
//!
//! | what may be superseded, or is not merged yet | of the bottom level |
//! |---|---|
//! | levels from the base to above the bottom: 1/8 + 1/64 + .. | 15 %, and as much in the bottom |
//! | deltas and young levels | 25 % of the sorted files, or one larger delta |
//! | a merge that is going on, at worst the whole bottom | 100 % |
//!
//! That is less than 2.5 times the live data while such a merge is going on, and 1.5 otherwise; what
//! retained checkpoints keep comes on top. Removals weigh as much as what they free below, so a
//! level of few bytes that removes many rows is merged down at once.
//!
//! 1. [`choose`] takes the fullest level, or the deltas; a file goes down where it overlaps least
//!    of the next level for its size. Without overlap it is moved: an edit and no bytes.
//!    With a memory budget [`choose_sort`] makes a young run of the deltas as they come.
//! 2. The job merges streaming ([`merge`](crate::merge)), a delta partition by partition. It drops
//!    what removals and expiry void, and removals too where nothing deeper has the row's prefix.
//! 3. New files are synced before the job says that it is done. Old ones are only no longer referred
//!    to; the garbage pass removes them when no checkpoint needs them.
//!
//! **Measured**, `u64` by `u64`, one core that other work shared: deltas of 10 % of the rows three at
//! a time into a bottom of three million, 7 M rows/s in, 170 MB/s of files read; a beat of 256 KiB
//! takes 1.5 ms, one that completes a file of 16 MiB 5 to 7 ms and its sync, which is why no
//! checkpoint waits for a beat (`snapshot`).
//!
//! # Invariants
//!
//! - The choice depends on the version, the options and the time it is told, on nothing else.
//! - A job may be given up at any time; what it wrote is known to nobody before its change is in the
//!   manifest. Deltas that arrive meanwhile are newer than all it merges.

mod choice;
mod job;
mod levels;
mod options;

pub(crate) use choice::{Choice, choose, choose_sort};
pub(crate) use job::{CompactionJob, JobProgress};
pub(crate) use options::CompactionOptions;

#[cfg(test)]
pub(crate) mod tests;
