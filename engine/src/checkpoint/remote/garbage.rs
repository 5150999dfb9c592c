//! What is removed of a place: indexes of copies that are not kept, parts that no kept copy has, claims of earlier epochs.
//!
//! **Invariants**
//! - Indexes go before their parts, so that an index that is there has its parts.
//! - Nothing is removed by a process that has lost the place: it looks before each batch.
//! - As long as an index is kept that cannot be read no part is removed: nobody knows which it needs.

use super::claim::Claimed;
use super::index::{Index, IndexName};
use super::objects::Objects;
use super::part::PartHash;
use super::{RemoteError, crash_points, owner};
use std::collections::{BTreeMap, HashMap, HashSet};
use thalweg_io::crash_point;

/// Objects that are removed by one request.
const BATCH: usize = 256;

/// What is to be removed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Garbage {
    indexes: Vec<IndexName>,
    parts: Vec<PartHash>,
}

/// Removes what `retained` copies do not need; how many objects.
pub(super) fn collect(
    claimed: &mut Claimed,
    objects: &dyn Objects,
    retained: usize,
) -> Result<u64, RemoteError> {
    let Garbage { indexes, parts } = garbage(&claimed.indexes, &claimed.parts, retained);
    let mut removed = 0;
    for batch in indexes.chunks(BATCH) {
        claimed.confirm(objects)?;
        objects.remove_all(&batch.iter().map(IndexName::object).collect::<Vec<_>>())?;
        batch.iter().for_each(|name| drop(claimed.indexes.remove(name)));
        removed += batch.len() as u64;
    }
    if !indexes.is_empty() {
        crash_point(crash_points::INDEXES_REMOVED);
    }
    for batch in parts.chunks(BATCH) {
        claimed.confirm(objects)?;
        // Forgotten first: one that is gone, although the answer was lost, must not be taken for there.
        claimed.parts.retain(|part, _| batch.binary_search(part).is_err());
        objects.remove_all(&batch.iter().map(PartHash::object).collect::<Vec<_>>())?;
        crash_point(crash_points::PARTS_REMOVED);
        removed += batch.len() as u64;
    }
    let owners = objects.list(owner::FOLDER)?;
    let earlier = |name: &String| owner::epoch_of(name).is_some_and(|epoch| epoch < claimed.epoch);
    let earlier: Vec<String> =
        owners.into_iter().map(|object| object.name).filter(earlier).collect();
    if !earlier.is_empty() {
        objects.remove_all(&earlier)?;
    }
    Ok(removed + earlier.len() as u64)
}

fn garbage(
    indexes: &BTreeMap<IndexName, Option<Index>>,
    parts: &HashMap<PartHash, u64>,
    retained: usize,
) -> Garbage {
    let dropped = indexes.len().saturating_sub(retained);
    let kept: Vec<_> = indexes.values().skip(dropped).collect();
    let indexes = indexes.keys().take(dropped).copied().collect();
    if kept.iter().any(|index| index.is_none()) {
        return Garbage { indexes, parts: Vec::new() };
    }
    let needed: HashSet<PartHash> = kept.into_iter().flatten().flat_map(Index::parts).collect();
    let mut parts: Vec<_> = parts.keys().filter(|part| !needed.contains(part)).copied().collect();
    parts.sort_unstable();
    Garbage { indexes, parts }
}

#[cfg(test)]
mod tests {
    use super::super::index::IndexedFile;
    use super::super::part::PartRef;
    use super::*;
    use crate::record::CheckpointId;

    fn part(byte: u8) -> PartHash {
        PartHash::of(&[byte])
    }

    fn named(epoch: u64, checkpoint: u64, parts: &[u8]) -> (IndexName, Option<Index>) {
        let name = IndexName { epoch, checkpoint: CheckpointId(checkpoint) };
        let parts = parts.iter().map(|byte| PartRef { hash: part(*byte), length_bytes: 1 });
        let file = IndexedFile { name: "f".to_owned(), parts: parts.collect() };
        let index = Index {
            job: "job".to_owned(),
            checkpoint: name.checkpoint,
            epoch,
            taken_at_ms: 0,
            commits: false,
            commits_waited: false,
            is_final: false,
            files: vec![file],
        };
        (name, Some(index))
    }

    fn check(indexes: &[(IndexName, Option<Index>)], retained: usize, expected: (&[usize], &[u8])) {
        let parts = (0..10).map(|byte| (part(byte), 1)).collect();
        let found = garbage(&indexes.iter().cloned().collect(), &parts, retained);
        let names: Vec<_> = expected.0.iter().map(|at| indexes[*at].0).collect();
        let mut hashes: Vec<_> = expected.1.iter().map(|byte| part(*byte)).collect();
        hashes.sort_unstable();
        assert_eq!(found, Garbage { indexes: names, parts: hashes });
    }

    #[test]
    fn what_kept_copies_need_stays() {
        let mut indexes = [
            named(1, 9, &[0, 1]),
            named(2, 3, &[1, 2]),
            named(2, 4, &[2, 3, 4]),
            named(3, 4, &[4, 5]),
        ];
        check(&indexes, 1, (&[0, 1, 2], &[0, 1, 2, 3, 6, 7, 8, 9]));
        check(&indexes, 2, (&[0, 1], &[0, 1, 6, 7, 8, 9]));
        check(&indexes, 9, (&[], &[6, 7, 8, 9]));
        check(&[], 1, (&[], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
        indexes[2].1 = None;
        check(&indexes, 2, (&[0, 1], &[]));
        check(&indexes, 1, (&[0, 1, 2], &[0, 1, 2, 3, 6, 7, 8, 9]));
    }
}
