//! The metadata file of a checkpoint: all of it that is not in the stores of keyed operators, and where those are.
//!
//! # Format "chkpoint", version 3
//!
//! A sealed file of blocks (see `thalweg_io::checkpoint_file`): the rkyv archive of [`Head`], and behind it the bytes of all
//! pieces in its order, cut into blocks of kind 1 with at most [`CHUNK_BYTES`] each. The footer is the fingerprint of the
//! archived type (8 bytes, little-endian) and the length of the archive (8 bytes, little-endian).
//!
//! Version log:
//! - 1, the first: [`MetadataV1`] is archived. It is still read.
//! - 2, never released: says whether it is a savepoint, and which one its job began with.
//! - 3: pieces are outside of the archive. Sinks that write ahead have large ones, which need not be copied so.
//!
//! **Invariants**
//! - Every byte is under a checksum, the archive is validated before it is read.
//! - A file that has its final name is complete.

use crate::checkpoint::crash_points;
use crate::checkpoint::piece_bytes::PieceBytes;
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

const FORMAT: FileFormat = FileFormat::new("chkpoint", 3);
const CHUNK_KIND: u8 = 1;
const CHUNK_BYTES: usize = 256 << 10;

/// A complete checkpoint.
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredPiece {
    pub(crate) name: String,
    pub(crate) subtask: u32,
    pub(crate) bytes: PieceBytes,
}

/// What a file begins with: all but the bytes of pieces, which follow one behind the other.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    job_name: String,
    checkpoint: u64,
    taken_at_ms: i64,
    is_final: bool,
    commits: bool,
    is_savepoint: bool,
    origin: Option<SavepointIdentity>,
    operators: Vec<OperatorHead>,
}

#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
struct OperatorHead {
    id: (u64, u64),
    name: String,
    uid: Option<String>,
    parallelism: u32,
    max_parallelism: u32,
    /// Name, subtask, bytes.
    pieces: Vec<(String, u32, u64)>,
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
    operators: Vec<OperatorV1>,
}

#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
struct OperatorV1 {
    id: (u64, u64),
    name: String,
    uid: Option<String>,
    parallelism: u32,
    max_parallelism: u32,
    pieces: Vec<PieceV1>,
}

#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
struct PieceV1 {
    name: String,
    subtask: u32,
    bytes: Vec<u8>,
}

impl From<MetadataV1> for CheckpointMetadata {
    fn from(old: MetadataV1) -> Self {
        let MetadataV1 { job_name, checkpoint, taken_at_ms, is_final, commits, operators } = old;
        let operators =
            operators.into_iter().map(|old| {
                let OperatorV1 { id, name, uid, parallelism, max_parallelism, pieces } = old;
                let pieces = pieces.into_iter().map(|PieceV1 { name, subtask, bytes }| {
                    StoredPiece { name, subtask, bytes: bytes.into() }
                });
                let pieces = pieces.collect();
                StoredOperator { id, name, uid, parallelism, max_parallelism, pieces }
            });
        CheckpointMetadata {
            job_name,
            checkpoint,
            taken_at_ms,
            is_final,
            commits,
            is_savepoint: false,
            origin: None,
            operators: operators.collect(),
        }
    }
}

impl CheckpointMetadata {
    fn head(&self) -> Head {
        let operators = self.operators.iter().map(|operator| OperatorHead {
            id: operator.id,
            name: operator.name.clone(),
            uid: operator.uid.clone(),
            parallelism: operator.parallelism,
            max_parallelism: operator.max_parallelism,
            pieces: operator
                .pieces
                .iter()
                .map(|piece| (piece.name.clone(), piece.subtask, piece.bytes.length_bytes() as u64))
                .collect(),
        });
        Head {
            job_name: self.job_name.clone(),
            checkpoint: self.checkpoint,
            taken_at_ms: self.taken_at_ms,
            is_final: self.is_final,
            commits: self.commits,
            is_savepoint: self.is_savepoint,
            origin: self.origin.clone(),
            operators: operators.collect(),
        }
    }

    /// `None` if there are other bytes behind the head than it says.
    fn of_parts(head: Head, mut rest: &[u8]) -> Option<Self> {
        let mut operators = Vec::with_capacity(head.operators.len());
        for operator in head.operators {
            let OperatorHead { id, name, uid, parallelism, max_parallelism, pieces: told } =
                operator;
            let mut pieces = Vec::with_capacity(told.len());
            for (name, subtask, length_bytes) in told {
                let (bytes, behind) = rest.split_at_checked(usize::try_from(length_bytes).ok()?)?;
                pieces.push(StoredPiece { name, subtask, bytes: bytes.to_vec().into() });
                rest = behind;
            }
            operators.push(StoredOperator { id, name, uid, parallelism, max_parallelism, pieces });
        }
        rest.is_empty().then_some(CheckpointMetadata {
            job_name: head.job_name,
            checkpoint: head.checkpoint,
            taken_at_ms: head.taken_at_ms,
            is_final: head.is_final,
            commits: head.commits,
            is_savepoint: head.is_savepoint,
            origin: head.origin,
            operators,
        })
    }
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
                let piece = RestoredPiece {
                    subtask: subtask as usize,
                    bytes: bytes.into_contiguous().into(),
                };
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
        let head = self.head().to_archived();
        let head = head.map_err(|error| damaged(path, error.to_string()))?;
        let owner = BlockOwner { file_id: FileId(self.checkpoint), epoch: self.checkpoint };
        let mut writer =
            CheckpointFileWriter::create(storage, path, FORMAT, owner, Naming::Published)?;
        crash_point(crash_points::META_WRITE);
        let pieces = self.operators.iter().flat_map(|operator| &operator.pieces);
        let mut chunks = Chunks { writer: &mut writer, chunk: Vec::with_capacity(CHUNK_BYTES) };
        chunks.append(&head)?;
        for part in pieces.flat_map(|piece| piece.bytes.parts()) {
            chunks.append(part)?;
        }
        chunks.finish()?;
        let mut footer = [0; 16];
        footer[..8].copy_from_slice(&fingerprint::<Head>().0.to_le_bytes());
        footer[8..].copy_from_slice(&(head.len() as u64).to_le_bytes());
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
        let (current, first) = (fingerprint::<Head>(), fingerprint::<MetadataV1>());
        if found != current.0 && found != first.0 {
            let (path, found) = (path.to_path_buf(), SchemaFingerprint(found));
            return Err(MetadataError::Schema { path, expected: current, found });
        }
        let mut archive = AlignedVec::<16>::new();
        let mut blocks = reader.blocks();
        while let Some(block) = blocks.advance()? {
            archive.extend_from_slice(block.payload);
        }
        let length = usize::try_from(length_bytes).unwrap_or(usize::MAX);
        let Some((head, pieces)) = archive.split_at_checked(length) else {
            let what = format!("{length_bytes} bytes are expected, {} found", archive.len());
            return Err(damaged(path, what));
        };
        let unread = |error: StateError| damaged(path, error.to_string());
        let metadata = match found == first.0 {
            true => {
                let metadata = MetadataV1::from_archived(head).map_err(unread)?;
                pieces.is_empty().then_some(Self::from(metadata))
            }
            false => Self::of_parts(Head::from_archived(head).map_err(unread)?, pieces),
        };
        let told = || damaged(path, "pieces are of another length than its head says".to_owned());
        metadata.ok_or_else(told)
    }
}

/// Fills chunks.
struct Chunks<'a> {
    writer: &'a mut CheckpointFileWriter,
    chunk: Vec<u8>,
}

impl Chunks<'_> {
    fn append(&mut self, mut bytes: &[u8]) -> Result<(), IoError> {
        while !bytes.is_empty() {
            // Whole ones are not copied.
            let taken = if self.chunk.is_empty() && bytes.len() >= CHUNK_BYTES {
                self.writer.append_block(CHUNK_KIND, &bytes[..CHUNK_BYTES])?;
                CHUNK_BYTES
            } else {
                let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
                self.chunk.extend_from_slice(&bytes[..taken]);
                if self.chunk.len() == CHUNK_BYTES {
                    self.finish()?;
                }
                taken
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), IoError> {
        if !self.chunk.is_empty() {
            self.writer.append_block(CHUNK_KIND, &self.chunk)?;
            self.chunk.clear();
        }
        Ok(())
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
            bytes: bytes.into(),
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
        let operators = operators.into_iter().map(|operator| {
            let StoredOperator { id, name, uid, parallelism, max_parallelism, pieces } = operator;
            let pieces = pieces.into_iter().map(|StoredPiece { name, subtask, bytes }| PieceV1 {
                name,
                subtask,
                bytes: bytes.into_contiguous(),
            });
            let pieces = pieces.collect();
            OperatorV1 { id, name, uid, parallelism, max_parallelism, pieces }
        });
        let operators = operators.collect();
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
