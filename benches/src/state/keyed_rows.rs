//! Rows of lists or maps on the backend of a run: batches with hints, barriers and beats between
//! them.

use thalweg::Result;
use thalweg::state::{KeyHash, RowStore, StateRegistrar};

use super::Options;
use super::events::Event;
use super::files::Files;
use super::store::Batch;

/// See the module docs.
pub(super) struct KeyedRows {
    pub(super) rows: RowStore<u64>,
    batch: Batch,
    files: Option<Files>,
}

impl KeyedRows {
    pub(super) fn new(
        options: &Options,
        registrar: StateRegistrar,
        files: Option<Files>,
    ) -> Result<Self> {
        let rows = match &files {
            None => RowStore::new(registrar)?,
            Some(files) => RowStore::new_in(registrar, files.store(), "rows")?,
        };
        Ok(KeyedRows { rows, batch: Batch::new(options), files })
    }

    /// Begins a turn of a phase, whose checkpoints count for it.
    pub(super) fn begin_phase(&mut self, phase: usize) {
        self.files.iter_mut().for_each(|files| files.begin_phase(phase));
    }

    /// Makes a call for each event, with the hash of its key; the sum of their answers.
    #[inline(always)]
    pub(super) fn for_each(
        &mut self,
        events: &[Event],
        key: impl Fn(&Event) -> u64 + Copy,
        mut call: impl FnMut(&mut RowStore<u64>, KeyHash, Event) -> Result<u64>,
    ) -> Result<u64> {
        let KeyedRows { rows, batch, files } = self;
        let mut digest = 0_u64;
        for events in events.chunks(batch.size) {
            batch.begin(rows, events.iter().map(key))?;
            for (record, event) in events.iter().enumerate() {
                let hash = batch.hash(rows, record);
                digest = digest.wrapping_add(call(rows, hash, *event)?);
            }
            if let Some(files) = files {
                files.after_batch(rows, events.len())?;
            }
        }
        Ok(digest)
    }

    /// All keys are there: makes the first checkpoint, which counts for nothing.
    pub(super) fn grown(&mut self) -> Result<()> {
        match &mut self.files {
            Some(files) => files.first_checkpoint(&mut self.rows),
            None => Ok(()),
        }
    }

    /// Waits for checkpoints.
    pub(super) fn settle(&mut self) -> Result<()> {
        match &mut self.files {
            Some(files) => files.settle(&mut self.rows),
            None => Ok(()),
        }
    }

    pub(super) fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }
}
