//! Registration: lays out one field a state in the rows of an operator, and gives handles.
//!
//! **Invariants**
//! - The row is header (16 bytes), key, then the states in the order of their registration, each
//!   padded to its alignment. A field never moves once a handle was given for it.
//! - Names are unique within an operator; the same name with the same kind, types and TTL gives the
//!   same field again.
//! - A registrar is consumed by the one store that has its rows, so no field is added to rows that
//!   exist.

use std::any::{TypeId, type_name};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::content::{Content, Reading};
use super::expiring::{Expiring, ExpiringList, ExpiringMap, NOW_MS_MIN, Purge};
use super::field_code::FieldCode;
use super::list_content::ListContent;
use super::map_table::MapTable;
use super::place::Place;
use super::row_header::RowHeader;
use super::slot::{Origin, Slot};
use crate::type_name::{HandleName, handle_names, short_type};
use crate::{
    AggregatingState, AggregatingStateDescriptor, Key, ListState, ListStateDescriptor, MapState,
    MapStateDescriptor, ReducingState, ReducingStateDescriptor, Schema, SchemaBuilder,
    SchemaDescription, StateError, StateTtl, StateValue, ValueState, ValueStateDescriptor,
};

/// The most states of one operator: one bit each in the words of a row that say what is there and
/// what has changed.
pub const MAX_STATES: usize = 32;

/// The greatest alignment of a key or a value.
pub const MAX_ALIGNMENT: usize = 16;

/// The widest row. Wider values belong into a `Box`: a row is copied into caches as a whole.
pub const MAX_ROW_BYTES: usize = 64 << 10;

/// The identity of an operator's store: its address, which every handle keeps allocated.
pub(crate) struct OperatorInfo {
    name: Box<str>,
    /// What TTLs take for the present: written by the store's owner, read by handles on the same
    /// thread. Atomic only because handles, which keep this allocated, cross threads; publishes
    /// nothing.
    now_ms: AtomicI64,
}

impl OperatorInfo {
    #[inline]
    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_now_ms(&self, now_ms: i64) {
        self.now_ms.store(now_ms.max(NOW_MS_MIN), Ordering::Relaxed);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// The kinds of keyed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StateKind {
    /// One value.
    Value,
    /// A list of values.
    List,
    /// A map from user keys to user values.
    Map,
    /// One value, folded by a function.
    Reducing,
    /// One accumulator of an aggregate.
    Aggregating,
}

impl StateKind {
    fn handle(self) -> &'static str {
        match self {
            StateKind::Value => "ValueState",
            StateKind::List => "ListState",
            StateKind::Map => "MapState",
            StateKind::Reducing => "ReducingState",
            StateKind::Aggregating => "AggregatingState",
        }
    }
}

/// What is known of a registered state: name, kind and schema, as a manifest keeps them.
#[derive(Clone, Debug)]
pub struct StateInfo {
    name: Box<str>,
    kind: StateKind,
    schema: SchemaDescription,
    ttl: Option<StateTtl>,
}

impl StateInfo {
    /// The state's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state's kind.
    pub fn kind(&self) -> StateKind {
        self.kind
    }

    /// Kind and types, as `ListState<u64>`; of an aggregating state the accumulator's.
    pub fn schema(&self) -> &SchemaDescription {
        &self.schema
    }

    /// How long the state lives; `None` for ever.
    pub fn ttl(&self) -> Option<StateTtl> {
        self.ttl
    }
}

pub(super) struct StateField {
    info: StateInfo,
    /// The type of the handle, which tells kind and types apart in one comparison.
    handle: TypeId,
    /// The type that lies in the rows.
    content: TypeId,
    handle_name: HandleName,
    pub(super) offset: u32,
    pub(super) code: FieldCode,
    /// The state's number in records below; its place among the fields where nothing is attached.
    pub(super) number: u8,
    /// The state's TTL, as records below are given it, and the versions of its schema there.
    pub(super) reading: Reading,
}

impl StateField {
    pub(super) fn info(&self) -> &StateInfo {
        &self.info
    }
}

/// Name, kind and TTL that a descriptor asks for.
type Request<'a> = (&'a str, StateKind, Option<StateTtl>);

/// Takes the descriptors of one operator in `open` and gives handles.
///
/// # Examples
///
/// ```
/// use thalweg_state::{ListStateDescriptor, StateRegistrar, ValueStateDescriptor};
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// let mut registrar = StateRegistrar::new::<u64>("rising");
/// registrar.register_value(&ValueStateDescriptor::<f64>::new("last"))?;
/// let error = registrar.register_list(&ListStateDescriptor::<f64>::new("last")).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "state 'last' was registered as ValueState<f64> by operator 'rising' \
///      and asked for as ListState<f64>; use another name"
/// );
/// # Ok(())
/// # }
/// ```
pub struct StateRegistrar {
    operator: Arc<OperatorInfo>,
    key_type: TypeId,
    key_type_name: &'static str,
    key_alignment: usize,
    fields: Vec<StateField>,
    row_bytes: usize,
    /// The greatest alignment in a row; rows are a multiple of it apart.
    row_alignment: usize,
}

/// What `RowStore` takes over from a registrar.
pub(super) struct RowLayout {
    pub(super) operator: Arc<OperatorInfo>,
    pub(super) fields: Box<[StateField]>,
    pub(super) stride: usize,
}

impl StateRegistrar {
    /// A registrar of the named operator, whose keys are of type `K`.
    pub fn new<K: Key>(operator: &str) -> Self {
        StateRegistrar {
            operator: Arc::new(OperatorInfo { name: operator.into(), now_ms: AtomicI64::new(0) }),
            key_type: TypeId::of::<K>(),
            key_type_name: type_name::<K>(),
            key_alignment: align_of::<K>(),
            fields: Vec::new(),
            row_bytes: size_of::<RowHeader>() + size_of::<K>(),
            row_alignment: align_of::<RowHeader>().max(align_of::<K>()),
        }
    }

    /// The operator's name.
    pub fn operator(&self) -> &str {
        self.operator.name()
    }

    /// The states registered so far, in order.
    pub fn states(&self) -> impl ExactSizeIterator<Item = &StateInfo> {
        self.fields.iter().map(|field| &field.info)
    }

    /// Registers a value state.
    ///
    /// # Errors
    ///
    /// A [`StateError`] if the name is empty or taken by another kind, type or TTL, if the value
    /// does not fit into a row, or if the TTL is less than a millisecond.
    pub fn register_value<V: StateValue>(
        &mut self,
        descriptor: &ValueStateDescriptor<V>,
    ) -> Result<ValueState<V>, StateError> {
        let request = (descriptor.name(), StateKind::Value, descriptor.ttl());
        let place = self.place::<V, Expiring<V>, _>(request, &[V::describe])?;
        Ok(ValueState::new(place))
    }

    /// Registers a list state.
    ///
    /// # Errors
    ///
    /// As [`register_value`](Self::register_value).
    pub fn register_list<V: StateValue>(
        &mut self,
        descriptor: &ListStateDescriptor<V>,
    ) -> Result<ListState<V>, StateError> {
        let request = (descriptor.name(), StateKind::List, descriptor.ttl());
        let place = self.place::<ListContent<V>, ExpiringList<V>, _>(request, &[V::describe])?;
        Ok(ListState::new(place))
    }

    /// Registers a map state.
    ///
    /// # Errors
    ///
    /// As [`register_value`](Self::register_value).
    pub fn register_map<UK: Key, UV: StateValue>(
        &mut self,
        descriptor: &MapStateDescriptor<UK, UV>,
    ) -> Result<MapState<UK, UV>, StateError> {
        let request = (descriptor.name(), StateKind::Map, descriptor.ttl());
        let types = &[<UK as Schema>::describe, UV::describe];
        let place = self.place::<MapTable<UK, UV>, ExpiringMap<UK, UV>, _>(request, types)?;
        Ok(MapState::new(place))
    }

    /// Registers a reducing state.
    ///
    /// # Errors
    ///
    /// As [`register_value`](Self::register_value).
    pub fn register_reducing<V: StateValue>(
        &mut self,
        descriptor: &ReducingStateDescriptor<V>,
    ) -> Result<ReducingState<V>, StateError> {
        let request = (descriptor.name(), StateKind::Reducing, descriptor.ttl());
        let place = self.place::<V, Expiring<V>, _>(request, &[V::describe])?;
        Ok(ReducingState::new(place, descriptor.reduce.clone()))
    }

    /// Registers an aggregating state.
    ///
    /// # Errors
    ///
    /// As [`register_value`](Self::register_value).
    pub fn register_aggregating<IN: 'static, ACC: StateValue, OUT: 'static>(
        &mut self,
        descriptor: &AggregatingStateDescriptor<IN, ACC, OUT>,
    ) -> Result<AggregatingState<IN, ACC, OUT>, StateError> {
        let request = (descriptor.name(), StateKind::Aggregating, descriptor.ttl());
        let place = self.place::<ACC, Expiring<ACC>, _>(request, &[ACC::describe])?;
        Ok(AggregatingState::new(place, descriptor.fold.clone()))
    }

    /// The place of a state that is a `V` in its row, or an `E` if it has a TTL.
    fn place<V: Content, E: Content + Purge, H: 'static>(
        &mut self,
        request: Request<'_>,
        types: &[fn(&mut SchemaBuilder)],
    ) -> Result<Place<V, E, H>, StateError> {
        let (name, _, ttl) = request;
        if let Some(ttl) = ttl.filter(|ttl| ttl.ttl_ms() <= 0) {
            let (state, operator) = (name.into(), self.operator().into());
            return Err(StateError::TtlTooSmall { state, operator, ttl_ms: ttl.ttl_ms() });
        }
        match ttl.and_then(|ttl| ttl.policy()) {
            None => Ok(Place::plain(self.register(request, types, FieldCode::of::<V>())?)),
            Some(policy) => {
                let slot = self.register(request, types, FieldCode::expiring::<E>())?;
                Ok(Place::expiring(slot, policy))
            }
        }
    }

    /// `code` is that of `V`.
    fn register<V: 'static, H: 'static>(
        &mut self,
        (name, kind, ttl): Request<'_>,
        types: &[fn(&mut SchemaBuilder)],
        code: FieldCode,
    ) -> Result<Slot<V, H>, StateError> {
        // A TTL that is switched off is none.
        let ttl = ttl.filter(|ttl| ttl.policy().is_some());
        let index = match self.fields.iter().position(|field| *field.info.name == *name) {
            Some(index) => index,
            None => {
                self.check_room::<V, H>(name)?;
                let schema = describe_state(kind, types);
                let info = StateInfo { name: name.into(), kind, schema, ttl };
                self.add_field::<V, H>(info, code);
                self.fields.len() - 1
            }
        };
        let field = &self.fields[index];
        let (handle, content) = (TypeId::of::<H>(), TypeId::of::<V>());
        if field.handle != handle || field.info.ttl != ttl || field.content != content {
            return Err(self.registered_as_other::<H>(field, ttl));
        }
        let origin = Origin { state: field.info.name.clone(), operator: self.operator.clone() };
        // SAFETY: the content's type was just compared: `add_field` gave the field aligned,
        // disjoint bytes for a V; `RowStore` makes rows by this layout and clears presence bits of
        // new ones.
        Ok(unsafe { Slot::new(Arc::new(origin), index, field.offset) })
    }

    fn check_room<V, H>(&self, name: &str) -> Result<(), StateError> {
        if name.is_empty() {
            let requested = short_type::<H>().into();
            return Err(StateError::EmptyName { operator: self.operator().into(), requested });
        }
        if self.fields.len() == MAX_STATES {
            let (state, operator) = (name.into(), self.operator().into());
            return Err(StateError::TooManyStates { state, operator, limit: MAX_STATES });
        }
        let what = || format!("state '{name}' ({})", short_type::<H>());
        self.check_alignment(align_of::<V>(), what)?;
        let row_bytes = self.row_bytes.next_multiple_of(align_of::<V>());
        self.check_width(row_bytes.saturating_add(size_of::<V>()), what)
    }

    fn check_alignment(
        &self,
        alignment_bytes: usize,
        what: impl Fn() -> String,
    ) -> Result<(), StateError> {
        if alignment_bytes <= MAX_ALIGNMENT {
            return Ok(());
        }
        Err(StateError::AlignmentTooLarge {
            what: what().into(),
            operator: self.operator().into(),
            alignment_bytes,
            limit_bytes: MAX_ALIGNMENT,
        })
    }

    fn check_width(&self, row_bytes: usize, what: impl Fn() -> String) -> Result<(), StateError> {
        if row_bytes <= MAX_ROW_BYTES {
            return Ok(());
        }
        Err(StateError::RowTooWide {
            what: what().into(),
            operator: self.operator().into(),
            row_bytes,
            limit_bytes: MAX_ROW_BYTES,
        })
    }

    /// Called after `check_room`.
    fn add_field<V: 'static, H: 'static>(&mut self, info: StateInfo, code: FieldCode) {
        let offset = self.row_bytes.next_multiple_of(align_of::<V>());
        self.row_bytes = offset + size_of::<V>();
        self.row_alignment = self.row_alignment.max(align_of::<V>());
        self.fields.push(StateField {
            number: self.fields.len() as u8,
            reading: Reading {
                ttl_ms: info.ttl.as_ref().map(StateTtl::record_ms),
                ..Reading::default()
            },
            info,
            handle: TypeId::of::<H>(),
            content: TypeId::of::<V>(),
            handle_name: HandleName::of::<H>(),
            offset: offset as u32,
            code,
        });
    }

    #[cold]
    fn registered_as_other<H>(&self, field: &StateField, ttl: Option<StateTtl>) -> StateError {
        let suffix =
            |ttl: Option<StateTtl>| ttl.map_or_else(String::new, |ttl| format!(" with {ttl}"));
        let (registered, requested) = (suffix(field.info.ttl), suffix(ttl));
        let (registered, requested) =
            handle_names(field.handle_name, HandleName::of::<H>(), (&registered, &requested));
        StateError::RegisteredAsOther {
            state: field.info.name.clone(),
            operator: self.operator().into(),
            registered,
            requested,
        }
    }

    /// The finished layout, if the keys are of type `K`.
    pub(super) fn finish<K: Key>(self) -> Result<RowLayout, StateError> {
        if self.key_type != TypeId::of::<K>() {
            return Err(StateError::OtherKeyType {
                operator: self.operator().into(),
                registered: self.key_type_name,
                requested: type_name::<K>(),
            });
        }
        let what = || format!("key type {}", short_type::<K>());
        self.check_alignment(self.key_alignment, what)?;
        let stride = self.row_bytes.next_multiple_of(self.row_alignment);
        self.check_width(stride, what)?;
        let fields = self.fields.into_boxed_slice();
        Ok(RowLayout { operator: self.operator, fields, stride })
    }
}

impl std::fmt::Debug for StateRegistrar {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let states: Vec<_> = self.states().collect();
        formatter
            .debug_struct("StateRegistrar")
            .field("operator", &self.operator())
            .field("states", &states)
            .finish_non_exhaustive()
    }
}

fn describe_state(kind: StateKind, types: &[fn(&mut SchemaBuilder)]) -> SchemaDescription {
    let mut builder = SchemaBuilder::new();
    builder.container(kind.handle(), types);
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowStore;

    #[test]
    fn the_same_state_twice_is_the_same_field() {
        let mut registrar = StateRegistrar::new::<u64>("twice");
        let descriptor = ValueStateDescriptor::<u64>::new("n");
        let first = registrar.register_value(&descriptor).unwrap();
        let second = registrar.register_value(&descriptor).unwrap();
        assert_eq!(registrar.states().len(), 1);
        let mut rows = RowStore::<u64>::new(registrar).unwrap();
        let (mut cursor, _) = rows.enter(crate::KeyHash::of(&1_u64), &1).unwrap();
        first.update(&mut cursor, 5).unwrap();
        assert_eq!(second.value(&cursor).unwrap(), Some(5));
    }

    #[test]
    fn other_kinds_and_types_are_refused_by_name() {
        let mut registrar = StateRegistrar::new::<u64>("op");
        registrar.register_list(&ListStateDescriptor::<u64>::new("x")).unwrap();
        let as_value = registrar.register_value(&ValueStateDescriptor::<Vec<u64>>::new("x"));
        assert_eq!(
            as_value.unwrap_err().to_string(),
            "state 'x' was registered as ListState<u64> by operator 'op' and asked for as \
             ValueState<Vec<u64>>; use another name"
        );
        let as_map = registrar.register_map(&MapStateDescriptor::<u64, String>::new("x"));
        assert!(as_map.unwrap_err().to_string().contains("MapState<u64, String>"));
        let info = registrar.states().next().unwrap();
        assert_eq!((info.name(), info.kind()), ("x", StateKind::List));
        assert_eq!(info.schema().text(), "ListState<u64>");
    }

    #[derive(Clone)]
    struct Count;

    impl crate::AggregateFunction<String> for Count {
        type Accumulator = u64;
        type Result = u64;
        fn create_accumulator(&self) -> u64 {
            0
        }
        fn add(&self, accumulator: &mut u64, _: &String) {
            *accumulator += 1;
        }
        fn result(&self, accumulator: &u64) -> u64 {
            *accumulator
        }
        fn merge(&self, into: &mut u64, other: &u64) {
            *into += other;
        }
    }

    /// Registers a state of kind `kind` under the name `x`.
    fn register(
        registrar: &mut StateRegistrar,
        kind: usize,
        ttl: Option<StateTtl>,
    ) -> Result<(), StateError> {
        macro_rules! descriptor {
            ($descriptor:expr) => {
                match ttl {
                    Some(ttl) => $descriptor.with_ttl(ttl),
                    None => $descriptor,
                }
            };
        }
        let value = descriptor!(ValueStateDescriptor::<u64>::new("x"));
        let list = descriptor!(ListStateDescriptor::<u64>::new("x"));
        let map = descriptor!(MapStateDescriptor::<u64, u64>::new("x"));
        let add = |a: &mut u64, b| *a += b;
        let reducing = descriptor!(ReducingStateDescriptor::<u64>::new("x", add));
        let aggregating = descriptor!(AggregatingStateDescriptor::new("x", Count));
        match kind {
            0 => registrar.register_value(&value).map(drop),
            1 => registrar.register_list(&list).map(drop),
            2 => registrar.register_map(&map).map(drop),
            3 => registrar.register_reducing(&reducing).map(drop),
            _ => registrar.register_aggregating(&aggregating).map(drop),
        }
    }

    /// Name, kind, types and TTL are the identity of a state.
    #[test]
    fn all_kinds_and_ttls_clash_by_name() {
        let names = [
            "ValueState<u64>",
            "ListState<u64>",
            "MapState<u64, u64>",
            "ReducingState<u64>",
            "AggregatingState<String, u64, u64>",
        ];
        let ttls = [None, Some(StateTtl::after_ms(5)), Some(StateTtl::after_ms(6))];
        let suffix =
            |ttl: Option<StateTtl>| ttl.map_or(String::new(), |ttl| format!(" with {ttl}"));
        for (first, second) in (0..15).flat_map(|first| (0..15).map(move |second| (first, second)))
        {
            let mut registrar = StateRegistrar::new::<u64>("op");
            register(&mut registrar, first % 5, ttls[first / 5]).unwrap();
            let again = register(&mut registrar, second % 5, ttls[second / 5]);
            assert_eq!(again.is_ok(), first == second);
            let Err(error) = again else { continue };
            let text = |state: usize| format!("{}{}", names[state % 5], suffix(ttls[state / 5]));
            let expected = format!(
                "state 'x' was registered as {} by operator 'op' and asked for as {}; use another name",
                text(first),
                text(second)
            );
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn ttls_of_no_time_are_refused() {
        let mut registrar = StateRegistrar::new::<u64>("op");
        for kind in 0..5 {
            for ttl_ms in [0, -1, i64::MIN] {
                let error = register(&mut registrar, kind, Some(StateTtl::after_ms(ttl_ms)));
                assert_eq!(
                    error.unwrap_err().to_string(),
                    format!(
                        "state 'x' of operator 'op' has a TTL of {ttl_ms} ms; give at least 1 ms, or no TTL"
                    )
                );
            }
        }
        let ttl = StateTtl::after(std::time::Duration::from_micros(10));
        assert!(register(&mut registrar, 0, Some(ttl)).is_err());
        assert_eq!(registrar.states().len(), 0);
    }

    mod other {
        pub(super) type Same = super::LocalRecord<2>;
    }

    /// Two types of one name; const arguments stand for two modules' records.
    #[derive(Clone, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
    struct LocalRecord<const N: usize>(u64);

    impl<const N: usize> Schema for LocalRecord<N> {
        fn describe(out: &mut SchemaBuilder) {
            out.structure::<Self>("LocalRecord", |fields| fields.field::<u64>("0"));
        }

        fn hash_key(&self, hasher: &mut crate::KeyHasher) {
            self.0.hash_key(hasher);
        }
    }

    #[test]
    fn generic_records_are_told_apart() {
        let mut registrar = StateRegistrar::new::<u64>("op");
        registrar.register_value(&ValueStateDescriptor::<LocalRecord<1>>::new("x")).unwrap();
        let error = registrar.register_value(&ValueStateDescriptor::<other::Same>::new("x"));
        assert!(matches!(error, Err(StateError::RegisteredAsOther { .. })));
    }

    #[test]
    fn limits_are_typed_errors() {
        let mut registrar = StateRegistrar::new::<u64>("op");
        let empty = registrar.register_value(&ValueStateDescriptor::<u64>::new(""));
        assert!(matches!(empty, Err(StateError::EmptyName { .. })));
        let wide = registrar.register_value(&ValueStateDescriptor::<[u64; 8192]>::new("wide"));
        assert!(matches!(wide, Err(StateError::RowTooWide { row_bytes: 65_560, .. })));
        for index in 0..MAX_STATES {
            let descriptor = ValueStateDescriptor::<u8>::new(format!("s{index}"));
            registrar.register_value(&descriptor).unwrap();
        }
        let more = registrar.register_value(&ValueStateDescriptor::<u8>::new("s32"));
        assert!(matches!(more, Err(StateError::TooManyStates { limit: 32, .. })));
        assert!(registrar.register_value(&ValueStateDescriptor::<u8>::new("s31")).is_ok());
        let other = RowStore::<u32>::new(registrar);
        assert!(matches!(other, Err(StateError::OtherKeyType { .. })));
    }
}
