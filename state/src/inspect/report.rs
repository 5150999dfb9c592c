//! The report, and how it is printed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use thalweg_io::block::FileId;

use super::verify_file;
use crate::backend::StoreError;
use crate::manifest::{Contents, FileMeta, Recovered, Version};
use crate::snapshot::{DataFile, StoreFiles};
use crate::{KeyGroupRange, SchemaFingerprint};

/// What [`inspect`](crate::inspect) found; its text is the report.
#[derive(Debug)]
pub struct Report {
    pub(super) directory: PathBuf,
    pub(super) openings: Result<u64, String>,
    pub(super) stores: Vec<StoreReport>,
    pub(super) files: Vec<FileReport>,
}

impl Report {
    /// Whether nothing is damaged or missing.
    pub fn is_sound(&self) -> bool {
        self.openings.is_ok()
            && self.stores.iter().all(|store| store.problem().is_none())
            && self.files.iter().all(|file| file.problem().is_none())
    }

    /// The stores, by name.
    pub fn stores(&self) -> &[StoreReport] {
        &self.stores
    }

    /// The data files, by id.
    pub fn files(&self) -> &[FileReport] {
        &self.files
    }
}

/// What a manifest says.
#[derive(Debug)]
pub struct StoreReport {
    path: PathBuf,
    store: Box<str>,
    recovered: Result<Box<Recovered>, StoreError>,
}

impl StoreReport {
    pub(super) fn new(
        path: PathBuf,
        store: Box<str>,
        recovered: Result<Recovered, StoreError>,
    ) -> Self {
        StoreReport { path, store, recovered: recovered.map(Box::new) }
    }

    /// The store's name.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// What is wrong with the manifest.
    pub fn problem(&self) -> Option<&StoreError> {
        match &self.recovered {
            Ok(recovered) => recovered.damage.as_ref(),
            Err(error) => Some(error),
        }
    }
}

/// A data file, and who refers to it.
#[derive(Debug)]
pub struct FileReport {
    path: PathBuf,
    file: DataFile,
    /// `None` if it is missing.
    length_bytes: Option<u64>,
    stores: Vec<Box<str>>,
    meta: Option<Arc<FileMeta>>,
    verified: Option<Result<(), StoreError>>,
}

impl FileReport {
    pub(super) fn found(path: PathBuf, file: DataFile, length_bytes: Option<u64>) -> Self {
        let (stores, meta, verified) = (Vec::new(), None, None);
        FileReport { path, file, length_bytes, stores, meta, verified }
    }

    /// A store's manifest describes it so.
    pub(super) fn refer(&mut self, store: &str, meta: &Arc<FileMeta>) {
        if !self.stores.iter().any(|known| **known == *store) {
            self.stores.push(store.into());
        }
        self.meta.get_or_insert_with(|| Arc::clone(meta));
    }

    /// Reads and checks it, if a manifest describes it.
    pub(super) fn verify(&mut self, files: &StoreFiles) {
        let Some(meta) = &self.meta else { return };
        let store = self.stores.first().map_or("", |store| store);
        self.verified = Some(verify_file(&files.of_store(store), meta));
    }

    /// The file; empty if it is missing.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The stores whose manifests refer to it; none for a file that is being written, or was left
    /// behind by a crash.
    pub fn stores(&self) -> &[Box<str>] {
        &self.stores
    }

    /// What is wrong with it, if it was read; that it is missing in any case.
    pub fn problem(&self) -> Option<String> {
        match (&self.verified, self.length_bytes) {
            (Some(Err(error)), _) => Some(error.to_string()),
            (_, None) => Some("it is missing".to_owned()),
            _ => None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.display();
        match &self.openings {
            Ok(openings) => writeln!(formatter, "{directory}: opened {openings} times")?,
            Err(error) => writeln!(formatter, "{directory}: PROBLEM {error}")?,
        }
        self.stores.iter().try_for_each(|store| write!(formatter, "{store}"))?;
        let bytes: u64 = self.files.iter().filter_map(|file| file.length_bytes).sum();
        writeln!(formatter, "{} data files, {bytes} bytes", self.files.len())?;
        self.files.iter().try_for_each(|file| writeln!(formatter, "  {file}"))?;
        let verdict = if self.is_sound() { "sound" } else { "NOT SOUND" };
        write!(formatter, "{verdict}")
    }
}

impl fmt::Display for StoreReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "store '{}' ({})", self.store, self.path.display())?;
        if let Some(problem) = self.problem() {
            writeln!(formatter, "  PROBLEM {problem}")?;
        }
        let Ok(recovered) = &self.recovered else { return Ok(()) };
        let Recovered { contents, file_id, edit_count, torn_bytes, .. } = &**recovered;
        writeln!(formatter, "  manifest: log {file_id}, {edit_count} edits")?;
        if *torn_bytes > 0 {
            writeln!(
                formatter,
                "  torn tail: {torn_bytes} bytes of an edit that was never durable"
            )?;
        }
        write_contents(formatter, contents)
    }
}

fn write_contents(formatter: &mut fmt::Formatter<'_>, contents: &Contents) -> fmt::Result {
    let identity = &contents.identity;
    let KeyGroupRange { start, end } = identity.groups;
    let (name, version) = (&identity.key_hash_name, identity.key_hash_version);
    writeln!(
        formatter,
        "  key groups {start}..{end} of {}, key hash {name} version {version}",
        identity.max_parallelism
    )?;
    for source in &contents.sources {
        let KeyGroupRange { start, end } = source.groups;
        let (store, checkpoint) = (&source.store, source.checkpoint);
        writeln!(
            formatter,
            "  key groups {start}..{end} restored from checkpoint {checkpoint} of '{store}'"
        )?;
    }
    for (id, table) in &contents.tables {
        let fingerprint = SchemaFingerprint(table.key.fingerprint);
        writeln!(
            formatter,
            "  table {} '{}': key {} {fingerprint}",
            id.0, table.name, table.key.text
        )?;
        for (index, state) in &table.states {
            let fingerprint = SchemaFingerprint(state.schema.fingerprint);
            let (name, text) = (&state.name, &state.schema.text);
            writeln!(formatter, "    state {index} '{name}': {text} {fingerprint}")?;
        }
    }
    for (id, checkpoint) in &contents.checkpoints {
        write!(formatter, "  checkpoint {id} (epoch {}): ", checkpoint.epoch.0)?;
        write_version(formatter, &checkpoint.version)?;
    }
    write!(formatter, "  live: ")?;
    write_version(formatter, &contents.live)
}

/// Files, bytes and rows of each level that has some.
fn write_version(formatter: &mut fmt::Formatter<'_>, version: &Version) -> fmt::Result {
    write!(formatter, "{} bytes", version.length_bytes())?;
    for level in 0..=version.levels.len() as u8 {
        let files = version.level(level);
        if !files.is_empty() {
            let rows: u64 = files.iter().map(|file| file.row_count).sum();
            write!(formatter, ", level {level}: {} files, {rows} rows", files.len())?;
        }
    }
    writeln!(formatter)
}

impl fmt::Display for FileReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DataFile { id: FileId(id), is_delta } = self.file;
        let suffix = if is_delta { "delta" } else { "sst" };
        write!(formatter, "{id:016x}.{suffix}")?;
        if let Some(length_bytes) = self.length_bytes {
            write!(formatter, " {length_bytes} bytes")?;
        }
        if let Some(meta) = &self.meta {
            let (first, last, rows) = (meta.first_epoch.0, meta.last_epoch.0, meta.row_count);
            write!(formatter, ", level {}, epochs {first} to {last}, {rows} rows", meta.level)?;
        }
        match self.stores.as_slice() {
            [] => write!(formatter, ", nobody's")?,
            stores => write!(formatter, ", of {}", stores.join(", "))?,
        }
        match (self.problem(), &self.verified) {
            (Some(problem), _) => write!(formatter, ", PROBLEM {problem}"),
            (None, Some(_)) => write!(formatter, ", verified"),
            (None, None) => Ok(()),
        }
    }
}
