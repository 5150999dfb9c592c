//! Where a process that copies its checkpoints can be made to crash, in the order in which the points are passed.

/// The local directory says that the place is about to be claimed; the place does not know.
pub(crate) const NOTED: &str = "remote.noted";
/// The place is claimed; nothing was fetched.
pub(crate) const CLAIMED: &str = "remote.claimed";
/// What was left over in the local directory is gone, and nothing is fetched.
pub(crate) const FETCH_BEGUN: &str = "remote.fetch_begun";
/// A file is fetched.
pub(crate) const FILE_FETCHED: &str = "remote.file_fetched";
/// All files are fetched but the metadata file, without which there is no checkpoint.
pub(crate) const FILES_FETCHED: &str = "remote.files_fetched";
/// The fetched checkpoint is complete in the local directory.
pub(crate) const FETCHED: &str = "remote.fetched";
/// The files of a checkpoint are pinned, and nothing of it is sent.
pub(crate) const PINNED: &str = "remote.pinned";
/// Some parts are sent.
pub(crate) const PARTS_SENT: &str = "remote.parts_sent";
/// All parts are sent; there is no index.
pub(crate) const ALL_PARTS_SENT: &str = "remote.all_parts_sent";
/// The index is there; nobody was told.
pub(crate) const INDEX_SENT: &str = "remote.index_sent";
/// The copy is complete: the place was still ours afterwards.
pub(crate) const CONFIRMED: &str = "remote.confirmed";
/// The indexes of copies that are not kept are gone; their parts are there.
pub(crate) const INDEXES_REMOVED: &str = "remote.indexes_removed";
/// Some parts that nothing needs are gone.
pub(crate) const PARTS_REMOVED: &str = "remote.parts_removed";

/// All of them.
pub(crate) const ALL: [&str; 13] = [
    NOTED,
    CLAIMED,
    FETCH_BEGUN,
    FILE_FETCHED,
    FILES_FETCHED,
    FETCHED,
    PINNED,
    PARTS_SENT,
    ALL_PARTS_SENT,
    INDEX_SENT,
    CONFIRMED,
    INDEXES_REMOVED,
    PARTS_REMOVED,
];
