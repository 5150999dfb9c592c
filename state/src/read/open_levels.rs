//! The sorted files of a version, laid out so that the file of a row is found in few lines.

use std::rc::Rc;
use std::sync::Arc;

use crate::codec::RowPrefix;
use crate::manifest::{FileMeta, Version};
use crate::sst::SortedFile;

/// See the module docs.
///
/// # Invariants
///
/// - The levels are those of the version that it was last made for, without the empty ones.
#[derive(Debug, Default)]
pub(super) struct OpenLevels {
    levels: Vec<OpenLevel>,
}

/// # Invariants
///
/// - `largest` and `files` are as long as `metas`: what is known of each file.
#[derive(Debug)]
struct OpenLevel {
    metas: Vec<Arc<FileMeta>>,
    largest: Vec<RowPrefix>,
    /// `None` where the file was not opened yet.
    files: Vec<Option<Rc<SortedFile>>>,
}

/// A file among the levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilePlace {
    level: usize,
    file: usize,
}

impl OpenLevels {
    /// Whether these are the levels of a version.
    pub(super) fn are_of(&self, version: &Version) -> bool {
        let mut levels = version.levels.iter().filter(|level| !level.is_empty());
        let mut mine = self.levels.iter();
        let is_same = |mine: &OpenLevel, level: &[Arc<FileMeta>]| {
            // The same objects: what is held here is not freed, so no other can have its address.
            mine.metas.len() == level.len()
                && mine.metas.iter().zip(level).all(|(mine, meta)| Arc::ptr_eq(mine, meta))
        };
        levels.all(|level| mine.next().is_some_and(|mine| is_same(mine, level)))
            && mine.next().is_none()
    }

    /// Those of a version, with the files that are open.
    pub(super) fn of(
        version: &Version,
        open: impl Fn(&FileMeta) -> Option<Rc<SortedFile>>,
    ) -> Self {
        let levels =
            version.levels.iter().filter(|level| !level.is_empty()).map(|level| OpenLevel {
                metas: level.clone(),
                largest: level.iter().map(|meta| meta.largest).collect(),
                files: level.iter().map(|meta| open(meta)).collect(),
            });
        OpenLevels { levels: levels.collect() }
    }

    /// How many levels have files, the newest first.
    pub(super) fn len(&self) -> usize {
        self.levels.len()
    }

    /// The file of a level in which a prefix can be.
    #[inline]
    pub(super) fn find(&self, level: usize, prefix: RowPrefix) -> Option<FilePlace> {
        let OpenLevel { metas, largest, .. } = &self.levels[level];
        let file = largest.partition_point(|largest| *largest < prefix);
        let place = FilePlace { level, file };
        metas.get(file).filter(|meta| meta.smallest <= prefix).map(|_| place)
    }

    /// The file at a place, if it is open.
    #[inline]
    pub(super) fn file(&self, place: FilePlace) -> Option<&Rc<SortedFile>> {
        self.levels[place.level].files[place.file].as_ref()
    }

    /// What the manifest says of the file at a place.
    pub(super) fn meta(&self, place: FilePlace) -> &Arc<FileMeta> {
        &self.levels[place.level].metas[place.file]
    }

    /// The file at a place has been opened.
    pub(super) fn set_open(&mut self, place: FilePlace, file: Rc<SortedFile>) {
        self.levels[place.level].files[place.file] = Some(file);
    }
}
