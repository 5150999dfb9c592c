//! Open files of a simulated disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::crash::SECTOR_BYTES;
use super::disk::{DiskOperation, Inode, Node};
use super::tree::identity;
use super::{FaultKind, FaultStorage, Machine};
use crate::error::{AppendError, IoError, IoSite, Operation};
use crate::storage::{FileIdentity, ReadFile, WriteFile};

#[derive(Debug)]
pub(super) struct FaultReadFile {
    storage: FaultStorage,
    inode: Inode,
    path: PathBuf,
}

impl FaultReadFile {
    pub(super) fn new(storage: FaultStorage, inode: Inode, path: &Path) -> Self {
        Self { storage, inode, path: path.to_path_buf() }
    }
}

impl ReadFile for FaultReadFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let mut machine = self.storage.machine();
        machine.wait(self.inode);
        machine.counters.reads += 1;
        let error_ppm = machine.profile.read_error_ppm;
        if machine.faults(FaultKind::Read, &self.path, error_ppm) {
            machine.counters.reads_failed += 1;
            let site = IoSite::new(Operation::Read, &*self.path).at(offset);
            return Err(IoError::from_errno(site, libc::EIO));
        }
        let length = machine.disk.file(self.inode).visible.len() as u64;
        let byte_count = length.saturating_sub(offset).min(buffer.len() as u64) as usize;
        if byte_count == 0 {
            return Ok(0);
        }
        let byte_count = machine.shortened_read(byte_count);
        machine.rot(self.inode, offset, byte_count);
        let bytes = &machine.disk.file(self.inode).visible[offset as usize..][..byte_count];
        buffer[..byte_count].copy_from_slice(bytes);
        Ok(byte_count)
    }

    fn length_bytes(&self) -> Result<u64, IoError> {
        Ok(self.storage.machine().disk.file(self.inode).visible.len() as u64)
    }

    fn identity(&self) -> FileIdentity {
        identity(self.inode)
    }
}

impl Machine {
    fn shortened_read(&mut self, byte_count: usize) -> usize {
        if byte_count < 2 || !self.random.happens(self.profile.short_read_ppm) {
            return byte_count;
        }
        self.counters.reads_shortened += 1;
        1 + self.random.below(byte_count as u64 - 1) as usize
    }

    /// Flips a bit of what is about to be read, perhaps.
    fn rot(&mut self, inode: Inode, offset: u64, byte_count: usize) {
        if !self.random.happens(self.profile.bit_rot_ppm) {
            return;
        }
        self.counters.bits_rotten += 1;
        let offset = offset + self.random.below(byte_count as u64);
        let byte = self.disk.file(inode).visible[offset as usize] ^ (1 << self.random.below(8));
        self.apply(DiskOperation::Overwrite { inode, offset, bytes: [byte].into() });
    }

    /// How many of `wanted_bytes` the files may still grow by.
    pub(super) fn space_for(&self, wanted_bytes: u64) -> u64 {
        let Some(budget_bytes) = self.budget_bytes else {
            return wanted_bytes;
        };
        budget_bytes.saturating_sub(self.disk.used_bytes()).min(wanted_bytes)
    }

    /// Writes `bytes`, in pieces and with one sector gone elsewhere, if the profile wants it.
    fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut cuts = vec![0, bytes.len()];
        if bytes.len() > 1 && self.random.happens(self.profile.short_write_ppm) {
            self.counters.appends_split += 1;
            for _ in 0..1 + self.random.below(3) {
                cuts.push(1 + self.random.below(bytes.len() as u64 - 1) as usize);
            }
        }
        let lost = self.misdirect(inode, offset, bytes);
        cuts.extend(lost.clone().into_iter().flat_map(|range| [range.start, range.end]));
        cuts.sort_unstable();
        cuts.dedup();
        for cut in cuts.windows(2) {
            if lost.as_ref().is_some_and(|lost| lost.contains(&cut[0])) {
                continue;
            }
            let piece = Arc::from(&bytes[cut[0]..cut[1]]);
            self.apply(DiskOperation::Write {
                inode,
                offset: offset + cut[0] as u64,
                bytes: piece,
            });
        }
        let length_bytes = offset + bytes.len() as u64;
        if (self.disk.file(inode).visible.len() as u64) < length_bytes {
            self.apply(DiskOperation::SetLength { inode, length_bytes });
        }
    }

    /// Perhaps writes one sector of `bytes` to another place of a file; which bytes it had.
    fn misdirect(
        &mut self,
        inode: Inode,
        offset: u64,
        bytes: &[u8],
    ) -> Option<std::ops::Range<usize>> {
        if !self.random.happens(self.profile.misdirected_write_ppm) {
            return None;
        }
        let files = self.disk.names.values().filter_map(|node| match node {
            Node::File(inode) if self.disk.file(*inode).visible.len() >= SECTOR_BYTES => {
                Some(*inode)
            }
            _ => None,
        });
        let victims: Vec<Inode> = files.collect();
        let sectors = bytes.len().div_ceil(SECTOR_BYTES) as u64;
        let start = self.random.below(sectors) as usize * SECTOR_BYTES;
        let lost = start..(start + SECTOR_BYTES).min(bytes.len());
        if !victims.is_empty() {
            let victim = victims[self.random.below(victims.len() as u64) as usize];
            let places = self.disk.file(victim).visible.len() / SECTOR_BYTES;
            let at = self.random.below(places as u64) * SECTOR_BYTES as u64;
            if (victim, at) == (inode, offset + start as u64) {
                return None;
            }
            let astray = Arc::from(&bytes[lost.clone()]);
            self.apply(DiskOperation::Overwrite { inode: victim, offset: at, bytes: astray });
        }
        self.counters.sectors_misdirected += 1;
        Some(lost)
    }
}

#[derive(Debug)]
pub(super) struct FaultWriteFile {
    storage: FaultStorage,
    inode: Inode,
    path: PathBuf,
    /// Offset of the next write; a segment is longer.
    length_bytes: u64,
    /// Set by the first sync that fails, never cleared.
    sync_failed: bool,
}

impl FaultWriteFile {
    pub(super) fn new(storage: FaultStorage, inode: Inode, path: &Path, length_bytes: u64) -> Self {
        Self { storage, inode, path: path.to_path_buf(), length_bytes, sync_failed: false }
    }

    fn refuse_after_failed_sync(&self, operation: Operation) -> Result<(), IoError> {
        if !self.sync_failed {
            return Ok(());
        }
        let site = IoSite::new(operation, &*self.path).at(self.length_bytes);
        Err(IoError::SyncFailedBefore { site })
    }

    /// How many of the bytes get in, and what stops the others.
    fn limit(&self, machine: &mut Machine, given_bytes: usize) -> (usize, Option<i32>) {
        let capacity = machine.disk.file(self.inode).visible.len() as u64;
        let end = self.length_bytes + given_bytes as u64;
        let growth = end.saturating_sub(capacity.max(self.length_bytes));
        let missing = (growth - machine.space_for(growth)) as usize;
        if missing > 0 {
            machine.counters.appends_without_space += 1;
            return (given_bytes - missing, Some(libc::ENOSPC));
        }
        let error_ppm = machine.profile.write_error_ppm;
        if machine.faults(FaultKind::Append, &self.path, error_ppm) {
            machine.counters.appends_failed += 1;
            return (given_bytes / 2, Some(libc::EIO));
        }
        (given_bytes, None)
    }
}

impl WriteFile for FaultWriteFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let given_bytes = bytes.len();
        self.refuse_after_failed_sync(Operation::Append).map_err(|error| AppendError {
            appended_bytes: 0,
            given_bytes,
            error,
        })?;
        let storage = self.storage.clone();
        let mut machine = storage.machine();
        machine.wait(self.inode);
        machine.counters.appends += 1;
        let (appended_bytes, errno) = self.limit(&mut machine, given_bytes);
        machine.write(self.inode, self.length_bytes, &bytes[..appended_bytes]);
        self.length_bytes += appended_bytes as u64;
        match errno {
            None => Ok(()),
            Some(errno) => {
                let site = IoSite::new(Operation::Append, &*self.path).at(self.length_bytes);
                let error = IoError::from_errno(site, errno);
                Err(AppendError { appended_bytes, given_bytes, error })
            }
        }
    }

    fn sync(&mut self) -> Result<(), IoError> {
        self.refuse_after_failed_sync(Operation::Sync)?;
        let mut machine = self.storage.machine();
        machine.wait(self.inode);
        machine.counters.syncs += 1;
        let (error_ppm, lie_ppm) = (machine.profile.sync_error_ppm, machine.profile.lying_sync_ppm);
        if machine.faults(FaultKind::Sync, &self.path, error_ppm) {
            machine.counters.syncs_failed += 1;
            machine.apply(DiskOperation::ForgetPending { inode: self.inode });
            self.sync_failed = true;
            let site = IoSite::new(Operation::Sync, &*self.path);
            return Err(IoError::from_errno(site, libc::EIO));
        }
        if machine.faults(FaultKind::LyingSync, &self.path, lie_ppm) {
            machine.counters.syncs_lied += 1;
            return Ok(());
        }
        machine.apply(DiskOperation::Sync { inode: self.inode });
        Ok(())
    }

    fn length_bytes(&self) -> u64 {
        self.length_bytes
    }
}
