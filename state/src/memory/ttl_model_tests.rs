//! Random operations on states with a TTL, under a clock that moves, against the plainest statement
//! of Flink's rules; values count their births and drops.

use std::collections::BTreeMap;

use super::model_tests::{ALIVE, Counted};
use crate::test_random::SplitMix64;
use crate::{
    AggregateFunction, AggregatingState, AggregatingStateDescriptor, Key, ListState,
    ListStateDescriptor, MapState, MapStateDescriptor, ReducingState, ReducingStateDescriptor,
    RowCursor, RowStore, StateError, StateRegistrar, StateTtl, TtlUpdate, TtlVisibility,
    ValueState, ValueStateDescriptor,
};

const TTL_MS: i64 = 100;

#[derive(Clone)]
struct CountAndSum;

impl AggregateFunction<u64> for CountAndSum {
    type Accumulator = (u64, u64);
    type Result = Vec<u64>;
    fn create_accumulator(&self) -> (u64, u64) {
        (0, 0)
    }
    fn add(&self, accumulator: &mut (u64, u64), record: &u64) {
        accumulator.0 += 1;
        accumulator.1 += record;
    }
    fn result(&self, accumulator: &(u64, u64)) -> Vec<u64> {
        vec![accumulator.0, accumulator.1]
    }
    fn merge(&self, into: &mut (u64, u64), other: &(u64, u64)) {
        into.0 += other.0;
        into.1 += other.1;
    }
}

/// A value and the time of its last update.
type Dated<T> = (T, i64);

/// Flink's rules.
#[derive(Clone, Copy)]
struct Rules {
    on_read: bool,
    returns_expired: bool,
    now_ms: i64,
}

impl Rules {
    fn expired<T>(self, dated: &Dated<T>) -> bool {
        self.now_ms >= dated.1 + TTL_MS
    }

    /// A read of one value: whether it stays, and whether it is given.
    fn read<T>(self, dated: &mut Dated<T>) -> (bool, bool) {
        if self.expired(dated) {
            return (false, self.returns_expired);
        }
        if self.on_read {
            dated.1 = self.now_ms;
        }
        (true, true)
    }

    fn read_value<T: Clone>(self, slot: &mut Option<Dated<T>>) -> Option<T> {
        let dated = slot.as_mut()?;
        let ((stays, given), value) = (self.read(dated), dated.0.clone());
        if !stays {
            *slot = None;
        }
        given.then_some(value)
    }

    /// The value that a write goes on from.
    fn write_from<T: Clone>(self, slot: &Option<Dated<T>>) -> Option<T> {
        let dated = slot.as_ref()?;
        (self.returns_expired || !self.expired(dated)).then(|| dated.0.clone())
    }

    fn read_list(self, list: &mut Vec<Dated<u64>>) -> Vec<u64> {
        let read = list.iter().filter(|dated| self.returns_expired || !self.expired(dated));
        let read = read.map(|dated| dated.0).collect();
        if list.iter().all(|dated| self.expired(dated)) {
            list.clear();
        } else if self.on_read {
            list.retain(|dated| !self.expired(dated));
            list.iter_mut().for_each(|dated| dated.1 = self.now_ms);
        }
        read
    }

    fn read_map(self, map: &mut BTreeMap<u64, Dated<u64>>) -> Vec<(u64, u64)> {
        let mut read = Vec::new();
        map.retain(|key, dated| {
            let (stays, given) = self.read(dated);
            if given {
                read.push((*key, dated.0));
            }
            stays
        });
        read
    }
}

#[derive(Default, Clone, Debug, PartialEq)]
struct ModelRow {
    value: Option<Dated<u64>>,
    list: Vec<Dated<u64>>,
    map: BTreeMap<u64, Dated<u64>>,
    reducing: Option<Dated<u64>>,
    aggregating: Option<Dated<(u64, u64)>>,
    plain: Option<u64>,
}

struct Fixture {
    rows: Option<RowStore<u64>>,
    value: ValueState<Counted>,
    list: ListState<Counted>,
    map: MapState<u64, Counted>,
    reducing: ReducingState<Counted>,
    aggregating: AggregatingState<u64, (u64, u64), Vec<u64>>,
    plain: ValueState<u64>,
    model: BTreeMap<u64, ModelRow>,
    rules: Rules,
}

impl Fixture {
    fn new(update: TtlUpdate, visibility: TtlVisibility) -> Self {
        let ttl = StateTtl::after_ms(TTL_MS).update(update).visibility(visibility);
        let mut registrar = StateRegistrar::new::<u64>("ttl");
        let value = ValueStateDescriptor::new("value").with_ttl(ttl);
        let list = ListStateDescriptor::new("list").with_ttl(ttl);
        let map = MapStateDescriptor::new("map").with_ttl(ttl);
        let add = |a: &mut Counted, b: Counted| *a.0 += *b.0;
        let reducing = ReducingStateDescriptor::new("reducing", add).with_ttl(ttl);
        let aggregating = AggregatingStateDescriptor::new("agg", CountAndSum).with_ttl(ttl);
        let rules = Rules {
            on_read: update == TtlUpdate::OnReadAndWrite,
            returns_expired: visibility == TtlVisibility::ReturnExpiredIfNotCleanedUp,
            now_ms: -500,
        };
        Fixture {
            value: registrar.register_value(&value).unwrap(),
            list: registrar.register_list(&list).unwrap(),
            plain: registrar.register_value(&ValueStateDescriptor::new("plain")).unwrap(),
            map: registrar.register_map(&map).unwrap(),
            reducing: registrar.register_reducing(&reducing).unwrap(),
            aggregating: registrar.register_aggregating(&aggregating).unwrap(),
            rows: Some(RowStore::new(registrar).unwrap()),
            model: BTreeMap::new(),
            rules,
        }
    }

    fn step(&mut self, random: &mut SplitMix64) -> Result<(), StateError> {
        self.rules.now_ms += match random.below(20) {
            0 => random.below(250) as i64,
            1..10 => random.below(30) as i64,
            _ => 0,
        };
        let key = random.below(30);
        let mut model = self.model.remove(&key).unwrap_or_default();
        let mut rows = self.rows.take().expect("put back after each step");
        rows.set_now_ms(self.rules.now_ms);
        assert!(rows.has_ttl());
        let (mut ctx, _) = rows.enter(key.key_hash(), &key)?;
        let row = ctx.row_id().expect("attached");
        // Several operations in one context: what reads have removed is not purged between them.
        for _ in 0..=random.below(3) {
            match random.below(5) {
                0 => self.step_value(&mut ctx, &mut model, random)?,
                1 => self.step_list(&mut ctx, &mut model, random)?,
                2 | 3 => self.step_map(&mut ctx, &mut model, random)?,
                _ => self.step_folding(&mut ctx, &mut model, random)?,
            }
        }
        rows.release(row);
        let row_count = self.rows.insert(rows).len();
        if model != ModelRow::default() {
            self.model.insert(key, model);
        }
        assert_eq!(row_count, self.model.len(), "rows without state are given back");
        Ok(())
    }

    fn step_value(
        &self,
        ctx: &mut RowCursor<'_>,
        model: &mut ModelRow,
        random: &mut SplitMix64,
    ) -> Result<(), StateError> {
        let (rules, argument) = (self.rules, random.below(1_000));
        match random.below(9) {
            0 | 1 => {
                self.value.update(ctx, Counted::new(argument))?;
                model.value = Some((argument, rules.now_ms));
            }
            2 => {
                self.value.modify(ctx, |value| *value.0 += argument)?;
                let old = rules.write_from(&model.value).unwrap_or(0);
                model.value = Some((old + argument, rules.now_ms));
            }
            3 => {
                let taken = self.value.take(ctx)?.map(|value| *value.0);
                assert_eq!(taken, rules.read_value(&mut model.value));
                model.value = None;
            }
            4 if argument < 300 => {
                self.value.clear(ctx)?;
                model.value = None;
            }
            5 => {
                self.plain.update(ctx, argument)?;
                model.plain = Some(argument);
            }
            6 => {
                assert_eq!(self.plain.take(ctx)?, model.plain.take());
            }
            _ => {
                let read = self.value.value(ctx)?.map(|value| *value.0);
                assert_eq!(read, rules.read_value(&mut model.value));
            }
        }
        Ok(())
    }

    fn step_list(
        &self,
        ctx: &mut RowCursor<'_>,
        model: &mut ModelRow,
        random: &mut SplitMix64,
    ) -> Result<(), StateError> {
        let (rules, argument) = (self.rules, random.below(1_000));
        let dated = |value| (value, rules.now_ms);
        match random.below(8) {
            0..3 => {
                self.list.add(ctx, Counted::new(argument))?;
                model.list.push(dated(argument));
            }
            3 => {
                let count = argument % 3;
                self.list.add_all(ctx, (0..count).map(Counted::new))?;
                model.list.extend((0..count).map(dated));
            }
            4 if argument < 300 => {
                let count = argument % 3;
                self.list.update(ctx, (0..count).map(Counted::new).collect())?;
                model.list = (0..count).map(dated).collect();
            }
            5 if argument < 100 => {
                self.list.clear(ctx)?;
                model.list.clear();
            }
            6 => assert_eq!(self.list.len(ctx)?, rules.read_list(&mut model.list).len()),
            _ => {
                let read: Vec<_> = self.list.get(ctx)?.iter().map(|value| *value.0).collect();
                assert_eq!(read, rules.read_list(&mut model.list));
            }
        }
        Ok(())
    }

    fn step_map(
        &self,
        ctx: &mut RowCursor<'_>,
        model: &mut ModelRow,
        random: &mut SplitMix64,
    ) -> Result<(), StateError> {
        let (rules, key, argument) = (self.rules, random.below(5), random.below(1_000));
        let map = &mut model.map;
        match random.below(11) {
            0..3 => {
                self.map.put(ctx, key, Counted::new(argument))?;
                map.insert(key, (argument, rules.now_ms));
            }
            3 => {
                self.map.modify(ctx, &key, |value| *value.0 += argument)?;
                let old = rules.write_from(&map.get(&key).copied()).unwrap_or(0);
                map.insert(key, (old + argument, rules.now_ms));
            }
            4 => {
                let removed = self.map.remove(ctx, &key)?.map(|value| *value.0);
                assert_eq!(removed, rules.write_from(&map.remove(&key)));
            }
            5 => {
                let mut slot = map.remove(&key);
                let read = rules.read_value(&mut slot);
                map.extend(slot.map(|dated| (key, dated)));
                if argument % 2 == 0 {
                    assert_eq!(self.map.get(ctx, &key)?.map(|value| *value.0), read);
                } else {
                    assert_eq!(self.map.contains(ctx, &key)?, read.is_some());
                }
            }
            6 => assert_eq!(self.map.is_empty(ctx)?, map.is_empty()),
            7 => {
                let keep = |value: u64| !value.is_multiple_of(4);
                self.map.retain(ctx, |_, value| keep(*value.0))?;
                rules.read_map(map);
                map.retain(|_, dated| keep(dated.0));
            }
            8 => {
                self.map.for_each_mut(ctx, |key, value| *value.0 += key)?;
                map.retain(|_, dated| rules.returns_expired || !rules.expired(dated));
                map.iter_mut().for_each(|(key, dated)| *dated = (dated.0 + key, rules.now_ms));
            }
            9 if argument < 100 => {
                self.map.clear(ctx)?;
                map.clear();
            }
            _ => {
                let entries = self.map.entries(ctx)?;
                let mut read: Vec<_> =
                    entries.iter().map(|(key, value)| (*key, *value.0)).collect();
                read.sort_unstable();
                assert_eq!(read, rules.read_map(map));
            }
        }
        Ok(())
    }

    fn step_folding(
        &self,
        ctx: &mut RowCursor<'_>,
        model: &mut ModelRow,
        random: &mut SplitMix64,
    ) -> Result<(), StateError> {
        let (rules, argument) = (self.rules, random.below(1_000));
        match random.below(7) {
            0 | 1 => {
                self.reducing.add(ctx, Counted::new(argument))?;
                let old = rules.write_from(&model.reducing).unwrap_or(0);
                model.reducing = Some((old + argument, rules.now_ms));
            }
            2 => {
                let read = self.reducing.get(ctx)?.map(|value| *value.0);
                assert_eq!(read, rules.read_value(&mut model.reducing));
            }
            3 | 4 => {
                self.aggregating.add(ctx, argument)?;
                let old = rules.write_from(&model.aggregating).unwrap_or((0, 0));
                model.aggregating = Some(((old.0 + 1, old.1 + argument), rules.now_ms));
            }
            5 if argument < 200 => {
                self.reducing.clear(ctx)?;
                self.aggregating.clear(ctx)?;
                (model.reducing, model.aggregating) = (None, None);
            }
            _ => {
                let expected = rules.read_value(&mut model.aggregating);
                let expected = expected.map(|(count, sum)| vec![count, sum]);
                assert_eq!(self.aggregating.get(ctx)?, expected);
            }
        }
        Ok(())
    }
}

#[test]
fn states_with_a_ttl_behave_like_flinks() {
    for update in [TtlUpdate::OnCreateAndWrite, TtlUpdate::OnReadAndWrite] {
        for visibility in
            [TtlVisibility::NeverReturnExpired, TtlVisibility::ReturnExpiredIfNotCleanedUp]
        {
            for seed in 0..3 {
                let (mut fixture, mut random) =
                    (Fixture::new(update, visibility), SplitMix64::new(seed));
                for step in 0..12_000 {
                    let stepped = fixture.step(&mut random);
                    stepped.unwrap_or_else(|error| panic!("{seed} {step}: {error}"));
                }
                drop(fixture);
                assert_eq!(ALIVE.get(), 0, "every value is dropped once");
            }
        }
    }
}
