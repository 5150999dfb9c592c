//! How a record's key is found.

use crate::function::UserFunction;
use std::marker::PhantomData;
use thalweg_state::Key;

/// Gives the key of a record, by value or by reference.
///
/// Implemented for what [`key_by`](crate::api::DataStream::key_by) and [`key_by_ref`](crate::api::DataStream::key_by_ref) make.
pub trait KeySelector<T>: UserFunction {
    /// The key.
    type Key: Key;
    /// Shows the key of `record` to `code`.
    fn with_key<R>(&mut self, record: &T, code: impl FnOnce(&Self::Key) -> R) -> R;
}

/// A closure that returns the key.
pub struct ByValue<F, K> {
    function: F,
    _key: PhantomData<fn() -> K>,
}
impl<F, K> ByValue<F, K> {
    pub(crate) fn new(function: F) -> Self {
        ByValue { function, _key: PhantomData }
    }
}
impl<F: Clone, K> Clone for ByValue<F, K> {
    fn clone(&self) -> Self {
        ByValue { function: self.function.clone(), _key: PhantomData }
    }
}
impl<T, K: Key, F: FnMut(&T) -> K + UserFunction> KeySelector<T> for ByValue<F, K> {
    type Key = K;
    #[inline(always)]
    fn with_key<R>(&mut self, record: &T, code: impl FnOnce(&K) -> R) -> R {
        code(&(self.function)(record))
    }
}

/// A closure that returns a reference to the key inside the record.
pub struct ByReference<F, K> {
    function: F,
    _key: PhantomData<fn() -> K>,
}
impl<F, K> ByReference<F, K> {
    pub(crate) fn new(function: F) -> Self {
        ByReference { function, _key: PhantomData }
    }
}
impl<F: Clone, K> Clone for ByReference<F, K> {
    fn clone(&self) -> Self {
        ByReference { function: self.function.clone(), _key: PhantomData }
    }
}
impl<T, K: Key, F: FnMut(&T) -> &K + UserFunction> KeySelector<T> for ByReference<F, K> {
    type Key = K;
    #[inline(always)]
    fn with_key<R>(&mut self, record: &T, code: impl FnOnce(&K) -> R) -> R {
        code((self.function)(record))
    }
}
