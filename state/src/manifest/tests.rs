use thalweg_io::block::{BlockOwner, FileId};
use thalweg_io::checkpoint_file::FileSeal;

use super::edit::{decode, encode};
use super::*;
use crate::KeyGroupRange;
use crate::backend::Epoch;
use crate::codec::{RowPrefix, TableId};
use crate::snapshot::CheckpointId;

const GROUPS: KeyGroupRange = KeyGroupRange { start: 3, end: 77 };

fn file(id: u64, level: u8, smallest: u64, largest: u64) -> FileMeta {
    let owner = BlockOwner { file_id: FileId(id), epoch: 4 };
    FileMeta {
        seal: FileSeal { owner, block_count: 5, length_bytes: 6, digest: 7 },
        level,
        first_epoch: Epoch(2),
        last_epoch: Epoch(id),
        tables: [TableId(0), TableId(9)].into(),
        groups: GROUPS,
        smallest: RowPrefix(smallest),
        largest: RowPrefix(largest),
        row_count: 10,
        removal_count: 11,
        half_expired_at_ms: -12,
    }
}

fn identity() -> Identity {
    Identity {
        store: "slot".into(),
        groups: GROUPS,
        max_parallelism: 128,
        key_hash_version: 1,
        key_hash_name: "thalweg-1".into(),
    }
}

fn schema(text: &str) -> StoredSchema {
    StoredSchema { fingerprint: 99, text: text.into() }
}

/// One record of each kind.
fn sample() -> Vec<EditRecord> {
    let (table, id) = (TableId(9), CheckpointId(5));
    let source = Source { store: "other".into(), checkpoint: id, groups: GROUPS };
    vec![
        EditRecord::Identity(identity()),
        EditRecord::Source(source),
        EditRecord::Table { table, name: "rows".into(), key: schema("u64") },
        EditRecord::State { table, state: 2, name: "sum".into(), schema: schema("f32") },
        EditRecord::Version {
            table,
            state: 2,
            version: 1,
            schema: LaterSchema { since: Epoch(3), all_since: Epoch(4), schema: schema("f64") },
        },
        EditRecord::Add { is_live: true, file: file(20, 1, 5, 9) },
        EditRecord::Add { is_live: false, file: file(21, 0, 5, 9) },
        EditRecord::Epoch(Epoch(21)),
        EditRecord::CheckpointOf {
            id,
            epoch: Epoch(21),
            files: vec![(file(21, 0, 5, 9).part(), 0)],
        },
        EditRecord::Checkpoint { id: CheckpointId(6), epoch: Epoch(22) },
        EditRecord::Release(CheckpointId(4)),
    ]
}

fn bytes_of(records: &[EditRecord]) -> Vec<u8> {
    let mut bytes = Vec::new();
    records.iter().for_each(|record| encode(record, &mut bytes));
    bytes
}

fn contents_of(records: &[EditRecord]) -> Contents {
    let mut contents = Contents::new(identity());
    contents.apply(records).unwrap();
    contents
}

#[test]
fn edits_round_trip() {
    let remove = EditRecord::Remove(file(20, 1, 5, 9).part());
    let records = [sample(), vec![remove]].concat();
    assert_eq!(decode(&bytes_of(&records)).unwrap(), records);
}

#[test]
fn cut_edits_are_refused_where_they_are_cut() {
    let bytes = bytes_of(&sample());
    let mut starts = vec![0];
    for record in sample() {
        starts.push(starts.last().unwrap() + bytes_of(&[record]).len());
    }
    for length in 0..bytes.len() {
        match decode(&bytes[..length]) {
            Ok(records) => assert_eq!(starts[records.len()], length),
            Err(error) => {
                let start = starts.iter().rfind(|start| **start < length).unwrap();
                assert_eq!(error.offset, *start);
            }
        }
    }
    assert!(decode(&[200]).unwrap_err().what.contains("tag 200"));
}

#[test]
fn a_snapshot_says_all_that_the_edits_said() {
    let contents = contents_of(&sample());
    let again = contents_of(&contents.snapshot());
    assert_eq!(again.snapshot(), contents.snapshot());
    assert_eq!(again.referenced(), contents.referenced());
    assert_eq!(again.checkpoints.len(), 2);
    let names = |id| -> Vec<u64> {
        let files = again.checkpoints[&CheckpointId(id)].version.files();
        files.map(|file| file.id().0).collect()
    };
    assert_eq!((names(5), names(6)), (vec![21], vec![20]));
}

#[test]
fn a_moved_file_stays_where_it_was_in_older_checkpoints() {
    let mut contents = contents_of(&sample());
    let moved = file(20, 2, 5, 9);
    let remove = EditRecord::Remove(moved.part());
    contents.apply(&[remove, EditRecord::Add { is_live: true, file: moved }]).unwrap();
    let again = contents_of(&contents.snapshot());
    assert_eq!(again.live.level(2).len(), 1);
    assert_eq!(again.checkpoints[&CheckpointId(6)].version.level(1).len(), 1);
    let rewound = again.rewound_to(CheckpointId(6)).unwrap();
    assert_eq!((rewound.live.level(1).len(), rewound.live.level(2).len()), (1, 0));
    assert!(rewound.rewound_to(CheckpointId(7)).is_none());
}

#[test]
fn edits_that_do_not_fit_are_refused() {
    let refused = |record: EditRecord, expected: &str| {
        let what = contents_of(&sample()).apply(&[record]).unwrap_err();
        assert!(what.contains(expected), "{what}");
    };
    let overlapping = EditRecord::Add { is_live: true, file: file(22, 1, 9, 12) };
    refused(overlapping, "disjoint files in level 1, found file 22");
    refused(EditRecord::Remove(file(23, 1, 5, 9).part()), "expected file 23");
    let (id, epoch, files) = (CheckpointId(8), Epoch(9), vec![(file(24, 0, 1, 2).part(), 0)]);
    refused(EditRecord::CheckpointOf { id, epoch, files }, "a description of file 24");
    let other = Identity { store: "else".into(), ..identity() };
    refused(EditRecord::Identity(other), "expected edits of store 'slot', found 'else'");
    let (table, name) = (TableId(77), "orphan".into());
    let orphan = EditRecord::State { table, state: 0, name, schema: schema("u8") };
    refused(orphan, "expected a table for state 'orphan'");
}
