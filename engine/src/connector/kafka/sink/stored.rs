//! What checkpoints hold of an exactly-once sink: the records of each epoch that is not committed, written ahead.
//!
//! # Format, version 1, behind the header of all pieces
//! ```text
//! head length u32 | head: rkyv archive of `Head` | the packed records of each epoch, one epoch behind the other
//! ```
//! The blocks of the checkpoint's file are under checksums; lengths, counts and every record are checked when it is read.
//!
//! **Invariant**: epochs ascend in checkpoints.

use super::chunk::{Chunk, count_entries};
use crate::Result;
use crate::checkpoint::piece_bytes::{PieceBytes, SharedBytes};
use crate::function::ArchivedState;
use crate::operator::pieces::value_header;
use crate::state::{Schema, SchemaBuilder, StateError, StateValue};
use rkyv::util::AlignedVec;
use std::sync::Arc;
use thalweg_state::KeyHasher;

/// Where the transactions of a subtask are, and what they are told apart by.
#[crate::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Of the transactional ids and groups.
    pub(super) prefix: String,
    /// Of records that name none, and of the markers.
    pub(super) topic: String,
    /// Which run of the job has begun to write markers: two runs that use one prefix count checkpoints alike.
    pub(super) run: u64,
}

/// All but the records.
#[crate::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) identity: Identity,
    /// Checkpoint, records, bytes.
    pub(super) epochs: Vec<(u64, u64, u64)>,
}

/// The records between two barriers.
#[derive(Clone, Debug)]
pub(super) struct Epoch {
    /// Numbers the epochs of an attempt from 0; decides the lane.
    pub(super) sequence: u64,
    /// When it was begun, by the wall clock.
    pub(super) begun_ms: i64,
    pub(super) chunks: Arc<Vec<Arc<Chunk>>>,
}

/// An epoch as a checkpoint has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredEpoch {
    pub(super) checkpoint: u64,
    pub(super) records: u64,
    pub(super) bytes: Vec<u8>,
}

/// What a subtask has in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredEpochs {
    pub(super) identity: Identity,
    pub(super) epochs: Vec<StoredEpoch>,
}

impl Epoch {
    pub(super) fn records(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.records).sum()
    }

    pub(super) fn length_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }
}

/// The state at a barrier. The records are not copied before the checkpoint is written.
pub(super) fn archive<'a>(
    identity: &Identity,
    epochs: impl Iterator<Item = (u64, &'a Epoch)> + Clone,
) -> Result<ArchivedState> {
    let told = epochs
        .clone()
        .map(|(checkpoint, epoch)| (checkpoint, epoch.records(), epoch.length_bytes() as u64));
    let head = Head { identity: identity.clone(), epochs: told.collect() }.to_archived()?;
    let mut bytes = value_header::<StoredEpochs>();
    bytes.extend_from_slice(&u32::try_from(head.len())?.to_le_bytes());
    bytes.extend_from_slice(&head);
    let chunks = epochs.flat_map(|(_, epoch)| epoch.chunks.iter().cloned());
    let shared = chunks.map(|chunk| chunk as SharedBytes).collect();
    Ok(ArchivedState::from_bytes(PieceBytes::with_shared(bytes, shared)))
}

impl Schema for StoredEpochs {
    fn describe(out: &mut SchemaBuilder) {
        out.container("KafkaSinkEpochs1", &[Head::describe]);
    }
    fn hash_key(&self, hasher: &mut KeyHasher) {
        self.identity.hash_key(hasher);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the epochs of a Kafka sink are damaged: {0}")]
struct Damaged(&'static str);

impl StateValue for StoredEpochs {
    fn archive_into(&self, out: &mut AlignedVec) -> Result<(), StateError> {
        let told =
            |epoch: &StoredEpoch| (epoch.checkpoint, epoch.records, epoch.bytes.len() as u64);
        let epochs = self.epochs.iter().map(told).collect();
        let head = Head { identity: self.identity.clone(), epochs }.to_archived()?;
        out.extend_from_slice(&(head.len() as u32).to_le_bytes());
        out.extend_from_slice(&head);
        self.epochs.iter().for_each(|epoch| out.extend_from_slice(&epoch.bytes));
        Ok(())
    }

    fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
        let damaged = |what| StateError::Unarchive {
            type_name: "KafkaSinkEpochs1",
            length_bytes: bytes.len(),
            source: rkyv::rancor::Source::new(Damaged(what)),
        };
        let (length, rest) = bytes.split_first_chunk().ok_or_else(|| damaged("no head"))?;
        let length = u32::from_le_bytes(*length) as usize;
        let (head, mut rest) =
            rest.split_at_checked(length).ok_or_else(|| damaged("a short head"))?;
        let Head { identity, epochs: told } = Head::from_archived(head)?;
        let mut epochs: Vec<StoredEpoch> = Vec::with_capacity(told.len());
        for (checkpoint, records, length) in told {
            let (epoch, behind) = usize::try_from(length)
                .ok()
                .and_then(|length| rest.split_at_checked(length))
                .ok_or_else(|| damaged("fewer bytes than its head says"))?;
            if count_entries(epoch) != Some(records) {
                return Err(damaged("other records than its head says"));
            }
            if epochs.last().is_some_and(|last| last.checkpoint >= checkpoint) {
                return Err(damaged("epochs are out of order"));
            }
            epochs.push(StoredEpoch { checkpoint, records, bytes: epoch.to_vec() });
            rest = behind;
        }
        match rest {
            [] => Ok(StoredEpochs { identity, epochs }),
            _ => Err(damaged("more bytes than its head says")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunk::OutputParts;
    use super::*;

    fn epoch(sequence: u64, values: &[&[u8]]) -> Epoch {
        let chunks = values.iter().map(|value| {
            let mut chunk = Chunk::default();
            let record = OutputParts {
                topic: "",
                partition: None,
                timestamp_ms: Some(1),
                key: None,
                value: Some(value),
                headers: &[],
            };
            chunk.push(&record).unwrap();
            Arc::new(chunk)
        });
        Epoch { sequence, begun_ms: 0, chunks: Arc::new(chunks.collect()) }
    }

    fn identity() -> Identity {
        Identity { prefix: "paid".to_owned(), topic: "orders".to_owned(), run: 77 }
    }

    #[test]
    fn epochs_are_read_as_they_were_archived() {
        let epochs = [(4, epoch(0, &[b"a", b"bc"])), (5, epoch(1, &[])), (7, epoch(2, &[b"d"]))];
        let state = archive(&identity(), epochs.iter().map(|(id, epoch)| (*id, epoch))).unwrap();
        let read: StoredEpochs = state.get().unwrap().unwrap();
        assert_eq!(read.identity, identity());
        let told: Vec<_> = read.epochs.iter().map(|e| (e.checkpoint, e.records)).collect();
        assert_eq!(told, [(4, 2), (5, 0), (7, 1)]);
        assert_eq!(ArchivedState::of(&read).unwrap(), state);
    }

    #[test]
    fn every_cut_is_refused_and_no_flip_panics() {
        let epochs = [(4, epoch(0, &[b"a", b"bc"])), (5, epoch(1, &[b"x"]))];
        let state = archive(&identity(), epochs.iter().map(|(id, epoch)| (*id, epoch))).unwrap();
        let bytes = state.into_bytes();
        for length in 1..bytes.len() {
            let cut = ArchivedState::from_bytes(bytes[..length].to_vec());
            assert!(cut.get::<StoredEpochs>().is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            let _ = ArchivedState::from_bytes(flipped).get::<StoredEpochs>();
        }
        let error = ArchivedState::from_bytes([bytes, vec![0]].concat()).get::<StoredEpochs>();
        assert!(error.unwrap_err().to_string().contains("KafkaSinkEpochs1"));
    }
}
