//! Where the result of a request goes, from any thread.

use crate::BoxError;
use crate::operator::async_wait::Mailbox;
use crate::sync::atomic::{AtomicBool, Ordering};
use std::fmt;
use std::sync::Arc;

/// Names one handing out of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Where the request lies.
    pub(crate) slot: u32,
    /// Rises with every attempt of the request and with its timeout.
    pub(crate) turn: u32,
    /// Which of those that lay there it is.
    pub(crate) number: u64,
}

/// What became of a request.
pub(crate) enum Answer<Out> {
    One(Out),
    Many(Vec<Out>),
    Failed(BoxError),
    /// The handle is gone.
    Dropped,
}

/// An answer on its way to the operator.
pub(crate) struct Message<Out> {
    pub(crate) ticket: Ticket,
    pub(crate) answer: Answer<Out>,
}

/// Completes one request, once, from any thread; wakes the operator's core.
///
/// The first call counts and later ones are ignored, so a request that was sent twice may share the handle in an `Arc`. An
/// answer that comes after the request's timeout was served is ignored as well. A handle that is dropped without an answer
/// fails the job: a request that nobody answers would hold up all behind it.
///
/// A call costs a short lock, and a wake-up if the core sleeps.
pub struct ResultFuture<Out: Send + 'static> {
    ticket: Ticket,
    answers: Arc<Mailbox<Message<Out>>>,
    /// Set by the first answer, by whoever gives it; nothing is published through it.
    is_answered: AtomicBool,
}

impl<Out: Send + 'static> ResultFuture<Out> {
    pub(crate) fn new(ticket: Ticket, answers: &Arc<Mailbox<Message<Out>>>) -> Self {
        let answers = Arc::clone(answers);
        ResultFuture { ticket, answers, is_answered: AtomicBool::new(false) }
    }

    /// Completes the request with any number of results, which are emitted in this order, with the record's timestamp.
    pub fn complete(&self, results: Vec<Out>) {
        self.answer(Answer::Many(results));
    }

    /// Fails the request: there is a retry if the options say so, else the job fails with this error.
    pub fn fail(&self, error: impl Into<BoxError>) {
        if !self.is_answered.load(Ordering::Relaxed) {
            self.answer(Answer::Failed(error.into()));
        }
    }

    fn answer(&self, answer: Answer<Out>) {
        if !self.is_answered.swap(true, Ordering::Relaxed) {
            self.answers.post(Message { ticket: self.ticket, answer });
        }
    }
}

impl<Out: Send + 'static> Drop for ResultFuture<Out> {
    fn drop(&mut self) {
        self.answer(Answer::Dropped);
    }
}

impl<Out: Send + 'static> fmt::Debug for ResultFuture<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultFuture").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
