//! Shells: what gives a core's loop a thread, a place and a way to sleep.
//!
//! | shell | thread | sleeps in | chosen |
//! |---|---|---|---|
//! | `glommio` | a pinned glommio executor, one async task | the executor's reactor | where io_uring is allowed |
//! | `threads` | a pinned plain thread | `thread::park` | elsewhere, or by name |
//!
//! | `seeded` | the caller's | never | by `testing`, for tests of jobs |
//!
//! The first two drive the same `CoreLoop` up the same ladder (`idle.rs`); what differs is how they pause and sleep.
//! The seeded one (`seeded.rs`) calls the loops' rounds itself, in an order drawn from a seed.
//!
//! **Invariants**
//! - Threads of the record plane are started here and nowhere else.
//! - A loop is created, driven and dropped on its own thread.
//! - When `start` returns, the thread runs, is pinned, and takes commands.

pub(crate) mod affinity;
pub(crate) mod glommio;
pub(crate) mod idle;
pub(crate) mod seeded;
pub(crate) mod threads;

use std::sync::Arc;
use std::sync::mpsc::Receiver;

pub use affinity::allowed_cores;
pub use idle::IdlePolicy;

use super::core_loop_link::CoreLink;
use crate::time::Clock;

/// A shell that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shell {
    /// Pinned glommio executors.
    Glommio,
    /// Pinned plain threads.
    Threads,
    /// The thread of whoever tests a job; see [`testing`](crate::testing).
    Seeded,
}

/// What the starting thread reports once: that it is up, or why not.
type StartReport = Result<(), String>;

/// Starts a core's thread and waits until it takes commands; the error is why it did not.
pub(crate) fn start(
    shell: Shell,
    core: usize,
    clock: Arc<dyn Clock>,
) -> Result<Arc<CoreLink>, String> {
    let link = Arc::new(CoreLink::new(core));
    match shell {
        Shell::Glommio => glommio::start(Arc::clone(&link), clock)?,
        Shell::Threads => threads::start(Arc::clone(&link), clock)?,
        Shell::Seeded => return Err("a seeded core is driven by its owner".to_owned()),
    }
    Ok(link)
}

/// The name of a core's thread; Linux shows 15 characters of it.
fn thread_name(core: usize) -> String {
    format!("thalweg-{core}")
}

/// Waits for the report; a thread that died without one has told `died` why.
fn await_start(
    report: &Receiver<StartReport>,
    died: impl FnOnce() -> String,
) -> Result<(), String> {
    report.recv().unwrap_or_else(|_| Err(died()))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
