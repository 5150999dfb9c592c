//! What to compact: a pure function of a version.

use std::sync::Arc;

use super::CompactionOptions;
use super::levels::Levels;
use crate::manifest::{FileMeta, LEVEL_MAX, Version};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Nothing.
    Rest,
    /// A file that overlaps nothing in the next level belongs to that from now on.
    Move {
        /// The file.
        file: Arc<FileMeta>,
        /// Its new level.
        level: u8,
    },
    /// Files are merged into new ones.
    Merge(Merge),
}

/// Files that are replaced by what they say together.
///
/// # Invariants
///
/// - What lies between the newest of the files and `level`, and has rows of the same prefixes, is
///   among them: so the new files may be in `level`, and everything newer stays above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    /// The newest first.
    pub(crate) deltas: Vec<Arc<FileMeta>>,
    /// By level, and within a level in order.
    pub(crate) files: Vec<Arc<FileMeta>>,
    /// The level of the new files.
    pub(crate) level: u8,
    /// How large the new files are meant to be.
    pub(crate) file_bytes: u64,
}

/// Decides by sizes: the level that exceeds its target most is made smaller; all that is young
/// counts as one. Without one, files half of whose records have expired are rewritten.
///
/// Where deltas are sorted as they come ([`choose_sort`]), they are left to that.
pub(crate) fn choose(version: &Version, options: &CompactionOptions, now_ms: i64) -> Choice {
    if options.sorts_deltas && !version.deltas.is_empty() {
        let sorted = Version { deltas: Vec::new(), ..version.clone() };
        return match choose(&sorted, options, now_ms) {
            // The runs that are in the way of the deltas.
            Choice::Rest => make_level_free(&sorted, options),
            choice => choice,
        };
    }
    let levels = Levels::of(version, options);
    let young = levels.young_fullness(version, options);
    let fullest = (levels.base..LEVEL_MAX)
        .map(|level| (levels.fullness(level), level))
        .max_by_key(|(fullness, level)| (*fullness, std::cmp::Reverse(*level)));
    match fullest {
        Some((fullness, level)) if fullness >= 1_000 && fullness > young => {
            push_down(version, &levels, options, level)
        }
        _ if young >= 1_000 => merge_young(version, &levels, options),
        _ => rewrite_expired(version, &levels, options, now_ms),
    }
}

/// Sorts the deltas, if that is wanted and there is a level for them: a young one, above all that is
/// sorted and above `limit`, which is where another compaction has begun.
pub(crate) fn choose_sort(version: &Version, options: &CompactionOptions, limit: u8) -> Choice {
    if !options.sorts_deltas || version.deltas.is_empty() {
        return Choice::Rest;
    }
    match Levels::of(version, options).free_young_level() {
        Some(level) if level < limit => Choice::Merge(Merge {
            deltas: version.deltas.clone(),
            files: Vec::new(),
            level,
            file_bytes: options.file_bytes_max,
        }),
        _ => Choice::Rest,
    }
}

/// Merges what is young if it takes all levels that deltas can be sorted to.
fn make_level_free(version: &Version, options: &CompactionOptions) -> Choice {
    let levels = Levels::of(version, options);
    match levels.free_young_level() {
        None => merge_young(version, &levels, options),
        Some(_) => Choice::Rest,
    }
}

impl Choice {
    /// The uppermost level it takes files from or puts them to, deltas apart.
    pub(crate) fn top_level(&self) -> Option<u8> {
        match self {
            Choice::Rest => None,
            Choice::Move { file, level } => Some((*level).min(file.level)),
            Choice::Merge(merge) => {
                let files = merge.files.iter().map(|file| file.level);
                files.chain([merge.level]).min()
            }
        }
    }
}

/// A level takes young files as long as it has no more than so many times its target then; what is
/// too much goes down file by file. There the next level is rewritten for an eighth of its bytes
/// each: merging more than twice the target through it at once costs less.
const OVERFILL: u64 = 2;

/// Merges all that is young into the base level; or, if it is too much for it, through it into the
/// next one, down to the first that it fits.
fn merge_young(version: &Version, levels: &Levels, options: &CompactionOptions) -> Choice {
    let mut incoming = levels.young_bytes();
    let mut level = levels.base;
    while level < LEVEL_MAX {
        incoming += levels.bytes[level as usize];
        if incoming <= levels.target_bytes[level as usize].saturating_mul(OVERFILL) {
            break;
        }
        level += 1;
    }
    let young = || {
        let runs = (1..levels.base).flat_map(|level| version.level(level));
        version.deltas.iter().chain(runs)
    };
    let has_young_table = |file: &&Arc<FileMeta>| {
        let mut tables = file.tables.iter();
        tables.any(|table| young().any(|young| young.tables.contains(table)))
    };
    let files = (1..=level).flat_map(|level| version.level(level)).filter(has_young_table);
    Choice::Merge(Merge {
        deltas: version.deltas.clone(),
        files: files.cloned().collect(),
        level,
        file_bytes: levels.file_bytes(level, options),
    })
}

/// Moves or merges the file of a level into the next one that costs least for what it brings.
fn push_down(version: &Version, levels: &Levels, options: &CompactionOptions, level: u8) -> Choice {
    let cost = |file: &&Arc<FileMeta>| {
        let below: u64 =
            overlapping(version, level + 1, file).map(|file| file.length_bytes()).sum();
        let weight = file.length_bytes() + file.removal_count * levels.removal_bytes;
        (below.saturating_mul(1_000) / weight.max(1), file.smallest)
    };
    match version.level(level).iter().min_by_key(cost) {
        Some(file) => merge_down(version, levels, options, file),
        None => Choice::Rest,
    }
}

/// One file into the next level.
fn merge_down(
    version: &Version,
    levels: &Levels,
    options: &CompactionOptions,
    file: &Arc<FileMeta>,
) -> Choice {
    let level = file.level + 1;
    let mut files = vec![Arc::clone(file)];
    files.extend(overlapping(version, level, file).cloned());
    // At the bottom removals have done their work, and only a merge drops them.
    let has_nothing_to_drop = level < LEVEL_MAX || file.removal_count == 0;
    if files.len() == 1 && has_nothing_to_drop {
        return Choice::Move { file: Arc::clone(file), level };
    }
    let file_bytes = levels.file_bytes(level, options);
    Choice::Merge(Merge { deltas: Vec::new(), files, level, file_bytes })
}

fn rewrite_expired(
    version: &Version,
    levels: &Levels,
    options: &CompactionOptions,
    now_ms: i64,
) -> Choice {
    let has_expired = |file: &&Arc<FileMeta>| file.half_expired_at_ms <= now_ms;
    let Some(file) = version.levels.iter().flatten().find(has_expired) else { return Choice::Rest };
    if file.level < LEVEL_MAX {
        return merge_down(version, levels, options, file);
    }
    Choice::Merge(Merge {
        deltas: Vec::new(),
        files: vec![Arc::clone(file)],
        level: LEVEL_MAX,
        file_bytes: levels.file_bytes(LEVEL_MAX, options),
    })
}

/// The files of a level that may have rows of the same prefixes.
fn overlapping<'v>(
    version: &'v Version,
    level: u8,
    file: &FileMeta,
) -> impl Iterator<Item = &'v Arc<FileMeta>> {
    let files = version.level(level);
    let start = files.partition_point(|other| other.largest < file.smallest);
    let end = files.partition_point(|other| other.smallest <= file.largest);
    files[start..end.max(start)].iter()
}
