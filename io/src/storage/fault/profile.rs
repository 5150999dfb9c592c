//! Which faults a simulated disk has, and which it has shown.

/// How often which fault happens; probabilities are in parts per million of operations.
///
/// # Examples
///
/// ```
/// use thalweg_io::storage::FaultProfile;
///
/// let profile = FaultProfile { read_error_ppm: 1000, ..FaultProfile::none() };
/// assert_eq!(profile.sync_error_ppm, 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultProfile {
    /// A read fails with EIO.
    pub read_error_ppm: u32,
    /// A read returns fewer bytes than there are, as its contract allows.
    pub short_read_ppm: u32,
    /// A bit of what is read has flipped on the disk, for good.
    pub bit_rot_ppm: u32,
    /// An append fails with EIO after some of its bytes.
    pub write_error_ppm: u32,
    /// An append reaches the disk as several writes, which a crash may keep or lose one by one.
    pub short_write_ppm: u32,
    /// A sector of an append goes to another place, perhaps of another file, and not to its own.
    pub misdirected_write_ppm: u32,
    /// A sync of a file or directory fails with EIO. What was written to the file since the latest
    /// sync is forgotten, although it can still be read until a crash, and the next sync of the
    /// file (by another handle) succeeds.
    pub sync_error_ppm: u32,
    /// A sync of a file or directory says that it succeeded and does nothing.
    pub lying_sync_ppm: u32,
    /// Creating, renaming or removing a name fails with EIO and changes nothing.
    pub name_error_ppm: u32,
    /// The most that an operation takes; each file draws its own limit below. In microseconds of
    /// simulated time, see [`FaultStorage::take_latency_us`](super::FaultStorage::take_latency_us).
    pub latency_us_max: u32,
    /// Whether segments are longer than what was appended, with bytes of recycled ones behind.
    pub recycled_segments: bool,
    /// Whether a torn write leaves bytes of its sectors alone that it did not write. Otherwise
    /// garbage takes whole sectors, also bytes that were synced before.
    pub powersafe_overwrite: bool,
    /// Of ten sectors of an unsynced write, how many get its bytes at a crash.
    pub sectors_kept_of_ten: u8,
    /// Of ten sectors of an unsynced write, how many hold garbage after a crash. The rest keeps
    /// what was there before.
    pub sectors_garbled_of_ten: u8,
}

impl FaultProfile {
    /// No fault while it runs; a crash tears and loses what was not synced.
    pub fn none() -> Self {
        Self {
            read_error_ppm: 0,
            short_read_ppm: 0,
            bit_rot_ppm: 0,
            write_error_ppm: 0,
            short_write_ppm: 0,
            misdirected_write_ppm: 0,
            sync_error_ppm: 0,
            lying_sync_ppm: 0,
            name_error_ppm: 0,
            latency_us_max: 0,
            recycled_segments: true,
            powersafe_overwrite: false,
            sectors_kept_of_ten: 5,
            sectors_garbled_of_ten: 1,
        }
    }

    /// A disk that is slow and does short reads and writes, as it may, and honours every sync.
    pub fn honest() -> Self {
        Self {
            short_read_ppm: 50_000,
            short_write_ppm: 100_000,
            latency_us_max: 1_000_000,
            ..Self::none()
        }
    }

    /// An honest disk on which, besides, `parts_per_million` of all operations fail with EIO.
    pub fn failing(parts_per_million: u32) -> Self {
        Self {
            read_error_ppm: parts_per_million,
            write_error_ppm: parts_per_million,
            sync_error_ppm: parts_per_million,
            name_error_ppm: parts_per_million,
            ..Self::honest()
        }
    }

    /// A failing disk that, besides, loses, changes and misplaces bytes silently.
    pub fn rotten(parts_per_million: u32) -> Self {
        Self {
            bit_rot_ppm: parts_per_million,
            misdirected_write_ppm: parts_per_million,
            lying_sync_ppm: parts_per_million,
            ..Self::failing(parts_per_million)
        }
    }
}

/// What a simulated disk has done, so that a test can show that a fault took place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultCounters {
    /// Reads, of which some failed.
    pub reads: u64,
    /// Appends, of which some failed.
    pub appends: u64,
    /// Syncs of files and directories, of which some failed.
    pub syncs: u64,
    /// Reads that failed with EIO.
    pub reads_failed: u64,
    /// Reads that were shorter than they could have been.
    pub reads_shortened: u64,
    /// Bits that flipped.
    pub bits_rotten: u64,
    /// Appends that failed with EIO.
    pub appends_failed: u64,
    /// Appends that became several writes.
    pub appends_split: u64,
    /// Sectors that went elsewhere.
    pub sectors_misdirected: u64,
    /// Syncs that failed with EIO.
    pub syncs_failed: u64,
    /// Syncs that did nothing.
    pub syncs_lied: u64,
    /// Names that could not be created, renamed or removed.
    pub names_failed: u64,
    /// Appends that failed for want of space.
    pub appends_without_space: u64,
    /// Segments that were made of recycled ones.
    pub segments_recycled: u64,
    /// At the crash: sectors of unsynced writes that got their bytes.
    pub crash_sectors_kept: u64,
    /// At the crash: sectors of unsynced writes that did not.
    pub crash_sectors_lost: u64,
    /// At the crash: sectors that hold garbage.
    pub crash_sectors_garbled: u64,
    /// At the crash: files whose length is not that which readers saw before.
    pub crash_lengths_undone: u64,
    /// At the crash: created, renamed or removed names that were undone.
    pub crash_names_undone: u64,
}
