//! Who has claimed a place for copies.
//!
//! # Format 1
//!
//! Sealed as an index is (see [`index`](super::index)); the JSON has the fields of [`Owner`]. Only the job and the whole bytes
//! mean anything to the engine: two claims never have the same bytes. The rest is for people.

use super::RemoteError;
use super::index::{sealed, unsealed};
use serde::{Deserialize, Serialize};

/// The folder of owners.
pub(super) const FOLDER: &str = "owners";
const FORMAT: u64 = 1;

/// A claim, by one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) format: u64,
    pub(super) job: String,
    pub(super) epoch: u64,
    pub(super) claimed_at_ms: i64,
    pub(super) process: u32,
    /// What tells claims of one process and millisecond apart.
    pub(super) nonce: String,
}

impl Owner {
    pub(super) fn new(job: &str, epoch: u64, claimed_at_ms: i64, nonce: String) -> Self {
        let process = std::process::id();
        Owner { format: FORMAT, job: job.to_owned(), epoch, claimed_at_ms, process, nonce }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        sealed(self)
    }

    pub(super) fn decode(url: &str, epoch: u64, bytes: &[u8]) -> Result<Self, RemoteError> {
        let (url, object) = (url.to_owned(), object_of(epoch));
        let read = unsealed(bytes).and_then(|json| {
            serde_json::from_slice::<Owner>(json).map_err(|error| error.to_string())
        });
        match read {
            Ok(owner) if owner.format > FORMAT => {
                let found = owner.format;
                Err(RemoteError::NewerFormat { url, object, expected: FORMAT, found })
            }
            Ok(owner) if owner.epoch == epoch => Ok(owner),
            Ok(owner) => {
                let what = format!("it says that it is epoch {}", owner.epoch);
                Err(RemoteError::Damaged { url, object, what, remedy: REMEDY.to_owned() })
            }
            Err(what) => Err(RemoteError::Damaged { url, object, what, remedy: REMEDY.to_owned() }),
        }
    }
}

const REMEDY: &str = "if no other process runs the job, remove it";

pub(super) fn object_of(epoch: u64) -> String {
    format!("{FOLDER}/{epoch:020}.json")
}

/// Whose epoch has this name, if it is one's.
pub(super) fn epoch_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".json")?;
    digits.parse().ok().filter(|epoch| object_of(*epoch) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_as_they_are_written() {
        let owner = Owner::new("job", 4, 17, "n".to_owned());
        let bytes = owner.encode();
        assert_eq!(Owner::decode("u", 4, &bytes).unwrap(), owner);
        assert_eq!(epoch_of(&object_of(4)), Some(4));
        assert_eq!(epoch_of("owners/4.json"), None);
        assert!(Owner::decode("u", 5, &bytes).is_err());
        assert!(Owner::decode("u", 4, &bytes[1..]).is_err());
        let later = Owner { format: 2, ..owner };
        let error = Owner::decode("u", 4, &later.encode()).unwrap_err();
        assert!(matches!(error, RemoteError::NewerFormat { found: 2, .. }), "{error}");
    }
}
