//! Files and memory: the only crate of Thalweg that touches local files.
//!
//! ```text
//!   engine, state
//!      │  Arc<dyn Storage>          poll-style readers, publishing writers
//!      ▼                                   ▼
//!   storage/  posix memory uring fault ◄──  file/  FileReader LineReader FileWriter RollingWriter
//!      │                    │         ◄──  checkpoint_file/  sealed files and logs, made of block/
//!   memory/  Arena     ring/    probe, driver of writes, batches of reads
//!                      buffer/  aligned, pooled; the kernel's from submission to completion
//! ```
//!
//! It knows neither records nor state.
//!
//! # Invariants
//!
//! - Nothing here reads a clock or starts a thread by itself: times are arguments, and the one
//!   thread that writes for `uring` comes from a [`Spawner`].
//! - A failed sync is final for its file: the pages may be gone although the next sync would
//!   succeed, so every later call on that file is refused.
//! - A reader does at most one chunk-sized read per call and never waits for data.
//! - Bad bytes and full disks are typed errors, never panics.

pub mod block;
mod buffer;
pub mod checkpoint_file;
pub mod file;
pub mod memory;
pub mod ring;
pub mod storage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

mod corruption;
mod crash_point;
mod error;
mod planted;
mod spawner;

pub use corruption::Corruption;
pub use crash_point::{CRASH_POINT_VARIABLE, CrashHook, crash_point, set_crash_hook};
pub use error::{AppendError, IoError, IoSite, Operation};
#[cfg(planted)]
pub use planted::arm_planted;
pub use planted::{Fault, PLANTED_VARIABLE, planted};
pub use spawner::Spawner;
#[cfg(any(test, feature = "testing"))]
pub use spawner::ThreadSpawner;
