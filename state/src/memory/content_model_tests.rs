//! Random operations on the contents of fields, archived epoch by epoch and restored at random
//! points, against std's collections; with a moving clock where they expire.
//!
//! The harness does what a row store does: it marks fields that may have changed, archives a field
//! of an ended epoch before it is changed again or in a later beat, and says that a field is gone.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::rc::Rc;

use super::content::{Content, FieldWriter, Reading};
use super::{Access, Expiring, ExpiringList, ExpiringMap, ListContent, MapTable, Purge, Purged};
use crate::backend::{Epoch, MemoryTier, PartitionLayout, RowAddress, TableStore, Tier};
use crate::codec::{ArchiveBuffer, Record, RecordKind, TableId};
use crate::test_random::SplitMix64;
use crate::ttl::TtlPolicy;
use crate::{KeyGroup, KeyGroupRange, KeyHash, StateError};

const KEYS: u64 = 12;
const STATE: u8 = 9;
const TTL_MS: i64 = 100;
const GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: 128 };

/// A content and the plainest statement of what it should be.
trait Subject {
    type Content: Content;
    type Model: Clone + Default + PartialEq + Debug;

    /// One operation on both; true if it is one that marks the field in any case.
    fn step(
        &self,
        content: &mut Option<Self::Content>,
        model: &mut Self::Model,
        random: &mut SplitMix64,
        now_ms: i64,
    ) -> bool;

    /// What the end of a cursor's use does.
    fn purge(&self, _content: &mut Self::Content) -> Purged {
        Purged::Unchanged
    }

    /// Compares without changing anything.
    fn check(&self, content: Option<&Self::Content>, model: &Self::Model, now_ms: i64);

    fn ttl_ms(&self) -> Option<i64> {
        None
    }

    /// What a tier that filters leaves.
    fn expire(&self, _model: &mut Self::Model, _now_ms: i64) {}
}

struct Row<C> {
    content: Option<C>,
    /// The epoch of the changes that are not archived.
    dirty: Option<Epoch>,
    is_below: bool,
}

struct Harness<S: Subject> {
    subject: S,
    rows: Vec<Row<S::Content>>,
    models: Vec<S::Model>,
    /// The models at each barrier whose epoch is not finished, and at the last finished one.
    snapshots: VecDeque<(Epoch, Vec<S::Model>)>,
    tier: Rc<RefCell<MemoryTier>>,
    store: TableStore,
    buffer: ArchiveBuffer,
    now_ms: i64,
    filters: bool,
}

fn store(tier: &Rc<RefCell<MemoryTier>>, epoch: Epoch) -> TableStore {
    TableStore::new(TableId(1), PartitionLayout::new(GROUPS, 128), epoch, tier.clone())
}

fn address(key: &[u8; 8]) -> RowAddress<'_> {
    let number = u64::from_le_bytes(*key);
    RowAddress { group: KeyGroup(number as u16 * 7), hash: KeyHash::of(&(number / 2)), key }
}

fn no_rows<C>() -> Vec<Row<C>> {
    (0..KEYS).map(|_| Row { content: None, dirty: None, is_below: false }).collect()
}

impl<S: Subject> Harness<S> {
    fn new(subject: S, filters: bool) -> Self {
        let tier = Rc::new(RefCell::new(MemoryTier::new()));
        let models = vec![S::Model::default(); KEYS as usize];
        Harness {
            subject,
            rows: no_rows(),
            snapshots: VecDeque::from([(Epoch(0), models.clone())]),
            models,
            store: store(&tier, Epoch::FIRST),
            tier,
            buffer: ArchiveBuffer::default(),
            now_ms: 0,
            filters,
        }
    }

    fn run(&mut self, seed: u64, steps: u64) {
        let mut random = SplitMix64::new(seed);
        for _ in 0..steps {
            match random.below(400) {
                0 => self.restore(),
                1..7 => self.barrier(),
                7..40 => self.beat(random.below(KEYS)),
                40..60 => self.finish_one(),
                60..64 => self.now_ms += random.below(250) as i64,
                64..150 => self.now_ms += random.below(5) as i64,
                _ => self.step(&mut random),
            }
        }
        self.check();
        self.barrier();
        while self.snapshots.len() > 1 {
            self.finish_one();
        }
        self.restore();
    }

    fn step(&mut self, random: &mut SplitMix64) {
        let key = random.below(KEYS) as usize;
        self.archive_if_frozen(key);
        let (row, model) = (&mut self.rows[key], &mut self.models[key]);
        let mut marks = false;
        for _ in 0..=random.below(3) {
            marks |= self.subject.step(&mut row.content, model, random, self.now_ms);
        }
        let purged = row.content.as_mut().map(|content| self.subject.purge(content));
        if purged == Some(Purged::Gone) {
            row.content = None;
        }
        if marks || purged.is_some_and(|purged| purged != Purged::Unchanged) {
            row.dirty = Some(self.store.current_epoch());
        }
        self.subject.check(row.content.as_ref(), model, self.now_ms);
    }

    fn barrier(&mut self) {
        let epoch = self.store.barrier();
        self.snapshots.push_back((epoch, self.models.clone()));
    }

    /// Archives a row whose changes are of an ended epoch.
    fn archive_if_frozen(&mut self, key: usize) {
        let row = &mut self.rows[key];
        let Some(epoch) = row.dirty.filter(|epoch| *epoch < self.store.current_epoch()) else {
            return;
        };
        row.dirty = None;
        let is_below = std::mem::replace(&mut row.is_below, true);
        let (buffer, ttl_ms) = (&mut self.buffer, self.subject.ttl_ms());
        let bytes = (key as u64).to_le_bytes();
        let write = |writer: &mut crate::codec::RowWriter<'_>| {
            let Some(content) = &mut row.content else {
                if is_below {
                    writer.write(Record::remove(RecordKind::RemoveState, STATE, &[]));
                }
                return Ok(());
            };
            content.archive(&mut FieldWriter::new(writer, buffer, (STATE, 0), is_below, ttl_ms))
        };
        self.store.row(epoch, address(&bytes), write).unwrap();
    }

    fn beat(&mut self, from: u64) {
        for key in from..(from + 3).min(KEYS) {
            self.archive_if_frozen(key as usize);
        }
    }

    /// Finishes the oldest ended epoch; its model is the one to go back to.
    fn finish_one(&mut self) {
        let epoch = self.store.oldest_epoch();
        if epoch == self.store.current_epoch() {
            return;
        }
        for key in 0..KEYS as usize {
            if self.rows[key].dirty == Some(epoch) {
                self.archive_if_frozen(key);
            }
        }
        self.store.finish(epoch).unwrap();
        self.snapshots.pop_front();
        assert_eq!(self.snapshots[0].0, epoch);
    }

    /// Forgets all that is not finished, and goes on from what is.
    fn restore(&mut self) {
        let (epoch, models) = self.snapshots[0].clone();
        self.snapshots.truncate(1);
        self.tier.borrow_mut().forget_unfinished();
        self.store = store(&self.tier, epoch.next());
        (self.models, self.rows) = (models, no_rows());
        if self.filters {
            let now_ms = self.now_ms;
            self.tier.borrow_mut().set_now_ms(now_ms);
            self.models.iter_mut().for_each(|model| self.subject.expire(model, now_ms));
            // What the models lack now must not come back when the clock is turned back to where
            // it was at the barrier, which it is not.
            self.snapshots[0].1 = self.models.clone();
        }
        let reading = Reading { ttl_ms: self.subject.ttl_ms(), ..Reading::default() };
        let rows = &mut self.rows;
        let mut load = |address: RowAddress<'_>, record: &Record<'_>| {
            let number = u64::from_le_bytes(address.key.try_into().unwrap());
            let row = &mut rows[number as usize];
            row.is_below = true;
            let made = S::Content::load(row.content.as_mut(), record, &reading)?;
            assert_eq!((made.is_some(), record.state), (row.content.is_none(), STATE));
            row.content = made.or(row.content.take());
            Ok::<_, StateError>(())
        };
        self.store.scan(GROUPS, &mut load).unwrap();
        self.check();
    }

    fn check(&self) {
        for (row, model) in self.rows.iter().zip(&self.models) {
            self.subject.check(row.content.as_ref(), model, self.now_ms);
        }
    }
}

fn text(number: u64) -> String {
    "element of a list, ".repeat(number as usize % 3) + &number.to_string()
}

/// `V` is made of a number.
struct Lists<V>(fn(u64) -> V);

impl<V: crate::StateValue + Clone + PartialEq + Debug> Subject for Lists<V> {
    type Content = ListContent<V>;
    type Model = Vec<V>;

    fn step(
        &self,
        content: &mut Option<Self::Content>,
        model: &mut Vec<V>,
        random: &mut SplitMix64,
        _: i64,
    ) -> bool {
        let number = random.next();
        match random.below(200) {
            0 => {
                *content = None;
                model.clear();
            }
            1 => {
                let elements: Vec<V> = (1..random.below(200) + 2).map(self.0).collect();
                *content = Some(ListContent::new(elements.clone()));
                *model = elements;
            }
            2..20 => {
                let elements = (number % 999..number % 999 + random.below(150) + 1).map(self.0);
                content.get_or_insert_default().extend(elements.clone());
                model.extend(elements);
            }
            20..40 => {}
            _ => {
                content.get_or_insert_default().push((self.0)(number));
                model.push((self.0)(number));
            }
        }
        true
    }

    fn check(&self, content: Option<&Self::Content>, model: &Vec<V>, _: i64) {
        assert_eq!(content.map_or(&[][..], ListContent::as_slice), model);
    }
}

#[test]
fn lists_are_restored() {
    Harness::new(Lists(|number| number), false).run(1, 120_000);
    Harness::new(Lists(text), false).run(2, 100_000);
    Harness::new(Lists(|_| ()), false).run(3, 100_000);
}

/// Maps of up to so many keys.
struct Maps(u64);

impl Subject for Maps {
    type Content = MapTable<String, u64>;
    type Model = BTreeMap<String, u64>;

    fn step(
        &self,
        content: &mut Option<Self::Content>,
        model: &mut Self::Model,
        random: &mut SplitMix64,
        _: i64,
    ) -> bool {
        let (key, value) = (text(random.below(self.0)), random.next());
        let map = content.get_or_insert_default();
        match random.below(300) {
            0 => {
                *map = MapTable::default();
                model.clear();
            }
            1 => {
                map.retain(|key, value| {
                    *value ^= 1;
                    key.len() as u64 % 3 != *value / 2 % 3
                });
                model.retain(|key, value| {
                    *value ^= 1;
                    key.len() as u64 % 3 != *value / 2 % 3
                });
            }
            2 => {
                map.iter_mut().for_each(|(key, held)| *held = value ^ key.len() as u64);
                model.iter_mut().for_each(|(key, held)| *held = value ^ key.len() as u64);
            }
            3..100 => assert_eq!(map.insert(key.clone(), value), model.insert(key, value)),
            100..160 => {
                *map.get_or_insert_with(&key, || 7) += 1;
                *model.entry(key).or_insert(7) += 1;
            }
            160..170 => assert_eq!(map.get(&key), model.get(&key)),
            _ => assert_eq!(map.remove(&key), model.remove(&key)),
        }
        assert_eq!(map.len(), model.len());
        if map.is_empty() {
            *content = None;
        }
        true
    }

    fn check(&self, content: Option<&Self::Content>, model: &Self::Model, _: i64) {
        let read: Option<Self::Model> = content.map(|map| map.iter().cloned().collect());
        assert_eq!(read.unwrap_or_default(), *model);
    }
}

#[test]
fn maps_are_restored() {
    Harness::new(Maps(8), false).run(1, 120_000);
    Harness::new(Maps(300), false).run(2, 120_000);
}

/// A changed entry is one record, an unchanged one none, a born and removed one neither.
#[test]
fn maps_archive_changed_entries_alone() {
    let mut map = MapTable::<u64, u64>::default();
    let records = |map: &mut MapTable<u64, u64>| {
        let (mut out, mut buffer) = (Vec::new(), ArchiveBuffer::default());
        let mut row =
            crate::codec::RowWriter::begin(&mut out, KeyGroup(0), KeyHash::from_u32(0), &[]);
        map.archive(&mut FieldWriter::new(&mut row, &mut buffer, (0, 0), true, None)).unwrap();
        if !row.finish() {
            return Vec::new();
        }
        let row = crate::codec::decode_row(&mut out.as_slice()).unwrap();
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        row.records()
            .map(|record| (record.kind, number(record.sub), number(record.value)))
            .collect()
    };
    for key in 0..1_000 {
        map.insert(key, key);
    }
    let first = records(&mut map);
    assert_eq!((first.len(), first[0].0), (1_001, RecordKind::RemoveState));
    assert!(records(&mut map).is_empty());
    map.insert(5_000, 1);
    map.remove(&5_000);
    assert!(records(&mut map).is_empty());
    *map.get_or_insert_with(&7, || 0) = 70;
    map.remove(&8);
    map.insert(6_000, 6);
    map.remove(&9);
    map.insert(9, 90);
    let mut expected = vec![(RecordKind::RemoveEntry, 8, 0)];
    expected
        .extend([(7, 70), (9, 90), (6_000, 6)].map(|(key, value)| (RecordKind::Put, key, value)));
    let mut written = records(&mut map);
    written[1..].sort_by_key(|record| record.1);
    assert_eq!(written, expected);
}

type Dated = (u64, i64);

/// Flink's rules, for all kinds of state.
#[derive(Clone, Copy, Debug)]
struct Rules(TtlPolicy);

impl Rules {
    fn all() -> impl Iterator<Item = Rules> {
        [(false, false), (false, true), (true, false), (true, true)].into_iter().map(
            |(refreshes_on_read, returns_expired)| {
                Rules(TtlPolicy { ttl_ms: TTL_MS, refreshes_on_read, returns_expired })
            },
        )
    }

    fn access(self, now_ms: i64) -> Access {
        Access { policy: self.0, now_ms }
    }

    /// Whether a read gives a value; it is removed if it has expired, refreshed otherwise.
    fn read(self, dated: &mut Option<Dated>, now_ms: i64) -> Option<u64> {
        let (value, updated_ms) = (*dated)?;
        if now_ms >= updated_ms + TTL_MS {
            *dated = None;
            return self.0.returns_expired.then_some(value);
        }
        if self.0.refreshes_on_read {
            *dated = Some((value, now_ms));
        }
        Some(value)
    }

    fn is_visible(self, dated: &Dated, now_ms: i64) -> bool {
        self.0.returns_expired || !has_expired(dated, now_ms)
    }
}

fn has_expired(dated: &Dated, now_ms: i64) -> bool {
    now_ms >= dated.1 + TTL_MS
}

struct Values(Rules);

impl Subject for Values {
    type Content = Expiring<u64>;
    type Model = Option<Dated>;

    fn step(
        &self,
        content: &mut Option<Self::Content>,
        model: &mut Self::Model,
        random: &mut SplitMix64,
        now_ms: i64,
    ) -> bool {
        let (access, number) = (self.0.access(now_ms), random.below(1_000));
        match random.below(10) {
            0 => (*content, *model) = (Some(Expiring::new(number, access)), Some((number, now_ms))),
            1 => {
                let held = content.get_or_insert_with(|| Expiring::new(0, access));
                *held.write_or_make(access, || 0) += number;
                let old = model.filter(|dated| self.0.is_visible(dated, now_ms));
                *model = Some((old.map_or(0, |dated| dated.0) + number, now_ms));
            }
            2 => (*content, *model) = (None, None),
            _ => {
                let read = content.as_ref().and_then(|held| held.read(access).copied());
                assert_eq!(read, self.0.read(model, now_ms));
                return false;
            }
        }
        true
    }

    fn purge(&self, content: &mut Self::Content) -> Purged {
        content.purge()
    }

    fn check(&self, content: Option<&Self::Content>, model: &Self::Model, _: i64) {
        assert_eq!(content.is_some(), model.is_some());
    }

    fn ttl_ms(&self) -> Option<i64> {
        Some(TTL_MS)
    }

    fn expire(&self, model: &mut Self::Model, now_ms: i64) {
        *model = model.filter(|dated| !has_expired(dated, now_ms));
    }
}

struct ExpiringLists(Rules);

impl Subject for ExpiringLists {
    type Content = ExpiringList<u64>;
    type Model = Vec<Dated>;

    fn step(
        &self,
        content: &mut Option<Self::Content>,
        model: &mut Self::Model,
        random: &mut SplitMix64,
        now_ms: i64,
    ) -> bool {
        let (rules, access) = (self.0, self.0.access(now_ms));
        match random.below(20) {
            0 => {
                *content = None;
                model.clear();
            }
            1..10 => {
                let elements = (0..random.below(4) + 1).map(|number| number ^ now_ms as u64);
                content.get_or_insert_default().extend(elements.clone(), access);
                model.extend(elements.map(|number| (number, now_ms)));
            }
            _ => {
                let visible = model.iter().filter(|dated| rules.is_visible(dated, now_ms));
                let expected: Vec<u64> = visible.map(|dated| dated.0).collect();
                let list = content.get_or_insert_default();
                assert_eq!(list.visible(access).copied().collect::<Vec<_>>(), expected);
                list.finish_read(access);
                if model.iter().all(|dated| has_expired(dated, now_ms)) {
                    model.clear();
                } else if rules.0.refreshes_on_read {
                    model.retain(|dated| !has_expired(dated, now_ms));
                    model.iter_mut().for_each(|dated| dated.1 = now_ms);
                }
                return false;
            }
        }
        true
    }

    fn purge(&self, content: &mut Self::Content) -> Purged {
        content.purge()
    }

    fn check(&self, content: Option<&Self::Content>, model: &Self::Model, now_ms: i64) {
        let visible = |list: &ExpiringList<u64>| {
            list.visible(self.0.access(now_ms)).copied().collect::<Vec<_>>()
        };
        let expected = model.iter().filter(|dated| self.0.is_visible(dated, now_ms));
        let expected: Vec<u64> = expected.map(|dated| dated.0).collect();
        assert_eq!(content.map(visible).unwrap_or_default(), expected);
    }

    fn ttl_ms(&self) -> Option<i64> {
        Some(TTL_MS)
    }

    fn expire(&self, model: &mut Self::Model, now_ms: i64) {
        model.retain(|dated| !has_expired(dated, now_ms));
    }
}

struct ExpiringMaps(Rules);

impl Subject for ExpiringMaps {
    type Content = ExpiringMap<u64, u64>;
    type Model = BTreeMap<u64, Dated>;

    fn step(
        &self,
        content: &mut Option<Self::Content>,
        model: &mut Self::Model,
        random: &mut SplitMix64,
        now_ms: i64,
    ) -> bool {
        let (access, key, number) = (self.0.access(now_ms), random.below(20), random.below(1_000));
        let held = model.get(&key).copied();
        match random.below(40) {
            0 => {
                *content = None;
                model.clear();
            }
            1..8 => {
                content.get_or_insert_default().insert(key, number, access);
                model.insert(key, (number, now_ms));
            }
            8..12 => {
                let map = content.get_or_insert_default();
                *map.write_or_make(&key, access, || 0) += number;
                let old = held.filter(|dated| self.0.is_visible(dated, now_ms));
                model.insert(key, (old.map_or(0, |dated| dated.0) + number, now_ms));
            }
            12 => {
                let Some(map) = content else { return true };
                map.retain(access, |key, value| {
                    *value += 1;
                    key % 4 != number % 4
                });
                model.retain(|key, dated| {
                    dated.0 += 1;
                    let is_live = !has_expired(dated, now_ms);
                    if self.0.0.refreshes_on_read {
                        dated.1 = now_ms;
                    }
                    is_live && key % 4 != number % 4
                });
            }
            13 => {
                let Some(map) = content else { return true };
                map.write_all(access, |_, value| *value ^= 3);
                model.retain(|_, dated| self.0.is_visible(dated, now_ms));
                model.values_mut().for_each(|dated| *dated = (dated.0 ^ 3, now_ms));
            }
            14..17 => {
                let removed = content.as_mut().and_then(|map| map.remove(&key, access));
                let expected = model.remove(&key).filter(|dated| self.0.is_visible(dated, now_ms));
                assert_eq!(removed, expected.map(|dated| dated.0));
            }
            17..19 => {
                let entries = content.as_ref().map(|map| map.read_all(access));
                let mut read: Vec<_> =
                    entries.into_iter().flatten().map(|(key, value)| (*key, *value)).collect();
                read.sort_unstable();
                let mut expected = Vec::new();
                model.retain(|key, dated| {
                    let mut slot = Some(*dated);
                    expected.extend(self.0.read(&mut slot, now_ms).map(|value| (*key, value)));
                    *dated = slot.unwrap_or(*dated);
                    slot.is_some()
                });
                assert_eq!(read, expected);
                return false;
            }
            _ => {
                let read = content.as_ref().and_then(|map| map.read(&key, access).copied());
                let mut slot = held;
                assert_eq!(read, self.0.read(&mut slot, now_ms));
                match slot {
                    Some(dated) => drop(model.insert(key, dated)),
                    None => drop(model.remove(&key)),
                }
                return false;
            }
        }
        true
    }

    fn purge(&self, content: &mut Self::Content) -> Purged {
        content.purge()
    }

    fn check(&self, content: Option<&Self::Content>, model: &Self::Model, _: i64) {
        assert_eq!(content.is_some_and(|map| !map.is_empty()), !model.is_empty());
    }

    fn ttl_ms(&self) -> Option<i64> {
        Some(TTL_MS)
    }

    fn expire(&self, model: &mut Self::Model, now_ms: i64) {
        model.retain(|_, dated| !has_expired(dated, now_ms));
    }
}

/// With a tier that gives what has expired, and with one that does not.
#[test]
fn expiring_contents_are_restored() {
    for rules in Rules::all() {
        for (seed, filters) in [(1, false), (2, true)] {
            Harness::new(Values(rules), filters).run(seed, 50_000);
            Harness::new(ExpiringLists(rules), filters).run(seed, 50_000);
            Harness::new(ExpiringMaps(rules), filters).run(seed, 50_000);
        }
    }
}
