//! The tables of the state crate beside plain hashbrown: one update by key, and timers; keys in batches of 512.
//!
//! - `hashbrown`: a `HashTable` with the same key hash and no prefetch;
//! - `prefetch_table`: a hint 16 keys ahead where the table is deep;
//! - `row_store`: index, row and a state handle, hinted in two stages, as a process function uses it;
//! - `timer_queue` and `b_tree_set`: with so many timers standing, pop the first and register another.

mod support;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use hashbrown::HashTable;
use std::collections::BTreeSet;
use thalweg::state::{
    Key, KeyHash, PrefetchTable, RowId, RowStore, StateRegistrar, Timer, TimerQueue, ValueState,
    ValueStateDescriptor,
};
use thalweg_benches::digest::splitmix64;

const BATCH: usize = 512;
/// Updates of one iteration.
const UPDATES: u64 = 1 << 19;
/// How far ahead hints are given: bucket, then row.
const BUCKET_AHEAD: usize = 16;
const ROW_AHEAD: usize = 8;
/// Timers lie within this time of the one that is popped.
const TIMER_SPREAD_MS: u64 = 60_000;

/// The keys of an iteration, with their hashes, as a block brings them.
struct Input {
    keys: Vec<u64>,
    hashes: Vec<KeyHash>,
}

impl Input {
    fn new(keys: u64) -> Self {
        let keys: Vec<u64> = (0..UPDATES).map(|i| splitmix64(i) % keys).collect();
        let hashes = keys.iter().map(Key::key_hash).collect();
        Input { keys, hashes }
    }

    fn batches(&self) -> impl Iterator<Item = (&[u64], &[KeyHash])> {
        self.keys.chunks(BATCH).zip(self.hashes.chunks(BATCH))
    }
}

fn rehash(entry: &(u64, u64)) -> KeyHash {
    entry.0.key_hash()
}

fn update_hashbrown(table: &mut HashTable<(u64, u64)>, input: &Input) {
    for (key, hash) in input.keys.iter().zip(&input.hashes) {
        let rehash = |entry: &(u64, u64)| rehash(entry).wide();
        let entry = table.entry(hash.wide(), |entry| entry.0 == *key, rehash);
        entry.or_insert((*key, 0)).into_mut().1 += 1;
    }
}

fn update_prefetch_table(table: &mut PrefetchTable<(u64, u64)>, input: &Input) {
    for (keys, hashes) in input.batches() {
        let is_deep = table.is_deep();
        for (i, key) in keys.iter().enumerate() {
            if is_deep && let Some(ahead) = hashes.get(i + BUCKET_AHEAD) {
                table.hint(*ahead);
            }
            let make = || (*key, 0);
            table.find_or_insert_with(hashes[i], |e| e.0 == *key, rehash, make).1 += 1;
        }
    }
}

fn update_row_store(rows: &mut RowStore<u64>, count: &ValueState<u64>, input: &Input) {
    for (keys, hashes) in input.batches() {
        let is_deep = rows.is_deep();
        for (i, key) in keys.iter().enumerate() {
            if is_deep {
                if let Some(ahead) = hashes.get(i + BUCKET_AHEAD) {
                    rows.hint(*ahead);
                }
                if let Some(ahead) = hashes.get(i + ROW_AHEAD) {
                    rows.hint_row(*ahead);
                }
            }
            let (mut cursor, _) = rows.enter(hashes[i], key).expect("fewer than 2^32 keys");
            count.modify(&mut cursor, |n| *n += 1).expect("the handle is of this store");
        }
    }
}

fn row_store() -> (RowStore<u64>, ValueState<u64>) {
    let mut registrar = StateRegistrar::new::<u64>("bench");
    let count = registrar.register_value(&ValueStateDescriptor::<u64>::new("count"));
    let rows = RowStore::new(registrar).expect("one small state fits into a row");
    (rows, count.expect("the name is new"))
}

/// One round over the input has counted each of its keys as often as it occurs.
fn check(input: &Input, mut count_of: impl FnMut(u64, KeyHash) -> u64) {
    for (key, hash) in input.keys.iter().zip(&input.hashes).take(100) {
        let occurrences = input.keys.iter().filter(|other| *other == key).count() as u64;
        assert_eq!(count_of(*key, *hash), occurrences, "key {key}");
    }
}

/// Update by key. The first round fills the table and is checked; the measured ones find every key.
fn updates(group: &mut BenchmarkGroup<'_, WallTime>, keys: u64) {
    let input = Input::new(keys);
    group.throughput(Throughput::Elements(UPDATES));

    let mut table = HashTable::new();
    update_hashbrown(&mut table, &input);
    check(&input, |key, hash| table.find(hash.wide(), |e| e.0 == key).map_or(0, |e| e.1));
    group.bench_function(BenchmarkId::new("hashbrown", keys), |bencher| {
        bencher.iter(|| update_hashbrown(&mut table, &input));
    });

    let mut table = PrefetchTable::new();
    update_prefetch_table(&mut table, &input);
    check(&input, |key, hash| table.find(hash, |e| e.0 == key).map_or(0, |e| e.1));
    group.bench_function(BenchmarkId::new("prefetch_table", keys), |bencher| {
        bencher.iter(|| update_prefetch_table(&mut table, &input));
    });

    let (mut rows, count) = row_store();
    update_row_store(&mut rows, &count, &input);
    check(&input, |key, hash| {
        let (cursor, _) = rows.enter(hash, &key).expect("the key is there");
        count.value(&cursor).expect("the handle is of this store").unwrap_or(0)
    });
    group.bench_function(BenchmarkId::new("row_store", keys), |bencher| {
        bencher.iter(|| update_row_store(&mut rows, &count, &input));
    });
}

/// The time of the timer that takes the place of the one popped at `popped_ms`.
fn next_ms(popped_ms: i64, round: u64) -> i64 {
    popped_ms + 1 + (splitmix64(round) % TIMER_SPREAD_MS) as i64
}

fn timers(group: &mut BenchmarkGroup<'_, WallTime>, standing: u64) {
    let (mut rows, _) = row_store();
    let rows: Vec<RowId> = (0..standing)
        .map(|key| rows.find_or_insert(key.key_hash(), &key).expect("fewer than 2^32 keys"))
        .collect();
    let first = |i: usize| next_ms(0, i as u64);
    let mut queue = TimerQueue::new();
    let mut set = BTreeSet::new();
    for (i, row) in rows.iter().enumerate() {
        queue.register(Timer { timestamp_ms: first(i), row: *row });
        set.insert((first(i), i as u64, *row));
    }
    let pop_queue = |queue: &mut TimerQueue, round| {
        let popped = queue.pop_due(i64::MAX).expect("as many are registered as popped");
        let timestamp_ms = next_ms(popped.timestamp_ms, round);
        queue.register(Timer { timestamp_ms, row: popped.row });
        (popped.timestamp_ms, popped.row)
    };
    // Of one time, the one that was registered first comes first.
    let pop_set = |set: &mut BTreeSet<(i64, u64, RowId)>, round| {
        let (timestamp_ms, _, row) = set.pop_first().expect("as many are registered as popped");
        set.insert((next_ms(timestamp_ms, round), standing + round, row));
        (timestamp_ms, row)
    };
    for round in 0..standing {
        assert_eq!(pop_queue(&mut queue, round), pop_set(&mut set, round), "round {round}");
    }
    group.throughput(Throughput::Elements(1));
    let mut round = standing;
    group.bench_function(BenchmarkId::new("timer_queue", standing), |bencher| {
        bencher.iter(|| {
            round += 1;
            pop_queue(&mut queue, round)
        });
    });
    group.bench_function(BenchmarkId::new("b_tree_set", standing), |bencher| {
        bencher.iter(|| {
            round += 1;
            pop_set(&mut set, round)
        });
    });
}

fn state_table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("state_table");
    for keys in [1_000, 1_000_000] {
        updates(&mut group, keys);
        timers(&mut group, keys);
    }
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = state_table }
criterion_main!(benches);
