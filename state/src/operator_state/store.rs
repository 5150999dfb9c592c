//! The store of one operator in one subtask: owns its states by name.
//!
//! **Invariants**
//! - `states[i]` holds the container type that handles of number `i` name; it is checked again at
//!   every use, by a comparison of types.
//! - States are never taken out, so the numbers in handles stay valid.

use std::any::{Any, TypeId};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::ordered_table::OrderedTable;
use super::snapshot::{Element, OTHER_STATE, RestoredState, SnapshotWriter, changed, read_share};
use super::{BroadcastState, OperatorListState};
use crate::type_name::{HandleName, handle_names};
use crate::{
    Evolution, Key, ListStateDescriptor, MapStateDescriptor, OldType, SchemaBuilder,
    SchemaDescription, StateError, StateTtl, StateValue,
};

/// How a list of an operator is dealt out when its parallelism changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Redistribution {
    /// The elements of all subtasks are dealt out evenly; each goes to one subtask.
    Split,
    /// Every subtask gets the elements of all subtasks.
    Union,
}

/// The kinds of operator state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperatorStateKind {
    /// A list, with the way it is dealt out.
    List(Redistribution),
    /// A map that is the same in every subtask.
    Broadcast,
}

impl OperatorStateKind {
    pub(super) fn suffix(self) -> &'static str {
        match self {
            OperatorStateKind::List(Redistribution::Split) => " (split)",
            OperatorStateKind::List(Redistribution::Union) => " (union)",
            OperatorStateKind::Broadcast => "",
        }
    }
}

/// What is known of a registered operator state, as a manifest keeps it.
#[derive(Clone, Debug)]
pub struct OperatorStateInfo {
    name: Box<str>,
    kind: OperatorStateKind,
    schema: SchemaDescription,
}

impl OperatorStateInfo {
    /// The state's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state's kind.
    pub fn kind(&self) -> OperatorStateKind {
        self.kind
    }

    /// Kind and types, as `BroadcastState<String,u64>`.
    pub fn schema(&self) -> &SchemaDescription {
        &self.schema
    }
}

/// The identity of a store: its address, which every handle keeps allocated.
struct Identity {
    operator: Box<str>,
}

struct Held {
    info: OperatorStateInfo,
    /// The type of the handle, which tells container and types.
    handle: TypeId,
    handle_name: HandleName,
    container: Box<dyn Any>,
    /// Of the container's type.
    archive: Archive,
}

/// Writes the elements of a container behind the state's description.
type Archive = fn(&Held, &mut SnapshotWriter) -> Result<(), StateError>;

/// What a container is made of, and how it is written.
trait Container: Any + Sized {
    /// A container of these elements, which may have been written as another type.
    fn load(elements: &[Element], old: Option<OldType<'_>>) -> Result<Self, StateError>;
    /// Writes the state.
    fn archive(&self, info: &OperatorStateInfo, out: &mut SnapshotWriter)
    -> Result<(), StateError>;
}

fn read<V: StateValue>(value: &[u8], old: Option<OldType<'_>>) -> Result<V, StateError> {
    match old {
        None => V::from_archived(value),
        Some(old) => V::from_old(old, value),
    }
}

impl<V: StateValue> Container for Vec<V> {
    fn load(elements: &[Element], old: Option<OldType<'_>>) -> Result<Self, StateError> {
        elements.iter().map(|(_, value)| read(value, old)).collect()
    }

    fn archive(
        &self,
        info: &OperatorStateInfo,
        out: &mut SnapshotWriter,
    ) -> Result<(), StateError> {
        info.begin(self.len(), out);
        self.iter().try_for_each(|value| {
            out.part(&value.to_archived()?);
            Ok(())
        })
    }
}

impl<K: Key, V: StateValue> Container for OrderedTable<K, V> {
    fn load(elements: &[Element], old: Option<OldType<'_>>) -> Result<Self, StateError> {
        let mut table = OrderedTable::default();
        for (key, value) in elements {
            drop(table.insert(K::from_archived(key)?, read(value, old)?));
        }
        Ok(table)
    }

    fn archive(
        &self,
        info: &OperatorStateInfo,
        out: &mut SnapshotWriter,
    ) -> Result<(), StateError> {
        info.begin(self.len(), out);
        self.slots().flatten().try_for_each(|(key, value)| {
            out.part(&key.to_archived()?);
            out.part(&value.to_archived()?);
            Ok(())
        })
    }
}

impl OperatorStateInfo {
    fn begin(&self, element_count: usize, out: &mut SnapshotWriter) {
        let OperatorStateInfo { name, kind, schema } = self;
        out.state((*kind, schema.fingerprint().0), (name, schema.text()), element_count);
    }
}

fn archive<C: Container>(held: &Held, out: &mut SnapshotWriter) -> Result<(), StateError> {
    let container = held.container.downcast_ref::<C>();
    container.expect("it is of the type that it was made with").archive(&held.info, out)
}

/// The operator state of one operator in one subtask.
///
/// It has one owner and stays on its thread. While nothing is registered it holds a name alone.
///
/// # Examples
///
/// ```
/// use thalweg_state::{ListStateDescriptor, MapStateDescriptor, OperatorStateStore, Redistribution};
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// let mut states = OperatorStateStore::new("rules");
/// let rules = states.register_broadcast(&MapStateDescriptor::<String, u64>::new("rules"))?;
/// let offsets = ListStateDescriptor::<u64>::new("offsets");
/// let offsets = states.register_list(&offsets, Redistribution::Split)?;
/// rules.put(&mut states, "limit".into(), 10)?;
/// offsets.add(&mut states, 42)?;
/// assert_eq!(rules.get(&states, &"limit".into())?, Some(10));
/// let error = states.register_broadcast(&MapStateDescriptor::<u64, u64>::new("rules"));
/// assert_eq!(
///     error.unwrap_err().to_string(),
///     "state 'rules' was registered as BroadcastState<String, u64> by operator 'rules' \
///      and asked for as BroadcastState<u64, u64>; use another name"
/// );
/// # Ok(())
/// # }
/// ```
pub struct OperatorStateStore {
    identity: Arc<Identity>,
    states: Vec<Held>,
    /// Of the checkpoint, and not registered yet.
    restored: Vec<RestoredState>,
    is_restored: bool,
}

impl OperatorStateStore {
    /// The empty store of the named operator.
    pub fn new(operator: &str) -> Self {
        OperatorStateStore {
            identity: Arc::new(Identity { operator: operator.into() }),
            states: Vec::new(),
            restored: Vec::new(),
            is_restored: false,
        }
    }

    /// The store of a subtask, of as many as say `parallelism`, with what it takes of the
    /// [snapshots](Self::snapshot) of all subtasks that there were, in order; without snapshots it is
    /// [`new`](Self::new). States come back when they are registered. Of a list of
    /// [`Redistribution::Split`] a subtask takes its own elements if there are as many as before, and
    /// otherwise a stretch of all; of one of [`Redistribution::Union`] it takes all, also if nothing has
    /// changed; and of a broadcast map its own entries, or those of another.
    ///
    /// # Errors
    ///
    /// [`StateError::MalformedOperatorState`]; [`StateError::OperatorStateChanged`] if the subtasks had
    /// one name for different states.
    ///
    /// # Panics
    ///
    /// If there is no such subtask.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg_state::{ListStateDescriptor, OperatorStateStore, Redistribution};
    /// # fn main() -> Result<(), thalweg_state::StateError> {
    /// let buffered = ListStateDescriptor::<u64>::new("buffered");
    /// let mut states = OperatorStateStore::new("sink");
    /// let list = states.register_list(&buffered, Redistribution::Split)?;
    /// list.add_all(&mut states, [1, 2, 3])?;
    /// let snapshot = states.snapshot()?;
    ///
    /// let mut states = OperatorStateStore::restored("sink", &[&snapshot], 1, 2)?;
    /// let list = states.register_list(&buffered, Redistribution::Split)?;
    /// assert_eq!(list.get(&states)?, [3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn restored(
        operator: &str,
        snapshots: &[&[u8]],
        subtask: usize,
        parallelism: usize,
    ) -> Result<Self, StateError> {
        assert!(
            subtask < parallelism,
            "there are {parallelism} subtasks, and no subtask {subtask}"
        );
        let restored = read_share(operator, snapshots, (subtask, parallelism))?;
        let is_restored = !snapshots.is_empty();
        Ok(OperatorStateStore { restored, is_restored, ..OperatorStateStore::new(operator) })
    }

    /// Whether it was made of snapshots.
    pub fn is_restored(&self) -> bool {
        self.is_restored
    }

    /// All states as bytes, for [`restored`](Self::restored).
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses a value.
    pub fn snapshot(&self) -> Result<Vec<u8>, StateError> {
        let mut out = SnapshotWriter::new(self.states.len() + self.restored.len());
        self.states.iter().try_for_each(|held| (held.archive)(held, &mut out))?;
        self.restored.iter().for_each(|state| out.restored(state));
        Ok(out.finish())
    }

    /// Registers a list of the operator.
    ///
    /// # Errors
    ///
    /// A [`StateError`] if the name is empty or taken by a state of another kind, type or
    /// redistribution, also in the checkpoint, or if the descriptor has a TTL.
    pub fn register_list<V: StateValue>(
        &mut self,
        descriptor: &ListStateDescriptor<V>,
        redistribution: Redistribution,
    ) -> Result<OperatorListState<V>, StateError> {
        let kind = OperatorStateKind::List(redistribution);
        let described = || describe("OperatorListState", &[V::describe]);
        let request = (descriptor.name(), descriptor.ttl(), kind);
        let slot = self.register::<Vec<V>, _>(request, described)?;
        Ok(OperatorListState::new(slot))
    }

    /// Registers a broadcast map.
    ///
    /// # Errors
    ///
    /// As [`register_list`](Self::register_list).
    pub fn register_broadcast<K: Key, V: StateValue>(
        &mut self,
        descriptor: &MapStateDescriptor<K, V>,
    ) -> Result<BroadcastState<K, V>, StateError> {
        let described =
            || describe("BroadcastState", &[<K as crate::Schema>::describe, V::describe]);
        let request = (descriptor.name(), descriptor.ttl(), OperatorStateKind::Broadcast);
        let slot = self.register::<OrderedTable<K, V>, _>(request, described)?;
        Ok(BroadcastState::new(slot))
    }

    /// The operator's name.
    pub fn operator(&self) -> &str {
        &self.identity.operator
    }

    /// The states registered so far, in order.
    pub fn states(&self) -> impl ExactSizeIterator<Item = &OperatorStateInfo> {
        self.states.iter().map(|held| &held.info)
    }

    fn register<C: Container, H: 'static>(
        &mut self,
        (name, ttl, kind): (&str, Option<StateTtl>, OperatorStateKind),
        describe: impl FnOnce() -> SchemaDescription,
    ) -> Result<OperatorSlot<C, H>, StateError> {
        let handle_name = HandleName::of::<H>();
        self.check::<H>(name, ttl)?;
        let index = match self.states.iter().position(|held| *held.info.name == *name) {
            Some(index) => index,
            None => {
                let info = OperatorStateInfo { name: name.into(), kind, schema: describe() };
                let (handle, container) = (TypeId::of::<H>(), self.take_restored::<C>(&info)?);
                let archive = archive::<C>;
                self.states.push(Held { info, handle, handle_name, container, archive });
                self.states.len() - 1
            }
        };
        let held = &self.states[index];
        if held.handle != TypeId::of::<H>() || held.info.kind != kind {
            return Err(self.registered_as_other(held, handle_name, kind));
        }
        let origin = Origin { state: name.into(), identity: self.identity.clone() };
        Ok(OperatorSlot { index, origin: Some(Arc::new(origin)), types: PhantomData })
    }

    /// What the checkpoint has of a state.
    fn take_restored<C: Container>(
        &mut self,
        info: &OperatorStateInfo,
    ) -> Result<Box<dyn Any>, StateError> {
        let Some(at) = self.restored.iter().position(|state| state.name == info.name) else {
            return Ok(Box::new(C::load(&[], None)?));
        };
        let (state, fingerprint) = (&self.restored[at], info.schema.fingerprint().0);
        let refused = |remedy: String| {
            let found = (info.kind, info.schema.text(), fingerprint);
            changed(self.operator(), state, found, remedy)
        };
        if state.kind != info.kind {
            return Err(refused(OTHER_STATE.to_owned()));
        }
        let mut evolution = None;
        if state.fingerprint != fingerprint {
            let between = Evolution::between(&state.types, &info.schema);
            evolution = Some(between.map_err(|source| refused(source.to_string()))?);
        }
        let whole = evolution.as_ref().map(Evolution::old_type);
        let value = whole.and_then(|whole| match info.kind {
            OperatorStateKind::List(_) => whole.argument(0),
            OperatorStateKind::Broadcast => whole.argument(1),
        });
        let container = C::load(&state.elements, value)?;
        self.restored.remove(at);
        Ok(Box::new(container))
    }

    fn check<H>(&self, name: &str, ttl: Option<StateTtl>) -> Result<(), StateError> {
        let requested = || HandleName::of::<H>().short().into();
        if name.is_empty() {
            let operator = self.operator().into();
            return Err(StateError::EmptyName { operator, requested: requested() });
        }
        if ttl.is_some() {
            return Err(StateError::TtlOfOperatorState {
                state: name.into(),
                operator: self.operator().into(),
                requested: requested(),
            });
        }
        Ok(())
    }

    #[cold]
    fn registered_as_other(
        &self,
        held: &Held,
        requested: HandleName,
        kind: OperatorStateKind,
    ) -> StateError {
        let suffixes = (held.info.kind.suffix(), kind.suffix());
        let (registered, requested) = handle_names(held.handle_name, requested, suffixes);
        StateError::RegisteredAsOther {
            state: held.info.name.clone(),
            operator: self.operator().into(),
            registered,
            requested,
        }
    }
}

impl fmt::Debug for OperatorStateStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states: Vec<_> = self.states().collect();
        formatter
            .debug_struct("OperatorStateStore")
            .field("operator", &self.operator())
            .field("states", &states)
            .finish()
    }
}

fn describe(name: &str, types: &[fn(&mut SchemaBuilder)]) -> SchemaDescription {
    let mut builder = SchemaBuilder::new();
    builder.container(name, types);
    builder.finish()
}

struct Origin {
    state: Box<str>,
    identity: Arc<Identity>,
}

/// Where a container of type `C` is in the store that made the handle `H`.
pub(super) struct OperatorSlot<C, H> {
    index: usize,
    origin: Option<Arc<Origin>>,
    types: PhantomData<fn(C, H) -> C>,
}

impl<C, H> OperatorSlot<C, H> {
    pub(super) fn name(&self) -> Option<&str> {
        self.origin.as_ref().map(|origin| &*origin.state)
    }
}

impl<C: 'static, H> OperatorSlot<C, H> {
    pub(super) fn get<'s>(&self, store: &'s OperatorStateStore) -> Result<&'s C, StateError> {
        if self.is_of(store)
            && let Some(held) = store.states.get(self.index)
            && let Some(container) = held.container.downcast_ref()
        {
            return Ok(container);
        }
        Err(self.misuse(store))
    }

    pub(super) fn get_mut<'s>(
        &self,
        store: &'s mut OperatorStateStore,
    ) -> Result<&'s mut C, StateError> {
        if !self.is_of(store) {
            return Err(self.misuse(store));
        }
        let held = store.states.get_mut(self.index);
        let container = held.and_then(|held| held.container.downcast_mut());
        Ok(container.expect("a handle's number and type are those of the state it was made for"))
    }

    fn is_of(&self, store: &OperatorStateStore) -> bool {
        self.origin.as_ref().is_some_and(|origin| Arc::ptr_eq(&origin.identity, &store.identity))
    }

    #[cold]
    fn misuse(&self, store: &OperatorStateStore) -> StateError {
        let Some(origin) = &self.origin else {
            return StateError::HandleNotOpened { handle: HandleName::of::<H>().short().into() };
        };
        StateError::OtherOperator {
            state: origin.state.clone(),
            operator: origin.identity.operator.clone(),
            used_in: store.operator().into(),
        }
    }
}

impl<C, H> Default for OperatorSlot<C, H> {
    fn default() -> Self {
        OperatorSlot { index: 0, origin: None, types: PhantomData }
    }
}

impl<C, H> Clone for OperatorSlot<C, H> {
    fn clone(&self) -> Self {
        OperatorSlot { origin: self.origin.clone(), ..*self }
    }
}

impl<C, H> fmt::Debug for OperatorSlot<C, H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name().unwrap_or("unopened"))
    }
}
