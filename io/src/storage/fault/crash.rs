//! What may be left of a disk after the machine stopped.
//!
//! Nothing is certain of what was not synced. It falls into *units* that a crash decides one by
//! one:
//!
//! | unit | outcomes |
//! |---|---|
//! | the changes of names by one call | undone, kept |
//! | a write | lost, kept, torn: each sector of 512 bytes old, new or garbage |
//! | the length of a file with unsynced changes | that of the kept changes, the durable one, the one that was seen |
//!
//! A length may be kept without the bytes (zeros are read then) and bytes without the length (they
//! are not seen).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, FileBody, Inode, Node, PendingChange, is_root, set, set_length};
use super::profile::{FaultCounters, FaultProfile};
use super::random::Random;

/// What a device writes as one.
pub(super) const SECTOR_BYTES: usize = 512;

/// Something that a crash decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Unit {
    /// The pending change of names with this index.
    Names(usize),
    /// The pending change of the file with this index.
    Change(Inode, usize),
    /// The length of the file.
    Length(Inode),
}

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    /// As if it had not been; a length is the durable one.
    Lost,
    /// As if it had been synced; a length is that of the kept changes.
    Kept,
    /// A write of which sectors are old, new or garbage; drawn from this seed.
    Torn(u64),
    /// A write of which all sectors are garbage.
    Garbled,
    /// A length that is that which was seen.
    Seen,
}

/// All that a crash decides on this disk.
pub(super) fn units(disk: &Disk) -> Vec<Unit> {
    let mut units: Vec<Unit> = (0..disk.pending_names.len()).map(Unit::Names).collect();
    for inode in disk.named_inodes() {
        let file = disk.file(inode);
        units.extend((0..file.pending.len()).map(|index| Unit::Change(inode, index)));
        if !file.pending.is_empty() {
            units.push(Unit::Length(inode));
        }
    }
    units
}

/// The names and contents after a crash.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    /// `None` for directories.
    pub(super) nodes: BTreeMap<PathBuf, Option<Arc<Vec<u8>>>>,
    /// Which file each is, as it was before: two names of one file have one number.
    pub(super) inodes: BTreeMap<PathBuf, Inode>,
}

impl Contents {
    /// The same for equal contents, and for others once in 2^32: good enough to pass over an image
    /// among thousands, and fast in builds that are not optimised.
    pub(super) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, body) in &self.nodes {
            let body = body.as_ref().map(|bytes| (bytes.len(), crc32c::crc32c(bytes)));
            (path, body).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// The names if each unit has its fate.
pub(super) fn names_after(disk: &Disk, fates: &[(Unit, Fate)]) -> BTreeMap<PathBuf, Node> {
    let mut names = disk.durable_names.clone();
    for (unit, fate) in fates {
        if let (Unit::Names(index), Fate::Kept) = (unit, fate) {
            let changes = &disk.pending_names[*index].changes;
            changes.iter().for_each(|(path, node)| set(&mut names, path, *node));
        }
    }
    let all = names.clone();
    names.retain(|path, _| has_directory(&all, path));
    names
}

/// What is left if each unit has its fate.
pub(super) fn contents_after(
    disk: &Disk,
    fates: &[(Unit, Fate)],
    profile: &FaultProfile,
    counters: &mut FaultCounters,
) -> Contents {
    let mut file_fates: BTreeMap<Inode, Vec<(Unit, Fate)>> = BTreeMap::new();
    for (unit, fate) in fates {
        match unit {
            Unit::Names(index) if *fate == Fate::Lost => {
                counters.crash_names_undone += disk.pending_names[*index].changes.len() as u64;
            }
            Unit::Names(_) => {}
            Unit::Change(inode, _) | Unit::Length(inode) => {
                file_fates.entry(*inode).or_default().push((*unit, *fate));
            }
        }
    }
    let mut contents = Contents::default();
    for (path, node) in names_after(disk, fates) {
        let body = match node {
            Node::Directory(_) => None,
            Node::File(inode) => {
                contents.inodes.insert(path.clone(), inode);
                let fates = file_fates.get(&inode).map_or(&[][..], Vec::as_slice);
                Some(bytes_after(disk.file(inode), fates, profile, counters))
            }
        };
        contents.nodes.insert(path, body);
    }
    contents
}

/// Whether all directories above `path` are there.
fn has_directory(names: &BTreeMap<PathBuf, Node>, path: &Path) -> bool {
    path.ancestors()
        .skip(1)
        .all(|above| is_root(above) || matches!(names.get(above), Some(Node::Directory(_))))
}

fn bytes_after(
    file: &FileBody,
    fates: &[(Unit, Fate)],
    profile: &FaultProfile,
    counters: &mut FaultCounters,
) -> Arc<Vec<u8>> {
    if fates.is_empty() {
        return Arc::clone(&file.durable);
    }
    let mut bytes = (*file.durable).clone();
    let mut length = Fate::Kept;
    for (unit, fate) in fates {
        let Unit::Change(_, index) = unit else {
            length = *fate;
            continue;
        };
        let change = &file.pending[*index];
        let sectors = change.sector_count();
        match (fate, change) {
            (Fate::Lost, _) => counters.crash_sectors_lost += sectors,
            (Fate::Torn(seed), PendingChange::Write { offset, bytes: new }) => {
                tear(&mut bytes, *offset, new, *seed, profile, counters);
            }
            (Fate::Garbled, PendingChange::Write { offset, bytes: new }) => {
                let all = FaultProfile {
                    sectors_kept_of_ten: 0,
                    sectors_garbled_of_ten: 10,
                    ..profile.clone()
                };
                tear(&mut bytes, *offset, new, *offset, &all, counters);
            }
            _ => {
                counters.crash_sectors_kept += sectors;
                change.apply_to(&mut bytes);
            }
        }
    }
    match length {
        Fate::Lost => set_length(&mut bytes, file.durable.len()),
        Fate::Seen => set_length(&mut bytes, file.visible.len()),
        Fate::Kept | Fate::Torn(_) | Fate::Garbled => {}
    }
    counters.crash_lengths_undone += u64::from(bytes.len() != file.visible.len());
    Arc::new(bytes)
}

impl PendingChange {
    fn sector_count(&self) -> u64 {
        match self {
            PendingChange::Write { offset, bytes } if !bytes.is_empty() => {
                let start = offset / SECTOR_BYTES as u64;
                (offset + bytes.len() as u64).div_ceil(SECTOR_BYTES as u64) - start
            }
            _ => 0,
        }
    }
}

/// Writes some sectors of `new`, leaves some, and fills some with garbage.
fn tear(
    bytes: &mut Vec<u8>,
    offset: u64,
    new: &[u8],
    seed: u64,
    profile: &FaultProfile,
    counters: &mut FaultCounters,
) {
    let mut random = Random::new(seed);
    let (start, end) = (offset as usize, offset as usize + new.len());
    if bytes.len() < end {
        set_length(bytes, end);
    }
    let first_sector = start / SECTOR_BYTES * SECTOR_BYTES;
    for sector in (first_sector..end).step_by(SECTOR_BYTES) {
        let written = sector.max(start)..(sector + SECTOR_BYTES).min(end);
        let draw = random.below(10) as u8;
        if draw < profile.sectors_kept_of_ten {
            counters.crash_sectors_kept += 1;
            let source = written.start - start..written.end - start;
            bytes[written].copy_from_slice(&new[source]);
        } else if draw < profile.sectors_kept_of_ten + profile.sectors_garbled_of_ten {
            counters.crash_sectors_garbled += 1;
            let whole = sector..(sector + SECTOR_BYTES).min(bytes.len());
            let garbled = if profile.powersafe_overwrite { written } else { whole };
            bytes[garbled].fill_with(|| random.number() as u8);
        } else {
            counters.crash_sectors_lost += 1;
        }
    }
}

/// Draws what a crash does: to every fourth disk nothing is left of what was not synced, to every
/// fourth all, and to the others each unit has a fate of its own.
pub(super) fn draw_fates(disk: &Disk, random: &mut Random) -> Vec<(Unit, Fate)> {
    let mode = random.below(4);
    let draw = |unit| {
        let fate = match (mode, unit) {
            (0, _) => Fate::Lost,
            (1, _) => Fate::Kept,
            (_, Unit::Change(..)) => Fate::Torn(random.number()),
            (_, Unit::Names(_)) => [Fate::Lost, Fate::Kept][random.below(2) as usize],
            (_, Unit::Length(_)) => [Fate::Lost, Fate::Kept, Fate::Seen][random.below(3) as usize],
        };
        (unit, fate)
    };
    units(disk).into_iter().map(draw).collect()
}
