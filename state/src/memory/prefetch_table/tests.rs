use super::parted_table::{capacity_of, part_buckets};
use super::*;
use crate::test_random::SplitMix64;
use std::collections::BTreeMap;

/// So large that a part has the fewest buckets, and few entries make many parts.
type Wide = (u64, u64, [u64; 126]);
const WIDE_CAPACITY: u64 = capacity_of(part_buckets(size_of::<Wide>())) as u64;

fn wide(key: u64, value: u64) -> Wide {
    (key, value, [key; 126])
}

fn rehash_wide(entry: &Wide) -> KeyHash {
    KeyHash::of(&entry.0)
}

fn rehash(entry: &(u64, u64)) -> KeyHash {
    KeyHash::of(&entry.0)
}

/// All that can be read agrees with the model.
fn check(table: &PrefetchTable<Wide>, model: &BTreeMap<u64, u64>) {
    let pairs =
        |entries: Vec<&Wide>| entries.iter().map(|e| (e.0, e.1)).collect::<BTreeMap<_, _>>();
    assert_eq!(pairs(table.iter().collect()), *model);
    let walked: Vec<&Wide> = (0..table.bucket_count()).filter_map(|i| table.bucket(i)).collect();
    assert_eq!(walked.len(), model.len());
    assert_eq!(pairs(walked), *model);
    assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
    let buckets: usize = table.table.parts.iter().map(|part| part.table.num_buckets()).sum();
    assert_eq!(table.table.part_bucket_count, buckets);
}

#[test]
fn behaves_like_a_map_while_it_is_divided_emptied_and_filled_again() {
    for seed in 0..3 {
        let (mut table, mut model) = (PrefetchTable::new(), BTreeMap::new());
        let mut random = SplitMix64::new(seed);
        for phase in 0..8_u64 {
            // Filled with more and more keys, then emptied for the greater part.
            let keys = WIDE_CAPACITY * (phase + 1);
            let removals = if phase % 2 == 0 { 1 } else { 4 };
            for step in 0..15_000_u64 {
                let key = random.below(keys);
                let hash = KeyHash::of(&key);
                table.hint(hash);
                if random.below(5) < removals {
                    let removed = table.remove(hash, |entry: &Wide| entry.0 == key);
                    assert_eq!(removed.map(|e| e.1), model.remove(&key), "seed {seed} key {key}");
                } else {
                    let make = || wide(key, 0);
                    table.find_or_insert_with(hash, |e| e.0 == key, rehash_wide, make).1 += step;
                    *model.entry(key).or_insert(0) += step;
                }
                let read = random.below(keys);
                let found = table.find(KeyHash::of(&read), |entry| entry.0 == read);
                assert_eq!(found.map(|entry| &entry.1), model.get(&read), "seed {seed}");
            }
            check(&table, &model);
        }
        assert!(table.table.parts.len() >= 4, "{}", table.table.parts.len());
        table.retain(|entry| entry.0 % 3 == 0);
        model.retain(|key, _| key % 3 == 0);
        check(&table, &model);
        table.iter_mut().for_each(|entry| entry.1 += 1);
        model.values_mut().for_each(|value| *value += 1);
        check(&table, &model);
        table.clear();
        check(&table, &BTreeMap::new());
    }
}

#[test]
fn equal_histories_give_equal_orders() {
    let fill = || {
        let mut table = PrefetchTable::new();
        for key in 0..5 * WIDE_CAPACITY {
            table.insert_unique(KeyHash::of(&key), wide(key, 0), rehash_wide);
        }
        table.iter().map(|entry| entry.0).collect::<Vec<_>>()
    };
    assert_eq!(fill(), fill());
}

/// The keys of one subtask of many, whose hashes share leading bits, divide as others do.
#[test]
fn keys_of_one_subtask_are_divided() {
    let in_group = |key: &u64| crate::key_group_of(KeyHash::of(key), 128).0 == 77;
    let keys: Vec<u64> = (0..).filter(in_group).take(6 * WIDE_CAPACITY as usize).collect();
    let mut table = PrefetchTable::new();
    for key in &keys {
        table.insert_unique(KeyHash::of(key), wide(*key, *key), rehash_wide);
    }
    check(&table, &keys.iter().map(|key| (*key, *key)).collect());
    let most = table.table.parts.iter().map(|part| part.table.num_buckets()).max();
    assert_eq!(most, Some(PartedTable::<Wide, ()>::PART_BUCKETS));
    assert!(table.table.parts.len() < 7 + 17, "{}", table.table.parts.len());
    // One of another group goes to a part that was empty.
    let other = (0..).find(|key| !in_group(key)).unwrap();
    table.insert_unique(KeyHash::of(&other), wide(other, 1), rehash_wide);
    assert_eq!(table.find(KeyHash::of(&other), |e| e.0 == other).map(|e| e.1), Some(1));
}

/// Entries of one hash cannot be divided: their part grows, and is walked to its end.
#[test]
fn entries_of_one_hash_stay_together() {
    let hash_of = |entry: &Wide| KeyHash::from_u32(if entry.1 == 0 { 7 } else { entry.0 as u32 });
    let (mut table, mut model) = (PrefetchTable::new(), BTreeMap::new());
    for key in 0..3 * WIDE_CAPACITY {
        let entry = wide(key, key % 4);
        table.insert_unique(hash_of(&entry), entry, hash_of);
        model.insert(key, key % 4);
    }
    check(&table, &model);
    for key in 3 * WIDE_CAPACITY..6 * WIDE_CAPACITY {
        table.insert_unique(KeyHash::from_u32(7), wide(key, 0), hash_of);
        model.insert(key, 0);
    }
    assert!(table.table.excess_bucket_count > 0);
    check(&table, &model);
    for key in (3 * WIDE_CAPACITY..6 * WIDE_CAPACITY).rev() {
        assert!(table.remove(KeyHash::from_u32(7), |entry| entry.0 == key).is_some());
        model.remove(&key);
    }
    check(&table, &model);
}

#[test]
fn learns_where_the_buckets_lie() {
    let mut table = PrefetchTable::new();
    assert!(!table.is_deep());
    for key in 0..20_000_u64 {
        table.insert_unique(KeyHash::of(&key), (key, 0), rehash);
    }
    assert!(table.is_deep());
    assert_eq!(table.table.whole_bucket_mask, table.table.whole.table.num_buckets() - 1);
    check_control(&table.table.whole.table, table.table.whole_control);
    for key in 20_000..200_000_u64 {
        table.insert_unique(KeyHash::of(&key), (key, 0), rehash);
    }
    assert!(table.is_deep());
    assert!(table.table.parts.len() >= 8);
    for key in 0..200_000_u64 {
        let hash = KeyHash::of(&key);
        // SAFETY: there are parts.
        check_control(&table.table.part(hash).table, unsafe {
            table.table.parts.control_unchecked(hash)
        });
    }
}

fn check_control(part: &hashbrown::HashTable<(u64, u64), TableMemory>, control: *const u8) {
    let (index, entry) =
        (0..).find_map(|index| part.get_bucket(index).map(|entry| (index, entry))).unwrap();
    let computed = control.wrapping_sub((index + 1) * size_of::<(u64, u64)>());
    assert_eq!(computed.addr(), std::ptr::from_ref(entry).addr());
}

#[test]
fn zero_sized_entries_and_empty_tables_take_hints() {
    let mut table = PrefetchTable::<()>::new();
    table.hint(KeyHash::from_u32(u32::MAX));
    table.insert_unique(KeyHash::from_u32(1), (), |_| KeyHash::from_u32(1));
    assert!(!table.is_deep());
    table.hint(KeyHash::from_u32(u32::MAX));
    assert_eq!(table.find(KeyHash::from_u32(1), |_| true), Some(&()));
}

/// Bits that choose parts say nothing about buckets: a part of the greatest depth that 10 M keys reach fills evenly.
#[test]
fn parts_leave_bucket_bits_alone() {
    let mut counts = [0_u32; 1024];
    let mut count = 0;
    for key in 0..20_000_000_u64 {
        let hash = KeyHash::of(&key);
        if crate::key_group::group_bits(hash) >> 23 == 300 {
            counts[hash.as_u32() as usize % 1024] += 1;
            count += 1;
        }
    }
    let mean = f64::from(count) / 1024.0;
    let chi_square: f64 = counts.iter().map(|seen| (f64::from(*seen) - mean).powi(2) / mean).sum();
    assert!(chi_square < 1200.0, "{chi_square}"); // 1023 degrees of freedom: p = 0.0001
}

/// What lies in each bucket.
#[derive(Default)]
struct Keys(BTreeMap<usize, u64>);

impl Marks for Keys {
    const ARE_CARRIED: bool = true;

    fn successor(&self, _buckets: usize) -> Self {
        Keys::default()
    }

    fn carry(&self, from: usize, other: &mut Self, to: usize) {
        other.0.insert(to, self.0[&from]);
    }
}

/// Entries are given up in the order of their buckets, so that marks stay with them.
#[test]
fn marks_follow_their_entries() {
    let mut table = PartedTable::<Wide, Keys>::new(Keys::default());
    for key in 0..5 * WIDE_CAPACITY {
        let hash = KeyHash::of(&key);
        let part = table.part_with_room(hash, rehash_wide);
        let entry = part.table.insert_unique(hash.wide(), wide(key, 1), |_| unreachable!());
        part.marks.0.insert(entry.bucket_index(), key);
        if key % 3 == 0 {
            let bucket = entry.bucket_index();
            entry.remove();
            part.marks.0.remove(&bucket);
        }
    }
    assert!(table.parts.len() > 5);
    for part in table.tables() {
        assert_eq!(part.marks.0.len(), part.table.len());
        let lies_in = |(bucket, key): (&usize, &u64)| {
            part.table.get_bucket(*bucket).is_some_and(|entry| entry.0 == *key)
        };
        assert!(part.marks.0.iter().all(lies_in));
    }
}

/// A copy that is made part by part while the table changes, each part before its first change.
#[test]
fn a_copy_by_parts_is_the_table_as_it_was() {
    for (seed, entries) in
        [(1, 3), (2, WIDE_CAPACITY / 2), (3, WIDE_CAPACITY), (4, 9 * WIDE_CAPACITY)]
    {
        let (mut table, mut model) = (PrefetchTable::new(), BTreeMap::new());
        let mut random = SplitMix64::new(seed);
        let add = |table: &mut PrefetchTable<Wide>, key: u64| {
            let make = || wide(key, 0);
            table.find_or_insert_with(KeyHash::of(&key), |e| e.0 == key, rehash_wide, make).1 += 1;
        };
        for key in 0..entries {
            add(&mut table, key);
            model.insert(key, 1);
        }
        let mut missing: Vec<usize> = (0..table.part_count()).collect();
        let mut copy = BTreeMap::new();
        let mut take = |table: &PrefetchTable<Wide>, part| {
            let buckets = 0..table.part_bucket_count(part);
            let entries = buckets.filter_map(|index| table.part_bucket(part, index));
            entries.for_each(|entry| assert_eq!(copy.insert(entry.0, entry.1), None));
        };
        while let Some(part) = missing.first().copied() {
            for _ in 0..200 {
                let key = random.below(4 * entries);
                let touched = table.part_of(KeyHash::of(&key));
                if let Some(at) = missing.iter().position(|part| *part == touched) {
                    take(&table, missing.swap_remove(at));
                }
                add(&mut table, key);
            }
            if let Some(at) = missing.iter().position(|missing| *missing == part) {
                take(&table, missing.swap_remove(at));
            }
        }
        assert_eq!(copy, model, "seed {seed}");
        let walked = (0..table.part_count()).map(|part| {
            (0..table.part_bucket_count(part))
                .filter(|i| table.part_bucket(part, *i).is_some())
                .count()
        });
        assert_eq!(walked.sum::<usize>(), table.len());
    }
}
