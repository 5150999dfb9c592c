//! Timers that are archived epoch by epoch and restored at random points, against an ordered set.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::TimeDomain::{self, EventTime, ProcessingTime};
use super::{DueTimer, KeyedTimers};
use crate::backend::{
    DeltaBlock, Epoch, MemoryTier, PartitionLayout, RowAddress, RowVisitor, ScanVisitor,
    TableStore, Tier,
};
use crate::codec::{RecordKind, TableId, decode_row};
use crate::test_random::SplitMix64;
use crate::{
    Key, KeyGroup, KeyGroupRange, KeyHash, RowStore, StateError, StateRegistrar, ValueState,
    ValueStateDescriptor,
};

const GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: 128 };

fn no_rows() -> RowStore<String> {
    RowStore::new(StateRegistrar::new::<String>("timers")).unwrap()
}

fn table(tier: &Rc<RefCell<MemoryTier>>, epoch: Epoch) -> TableStore {
    TableStore::new(TableId(2), PartitionLayout::new(GROUPS, 128), epoch, tier.clone())
}

/// Domain, timestamp, key; and which registration it was.
type Model = BTreeMap<(TimeDomain, i64, String), u64>;

struct Fixture {
    rows: RowStore<String>,
    timers: KeyedTimers,
    model: Model,
    /// Models and clocks at barriers; the first is the last finished one.
    snapshots: VecDeque<(Epoch, Model, i64)>,
    tier: Rc<RefCell<MemoryTier>>,
    now_ms: i64,
    registered: u64,
    fired: u64,
}

impl Fixture {
    fn new() -> Self {
        let (tier, mut rows) = (Rc::new(RefCell::new(MemoryTier::new())), no_rows());
        Fixture {
            timers: KeyedTimers::attached(table(&tier, Epoch::FIRST), [0, 1], &mut rows).unwrap(),
            rows,
            model: Model::new(),
            snapshots: VecDeque::from([(Epoch(0), Model::new(), -1_000)]),
            tier,
            now_ms: -1_000,
            registered: 0,
            fired: 0,
        }
    }

    fn step(&mut self, random: &mut SplitMix64, keys: u64) {
        match random.below(1_000) {
            0 => self.restore(),
            1..9 => self.barrier(),
            9..40 => drop(self.beat(random.below(40) as usize)),
            40..90 => {
                self.now_ms += random.below(20) as i64;
                self.fire(if random.below(2) == 0 { EventTime } else { ProcessingTime });
            }
            90..600 => self.register(random, keys),
            _ => self.delete(random),
        }
    }

    fn register(&mut self, random: &mut SplitMix64, keys: u64) {
        let domain = if random.below(4) == 0 { ProcessingTime } else { EventTime };
        let at_ms = self.now_ms + random.below(60) as i64;
        let key = format!("key {}", random.below(keys));
        let (mut cursor, _) = self.rows.enter(key.key_hash(), &key).unwrap();
        let is_new = self.timers.register(domain, at_ms, &mut cursor);
        self.registered += 1;
        let number = self.registered;
        assert_eq!(is_new, *self.model.entry((domain, at_ms, key)).or_insert(number) == number);
    }

    /// Deletes one that is there, and tries one that is not.
    fn delete(&mut self, random: &mut SplitMix64) {
        let from = (EventTime, self.now_ms + random.below(50) as i64, String::new());
        let Some((timer, _)) = self.model.range(from..).next() else { return };
        let timer = timer.clone();
        self.model.remove(&timer);
        for expected in [true, false] {
            let (mut cursor, _) = self.rows.enter(timer.2.key_hash(), &timer.2).unwrap();
            let row = cursor.row_id().unwrap();
            assert_eq!(self.timers.delete(timer.0, timer.1, &mut cursor), expected);
            self.rows.release(row);
        }
    }

    fn fire(&mut self, domain: TimeDomain) {
        let mut fired = Vec::new();
        while let Some(due) = self.timers.pop_due(domain, self.now_ms) {
            fired.push((domain, due.timestamp_ms(), self.release(due)));
        }
        let now_ms = self.now_ms;
        let is_due = |timer: &(TimeDomain, i64, String)| timer.0 == domain && timer.1 <= now_ms;
        let expected = self.model.extract_if(.., |timer, _| is_due(timer));
        let mut expected: Vec<_> = expected.collect();
        expected.sort_by_key(|((_, at_ms, _), number)| (*at_ms, *number));
        let expected: Vec<_> = expected.into_iter().map(|(timer, _)| timer).collect();
        assert_eq!(fired, expected, "in the order of registration");
        self.fired += fired.len() as u64;
    }

    fn release(&mut self, due: DueTimer) -> String {
        let (mut cursor, key) = self.rows.cursor(due.row()).unwrap();
        let key = key.clone();
        due.unpin(&mut cursor);
        self.rows.release(due.row());
        key
    }

    fn barrier(&mut self) {
        let epoch = self.timers.barrier().unwrap();
        self.snapshots.push_back((epoch, self.model.clone(), self.now_ms));
    }

    fn beat(&mut self, budget: usize) -> bool {
        let done = self.timers.beat(&mut self.rows, budget).unwrap();
        let finished = self.tier.borrow().readable_epoch();
        while self.snapshots[0].0 < finished {
            self.snapshots.pop_front();
        }
        assert!(!done || self.snapshots.len() == 1);
        done
    }

    fn restore(&mut self) {
        self.snapshots.truncate(1);
        self.tier.borrow_mut().forget_unfinished();
        let epoch;
        (epoch, self.model, self.now_ms) = self.snapshots[0].clone();
        self.rows = no_rows();
        let table = table(&self.tier, epoch.next());
        self.timers = KeyedTimers::attached(table, [0, 1], &mut self.rows).unwrap();
        self.check();
    }

    /// Called where nothing waits to be written.
    fn check(&self) {
        assert_eq!(self.timers.len(EventTime) + self.timers.len(ProcessingTime), self.model.len());
        let keys: BTreeSet<_> = self.model.keys().map(|timer| &timer.2).collect();
        assert_eq!(self.rows.len(), keys.len(), "rows are there for timers alone");
    }
}

#[test]
fn timers_are_restored() {
    for (seed, keys, steps) in [(1, 3, 60_000), (2, 40, 80_000), (3, 2_000, 60_000)] {
        let (mut fixture, mut random) = (Fixture::new(), SplitMix64::new(seed));
        for step in 0..steps {
            fixture.step(&mut random, keys);
            if step % 5_000 == 0 {
                fixture.barrier();
                while !fixture.beat(7) {}
                fixture.check();
            }
        }
        assert!(fixture.fired > steps / 10, "{}", fixture.fired);
        fixture.now_ms += 100;
        fixture.fire(EventTime);
        fixture.fire(ProcessingTime);
        fixture.barrier();
        while !fixture.beat(1_000) {}
        assert!(fixture.rows.is_empty() && fixture.timers.is_empty());
        fixture.restore();
        assert!(fixture.timers.is_empty());
    }
}

/// Keeps the records it is given: state, kind, timestamp.
#[derive(Debug, Default)]
struct Recorder(Vec<(u8, RecordKind, i64)>);

impl Tier for Recorder {
    fn append(&mut self, block: DeltaBlock) -> Result<(), StateError> {
        let mut rest = &*block.bytes;
        while !rest.is_empty() {
            self.0.extend(decode_row(&mut rest).unwrap().records().map(|record| {
                let position = u64::from_be_bytes(record.sub.try_into().unwrap());
                assert!(record.value.len() < 8 && record.expires_at_ms.is_none());
                (record.state, record.kind, (position ^ 1 << 63) as i64)
            }));
        }
        Ok(())
    }

    fn finish(&mut self, _: TableId, _: Epoch) -> Result<(), StateError> {
        Ok(())
    }

    fn readable_epoch(&self) -> Epoch {
        Epoch(0)
    }

    fn has_rows(&self, _: TableId) -> bool {
        false
    }

    fn may_hold(&self, _: TableId, _: KeyGroup, _: KeyHash) -> bool {
        false
    }

    fn read_rows(
        &mut self,
        _: TableId,
        _: &[RowAddress<'_>],
        _: RowVisitor<'_>,
    ) -> Result<(), StateError> {
        Ok(())
    }

    fn scan(&mut self, _: TableId, _: KeyGroupRange, _: ScanVisitor<'_>) -> Result<(), StateError> {
        Ok(())
    }

    fn set_now_ms(&mut self, _: i64) {}
}

/// What an epoch's net change is, case by case; several epochs may wait.
#[test]
fn the_net_change_is_written() {
    let tier = Rc::new(RefCell::new(Recorder::default()));
    let layout = PartitionLayout::new(GROUPS, 128);
    let store = TableStore::new(TableId(1), layout, Epoch::FIRST, tier.clone());
    let mut rows = no_rows();
    let mut timers = KeyedTimers::attached(store, [0, 1], &mut rows).unwrap();
    let key = "key".to_string();
    let change = |rows: &mut RowStore<String>, timers: &mut KeyedTimers, at_ms: i64, adds: bool| {
        let (mut cursor, _) = rows.enter(key.key_hash(), &key).unwrap();
        let changed = match adds {
            true => timers.register(ProcessingTime, at_ms, &mut cursor),
            false => timers.delete(ProcessingTime, at_ms, &mut cursor),
        };
        assert!(changed);
    };
    for at_ms in [-5, 10, 20, i64::MIN] {
        change(&mut rows, &mut timers, at_ms, true);
    }
    change(&mut rows, &mut timers, 10, false);
    assert_eq!(timers.barrier(), Some(Epoch(1)));
    change(&mut rows, &mut timers, 20, false);
    change(&mut rows, &mut timers, 30, true);
    change(&mut rows, &mut timers, 30, false);
    change(&mut rows, &mut timers, i64::MIN, false);
    change(&mut rows, &mut timers, i64::MIN, true);
    assert_eq!(timers.barrier(), Some(Epoch(2)));
    let due = timers.pop_due(ProcessingTime, -5).unwrap();
    assert_eq!(due.timestamp_ms(), i64::MIN);
    due.unpin(&mut rows.cursor(due.row()).unwrap().0);
    rows.release(due.row());
    assert!(timers.barrier().is_some() && timers.beat(&mut rows, 1_000).unwrap());
    let (put, remove) = (RecordKind::Put, RecordKind::RemoveEntry);
    let expected = [
        (1, put, -5),
        (1, put, 20),
        (1, put, i64::MIN),
        (1, remove, 20),
        (1, remove, i64::MIN),
        (1, put, i64::MIN),
        (1, remove, i64::MIN),
    ];
    assert_eq!(tier.borrow().0, expected);
    assert_eq!((rows.len(), timers.next_ms(ProcessingTime)), (1, Some(-5)));
}

#[test]
fn foreign_records_are_errors() {
    let tier = Rc::new(RefCell::new(MemoryTier::new()));
    let mut store = table(&tier, Epoch::FIRST);
    let key = crate::StateValue::to_archived(&"key".to_string()).unwrap();
    let address = RowAddress { group: KeyGroup(1), hash: KeyHash::from_u32(1), key: &key };
    let write = |out: &mut crate::codec::RowWriter<'_>| {
        out.write(crate::codec::Record { sub: &[1, 2], ..crate::codec::Record::put(0, &[]) });
        Ok(())
    };
    let epoch = store.barrier();
    store.row(epoch, address, write).unwrap();
    store.finish(epoch).unwrap();
    let error = KeyedTimers::attached(table(&tier, Epoch(2)), [0, 1], &mut no_rows()).unwrap_err();
    assert!(matches!(error, StateError::Unarchive { length_bytes: 2, .. }), "{error}");
}

/// How rows that restored timers pin come to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    ByEntering,
    ByRequest,
    InBackground,
}

/// Rows of a value state, and timers, in two tables of one tier.
fn rows_and_timers(
    tier: &Rc<RefCell<MemoryTier>>,
    epoch: Epoch,
) -> (RowStore<String>, KeyedTimers, ValueState<u64>) {
    let mut registrar = StateRegistrar::new::<String>("timers");
    let value = registrar.register_value(&ValueStateDescriptor::new("value")).unwrap();
    let layout = PartitionLayout::new(GROUPS, 128);
    let store = TableStore::new(TableId(1), layout, epoch, tier.clone());
    let mut rows = RowStore::attached(registrar, store, &[0]).unwrap();
    let timers = KeyedTimers::attached(table(tier, epoch), [0, 1], &mut rows).unwrap();
    (rows, timers, value)
}

/// Every third key has a value alone, every third a timer alone, the others both.
#[test]
fn rows_of_restored_timers_are_read_when_they_are_needed() {
    const KEYS: u64 = 600;
    let name = |number: u64| format!("key {number}");
    for reads in [Reads::ByEntering, Reads::ByRequest, Reads::InBackground] {
        let tier = Rc::new(RefCell::new(MemoryTier::new()));
        let (mut rows, mut timers, value) = rows_and_timers(&tier, Epoch::FIRST);
        for (number, key) in (0..KEYS).map(|number| (number, name(number))) {
            let (mut cursor, _) = rows.enter(key.key_hash(), &key).unwrap();
            let row = cursor.row_id().unwrap();
            if number % 3 != 0 {
                value.update(&mut cursor, number).unwrap();
            }
            if number % 3 != 1 {
                timers.register(EventTime, number as i64 / 2, &mut cursor);
                timers.register(ProcessingTime, 1, &mut cursor);
            }
            rows.release(row);
        }
        timers.barrier();
        rows.barrier().unwrap();
        assert!(timers.beat(&mut rows, usize::MAX).unwrap());
        assert!(rows.beat(usize::MAX).unwrap().is_done());
        let (mut rows, mut timers, value) = rows_and_timers(&tier, Epoch(2));
        assert_eq!((timers.len(EventTime), rows.len() as u64), (400, KEYS / 3 * 2));
        match reads {
            Reads::ByEntering => {}
            Reads::ByRequest => {
                let keys: Vec<String> = (0..KEYS).map(name).collect();
                keys.iter().for_each(|key| rows.request(key.key_hash(), key).unwrap());
                rows.load_requested().unwrap();
            }
            Reads::InBackground => while rows.restore_step().unwrap() {},
        }
        let fire = |rows: &mut RowStore<String>, timers: &mut KeyedTimers, domain| {
            while let Some(due) = timers.pop_due(domain, i64::MAX) {
                let (mut cursor, key) = rows.cursor(due.row()).unwrap();
                let number: u64 = key[4..].parse().unwrap();
                let expected = (domain == EventTime && !number.is_multiple_of(3)).then_some(number);
                assert_eq!(value.take(&mut cursor).unwrap(), expected, "{key} {reads:?}");
                due.unpin(&mut cursor);
                rows.release(due.row());
            }
        };
        fire(&mut rows, &mut timers, EventTime);
        fire(&mut rows, &mut timers, ProcessingTime);
        let misses = if reads == Reads::ByEntering { KEYS / 3 } else { 0 };
        assert_eq!(rows.synchronous_misses(), misses, "{reads:?}");
        timers.barrier();
        rows.barrier().unwrap();
        assert!(timers.beat(&mut rows, usize::MAX).unwrap());
        rows.barrier().unwrap();
        assert!(rows.beat(usize::MAX).unwrap().is_done());
        let (mut rows, timers, value) = rows_and_timers(&tier, Epoch(4));
        assert!(timers.is_empty() && rows.is_empty());
        while rows.restore_step().unwrap() {}
        assert_eq!(rows.len() as u64, KEYS / 3);
        let key = name(1);
        assert_eq!(value.value(&rows.enter(key.key_hash(), &key).unwrap().0).unwrap(), Some(1));
    }
}
