use super::model::{
    DeltaShape, ModelSource, address_of, merged_rows, model_rows, play, random_delta,
};
use super::{CanonicalRow, Keep, RowMerge};
use crate::KeyGroupRange;
use crate::backend::{Epoch, MemoryTier};
use crate::codec::{Record, RecordKind, RowWriter, TableId, decode_row};
use crate::test_random::SplitMix64;

const TABLE: TableId = TableId(3);
const ALL: KeyGroupRange = KeyGroupRange { start: 0, end: 4 };

/// The deltas of a run, the newest first, and the model after them.
fn run(seed: u64, shape: DeltaShape) -> (Vec<Vec<u8>>, MemoryTier) {
    let mut random = SplitMix64::new(seed);
    let mut tier = MemoryTier::new();
    let mut deltas = Vec::new();
    for epoch in 1..=1 + random.below(6) {
        let delta = random_delta(&mut random, shape);
        play(&mut tier, TABLE, Epoch(epoch), &delta);
        deltas.insert(0, delta);
    }
    (deltas, tier)
}

fn sources(deltas: &[Vec<u8>]) -> Vec<ModelSource> {
    deltas.iter().map(|delta| ModelSource::of_delta(TABLE, delta)).collect()
}

#[test]
fn merged_deltas_are_what_the_model_has() {
    for seed in 0..1_000 {
        let (deltas, mut tier) = run(seed, DeltaShape::SMALL);
        for now_ms in [i64::MIN, 50, i64::MAX] {
            let merged = merged_rows(&mut RowMerge::new(sources(&deltas)), now_ms);
            assert_eq!(merged, model_rows(&mut tier, TABLE, ALL, now_ms), "seed {seed}");
        }
    }
}

/// Any stretch of sources, merged at an earlier time with its removals, may stand for them.
#[test]
fn a_merge_may_stand_for_its_sources() {
    for seed in 0..1_000 {
        let (deltas, mut tier) = run(seed, DeltaShape { keys: 6, ..DeltaShape::SMALL });
        let mut random = SplitMix64::new(!seed);
        let now_ms = random.below(100) as i64;
        let start = random.below(deltas.len() as u64) as usize;
        let end = start + 1 + random.below((deltas.len() - start) as u64) as usize;
        let mut merge = RowMerge::new(sources(&deltas[start..end]));
        let merged_at_ms = random.below(now_ms as u64 + 1) as i64;
        let stretch = ModelSource::of_merge(&mut merge, merged_at_ms);
        let mut all = sources(&deltas);
        all.splice(start..end, [stretch]);
        let merged = merged_rows(&mut RowMerge::new(all), now_ms);
        assert_eq!(merged, model_rows(&mut tier, TABLE, ALL, now_ms), "seed {seed}");
    }
}

fn check_canonical(records: &[Record<'_>], expected: &[Record<'_>]) {
    let mut out = Vec::new();
    let (group, hash, key) = address_of(1, 4);
    // Each record as a row of its own, and all as one row.
    for rows in [records.chunks(1).collect::<Vec<_>>(), vec![records]] {
        out.clear();
        for records in rows {
            let mut row = RowWriter::begin(&mut out, group, hash, &key);
            records.iter().for_each(|record| row.write(*record));
            row.finish();
        }
        let mut rest = out.as_slice();
        let mut rows = Vec::new();
        while !rest.is_empty() {
            rows.push(decode_row(&mut rest).unwrap());
        }
        let mut row = CanonicalRow::default();
        match *rows {
            [once] => row.fill_with(once).unwrap(),
            _ => row.fill(rows.iter().copied()).unwrap(),
        }
        for expected in expected {
            assert_eq!(row.record().as_ref(), Some(expected), "of {records:?}");
            row.next_record().unwrap();
        }
        assert_eq!(row.record(), None, "of {records:?}");
    }
}

#[test]
fn what_is_written_later_wins() {
    let remove_row = Record::remove(RecordKind::RemoveRow, 0, &[]);
    let remove_state = Record::remove(RecordKind::RemoveState, 2, &[]);
    let remove_entry = Record::remove(RecordKind::RemoveEntry, 2, b"a");
    let entry = Record { sub: b"a", ..Record::put(2, b"1") };
    let other = Record { sub: b"b", ..Record::put(2, b"2") };
    let value = Record::put(1, b"3");
    check_canonical(&[other, entry], &[entry, other]);
    check_canonical(&[entry, remove_entry], &[remove_entry]);
    check_canonical(&[remove_entry, entry], &[entry]);
    check_canonical(&[entry, remove_state, other], &[remove_state, other]);
    check_canonical(&[remove_state, entry, remove_entry], &[remove_state]);
    check_canonical(&[value, entry, remove_row, other], &[remove_row, other]);
    check_canonical(&[remove_state, remove_entry, remove_row], &[remove_row]);
    check_canonical(&[other, value, remove_state, entry], &[value, remove_state, entry]);
    check_canonical(&[remove_row, value, remove_row], &[remove_row]);
}

#[test]
fn an_expired_put_is_a_removal() {
    let (group, hash, key) = address_of(1, 4);
    let delta = |record: Record<'_>| {
        let mut out = Vec::new();
        let mut row = RowWriter::begin(&mut out, group, hash, &key);
        row.write(record);
        row.finish();
        ModelSource::of_delta(TABLE, &out)
    };
    let newer = Record { expires_at_ms: Some(10), ..Record::put(1, b"new") };
    let older = Record::put(1, b"old");
    for (now_ms, expected) in [(9, Some(newer)), (10, None)] {
        let mut merge = RowMerge::new(vec![delta(newer), delta(older)]);
        assert!(merge.next_row().unwrap());
        assert_eq!(merge.next_record(Keep::live(now_ms)).unwrap(), expected);
    }
    let mut merge = RowMerge::new(vec![delta(newer), delta(older)]);
    assert!(merge.next_row().unwrap());
    let removal = Record::remove(RecordKind::RemoveEntry, 1, &[]);
    let keep = Keep { now_ms: 10, removals: true };
    assert_eq!(merge.next_record(keep).unwrap(), Some(removal));
    assert_eq!(merge.next_record(keep).unwrap(), None);
    assert!(!merge.next_row().unwrap());
}
