//! A checkpoint that does not fit into memory: which option to change.
//!
//! The storage says how many bytes there are and were wanted, and knows nothing of jobs; the option is named here.

use super::metadata::MetadataError;
use crate::BoxError;
use std::error::Error;
use thalweg_io::IoError;

/// See the module docs.
#[derive(Debug, thiserror::Error)]
#[error(
    "the job's checkpoints take more memory than `checkpoint_memory_mib` ({} MiB) allows: {source}; raise it, or keep \
     them in a `checkpoint_directory`", capacity_bytes >> 20
)]
pub(crate) struct MemoryFull {
    capacity_bytes: u64,
    source: BoxError,
}

impl MemoryFull {
    /// The cause of a checkpoint's failure, with the option if that is the memory of checkpoints.
    pub(crate) fn or(cause: BoxError, capacity_bytes: u64) -> BoxError {
        let is_full = is_memory_full(&*cause);
        if is_full { MemoryFull { capacity_bytes, source: cause }.into() } else { cause }
    }
}

/// Does an error come of a storage in memory that is full?
fn is_memory_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let of_file = error
            .downcast_ref::<IoError>()
            .or_else(|| error.downcast_ref::<Box<IoError>>().map(|boxed| &**boxed))
            .or_else(|| match error.downcast_ref::<MetadataError>() {
                Some(MetadataError::Io(error)) => Some(error),
                _ => None,
            });
        if matches!(of_file, Some(IoError::MemoryFull { .. })) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use thalweg_io::storage::{MemoryStorage, Storage};
    use thalweg_state::StoreError;

    fn full() -> IoError {
        let storage = MemoryStorage::with_capacity(1);
        let mut file = storage.create(Path::new("a")).unwrap();
        file.append(b"ab").unwrap_err().error
    }

    #[test]
    fn the_option_is_named_however_deep_the_cause_lies() {
        let in_store = StoreError::Io { store: "s".into(), source: Box::new(full()) };
        let causes: [BoxError; 3] =
            [full().into(), in_store.into(), MetadataError::Io(full()).into()];
        for cause in causes {
            let text = MemoryFull::or(cause, 3 << 20).to_string();
            assert!(text.contains("`checkpoint_memory_mib` (3 MiB)"), "{text}");
            assert!(text.contains("0 of 1 bytes"), "{text}");
        }
        assert_eq!(MemoryFull::or("another".into(), 1).to_string(), "another");
    }
}
