//! The epochs that are on their way to the disk.

use std::collections::VecDeque;

use thalweg_io::IoError;
use thalweg_io::block::FileId;
use thalweg_io::storage::{WriteFile, parent_directory};

use super::{CheckpointId, StoreFiles};
use crate::backend::{BlockBytes, DeltaBlock, Epoch, PartitionLayout, Replacement};
use crate::delta::DeltaWriter;
use crate::manifest::FileMeta;

/// How long a delta is expected to be when nothing is known.
const EXPECTED_BYTES_MIN: u64 = 1 << 20;
/// Files are made ahead with room for this much at most: the room is taken whatever comes, and a delta
/// that is longer takes so long to write that a commit of the journal does not count.
const EXPECTED_BYTES_MAX: u64 = 8 << 20;

/// Writes deltas, one file an epoch.
///
/// # Invariants
///
/// - `epochs` are in order without gaps, and none but the last few are unfinished by the owner.
/// - Blocks stay until their epoch is durable. The first `written_count` of `carried` and then of the
///   oldest epoch are in `writer`'s file. Where epochs are full nothing is carried, and the bytes of
///   blocks go as they are written.
#[derive(Debug)]
pub(super) struct Flush {
    files: StoreFiles,
    layout: PartitionLayout,
    /// Whether an epoch takes the place of all before it.
    is_full: bool,
    epochs: VecDeque<EpochWork>,
    /// Blocks of epochs that failed, which go in front of the oldest one's.
    carried: Option<Carried>,
    writer: Option<DeltaWriter>,
    written_count: usize,
    /// Why the oldest epoch will fail.
    failure: Option<IoError>,
    next_file: NextFile,
    expected_bytes: u64,
}

#[derive(Debug)]
struct EpochWork {
    epoch: Epoch,
    blocks: Vec<DeltaBlock>,
    /// Set by the owner when it has sent everything.
    end: Option<EpochEnd>,
}

/// The end of an epoch: its owner has sent everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EpochEnd {
    pub(crate) epoch: Epoch,
    pub(crate) checkpoint: Option<CheckpointId>,
    /// Whether the epoch, or one soon, has all rows and says what is gone of older ones, so that once it is durable no older
    /// file is needed. Where it fails, it counts as one that has changes alone.
    pub(crate) replacement: Option<Replacement>,
}

#[derive(Debug)]
struct Carried {
    first_epoch: Epoch,
    blocks: Vec<DeltaBlock>,
}

/// An ended epoch whose changes are durable in a file, or that had none.
#[derive(Debug)]
pub(super) struct Flushed {
    pub(super) end: EpochEnd,
    pub(super) file: Option<FileMeta>,
}

/// What a step did.
#[derive(Debug)]
pub(super) enum FlushStep {
    Nothing,
    /// Bytes taken, and how many are not held any more.
    Wrote {
        byte_count: usize,
        forgotten_bytes: u64,
    },
    Durable(Flushed),
    Failed {
        end: EpochEnd,
        error: IoError,
        forgotten_bytes: u64,
    },
}

impl Flush {
    pub(super) fn new(files: StoreFiles, layout: PartitionLayout, is_full: bool) -> Self {
        Flush {
            files,
            layout,
            is_full,
            epochs: VecDeque::new(),
            carried: None,
            writer: None,
            written_count: 0,
            failure: None,
            next_file: NextFile::Missing,
            expected_bytes: EXPECTED_BYTES_MIN,
        }
    }

    /// Takes a block.
    pub(super) fn push(&mut self, block: DeltaBlock) {
        self.epoch(block.epoch).blocks.push(block);
    }

    /// All blocks of an epoch were pushed.
    pub(super) fn end(&mut self, end: EpochEnd) {
        self.epoch(end.epoch).end = Some(end);
    }

    fn epoch(&mut self, epoch: Epoch) -> &mut EpochWork {
        let at = self.epochs.partition_point(|work| work.epoch < epoch);
        if self.epochs.get(at).is_none_or(|work| work.epoch != epoch) {
            self.epochs.insert(at, EpochWork { epoch, blocks: Vec::new(), end: None });
        }
        &mut self.epochs[at]
    }

    /// Writes one block of the oldest epoch, or ends it.
    pub(super) fn step(&mut self) -> FlushStep {
        let Some(oldest) = self.epochs.front() else { return FlushStep::Nothing };
        let (epoch, end) = (oldest.epoch, oldest.end);
        if self.failure.is_none()
            && let Some(byte_count) = self.write_next(epoch)
        {
            return FlushStep::Wrote { byte_count, forgotten_bytes: self.forget_written() };
        }
        match (end, self.failure.take()) {
            (None, failure) => {
                self.failure = failure;
                FlushStep::Nothing
            }
            (Some(end), Some(error)) => self.fail(end, error),
            (Some(end), None) => match self.complete(end) {
                Ok(file) => FlushStep::Durable(Flushed { end, file }),
                Err(error) => self.fail(end, error),
            },
        }
    }

    /// Writes the next block; `None` if all are written, or it failed.
    fn write_next(&mut self, epoch: Epoch) -> Option<usize> {
        let index = self.written_count;
        let block = block_at(&self.carried, &self.epochs, index)?;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => match start(&self.files, self.next_file.take(), self.expected_bytes, epoch) {
                Ok(writer) => none.insert(writer),
                Err(error) => {
                    self.failure = Some(error);
                    return None;
                }
            },
        };
        let groups = self.layout.groups_of(usize::from(block.partition));
        match writer.append(block, groups) {
            Ok(()) => {
                self.written_count += 1;
                Some(block.bytes.len())
            }
            Err(error) => {
                self.abandon();
                self.failure = Some(error);
                None
            }
        }
    }

    /// Gives the memory of the block that was written last back, if it will not be needed again; how
    /// much that was.
    fn forget_written(&mut self) -> u64 {
        let Some(last) = self.written_count.checked_sub(1).filter(|_| self.is_full) else {
            return 0;
        };
        let block = self.epochs.front_mut().and_then(|oldest| oldest.blocks.get_mut(last));
        block.map_or(0, |block| {
            let bytes = std::mem::replace(&mut block.bytes, BlockBytes::from(Vec::new()));
            bytes.len() as u64
        })
    }

    /// Whether [`Self::step`] has something to do.
    pub(super) fn has_work(&self) -> bool {
        let Some(oldest) = self.epochs.front() else { return false };
        let has_block = || block_at(&self.carried, &self.epochs, self.written_count).is_some();
        oldest.end.is_some() || (self.failure.is_none() && has_block())
    }

    /// Asks, once, for the next delta's file ahead of its time: a new name takes longer to become
    /// durable than the bytes of a small epoch. How long the delta is expected to be.
    pub(super) fn ask_for_spare(&mut self) -> Option<u64> {
        if !matches!(self.next_file, NextFile::Missing) || self.writer.is_some() {
            return None;
        }
        self.next_file = NextFile::Asked;
        Some(self.expected_bytes)
    }

    /// Takes what was asked for. An error is met again when the file is needed.
    pub(super) fn give_spare(&mut self, spare: Result<Spare, IoError>) {
        self.next_file = spare.map_or(NextFile::Failed, NextFile::There);
    }

    fn complete(&mut self, end: EpochEnd) -> Result<Option<FileMeta>, IoError> {
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let first = self.carried.as_ref().map_or(end.epoch, |carried| carried.first_epoch);
        let id = writer.id();
        let file = writer.complete(first, end.epoch, self.layout.groups());
        let file = file.inspect_err(|_| remove(&self.files, id))?;
        let expected_bytes = file.length_bytes() + file.length_bytes() / 4;
        self.expected_bytes = expected_bytes.clamp(EXPECTED_BYTES_MIN, EXPECTED_BYTES_MAX);
        Ok(Some(file))
    }

    /// The oldest epoch is durable and known to be: its blocks can go. Returns their bytes.
    pub(super) fn forget_oldest(&mut self) -> u64 {
        let work = self.end_oldest();
        let carried = self.carried.take().map_or(Vec::new(), |carried| carried.blocks);
        let blocks = carried.iter().chain(&work.blocks);
        blocks.map(|block| block.bytes.len() as u64).sum()
    }

    /// The oldest epoch is not durable: its blocks go in front of the next one's, unless that has all
    /// rows. Returns the bytes of blocks that go.
    pub(super) fn give_up_oldest(&mut self) -> u64 {
        if self.is_full {
            return self.forget_oldest();
        }
        let mut work = self.end_oldest();
        let first_epoch = work.epoch;
        let carried =
            self.carried.get_or_insert_with(|| Carried { first_epoch, blocks: Vec::new() });
        carried.blocks.append(&mut work.blocks);
        0
    }

    fn end_oldest(&mut self) -> EpochWork {
        self.written_count = 0;
        self.next_file.forget_failure();
        self.epochs.pop_front().expect("an epoch was flushed")
    }

    fn fail(&mut self, end: EpochEnd, error: IoError) -> FlushStep {
        self.abandon();
        FlushStep::Failed { end, error, forgotten_bytes: self.give_up_oldest() }
    }

    /// Gives up the file that is being written.
    fn abandon(&mut self) {
        self.written_count = 0;
        if let Some(writer) = self.writer.take() {
            // If it cannot be removed, it is when the directory is opened next.
            let _ = writer.abort();
        }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.abandon();
        if let Some((id, file)) = self.next_file.take() {
            drop(file);
            remove(&self.files, id);
        }
    }
}

/// The block of this number: first those that were carried over, then the oldest epoch's.
fn block_at<'a>(
    carried: &'a Option<Carried>,
    epochs: &'a VecDeque<EpochWork>,
    index: usize,
) -> Option<&'a DeltaBlock> {
    let carried = carried.as_ref().map_or(&[][..], |carried| &carried.blocks);
    let oldest = epochs.front().map_or(&[][..], |work| &work.blocks);
    carried.get(index).or_else(|| oldest.get(index.checked_sub(carried.len())?))
}

/// The file of the next delta.
#[derive(Debug)]
enum NextFile {
    Missing,
    /// It is being made.
    Asked,
    /// It could not be made since the latest epoch.
    Failed,
    There(Spare),
}

impl NextFile {
    fn take(&mut self) -> Option<Spare> {
        match std::mem::replace(self, NextFile::Missing) {
            NextFile::There(spare) => Some(spare),
            other => {
                *self = other;
                None
            }
        }
    }

    fn forget_failure(&mut self) {
        if matches!(self, NextFile::Failed) {
            *self = NextFile::Missing;
        }
    }
}

/// An empty file whose name is durable.
pub(crate) type Spare = (FileId, Box<dyn WriteFile>);

fn start(
    files: &StoreFiles,
    spare: Option<Spare>,
    expected_bytes: u64,
    epoch: Epoch,
) -> Result<DeltaWriter, IoError> {
    let (id, file) = match spare {
        Some(spare) => spare,
        None => create_spare(files, expected_bytes)?,
    };
    Ok(DeltaWriter::start(files.storage(), file, id, epoch))
}

/// Makes an empty file for a delta of about so many bytes, and its name durable.
pub(super) fn create_spare(files: &StoreFiles, expected_bytes: u64) -> Result<Spare, IoError> {
    let id = files.next_id();
    let path = files.delta_path(id);
    let file = files.storage().create_segment(&path, expected_bytes)?;
    files.storage().sync_dir(parent_directory(&path))?;
    Ok((id, file))
}

/// Removes a file that no manifest names. If that fails, it is removed when the directory is opened
/// next.
fn remove(files: &StoreFiles, id: FileId) {
    let _ = files.storage().remove(&files.delta_path(id));
}
