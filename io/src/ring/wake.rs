//! A counter of the kernel (eventfd) on which a ring waits together with its operations.
//!
//! # Invariants
//!
//! - Notices are never lost: one given before the wait ends that wait. Several may end one wait.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::FromRawFd as _;
use std::sync::Arc;

/// What one thread waits on and others write to.
#[derive(Debug, Clone)]
pub(crate) struct Wake {
    counter: Arc<File>,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let counter = unsafe { File::from_raw_fd(descriptor) };
        Ok(Self { counter: Arc::new(counter) })
    }

    /// Ends the wait that is under way, or the next one.
    pub(crate) fn notify(&self) {
        // Fails only when the counter would pass 2^64 - 2, and then the wait ends anyway.
        let _ = (&*self.counter).write(&1_u64.to_ne_bytes());
    }

    /// Waits for a notice, unless there is one, and takes it.
    pub(crate) fn wait(&self) {
        let mut count = [0; 8];
        while let Err(error) = (&*self.counter).read(&mut count) {
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "reading an eventfd: {error}");
        }
    }

    /// What a ring polls.
    pub(crate) fn counter(&self) -> &Arc<File> {
        &self.counter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_given_before_ends_the_wait() {
        let wake = Wake::new().unwrap();
        wake.notify();
        wake.notify();
        wake.wait();
        std::thread::scope(|scope| {
            scope.spawn(|| wake.wait());
            wake.notify();
        });
    }
}
