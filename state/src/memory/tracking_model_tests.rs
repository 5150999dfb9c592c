//! Random operations on rows whose changes go to a persistent tier, against a BTreeMap that is
//! copied at every barrier: whatever was finished is what a restart finds.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::row_store::RowStore;
use crate::backend::{
    DeltaBlock, MemoryTier, PartitionLayout, RowAddress, RowVisitor, ScanVisitor, TableStore, Tier,
};
use crate::codec::TableId;
use crate::test_random::SplitMix64;
use crate::{
    Epoch, Key, KeyGroup, KeyGroupRange, KeyHash, ListState, ListStateDescriptor, Namespaced,
    ReducingState, ReducingStateDescriptor, StateError, StateRegistrar, ValueState,
    ValueStateDescriptor,
};

/// A tier that takes its time: what is finished becomes readable when the test says so.
#[derive(Debug)]
struct LateTier {
    tier: MemoryTier,
    finished: VecDeque<(TableId, Epoch)>,
    reads: usize,
    budget_bytes: Option<u64>,
}

impl LateTier {
    fn new(tier: MemoryTier, budget_bytes: Option<u64>) -> Rc<RefCell<Self>> {
        let finished = VecDeque::new();
        Rc::new(RefCell::new(LateTier { tier, finished, reads: 0, budget_bytes }))
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

    fn share_of_budget(&mut self, _: TableId, _: u64) -> Option<u64> {
        self.budget_bytes
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
    fn new(tier: MemoryTier, model: Model, budget_bytes: Option<u64>) -> Self {
        let mut registrar = StateRegistrar::new::<K>("model");
        let sum = |sum: &mut u64, n: u64| *sum += n;
        let count = registrar.register_value(&ValueStateDescriptor::new("count")).unwrap();
        let sum = registrar.register_reducing(&ReducingStateDescriptor::new("sum", sum)).unwrap();
        let text = registrar.register_value(&ValueStateDescriptor::new("text")).unwrap();
        let layout = PartitionLayout::new(KeyGroupRange { start: 0, end: 16 }, 16);
        let epoch = tier.readable_epoch().next();
        let tier = LateTier::new(tier, budget_bytes);
        let table = TableStore::new(TableId(3), layout, epoch, tier.clone());
        let rows = RowStore::attached(registrar, table, &[4, 200, 0]).unwrap();
        let numbers = (0..300).map(|n| (K::make(n).to_archived().unwrap().to_vec(), n)).collect();
        let (ended, readable) = (VecDeque::new(), model.clone());
        Fixture { rows, count, text, sum, tier, model, ended, readable, numbers }
    }

    fn step(&mut self, random: &mut SplitMix64, keys: u64) {
        match random.below(1_000) {
            0..4 => self.barrier(),
            4..24 => {
                let progress = self.rows.beat(random.below(40) as usize).unwrap();
                if progress.memory.wants_spill {
                    self.barrier();
                }
            }
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

    fn barrier(&mut self) {
        let epoch = self.rows.barrier().unwrap().unwrap();
        self.ended.push_back((epoch, stored(&self.model)));
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
        if self.tier.borrow().budget_bytes.is_none() {
            assert!(!self.rows.has_unloaded());
            assert_eq!(self.rows.len(), self.model.len());
        }
    }

    /// Ends this process: a new one finds what was readable.
    fn restart(self) -> Self {
        let mut tier = self.tier.borrow().tier.clone();
        tier.forget_unfinished();
        let budget_bytes = self.tier.borrow().budget_bytes;
        Fixture::new(tier, self.readable, budget_bytes)
    }
}

fn random_number(keys: u64) -> impl Fn(&mut SplitMix64) -> u64 {
    // A third of the changes goes to a few keys.
    move |random| {
        let bound = if random.below(3) == 0 { keys.min(7) } else { keys };
        random.below(bound)
    }
}

fn run<K: TestKey>(seed: u64, steps: u64, budget_bytes: Option<u64>) {
    let random = &mut SplitMix64::new(seed);
    let mut fixture = Fixture::<K>::new(MemoryTier::new(), Model::new(), budget_bytes);
    let mut evicted = 0;
    for step in 0..steps {
        let keys = if step / 5_000 % 2 == 0 { 300 } else { 20 };
        fixture.step(random, keys);
        if random.below(3_000) == 0 {
            evicted += fixture.rows.evicted_rows();
            fixture = fixture.restart();
        }
        if random.below(6_000) == 0 {
            fixture.visit_all(random);
        }
    }
    assert_eq!(evicted > 0, budget_bytes.is_some());
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
    run::<u64>(1, 120_000, None);
}

#[test]
fn strings_survive_restarts() {
    run::<String>(2, 120_000, None);
}

#[test]
fn namespaced_keys_survive_restarts() {
    run::<Namespaced<String, (i64, i64)>>(3, 120_000, None);
}

#[test]
fn numbers_survive_eviction() {
    run::<u64>(4, 120_000, Some(6_000));
}

#[test]
fn strings_survive_eviction() {
    run::<String>(5, 120_000, Some(10_000));
}

#[test]
fn everything_may_have_to_go() {
    run::<Namespaced<String, (i64, i64)>>(6, 120_000, Some(0));
}

/// An owner that does what beats ask for stays within the budget, and the rows that are used most
/// stay in memory.
#[test]
fn memory_stays_within_the_budget() {
    let budget_bytes = 300_000;
    let random = &mut SplitMix64::new(9);
    let mut fixture = Fixture::<u64>::new(MemoryTier::new(), Model::new(), Some(budget_bytes));
    let (mut expected, mut most_bytes) = (BTreeMap::new(), 0);
    for round in 0..3_000 {
        for _ in 0..50 {
            let keys = if random.below(10) < 9 { 1_000 } else { 30_000 };
            let key = random.below(keys);
            let (mut ctx, _) = fixture.rows.enter(key.key_hash(), &key).unwrap();
            let row = ctx.row_id().unwrap();
            fixture.count.modify(&mut ctx, |n| *n += 1).unwrap();
            fixture.rows.release(row);
            *expected.entry(key).or_insert(0) += 1;
        }
        if round % 300 == 0 {
            fixture.barrier();
        }
        loop {
            let memory = fixture.rows.beat(200).unwrap().memory;
            if memory.wants_spill {
                fixture.barrier();
            }
            fixture.tier.borrow_mut().settle();
            if !memory.is_over {
                break;
            }
        }
        most_bytes = most_bytes.max(fixture.rows.resident_bytes());
    }
    assert!(most_bytes < budget_bytes + budget_bytes / 8, "{most_bytes} bytes");
    assert!(most_bytes > budget_bytes, "the budget is used: {most_bytes} bytes");
    let reads = fixture.tier.borrow().reads;
    assert!(reads < 20_000, "{reads} of 150,000 accesses were reads");
    let mut found = BTreeMap::new();
    let count = fixture.count.clone();
    fixture
        .rows
        .visit_rows(|ctx, key| {
            found.insert(*key, count.value(&ctx)?.unwrap());
            Ok::<_, StateError>(())
        })
        .unwrap();
    assert!(found == expected);
    assert!(fixture.rows.resident_bytes() < budget_bytes + budget_bytes / 8);
}

/// A value that rkyv refuses: its change cannot be written, and no later checkpoint hides that.
#[test]
fn what_cannot_be_archived_fails_the_epoch_for_good() {
    let tier = LateTier::new(MemoryTier::new(), None);
    let mut registrar = StateRegistrar::new::<u64>("broken");
    let value = registrar.register_value(&ValueStateDescriptor::<Refused>::new("v")).unwrap();
    let layout = PartitionLayout::new(KeyGroupRange { start: 0, end: 16 }, 16);
    let table = TableStore::new(TableId(0), layout, Epoch::FIRST, tier);
    let mut rows = RowStore::<u64>::attached(registrar, table, &[0]).unwrap();
    for key in 0..10_u64 {
        let (mut ctx, _) = rows.enter(key.key_hash(), &key).unwrap();
        let row = ctx.row_id().unwrap();
        value.update(&mut ctx, Refused(key == 5)).unwrap();
        rows.release(row);
    }
    rows.barrier().unwrap();
    assert_eq!(rows.beat(3).unwrap().rows, 3);
    let error = rows.beat(100).unwrap_err();
    assert!(matches!(error, StateError::Archive { .. }), "{error}");
    for _ in 0..2 {
        let error = rows.beat(100).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a change of operator 'broken' could not be written before, so none of its checkpoints \
             can be completed any more; restart it from the last completed one"
        );
    }
    assert!(rows.barrier().is_err());
    assert!(matches!(rows.enter(7.key_hash(), &7), Err(StateError::ChangeNotWritten { .. })));
    assert!(rows.enter(1.key_hash(), &1).is_ok(), "what is written can be changed");
}

/// Archives like a bool unless it is true.
#[derive(Debug, Clone)]
struct Refused(bool);

impl crate::Schema for Refused {
    fn describe(out: &mut crate::SchemaBuilder) {
        out.primitive("Refused");
    }

    fn hash_key(&self, hasher: &mut crate::KeyHasher) {
        self.0.hash_key(hasher);
    }
}

impl crate::StateValue for Refused {
    fn archive_into(&self, out: &mut rkyv::util::AlignedVec) -> Result<(), StateError> {
        if self.0 {
            let length = u32::try_from(u64::MAX).unwrap_err();
            let source = rkyv::rancor::Source::new(length);
            return Err(StateError::Archive { type_name: "Refused", source });
        }
        self.0.archive_into(out)
    }

    fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
        bool::from_archived(bytes).map(Refused)
    }
}

thread_local! {
    /// Makes the next archiving or reading of a `Flaky` panic.
    static PANIC_NEXT: Cell<bool> = const { Cell::new(false) };
}

/// A number whose code panics when the test says so.
#[derive(Debug, Clone, Default, PartialEq)]
struct Flaky(u64);

impl crate::Schema for Flaky {
    fn describe(out: &mut crate::SchemaBuilder) {
        out.primitive("Flaky");
    }

    fn hash_key(&self, hasher: &mut crate::KeyHasher) {
        self.0.hash_key(hasher);
    }
}

impl crate::StateValue for Flaky {
    fn archive_into(&self, out: &mut rkyv::util::AlignedVec) -> Result<(), StateError> {
        out.extend_from_slice(b"half a val");
        assert!(!PANIC_NEXT.replace(false), "injected");
        out.resize(out.len() - 10, 0);
        self.0.archive_into(out)
    }

    fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
        assert!(!PANIC_NEXT.replace(false), "injected");
        u64::from_archived(bytes).map(Flaky)
    }
}

struct FlakyFixture {
    rows: RowStore<u64>,
    list: ListState<String>,
    value: ValueState<Flaky>,
}

impl FlakyFixture {
    fn new(tier: Rc<RefCell<LateTier>>) -> Self {
        let mut registrar = StateRegistrar::new::<u64>("flaky");
        let list = registrar.register_list(&ListStateDescriptor::new("list")).unwrap();
        let value = registrar.register_value(&ValueStateDescriptor::new("value")).unwrap();
        let layout = PartitionLayout::new(KeyGroupRange { start: 0, end: 1 }, 1);
        let epoch = tier.borrow().readable_epoch().next();
        let table = TableStore::new(TableId(0), layout, epoch, tier);
        let rows = RowStore::attached(registrar, table, &[0, 1]).unwrap();
        FlakyFixture { rows, list, value }
    }

    fn add(&mut self, key: u64) {
        let (mut ctx, _) = self.rows.enter(key.key_hash(), &key).unwrap();
        let row = ctx.row_id().unwrap();
        self.list.add(&mut ctx, format!("element {key}")).unwrap();
        self.value.modify(&mut ctx, |value| value.0 += key).unwrap();
        self.rows.release(row);
    }

    fn check(&mut self, key: u64) {
        let (ctx, _) = self.rows.enter(key.key_hash(), &key).unwrap();
        assert_eq!(self.value.value(&ctx).unwrap(), Some(Flaky(key)));
        let list = self.list.iter(&ctx, |all| all.cloned().collect::<Vec<_>>()).unwrap();
        assert_eq!(list, [format!("element {key}")]);
    }
}

/// Panics of user code within archiving and reading: the store stays sound; what was being written
/// fails its checkpoint for good, what was being read is read again.
#[test]
fn panics_in_archiving_and_reading_leave_the_store_sound() {
    let tier = LateTier::new(MemoryTier::new(), None);
    let mut fixture = FlakyFixture::new(tier.clone());
    (1..=20).for_each(|key| fixture.add(key));
    fixture.rows.barrier().unwrap();
    while !fixture.rows.beat(3).unwrap().is_done() {}
    tier.borrow_mut().settle();
    fixture.add(7);
    fixture.rows.barrier().unwrap();
    PANIC_NEXT.set(true);
    assert!(catch_unwind(AssertUnwindSafe(|| fixture.rows.beat(3))).is_err());
    let error = fixture.rows.beat(3).unwrap_err();
    assert!(matches!(error, StateError::ChangeNotWritten { .. }), "{error}");
    drop(fixture);

    let mut restored = tier.borrow().tier.clone();
    restored.forget_unfinished();
    let mut fixture = FlakyFixture::new(LateTier::new(restored, None));
    (1..=5_u64).for_each(|key| fixture.rows.request(key.key_hash(), &key).unwrap());
    PANIC_NEXT.set(true);
    assert!(catch_unwind(AssertUnwindSafe(|| fixture.rows.load_requested())).is_err());
    fixture.check(3);
    PANIC_NEXT.set(true);
    let entered = AssertUnwindSafe(|| fixture.rows.enter(9.key_hash(), &9).map(drop));
    assert!(catch_unwind(entered).is_err());
    (1..=20).for_each(|key| fixture.check(key));
    assert_eq!(fixture.rows.len(), 20);
}
