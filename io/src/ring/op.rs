//! One operation that a ring does, and all that the kernel needs until it is done.
//!
//! The operation owns its file and its bytes. It is moved into [`Kernel::push`] and comes out of
//! [`Kernel::next_completion`]: between the two nobody can touch, free or close what the kernel
//! uses.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::buffer::AlignedBuffer;

/// The bytes of a write.
#[derive(Debug)]
pub(crate) enum WriteBytes {
    /// A pooled buffer, fit for direct I/O.
    Pooled(AlignedBuffer),
    /// Less than a block, written through the page cache.
    Small(Box<[u8]>),
}

impl WriteBytes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            WriteBytes::Pooled(buffer) => buffer.as_slice(),
            WriteBytes::Small(bytes) => bytes,
        }
    }
}

/// What the kernel is asked to do.
#[derive(Debug)]
pub(crate) enum Op {
    /// `pwrite` of a part of `bytes`.
    Write {
        file: Arc<File>,
        bytes: WriteBytes,
        /// The part of `bytes` that is written.
        part: Range<usize>,
        /// Where its first byte goes in the file.
        offset: u64,
    },
    /// `fdatasync`.
    SyncData { file: Arc<File> },
    /// Completes when `file` can be read.
    PollReadable { file: Arc<File> },
}

/// An operation the kernel is done with.
#[derive(Debug)]
pub(crate) struct Completion {
    /// The key it was pushed with.
    pub(crate) key: u64,
    pub(crate) op: Op,
    /// Bytes written, or 0, or a negated errno.
    pub(crate) result: i32,
}

/// Whoever does the operations: a ring, or in tests a stand-in that misbehaves in any allowed way.
pub(crate) trait Kernel: std::fmt::Debug + Send {
    /// How many operations may be pushed now.
    fn room(&self) -> usize;

    /// Takes an operation. With `link`, the next one pushed (before the next wait) starts only
    /// when this one has succeeded in full; else it is cancelled (ECANCELED).
    ///
    /// # Panics
    ///
    /// Without [`Self::room`].
    fn push(&mut self, key: u64, op: Op, link: bool);

    /// Starts what was pushed and waits until at least one operation is done.
    fn wait(&mut self) -> io::Result<()>;

    /// An operation that is done; in any order.
    fn next_completion(&mut self) -> Option<Completion>;
}
