//! Asynchronous requests that wait for the script to complete them.
//!
//! A restart issues the requests again that were in flight at the checkpoint. In a script with a `restore` step they wait
//! again. Where the job is restarted before each step, those that were completed since are answered as before, because the
//! script answers once.

use crate::conformance::event::Output;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use thalweg::function::ResultFuture;

/// Shared by the functions of all subtasks and the script.
#[derive(Clone, Default)]
pub(super) struct Requests(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    open: BTreeMap<i64, ResultFuture<Output>>,
    /// The answers that are given again, if any are.
    answers: Option<BTreeMap<i64, Vec<Output>>>,
}

impl Requests {
    /// Requests that are answered once by the script, and by themselves when they are issued again.
    pub(super) fn answered_again() -> Self {
        let inner = Inner { answers: Some(BTreeMap::new()), ..Inner::default() };
        Requests(Arc::new(Mutex::new(inner)))
    }

    fn with<R>(&self, code: impl FnOnce(&mut Inner) -> R) -> R {
        code(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes an open request. A retry takes the place of the attempt before it.
    pub(super) fn open(&self, id: i64, result: ResultFuture<Output>) {
        let answer = self.with(|inner| inner.answers.as_ref()?.get(&id).cloned());
        match answer {
            Some(answer) => result.complete(answer),
            None => self.with(|inner| drop(inner.open.insert(id, result))),
        }
    }

    /// Answers a request, if it is open.
    pub(super) fn complete(&self, id: i64, answer: Vec<Output>) -> bool {
        let result = self.with(|inner| {
            let result = inner.open.remove(&id)?;
            inner.answers.iter_mut().for_each(|all| drop(all.insert(id, answer.clone())));
            Some(result)
        });
        let is_open = result.is_some();
        if let Some(result) = result {
            result.complete(answer);
        }
        is_open
    }

    /// What was answered is asked again.
    pub(super) fn forget_answers(&self) {
        self.with(|inner| inner.answers.iter_mut().for_each(BTreeMap::clear));
    }
}
