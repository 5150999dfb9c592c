//! Faults that take place exactly where a test wants them.

use std::path::Path;

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// A read: EIO.
    Read,
    /// An append: EIO, after half of its bytes.
    Append,
    /// The sync of a file: EIO.
    Sync,
    /// The sync of a file: `Ok`, and nothing was synced.
    LyingSync,
    /// The sync of a directory: EIO.
    SyncDirectory,
    /// The sync of a directory: `Ok`, and nothing was synced.
    LyingSyncDirectory,
    /// Creating, renaming or removing a name: EIO.
    NameChange,
}

/// A fault that takes place once.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use thalweg_io::storage::{ArmedFault, FaultKind, FaultProfile, FaultStorage, Storage};
///
/// # fn main() -> Result<(), thalweg_io::IoError> {
/// let storage = FaultStorage::new(0, FaultProfile::none());
/// storage.arm(ArmedFault::next(FaultKind::Sync).of("delta").after(1));
/// let mut file = storage.create(Path::new("delta-7"))?;
/// file.sync()?;
/// assert!(file.sync().is_err(), "one was let through");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmedFault {
    kind: FaultKind,
    name_part: String,
    let_through: u64,
}

impl ArmedFault {
    /// The next operation of this kind fails.
    pub fn next(kind: FaultKind) -> Self {
        Self { kind, name_part: String::new(), let_through: 0 }
    }

    /// Only operations on paths that contain this. Default: all.
    #[must_use]
    pub fn of(self, name_part: impl Into<String>) -> Self {
        Self { name_part: name_part.into(), ..self }
    }

    /// How many of them succeed before. Default: none.
    #[must_use]
    pub fn after(self, let_through: u64) -> Self {
        Self { let_through, ..self }
    }
}

/// Whether one of `armed` is for this operation; it is used up then.
pub(super) fn take(armed: &mut Vec<ArmedFault>, kind: FaultKind, path: &Path) -> bool {
    let path = path.to_string_lossy();
    let mut is_due = None;
    for (index, fault) in armed.iter_mut().enumerate() {
        if fault.kind != kind || !path.contains(&fault.name_part) {
            continue;
        }
        if fault.let_through == 0 {
            is_due = is_due.or(Some(index));
        } else {
            fault.let_through -= 1;
        }
    }
    is_due.map(|index| armed.remove(index)).is_some()
}
