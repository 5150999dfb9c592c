//! What the copies ask of a store of objects; all calls wait for their answer.

use super::RemoteError;
use std::fmt;
use std::time::Duration;

/// An object as a listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) length_bytes: u64,
}

/// A folder of a store. What was answered holds: who lists or reads afterwards finds what was written.
pub(super) trait Objects: fmt::Debug + Send + Sync {
    /// For messages.
    fn url(&self) -> &str;

    /// Writes objects, replacing those of the same names, all at once. Each is there whole or not at all.
    fn put_all(&self, objects: Vec<(String, Vec<u8>)>) -> Result<(), RemoteError>;

    /// Writes an object unless there is one of this name; whether it did.
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, RemoteError>;

    /// Reads objects, all at once; `None` for one that is not there.
    fn get_all(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>, RemoteError>;

    /// The objects of a folder, by name.
    fn list(&self, folder: &str) -> Result<Vec<Object>, RemoteError>;

    /// Removes objects; one that is not there is removed.
    fn remove_all(&self, names: &[String]) -> Result<(), RemoteError>;

    /// How long each call may take from now on; `None` for as long as the store's own retries go on.
    fn set_patience(&self, patience: Option<Duration>);

    /// What is under way fails soon with [`RemoteError::CutShort`], and so does all that is asked later.
    fn cut_short(&self);
}

/// Reads one object.
pub(super) fn get(objects: &dyn Objects, name: &str) -> Result<Option<Vec<u8>>, RemoteError> {
    Ok(objects.get_all(&[name.to_owned()])?.pop().flatten())
}
