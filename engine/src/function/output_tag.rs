//! Names of side outputs.

use std::marker::PhantomData;
use std::sync::Arc;

/// Names a side output and the type of its records.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// let late = OutputTag::<(String, i64)>::new("late");
/// assert_eq!(late.name(), "late");
/// ```
pub struct OutputTag<T> {
    name: Arc<str>,
    _record: PhantomData<fn(T)>,
}

impl<T> OutputTag<T> {
    /// A tag of this name; unique among the side outputs of one operator.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        OutputTag { name: name.into(), _record: PhantomData }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<T> Clone for OutputTag<T> {
    fn clone(&self) -> Self {
        OutputTag { name: self.name.clone(), _record: PhantomData }
    }
}

impl<T> std::fmt::Debug for OutputTag<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OutputTag").field(&self.name).finish()
    }
}
