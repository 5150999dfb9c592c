//! Asynchronous requests that wait for the script to complete them.

use crate::conformance::event::Output;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use thalweg::function::ResultFuture;

/// The open requests by id; shared by the functions of all subtasks and the script.
#[derive(Clone, Default)]
pub(super) struct Requests(Arc<Mutex<BTreeMap<i64, ResultFuture<Output>>>>);

impl Requests {
    /// Notes an open request. A retry takes the place of the attempt before it.
    pub(super) fn open(&self, id: i64, result: ResultFuture<Output>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, result);
    }

    /// Takes an open request out.
    pub(super) fn take(&self, id: i64) -> Option<ResultFuture<Output>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }
}
