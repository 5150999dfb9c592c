//! Tells which subtask saw a record.

use std::marker::PhantomData;
use thalweg::prelude::*;

/// A record, and the index of the subtask that saw it.
pub type Place<T> = (usize, T);

/// Puts the subtask's index beside each record.
pub struct WithSubtask<T> {
    subtask: usize,
    record: PhantomData<fn(T)>,
}

impl<T> Default for WithSubtask<T> {
    fn default() -> Self {
        WithSubtask { subtask: usize::MAX, record: PhantomData }
    }
}

impl<T> Clone for WithSubtask<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<T: 'static> MapFunction for WithSubtask<T> {
    type In = T;
    type Out = Place<T>;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.subtask = context.subtask_index();
        Ok(())
    }
    fn map(&mut self, record: T) -> thalweg::Result<Place<T>> {
        Ok((self.subtask, record))
    }
}
