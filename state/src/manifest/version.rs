//! One consistent set of files.

use std::sync::Arc;

use super::{FileMeta, FilePart};
use crate::backend::Epoch;
use crate::codec::TableId;

/// The files that hold a store's rows as of one edit; immutable and shared by the worker and by
/// readers. A file is not removed while a version that has it is in use.
///
/// # Invariants
///
/// - What an earlier file of this order says of a row is newer: deltas from the first on, then
///   level 1, level 2, and so on.
/// - Files of one level from 1 on are sorted and disjoint (`largest < next.smallest`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    /// Counts up with every edit of this store.
    pub(crate) number: u64,
    /// All finished epochs up to this one are in the files.
    pub(crate) epoch: Option<Epoch>,
    /// Level 0, the newest first.
    pub(crate) deltas: Vec<Arc<FileMeta>>,
    /// `levels[0]` is level 1.
    pub(crate) levels: Vec<Vec<Arc<FileMeta>>>,
}

/// What becomes of the files in one edit: the result of a flush or a compaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VersionChange {
    pub(crate) removed: Vec<FilePart>,
    pub(crate) added: Vec<FileMeta>,
}

impl Version {
    /// All files, the newest first.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Arc<FileMeta>> {
        self.deltas.iter().chain(self.levels.iter().flatten())
    }

    /// Whether anything of a table is in the files.
    pub(crate) fn has_rows(&self, table: TableId) -> bool {
        self.files().any(|file| file.tables.binary_search(&table).is_ok())
    }

    /// The bytes of all files.
    pub(crate) fn length_bytes(&self) -> u64 {
        self.files().map(|file| file.length_bytes()).sum()
    }

    /// The files of a level from 1 on; none above the highest.
    pub(crate) fn level(&self, level: u8) -> &[Arc<FileMeta>] {
        match usize::from(level).checked_sub(1) {
            Some(index) => self.levels.get(index).map_or(&[], Vec::as_slice),
            None => &self.deltas,
        }
    }

    /// The version after a change.
    ///
    /// # Panics
    ///
    /// If files of a level would overlap, or a removed file is not there.
    #[cfg(test)]
    pub(crate) fn with(&self, change: &VersionChange) -> Self {
        let mut next = Version { number: self.number + 1, ..self.clone() };
        change.removed.iter().for_each(|part| next.remove(*part).unwrap());
        let added = change.added.iter().cloned().map(Arc::new);
        added.for_each(|file| next.try_insert(file).unwrap());
        next
    }

    /// Puts a file in its place.
    ///
    /// # Errors
    ///
    /// If it overlaps another one of its level.
    pub(crate) fn try_insert(&mut self, file: Arc<FileMeta>) -> Result<(), Box<str>> {
        if file.is_delta() {
            let newer = |other: &Arc<FileMeta>| other.last_epoch > file.last_epoch;
            let at = self.deltas.partition_point(newer);
            self.deltas.insert(at, file);
            return Ok(());
        }
        let index = usize::from(file.level) - 1;
        if self.levels.len() <= index {
            self.levels.resize_with(index + 1, Vec::new);
        }
        let level = &mut self.levels[index];
        let at = level.partition_point(|other| other.smallest < file.smallest);
        let is_behind = at == 0 || level[at - 1].largest < file.smallest;
        if !is_behind || level.get(at).is_some_and(|next| next.smallest <= file.largest) {
            let (id, level) = (file.id(), file.level);
            let what =
                format!("expected disjoint files in level {level}, found file {id} across others");
            return Err(what.into());
        }
        level.insert(at, file);
        Ok(())
    }

    /// Takes a file out.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub(super) fn remove(&mut self, part: FilePart) -> Result<(), Box<str>> {
        let mut is_found = false;
        let mut stays = |file: &Arc<FileMeta>| {
            is_found |= file.part() == part;
            file.part() != part
        };
        self.deltas.retain(&mut stays);
        self.levels.iter_mut().for_each(|level| level.retain(&mut stays));
        match is_found {
            true => Ok(()),
            false => {
                let FilePart { id, first_group } = part;
                Err(format!("expected file {id} (from key group {first_group}) among the live ones, found it not").into())
            }
        }
    }
}
