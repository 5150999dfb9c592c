//! Threads for code that blocks: user functions that wait for the outside world, clients of foreign systems.
//!
//! Everything that is not a core runs on a thread from here, so that the process has one list of what it starts.
//!
//! **Invariants**
//! - A panic of the body ends its thread and nothing else; it is logged, never propagated.
//! - The end of the body is signalled after its captures are dropped.
//! - Its threads run on all cores of the process, also those that a pinned core starts: they compact, compress, and wait for others.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::core_loop_panic::caught;
use super::shell::affinity::unpin_current_thread;
use crate::sync::{Condvar, Mutex, lock, wait_for};
use thalweg_io::Spawner;

/// The system refused another thread.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start thread '{name}': {source}; raise the limit of processes (`ulimit -u`, pids.max \
     of the container) or lower the parallelism"
)]
pub(crate) struct ThreadError {
    name: String,
    source: io::Error,
}

/// A thread that was started; dropping it lets the thread run on alone.
#[derive(Debug)]
pub(crate) struct NamedThread {
    handle: JoinHandle<()>,
    ended: Arc<(Mutex<bool>, Condvar)>,
}

/// Starts a thread. The system shows the first 15 bytes of its name.
pub(crate) fn spawn_named(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<NamedThread, ThreadError> {
    let ended = Arc::new((Mutex::new(false), Condvar::new()));
    let signal = ended.clone();
    let (label, name) = (name.to_owned(), name.replace('\0', " "));
    let run = move || {
        if let Err(error) = unpin_current_thread() {
            tracing::debug!(thread = label, "it stays on the core of who started it: {error}");
        }
        if let Err(text) = caught(body) {
            tracing::error!(thread = label, "a thread panicked: {text}");
        }
        *lock(&signal.0) = true;
        signal.1.notify_all();
    };
    match Builder::new().name(name.clone()).spawn(run) {
        Ok(handle) => Ok(NamedThread { handle, ended }),
        Err(source) => Err(ThreadError { name, source }),
    }
}

/// Starts the threads of stores and files, which end by themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuntimeThreads;

impl Spawner for RuntimeThreads {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        spawn_named(name, body).map(drop).map_err(|error| error.source)
    }
}

impl NamedThread {
    /// Waits for the end of the thread; false if it has not come after `limit`, and then the thread runs on alone.
    pub(crate) fn join_within(self, limit: Duration) -> bool {
        let (ended, condition) = &*self.ended;
        let mut guard = lock(ended);
        while !*guard {
            let timed_out;
            (guard, timed_out) = wait_for(condition, guard, limit);
            if timed_out && !*guard {
                return false;
            }
        }
        drop(guard);
        // The body is over and caught; what is left of the thread are a few instructions.
        self.handle.join().is_ok()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::runtime::shell::affinity::{allowed_cores, pin_current_thread};

    #[test]
    fn a_thread_has_its_name_and_is_joined() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = spawn_named("source: na\0me", move || {
            let name = std::thread::current().name().map(str::to_owned);
            sender.send(name).expect("the test listens");
        })
        .unwrap();
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("source: na me"));
        assert!(thread.join_within(Duration::from_secs(60)));
    }

    #[test]
    fn a_pinned_core_starts_threads_that_are_not() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let count = || std::thread::available_parallelism().unwrap().get();
        spawn_named("core", move || {
            pin_current_thread(*allowed_cores().unwrap().last().unwrap()).unwrap();
            sender.send(count()).expect("the test listens");
            spawn_named("free", move || sender.send(count()).expect("the test listens")).unwrap();
        })
        .unwrap();
        let counts = [receiver.recv().unwrap(), receiver.recv().unwrap()];
        assert_eq!(counts, [1, allowed_cores().unwrap().len()]);
    }

    #[test]
    fn a_panic_ends_the_thread_alone_and_a_stubborn_one_is_left() {
        let thread = spawn_named("bad", || panic!("on purpose")).unwrap();
        assert!(thread.join_within(Duration::from_secs(60)));
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let thread = spawn_named("stubborn", move || _ = receiver.recv()).unwrap();
        assert!(!thread.join_within(Duration::from_millis(5)));
        drop(sender);
    }
}
