//! Operator state as bytes, and back: what an operator has in a checkpoint.
//!
//! ```text
//! snapshot   version u8 = 1 | states u32, each:
//!            kind u8 (0 split list, 1 union list, 2 broadcast) | fingerprint u64 | name text | types text | elements u32, each:
//!            list: value bytes                broadcast: key bytes | value bytes
//! text, bytes   length u32 and as many bytes; numbers are little-endian; keys and values are archives
//! ```
//! 1. [`OperatorStateStore::snapshot`] writes all states.
//! 2. [`OperatorStateStore::restored`] reads the snapshots of all subtasks that there were and keeps, as bytes, what the
//!    subtask takes of them ([`share`]).
//! 3. When a state is registered its elements are unarchived. What is never registered is in the next snapshot all the same.
//!
//! **Invariants**
//! - Bytes are checked: a length beyond the end, an unknown kind or version is an error that names operator and place.

use crate::error::OperatorStateChange;
use crate::{Redistribution, StateError};

use super::OperatorStateKind;

const VERSION: u8 = 1;

/// An element: the archive of a value, before which is that of its key in a broadcast map.
pub(super) type Element = (Vec<u8>, Vec<u8>);

/// A state of a checkpoint that was not registered since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RestoredState {
    pub(super) kind: OperatorStateKind,
    pub(super) fingerprint: u64,
    pub(super) name: Box<str>,
    /// Kind and types, for people.
    pub(super) types: Box<str>,
    pub(super) elements: Vec<Element>,
}

/// Writes a snapshot, state by state.
#[derive(Debug)]
pub(super) struct SnapshotWriter {
    bytes: Vec<u8>,
}

impl SnapshotWriter {
    /// Of so many states.
    pub(super) fn new(state_count: usize) -> Self {
        let mut writer = SnapshotWriter { bytes: vec![VERSION] };
        writer.count(state_count);
        writer
    }

    /// Begins a state of so many elements.
    pub(super) fn state(
        &mut self,
        (kind, fingerprint): (OperatorStateKind, u64),
        (name, types): (&str, &str),
        element_count: usize,
    ) {
        self.bytes.push(code_of(kind));
        self.bytes.extend_from_slice(&fingerprint.to_le_bytes());
        self.part(name.as_bytes());
        self.part(types.as_bytes());
        self.count(element_count);
    }

    /// An archive.
    pub(super) fn part(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// A state as it was restored.
    pub(super) fn restored(&mut self, state: &RestoredState) {
        let RestoredState { kind, fingerprint, name, types, elements } = state;
        self.state((*kind, *fingerprint), (name, types), elements.len());
        for (key, value) in elements {
            if *kind == OperatorStateKind::Broadcast {
                self.part(key);
            }
            self.part(value);
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("operator state has less than 4 GiB");
        self.bytes.extend_from_slice(&count.to_le_bytes());
    }
}

fn code_of(kind: OperatorStateKind) -> u8 {
    match kind {
        OperatorStateKind::List(Redistribution::Split) => 0,
        OperatorStateKind::List(Redistribution::Union) => 1,
        OperatorStateKind::Broadcast => 2,
    }
}

/// Reads a snapshot.
struct SnapshotReader<'a> {
    operator: &'a str,
    subtask: usize,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> SnapshotReader<'a> {
    fn states(mut self) -> Result<Vec<RestoredState>, StateError> {
        let version = self.array::<1>("a version")?[0];
        if version != VERSION {
            return Err(self.malformed("version 1", format!("version {version}")));
        }
        let count = self.count("the number of states")?;
        let mut states = Vec::new();
        for _ in 0..count {
            states.push(self.state()?);
        }
        match self.at == self.bytes.len() {
            true => Ok(states),
            false => {
                Err(self.malformed("the end", format!("{} bytes more", self.bytes.len() - self.at)))
            }
        }
    }

    fn state(&mut self) -> Result<RestoredState, StateError> {
        let kind = match self.array::<1>("a kind of state")?[0] {
            0 => OperatorStateKind::List(Redistribution::Split),
            1 => OperatorStateKind::List(Redistribution::Union),
            2 => OperatorStateKind::Broadcast,
            other => return Err(self.malformed("a kind of state from 0 to 2", other.to_string())),
        };
        let fingerprint = u64::from_le_bytes(*self.array("a fingerprint")?);
        let (name, types) = (self.text("a name")?, self.text("types")?);
        let count = self.count("the number of elements")?;
        let mut elements = Vec::new();
        for _ in 0..count {
            let key = match kind {
                OperatorStateKind::Broadcast => self.part("a key")?.to_vec(),
                OperatorStateKind::List(_) => Vec::new(),
            };
            elements.push((key, self.part("a value")?.to_vec()));
        }
        Ok(RestoredState { kind, fingerprint, name, types, elements })
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<&'a [u8; N], StateError> {
        let Some(found) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) else {
            return Err(self.malformed(what, "the end".to_owned()));
        };
        self.at += N;
        Ok(found)
    }

    fn count(&mut self, what: &'static str) -> Result<usize, StateError> {
        Ok(u32::from_le_bytes(*self.array(what)?) as usize)
    }

    fn part(&mut self, what: &'static str) -> Result<&'a [u8], StateError> {
        let length = self.count(what)?;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(found) = rest.get(..length) else {
            let found = format!("{} bytes where {length} are announced", rest.len());
            return Err(self.malformed(what, found));
        };
        self.at += length;
        Ok(found)
    }

    fn text(&mut self, what: &'static str) -> Result<Box<str>, StateError> {
        let bytes = self.part(what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(_) => Err(self.malformed(what, "bytes that are no text".to_owned())),
        }
    }

    #[cold]
    fn malformed(&self, expected: &'static str, found: String) -> StateError {
        StateError::MalformedOperatorState {
            operator: self.operator.into(),
            subtask: self.subtask,
            offset: self.at,
            expected,
            found: found.into(),
        }
    }
}

/// What a subtask, of as many as say `parallelism`, takes of the snapshots of all subtasks that there were, in order.
pub(super) fn read_share(
    operator: &str,
    snapshots: &[&[u8]],
    (subtask, parallelism): (usize, usize),
) -> Result<Vec<RestoredState>, StateError> {
    let mut all: Vec<(RestoredState, Vec<Vec<Element>>)> = Vec::new();
    for (from, bytes) in snapshots.iter().enumerate() {
        let reader = SnapshotReader { operator, subtask: from, bytes, at: 0 };
        for mut state in reader.states()? {
            let elements = std::mem::take(&mut state.elements);
            let known = match all.iter().position(|(known, _)| known.name == state.name) {
                Some(known) => known,
                None => {
                    all.push((state.clone(), vec![Vec::new(); snapshots.len()]));
                    all.len() - 1
                }
            };
            let (known, by_subtask) = &mut all[known];
            if *known != state {
                return Err(changed(
                    operator,
                    known,
                    (state.kind, &state.types, state.fingerprint),
                    OTHER_STATE.to_owned(),
                ));
            }
            by_subtask[from] = elements;
        }
    }
    let shares = all.into_iter().map(|(state, by_subtask)| {
        let elements = share(state.kind, by_subtask, subtask, parallelism);
        RestoredState { elements, ..state }
    });
    Ok(shares.collect())
}

/// Elements by the subtask that had them, dealt out as Flink does: of a split list a subtask has its own where there are as
/// many as before, and otherwise a stretch of all of them, which differ in length by one at most; of a union list it has
/// all; of a broadcast map its own, or that of a subtask before it.
fn share(
    kind: OperatorStateKind,
    mut by_subtask: Vec<Vec<Element>>,
    subtask: usize,
    parallelism: usize,
) -> Vec<Element> {
    let count = by_subtask.len();
    match kind {
        OperatorStateKind::Broadcast => by_subtask.swap_remove(subtask % count),
        OperatorStateKind::List(Redistribution::Union) => by_subtask.concat(),
        OperatorStateKind::List(Redistribution::Split) if count == parallelism => {
            by_subtask.swap_remove(subtask)
        }
        OperatorStateKind::List(Redistribution::Split) => {
            let total: usize = by_subtask.iter().map(Vec::len).sum();
            let (each, more) = (total / parallelism, total % parallelism);
            let first = subtask * each + subtask.min(more);
            let length = each + usize::from(subtask < more);
            by_subtask.into_iter().flatten().skip(first).take(length).collect()
        }
    }
}

/// What to do where one name is that of different states.
pub(super) const OTHER_STATE: &str =
    "change it back, use another name, or begin without the checkpoint";

/// A state is not of the type that it was written as.
#[cold]
pub(super) fn changed(
    operator: &str,
    written: &RestoredState,
    (kind, types, fingerprint): (OperatorStateKind, &str, u64),
    remedy: String,
) -> StateError {
    let describe = |kind: OperatorStateKind, types: &str, fingerprint: u64| {
        format!("{types}{} (fingerprint {fingerprint:016x})", kind.suffix()).into()
    };
    StateError::OperatorStateChanged {
        state: written.name.clone(),
        operator: operator.into(),
        change: Box::new(OperatorStateChange {
            expected: describe(written.kind, &written.types, written.fingerprint),
            found: describe(kind, types, fingerprint),
            remedy: remedy.into(),
        }),
    }
}
