//! Objects in memory that fail when they are told to.

use super::RemoteError;
use super::objects::{Object, Objects};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module docs.
#[derive(Debug, Default)]
pub(super) struct TestObjects {
    state: Mutex<TestState>,
}

#[derive(Debug, Default)]
pub(super) struct TestState {
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    /// Writes that work before all fail; `None` for any number.
    pub(super) writes_left: Option<usize>,
    /// All calls fail.
    pub(super) is_away: bool,
    /// Names that were written, in order.
    pub(super) written: Vec<String>,
    /// Is written by another process before the n-th write from now.
    pub(super) intrusion: Option<(usize, String, Vec<u8>)>,
    pub(super) is_cut_short: bool,
}

impl TestObjects {
    pub(super) fn state(&self) -> MutexGuard<'_, TestState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let folder = format!("{folder}/");
        self.state().objects.keys().filter(|name| name.starts_with(&folder)).cloned().collect()
    }

    fn begin(&self, action: &'static str, object: &str) -> Result<(), RemoteError> {
        let state = self.state();
        if state.is_cut_short {
            return Err(RemoteError::CutShort { url: "test".to_owned() });
        }
        match state.is_away {
            true => Err(failed(action, object)),
            false => Ok(()),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RemoteError> {
        let mut state = self.state();
        if let Some((count, other, theirs)) = state.intrusion.take() {
            match count {
                0 => drop(state.objects.insert(other, theirs)),
                _ => state.intrusion = Some((count - 1, other, theirs)),
            }
        }
        if let Some(left) = &mut state.writes_left {
            *left = left.checked_sub(1).ok_or_else(|| failed("write", name))?;
        }
        state.objects.insert(name.to_owned(), bytes.to_vec());
        state.written.push(name.to_owned());
        Ok(())
    }
}

fn failed(action: &'static str, object: &str) -> RemoteError {
    RemoteError::Store {
        url: "test".to_owned(),
        action,
        object: object.to_owned(),
        source: "on purpose".into(),
        remedy: "do not",
    }
}

impl Objects for TestObjects {
    fn url(&self) -> &str {
        "test"
    }

    fn put_all(&self, objects: Vec<(String, Vec<u8>)>) -> Result<(), RemoteError> {
        self.begin("write", "objects")?;
        objects.iter().try_for_each(|(name, bytes)| self.write(name, bytes))
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, RemoteError> {
        self.begin("write", name)?;
        if self.state().objects.contains_key(name) {
            return Ok(false);
        }
        self.write(name, bytes).map(|()| true)
    }

    fn get_all(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>, RemoteError> {
        self.begin("read", "objects")?;
        let state = self.state();
        Ok(names.iter().map(|name| state.objects.get(name).cloned()).collect())
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, RemoteError> {
        self.begin("list", folder)?;
        let (folder, state) = (format!("{folder}/"), self.state());
        let found = state.objects.iter().filter(|(name, _)| name.starts_with(&folder));
        let object = |(name, bytes): (&String, &Vec<u8>)| Object {
            name: name.clone(),
            length_bytes: bytes.len() as u64,
        };
        Ok(found.map(object).collect())
    }

    fn remove_all(&self, names: &[String]) -> Result<(), RemoteError> {
        self.begin("remove", "objects")?;
        let mut state = self.state();
        names.iter().for_each(|name| drop(state.objects.remove(name)));
        Ok(())
    }

    fn set_patience(&self, _: Option<Duration>) {}

    fn cut_short(&self) {
        self.state().is_cut_short = true;
    }
}
