//! Where this crate can be made to crash (see [`thalweg_io::crash_point`]); each place lies between
//! two steps whose order matters.

/// A block of a delta was handed on; the file may hold part of it.
pub const FLUSH_BLOCK: &str = "flush.block";
/// All blocks of a delta were handed on; its index, which is in its footer, is not made yet.
pub const FLUSH_INDEX: &str = "flush.index";
/// The index is made, and the footer not handed on: the same files as at [`FLUSH_INDEX`].
pub const FLUSH_FOOTER: &str = "flush.footer";
/// A delta is durable; no manifest names it.
pub const FLUSH_FSYNC: &str = "flush.fsync";
/// An edit is about to be written.
pub const MANIFEST_WRITE: &str = "manifest.write";
/// An edit is durable; if it begins a new log, that has not its name yet.
pub const MANIFEST_FSYNC: &str = "manifest.fsync";
/// A new log has taken the place of the old one; a crash of the machine may undo that.
pub const MANIFEST_RENAME: &str = "manifest.rename";
/// A new log is durable under its name.
pub const MANIFEST_DIRSYNC: &str = "manifest.dirsync";
/// All files of a checkpoint are durable, it is not complete.
pub const CKPT_FILES_DURABLE: &str = "ckpt.files_durable";
/// A checkpoint is complete; nobody was told.
pub const CKPT_COMPLETE: &str = "ckpt.complete";
/// A block of a sorted file was taken; it is in memory or on its way to the disk.
pub const COMPACT_BLOCK: &str = "compact.block";
/// All rows and the index of a sorted file were taken.
pub const COMPACT_INDEX: &str = "compact.index";
/// Only the footer of a sorted file is missing.
pub const COMPACT_FOOTER: &str = "compact.footer";
/// The contents of a sorted file are durable, its name may not be.
pub const COMPACT_FSYNC: &str = "compact.fsync";
/// All files of a compaction are durable, and no manifest names them.
pub const COMPACT_BEFORE_EDIT: &str = "compact.before_edit";
/// A manifest names them, and not those that they replace.
pub const COMPACT_AFTER_EDIT: &str = "compact.after_edit";
/// A restored store's files are referred to in memory, by no manifest.
pub const RESTORE_REFERENCED: &str = "restore.referenced";
/// A file that nothing refers to is about to be removed.
pub const GC_BEFORE_UNLINK: &str = "gc.before_unlink";
/// It is removed.
pub const GC_AFTER_UNLINK: &str = "gc.after_unlink";
/// The stores that were in the way of a copy are gone, and nothing is copied.
pub const COPY_BEGUN: &str = "copy.begun";
/// One file of a copy is durable, its name may not be.
pub const COPY_FILE: &str = "copy.file";
/// All files of a copy are durable and checked, and no manifest names them.
pub const COPY_FILES_DURABLE: &str = "copy.files_durable";

/// All of them.
pub const ALL: [&str; 22] = [
    FLUSH_BLOCK,
    FLUSH_INDEX,
    FLUSH_FOOTER,
    FLUSH_FSYNC,
    MANIFEST_WRITE,
    MANIFEST_FSYNC,
    MANIFEST_RENAME,
    MANIFEST_DIRSYNC,
    CKPT_FILES_DURABLE,
    CKPT_COMPLETE,
    COMPACT_BLOCK,
    COMPACT_INDEX,
    COMPACT_FOOTER,
    COMPACT_FSYNC,
    COMPACT_BEFORE_EDIT,
    COMPACT_AFTER_EDIT,
    RESTORE_REFERENCED,
    GC_BEFORE_UNLINK,
    GC_AFTER_UNLINK,
    COPY_BEGUN,
    COPY_FILE,
    COPY_FILES_DURABLE,
];
