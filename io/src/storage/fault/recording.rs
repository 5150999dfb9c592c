//! All images that crashes of one run can leave: a bounded exhaustive search.
//!
//! 1. A run on a [`FaultStorage::recorder`] leaves the list of its changes, with the remarks that
//!    the test made between them.
//! 2. After each change the machine may stop. What was not synced then is a list of units (see the
//!    module `crash`); with few, all combinations of their fates are tried, otherwise those of one
//!    unit against all others and a sample drawn from the seed. Further images have garbage for
//!    each of the writes, and tear writes at random.
//! 3. Each image that was not seen before with the same remarks is handed to the test, which opens
//!    it and says whether it finds what it must.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::FaultStorage;
use super::crash::{Contents, Fate, Unit, contents_after, names_after, units};
use super::disk::{Disk, DiskOperation, FileBody, Inode, Node, ROOT};
use super::profile::{FaultCounters, FaultProfile};
use super::random::Random;
use crate::storage::{MemoryStorage, Storage as _};

/// The changes of a run; see the module.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use thalweg_io::storage::{CrashPlan, FaultStorage, Storage};
///
/// # fn main() -> Result<(), thalweg_io::IoError> {
/// let storage = FaultStorage::recorder();
/// let mut file = storage.create(Path::new("a"))?;
/// storage.sync_dir(Path::new("."))?;
/// file.append(b"hello")?;
/// file.sync()?;
/// storage.note(1); // from here on it must be there
///
/// let report = storage.recording().enumerate(&CrashPlan::default(), |image| {
///     let found = image.to_memory().metadata(Path::new("a")).map(|file| file.length_bytes);
///     assert!(image.latest_note() != Some(1) || found.is_ok_and(|length| length == 5), "{image}");
/// });
/// assert!(report.images > 5, "{report}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DiskRecording {
    initial: Disk,
    operations: Vec<DiskOperation>,
    profile: FaultProfile,
}

/// How many images to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashPlan {
    /// Up to so many combinations of fates, after one change, all are tried.
    pub combinations_max: usize,
    /// With more of them, how many are drawn.
    pub samples: usize,
    /// How many images with torn writes are drawn, after each change.
    pub torn_samples: usize,
    /// What they are drawn from.
    pub seed: u64,
}

impl Default for CrashPlan {
    /// All combinations of ten units; 64 samples of more; 32 images with torn writes.
    fn default() -> Self {
        Self { combinations_max: 1 << 10, samples: 64, torn_samples: 32, seed: 0 }
    }
}

/// What an enumeration tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrashReport {
    /// The points at which the machine may stop.
    pub points: u64,
    /// The points at which all combinations of fates were tried.
    pub points_exhausted: u64,
    /// Different images, which the test was given.
    pub images: u64,
    /// Images that were like one before and not given again.
    pub repeated: u64,
    /// What the different images, and their repetitions, had.
    pub faults: FaultCounters,
}

impl fmt::Display for CrashReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, points_exhausted, images, repeated, faults } = self;
        write!(
            formatter,
            "{images} different crash images ({repeated} repeated) at {points} points, \
             {points_exhausted} of them with all combinations; {} sectors kept, {} lost, {} \
             garbled, {} names undone, {} lengths undone",
            faults.crash_sectors_kept,
            faults.crash_sectors_lost,
            faults.crash_sectors_garbled,
            faults.crash_names_undone,
            faults.crash_lengths_undone,
        )
    }
}

/// A disk after a crash of the recorded run.
#[derive(Debug)]
pub struct CrashImage<'r> {
    contents: Contents,
    fates: Vec<(Unit, Fate)>,
    notes: &'r [u64],
    operation_index: usize,
    operation: Option<&'r DiskOperation>,
}

impl CrashImage<'_> {
    /// The image as files in memory.
    pub fn to_memory(&self) -> MemoryStorage {
        self.contents.to_memory()
    }

    /// The image as a simulated disk without faults; all of it is durable.
    pub fn to_fault(&self) -> FaultStorage {
        FaultStorage::of_disk(Disk::of_contents(&self.contents), 0, FaultProfile::none())
    }

    /// The remarks made before the crash.
    pub fn notes(&self) -> &[u64] {
        self.notes
    }

    /// The last of them.
    pub fn latest_note(&self) -> Option<u64> {
        self.notes.last().copied()
    }
}

impl fmt::Display for CrashImage<'_> {
    /// Where the machine stopped and what was left, to be shown when a test fails.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "crash after change {}", self.operation_index)?;
        if let Some(operation) = self.operation {
            write!(formatter, " ({})", Summary(operation))?;
        }
        write!(formatter, ", notes {:?}; unsynced: ", self.notes)?;
        for (unit, fate) in &self.fates {
            write!(formatter, "{unit:?} {fate:?}, ")?;
        }
        for (path, body) in &self.contents.nodes {
            match body {
                None => write!(formatter, "\n  {}/", path.display())?,
                Some(bytes) => write!(formatter, "\n  {} {} bytes", path.display(), bytes.len())?,
            }
            if let Some(inode) = self.contents.inodes.get(path) {
                write!(formatter, " (file {inode})")?;
            }
        }
        Ok(())
    }
}

/// An operation without the bytes it writes.
struct Summary<'a>(&'a DiskOperation);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DiskOperation::Write { inode, offset, bytes } => {
                write!(formatter, "write of {} bytes at {offset} of file {inode}", bytes.len())
            }
            DiskOperation::Overwrite { inode, offset, bytes } => {
                write!(formatter, "damage of {} bytes at {offset} of file {inode}", bytes.len())
            }
            other => write!(formatter, "{other:?}"),
        }
    }
}

impl DiskRecording {
    pub(super) fn new(
        initial: Disk,
        operations: Vec<DiskOperation>,
        profile: FaultProfile,
    ) -> Self {
        Self { initial, operations, profile }
    }

    /// How many changes, syncs and remarks were recorded.
    pub fn operation_count(&self) -> usize {
        self.operations.len()
    }

    /// The disk after so many of the changes, as it is if the process ends then, but not the
    /// machine: all is there that was seen, and what was not synced may still be lost by a crash.
    /// It records what is done to it from there on. Also the latest remark made before.
    ///
    /// # Panics
    ///
    /// If there are fewer changes.
    pub fn killed_after(&self, operation_count: usize) -> (FaultStorage, Option<u64>) {
        let mut disk = self.initial.clone();
        let operations = &self.operations[..operation_count];
        operations.iter().for_each(|operation| disk.apply(operation));
        let storage = FaultStorage::of_disk(disk, 0, self.profile.clone());
        storage.continue_recording();
        (storage, operations.iter().rev().find_map(note))
    }

    /// Gives `check` each different image once; it panics for one that must not be.
    pub fn enumerate(
        &self,
        plan: &CrashPlan,
        mut check: impl FnMut(&CrashImage<'_>),
    ) -> CrashReport {
        let mut report = CrashReport::default();
        let mut seen = HashSet::new();
        let mut random = Random::new(plan.seed);
        let mut disk = self.initial.clone();
        let notes: Vec<u64> = self.operations.iter().filter_map(note).collect();
        let mut note_count = 0;
        let mut was_exhaustive = false;
        for index in 0..=self.operations.len() {
            let operation = index.checked_sub(1).map(|before| &self.operations[before]);
            if let Some(operation) = operation {
                disk.apply(operation);
                note_count += usize::from(note(operation).is_some());
            }
            report.points += 1;
            let (all_fates, is_exhaustive) = all_fates(&disk, plan, &mut random);
            report.points_exhausted += u64::from(is_exhaustive);
            let is_covered = was_exhaustive && operation.is_some_and(is_sync);
            was_exhaustive = is_exhaustive;
            if is_covered {
                // After a sync there are no images that there were not before it.
                continue;
            }
            let mut distinct = HashSet::new();
            for fates in all_fates {
                if !distinct.insert(what_matters(&disk, &fates)) {
                    report.repeated += 1;
                    continue;
                }
                let contents = contents_after(&disk, &fates, &self.profile, &mut report.faults);
                if !seen.insert((contents.hash(), note_count)) {
                    report.repeated += 1;
                    continue;
                }
                report.images += 1;
                let (notes, operation_index) = (&notes[..note_count], index);
                check(&CrashImage { contents, fates, notes, operation_index, operation });
            }
        }
        report
    }
}

fn note(operation: &DiskOperation) -> Option<u64> {
    match operation {
        DiskOperation::Note(note) => Some(*note),
        _ => None,
    }
}

fn is_sync(operation: &DiskOperation) -> bool {
    matches!(operation, DiskOperation::Sync { .. } | DiskOperation::SyncDirectory { .. })
}

/// The names and the fates of what has one: equal for fates that leave equal images.
fn what_matters(
    disk: &Disk,
    fates: &[(Unit, Fate)],
) -> (BTreeMap<PathBuf, Node>, Vec<(Unit, Fate)>) {
    let names = names_after(disk, fates);
    let named: BTreeSet<Inode> = names.values().filter_map(|node| node.file()).collect();
    let mut effective = fates.to_vec();
    effective.retain(|(unit, _)| match unit {
        Unit::Names(_) => false,
        Unit::Change(inode, _) | Unit::Length(inode) => named.contains(inode),
    });
    (names, effective)
}

/// The fates to try on this disk, and whether they are all there are but for torn writes.
fn all_fates(disk: &Disk, plan: &CrashPlan, random: &mut Random) -> (Vec<Vec<(Unit, Fate)>>, bool) {
    let units = units(disk);
    let outcomes = |unit: &Unit| if matches!(unit, Unit::Length(_)) { 3 } else { 2 };
    let mut combinations = 1_usize;
    for unit in &units {
        combinations = combinations.saturating_mul(outcomes(unit));
    }
    let is_exhaustive = combinations <= plan.combinations_max;
    let mut all = Vec::new();
    if is_exhaustive {
        for number in 0..combinations {
            let mut rest = number;
            let choose = |unit: &Unit| {
                let outcome = rest % outcomes(unit);
                rest /= outcomes(unit);
                (*unit, [Fate::Lost, Fate::Kept, Fate::Seen][outcome])
            };
            all.push(units.iter().map(choose).collect());
        }
    } else {
        push_extremes(&units, &mut all);
        for _ in 0..plan.samples {
            let draw = |unit: &Unit| {
                let outcome = random.below(outcomes(unit) as u64) as usize;
                (*unit, [Fate::Lost, Fate::Kept, Fate::Seen][outcome])
            };
            all.push(units.iter().map(draw).collect());
        }
    }
    let is_write = |unit: &Unit| matches!(unit, Unit::Change(..));
    for garbled in units.iter().filter(|unit| is_write(unit)) {
        let fate = |unit: &Unit| if unit == garbled { Fate::Garbled } else { Fate::Kept };
        all.push(units.iter().map(|unit| (*unit, fate(unit))).collect());
    }
    if units.iter().any(is_write) {
        for _ in 0..plan.torn_samples {
            all.push(units.iter().map(|unit| (*unit, draw_torn(unit, random))).collect());
        }
    }
    (all, is_exhaustive)
}

/// All lost, all kept, and each unit alone against all others.
fn push_extremes(units: &[Unit], all: &mut Vec<Vec<(Unit, Fate)>>) {
    for [few, many] in [[Fate::Kept, Fate::Lost], [Fate::Lost, Fate::Kept]] {
        all.push(units.iter().map(|unit| (*unit, many)).collect());
        for chosen in units {
            let fate = |unit: &Unit| if unit == chosen { few } else { many };
            all.push(units.iter().map(|unit| (*unit, fate(unit))).collect());
        }
    }
}

fn draw_torn(unit: &Unit, random: &mut Random) -> Fate {
    match unit {
        Unit::Names(_) => [Fate::Lost, Fate::Kept][random.below(2) as usize],
        Unit::Length(_) => [Fate::Lost, Fate::Kept, Fate::Seen][random.below(3) as usize],
        Unit::Change(..) => match random.below(4) {
            0 => Fate::Lost,
            1 => Fate::Kept,
            _ => Fate::Torn(random.number()),
        },
    }
}

impl Contents {
    pub(super) fn to_memory(&self) -> MemoryStorage {
        let memory = MemoryStorage::new();
        // Sorted: directories come before what is in them.
        for (path, body) in &self.nodes {
            match body {
                None => memory.create_dir_all(path).expect("its parent is there"),
                Some(bytes) => {
                    let mut file = memory.create(path).expect("its parent is there");
                    file.append(bytes).expect("memory takes all");
                }
            }
        }
        memory
    }
}

impl Disk {
    /// A disk with these contents, all durable.
    pub(super) fn of_contents(contents: &Contents) -> Self {
        let mut disk = Self::default();
        let mut inodes = BTreeMap::new();
        for (path, body) in &contents.nodes {
            let node = match body {
                None => Node::Directory(disk.next_inode()),
                Some(bytes) => {
                    let old = contents.inodes.get(path).copied().unwrap_or(ROOT);
                    let inode = *inodes.entry(old).or_insert_with(|| disk.next_inode());
                    let visible = (**bytes).clone();
                    let durable = Arc::clone(bytes);
                    disk.files.insert(inode, FileBody { visible, durable, pending: Vec::new() });
                    Node::File(inode)
                }
            };
            disk.names.insert(path.clone(), node);
        }
        disk.durable_names = disk.names.clone();
        disk
    }

    /// Makes all that is seen durable.
    pub(super) fn make_durable(&mut self) {
        self.durable_names = self.names.clone();
        self.pending_names.clear();
        for file in self.files.values_mut() {
            file.pending.clear();
            file.durable = Arc::new(file.visible.clone());
        }
    }
}
