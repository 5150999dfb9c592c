//! Reads files for one subtask: one after the other, or all at once when they are followed.
//!
//! A poll goes round the open files, each at most once, and reads at most one chunk. A followed file that had nothing new is left
//! alone for a while, so that an idle core does not ask the system in each of its rounds.
//!
//! **Invariants**
//! - A bounded reader has at most one file open and asks for the next when that is read.
//! - The splits of a snapshot are those not yet opened and those open, each at the start of its next row.

use std::collections::VecDeque;

use thalweg_io::file::{ReadError, ReadStatus};

use super::decoder::{Decoded, FileAccess, FileDecoder, FileFormat};
use super::error::FileSourceError;
use super::malformed::OnMalformed;
use super::split::{FilePosition, FileSplit};
use crate::Result;
use crate::connector::splits::HeldSplits;
use crate::function::{InputStatus, SourceCollector, SourceReader, SourceSplit};

/// Reads a [`FileSource`](super::FileSource).
pub struct FileSourceReader<F: FileFormat, P> {
    format: F,
    on_malformed: P,
    access: FileAccess,
    /// How long a followed file with nothing new is left alone.
    follow_interval_ns: u64,
    /// Not opened yet.
    held: HeldSplits<FileSplit>,
    open: VecDeque<OpenFile<F::Decoder>>,
    skipped: u64,
}

struct OpenFile<D> {
    split: FileSplit,
    split_id: String,
    decoder: D,
    /// When to look for growth again.
    next_look_ns: u64,
    /// The path names another file: this one is read to its end, then that one.
    is_rotated: bool,
}

/// What one file came to in a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There is more, or may be.
    More,
    /// Followed: nothing new.
    Nothing,
    /// Read to its end.
    Finished,
}

impl<F: FileFormat, P: OnMalformed<F::Out>> FileSourceReader<F, P> {
    pub(super) fn new(
        format: F,
        on_malformed: P,
        access: FileAccess,
        follow_interval_ns: u64,
    ) -> Self {
        let (held, open) = (HeldSplits::new(), VecDeque::new());
        FileSourceReader {
            format,
            on_malformed,
            access,
            follow_interval_ns,
            held,
            open,
            skipped: 0,
        }
    }

    /// Opens what may be opened.
    fn open_files(&mut self) -> Result<(), FileSourceError> {
        while self.access.follow || self.open.is_empty() {
            let Some(mut split) = self.held.splits.front().cloned() else { return Ok(()) };
            let decoder = self.open_file(&mut split)?;
            self.held.splits.pop_front();
            let (split_id, next_look_ns, is_rotated) = (split.split_id(), 0, false);
            self.open.push_back(OpenFile { split, split_id, decoder, next_look_ns, is_rotated });
        }
        Ok(())
    }

    fn open_file(&self, split: &mut FileSplit) -> Result<F::Decoder, FileSourceError> {
        let decoder = self.format.open(&self.access, split)?;
        let identity = decoder.identity();
        let is_other = split.identity.is_some_and(|before| before != identity);
        split.identity = Some(identity);
        if !(self.access.follow && is_other) {
            return Ok(decoder);
        }
        // Rotated while nobody was looking: the position is of a file that is gone.
        let file = split.path.display();
        tracing::warn!(%file, "the followed file was replaced; it is read from its start");
        split.position = FilePosition::START;
        self.format.open(&self.access, split)
    }

    /// Says that the next records are of the first open file.
    fn name_split(&self, out: &mut SourceCollector<'_, P::Out>) {
        self.open.front().iter().for_each(|file| out.begin_split(&file.split_id));
    }

    /// Emits up to `max` records of the first open file, reading at most one chunk.
    fn read(&mut self, max: u64, out: &mut SourceCollector<'_, P::Out>) -> Result<Turn> {
        let Some(file) = self.open.front_mut() else { return Ok(Turn::Finished) };
        let mut has_read = false;
        while out.emitted() < max {
            match file.decoder.next()? {
                Decoded::Row(row) => self.on_malformed.emit(row, out, &mut self.skipped)?,
                Decoded::Finished if file.is_rotated => {
                    file.decoder.reopen()?;
                    file.is_rotated = false;
                    file.split.identity = Some(file.decoder.identity());
                }
                Decoded::Finished => return Ok(Turn::Finished),
                Decoded::WantsBytes if has_read => return Ok(Turn::More),
                Decoded::WantsBytes => {
                    has_read = true;
                    match fill(file)? {
                        ReadStatus::AtEnd if self.access.follow => return Ok(Turn::Nothing),
                        ReadStatus::Rotated => {
                            file.is_rotated = true;
                            file.decoder.end_file();
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(Turn::More)
    }

    fn status(&self, out: &SourceCollector<'_, P::Out>, now_ns: u64) -> InputStatus {
        let looks = self.open.iter().map(|file| file.next_look_ns);
        match looks.min() {
            None => self.held.status_when_empty(),
            Some(next_look_ns) if next_look_ns > now_ns && self.held.splits.is_empty() => {
                out.poll_again_in_ns(next_look_ns - now_ns);
                InputStatus::NothingAvailable
            }
            Some(_) => InputStatus::MoreAvailable,
        }
    }
}

/// Reads a chunk; a followed file that was truncated in place begins anew.
fn fill<D: FileDecoder>(file: &mut OpenFile<D>) -> Result<ReadStatus, FileSourceError> {
    match file.decoder.fill() {
        Err(FileSourceError::Read(ReadError::Truncated { path, length_bytes, .. })) => {
            let path = path.display();
            tracing::warn!(%path, length_bytes, "the followed file was truncated; reading from its start");
            file.decoder.reopen()?;
            Ok(ReadStatus::Working)
        }
        other => other,
    }
}

impl<F: FileFormat, P: OnMalformed<F::Out>> SourceReader for FileSourceReader<F, P> {
    type Out = P::Out;
    type Split = FileSplit;

    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, P::Out>,
    ) -> Result<InputStatus> {
        self.open_files()?;
        let now_ns = out.monotonic_ns();
        for _ in 0..self.open.len() {
            let is_due = self.open.front().is_some_and(|file| file.next_look_ns <= now_ns);
            if is_due {
                self.name_split(out);
                let turn = self.read(max as u64, out)?;
                if turn == Turn::Finished {
                    let finished = self.open.pop_front();
                    finished.iter().for_each(|file| out.end_split(&file.split_id));
                } else if let (Turn::Nothing, Some(file)) = (turn, self.open.front_mut()) {
                    file.next_look_ns = now_ns.saturating_add(self.follow_interval_ns);
                }
                if turn != Turn::Nothing {
                    break;
                }
            }
            self.open.rotate_left(1);
        }
        Ok(self.status(out, now_ns))
    }

    fn add_splits(&mut self, splits: Vec<FileSplit>) {
        self.held.add(splits);
    }

    fn no_more_splits(&mut self) {
        self.held.no_more();
    }

    fn wants_split(&self) -> bool {
        self.held.wants_split() && (self.access.follow || self.open.is_empty())
    }

    fn snapshot(&self) -> Vec<FileSplit> {
        let open = self.open.iter().map(|file| {
            let identity = Some(file.decoder.identity());
            FileSplit { path: file.split.path.clone(), position: file.decoder.position(), identity }
        });
        open.chain(self.held.snapshot()).collect()
    }
}
