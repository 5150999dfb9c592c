//! Edits as bytes.
//!
//! # Format, version 2
//!
//! An edit is a sequence of records without gaps, one block of the log. Numbers are little-endian;
//! `text` is a length (u32) and as many bytes of UTF-8; a fingerprint is that of
//! [`SchemaFingerprint`](crate::SchemaFingerprint).
//!
//! ```text
//! 1 identity    store: text | key groups: start u16, end u16 | maximum parallelism u16
//!               | key hash: version u16, name text
//! 2 table       table u16 | fingerprint u64 | name text | schema of the key text
//! 3 state       table u16 | state u8 | fingerprint u64 | name text | schema text
//! 4 add         is live u8 | file
//! 5 remove      file id u64 | first key group u16   from the live files
//! 6 epoch       epoch u64                        all epochs up to it are in the live files
//! 7 checkpoint  id u64 | epoch u64               complete: the files that are live after this edit
//! 8 checkpoint  id u64 | epoch u64 | count u32 | (file id u64, first key group u16, level u8)..
//!               the same, by name
//! 9 release     id u64                           the checkpoint is not needed any more
//! 10 source     store: text | checkpoint u64 | key groups: start u16, end u16    restored from it
//! 11 version    table u16 | state u8 | version u8 | since epoch u64 | all since epoch u64 | fingerprint u64 | schema text
//!               values of the state are archived with this schema from an epoch on; version 0 is that of record 3
//!
//! file          file id u64 | owner's epoch u64 | blocks u64 | length in bytes u64 | digest u64
//!               | level u8 | first epoch u64 | last epoch u64 | key groups: start u16, end u16
//!               | smallest u64 | largest u64 | rows u64 | removals u64 | half expired at, ms i64
//!               | tables: count u16, (table u16)..
//! ```
//!
//! Record 4 with `is live` 0 describes a file that only checkpoints refer to. Id, first visible key
//! group and level name a file within a manifest: it may have been moved to another level after a
//! checkpoint, and be there several times after stores were put together.

use thalweg_io::block::{BlockOwner, FileId};
use thalweg_io::checkpoint_file::FileSeal;

use super::file_meta::{FileMeta, FilePart, LEVEL_MAX};
use crate::backend::Epoch;
use crate::codec::{RowPrefix, StateIndex, TableId};
use crate::snapshot::CheckpointId;
use crate::{KeyGroupRange, MAX_PARALLELISM_LIMIT};

/// One thing that an edit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EditRecord {
    Identity(Identity),
    Table { table: TableId, name: Box<str>, key: StoredSchema },
    State { table: TableId, state: StateIndex, name: Box<str>, schema: StoredSchema },
    Version { table: TableId, state: StateIndex, version: u8, schema: LaterSchema },
    Add { is_live: bool, file: FileMeta },
    Remove(FilePart),
    Epoch(Epoch),
    Checkpoint { id: CheckpointId, epoch: Epoch },
    CheckpointOf { id: CheckpointId, epoch: Epoch, files: Vec<(FilePart, u8)> },
    Release(CheckpointId),
    Source(Source),
}

/// What a store is, for its whole life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) store: Box<str>,
    pub(crate) groups: KeyGroupRange,
    pub(crate) max_parallelism: u16,
    pub(crate) key_hash_version: u16,
    pub(crate) key_hash_name: Box<str>,
}

/// A schema as it was when the table or state was first registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredSchema {
    pub(crate) fingerprint: u64,
    pub(crate) text: Box<str>,
}

/// A schema that a state has had later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LaterSchema {
    /// No value of an epoch before is archived with it.
    pub(crate) since: Epoch,
    /// Each value of this epoch and later ones is archived with it or with one that came after it. The two are one epoch until
    /// stores that had others are put together.
    pub(crate) all_since: Epoch,
    pub(crate) schema: StoredSchema,
}

/// Where a store was restored from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) store: Box<str>,
    pub(crate) checkpoint: CheckpointId,
    pub(crate) groups: KeyGroupRange,
}

/// Appends a record to an edit.
pub(crate) fn encode(record: &EditRecord, out: &mut Vec<u8>) {
    let mut out = Encoder { out };
    match record {
        EditRecord::Identity(identity) => out.u8(1).identity(identity),
        EditRecord::Table { table, name, key } => {
            out.u8(2).u16(table.0).u64(key.fingerprint).text(name).text(&key.text)
        }
        EditRecord::State { table, state, name, schema } => {
            (out.u8(3).u16(table.0).u8(*state).u64(schema.fingerprint))
                .text(name)
                .text(&schema.text)
        }
        EditRecord::Version { table, state, version, schema } => {
            (out.u8(11).u16(table.0).u8(*state).u8(*version).u64(schema.since.0))
                .u64(schema.all_since.0)
                .u64(schema.schema.fingerprint)
                .text(&schema.schema.text)
        }
        EditRecord::Add { is_live, file } => out.u8(4).u8(u8::from(*is_live)).file(file),
        EditRecord::Remove(part) => out.u8(5).part(*part),
        EditRecord::Epoch(epoch) => out.u8(6).u64(epoch.0),
        EditRecord::Checkpoint { id, epoch } => out.u8(7).u64(id.0).u64(epoch.0),
        EditRecord::CheckpointOf { id, epoch, files } => {
            out.u8(8).u64(id.0).u64(epoch.0).u32(files.len() as u32);
            files.iter().fold(&mut out, |out, (part, level)| out.part(*part).u8(*level))
        }
        EditRecord::Release(id) => out.u8(9).u64(id.0),
        EditRecord::Source(source) => {
            out.u8(10).text(&source.store).u64(source.checkpoint.0).groups(source.groups)
        }
    };
}

struct Encoder<'o> {
    out: &'o mut Vec<u8>,
}

impl Encoder<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.u32(text.len() as u32).bytes(text.as_bytes())
    }

    fn part(&mut self, part: FilePart) -> &mut Self {
        self.u64(part.id.0).u16(part.first_group)
    }

    fn groups(&mut self, groups: KeyGroupRange) -> &mut Self {
        self.u16(groups.start).u16(groups.end)
    }

    fn identity(&mut self, identity: &Identity) -> &mut Self {
        self.text(&identity.store)
            .groups(identity.groups)
            .u16(identity.max_parallelism)
            .u16(identity.key_hash_version)
            .text(&identity.key_hash_name)
    }

    fn file(&mut self, file: &FileMeta) -> &mut Self {
        self.u64(file.seal.owner.file_id.0)
            .u64(file.seal.owner.epoch)
            .u64(file.seal.block_count)
            .u64(file.seal.length_bytes)
            .u64(file.seal.digest)
            .u8(file.level)
            .u64(file.first_epoch.0)
            .u64(file.last_epoch.0)
            .groups(file.groups)
            .u64(file.smallest.0)
            .u64(file.largest.0)
            .u64(file.row_count)
            .u64(file.removal_count)
            .u64(file.half_expired_at_ms as u64)
            .u16(file.tables.len() as u16);
        file.tables.iter().fold(self, |out, table| out.u16(table.0))
    }
}

/// An edit whose bytes make no sense; the offset is that of the record within the edit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct MalformedEdit {
    pub(crate) offset: usize,
    pub(crate) what: Box<str>,
}

/// All records of an edit.
///
/// # Errors
///
/// The first one that is cut, unknown or has values out of their bounds.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<EditRecord>, MalformedEdit> {
    let mut decoder = Decoder { rest: bytes };
    let mut records = Vec::new();
    while !decoder.rest.is_empty() {
        let offset = bytes.len() - decoder.rest.len();
        let tag = decoder.rest[0];
        let record = decoder.record().ok_or_else(|| MalformedEdit {
            offset,
            what: format!(
                "expected an edit's record, found tag {tag} with cut or invalid contents"
            )
            .into(),
        })?;
        records.push(record);
    }
    Ok(records)
}

struct Decoder<'a> {
    rest: &'a [u8],
}

impl Decoder<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<Box<str>> {
        let length = self.u32()? as usize;
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(taken).ok().map(Box::from)
    }

    fn groups(&mut self) -> Option<KeyGroupRange> {
        let groups = KeyGroupRange { start: self.u16()?, end: self.u16()? };
        (groups.start < groups.end && groups.end <= MAX_PARALLELISM_LIMIT).then_some(groups)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn table(&mut self) -> Option<TableId> {
        self.u16().map(TableId)
    }

    fn checkpoint(&mut self) -> Option<CheckpointId> {
        self.u64().map(CheckpointId)
    }

    fn epoch(&mut self) -> Option<Epoch> {
        self.u64().map(Epoch)
    }

    fn record(&mut self) -> Option<EditRecord> {
        Some(match self.u8()? {
            1 => EditRecord::Identity(self.identity()?),
            2 => {
                let (table, fingerprint, name) = (self.table()?, self.u64()?, self.text()?);
                EditRecord::Table { table, name, key: self.schema(fingerprint)? }
            }
            3 => {
                let (table, state) = (self.table()?, self.u8()?);
                let (fingerprint, name) = (self.u64()?, self.text()?);
                EditRecord::State { table, state, name, schema: self.schema(fingerprint)? }
            }
            4 => EditRecord::Add { is_live: self.flag()?, file: self.file()? },
            5 => EditRecord::Remove(self.part()?),
            6 => EditRecord::Epoch(self.epoch()?),
            7 => EditRecord::Checkpoint { id: self.checkpoint()?, epoch: self.epoch()? },
            8 => {
                let (id, epoch) = (self.checkpoint()?, self.epoch()?);
                EditRecord::CheckpointOf { id, epoch, files: self.named_files()? }
            }
            9 => EditRecord::Release(self.checkpoint()?),
            10 => {
                let (store, checkpoint) = (self.text()?, self.checkpoint()?);
                EditRecord::Source(Source { store, checkpoint, groups: self.groups()? })
            }
            11 => {
                let (table, state, version) = (self.table()?, self.u8()?, self.u8()?);
                let (since, all_since) = (self.epoch()?, self.epoch()?);
                let fingerprint = self.u64()?;
                let schema = LaterSchema { since, all_since, schema: self.schema(fingerprint)? };
                EditRecord::Version { table, state, version, schema }
            }
            _ => return None,
        })
    }

    fn identity(&mut self) -> Option<Identity> {
        let (store, groups) = (self.text()?, self.groups()?);
        let (max_parallelism, key_hash_version) = (self.u16()?, self.u16()?);
        let key_hash_name = self.text()?;
        Some(Identity { store, groups, max_parallelism, key_hash_version, key_hash_name })
    }

    fn schema(&mut self, fingerprint: u64) -> Option<StoredSchema> {
        Some(StoredSchema { fingerprint, text: self.text()? })
    }

    fn part(&mut self) -> Option<FilePart> {
        Some(FilePart { id: FileId(self.u64()?), first_group: self.u16()? })
    }

    fn named_files(&mut self) -> Option<Vec<(FilePart, u8)>> {
        let count = self.u32()?;
        (0..count).map(|_| Some((self.part()?, self.u8()?))).collect()
    }

    fn file(&mut self) -> Option<FileMeta> {
        let owner = BlockOwner { file_id: FileId(self.u64()?), epoch: self.u64()? };
        let (block_count, length_bytes, digest) = (self.u64()?, self.u64()?, self.u64()?);
        let level = self.u8()?;
        let (first_epoch, last_epoch) = (self.epoch()?, self.epoch()?);
        let groups = self.groups()?;
        let (smallest, largest) = (RowPrefix(self.u64()?), RowPrefix(self.u64()?));
        let (row_count, removal_count) = (self.u64()?, self.u64()?);
        let half_expired_at_ms = self.u64()? as i64;
        let tables: Box<[TableId]> = self.tables()?;
        let is_sane = level <= LEVEL_MAX
            && first_epoch <= last_epoch
            && smallest <= largest
            && tables.is_sorted_by(|table, next| table < next);
        is_sane.then_some(FileMeta {
            seal: FileSeal { owner, block_count, length_bytes, digest },
            level,
            first_epoch,
            last_epoch,
            tables,
            groups,
            smallest,
            largest,
            row_count,
            removal_count,
            half_expired_at_ms,
        })
    }

    fn tables(&mut self) -> Option<Box<[TableId]>> {
        let count = self.u16()?;
        (0..count).map(|_| self.table()).collect()
    }
}
