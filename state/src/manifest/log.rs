//! The log of edits: writing, reading, starting anew.

use std::path::{Path, PathBuf};

use thalweg_io::block::{BlockOwner, FileId};
use thalweg_io::checkpoint_file::{FileFormat, LogReader, LogWriter};
use thalweg_io::file::IN_PROGRESS_SUFFIX;
use thalweg_io::storage::{Storage, parent_directory};
use thalweg_io::{Fault, IoError, crash_point, planted};

use super::contents::Contents;
use super::edit::{self, EditRecord};
use crate::backend::{OlderCheckpoints, StoreError};
use crate::snapshot::{StoreFiles, crash_points};

pub(crate) const MANIFEST_FORMAT: FileFormat = FileFormat::new("manifest", 2);

const EDIT_KIND: u8 = 1;
const SEAL_KIND: u8 = 2;

/// A log that exceeds this many times its first edit, and `ROTATION_BYTES_MIN`, is started anew. A
/// synced edit takes a sector of 4 KiB at least: the minimum has room for some 250.
const ROTATION_GROWTH: u64 = 4;
const ROTATION_BYTES_MIN: u64 = 1 << 20;

/// The manifest of an open store.
#[derive(Debug)]
pub(crate) struct ManifestLog {
    files: StoreFiles,
    path: PathBuf,
    contents: Contents,
    /// `None` before the first edit, and after an error.
    writer: Option<LogWriter>,
    rotate_at_bytes: u64,
}

impl ManifestLog {
    /// A manifest that has these contents from its first edit on. Nothing is written yet.
    pub(crate) fn new(files: StoreFiles, path: PathBuf, contents: Contents) -> Self {
        ManifestLog { files, path, contents, writer: None, rotate_at_bytes: 0 }
    }

    /// What is durable.
    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Makes an edit durable; then, and only then, it is part of the contents.
    ///
    /// # Errors
    ///
    /// If a step fails. The contents are as before; the next commit starts a new log.
    ///
    /// # Panics
    ///
    /// If the edit does not fit the contents: a bug.
    pub(crate) fn commit(&mut self, edit: &[EditRecord]) -> Result<(), IoError> {
        let mut next = self.contents.clone();
        if let Err(what) = next.apply(edit) {
            panic!("an edit of this process does not fit: {what}");
        }
        match self.write(edit, &next) {
            Ok(()) => {
                self.contents = next;
                Ok(())
            }
            Err(error) => {
                self.writer = None;
                Err(error)
            }
        }
    }

    fn write(&mut self, edit: &[EditRecord], next: &Contents) -> Result<(), IoError> {
        match &mut self.writer {
            Some(writer) if writer.length_bytes() < self.rotate_at_bytes => {
                crash_point(crash_points::MANIFEST_WRITE);
                append(writer, edit)?;
                writer.sync()?;
                crash_point(crash_points::MANIFEST_FSYNC);
                seal(writer);
                Ok(())
            }
            _ => self.start(next),
        }
    }

    /// Starts a new log, which says everything in its first edit, in the place of the old one.
    fn start(&mut self, contents: &Contents) -> Result<(), IoError> {
        self.writer = None;
        let owner = BlockOwner { file_id: self.files.next_id(), epoch: 0 };
        let storage = self.files.storage();
        let mut in_progress = self.path.clone().into_os_string();
        in_progress.push(IN_PROGRESS_SUFFIX);
        let mut in_progress = PathBuf::from(in_progress);
        if planted(Fault::ManifestInPlace) {
            in_progress.clone_from(&self.path);
        }
        let file = storage.create_segment(&in_progress, ROTATION_BYTES_MIN)?;
        let mut writer = LogWriter::start(storage, file, MANIFEST_FORMAT, owner);
        crash_point(crash_points::MANIFEST_WRITE);
        append(&mut writer, &contents.snapshot())?;
        writer.sync()?;
        crash_point(crash_points::MANIFEST_FSYNC);
        if in_progress != self.path {
            storage.rename(&in_progress, &self.path)?;
        }
        crash_point(crash_points::MANIFEST_RENAME);
        if !planted(Fault::NoDirectorySync) {
            storage.sync_dir(parent_directory(&self.path))?;
        }
        crash_point(crash_points::MANIFEST_DIRSYNC);
        seal(&mut writer);
        self.rotate_at_bytes = (writer.length_bytes() * ROTATION_GROWTH).max(ROTATION_BYTES_MIN);
        self.writer = Some(writer);
        Ok(())
    }
}

fn append(writer: &mut LogWriter, records: &[EditRecord]) -> Result<(), IoError> {
    let mut payload = Vec::new();
    records.iter().for_each(|record| edit::encode(record, &mut payload));
    writer.append(EDIT_KIND, &payload).map(drop)
}

/// Says that all before is durable. An error here is met again by the next edit.
fn seal(writer: &mut LogWriter) {
    let _ = writer.append(SEAL_KIND, &[]).and_then(|_| writer.flush());
}

/// What a manifest was found to say.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) contents: Contents,
    pub(crate) file_id: FileId,
    /// Edits read, the first one included.
    pub(crate) edit_count: u64,
    /// The bytes of a torn tail: an edit that was never durable.
    pub(crate) torn_bytes: u64,
    /// Damage before the end; the contents are as of the edit before.
    pub(crate) damage: Option<StoreError>,
}

/// Reads the manifest of a store.
///
/// # Errors
///
/// If not even its first edit can be read. Damage behind that is in the answer.
pub(crate) fn read_manifest(
    storage: &dyn Storage,
    path: &Path,
    store: &str,
) -> Result<Recovered, StoreError> {
    let failed = |error| StoreError::io(store, error);
    let mut reader = LogReader::open(storage, path, MANIFEST_FORMAT).map_err(failed)?;
    let file_id = reader.owner().file_id;
    let mut contents = None;
    let mut edit_count = 0;
    let damage = loop {
        match next_edit(&mut reader, store) {
            Ok(Some((offset, edit))) => match apply(contents.take(), &edit) {
                Ok(next) => contents = Some(next),
                Err(unfit) => {
                    let (before, what) = *unfit;
                    contents = before;
                    break Some(malformed(store, path, offset, what));
                }
            },
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
        edit_count += 1;
    };
    let torn_bytes = reader.end().map_or(0, |end| end.cut_bytes);
    let Some(contents) = contents else {
        let nothing = || {
            let what = "expected an edit with the store's identity, found the end";
            malformed(store, path, 0, what.into())
        };
        return Err(damage.unwrap_or_else(nothing));
    };
    let older = contents.checkpoints.keys().rev().copied();
    let damage = damage.map(|damage| damage.with_older(older));
    Ok(Recovered { contents, file_id, edit_count, torn_bytes, damage })
}

/// The next edit and where it lies; `None` at the end.
fn next_edit(
    reader: &mut LogReader,
    store: &str,
) -> Result<Option<(u64, Vec<EditRecord>)>, StoreError> {
    let path = reader.path().to_path_buf();
    loop {
        let Some(block) = reader.advance().map_err(|error| StoreError::io(store, error))? else {
            return Ok(None);
        };
        let offset = block.address.offset;
        match block.kind {
            SEAL_KIND => {}
            EDIT_KIND => {
                let edit = edit::decode(block.payload).map_err(|error| {
                    malformed(store, &path, offset + error.offset as u64, error.what)
                })?;
                return Ok(Some((offset, edit)));
            }
            kind => {
                let what = format!("expected a block of kind {EDIT_KIND}, found kind {kind}");
                return Err(malformed(store, &path, offset, what.into()));
            }
        }
    }
}

/// What was there before the edit, and why the edit does not fit.
type Unfit = Box<(Option<Contents>, Box<str>)>;

/// The contents after an edit; the first one has to begin with the identity.
fn apply(before: Option<Contents>, edit: &[EditRecord]) -> Result<Contents, Unfit> {
    let mut next = match (&before, edit.first()) {
        (Some(before), _) => before.clone(),
        (None, Some(EditRecord::Identity(identity))) => Contents::new(identity.clone()),
        (None, _) => {
            let what = "expected the store's identity first, found another record";
            return Err(Box::new((None, what.into())));
        }
    };
    match next.apply(edit) {
        Ok(()) => Ok(next),
        Err(what) => Err(Box::new((before, what))),
    }
}

fn malformed(store: &str, path: &Path, offset: u64, what: Box<str>) -> StoreError {
    let (store, path) = (store.into(), path.into());
    StoreError::Malformed { store, path, offset, what, older: OlderCheckpoints::default() }
}
