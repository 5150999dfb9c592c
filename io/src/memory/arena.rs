//! One anonymous mapping of fixed size, aligned, optionally pre-faulted and in huge pages.
//!
//! State tables and pages live in arenas, so that the record path never allocates and, once an
//! arena is pre-faulted, never takes a page fault either.
//!
//! # Invariants
//!
//! - `skipped_bytes + length_bytes <= mapping.len()`, and the address `skipped_bytes` into the
//!   mapping is a multiple of the alignment. The mapping never moves.
//! - A new arena reads as zeros.

use std::io;
use std::ptr::NonNull;

use memmap2::{Advice, MmapMut, MmapOptions};
use thiserror::Error;

use super::page_supply::HUGE_PAGE_BYTES;

/// An arena that could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// The options make no sense.
    #[error(
        "cannot make an arena of {length_bytes} bytes aligned to {alignment_bytes}: the length \
         must be above 0, the alignment a power of two, their sum addressable; change the memory \
         settings"
    )]
    InvalidOptions {
        /// The length asked for.
        length_bytes: usize,
        /// The alignment asked for.
        alignment_bytes: usize,
    },
    /// The kernel gave no address space or no pages.
    #[error(
        "cannot {step} an arena of {length_bytes} bytes: {source}; lower the memory settings, or \
         raise the container's limit or `ulimit -v`"
    )]
    OutOfMemory {
        /// What failed: map or pre-fault.
        step: &'static str,
        /// The length asked for.
        length_bytes: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// What an [`Arena`] is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArenaOptions {
    length_bytes: usize,
    alignment_bytes: usize,
    prefault: bool,
    huge_pages: bool,
}

impl ArenaOptions {
    /// An arena of `length_bytes`, page-aligned, its pages given by the kernel as they are touched.
    pub fn new(length_bytes: usize) -> Self {
        Self { length_bytes, alignment_bytes: 1, prefault: false, huge_pages: false }
    }

    /// The alignment of the first byte, a power of two. Default: that of a page, which is also
    /// the least.
    #[must_use]
    pub fn alignment_bytes(self, alignment_bytes: usize) -> Self {
        Self { alignment_bytes, ..self }
    }

    /// Whether every page is taken now rather than when first touched. Default: no.
    #[must_use]
    pub fn prefault(self, prefault: bool) -> Self {
        Self { prefault, ..self }
    }

    /// Whether to align to 2 MiB and ask for huge pages. Advice only: a kernel without them
    /// gives plain pages ([`Arena::has_huge_page_advice`] tells). Default: no.
    #[must_use]
    pub fn huge_pages(self, huge_pages: bool) -> Self {
        Self { huge_pages, ..self }
    }

    fn alignment(&self) -> usize {
        if self.huge_pages {
            self.alignment_bytes.max(HUGE_PAGE_BYTES)
        } else {
            self.alignment_bytes
        }
    }
}

/// A fixed piece of zeroed memory that belongs to one owner; freed on drop.
///
/// # Examples
///
/// ```
/// use thalweg_io::memory::{Arena, ArenaOptions};
///
/// # fn main() -> Result<(), thalweg_io::memory::ArenaError> {
/// let mut arena = Arena::new(ArenaOptions::new(1 << 20).prefault(true))?;
/// assert!(arena.as_slice().iter().all(|byte| *byte == 0));
/// arena.as_mut_slice()[0] = 7;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Arena {
    mapping: MmapMut,
    /// Bytes before the first aligned one.
    skipped_bytes: usize,
    length_bytes: usize,
    huge_page_advice: bool,
}

impl Arena {
    /// Maps the memory.
    ///
    /// # Errors
    ///
    /// [`ArenaError::InvalidOptions`] for a length of 0 or an alignment that is no power of two;
    /// [`ArenaError::OutOfMemory`] when the kernel refuses. Without `prefault` the kernel may
    /// promise more than it has and end the process later.
    pub fn new(options: ArenaOptions) -> Result<Self, ArenaError> {
        let ArenaOptions { length_bytes, alignment_bytes, .. } = options;
        let invalid = ArenaError::InvalidOptions { length_bytes, alignment_bytes };
        if length_bytes == 0 || !alignment_bytes.is_power_of_two() {
            return Err(invalid);
        }
        let alignment = options.alignment();
        let spare_bytes = if alignment > page_bytes() { alignment } else { 0 };
        let mapped_bytes = length_bytes.checked_add(spare_bytes);
        let Some(mapped_bytes) = mapped_bytes.filter(|bytes| isize::try_from(*bytes).is_ok())
        else {
            return Err(invalid);
        };
        let mapping = MmapOptions::new()
            .len(mapped_bytes)
            .map_anon()
            .map_err(|source| ArenaError::OutOfMemory { step: "map", length_bytes, source })?;
        let skipped_bytes = mapping.as_ptr().align_offset(alignment);
        assert!(skipped_bytes <= mapped_bytes - length_bytes, "room for the alignment was mapped");
        let mut arena = Self { mapping, skipped_bytes, length_bytes, huge_page_advice: false };
        if options.huge_pages {
            arena.huge_page_advice = arena.mapping.advise(Advice::HugePage).is_ok();
        }
        if options.prefault {
            arena.prefault()?;
        }
        Ok(arena)
    }

    /// Takes all pages now, after the advice, so that they can be huge from the start.
    fn prefault(&mut self) -> Result<(), ArenaError> {
        let (start, length_bytes) = (self.skipped_bytes, self.length_bytes);
        match self.mapping.advise_range(Advice::PopulateWrite, start, length_bytes) {
            Ok(()) => Ok(()),
            // Kernels before 5.14 do not know the advice: touch every page instead.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                for byte in self.as_mut_slice().iter_mut().step_by(page_bytes()) {
                    *std::hint::black_box(byte) = 0;
                }
                Ok(())
            }
            Err(source) => Err(ArenaError::OutOfMemory { step: "pre-fault", length_bytes, source }),
        }
    }

    /// How many bytes there are.
    pub fn length_bytes(&self) -> usize {
        self.length_bytes
    }

    /// Whether the kernel took the advice to use huge pages.
    pub fn has_huge_page_advice(&self) -> bool {
        self.huge_page_advice
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.mapping[self.skipped_bytes..][..self.length_bytes]
    }

    /// The bytes, writable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.mapping[self.skipped_bytes..][..self.length_bytes]
    }

    /// The first byte; stays where it is until the arena is dropped, also when the arena moves.
    pub fn as_non_null(&mut self) -> NonNull<u8> {
        NonNull::from(self.as_mut_slice()).cast()
    }
}

fn page_bytes() -> usize {
    // SAFETY: asks for a constant of the system; takes no pointers.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: ArenaOptions, alignment_bytes: usize) {
        let mut arena = Arena::new(options).unwrap();
        assert_eq!(arena.as_slice().len(), options.length_bytes);
        assert_eq!(arena.as_slice().as_ptr().addr() % alignment_bytes, 0, "{options:?}");
        assert!(arena.as_slice().iter().all(|byte| *byte == 0));
        let first = arena.as_non_null();
        arena.as_mut_slice().fill(0xA5);
        let moved = Box::new(arena);
        assert_eq!(moved.as_slice().as_ptr(), first.as_ptr().cast_const());
        assert!(moved.as_slice().iter().all(|byte| *byte == 0xA5));
    }

    #[test]
    fn is_zeroed_aligned_and_writable() {
        check(ArenaOptions::new(1), 4096);
        check(ArenaOptions::new(10_000).prefault(true), 4096);
        check(ArenaOptions::new(64 << 10).alignment_bytes(64 << 10), 64 << 10);
        check(ArenaOptions::new(3_000_000).alignment_bytes(1 << 22).prefault(true), 1 << 22);
        check(ArenaOptions::new(4 << 20).huge_pages(true), 2 << 20);
        check(ArenaOptions::new(4 << 20).huge_pages(true).prefault(true), 2 << 20);
    }

    #[test]
    fn prefaulted_pages_are_resident() {
        let resident = |prefault| {
            let mut arena = Arena::new(ArenaOptions::new(64 << 10).prefault(prefault)).unwrap();
            let mut pages = vec![0_u8; arena.length_bytes().div_ceil(page_bytes())];
            let first = arena.as_non_null().as_ptr().cast();
            // SAFETY: the range is the arena's, and `pages` has a byte for each of its pages.
            let result = unsafe { libc::mincore(first, arena.length_bytes(), pages.as_mut_ptr()) };
            assert_eq!(result, 0);
            pages.iter().filter(|page| **page & 1 == 1).count()
        };
        assert_eq!(resident(true), (64 << 10) / page_bytes());
        assert_eq!(resident(false), 0);
    }

    #[test]
    fn senseless_options_are_refused() {
        for options in [
            ArenaOptions::new(0),
            ArenaOptions::new(8).alignment_bytes(0),
            ArenaOptions::new(8).alignment_bytes(48),
            ArenaOptions::new(usize::MAX),
            ArenaOptions::new(usize::MAX).huge_pages(true),
        ] {
            let error = Arena::new(options).unwrap_err();
            assert!(matches!(error, ArenaError::InvalidOptions { .. }), "{options:?}: {error}");
        }
    }

    #[test]
    fn too_much_is_out_of_memory() {
        let error = Arena::new(ArenaOptions::new(isize::MAX as usize - (1 << 20))).unwrap_err();
        assert!(matches!(error, ArenaError::OutOfMemory { step: "map", .. }), "{error}");
        assert!(error.to_string().contains("ulimit -v"), "{error}");
    }
}
