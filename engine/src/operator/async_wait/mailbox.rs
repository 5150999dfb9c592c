//! Messages from any thread to an operator on its core.
//!
//! **Invariants**
//! - `has_mail` is set under the lock together with the push and cleared under it together with the take, so it is never
//!   down while a message lies there; the operator reads it without the lock, which is a load a drive.
//! - A message that is not seen by a drive is seen by a later one, or, before the core sleeps, by the argument of
//!   [`CoreWaker`]: it is posted before the core is woken.

use crate::runtime::CoreWaker;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, lock};
use std::sync::Arc;

/// See the module docs.
pub(crate) struct Mailbox<M> {
    messages: Mutex<Vec<M>>,
    has_mail: AtomicBool,
    waker: Arc<CoreWaker>,
}

impl<M> Mailbox<M> {
    pub(crate) fn new(waker: Arc<CoreWaker>) -> Arc<Self> {
        let (messages, has_mail) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        Arc::new(Mailbox { messages, has_mail, waker })
    }

    /// Leaves a message and gets the core up; from any thread, its own included.
    pub(crate) fn post(&self, message: M) {
        {
            let mut messages = lock(&self.messages);
            messages.push(message);
            self.has_mail.store(true, Ordering::Relaxed);
        }
        self.waker.wake_if_sleeping();
    }

    /// Moves all messages to `into`, which is empty, in the order in which they were posted.
    #[inline]
    pub(crate) fn take(&self, into: &mut Vec<M>) {
        debug_assert!(into.is_empty());
        // Relaxed: the lock publishes the messages.
        if self.has_mail.load(Ordering::Relaxed) {
            let mut messages = lock(&self.messages);
            self.has_mail.store(false, Ordering::Relaxed);
            std::mem::swap(&mut *messages, into);
        }
    }
}
