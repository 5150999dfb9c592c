//! `scan`: one typed value of state a key, in a table next to its key.
//!
//! One lookup a record and one cache line a key at most sizes: the fastest keyed operator. `reduce` and the rolling
//! aggregates are made of it.

use crate::Result;
use crate::function::KeySelector;
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::keyed::{KeyedLogic, Logic};
use crate::operator::keyed_store::{KeyedStore, open_flat};
use crate::operator::{Push, StageContext, UserCall};
use crate::record::CheckpointId;
use std::marker::PhantomData;
use std::rc::Rc;
use thalweg_state::{FlatStore, Key, KeyHash, StateValue};

/// See the module docs.
pub(crate) struct Scan<S, K: Key, A: StateValue, F, U> {
    selector: S,
    initial: A,
    function: F,
    table: FlatStore<K, A>,
    /// Where the table lies that is not in memory.
    store: Option<KeyedStore>,
    stage: Rc<StageContext>,
    node: NodeId,
    _out: PhantomData<fn() -> U>,
}

impl<S, K: Key, A: StateValue, F, U> Scan<S, K, A, F, U> {
    pub(crate) fn open(
        (selector, initial, function): (S, A, F),
        context: &BuildContext,
        node: NodeId,
    ) -> Result<Self> {
        let (store, stage) = (context.open_keyed_store(node)?, context.stage.clone());
        let table = open_flat(store.as_ref(), "scan")?;
        Ok(Scan { selector, initial, function, table, store, stage, node, _out: PhantomData })
    }
}

impl<S, K, A, F, U> KeyedLogic for Scan<S, K, A, F, U>
where
    S: 'static,
    K: Key,
    A: StateValue,
    F: 'static,
    U: 'static,
{
    type Out = U;

    fn is_deep(&mut self) -> bool {
        self.table.is_deep()
    }
    fn maintain(&mut self) -> Result {
        match &mut self.store {
            None => Ok(()),
            Some(store) => store.maintain(&mut [&mut self.table]),
        }
    }
    fn snapshot(&mut self, checkpoint: CheckpointId) {
        if let Some(store) = &mut self.store {
            store.snapshot(checkpoint, &mut [&mut self.table]);
        }
    }
}

impl<T, S, A, F, U> Logic<T> for Scan<S, S::Key, A, F, U>
where
    T: 'static,
    S: KeySelector<T>,
    A: StateValue + Clone,
    F: FnMut(&mut A, T) -> U + 'static,
    U: 'static,
{
    #[inline(always)]
    fn apply<D: Push<U>>(&mut self, hash: u32, record: T, timestamp: i64, next: &mut D) {
        let Scan { selector, initial, function, table, stage, node, .. } = self;
        let call = UserCall::begin(stage, node);
        let hash = KeyHash::from_u32(hash);
        let state = selector
            .with_key(&record, |key| table.find_or_insert_with(hash, key, || initial.clone()));
        match state {
            Ok(state) => {
                let result = function(state, record);
                call.end();
                next.push(result, timestamp);
            }
            Err(error) => {
                call.end();
                stage.fail(*node, error.into());
            }
        }
    }

    fn has_unloaded(&self) -> bool {
        self.table.has_unloaded()
    }
    fn request(&mut self, hash: u32, record: &T) -> Result {
        let (table, hash) = (&mut self.table, KeyHash::from_u32(hash));
        Ok(self.selector.with_key(record, |key| table.request(hash, key))?)
    }
    fn load_requested(&mut self) -> Result {
        Ok(self.table.load_requested()?)
    }

    #[inline(always)]
    fn hint(&self, hash: u32) {
        self.table.hint(KeyHash::from_u32(hash));
    }
}
