//! The index of a complete copy: its files, and the parts of each.
//!
//! # Format 1
//!
//! Text: one line of JSON, then a line with `sha256`, a space, and the SHA-256 of all bytes before that line, the line break
//! included, in 64 hexadecimal digits. Fields of the JSON as in [`Index`]; what a later version adds is another format.
//!
//! **Invariants**
//! - The names of files are those that a checkpoint's directory has: nothing is written anywhere else because of an index.

use super::RemoteError;
use super::part::{PartHash, PartRef};
use crate::record::CheckpointId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The folder of indexes.
pub(super) const FOLDER: &str = "indexes";
const FORMAT: u64 = 1;

/// A complete copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) job: String,
    pub(super) checkpoint: CheckpointId,
    pub(super) epoch: u64,
    pub(super) taken_at_ms: i64,
    /// Has the job sinks that commit?
    pub(super) commits: bool,
    /// Did they wait for the copy?
    pub(super) commits_waited: bool,
    /// All input had been read.
    pub(super) is_final: bool,
    /// The metadata file is the last.
    pub(super) files: Vec<IndexedFile>,
}

/// A file of the local directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexedFile {
    /// Below the directory.
    pub(super) name: String,
    pub(super) parts: Vec<PartRef>,
}

/// What an index is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct IndexName {
    pub(super) epoch: u64,
    pub(super) checkpoint: CheckpointId,
}

#[derive(Serialize, Deserialize)]
struct Written {
    format: u64,
    #[serde(flatten)]
    body: Option<WrittenBody>,
}

#[derive(Serialize, Deserialize)]
struct WrittenBody {
    job: String,
    checkpoint: u64,
    epoch: u64,
    taken_at_ms: i64,
    commits: bool,
    commits_waited: bool,
    is_final: bool,
    files: Vec<WrittenFile>,
}

#[derive(Serialize, Deserialize)]
struct WrittenFile {
    name: String,
    length_bytes: u64,
    /// Hash and length.
    parts: Vec<(String, u64)>,
}

impl IndexName {
    pub(super) fn object(&self) -> String {
        format!("{FOLDER}/{:020}-{:020}.json", self.epoch, self.checkpoint.0)
    }

    /// Which index has this name, if it is one's.
    pub(super) fn of_object(name: &str) -> Option<Self> {
        let numbers = name.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".json")?;
        let (epoch, checkpoint) = numbers.split_once('-')?;
        let checkpoint = CheckpointId(checkpoint.parse().ok()?);
        let parsed = IndexName { epoch: epoch.parse().ok()?, checkpoint };
        (parsed.object() == name).then_some(parsed)
    }
}

impl Index {
    pub(super) fn name(&self) -> IndexName {
        IndexName { epoch: self.epoch, checkpoint: self.checkpoint }
    }

    /// The hashes of all parts.
    pub(super) fn parts(&self) -> impl Iterator<Item = PartHash> {
        self.files.iter().flat_map(|file| &file.parts).map(|part| part.hash)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let file = |file: &IndexedFile| WrittenFile {
            name: file.name.clone(),
            length_bytes: file.length_bytes(),
            parts: file.parts.iter().map(|p| (p.hash.to_string(), p.length_bytes)).collect(),
        };
        let body = WrittenBody {
            job: self.job.clone(),
            checkpoint: self.checkpoint.0,
            epoch: self.epoch,
            taken_at_ms: self.taken_at_ms,
            commits: self.commits,
            commits_waited: self.commits_waited,
            is_final: self.is_final,
            files: self.files.iter().map(file).collect(),
        };
        sealed(&Written { format: FORMAT, body: Some(body) })
    }

    /// Reads an object, checking all of it.
    pub(super) fn decode(url: &str, name: IndexName, bytes: &[u8]) -> Result<Self, RemoteError> {
        let damaged = |what: String| RemoteError::Damaged {
            url: url.to_owned(),
            object: name.object(),
            what,
            remedy: "remove it to go on from an older copy".to_owned(),
        };
        let json = unsealed(bytes).map_err(damaged)?;
        let written: Written =
            serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))?;
        if written.format > FORMAT {
            let (url, object, found) = (url.to_owned(), name.object(), written.format);
            return Err(RemoteError::NewerFormat { url, object, expected: FORMAT, found });
        }
        let body = written.body.ok_or_else(|| damaged("fields of format 1 are missing".into()))?;
        let files = body.files.into_iter().map(IndexedFile::read).collect::<Result<Vec<_>, _>>();
        let index = Index {
            job: body.job,
            checkpoint: CheckpointId(body.checkpoint),
            epoch: body.epoch,
            taken_at_ms: body.taken_at_ms,
            commits: body.commits,
            commits_waited: body.commits_waited,
            is_final: body.is_final,
            files: files.map_err(damaged)?,
        };
        let names: BTreeSet<&str> = index.files.iter().map(|file| file.name.as_str()).collect();
        let metadata = metadata_name(index.checkpoint);
        if index.name() != name {
            let found = index.name().object();
            return Err(damaged(format!("it says that it is '{found}'")));
        }
        if names.len() != index.files.len()
            || index.files.last().is_none_or(|file| file.name != metadata)
        {
            return Err(damaged(format!("expected each file once and '{metadata}' last")));
        }
        Ok(index)
    }
}

impl IndexedFile {
    pub(super) fn length_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.length_bytes).sum()
    }

    fn read(written: WrittenFile) -> Result<Self, String> {
        let WrittenFile { name, length_bytes, parts } = written;
        if !is_file_name(&name) {
            return Err(format!("'{name}' is no file of a checkpoint"));
        }
        let part = |(hash, length_bytes): (String, u64)| {
            let hash = PartHash::parse(&hash).ok_or_else(|| format!("'{hash}' names no part"))?;
            Ok::<_, String>(PartRef { hash, length_bytes })
        };
        let file =
            IndexedFile { name, parts: parts.into_iter().map(part).collect::<Result<_, _>>()? };
        let found = file.parts.iter().try_fold(0_u64, |sum, p| sum.checked_add(p.length_bytes));
        if found != Some(length_bytes) {
            return Err(format!("the parts of '{}' are not {length_bytes} bytes", file.name));
        }
        Ok(file)
    }
}

/// The metadata file of a checkpoint, below the local directory.
pub(super) fn metadata_name(checkpoint: CheckpointId) -> String {
    format!("checkpoints/{:020}.chk", checkpoint.0)
}

/// May a checkpoint have a file of this name?
fn is_file_name(name: &str) -> bool {
    let Some((folder, file)) = name.split_once('/') else { return false };
    let all = |text: &str, is_allowed: fn(u8) -> bool| {
        !text.is_empty() && text.len() <= 64 && text.bytes().all(is_allowed)
    };
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match folder {
        "checkpoints" => file
            .strip_suffix(".chk")
            .is_some_and(|digits| digits.len() == 20 && all(digits, |byte| byte.is_ascii_digit())),
        "manifests" => file
            .strip_suffix(".manifest")
            .is_some_and(|store| all(store, is_of_name) && !store.starts_with('.')),
        "files" => file
            .strip_suffix(".delta")
            .or_else(|| file.strip_suffix(".sst"))
            .is_some_and(|id| id.len() == 16 && all(id, is_hex)),
        _ => false,
    }
}

/// A line of JSON with the line that seals it.
pub(super) fn sealed(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect("numbers and texts have a form in JSON");
    bytes.push(b'\n');
    let seal = format!("sha256 {}\n", PartHash::of(&bytes));
    bytes.extend_from_slice(seal.as_bytes());
    bytes
}

/// What was sealed, or what is wrong.
pub(super) fn unsealed(bytes: &[u8]) -> Result<&[u8], String> {
    const SEAL_BYTES: usize = "sha256 ".len() + 64 + 1;
    let Some(length) = bytes.len().checked_sub(SEAL_BYTES) else {
        return Err(format!("{} bytes are less than its seal", bytes.len()));
    };
    let (sealed, seal) = bytes.split_at(length);
    let expected = PartHash::of(sealed);
    match seal == format!("sha256 {expected}\n").as_bytes() {
        true => Ok(sealed),
        false => Err(format!("its bytes have the SHA-256 {expected}, its last line says another")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let part =
            |bytes: &[u8]| PartRef { hash: PartHash::of(bytes), length_bytes: bytes.len() as u64 };
        let file = |name: &str, parts| IndexedFile { name: name.to_owned(), parts };
        Index {
            job: "job \"ä\"".to_owned(),
            checkpoint: CheckpointId(7),
            epoch: 3,
            taken_at_ms: -1,
            commits: true,
            commits_waited: false,
            is_final: false,
            files: vec![
                file("files/0123456789abcdef.sst", vec![part(b"abc"), part(b"d")]),
                file("manifests/sum-0.manifest", vec![part(b"m")]),
                file("checkpoints/00000000000000000007.chk", vec![]),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let index = index();
        let name = IndexName::of_object(&index.name().object()).unwrap();
        assert_eq!(Index::decode("u", name, &index.encode()).unwrap(), index);
        assert_eq!(IndexName::of_object("indexes/3-7.json"), None, "an index has one name");
        assert_eq!(index.parts().count(), 3);
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_damage() {
        let (index, url) = (index(), "u");
        let mut bytes = index.encode();
        let is_damaged = |bytes: &[u8]| {
            matches!(
                Index::decode(url, index.name(), bytes),
                Err(RemoteError::Damaged { object, .. }) if object == index.name().object()
            )
        };
        assert!((0..bytes.len()).all(|length| is_damaged(&bytes[..length])));
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(is_damaged(&bytes), "byte {at}");
            bytes[at] ^= 1;
        }
        let other = IndexName { epoch: 4, checkpoint: CheckpointId(7) };
        assert!(Index::decode(url, other, &bytes).is_err(), "under another name");
    }

    #[test]
    fn files_that_no_checkpoint_has_are_refused() {
        let bad = [
            "files/../../0123456789abcdef.sst",
            "files/0123456789abcdeF.sst",
            "/files/0123456789abcdef.sst",
            "manifests/.manifest",
            "manifests/a/b.manifest",
            "manifests/..manifest",
            "checkpoints/7.chk",
            "ROOT",
            "",
        ];
        for name in bad {
            let mut index = index();
            index.files[0].name = name.to_owned();
            let error = Index::decode("u", index.name(), &index.encode()).unwrap_err();
            assert!(error.to_string().contains("no file of a checkpoint"), "{name}: {error}");
        }
        let mut twice = index();
        twice.files[1] = twice.files[0].clone();
        assert!(Index::decode("u", twice.name(), &twice.encode()).is_err());
        let mut later = serde_json::json!({ "format": 2, "anything": true });
        let error = Index::decode("u", index().name(), &sealed(&later)).unwrap_err();
        assert!(matches!(error, RemoteError::NewerFormat { found: 2, .. }), "{error}");
        later["format"] = 1.into();
        assert!(Index::decode("u", index().name(), &sealed(&later)).is_err());
    }
}
