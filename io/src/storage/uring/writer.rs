//! The writing end of a file, as its owner holds it.

use std::path::Path;
use std::sync::Arc;

use super::Engine;
use super::file::OpenFile;
use crate::error::{AppendError, IoError};
use crate::storage::{FileIdentity, WriteFile};

/// A file that is written by the thread; dropping it waits for that.
#[derive(Debug)]
pub(super) struct UringWriteFile {
    /// Before the engine: dropping the last engine waits for the thread.
    file: Arc<OpenFile>,
    engine: Arc<Engine>,
    identity: FileIdentity,
}

impl UringWriteFile {
    pub(super) fn new(engine: Arc<Engine>, file: Arc<OpenFile>, identity: FileIdentity) -> Self {
        Self { file, engine, identity }
    }
}

impl WriteFile for UringWriteFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let mut appended_bytes = 0;
        let result = self.file.append(bytes, &mut appended_bytes);
        result.map_err(|error| AppendError { appended_bytes, given_bytes: bytes.len(), error })
    }

    fn sync(&mut self) -> Result<(), IoError> {
        self.file.sync()
    }

    fn length_bytes(&self) -> u64 {
        self.file.length_bytes()
    }
}

impl Drop for UringWriteFile {
    fn drop(&mut self) {
        self.file.close();
        self.engine.registry.remove(self.identity, &self.file);
    }
}
