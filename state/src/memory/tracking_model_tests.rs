//! Random operations on rows whose changes go to a persistent tier, against a BTreeMap that is
//! copied at every barrier: whatever was finished is what a restart finds.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::row_store::RowStore;
use crate::backend::{
    DeltaBlock, MemoryTier, PartitionLayout, RowAddress, RowVisitor, ScanVisitor, TableStore, Tier,
};
use crate::codec::TableId;
use crate::test_random::SplitMix64;
use crate::{
    Epoch, Key, KeyGroup, KeyGroupRange, KeyHash, Namespaced, ReducingState,
    ReducingStateDescriptor, StateError, StateRegistrar, ValueState, ValueStateDescriptor,
};

/// A tier that takes its time: what is finished becomes readable when the test says so.
#[derive(Debug)]
struct LateTier {
    tier: MemoryTier,
    finished: VecDeque<(TableId, Epoch)>,
    reads: usize,
}

impl LateTier {
    fn new(tier: MemoryTier) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(LateTier { tier, finished: VecDeque::new(), reads: 0 }))
    }

    /// Makes the oldest finished epoch readable.
    fn settle(&mut self) {
        if let Some((table, epoch)) = self.finished.pop_front() {
            self.tier.finish(table, epoch).unwrap();
        }
    }
}

impl Tier for LateTier {
    fn append(&mut self, block: DeltaBlock) -> Result<(), StateError> {
        self.tier.append(block)
    }

    fn finish(&mut self, table: TableId, epoch: Epoch) -> Result<(), StateError> {
        self.finished.push_back((table, epoch));
        Ok(())
    }

    fn readable_epoch(&self) -> Epoch {
        self.tier.readable_epoch()
    }

    fn has_rows(&self, table: TableId) -> bool {
        self.tier.has_rows(table)
    }

    fn may_hold(&self, table: TableId, group: KeyGroup, hash: KeyHash) -> bool {
        self.tier.may_hold(table, group, hash)
    }

    fn read_rows(
        &mut self,
        table: TableId,
        rows: &[RowAddress<'_>],
        visit: RowVisitor<'_>,
    ) -> Result<(), StateError> {
        self.reads += 1;
        self.tier.read_rows(table, rows, visit)
    }

    fn scan(
        &mut self,
        table: TableId,
        range: KeyGroupRange,
        visit: ScanVisitor<'_>,
    ) -> Result<(), StateError> {
        self.tier.scan(table, range, visit)
    }

    fn set_now_ms(&mut self, now_ms: i64) {
        self.tier.set_now_ms(now_ms);
    }
}

/// Keys of the test, made from numbers.
trait TestKey: Key {
    fn make(number: u64) -> Self;
}

impl TestKey for u64 {
    fn make(number: u64) -> Self {
        number
    }
}

impl TestKey for String {
    fn make(number: u64) -> Self {
        "k".repeat(number as usize % 30) + &number.to_string()
    }
}

impl TestKey for Namespaced<String, (i64, i64)> {
    fn make(number: u64) -> Self {
        Namespaced { key: String::make(number / 3), namespace: (number as i64 % 3, -1) }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct ModelRow {
    count: Option<u64>,
    text: Option<String>,
    sum: Option<u64>,
    pins: u32,
}

impl ModelRow {
    fn has_state(&self) -> bool {
        self.count.is_some() || self.text.is_some() || self.sum.is_some()
    }
}

type Model = BTreeMap<u64, ModelRow>;

/// What of a model a restart finds.
fn stored(model: &Model) -> Model {
    let rows = model.iter().filter(|(_, row)| row.has_state());
    rows.map(|(number, row)| (*number, ModelRow { pins: 0, ..row.clone() })).collect()
}

struct Fixture<K: Key> {
    rows: RowStore<K>,
    count: ValueState<u64>,
    text: ValueState<String>,
    sum: ReducingState<u64>,
    tier: Rc<RefCell<LateTier>>,
    model: Model,
    /// What was stored at barriers whose epochs are not readable yet, and of the last that is.
    ended: VecDeque<(Epoch, Model)>,
    readable: Model,
    numbers: BTreeMap<Vec<u8>, u64>,
}

impl<K: TestKey> Fixture<K> {
    fn new(tier: MemoryTier, model: Model) -> Self {
        let mut registrar = StateRegistrar::new::<K>("model");
        let sum = |sum: &mut u64, n: u64| *sum += n;
        let count = registrar.register_value(&ValueStateDescriptor::new("count")).unwrap();
        let sum = registrar.register_reducing(&ReducingStateDescriptor::new("sum", sum)).unwrap();
        let text = registrar.register_value(&ValueStateDescriptor::new("text")).unwrap();
        let layout = PartitionLayout::new(KeyGroupRange { start: 0, end: 16 }, 16);
        let epoch = tier.readable_epoch().next();
        let tier = LateTier::new(tier);
        let table = TableStore::new(TableId(3), layout, epoch, tier.clone());
        let rows = RowStore::attached(registrar, table, &[4, 200, 0]).unwrap();
        let numbers = (0..300).map(|n| (K::make(n).to_archived().unwrap().to_vec(), n)).collect();
        let (ended, readable) = (VecDeque::new(), model.clone());
        Fixture { rows, count, text, sum, tier, model, ended, readable, numbers }
    }

    fn step(&mut self, random: &mut SplitMix64, keys: u64) {
        match random.below(1_000) {
            0..4 => {
                let epoch = self.rows.barrier().unwrap().unwrap();
                self.ended.push_back((epoch, stored(&self.model)));
            }
            4..24 => drop(self.rows.beat(random.below(40) as usize).unwrap()),
            24..28 => self.tier.borrow_mut().settle(),
            28..40 => {
                for _ in 0..random.below(10) {
                    let key = K::make(random.below(keys));
                    self.rows.request(key.key_hash(), &key).unwrap();
                }
                if random.below(4) > 0 {
                    self.rows.load_requested().unwrap();
                }
            }
            40..42 => drop(self.rows.restore_step().unwrap()),
            42..50 => {
                let number = random.below(keys);
                let key = K::make(number);
                let found = self.rows.find(key.key_hash(), &key).unwrap();
                assert_eq!(found.is_some(), self.model.contains_key(&number), "{number}");
            }
            50 => self.visit_all(random),
            _ => self.change(random, random_number(keys)),
        }
        let readable = self.tier.borrow().tier.readable_epoch();
        while self.ended.front().is_some_and(|(epoch, _)| *epoch <= readable) {
            self.readable = self.ended.pop_front().map(|ended| ended.1).unwrap();
        }
    }

    fn change(&mut self, random: &mut SplitMix64, number: impl Fn(&mut SplitMix64) -> u64) {
        let number = number(random);
        let key = K::make(number);
        self.rows.hint_row(key.key_hash());
        let (mut ctx, _) = self.rows.enter(key.key_hash(), &key).unwrap();
        let row = ctx.row_id().unwrap();
        let model = self.model.entry(number).or_default();
        let argument = random.below(50);
        match random.below(12) {
            0..3 => {
                self.count.modify(&mut ctx, |n| *n += argument).unwrap();
                *model.count.get_or_insert(0) += argument;
            }
            3 => {
                let text = "x".repeat(argument as usize);
                self.text.update(&mut ctx, text.clone()).unwrap();
                model.text = Some(text);
            }
            4 => {
                self.sum.add(&mut ctx, argument).unwrap();
                model.sum = Some(model.sum.map_or(argument, |sum| sum + argument));
            }
            5 | 6 => {
                self.count.clear(&mut ctx).unwrap();
                model.count = None;
            }
            7 => {
                assert_eq!(self.text.take(&mut ctx).unwrap(), model.text.take());
            }
            8 => {
                self.sum.clear(&mut ctx).unwrap();
                self.count.clear(&mut ctx).unwrap();
                self.text.clear(&mut ctx).unwrap();
                *model = ModelRow { pins: model.pins, ..ModelRow::default() };
            }
            9 => {
                ctx.pin();
                model.pins += 1;
            }
            10 => {
                ctx.unpin();
                model.pins = model.pins.saturating_sub(1);
            }
            _ => {
                assert_eq!(self.count.value(&ctx).unwrap(), model.count);
                assert_eq!(self.text.value(&ctx).unwrap(), model.text);
                assert_eq!(self.sum.get(&ctx).unwrap(), model.sum);
            }
        }
        if *model == ModelRow::default() {
            self.model.remove(&number);
        }
        self.rows.release(row);
    }

    /// Reads every row, resident or not, and changes some.
    fn visit_all(&mut self, random: &mut SplitMix64) {
        let (count, text, sum) = (&self.count, &self.text, &self.sum);
        let mut found = Model::new();
        let (model, numbers) = (&mut self.model, &self.numbers);
        self.rows
            .visit_rows(|mut ctx, key| {
                let number = numbers[key.to_archived()?.as_slice()];
                let row = ModelRow {
                    count: count.value(&ctx)?,
                    text: text.value(&ctx)?,
                    sum: sum.get(&ctx)?,
                    pins: model[&number].pins,
                };
                assert!(found.insert(number, row.clone()).is_none(), "visited twice");
                assert_eq!(row, model[&number], "{number}");
                if random.below(10) == 0 {
                    count.update(&mut ctx, 1)?;
                    model.get_mut(&number).unwrap().count = Some(1);
                }
                Ok::<_, StateError>(())
            })
            .unwrap();
        assert_eq!(found.len(), self.model.len());
        assert!(!self.rows.has_unloaded());
        assert_eq!(self.rows.len(), self.model.len());
    }

    /// Ends this process: a new one finds what was readable.
    fn restart(self) -> Self {
        let mut tier = self.tier.borrow().tier.clone();
        tier.forget_unfinished();
        Fixture::new(tier, self.readable)
    }
}

fn random_number(keys: u64) -> impl Fn(&mut SplitMix64) -> u64 {
    // A third of the changes goes to a few keys.
    move |random| {
        let bound = if random.below(3) == 0 { keys.min(7) } else { keys };
        random.below(bound)
    }
}

fn run<K: TestKey>(seed: u64, steps: u64) {
    let random = &mut SplitMix64::new(seed);
    let mut fixture = Fixture::<K>::new(MemoryTier::new(), Model::new());
    for step in 0..steps {
        let keys = if step / 5_000 % 2 == 0 { 300 } else { 20 };
        fixture.step(random, keys);
        if random.below(3_000) == 0 {
            fixture = fixture.restart();
        }
        if random.below(6_000) == 0 {
            fixture.visit_all(random);
        }
    }
    while !fixture.rows.beat(7).unwrap().is_done() {}
    let last = fixture.rows.barrier().unwrap().unwrap();
    assert_eq!(fixture.rows.beat(usize::MAX).unwrap().epochs_unfinished, 0);
    while fixture.tier.borrow().tier.readable_epoch() < last {
        fixture.tier.borrow_mut().settle();
    }
    fixture.readable = stored(&fixture.model);
    let mut fixture = fixture.restart();
    fixture.visit_all(random);
}

#[test]
fn numbers_survive_restarts() {
    run::<u64>(1, 120_000);
}

#[test]
fn strings_survive_restarts() {
    run::<String>(2, 120_000);
}

#[test]
fn namespaced_keys_survive_restarts() {
    run::<Namespaced<String, (i64, i64)>>(3, 120_000);
}
