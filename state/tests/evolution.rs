//! Stores whose states change their types from one run to the next: what is read, what is written, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fuzzing;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use fuzzing::{INPUTS, Seed, fuzz_with};
use thalweg_io::storage::{MemoryStorage, Storage};
use thalweg_macros::record;
use thalweg_state::{
    CheckpointId, Evolution, FlatStore, Key, KeyGroupRange, ListState, ListStateDescriptor,
    LsmOptions, LsmStore, MapState, MapStateDescriptor, OperatorStateStore, Redistribution,
    RestoreSource, RowStore, SchemaDescription, StateError, StateRegistrar, StateRoot, StateTtl,
    StateValue, StoreEvent, ValueState, ValueStateDescriptor,
};

mod shim {
    pub(crate) use thalweg_state as state;
    pub(crate) use thalweg_state::rkyv;
}

const ROOT: &str = "/job/state";
const GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: 16 };

mod first {
    use super::*;
    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    pub(super) struct Count {
        pub(super) number: u32,
        pub(super) name: String,
        pub(super) gone: u64,
    }
}

mod second {
    use super::*;
    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    #[thalweg(removed(gone))]
    pub(super) struct Count {
        pub(super) number: u64,
        #[thalweg(renamed_from = "name")]
        pub(super) label: String,
        #[thalweg(default = tags)]
        pub(super) tags: Vec<String>,
    }

    fn tags() -> Vec<String> {
        vec!["old".into()]
    }
}

/// What the third program keeps: it knows nothing of the first one.
mod third {
    use super::*;
    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    #[thalweg(removed(tags))]
    pub(super) struct Count {
        pub(super) number: i128,
        pub(super) label: String,
    }
}

/// A program's version of the value.
trait Counted: StateValue + Clone + PartialEq + std::fmt::Debug {
    /// As this program writes it.
    fn written(number: u32) -> Self;
    /// What this program makes of what the first one has written.
    fn of_first(number: u32) -> Self;
}

fn name(number: u32) -> String {
    format!("a name that is longer than what lies inline: {number}")
}

impl Counted for first::Count {
    fn written(number: u32) -> Self {
        first::Count { number, name: name(number), gone: 7 }
    }
    fn of_first(number: u32) -> Self {
        Self::written(number)
    }
}

impl Counted for second::Count {
    fn written(number: u32) -> Self {
        second::Count { number: number.into(), label: name(number), tags: vec!["new".into()] }
    }
    fn of_first(number: u32) -> Self {
        second::Count { tags: vec!["old".into()], ..Self::written(number) }
    }
}

impl Counted for third::Count {
    fn written(number: u32) -> Self {
        third::Count { number: number.into(), label: name(number) }
    }
    fn of_first(number: u32) -> Self {
        Self::written(number)
    }
}

fn options(is_full: bool) -> LsmOptions {
    LsmOptions::new(GROUPS, 16).full_checkpoints(is_full)
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::new())
}

fn create(storage: &Arc<dyn Storage>, is_full: bool) -> LsmStore {
    LsmStore::create(ROOT, options(is_full), Arc::clone(storage), None).unwrap()
}

fn open(storage: &Arc<dyn Storage>, is_full: bool) -> LsmStore {
    LsmStore::open(ROOT, options(is_full), Arc::clone(storage), None).unwrap()
}

/// States of all kinds, of one version of the value.
struct States<V: 'static> {
    rows: RowStore<u64>,
    value: ValueState<V>,
    dated: ValueState<V>,
    list: ListState<V>,
    numbers: ListState<u32>,
    map: MapState<u8, V>,
}

/// The value, the list, the numbers and the map of a key.
type Content<V> = (V, Vec<V>, Vec<u32>, BTreeMap<u8, V>);

impl<V: Counted> States<V> {
    fn open(store: &LsmStore) -> Result<Self, StateError> {
        let mut registrar = StateRegistrar::new::<u64>("counts");
        let ttl = StateTtl::after_ms(1_000_000);
        let value = registrar.register_value(&ValueStateDescriptor::new("value"))?;
        let dated = ValueStateDescriptor::new("dated").with_ttl(ttl);
        let dated = registrar.register_value(&dated)?;
        let list = registrar.register_list(&ListStateDescriptor::new("list"))?;
        let numbers = registrar.register_list(&ListStateDescriptor::new("numbers"))?;
        let map = registrar.register_map(&MapStateDescriptor::new("map"))?;
        let rows = RowStore::new_in(registrar, store, "counts")?;
        Ok(States { rows, value, dated, list, numbers, map })
    }

    /// Writes what belongs to a key; a list gets one element more.
    fn write(&mut self, key: u64) {
        let number = key as u32;
        let (mut cursor, _) = self.rows.enter(key.key_hash(), &key).unwrap();
        self.value.update(&mut cursor, V::written(number)).unwrap();
        self.dated.update(&mut cursor, V::written(number)).unwrap();
        self.list.add(&mut cursor, V::written(number)).unwrap();
        self.numbers.add(&mut cursor, number).unwrap();
        self.map.put(&mut cursor, number as u8, V::written(number)).unwrap();
        let row = cursor.row_id().unwrap();
        self.rows.release(row);
    }

    /// What a key has; nothing without a value.
    fn read(&mut self, key: u64) -> Option<Content<V>> {
        let (cursor, _) = self.rows.enter(key.key_hash(), &key).unwrap();
        let row = cursor.row_id().unwrap();
        let value = self.value.value(&cursor).unwrap()?;
        assert_eq!(self.dated.value(&cursor).unwrap().as_ref(), Some(&value));
        let list = self.list.get(&cursor).unwrap();
        let numbers = self.numbers.get(&cursor).unwrap();
        let map = self.map.entries(&cursor).unwrap();
        let found = (value, list, numbers, map.into_iter().collect());
        self.rows.release(row);
        Some(found)
    }

    fn checkpoint(&mut self, store: &LsmStore, id: u64) {
        store.begin_checkpoint(CheckpointId(id)).unwrap();
        self.rows.barrier().unwrap();
        while !self.rows.beat(1_000).unwrap().is_done() {}
        settle(store, id);
    }
}

/// Until the checkpoint is complete and nothing is left to do.
fn settle(store: &LsmStore, id: u64) {
    let mut is_complete = false;
    loop {
        for event in store.poll() {
            match event {
                StoreEvent::CheckpointComplete { id: completed, .. } => {
                    is_complete |= completed == CheckpointId(id);
                }
                StoreEvent::CheckpointFailed { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
        if store.is_idle() {
            assert!(is_complete, "the checkpoint is complete");
            return;
        }
    }
}

const KEYS: u64 = 200;

/// The first program writes all keys, and takes a checkpoint.
fn written_by_the_first(is_full: bool) -> Arc<dyn Storage> {
    let storage = memory();
    let store = create(&storage, is_full);
    let mut states = States::<first::Count>::open(&store).unwrap();
    (0..KEYS).for_each(|key| states.write(key));
    states.checkpoint(&store, 1);
    storage
}

fn check_second(states: &mut States<second::Count>, is_written: impl Fn(u64) -> bool) {
    for key in 0..KEYS {
        let number = key as u32;
        let (old, new) = (second::Count::of_first(number), second::Count::written(number));
        let (value, list, numbers, map) = states.read(key).unwrap();
        let now = if is_written(key) { new.clone() } else { old.clone() };
        assert_eq!(value, now, "{key}");
        assert_eq!(map, BTreeMap::from([(number as u8, now)]));
        let expected = if is_written(key) { vec![old, new] } else { vec![old] };
        assert_eq!((list.len(), numbers.len()), (expected.len(), expected.len()));
        assert_eq!(list, expected);
    }
}

#[test]
fn old_values_are_read_and_stay_until_they_change() {
    for is_full in [false, true] {
        let storage = written_by_the_first(is_full);
        let written_bytes = |store: &LsmStore| store.statistics().flushed_bytes;
        let store = open(&storage, is_full);
        let before = written_bytes(&store);
        let mut states = States::<second::Count>::open(&store).unwrap();
        check_second(&mut states, |_| false);
        states.checkpoint(&store, 2);
        let rewritten = written_bytes(&store) - before;
        assert!(is_full || rewritten < 4_000, "{rewritten} bytes: nothing is rewritten");
        let is_changed = |key: u64| key.is_multiple_of(3);
        (0..KEYS).filter(|key| is_changed(*key)).for_each(|key| states.write(key));
        check_second(&mut states, is_changed);
        states.checkpoint(&store, 3);
        drop((states, store));

        let store = open(&storage, is_full);
        let mut states = States::<second::Count>::open(&store).unwrap();
        while states.rows.restore_step().unwrap() {}
        check_second(&mut states, is_changed);
        (0..KEYS).filter(|key| is_changed(*key)).for_each(|key| {
            let (mut cursor, _) = states.rows.enter(key.key_hash(), &key).unwrap();
            states.map.remove(&mut cursor, &(key as u8)).unwrap();
            states.list.clear(&mut cursor).unwrap();
            let row = cursor.row_id().unwrap();
            states.rows.release(row);
        });
        states.checkpoint(&store, 4);
        drop((states, store));

        let store = open(&storage, is_full);
        let mut states = States::<second::Count>::open(&store).unwrap();
        for key in 0..KEYS {
            let (_, list, _, map) = states.read(key).unwrap();
            let left = usize::from(!is_changed(key));
            assert_eq!((list.len(), map.len()), (left, left), "removals hold for old values, too");
        }
    }
}

#[test]
fn merged_files_keep_the_versions_of_values() {
    let storage = written_by_the_first(false);
    let (mut id, mut merged) = (1, 0);
    for round in 0..12 {
        let store = open(&storage, false);
        let mut states = States::<second::Count>::open(&store).unwrap();
        for key in (0..KEYS).filter(|key| key % 12 == round && key % 2 == 0) {
            states.write(key);
        }
        id += 1;
        states.checkpoint(&store, id);
        merged += store.statistics().compacted_files;
    }
    assert!(merged > 0, "deltas were merged");
    let store = open(&storage, false);
    let mut states = States::<second::Count>::open(&store).unwrap();
    check_second(&mut states, |key| key % 2 == 0);
}

#[test]
fn flat_tables_evolve() {
    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    struct Sum {
        sum: i32,
        count: u32,
    }
    mod wider {
        use super::*;
        #[record(crate = crate::shim)]
        #[derive(Debug, Clone, PartialEq)]
        pub(super) struct Sum {
            pub(super) sum: i64,
            pub(super) count: u64,
            #[thalweg(default)]
            pub(super) last: Option<String>,
        }
    }
    for is_full in [false, true] {
        let storage = memory();
        let store = create(&storage, is_full);
        let mut table = FlatStore::<u64, Sum>::new_in(&store, "sums").unwrap();
        for key in 0..KEYS {
            let make = || Sum { sum: -(key as i32), count: 1 };
            table.find_or_insert_with(key.key_hash(), &key, make).unwrap();
        }
        let checkpoint = |table: &mut dyn FnMut(), id: u64| {
            store.begin_checkpoint(CheckpointId(id)).unwrap();
            table();
            settle(&store, id);
        };
        checkpoint(
            &mut || {
                table.barrier();
                while !table.beat(1_000).unwrap().is_done() {}
            },
            1,
        );
        drop((table, store));
        for round in 0..2 {
            let store = open(&storage, is_full);
            let mut table = FlatStore::<u64, wider::Sum>::new_in(&store, "sums").unwrap();
            for key in 0..KEYS {
                let last = (round == 1 && key % 2 == 0).then(|| name(key as u32));
                let count = 1 + u64::from(last.is_some());
                let expected = wider::Sum { sum: -(key as i64), count, last };
                assert_eq!(table.find(key.key_hash(), &key).unwrap(), Some(&expected));
            }
            for key in (0..KEYS).filter(|key| round == 0 && key % 2 == 0) {
                let make = || unreachable!("it is there");
                let sum = table.find_or_insert_with(key.key_hash(), &key, make).unwrap();
                (sum.count, sum.last) = (2, Some(name(key as u32)));
            }
            store.begin_checkpoint(CheckpointId(2 + round)).unwrap();
            table.barrier();
            while !table.beat(1_000).unwrap().is_done() {}
            settle(&store, 2 + round);
        }
    }
}

#[test]
fn what_cannot_be_is_refused_with_state_field_and_remedy() {
    let storage = written_by_the_first(false);
    let store = open(&storage, false);
    let refused = States::<third::Count>::open(&store).err().unwrap().to_string();
    for part in [
        "state 'value' of table 'counts' was written as ValueState<Count{number:u32,",
        "is registered as ValueState<Count{number:i128,label:String}>",
        "field 'label' is new, of type String",
        "`#[thalweg(default)]`",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let keys = StateRegistrar::new::<u32>("counts");
    let keys = RowStore::<u32>::new_in(keys, &store, "counts").err().unwrap().to_string();
    assert!(keys.contains("the key of table 'counts' was written as u64"), "{keys}");
    assert!(keys.contains("the type of keys is fixed"), "{keys}");
    let mut user_key = StateRegistrar::new::<u64>("counts");
    user_key.register_map(&MapStateDescriptor::<u16, first::Count>::new("map")).unwrap();
    let refused = RowStore::<u64>::new_in(user_key, &store, "counts").err().unwrap().to_string();
    assert!(
        refused.contains("has keys of type u16 that were u8; the type of keys is fixed"),
        "{refused}"
    );
    let mut kind = StateRegistrar::new::<u64>("counts");
    kind.register_value(&ValueStateDescriptor::<u32>::new("numbers")).unwrap();
    let refused = RowStore::<u64>::new_in(kind, &store, "counts").err().unwrap().to_string();
    assert!(refused.contains("was ListState<u32> and is ValueState<u32>"), "{refused}");
    // Whoever was refused has changed nothing.
    let mut states = States::<first::Count>::open(&store).unwrap();
    assert_eq!(states.read(7).unwrap().0, first::Count::written(7));
}

#[test]
fn the_old_program_goes_on_from_checkpoints_of_its_own() {
    let storage = written_by_the_first(false);
    let store = open(&storage, false);
    let mut states = States::<second::Count>::open(&store).unwrap();
    states.write(3);
    drop((states, store));
    // The second one has completed nothing.
    let store = open(&storage, false);
    let mut states = States::<first::Count>::open(&store).unwrap();
    assert_eq!(states.read(3).unwrap().0, first::Count::written(3));
    drop((states, store));

    let store = open(&storage, false);
    let mut states = States::<second::Count>::open(&store).unwrap();
    states.write(3);
    states.checkpoint(&store, 2);
    drop((states, store));
    let store = open(&storage, false);
    let refused = States::<first::Count>::open(&store).err().unwrap().to_string();
    assert!(refused.contains("field 'number' was u64 and is u32"), "{refused}");
    drop(store);
    // It goes back behind what the second one has written.
    let root = StateRoot::open(ROOT, Arc::clone(&storage)).unwrap();
    let store = LsmStore::open_at_in(&root, options(false), CheckpointId(1), None).unwrap();
    let mut states = States::<first::Count>::open(&store).unwrap();
    assert_eq!(states.read(3).unwrap().0, first::Count::written(3));
    assert_eq!(states.read(3).unwrap().1.len(), 1);
    states.checkpoint(&store, 3);
    drop((states, store, root));
    // And the second one from there.
    let store = open(&storage, false);
    let mut states = States::<second::Count>::open(&store).unwrap();
    check_second(&mut states, |_| false);
}

#[test]
fn schemas_of_which_no_value_is_left_are_forgotten() {
    for is_full in [false, true] {
        let storage = written_by_the_first(is_full);
        let store = open(&storage, is_full);
        let mut states = States::<second::Count>::open(&store).unwrap();
        states.checkpoint(&store, 2);
        drop((states, store));
        let store = open(&storage, is_full);
        let opened = States::<third::Count>::open(&store);
        if !is_full {
            // Values of the first program are still there, and the third one does not know them.
            assert!(opened.err().unwrap().to_string().contains("field 'label' is new"));
            continue;
        }
        // Each checkpoint has all of them in the present form.
        let mut states = opened.unwrap();
        for key in 0..KEYS {
            assert_eq!(states.read(key).unwrap().0, third::Count::written(key as u32));
        }
    }
}

#[test]
fn stores_of_another_parallelism_evolve() {
    let storage = memory();
    let root = StateRoot::open(ROOT, Arc::clone(&storage)).unwrap();
    let halves = [(0_u16, 8), (8, 16)].map(|(start, end)| KeyGroupRange { start, end });
    let in_half = |key: u64, half: KeyGroupRange| {
        half.contains(thalweg_state::key_group_of(key.key_hash(), 16))
    };
    for (half, name) in halves.into_iter().zip(["left", "right"]) {
        let options = LsmOptions::new(half, 16).store(name);
        let store = LsmStore::create_in(&root, options.clone(), None).unwrap();
        let mut states = States::<first::Count>::open(&store).unwrap();
        (0..KEYS).filter(|key| in_half(*key, half)).for_each(|key| states.write(key));
        states.checkpoint(&store, 1);
        drop((states, store));
        let store = LsmStore::open_in(&root, options, None).unwrap();
        let mut states = States::<second::Count>::open(&store).unwrap();
        // One of them goes through more epochs than the other before it does.
        let extra = if name == "left" { 5 } else { 0 };
        (2..2 + extra).for_each(|id| states.checkpoint(&store, id));
        (0..KEYS)
            .filter(|key| in_half(*key, half) && key % 5 == 0)
            .for_each(|key| states.write(key));
        states.checkpoint(&store, 20);
    }
    let sources = ["left", "right"]
        .map(|store| RestoreSource { store: store.into(), checkpoint: CheckpointId(20) });
    let store = LsmStore::restore_in(&root, options(false).store("both"), &sources, None).unwrap();
    let mut states = States::<second::Count>::open(&store).unwrap();
    check_second(&mut states, |key| key % 5 == 0);
    states.checkpoint(&store, 21);
    drop((states, store));
    let store = LsmStore::open_in(&root, options(false).store("both"), None).unwrap();
    let mut states = States::<second::Count>::open(&store).unwrap();
    check_second(&mut states, |key| key % 5 == 0);
}

#[test]
fn operator_state_evolves() {
    let list = |states: &mut OperatorStateStore, redistribution| {
        states.register_list(&ListStateDescriptor::<first::Count>::new("list"), redistribution)
    };
    for redistribution in [Redistribution::Split, Redistribution::Union] {
        let mut states = OperatorStateStore::new("rules");
        let written = list(&mut states, redistribution).unwrap();
        written.add_all(&mut states, (0..5).map(first::Count::written)).unwrap();
        let rules = MapStateDescriptor::<String, first::Count>::new("rules");
        let rules = states.register_broadcast(&rules).unwrap();
        rules.put(&mut states, "a".into(), first::Count::written(9)).unwrap();
        let snapshot = states.snapshot().unwrap();

        let mut states = OperatorStateStore::restored("rules", &[&snapshot], 0, 1).unwrap();
        let evolved = ListStateDescriptor::<second::Count>::new("list");
        let evolved = states.register_list(&evolved, redistribution).unwrap();
        let expected: Vec<_> = (0..5).map(second::Count::of_first).collect();
        assert_eq!(evolved.get(&states).unwrap(), expected);
        let rules = MapStateDescriptor::<String, second::Count>::new("rules");
        let rules = states.register_broadcast(&rules).unwrap();
        let found = rules.get(&states, &"a".into()).unwrap();
        assert_eq!(found, Some(second::Count::of_first(9)));

        let mut states = OperatorStateStore::restored("rules", &[&snapshot], 0, 1).unwrap();
        let refused = ListStateDescriptor::<third::Count>::new("list");
        let refused = states.register_list(&refused, redistribution).unwrap_err().to_string();
        let told = "state 'list' of operator 'rules' was written as OperatorListState<Count{";
        assert!(refused.starts_with(told), "{refused}");
        assert!(refused.contains(": field 'label' is new, of type String; say what"), "{refused}");
        let keys = MapStateDescriptor::<u64, first::Count>::new("rules");
        let keys = states.register_broadcast(&keys).unwrap_err().to_string();
        assert!(keys.contains("the type of keys is fixed"), "{keys}");
    }
}

/// All kinds of types at once.
type Mixed = (
    Vec<(u8, String)>,
    BTreeMap<u16, Option<Box<first::Count>>>,
    HashMap<String, [i32; 3]>,
    Vec<Vec<char>>,
    Option<(f32, bool, i128)>,
);
type Wider = (
    Vec<(u64, Option<String>)>,
    BTreeMap<u32, Option<second::Count>>,
    HashMap<String, [i64; 3]>,
    Vec<Vec<char>>,
    Option<(f64, bool, i128)>,
);

fn mixed() -> Mixed {
    (
        (0..20).map(|n| (n, name(n.into()))).collect(),
        (0..20)
            .map(|n| (n, (n % 3 > 0).then(|| Box::new(first::Count::written(n.into())))))
            .collect(),
        (0..20).map(|n| (name(n), [n as i32, -1, 7])).collect(),
        vec![vec!['a', 'ß'], vec![], vec!['x'; 9]],
        Some((0.5, true, -9)),
    )
}

/// What readers take whatever they read: the parsed schema, errors' texts.
const CONSTANT_BYTES: usize = 64 << 10;

#[test]
fn bytes_that_nobody_wrote_are_errors() {
    let now = SchemaDescription::of::<Wider>();
    let old = SchemaDescription::of::<Mixed>();
    let evolution = Evolution::between(old.text(), &now).unwrap();
    let bytes = mixed().to_archived().unwrap().to_vec();
    assert_eq!(Wider::from_old(evolution.old_type(), &bytes).unwrap().0.len(), 20);
    fuzz_with(
        INPUTS / 5,
        &[Seed::plain(bytes)],
        CONSTANT_BYTES,
        |_, bytes| bytes,
        |bytes| {
            drop(Wider::from_old(evolution.old_type(), bytes));
            let mut values = Vec::new();
            drop(Wider::from_old_all(evolution.old_type(), bytes, &mut values));
        },
    );
}

#[test]
fn schemas_that_nobody_wrote_are_errors() {
    let now = SchemaDescription::of::<Wider>();
    let texts =
        [SchemaDescription::of::<Mixed>().text(), now.text(), "A{a:Vec<A^0>,b:B[C,D{x:[u8;4]}]}"]
            .map(|text| Seed::plain(text.as_bytes().to_vec()));
    let bytes = mixed().to_archived().unwrap();
    let read = |text: &Vec<u8>| {
        let Ok(text) = std::str::from_utf8(text) else { return };
        if let Ok(evolution) = Evolution::between(text, &now) {
            drop(Wider::from_old(evolution.old_type(), &bytes));
        }
    };
    // A type takes some hundred bytes where its text takes two.
    let constant_bytes = CONSTANT_BYTES << 3;
    fuzz_with(INPUTS / 5, &texts, constant_bytes, |_, text| text, read);
}

#[test]
fn a_store_says_what_it_was_written_as() {
    let storage = written_by_the_first(false);
    let store = open(&storage, false);
    let mut states = States::<second::Count>::open(&store).unwrap();
    states.checkpoint(&store, 2);
    drop((states, store));
    let report = thalweg_state::inspect(Path::new(ROOT), storage, true).unwrap();
    assert!(report.is_sound(), "{report}");
    let report = report.to_string();
    assert!(report.contains("version 1 since epoch 2: ValueState<Count{number:u64"), "{report}");
}
