//! A simulated disk that tears, loses, reorders and damages what is written to it, from a seed.
//!
//! | operation | while it runs | after a crash, before its sync | after its sync said `Ok` |
//! |---|---|---|---|
//! | append | seen at once; may reach the disk in pieces | each sector of 512 bytes: new, old or garbage | new |
//! | growth | seen at once | old or new length, zeros or data, by itself | durable |
//! | create, rename, remove | seen at once | may be undone, in any order, until the **directory** is synced | durable |
//! | failed sync | EIO once; what it was for is dropped silently | as above | the next sync says `Ok`, the bytes are gone |
//! | read | EIO, flipped bits, sectors that were written elsewhere, by profile | | |
//! | any growth | ENOSPC beyond a budget of bytes, until files are removed | | |
//!
//! Which faults there are besides crashes is in its [`FaultProfile`]; [`FaultCounters`] tell which
//! took place; [`ArmedFault`] has one take place exactly where a test wants it.
//!
//! Two ways to crash: [`FaultStorage::crash`] draws one image of the disk from a seed, and
//! [`DiskRecording`] enumerates the images of all points of a run, to show that none of them fails.
//!
//! # Invariants
//!
//! - The same seed, profile and calls give the same disk, faults and images. Nothing reads a clock:
//!   time passes only as [`FaultStorage::take_latency_us`].
//! - Every change of the disk is a [`disk::DiskOperation`], applied in one place and recorded in
//!   the same order.

mod armed;
mod crash;
mod disk;
mod handle;
mod profile;
mod random;
mod recording;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

pub use armed::{ArmedFault, FaultKind};
pub use profile::{FaultCounters, FaultProfile};
pub use recording::{CrashImage, CrashPlan, CrashReport, DiskRecording};

use super::MemoryStorage;
use super::memory::{lock, normalise};
use crate::error::{IoError, IoSite};
use disk::{Disk, DiskOperation, Inode, Node};
use random::Random;

/// A simulated disk; clones share it. See the module's table.
///
/// # Examples
///
/// What was not synced may be gone, and a name too:
///
/// ```
/// use std::path::Path;
/// use thalweg_io::storage::{FaultProfile, FaultStorage, Storage};
///
/// # fn main() -> Result<(), thalweg_io::IoError> {
/// let mut kept = 0;
/// for seed in 0..100 {
///     let storage = FaultStorage::new(seed, FaultProfile::none());
///     let mut file = storage.create(Path::new("a"))?;
///     file.append(b"hello")?;
///     file.sync()?; // the bytes, not the name
///     let after = storage.crash(seed);
///     kept += usize::from(after.metadata(Path::new("a")).is_ok());
/// }
/// assert!((10..90).contains(&kept));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FaultStorage {
    machine: Arc<Mutex<Machine>>,
}

/// The disk and what happens to it.
#[derive(Debug)]
struct Machine {
    disk: Disk,
    profile: FaultProfile,
    random: Random,
    counters: FaultCounters,
    armed: Vec<ArmedFault>,
    /// The most bytes that files may have together.
    budget_bytes: Option<u64>,
    /// Files that were given up, for segments.
    recycled: Vec<Inode>,
    locked: BTreeSet<PathBuf>,
    /// The most that an operation on this file takes.
    latency_us_max: BTreeMap<Inode, u64>,
    latency_us: u64,
    recording: Option<Vec<DiskOperation>>,
    initial: Disk,
}

impl FaultStorage {
    /// An empty disk with these faults, drawn from `seed`.
    pub fn new(seed: u64, profile: FaultProfile) -> Self {
        Self::of_disk(Disk::default(), seed, profile)
    }

    /// An empty disk without faults that records what is done, for [`Self::recording`].
    pub fn recorder() -> Self {
        let storage = Self::new(0, FaultProfile::none());
        storage.start_recording();
        storage
    }

    fn of_disk(disk: Disk, seed: u64, profile: FaultProfile) -> Self {
        let machine = Machine {
            disk,
            profile,
            random: Random::new(seed),
            counters: FaultCounters::default(),
            armed: Vec::new(),
            budget_bytes: None,
            recycled: Vec::new(),
            locked: BTreeSet::new(),
            latency_us_max: BTreeMap::new(),
            latency_us: 0,
            recording: None,
            initial: Disk::default(),
        };
        Self { machine: Arc::new(Mutex::new(machine)) }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }

    /// Other faults from now on.
    pub fn set_profile(&self, profile: FaultProfile) {
        self.machine().profile = profile;
    }

    /// Lets all files together have this many bytes; `None` for no bound, as at first. What is
    /// there already stays, also if it is more.
    pub fn set_budget_bytes(&self, budget_bytes: Option<u64>) {
        self.machine().budget_bytes = budget_bytes;
    }

    /// The bytes that all files have together.
    pub fn used_bytes(&self) -> u64 {
        self.machine().disk.used_bytes()
    }

    /// Has a fault take place besides those of the profile.
    pub fn arm(&self, fault: ArmedFault) {
        self.machine().armed.push(fault);
    }

    /// None of the faults that were [armed](Self::arm) will take place any more.
    pub fn disarm(&self) {
        self.machine().armed.clear();
    }

    /// What took place so far, including the crash that this disk came out of.
    pub fn counters(&self) -> FaultCounters {
        self.machine().counters
    }

    /// The simulated time that operations took since this was asked before.
    pub fn take_latency_us(&self) -> u64 {
        std::mem::take(&mut self.machine().latency_us)
    }

    /// The disk after a crash at this moment, drawn from `seed`: all that is left is durable.
    ///
    /// This disk stays as it is, for what the crashed program still holds; the new one has the
    /// same profile.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let machine = self.machine();
        let fates = crash::draw_fates(&machine.disk, &mut random);
        let mut counters = FaultCounters::default();
        let contents =
            crash::contents_after(&machine.disk, &fates, &machine.profile, &mut counters);
        let profile = machine.profile.clone();
        drop(machine);
        let after = Self::of_disk(Disk::of_contents(&contents), random.number(), profile);
        after.machine().counters = counters;
        after
    }

    /// The disk after the end of the process, but not of the machine: all is there that was seen,
    /// and what was not synced is still not durable.
    #[must_use]
    pub fn kill(&self, seed: u64) -> Self {
        let machine = self.machine();
        let (disk, profile) = (machine.disk.clone(), machine.profile.clone());
        let recording = machine.recording.clone();
        let (initial, budget_bytes) = (machine.initial.clone(), machine.budget_bytes);
        drop(machine);
        let after = Self::of_disk(disk, seed, profile);
        let mut machine = after.machine();
        (machine.recording, machine.initial) = (recording, initial);
        machine.budget_bytes = budget_bytes;
        drop(machine);
        after
    }

    /// A copy of what is seen now, in memory.
    pub fn to_memory(&self) -> MemoryStorage {
        let machine = self.machine();
        let mut contents = crash::Contents::default();
        for (path, node) in &machine.disk.names {
            let body = match node {
                Node::Directory(_) => None,
                Node::File(inode) => Some(Arc::new(machine.disk.file(*inode).visible.clone())),
            };
            contents.nodes.insert(path.clone(), body);
        }
        drop(machine);
        contents.to_memory()
    }

    /// Records all changes from now on; what is on the disk counts as durable.
    pub fn start_recording(&self) {
        let mut machine = self.machine();
        machine.disk.make_durable();
        machine.initial = machine.disk.clone();
        machine.recording = Some(Vec::new());
    }

    /// Records all changes from now on; what is not durable now stays so.
    fn continue_recording(&self) {
        let mut machine = self.machine();
        machine.initial = machine.disk.clone();
        machine.recording = Some(Vec::new());
    }

    /// Leaves a remark in the recording, such as which checkpoint is complete now. The images of
    /// later crashes know it.
    pub fn note(&self, note: u64) {
        self.machine().apply(DiskOperation::Note(note));
    }

    /// What was recorded so far; empty if recording was never started.
    pub fn recording(&self) -> DiskRecording {
        let machine = self.machine();
        let operations = machine.recording.clone().unwrap_or_default();
        DiskRecording::new(machine.initial.clone(), operations, machine.profile.clone())
    }

    /// Flips bits of a byte on the disk, for good.
    ///
    /// # Errors
    ///
    /// If there is no such file or byte.
    pub fn damage(&self, path: &Path, offset: u64, mask: u8) -> Result<(), IoError> {
        let mut machine = self.machine();
        let inode = machine.open(crate::Operation::Append, path, false)?;
        let found = machine.disk.file(inode).visible.get(offset as usize).copied();
        let Some(byte) = found else {
            let site = IoSite::new(crate::Operation::Append, path).at(offset);
            return Err(IoError::UnexpectedEnd { site, expected_bytes: 1, found_bytes: 0 });
        };
        machine.apply(DiskOperation::Overwrite { inode, offset, bytes: [byte ^ mask].into() });
        Ok(())
    }
}

impl Machine {
    fn apply(&mut self, operation: DiskOperation) {
        self.disk.apply(&operation);
        if let Some(recording) = &mut self.recording {
            recording.push(operation);
        }
    }

    /// The file of this path; `create` makes a missing one.
    fn open(
        &mut self,
        operation: crate::Operation,
        path: &Path,
        create: bool,
    ) -> Result<Inode, IoError> {
        let failed = |errno| IoError::from_errno(IoSite::new(operation, path), errno);
        let key = normalise(path);
        match self.disk.node(&key) {
            Some(Node::File(inode)) => Ok(inode),
            Some(Node::Directory(_)) => Err(failed(libc::EISDIR)),
            None if !create => Err(failed(libc::ENOENT)),
            None => {
                self.require_parent(&key).map_err(failed)?;
                self.change_name(operation, path)?;
                let inode = self.disk.next_inode();
                self.apply(DiskOperation::NewFile { inode });
                let changes = vec![(key, Some(Node::File(inode)))];
                self.apply(DiskOperation::Names { changes });
                Ok(inode)
            }
        }
    }

    /// Fails with the errno of a missing or unfit parent directory.
    fn require_parent(&self, key: &Path) -> Result<(), i32> {
        match key.parent().map(|parent| self.disk.node(parent)) {
            Some(Some(Node::Directory(_))) => Ok(()),
            Some(Some(Node::File(_))) => Err(libc::ENOTDIR),
            Some(None) => Err(libc::ENOENT),
            None => Err(libc::EISDIR),
        }
    }

    /// Whether a fault takes place: one that is armed for it, or one of the profile.
    fn faults(&mut self, kind: FaultKind, path: &Path, parts_per_million: u32) -> bool {
        let is_armed = armed::take(&mut self.armed, kind, path);
        is_armed || self.random.happens(parts_per_million)
    }

    /// Has an operation on a file take its time.
    fn wait(&mut self, inode: Inode) {
        let limit = u64::from(self.profile.latency_us_max);
        if limit == 0 {
            return;
        }
        let random = &mut self.random;
        let of_file = *self.latency_us_max.entry(inode).or_insert_with(|| 1 + random.below(limit));
        self.latency_us += self.random.below(of_file + 1);
    }

    /// Fails if the name cannot be changed now.
    fn change_name(&mut self, operation: crate::Operation, path: &Path) -> Result<(), IoError> {
        if !self.faults(FaultKind::NameChange, path, self.profile.name_error_ppm) {
            return Ok(());
        }
        self.counters.names_failed += 1;
        Err(IoError::from_errno(IoSite::new(operation, path), libc::EIO))
    }
}

#[cfg(test)]
mod enumeration_tests;
#[cfg(test)]
mod tests;
