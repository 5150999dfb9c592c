//! Waking a core that sleeps, at the price of a fence when it does not.
//!
//! A core that has found nothing to do for a while sleeps; whoever gives it something must wake it. The usual cost is
//! paid by the other case: the core is awake and polls, and the producer only has to find that out.
//!
//! ```text
//! producer (any thread)                     consumer (the core)
//! ─────────────────────                     ───────────────────
//! P1 publish: page into the ring,           C1 asleep.swap(true, AcqRel)
//!    message into the inbox                 C2 fence(SeqCst)
//! P2 fence(SeqCst)                          C3 recheck: poll rings, inbox, timers
//! P3 asleep.load(Relaxed)                   C4 found something: asleep.store(false), go on
//! P4 true: asleep.swap(false, AcqRel);      C5 nothing: sleep until asleep is false
//!    whoever got the true unparks              or a timer is due
//! ```
//!
//! **No wake-up is lost.** The two fences are totally ordered. If P2 comes before C2, everything before P2, so P1, is
//! seen by the recheck C3, and the consumer does not sleep. If C2 comes before P2, the load P3 sees the store C1 or a
//! write to `asleep` that comes after it. Seeing C1, the producer swaps; it gets `true` and unparks, or it gets `false`
//! because of a write after C1. A write after C1 is either another producer's swap that got the `true` (that one
//! unparks), or the consumer's own store of C4 or at the end of its sleep: then the consumer is awake and has not
//! raised the flag again, and when it does, the same argument holds for that next C1 with a recheck C3 that comes
//! after P1. An unpark is never lost either: a thread keeps the token and a task stays scheduled, and C5 tests the flag
//! before it sleeps. An unpark that arrives late (after the consumer woke by its timer and went to sleep again) costs
//! one empty round.
//!
//! What the producer published is visible after the wake-up: P1 happens before the unpark, which synchronises with the
//! end of the sleep; and where C5 finds the flag down and does not sleep, its load is an Acquire of P4's swap.
//!
//! The same argument is checked by exhaustion in the loom models at the end of this file.
//!
//! **Invariants**
//! - Only the owning core raises the flag; anybody lowers it.
//! - Whatever can end a core's idleness ends with [`CoreWaker::wake_if_sleeping`]: a page or a control handed over, an
//!   empty page handed **back** (a blocked producer waits for it), a mailbox message, a command.
//! - The unparker is bound before the flag is first raised, and dropped on its own core.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::{Mutex, lock, thread};

/// How a sleeping core is got up.
#[derive(Debug)]
pub(crate) enum Unparker {
    /// A plain thread that sleeps in [`thread::park`].
    Thread(thread::Thread),
    /// The task of an executor.
    Task(Waker),
}

/// The flag, alone on its cache lines: every producer reads it per page, and a neighbour that is written would make
/// each of those reads a miss. 128 bytes because x86 prefetches lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct SleepFlag {
    /// Raised by the owning core, lowered by it or by the producer that wakes it. Orderings: see the module.
    asleep: AtomicBool,
}

/// The waker of one core. Producers hold it in an `Arc`.
///
/// # Examples
///
/// ```
/// use thalweg::runtime::CoreWaker;
///
/// // The core behind this waker is awake, so nothing happens but the check.
/// let waker = CoreWaker::new();
/// waker.wake_if_sleeping();
/// ```
#[derive(Debug)]
pub struct CoreWaker {
    flag: SleepFlag,
    /// Written once by the core when its loop starts and once when it ends; read by the producer that won the swap.
    unparker: Mutex<Option<Unparker>>,
}

impl Default for CoreWaker {
    fn default() -> Self {
        Self::new()
    }
}

impl CoreWaker {
    /// A waker of a core that is awake and has no unparker yet.
    #[must_use]
    pub fn new() -> Self {
        Self { flag: SleepFlag { asleep: AtomicBool::new(false) }, unparker: Mutex::new(None) }
    }

    /// Gets the core up if it sleeps. Call it after handing over a page, a control, an empty page or a message.
    ///
    /// Awake core: one fence and one load of a line that is shared and clean. Sleeping core: one of the callers pays
    /// for the unpark (9-17 us measured on virtual machines), the others see the flag down.
    #[inline]
    pub fn wake_if_sleeping(&self) {
        fence(Ordering::SeqCst);
        if self.flag.asleep.load(Ordering::Relaxed) {
            self.get_up();
        }
    }

    #[cold]
    fn get_up(&self) {
        if self.flag.asleep.swap(false, Ordering::AcqRel) {
            match lock(&self.unparker).as_ref() {
                Some(Unparker::Thread(thread)) => thread.unpark(),
                Some(Unparker::Task(waker)) => waker.wake_by_ref(),
                // The loop has ended: nobody sleeps.
                None => {}
            }
        }
    }

    /// Makes an executor look around whether its core sleeps or not; a thread that runs the core alone needs none. For
    /// sleeps that an executor should not have begun: a core that rightly sleeps goes on sleeping.
    pub(crate) fn nudge(&self) {
        if let Some(Unparker::Task(waker)) = lock(&self.unparker).as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Says how to get this core up; on the core, before it first sleeps.
    pub(crate) fn bind(&self, unparker: Unparker) {
        *lock(&self.unparker) = Some(unparker);
    }

    /// Forgets the unparker; on the core, when its loop ends. A glommio waker must not outlive its executor, and its
    /// count of references may only reach zero on its own thread.
    pub(crate) fn unbind(&self) {
        self.lower();
        lock(&self.unparker).take();
    }

    /// C1 and C2: after this call the core must look for work once more before it sleeps.
    pub(crate) fn raise(&self) {
        // A swap and not a store, so that a lowering by a producer that this core has not noticed happens before it. The
        // language orders the two anyway (the producer's swap read what this core wrote earlier); loom cannot derive
        // that, and on the way to sleep the locked instruction costs nothing.
        self.flag.asleep.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// C4, and the end of each sleep.
    pub(crate) fn lower(&self) {
        self.flag.asleep.store(false, Ordering::Relaxed);
    }

    /// Whether nobody has woken the core since it raised the flag.
    pub(crate) fn is_raised(&self) -> bool {
        self.flag.asleep.load(Ordering::Acquire)
    }

    /// Sleeps on the bound plain thread until it is unparked, or the time is up, or (rarely) for no reason: the caller
    /// looks for work and comes back. The flag is down afterwards.
    pub(crate) fn sleep_on_thread(&self, timeout: Option<Duration>) {
        if self.is_raised() {
            thread::park(timeout);
        }
        self.lower();
    }
}

/// For those who know wakers alone: stores and files.
impl Wake for CoreWaker {
    fn wake(self: Arc<Self>) {
        self.wake_if_sleeping();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_if_sleeping();
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_models {
    //! Loom runs every interleaving and every value a relaxed load may see; a lost wake-up is a deadlock it reports.

    use loom::sync::atomic::AtomicUsize;

    use super::*;

    /// Takes `count` things out of `ring`, sleeping by the protocol while there are none.
    fn consume(waker: &CoreWaker, ring: &AtomicUsize, count: usize) {
        let mut taken = 0;
        while taken < count {
            if poll(ring, &mut taken) {
                continue;
            }
            waker.raise();
            if poll(ring, &mut taken) {
                waker.lower();
                continue;
            }
            waker.sleep_on_thread(None);
        }
    }

    fn poll(ring: &AtomicUsize, taken: &mut usize) -> bool {
        let published = ring.load(Ordering::Acquire);
        let found = published > *taken;
        *taken = published;
        found
    }

    /// `preemptions` bounds the involuntary switches of an execution; `None` tries all.
    fn model(producers: usize, pages_each: usize, preemptions: Option<usize>) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = preemptions;
        builder.check(move || {
            let waker = Arc::new(CoreWaker::new());
            let ring = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..producers)
                .map(|_| {
                    let (waker, ring) = (Arc::clone(&waker), Arc::clone(&ring));
                    loom::thread::spawn(move || {
                        for _ in 0..pages_each {
                            ring.fetch_add(1, Ordering::Release);
                            waker.wake_if_sleeping();
                        }
                    })
                })
                .collect();
            waker.bind(Unparker::Thread(thread::current()));
            consume(&waker, &ring, producers * pages_each);
            waker.unbind();
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn loom_one_producer_one_page() {
        model(1, 1, None);
    }

    #[test]
    fn loom_one_producer_two_pages() {
        model(1, 2, None);
    }

    #[test]
    fn loom_two_producers() {
        // Unbounded, this one did not end within nine minutes.
        model(2, 1, Some(2));
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn an_awake_core_is_left_alone() {
        let waker = CoreWaker::new();
        waker.wake_if_sleeping();
        assert!(!waker.is_raised());
        waker.raise();
        assert!(waker.is_raised());
        waker.wake_if_sleeping();
        assert!(!waker.is_raised());
    }

    #[test]
    fn a_sleeper_gets_up_for_each_of_many_messages() {
        const COUNT: u64 = 2_000;
        let waker = Arc::new(CoreWaker::new());
        let published = Arc::new(AtomicU64::new(0));
        let consumed = Arc::new(AtomicU64::new(0));
        std::thread::scope(|scope| {
            let (own, ring, done) = (Arc::clone(&waker), Arc::clone(&published), &consumed);
            scope.spawn(move || {
                own.bind(Unparker::Thread(thread::current()));
                while done.load(Ordering::Relaxed) < COUNT {
                    own.raise();
                    let seen = ring.load(Ordering::Acquire);
                    if seen > done.load(Ordering::Relaxed) {
                        own.lower();
                        done.store(seen, Ordering::Release);
                    } else {
                        own.sleep_on_thread(None);
                    }
                }
            });
            for number in 1..=COUNT {
                published.store(number, Ordering::Release);
                waker.wake_if_sleeping();
                while consumed.load(Ordering::Acquire) < number {
                    std::thread::yield_now();
                }
            }
        });
        assert_eq!(consumed.load(Ordering::Relaxed), COUNT);
    }
}
