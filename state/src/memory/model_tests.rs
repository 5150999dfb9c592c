//! Random operations on rows against a BTreeMap, with values that count their births and drops.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::test_random::SplitMix64;
use crate::{
    Key, KeyHash, KeyHasher, ListState, ListStateDescriptor, MapState, MapStateDescriptor, RowId,
    RowStore, Schema, SchemaBuilder, StateError, StateRegistrar, ValueState, ValueStateDescriptor,
};

thread_local! {
    pub(super) static ALIVE: Cell<i64> = const { Cell::new(0) };
    /// Makes the next default or clone of a `Counted` panic.
    static PANIC_NEXT: Cell<bool> = const { Cell::new(false) };
}

/// Owns heap memory and knows how many of its kind are alive on this thread.
#[derive(Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(super) struct Counted(pub(super) Box<u64>);

impl Counted {
    pub(super) fn new(value: u64) -> Self {
        if PANIC_NEXT.replace(false) {
            panic!("injected");
        }
        ALIVE.set(ALIVE.get() + 1);
        Counted(Box::new(value))
    }
}

impl Default for Counted {
    fn default() -> Self {
        Counted::new(0)
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Counted::new(*self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.set(ALIVE.get() - 1);
    }
}

impl Schema for Counted {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("Counted");
    }

    fn hash_key(&self, hasher: &mut KeyHasher) {
        self.0.hash_key(hasher);
    }
}

#[derive(Default, Clone, Debug, PartialEq)]
struct ModelRow {
    value: Option<u64>,
    list: Vec<u64>,
    map: BTreeMap<u64, u64>,
    small: Option<u8>,
    pins: u32,
}

impl ModelRow {
    fn is_empty(&self) -> bool {
        *self == ModelRow::default()
    }
}

struct Fixture {
    rows: RowStore<Counted>,
    value: ValueState<Counted>,
    list: ListState<Counted>,
    map: MapState<Counted, Counted>,
    small: ValueState<u8>,
    model: BTreeMap<u64, ModelRow>,
}

impl Fixture {
    fn new() -> Self {
        let mut registrar = StateRegistrar::new::<Counted>("model");
        let small = registrar.register_value(&ValueStateDescriptor::new("small")).unwrap();
        let value = registrar.register_value(&ValueStateDescriptor::new("value")).unwrap();
        let list = registrar.register_list(&ListStateDescriptor::new("list")).unwrap();
        let map = registrar.register_map(&MapStateDescriptor::new("map")).unwrap();
        let rows = RowStore::new(registrar).unwrap();
        Fixture { rows, value, list, map, small, model: BTreeMap::new() }
    }

    fn step(&mut self, random: &mut SplitMix64, keys: u64) -> Result<(), StateError> {
        let (number, argument) = (random.below(keys), random.below(100));
        let key = Counted::new(number);
        let hash = key.key_hash();
        self.rows.hint(hash);
        self.rows.hint_row(hash);
        let (mut ctx, _) = self.rows.enter(hash, &key)?;
        let row = ctx.row_id().expect("attached");
        let model = self.model.entry(number).or_default();
        match random.below(17) {
            0 => {
                self.value.update(&mut ctx, Counted::new(argument))?;
                model.value = Some(argument);
            }
            1 => {
                self.value.modify(&mut ctx, |value| *value.0 += argument)?;
                *model.value.get_or_insert(0) += argument;
            }
            2 | 3 => {
                self.value.clear(&mut ctx)?;
                model.value = None;
            }
            4 => {
                self.list.add(&mut ctx, Counted::new(argument))?;
                model.list.push(argument);
            }
            5 => {
                self.list.add_all(&mut ctx, (0..argument % 3).map(Counted::new))?;
                model.list.extend(0..argument % 3);
            }
            6 => {
                self.list.update(&mut ctx, (0..argument % 4).map(Counted::new).collect())?;
                model.list = (0..argument % 4).collect();
            }
            7 | 8 => {
                self.list.clear(&mut ctx)?;
                model.list.clear();
            }
            9 => {
                self.map.put(&mut ctx, Counted::new(argument % 5), Counted::new(argument))?;
                model.map.insert(argument % 5, argument);
            }
            10 => {
                self.map.modify(&mut ctx, &Counted::new(argument % 5), |value| *value.0 += 1)?;
                *model.map.entry(argument % 5).or_insert(0) += 1;
            }
            11 => {
                let removed = self.map.remove(&mut ctx, &Counted::new(argument % 5))?;
                assert_eq!(removed.map(|value| *value.0), model.map.remove(&(argument % 5)));
            }
            12 => {
                self.map.retain(&mut ctx, |key, _| *key.0 % 2 == argument % 2)?;
                model.map.retain(|key, _| key % 2 == argument % 2);
            }
            13 => {
                self.map.clear(&mut ctx)?;
                self.small.clear(&mut ctx)?;
                (model.map, model.small) = (BTreeMap::new(), None);
            }
            14 => {
                self.small.update(&mut ctx, argument as u8)?;
                model.small = Some(argument as u8);
            }
            15 => {
                ctx.pin();
                model.pins += 1;
            }
            _ => {
                ctx.unpin();
                model.pins = model.pins.saturating_sub(1);
            }
        }
        if model.is_empty() {
            self.model.remove(&number);
        }
        self.rows.release(row);
        Ok(())
    }

    fn check(&mut self) {
        assert_eq!(self.rows.len(), self.model.len());
        let found: Vec<(RowId, u64)> = self
            .rows
            .iter()
            .map(|(row, hash, key)| {
                assert_eq!(hash, key.key_hash());
                (row, *key.0)
            })
            .collect();
        assert_eq!(found.len(), self.model.len());
        let mut expected_alive = 0;
        for (row, number) in found {
            let model = &self.model[&number];
            let found = self.rows.find(KeyHash::of(&number), &Counted::new(number)).unwrap();
            assert_eq!(found, Some(row));
            assert_eq!(self.rows.key(row).map(|key| *key.0), Some(number));
            let (ctx, _) = self.rows.cursor(row).unwrap();
            let value = self.value.with_ref(&ctx, |value| value.map(|value| *value.0)).unwrap();
            assert_eq!(value, model.value);
            let list: Vec<u64> =
                self.list.iter(&ctx, |values| values.map(|value| *value.0).collect()).unwrap();
            assert_eq!(list, model.list);
            let map: BTreeMap<u64, u64> =
                self.map.iter(&ctx, |all| all.map(|(k, v)| (*k.0, *v.0)).collect()).unwrap();
            assert_eq!(map, model.map);
            assert_eq!(self.small.value(&ctx).unwrap(), model.small);
            expected_alive +=
                1 + usize::from(model.value.is_some()) + model.list.len() + 2 * model.map.len();
        }
        assert_eq!(ALIVE.get(), expected_alive as i64, "nothing leaked, nothing dropped twice");
    }
}

#[test]
fn rows_behave_like_a_map() {
    for (seed, keys, steps) in [(1, 5, 20_000), (2, 300, 60_000), (3, 20_000, 120_000)] {
        let mut random = SplitMix64::new(seed);
        let mut fixture = Fixture::new();
        for step in 0..steps {
            fixture.step(&mut random, keys).unwrap();
            if step % 5_000 == 0 {
                fixture.check();
            }
        }
        fixture.check();
        drop(fixture);
        assert_eq!(ALIVE.get(), 0, "seed {seed}");
    }
}

/// Panics of user code at every step: nothing is dropped twice, and all can be dropped afterwards.
#[test]
fn panics_of_user_types_leave_rows_sound() {
    let mut random = SplitMix64::new(9);
    let mut fixture = Fixture::new();
    let mut panics = 0;
    for step in 0..20_000_u64 {
        let key = Counted::new(random.below(50));
        let hash = key.key_hash();
        PANIC_NEXT.set(step % 3 == 0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let (mut ctx, _) = fixture.rows.enter(hash, &key).unwrap();
            match step % 4 {
                0 => fixture.value.modify(&mut ctx, |value| *value.0 += 1).unwrap(),
                1 => fixture.map.modify(&mut ctx, &key, |value| *value.0 += 1).unwrap(),
                2 => drop(fixture.value.value(&ctx).unwrap()),
                _ => drop(fixture.list.add_all(&mut ctx, [0, 1].map(Counted::new))),
            }
        }));
        PANIC_NEXT.set(false);
        panics += u32::from(outcome.is_err());
        if step % 7 == 0
            && let Ok(Some(row)) = fixture.rows.find(hash, &key)
        {
            let (mut ctx, _) = fixture.rows.cursor(row).unwrap();
            fixture.value.clear(&mut ctx).unwrap();
            fixture.map.clear(&mut ctx).unwrap();
            fixture.list.clear(&mut ctx).unwrap();
            fixture.rows.release(row);
        }
    }
    assert!(panics > 1_000, "{panics}");
    drop(fixture);
    assert_eq!(ALIVE.get(), 0);
}

#[test]
fn rows_of_cleared_keys_are_used_again() {
    let mut fixture = Fixture::new();
    for number in 0..1_000_000_u64 {
        let key = Counted::new(number);
        let (mut ctx, _) = fixture.rows.enter(key.key_hash(), &key).unwrap();
        let row = ctx.row_id().unwrap();
        fixture.value.update(&mut ctx, Counted::new(number)).unwrap();
        fixture.value.clear(&mut ctx).unwrap();
        fixture.rows.release(row);
    }
    assert!(fixture.rows.is_empty());
    assert!(fixture.rows.memory_bytes() < 300 << 10, "{}", fixture.rows.memory_bytes());
}

#[test]
fn freed_and_foreign_rows_are_typed_errors() {
    let mut fixture = Fixture::new();
    let key = Counted::new(1);
    let row = fixture.rows.find_or_insert(key.key_hash(), &key).unwrap();
    assert!(fixture.rows.cursor(row).is_ok());
    fixture.rows.release(row);
    for row in [row, RowId::for_test(77), RowId::for_test(u32::MAX)] {
        assert!(matches!(fixture.rows.cursor(row), Err(StateError::NoSuchRow { .. })));
        assert!(fixture.rows.key(row).is_none());
        fixture.rows.release(row);
    }
}

#[test]
fn pinned_rows_stay() {
    let mut fixture = Fixture::new();
    let key = Counted::new(1);
    let (mut ctx, _) = fixture.rows.enter(key.key_hash(), &key).unwrap();
    let row = ctx.row_id().unwrap();
    ctx.pin();
    fixture.rows.release(row);
    let (mut ctx, stored) = fixture.rows.cursor(row).unwrap();
    assert_eq!(*stored.0, 1);
    ctx.unpin();
    fixture.rows.release(row);
    assert!(fixture.rows.is_empty());
}

#[test]
fn borrowed_keys_find_owned_ones() {
    let mut registrar = StateRegistrar::new::<String>("borrowed");
    let count = registrar.register_value(&ValueStateDescriptor::<u64>::new("n")).unwrap();
    let mut rows = RowStore::<String>::new(registrar).unwrap();
    for name in ["ann", "bob", "ann"] {
        let hash = KeyHash::of(name);
        let (cursor, _) = rows.enter_by(hash, |key| key == name, || name.into()).unwrap();
        let row = cursor.row_id().unwrap();
        let (mut ctx, _) = rows.cursor(row).unwrap();
        count.modify(&mut ctx, |n| *n += 1).unwrap();
    }
    let row = rows.find("ann".to_string().key_hash(), &"ann".to_string()).unwrap().unwrap();
    assert_eq!(count.value(&rows.cursor(row).unwrap().0).unwrap(), Some(2));
}

#[test]
fn keys_and_values_of_alignment_16_are_placed_right() {
    let mut registrar = StateRegistrar::new::<(u8, u128)>("aligned");
    let byte = registrar.register_value(&ValueStateDescriptor::<u8>::new("byte")).unwrap();
    let wide = registrar.register_value(&ValueStateDescriptor::<u128>::new("wide")).unwrap();
    let nothing = registrar.register_value(&ValueStateDescriptor::<()>::new("nothing")).unwrap();
    let mut rows = RowStore::<(u8, u128)>::new(registrar).unwrap();
    for number in 0..20_000_u128 {
        let key = (number as u8, number);
        let (mut ctx, _) = rows.enter(key.key_hash(), &key).unwrap();
        byte.update(&mut ctx, number as u8).unwrap();
        wide.update(&mut ctx, number).unwrap();
        nothing.update(&mut ctx, ()).unwrap();
    }
    assert!(rows.is_deep());
    for number in 0..20_000_u128 {
        let key = (number as u8, number);
        rows.hint(key.key_hash());
        rows.hint_row(key.key_hash());
        let (ctx, stored) = rows.enter(key.key_hash(), &key).unwrap();
        assert_eq!(*stored, key);
        assert!(
            wide.with_ref(&ctx, |value| value.is_some_and(|v| (&raw const *v).is_aligned()))
                .unwrap()
        );
        assert_eq!(wide.value(&ctx).unwrap(), Some(number));
        assert_eq!(byte.value(&ctx).unwrap(), Some(number as u8));
        assert_eq!(nothing.value(&ctx).unwrap(), Some(()));
    }
}

/// Equal hashes for all keys: rows are told apart by equality alone.
#[test]
fn colliding_hashes_are_told_apart() {
    let registrar = StateRegistrar::new::<u64>("collisions");
    let mut rows = RowStore::<u64>::new(registrar).unwrap();
    let hash = KeyHash::from_u32(42);
    let found: Vec<_> = (0..200).map(|key| rows.find_or_insert(hash, &key).unwrap()).collect();
    for key in (0..200).step_by(2) {
        rows.release(found[key]);
    }
    for key in 0..200 {
        assert_eq!(rows.find(hash, &key).unwrap().is_some(), key % 2 == 1, "{key}");
    }
}

/// Visits come in row order, may change and clear state, and free what is left empty.
#[test]
fn visits_change_rows_and_free_empty_ones() {
    use crate::KeyedState;
    let mut registrar = StateRegistrar::new::<u64>("visits");
    let value = registrar.register_value(&ValueStateDescriptor::<u64>::new("value")).unwrap();
    let list = registrar.register_list(&ListStateDescriptor::<u64>::new("list")).unwrap();
    let mut rows = RowStore::<u64>::new(registrar).unwrap();
    for key in (0..1_000).rev() {
        let (mut ctx, _) = rows.enter(key.key_hash(), &key).unwrap();
        match key % 3 {
            0 => value.update(&mut ctx, key).unwrap(),
            1 => list.add(&mut ctx, key).unwrap(),
            _ => {}
        }
        let row = ctx.row_id().unwrap();
        rows.release(row);
    }
    let mut seen = Vec::new();
    rows.visit_rows(|mut ctx, key| {
        assert_eq!(value.is_present(&ctx)?, key % 3 == 0);
        assert_eq!(list.is_present(&ctx)?, key % 3 == 1);
        seen.push(*key);
        list.clear(&mut ctx)
    })
    .unwrap();
    let expected: Vec<u64> = (0..1_000).rev().filter(|key| key % 3 < 2).collect();
    assert_eq!(seen, expected);
    assert_eq!(rows.len(), 334);
    // It stops at the first error, which leaves the rest alone.
    let mut visits = 0;
    let stopped = rows.visit_rows(|mut ctx, key| {
        visits += 1;
        value.clear(&mut ctx)?;
        let stop = || StateError::EmptyName { operator: "stop".into(), requested: "".into() };
        if *key == 990 { Err(stop()) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(StateError::EmptyName { .. })));
    assert_eq!((visits, rows.len()), (4, 330));
}

/// Presence is told alike for all kinds, with and without a TTL; what has expired counts until it is removed.
#[test]
fn presence_is_told_for_all_kinds() {
    use crate::{KeyedState, ReducingStateDescriptor, StateTtl};
    let mut registrar = StateRegistrar::new::<u64>("presence");
    let ttl = StateTtl::after_ms(10);
    let map = MapStateDescriptor::<u64, u64>::new("map").with_ttl(ttl);
    let map = registrar.register_map(&map).unwrap();
    let sum = ReducingStateDescriptor::<u64>::new("sum", |sum: &mut u64, n: u64| *sum += n);
    let sum = registrar.register_reducing(&sum).unwrap();
    let mut rows = RowStore::<u64>::new(registrar).unwrap();
    let (mut ctx, _) = rows.enter(1.key_hash(), &1).unwrap();
    assert!(!map.is_present(&ctx).unwrap() && !sum.is_present(&ctx).unwrap());
    map.put(&mut ctx, 2, 3).unwrap();
    sum.add(&mut ctx, 4).unwrap();
    rows.set_now_ms(100);
    let mut visits = 0;
    rows.visit_rows(|ctx, _| {
        visits += 1;
        assert!(map.is_present(&ctx)? && sum.is_present(&ctx)?);
        assert_eq!(map.get(&ctx, &2)?, None);
        Ok::<_, StateError>(())
    })
    .unwrap();
    assert_eq!(visits, 1);
    assert!(MapState::<u64, u64>::default().is_present(&crate::RowCursor::detached()).is_err());
}
