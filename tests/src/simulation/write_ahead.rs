//! A system without transactions, behind a write-ahead sink: it tells batches apart by subtask and checkpoint.

use super::Row;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thalweg::prelude::*;
use thalweg::record::CheckpointId;
use thalweg::testing::sim::SimulatedProcess;

/// What was sent, by subtask and checkpoint, and how far each subtask has come. It outlives the job.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox(Arc<Mutex<Sent>>);

#[derive(Debug, Default)]
struct Sent {
    batches: BTreeMap<(usize, u64), Vec<Row>>,
    committed: BTreeMap<usize, u64>,
    violation: Option<String>,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was sent.
    ///
    /// # Errors
    /// A batch that was sent twice with different records.
    pub(super) fn rows(&self) -> Result<Vec<Row>, String> {
        let sent = self.lock();
        match &sent.violation {
            Some(violation) => Err(violation.clone()),
            None => Ok(sent.batches.values().flatten().copied().collect()),
        }
    }
}

/// Sink and committer of a process.
#[derive(Clone)]
pub(super) struct OutboxSink {
    pub(super) outbox: Outbox,
    pub(super) process: SimulatedProcess,
}

impl WriteAheadSink for OutboxSink {
    type In = Row;

    fn send(&mut self, batch: &WriteAheadBatch<Row>) -> thalweg::Result<()> {
        if !self.process.is_alive() {
            return Ok(());
        }
        let place = (batch.subtask_index(), batch.checkpoint().0);
        let rows: Vec<Row> = batch.records().copied().collect();
        let mut sent = self.outbox.lock();
        match sent.batches.get(&place) {
            Some(known) if *known != rows => {
                let violation = format!("batch {place:?} was sent again, with other records");
                sent.violation.get_or_insert(violation);
            }
            _ => {
                sent.batches.insert(place, rows);
            }
        }
        Ok(())
    }

    fn sends_once(&self) -> bool {
        true
    }
}

impl CheckpointCommitter for OutboxSink {
    fn open(&mut self, context: &CommitterContext) -> thalweg::Result<()> {
        if context.restored_checkpoint.is_none() && self.process.is_alive() {
            self.outbox.lock().committed.retain(|subtask, _| !context.takes_over(*subtask));
        }
        Ok(())
    }

    fn last_committed(&mut self, subtask_index: usize) -> thalweg::Result<Option<CheckpointId>> {
        Ok(self.outbox.lock().committed.get(&subtask_index).copied().map(CheckpointId))
    }

    fn commit(&mut self, subtask_index: usize, checkpoint: CheckpointId) -> thalweg::Result<()> {
        if self.process.is_alive() {
            self.outbox.lock().committed.insert(subtask_index, checkpoint.0);
        }
        Ok(())
    }
}
