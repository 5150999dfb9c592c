//! Parts: the immutable pieces of files, named by what is in them.

use ring::digest::{SHA256, digest};
use std::fmt;

/// The folder of parts.
pub(super) const FOLDER: &str = "parts";

/// The SHA-256 of a part's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PartHash([u8; 32]);

/// A part as an index names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartRef {
    pub(super) hash: PartHash,
    pub(super) length_bytes: u64,
}

impl PartHash {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        PartHash(hash)
    }

    /// Of 64 lower-case hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(PartHash(hash))
    }

    /// The name of the object.
    pub(super) fn object(&self) -> String {
        format!("{FOLDER}/{self}")
    }

    /// Which part has this name, if it is one's.
    pub(super) fn of_object(name: &str) -> Option<Self> {
        PartHash::parse(name.strip_prefix(FOLDER)?.strip_prefix('/')?)
    }
}

/// Capitals would give a part two names.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for PartHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PartHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_no_others() {
        let hash = PartHash::of(b"abc");
        let name = "parts/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.object(), name);
        assert_eq!(PartHash::of_object(name), Some(hash));
        for other in ["parts/ba78", &name.to_uppercase(), &name[6..], &format!("{name}0")] {
            assert_eq!(PartHash::of_object(other), None, "{other}");
        }
    }
}
