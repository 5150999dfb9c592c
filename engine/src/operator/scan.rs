//! `scan`: one typed value of state a key, in a table next to its key.
//!
//! One lookup a record and one cache line a key at most sizes: the fastest keyed operator. `reduce` and the rolling
//! aggregates are made of it.

use crate::function::KeySelector;
use crate::graph::NodeId;
use crate::operator::keyed::{KeyedLogic, Logic};
use crate::operator::{Push, StageContext, UserCall};
use std::marker::PhantomData;
use std::rc::Rc;
use thalweg_state::{Key, KeyHash, PrefetchTable};

/// See the module docs.
pub(crate) struct Scan<S, K, A, F, U> {
    selector: S,
    initial: A,
    function: F,
    table: PrefetchTable<(K, A)>,
    stage: Rc<StageContext>,
    node: NodeId,
    _out: PhantomData<fn() -> U>,
}

impl<S, K, A, F, U> Scan<S, K, A, F, U> {
    pub(crate) fn new(
        selector: S,
        initial: A,
        function: F,
        stage: Rc<StageContext>,
        node: NodeId,
    ) -> Self {
        let table = PrefetchTable::new();
        Scan { selector, initial, function, table, stage, node, _out: PhantomData }
    }
}

impl<S, K, A, F, U> KeyedLogic for Scan<S, K, A, F, U>
where
    S: 'static,
    K: 'static,
    A: 'static,
    F: 'static,
    U: 'static,
{
    type Out = U;

    fn is_deep(&mut self) -> bool {
        self.table.is_deep()
    }
}

impl<T, S, A, F, U> Logic<T> for Scan<S, S::Key, A, F, U>
where
    T: 'static,
    S: KeySelector<T>,
    A: Clone + 'static,
    F: FnMut(&mut A, T) -> U + 'static,
    U: 'static,
{
    #[inline(always)]
    fn apply<D: Push<U>>(&mut self, hash: u32, record: T, timestamp: i64, next: &mut D) {
        let Scan { selector, initial, function, table, stage, node, .. } = self;
        let call = UserCall::begin(stage, *node);
        let entry = selector.with_key(&record, |key| {
            table.find_or_insert_with(
                KeyHash::from_u32(hash),
                |entry| entry.0 == *key,
                |entry| entry.0.key_hash(),
                || (key.clone(), initial.clone()),
            )
        });
        let result = function(&mut entry.1, record);
        call.end();
        next.push(result, timestamp);
    }

    #[inline(always)]
    fn hint(&self, hash: u32) {
        self.table.hint(KeyHash::from_u32(hash));
    }
}
