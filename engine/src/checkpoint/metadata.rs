//! The metadata file of a checkpoint: all of it that is not in the stores of keyed operators, and where those are.
//!
//! # Format "chkpoint", version 2
//!
//! A sealed file of blocks (see `thalweg_io::checkpoint_file`). The rkyv archive of [`CheckpointMetadata`], cut into
//! blocks of kind 1 with [`CHUNK_BYTES`] each but the last; the footer is the fingerprint of the archived type
//! (8 bytes, little-endian) and the length of the archive (8 bytes, little-endian).
//!
//! Version log:
//! - 1, the first: [`MetadataV1`] is archived.
//! - 2: says whether it is a savepoint, and which one its job began with. Version 1 is still read.
//!
//! **Invariants**
//! - Every byte is under a checksum, the archive is validated before it is read.
//! - A file that has its final name is complete.

use crate::checkpoint::crash_points;
use crate::checkpoint::restore_fault::{self, RestoreFault};
use crate::checkpoint::snapshot::{RestoredPiece, RestoredState, SnapshotPiece};
use crate::graph::OperatorId;
use crate::operator::keyed_store::PIECE as KEYED_STORE_PIECE;
use crate::record::CheckpointId;
use crate::state::{SchemaDescription, SchemaFingerprint, StateError, StateValue};
use rkyv::util::AlignedVec;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_io::IoError;
use thalweg_io::block::{BlockOwner, FileId};
use thalweg_io::checkpoint_file::{CheckpointFileReader, CheckpointFileWriter, FileFormat, Naming};
use thalweg_io::crash_point;
use thalweg_io::storage::Storage;

const FORMAT: FileFormat = FileFormat::new("chkpoint", 2);
const CHUNK_KIND: u8 = 1;
const CHUNK_BYTES: usize = 256 << 10;

/// A complete checkpoint.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointMetadata {
    pub(crate) job_name: String,
    pub(crate) checkpoint: u64,
    /// Wall clock when it began.
    pub(crate) taken_at_ms: i64,
    /// All input had been read: who goes on from it ends at once.
    pub(crate) is_final: bool,
    /// Has the job sinks that commit when a checkpoint is complete? Then an older one must not be restored.
    pub(crate) commits: bool,
    /// Is it a savepoint, which belongs to nobody's checkpoints?
    pub(crate) is_savepoint: bool,
    /// The savepoint that the job began with.
    pub(crate) origin: Option<SavepointIdentity>,
    pub(crate) operators: Vec<StoredOperator>,
}

/// Tells a savepoint from others.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavepointIdentity {
    pub(crate) job_name: String,
    pub(crate) checkpoint: u64,
    pub(crate) taken_at_ms: i64,
}

/// What version 1 has.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
struct MetadataV1 {
    job_name: String,
    checkpoint: u64,
    taken_at_ms: i64,
    is_final: bool,
    commits: bool,
    operators: Vec<StoredOperator>,
}

impl From<MetadataV1> for CheckpointMetadata {
    fn from(old: MetadataV1) -> Self {
        let MetadataV1 { job_name, checkpoint, taken_at_ms, is_final, commits, operators } = old;
        CheckpointMetadata {
            job_name,
            checkpoint,
            taken_at_ms,
            is_final,
            commits,
            is_savepoint: false,
            origin: None,
            operators,
        }
    }
}

#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredOperator {
    /// High and low half.
    pub(crate) id: (u64, u64),
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
    pub(crate) parallelism: u32,
    pub(crate) max_parallelism: u32,
    pub(crate) pieces: Vec<StoredPiece>,
}

#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredPiece {
    pub(crate) name: String,
    pub(crate) subtask: u32,
    pub(crate) bytes: Vec<u8>,
}

/// What the plan says of an operator.
#[derive(Clone, Debug)]
pub(crate) struct OperatorDescription {
    pub(crate) id: OperatorId,
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
    pub(crate) parallelism: usize,
    pub(crate) max_parallelism: usize,
}

/// A metadata file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(
        "{}: the checkpoint's metadata has fingerprint {found}, this program reads {expected}; use the program version that \
         wrote it", path.display()
    )]
    Schema { path: PathBuf, expected: SchemaFingerprint, found: SchemaFingerprint },
    #[error("{}: the checkpoint's metadata is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    /// The metadata is whole.
    #[error("its state is damaged: {what}")]
    State { what: String },
}

impl CheckpointMetadata {
    /// The operators of the plan with the pieces that were gathered of them; those without pieces are left out.
    pub(crate) fn operators(
        plan: &[OperatorDescription],
        pieces: Vec<SnapshotPiece>,
    ) -> Vec<StoredOperator> {
        let mut by_operator: BTreeMap<OperatorId, Vec<StoredPiece>> = BTreeMap::new();
        for SnapshotPiece { key, subtask, bytes } in pieces {
            let (name, subtask) = (key.name.to_owned(), narrow(subtask));
            by_operator.entry(key.operator).or_default().push(StoredPiece { name, subtask, bytes });
        }
        let stored = |operator: &OperatorDescription| {
            let mut pieces = by_operator.remove(&operator.id)?;
            pieces.sort_by(|a, b| (&a.name, a.subtask).cmp(&(&b.name, b.subtask)));
            Some(StoredOperator {
                id: halves(operator.id),
                name: operator.name.clone(),
                uid: operator.uid.clone(),
                parallelism: narrow(operator.parallelism),
                max_parallelism: narrow(operator.max_parallelism),
                pieces,
            })
        };
        plan.iter().filter_map(stored).collect()
    }

    /// An operator with state that the plan does not have. Parts without state deliver no bytes, and nobody misses them.
    pub(crate) fn operator_not_in(&self, plan: &[OperatorDescription]) -> Option<&StoredOperator> {
        self.operators.iter().find(|stored| {
            let has_state = stored.pieces.iter().any(|piece| !piece.bytes.is_empty());
            has_state && plan.iter().all(|known| halves(known.id) != stored.id)
        })
    }

    /// An operator with keyed state that the plan has with another number of key groups, and that number.
    pub(crate) fn other_key_groups(
        &self,
        plan: &[OperatorDescription],
    ) -> Option<(&StoredOperator, usize)> {
        let mut keyed = self
            .operators
            .iter()
            .filter(|stored| stored.pieces.iter().any(|piece| piece.name == KEYED_STORE_PIECE));
        keyed.find_map(|stored| {
            let known = plan.iter().find(|known| halves(known.id) == stored.id)?;
            let expected = known.max_parallelism;
            (narrow(expected) != stored.max_parallelism).then_some((stored, expected))
        })
    }

    /// As a savepoint, or as the beginning of one.
    pub(crate) fn identity(&self) -> SavepointIdentity {
        SavepointIdentity {
            job_name: self.job_name.clone(),
            checkpoint: self.checkpoint,
            taken_at_ms: self.taken_at_ms,
        }
    }

    /// The state as a job goes on from it.
    pub(crate) fn into_restored(self) -> RestoredState {
        let (mut parallelism, mut pieces) = (HashMap::new(), HashMap::new());
        for operator in self.operators {
            let id = OperatorId(u128::from(operator.id.0) << 64 | u128::from(operator.id.1));
            parallelism.insert(id, operator.parallelism as usize);
            let of_operator: &mut HashMap<String, Vec<RestoredPiece>> =
                pieces.entry(id).or_default();
            for StoredPiece { name, subtask, bytes } in operator.pieces {
                let piece = RestoredPiece { subtask: subtask as usize, bytes: bytes.into() };
                of_operator.entry(name).or_default().push(piece);
            }
            of_operator.values_mut().for_each(|pieces| pieces.sort_by_key(|piece| piece.subtask));
        }
        RestoredState { checkpoint: CheckpointId(self.checkpoint), parallelism, pieces }
    }

    /// Writes the file, and returns when it is durable under its name.
    pub(crate) fn write(
        &self,
        storage: &Arc<dyn Storage>,
        path: &Path,
    ) -> Result<u64, MetadataError> {
        // Sinks that write ahead have large pieces: growing by doubling would copy them several times.
        let pieces = self.operators.iter().flat_map(|operator| &operator.pieces);
        let piece_bytes: usize = pieces.map(|piece| piece.bytes.len() + 256).sum();
        let mut archive = AlignedVec::with_capacity(piece_bytes + (64 << 10));
        let archived = self.archive_into(&mut archive);
        archived.map_err(|error| damaged(path, error.to_string()))?;
        let owner = BlockOwner { file_id: FileId(self.checkpoint), epoch: self.checkpoint };
        let mut writer =
            CheckpointFileWriter::create(storage, path, FORMAT, owner, Naming::Published)?;
        crash_point(crash_points::META_WRITE);
        for chunk in archive.chunks(CHUNK_BYTES) {
            writer.append_block(CHUNK_KIND, chunk)?;
        }
        let mut footer = [0; 16];
        footer[..8].copy_from_slice(&fingerprint::<Self>().0.to_le_bytes());
        footer[8..].copy_from_slice(&(archive.len() as u64).to_le_bytes());
        let completed = writer.complete(&footer)?;
        crash_point(crash_points::META_FSYNC);
        let seal = completed.publish()?;
        crash_point(crash_points::PUBLISHED);
        Ok(seal.length_bytes)
    }

    /// Reads a file, checking all of it.
    pub(crate) fn read(storage: &dyn Storage, path: &Path) -> Result<Self, MetadataError> {
        let reader = CheckpointFileReader::open_unsealed(storage, path, FORMAT)?;
        reader.verify_all()?;
        let word = |at: usize| {
            let word = reader.footer().get(at..)?.first_chunk::<8>()?;
            Some(u64::from_le_bytes(*word))
        };
        let (Some(found), Some(length_bytes)) = (word(0), word(8)) else {
            return Err(damaged(path, "its footer is too short".to_owned()));
        };
        let (current, first) = (fingerprint::<Self>(), fingerprint::<MetadataV1>());
        if found != current.0 && found != first.0 {
            let (path, found) = (path.to_path_buf(), SchemaFingerprint(found));
            return Err(MetadataError::Schema { path, expected: current, found });
        }
        let mut archive = AlignedVec::<16>::new();
        let mut blocks = reader.blocks();
        while let Some(block) = blocks.advance()? {
            archive.extend_from_slice(block.payload);
        }
        if archive.len() as u64 != length_bytes {
            let what = format!("{length_bytes} bytes are expected, {} found", archive.len());
            return Err(damaged(path, what));
        }
        let metadata = match found == first.0 {
            true => MetadataV1::from_archived(&archive).map(Self::from),
            false => Self::from_archived(&archive),
        };
        metadata.map_err(|error: StateError| damaged(path, error.to_string()))
    }
}

impl StoredOperator {
    /// How users know it, in words.
    pub(crate) fn told_uid(&self) -> String {
        match &self.uid {
            Some(uid) => format!("uid '{uid}'"),
            None => "without a uid: it is told by its place in the plan, which has changed".into(),
        }
    }
}

impl MetadataError {
    /// What it says of the checkpoint; `None` if it may be as good as ever.
    pub(crate) fn fault(&self) -> Option<RestoreFault> {
        match self {
            MetadataError::Io(error) => restore_fault::of_file(error),
            MetadataError::Schema { .. } => Some(RestoreFault::Refused),
            MetadataError::Damaged { .. } | MetadataError::State { .. } => {
                Some(RestoreFault::Damaged)
            }
        }
    }
}

fn damaged(path: &Path, what: String) -> MetadataError {
    MetadataError::Damaged { path: path.to_path_buf(), what }
}

fn fingerprint<T: StateValue>() -> SchemaFingerprint {
    SchemaDescription::of::<T>().fingerprint()
}

fn halves(OperatorId(id): OperatorId) -> (u64, u64) {
    ((id >> 64) as u64, id as u64)
}

/// Subtasks and key groups are at most 32768 in a checked plan.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("a checked plan has at most 32768 subtasks")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::snapshot::PieceKey;
    use thalweg_io::storage::MemoryStorage;

    fn metadata() -> CheckpointMetadata {
        let operator = |id: u128, name: &str| OperatorDescription {
            id: OperatorId(id),
            name: name.to_owned(),
            uid: None,
            parallelism: 2,
            max_parallelism: 128,
        };
        let piece = |id: u128, name, subtask, bytes: Vec<u8>| SnapshotPiece {
            key: PieceKey { operator: OperatorId(id), name },
            subtask,
            bytes,
        };
        let pieces = vec![
            piece(1 << 64 | 7, "rows", 1, vec![1; CHUNK_BYTES + 3]),
            piece(1 << 64 | 7, "rows", 0, vec![]),
            piece(1 << 64 | 7, "event time", 0, vec![2]),
        ];
        let plan = [operator(3, "stateless"), operator(1 << 64 | 7, "sum")];
        CheckpointMetadata {
            job_name: "job".to_owned(),
            checkpoint: 5,
            taken_at_ms: 1_000,
            is_final: false,
            commits: true,
            is_savepoint: false,
            origin: Some(SavepointIdentity {
                job_name: "job".to_owned(),
                checkpoint: 3,
                taken_at_ms: 900,
            }),
            operators: CheckpointMetadata::operators(&plan, pieces),
        }
    }

    #[test]
    fn a_file_of_the_first_version_is_read() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let CheckpointMetadata {
            job_name,
            checkpoint,
            taken_at_ms,
            is_final,
            commits,
            operators,
            ..
        } = metadata();
        let old = MetadataV1 { job_name, checkpoint, taken_at_ms, is_final, commits, operators };
        let archive = old.to_archived().unwrap();
        let owner = BlockOwner { file_id: FileId(5), epoch: 5 };
        let (path, format) = (Path::new("5.chk"), FileFormat::new("chkpoint", 1));
        let mut writer =
            CheckpointFileWriter::create(&storage, path, format, owner, Naming::Published).unwrap();
        archive.chunks(CHUNK_BYTES).for_each(|chunk| drop(writer.append_block(CHUNK_KIND, chunk)));
        let mut footer = fingerprint::<MetadataV1>().0.to_le_bytes().to_vec();
        footer.extend_from_slice(&(archive.len() as u64).to_le_bytes());
        writer.complete(&footer).unwrap().publish().unwrap();
        let read = CheckpointMetadata::read(&*storage, path).unwrap();
        assert_eq!(read, CheckpointMetadata { origin: None, ..metadata() });
    }

    #[test]
    fn what_is_written_is_read_and_restored() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let (path, metadata) = (Path::new("5.chk"), metadata());
        metadata.write(&storage, path).unwrap();
        let read = CheckpointMetadata::read(&*storage, path).unwrap();
        assert_eq!(read, metadata);
        let restored = read.into_restored();
        let id = OperatorId(1 << 64 | 7);
        assert_eq!((restored.checkpoint, restored.parallelism[&id]), (CheckpointId(5), 2));
        let rows = restored.of(id, "rows");
        assert_eq!(
            rows.iter().map(|piece| piece.bytes.len()).collect::<Vec<_>>(),
            [0, CHUNK_BYTES + 3]
        );
        assert!(restored.of(OperatorId(3), "rows").is_empty());
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_refused() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let mut small = metadata();
        small.operators[0].pieces.truncate(1);
        let path = Path::new("5.chk");
        small.write(&storage, path).unwrap();
        let reader = storage.open_read(path).unwrap();
        let mut bytes = vec![0; reader.length_bytes().unwrap() as usize];
        reader.read_exact_at(0, &mut bytes).unwrap();
        let is_refused = |bytes: &[u8]| {
            let mut file = storage.create(Path::new("damaged.chk")).unwrap();
            file.append(bytes).unwrap();
            CheckpointMetadata::read(&*storage, Path::new("damaged.chk")).is_err()
        };
        assert!(!is_refused(&bytes));
        for at in 0..bytes.len() {
            bytes[at] ^= 0x10;
            assert!(is_refused(&bytes), "byte {at}");
            bytes[at] ^= 0x10;
        }
        assert!((0..bytes.len()).all(|length| is_refused(&bytes[..length])));
    }
}
