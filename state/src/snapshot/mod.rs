//! From blocks of deltas to durable checkpoints, and back.
//!
//! ```text
//! owner thread                        worker (a thread from the spawner, or run inside `poll`)
//! TableStore ──► LsmTier ──commands──► Worker ──► Flush: delta file ──► sync ─┐
//!                   ▲                   │ ▲ │                                 │
//!                   └──────events───────┘ │ └──── ManifestLog: edit, sync ◄───┘
//!                                 chores ▼ outcomes
//!                      Background (another thread, or steps of the worker's): the next delta's
//!                      file, compaction, removal of what nothing refers to
//! StateRoot: the directory, its lock, who refers to which file; shared by the stores in it
//! ```
//! 1. The owner sends blocks as they fill and, when all tables have finished an epoch, its end.
//! 2. The worker writes blocks of the oldest epoch as they come. At its end it adds the footer,
//!    syncs, writes the edit and syncs that; only then the checkpoint is complete. It waits for
//!    nothing else: the background makes the file beforehand, and rests meanwhile.
//! 3. What an edit drops is garbage. It is removed in a pass of its own, after the edit is durable,
//!    the owner reads a later version, and no other store's manifest refers to it.
//! 4. A restore makes a new manifest that refers to the files of others, each narrowed to the new
//!    store's key groups; no file is read or written.
//! 5. [`StateRoot::import`] copies a checkpoint of stores from another directory (see `copy`).
//!
//! **A checkpoint that fails** (no space, a failed sync) loses nothing: its blocks stay in memory
//! and are written in front of the next epoch's, in one new file, so that later changes win. The
//! tables have long forgotten which rows these were, and reading them back from the abandoned file
//! would trust a file whose sync failed. The price is memory: all bytes that are not durable are
//! held, twice what the tables hold at worst, counted as waiting bytes; beyond a bound new
//! checkpoints are refused until the disk has caught up.
//!
//! # Directory
//!
//! ```text
//! LOCK                          held while the directory is open: one process
//! ROOT                          format `root`: how often the directory was opened
//! manifests/<store>.manifest    see `manifest`
//! files/<id>.delta|sst          see `delta` and `sst`; the id in 16 hexadecimal digits
//! ```
//! `ROOT` is a sealed file of `thalweg_io::checkpoint_file` with format name `root`, version 1, no
//! blocks, and a footer of one number: how often the directory was opened (u64, little-endian). A
//! file id is that count in the upper 24 bits and a counter in the lower 40, so no id is used twice
//! across restarts, even if the file that had it was never named by any manifest.
//!
//! # Invariants
//!
//! - Who refers to which file is rebuilt from durable manifests alone. While a manifest is damaged,
//!   files that seem to be nobody's are kept.
//! - An error of a sync is final: the file is abandoned and never named by a manifest.
//! - Nothing here reads a clock or draws a random number; a thread comes from the spawner.

mod background;
mod checkpoint_id;
mod compactor;
mod copy;
pub mod crash_points;
mod event;
mod flush;
mod garbage;
mod gauges;
mod restore;
mod root;
mod store_files;
mod worker;

pub use checkpoint_id::CheckpointId;
pub use event::StoreEvent;
pub(crate) use event::{Command, Notice, Outbox};
pub(crate) use flush::EpochEnd;
pub(crate) use garbage::DataFile;
pub(crate) use gauges::Gauges;
pub use restore::RestoreSource;
pub(crate) use restore::{check_key_hash, check_setting, restored_contents};
pub use root::{CheckpointSummary, StateRoot, StoreSummary};
pub(crate) use root::{StoreName, data_file, read_openings, store_of_manifest};
pub(crate) use store_files::StoreFiles;
pub(crate) use worker::{Progress, Worker, WorkerSettings};
