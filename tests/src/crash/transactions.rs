//! A two-phase sink whose system is a directory: a transaction is a file.
//!
//! `open/NAME` is a transaction in the making, `done/NAME` one that is committed. A commit is a rename, which is one step
//! for whoever looks, also when the process is killed in it.
//!
//! **Invariant**: a file in `done` is never written again, by whatever name: the commit of a name that is taken fails.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use thalweg::function::{Recovery, TransactionContext, TwoPhaseCommitSink};
use thalweg::record::CheckpointId;

/// See the module docs. Rows are written as the closure does.
pub struct FileTransactions<T, F> {
    directory: PathBuf,
    write: F,
    open: Option<BufWriter<File>>,
    _row: PhantomData<fn(T)>,
}

impl<T, F: Clone> Clone for FileTransactions<T, F> {
    fn clone(&self) -> Self {
        let (directory, write) = (self.directory.clone(), self.write.clone());
        FileTransactions { directory, write, open: None, _row: PhantomData }
    }
}

impl<T, F: Fn(&T, &mut dyn Write) -> io::Result<()>> FileTransactions<T, F> {
    /// Rows into a directory, which is made.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(directory: impl Into<PathBuf>, write: F) -> io::Result<Self> {
        let directory = directory.into();
        for name in ["open", "done"] {
            fs::create_dir_all(directory.join(name))?;
        }
        Ok(FileTransactions { directory, write, open: None, _row: PhantomData })
    }

    fn path(&self, state: &str, name: &str) -> PathBuf {
        self.directory.join(state).join(name)
    }
}

/// Removes a file that may be gone.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The subtask in the name of a transaction: `OPERATOR-SUBTASK-NUMBER`.
fn subtask_of(name: &str) -> Option<usize> {
    name.rsplit('-').nth(1)?.parse().ok()
}

impl<T, F> TwoPhaseCommitSink for FileTransactions<T, F>
where
    T: 'static,
    F: Fn(&T, &mut dyn Write) -> io::Result<()> + 'static,
{
    type In = T;
    type Transaction = String;

    fn begin(&mut self, context: &TransactionContext) -> thalweg::Result<String> {
        let name = context.name();
        self.open = Some(BufWriter::new(File::create_new(self.path("open", &name))?));
        Ok(name)
    }

    fn write(&mut self, _: &mut String, row: T, _: i64) -> thalweg::Result<()> {
        let file = self.open.as_mut().ok_or("no transaction is open")?;
        Ok((self.write)(&row, file)?)
    }

    fn pre_commit(&mut self, _: &mut String, _: CheckpointId) -> thalweg::Result<()> {
        let mut file = self.open.take().ok_or("no transaction is open")?;
        file.flush()?;
        Ok(file.get_ref().sync_data()?)
    }

    fn commit(&mut self, name: &String) -> thalweg::Result<()> {
        let (open, done) = (self.path("open", name), self.path("done", name));
        match (open.exists(), done.exists()) {
            (true, false) => Ok(fs::rename(open, done)?),
            (false, true) => Ok(()), // by an attempt before
            (true, true) => Err(format!("the name {name} is taken").into()),
            (false, false) => Err(format!("{name} is lost").into()),
        }
    }

    fn abort(&mut self, name: &String) -> thalweg::Result<()> {
        self.open = None;
        Ok(remove(&self.path("open", name))?)
    }

    fn abort_unknown(&mut self, recovery: &Recovery<'_, String>) -> thalweg::Result<()> {
        for entry in fs::read_dir(self.directory.join("open"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_mine = subtask_of(&name).is_some_and(|subtask| recovery.takes_over(subtask));
            if is_mine && !recovery.pending().contains(&name) {
                remove(&self.path("open", &name))?;
            }
        }
        Ok(())
    }
}
