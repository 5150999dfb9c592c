//! Threads that files need, started by whoever owns threads.
//!
//! This crate starts no thread by itself: what needs one takes a [`Spawner`]. The engine's runtime
//! gives its own, which names, counts and joins; a simulator's may refuse. A body ends by itself
//! once the object that asked for it is dropped, so nobody has to stop it.
//!
//! # Invariants
//!
//! - A body never unwinds into the spawner on purpose; a spawner may treat a panic as a bug.
//! - Whoever gave a body waits for its end through a signal of its own: a spawner returns no
//!   handle.

use std::fmt;
use std::io;

/// Starts threads.
///
/// # Examples
///
/// ```
/// use std::{io, sync::mpsc};
/// use thalweg_io::Spawner;
///
/// #[derive(Debug)]
/// struct NamedThreads;
///
/// impl Spawner for NamedThreads {
///     fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
///         std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
///     }
/// }
///
/// let (sender, receiver) = mpsc::channel();
/// NamedThreads.spawn("io-writer", Box::new(move || sender.send(7).unwrap()))?;
/// assert_eq!(receiver.recv(), Ok(7));
/// # Ok::<(), io::Error>(())
/// ```
pub trait Spawner: fmt::Debug + Send + Sync {
    /// Runs `body` on a thread of its own, named `name` (at most 15 bytes are shown by Linux).
    ///
    /// # Errors
    ///
    /// If no thread can be started; `body` is then dropped without having run.
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<()>;
}

/// Plain threads, for tests and benches; the engine's come from its runtime.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadSpawner;

#[cfg(any(test, feature = "testing"))]
impl Spawner for ThreadSpawner {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
    }
}
