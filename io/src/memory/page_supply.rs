//! Huge pages that a thread keeps ready, for memory that grows while records wait.
//!
//! To touch a fresh page of 2 MiB takes 0.1 ms, and 5 to 7 ms in a virtual machine whose host has to
//! find the memory first. A table that grew into such pages by itself would hold up a record for
//! that long; one that stays with pages of 4 KiB misses the TLB with every access. So a thread
//! touches them.
//!
//! 1. A supply starts without pages. The first one that is asked for is not there, and starts the
//!    thread's work.
//! 2. From then on it keeps some ready: two, and two more for each that was taken, at most
//!    [`READY_PAGES_MAX`]. Who gets none takes small pages instead, and asks again for the next
//!    piece.
//!
//! # Invariants
//!
//! - [`PageSupply::take`] never waits: not for the thread, and not for the lock.
//! - The thread ends when the last handle is dropped, which waits for it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Arena, ArenaError, ArenaOptions};
use crate::Spawner;

/// The size of the pages: the huge page of x86-64, and of arm64 with 4 KiB base pages.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// No page is smaller; where huge ones are not to be had, each of these is touched.
const SMALL_PAGE_BYTES: usize = 4096;

/// How many pages are kept ready at most: what a table of ten million inserts a second takes in
/// 30 ms.
const READY_PAGES_MAX: usize = 6;

/// A handle to a supply of huge pages; clones share it.
///
/// # Examples
///
/// ```
/// use std::{io, thread};
/// use thalweg_io::memory::{HUGE_PAGE_BYTES, PageSupply};
/// # #[derive(Debug)]
/// # struct Threads;
/// # impl thalweg_io::Spawner for Threads {
/// #     fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
/// #         thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
/// #     }
/// # }
/// let supply = PageSupply::start(&Threads)?;
/// let page = loop {
///     match supply.take() {
///         Some(page) => break page,
///         None => thread::yield_now(), // or use other memory
///     }
/// };
/// assert_eq!(page.length_bytes(), HUGE_PAGE_BYTES);
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PageSupply {
    handle: Arc<Handle>,
}

/// Ends the thread when the last supply is dropped.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    pages: Mutex<Pages>,
    /// Told of each change of `pages`.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pages {
    ready: Vec<Arena>,
    /// How many are to be ready; 0 until one was asked for, and when there is no memory.
    wanted_count: usize,
    taken_count: usize,
    is_closed: bool,
    has_ended: bool,
}

impl PageSupply {
    /// Starts the thread, which waits until a page is asked for.
    ///
    /// # Errors
    ///
    /// The spawner's.
    pub fn start(spawner: &dyn Spawner) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let body = {
            let shared = shared.clone();
            move || {
                let _end = SaysEnd(&shared);
                shared.fill();
            }
        };
        spawner.spawn("huge-pages", Box::new(body))?;
        Ok(PageSupply { handle: Arc::new(Handle { shared }) })
    }

    /// A page that was touched, if one is ready. It reads as zeros.
    pub fn take(&self) -> Option<Arena> {
        let mut pages = self.handle.shared.pages.try_lock().ok()?;
        let page = pages.ready.pop();
        pages.taken_count += usize::from(page.is_some());
        pages.wanted_count = (2 + 2 * pages.taken_count).min(READY_PAGES_MAX);
        drop(pages);
        self.handle.shared.changed.notify_all();
        page
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut pages = self.shared.lock();
        pages.is_closed = true;
        self.shared.changed.notify_all();
        while !pages.has_ended {
            pages = self.shared.changed.wait(pages).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Tells that the thread has ended, also if it panicked.
struct SaysEnd<'a>(&'a Shared);

impl Drop for SaysEnd<'_> {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps pages ready until the supply is closed.
    fn fill(&self) {
        while self.wait_for_want() {
            // Without the lock: this is what takes time.
            let made = touched_page();
            let mut pages = self.lock();
            match made {
                Ok(page) => pages.ready.push(page),
                // No memory: whoever asks next makes it try again.
                Err(_) => pages.wanted_count = 0,
            }
            drop(pages);
            self.changed.notify_all();
        }
    }

    /// Waits until a page is wanted; false when none will be any more.
    fn wait_for_want(&self) -> bool {
        let mut pages = self.lock();
        while !pages.is_closed && pages.ready.len() >= pages.wanted_count {
            pages = self.changed.wait(pages).unwrap_or_else(PoisonError::into_inner);
        }
        !pages.is_closed
    }
}

/// A page that was touched.
///
/// By writing to it, not by asking the kernel to populate it: that holds the lock of the address
/// space, and an owner that maps memory meanwhile waits for it. (Growing to ten million rows took
/// 20 ms at worst.)
fn touched_page() -> Result<Arena, ArenaError> {
    let mut page = Arena::new(ArenaOptions::new(HUGE_PAGE_BYTES).huge_pages(true))?;
    for byte in page.as_mut_slice().iter_mut().step_by(SMALL_PAGE_BYTES) {
        *std::hint::black_box(byte) = 0;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawner::ThreadSpawner;

    fn wait_for(supply: &PageSupply, ready_count: usize) {
        let shared = &supply.handle.shared;
        let mut pages = shared.lock();
        while pages.ready.len() < ready_count {
            pages = shared.changed.wait(pages).unwrap();
        }
    }

    /// A page that is ready, however busy the lock is.
    fn take(supply: &PageSupply) -> Arena {
        loop {
            if let Some(page) = supply.take() {
                return page;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn pages_are_made_ready_once_one_was_asked_for() {
        let supply = PageSupply::start(&ThreadSpawner).unwrap();
        assert!(supply.handle.shared.lock().ready.is_empty());
        assert!(supply.take().is_none());
        wait_for(&supply, 2);
        let mut page = take(&supply.clone());
        assert!(page.as_slice().iter().all(|byte| *byte == 0));
        assert!(page.as_non_null().addr().get().is_multiple_of(HUGE_PAGE_BYTES));
        wait_for(&supply, 4);
        (0..4).for_each(|_| drop(take(&supply)));
        wait_for(&supply, READY_PAGES_MAX);
        assert_eq!(supply.handle.shared.lock().ready.len(), READY_PAGES_MAX);
    }

    #[test]
    fn the_thread_ends_with_the_last_handle() {
        let supply = PageSupply::start(&ThreadSpawner).unwrap();
        let other = supply.clone();
        let shared = supply.handle.shared.clone();
        supply.take();
        drop(supply);
        assert!(!shared.lock().has_ended);
        drop(other);
        assert!(shared.lock().has_ended);
    }

    #[derive(Debug)]
    struct Refusing;

    impl Spawner for Refusing {
        fn spawn(&self, _: &str, _: Box<dyn FnOnce() + Send>) -> io::Result<()> {
            Err(io::ErrorKind::OutOfMemory.into())
        }
    }

    #[test]
    fn a_thread_that_is_refused_is_an_error() {
        assert!(PageSupply::start(&Refusing).is_err());
    }
}
