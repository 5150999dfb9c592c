//! What a [`UringStorage`](super::UringStorage) is to be like.

use std::path::PathBuf;

use crate::buffer::BLOCK_BYTES;

/// Options of a [`UringStorage`](super::UringStorage).
///
/// # Examples
///
/// ```
/// use thalweg_io::storage::UringOptions;
///
/// let options = UringOptions::new().queue_depth(4).spare_directory("state/spare");
/// assert!(options.is_direct());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UringOptions {
    pub(super) direct: bool,
    pub(super) queue_depth: usize,
    pub(super) write_bytes: usize,
    pub(super) registered_buffer_count: usize,
    pub(super) spare_directory: Option<PathBuf>,
    pub(super) spare_bytes_max: u64,
}

impl Default for UringOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl UringOptions {
    /// The defaults, named at each method.
    pub fn new() -> Self {
        Self {
            direct: true,
            queue_depth: 4,
            write_bytes: 1 << 20,
            registered_buffer_count: 4,
            spare_directory: None,
            spare_bytes_max: 256 << 20,
        }
    }

    /// Whether writes go around the page cache (O_DIRECT) where the file system allows it.
    /// Default: yes.
    #[must_use]
    pub fn direct(self, direct: bool) -> Self {
        Self { direct, ..self }
    }

    /// Whether writes go around the page cache.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// How many buffers there are, and so how many full ones may be with the kernel before an append
    /// waits, 1 to 32. Default: 4, with which the measured disk is busy: 2.5 to 3.5 GB/s, as with
    /// 8 or 16, and all four can be registered.
    #[must_use]
    pub fn queue_depth(self, queue_depth: usize) -> Self {
        Self { queue_depth, ..self }
    }

    /// The size of a buffer and so of a write in bytes, a multiple of 4 KiB up to 64 MiB. Default:
    /// 1 MiB.
    #[must_use]
    pub fn write_bytes(self, write_bytes: usize) -> Self {
        Self { write_bytes, ..self }
    }

    /// How many buffers are registered with the ring, which pins them: they count as locked
    /// memory. Where the limit forbids it none are, and writes cost a little more. Default: 4.
    #[must_use]
    pub fn registered_buffer_count(self, registered_buffer_count: usize) -> Self {
        Self { registered_buffer_count, ..self }
    }

    /// Where recycled files wait for their next use; created when missing. It must be on the file
    /// system of the segments and belong to this storage alone. Default: nowhere, files given up
    /// are removed.
    #[must_use]
    pub fn spare_directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { spare_directory: Some(directory.into()), ..self }
    }

    /// How many bytes may wait there. Default: 256 MiB.
    #[must_use]
    pub fn spare_bytes_max(self, spare_bytes_max: u64) -> Self {
        Self { spare_bytes_max, ..self }
    }

    /// The first option that makes no sense: its name, its value and what it may be.
    pub(super) fn mistake(&self) -> Option<(&'static str, usize, &'static str)> {
        if !(1..=32).contains(&self.queue_depth) {
            return Some(("queue_depth", self.queue_depth, "1 to 32"));
        }
        let is_fit = self.write_bytes.is_multiple_of(BLOCK_BYTES)
            && (BLOCK_BYTES..=64 << 20).contains(&self.write_bytes);
        (!is_fit).then_some(("write_bytes", self.write_bytes, "a multiple of 4096 up to 67108864"))
    }
}
