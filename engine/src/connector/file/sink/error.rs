//! Why a file sink fails.

use std::path::PathBuf;

use thalweg_io::IoError;

use crate::BoxError;

/// A file sink cannot be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileSinkError {
    /// The files cannot be written.
    #[error("the file sink failed: {0}")]
    Io(#[from] IoError),
    /// Several subtasks cannot write one file.
    #[error(
        "the file sink writes the single file {path} and has {parallelism} subtasks; give it \
         `set_parallelism(1)`, or write into a directory"
    )]
    Parallel {
        /// The file.
        path: PathBuf,
        /// How many.
        parallelism: usize,
    },
    /// A record does not fit the format.
    #[error("the file sink cannot encode a record: {cause}")]
    Encode {
        /// Why.
        cause: BoxError,
    },
    /// A record's bucket cannot be a directory below the sink's.
    #[error(
        "the file sink cannot write to bucket {bucket:?}, which {problem}; name a subdirectory such as `day=2024-05-01`"
    )]
    Bucket {
        /// As the function says.
        bucket: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A file that a checkpoint has is not as the checkpoint says.
    #[error(
        "the checkpoint has {expected_bytes} bytes of {path}, and that is not so: {found}; somebody else has changed it: put \
         it back, or begin without the checkpoint"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the checkpoint has.
        expected_bytes: u64,
        /// What is there.
        found: String,
    },
    /// A file has the highest number there can be.
    #[error(
        "{path} has the highest number that a file can have; remove it, or choose another prefix"
    )]
    NoNumberLeft {
        /// The file.
        path: PathBuf,
    },
}
