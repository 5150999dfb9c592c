//! Where the checkpoints of a job can be made to crash (see [`thalweg_io::crash_point`]), in the order in which they are
//! passed. The files of keyed state and sinks have points of their own: [`crate::testing::crash_points`] has all.

/// A source has sent a barrier on.
pub(crate) const BARRIER_INJECTED: &str = "ckpt.barrier_injected";
/// All parts of a task have delivered, and the control plane does not know.
pub(crate) const SHARD_SNAPSHOT: &str = "ckpt.shard_snapshot";
/// All tasks have delivered; nothing of the metadata is written.
pub(crate) const ALL_ACKED: &str = "ckpt.all_acked";
/// The metadata file exists, empty, under the name of a file in progress.
pub(crate) const META_WRITE: &str = "ckpt.meta_write";
/// The metadata is durable, and has not its name yet.
pub(crate) const META_FSYNC: &str = "ckpt.meta_fsync";
/// The checkpoint is complete, and nobody was told.
pub(crate) const PUBLISHED: &str = "ckpt.published";
/// A checkpoint that is not kept any more is about to lose its name.
pub(crate) const BEFORE_UNLINK: &str = "ckpt.before_unlink";
/// It has lost it; a crash of the machine may undo that.
pub(crate) const AFTER_UNLINK: &str = "ckpt.after_unlink";
/// A keyed operator has opened its state as the checkpoint has it.
pub(crate) const STATE_LOADED: &str = "restore.state_loaded";
/// A reader has its splits back, with their positions.
pub(crate) const SOURCES_REWOUND: &str = "restore.sources_rewound";
/// All tasks have their state back, none runs.
pub(crate) const TASKS_BUILT: &str = "restore.tasks_built";
/// The keyed state of a savepoint is copied, and no checkpoint is named.
pub(crate) const SAVEPOINT_STATE: &str = "savepoint.state";
/// A savepoint is complete, and nobody was told.
pub(crate) const SAVEPOINT_COMPLETE: &str = "savepoint.complete";
/// A job that begins with a savepoint has no checkpoint of its own any more, and nothing is copied.
pub(crate) const IMPORT_BEGUN: &str = "import.begun";
/// The keyed state of the savepoint is copied into the job's directory, and no checkpoint is named.
pub(crate) const IMPORT_STATE: &str = "import.state";
/// The savepoint is a checkpoint of the job.
pub(crate) const IMPORT_COMPLETE: &str = "import.complete";

/// All of them.
pub(crate) const ALL: [&str; 16] = [
    BARRIER_INJECTED,
    SHARD_SNAPSHOT,
    ALL_ACKED,
    META_WRITE,
    META_FSYNC,
    PUBLISHED,
    BEFORE_UNLINK,
    AFTER_UNLINK,
    STATE_LOADED,
    SOURCES_REWOUND,
    TASKS_BUILT,
    SAVEPOINT_STATE,
    SAVEPOINT_COMPLETE,
    IMPORT_BEGUN,
    IMPORT_STATE,
    IMPORT_COMPLETE,
];
