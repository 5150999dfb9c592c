//! Makes records of what the bridge thread hands over, on the core.
//!
//! **Invariants**
//! - A split's position is behind the last record that was emitted of it, or behind what is no record: what the thread has read
//!   ahead is read again after a restart.
//! - The thread starts with the first split.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::batch::{Batch, Item};
use super::bridge::{self, Command, Delivery, Shared};
use super::malformed::{MalformedRecord, OnMalformedRecord};
use super::reach::Brokers;
use super::split::KafkaSplit;
use crate::Result;
use crate::connector::channel::queue::Left;
use crate::connector::kafka::format::DeserializationSchema;
use crate::connector::kafka::record::KafkaMessage;
use crate::function::{
    InputStatus, ReaderContext, SourceCollector, SourceReader, SourceSplit as _,
};
use crate::record::{CheckpointId, NO_TIMESTAMP};
use crate::runtime::threads::{NamedThread, spawn_named};

/// How long the end of a job waits for the thread, which ends by itself a little later otherwise: it only closes connections then.
const STOP_WAIT: Duration = Duration::from_millis(100);

/// Reads a [`KafkaSource`](super::KafkaSource).
pub struct KafkaSourceReader<F, P> {
    format: F,
    on_malformed: P,
    brokers: Brokers,
    /// Tell the group of positions in checkpoints.
    commits: bool,
    thread_name: String,
    shared: Arc<Shared>,
    thread: Option<NamedThread>,
    slots: Vec<Slot>,
    /// Of those, the ones that are not read to their ends.
    open_count: usize,
    no_more: bool,
    deliveries: VecDeque<Delivery>,
    batch: Option<Batch>,
    /// The slot that was named last.
    named: Option<usize>,
    skipped: u64,
}

struct Slot {
    split: KafkaSplit,
    id: String,
    is_open: bool,
}

impl<F, P> KafkaSourceReader<F, P> {
    pub(super) fn new(
        (format, on_malformed): (F, P),
        brokers: Brokers,
        (commits, buffer_bytes): (bool, usize),
        context: &ReaderContext,
    ) -> Self {
        let thread_name = match context.parallelism {
            1 => context.operator_name.clone(),
            count => format!("{} {}/{count}", context.operator_name, context.subtask_index + 1),
        };
        KafkaSourceReader {
            format,
            on_malformed,
            brokers,
            commits,
            thread_name,
            shared: Shared::new(buffer_bytes, context.waker.clone()),
            thread: None,
            slots: Vec::new(),
            open_count: 0,
            no_more: false,
            deliveries: VecDeque::new(),
            batch: None,
            named: None,
            skipped: 0,
        }
    }

    fn start(&mut self) -> Result<()> {
        if self.thread.is_none() && !self.slots.is_empty() {
            let (brokers, shared) = (self.brokers.clone(), self.shared.clone());
            let body = move || bridge::run(&brokers, &shared);
            self.thread = Some(spawn_named(&self.thread_name, body)?);
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.shared.end();
        if let Some(thread) = self.thread.take() {
            thread.join_within(STOP_WAIT);
        }
    }

    /// The next batch, or why there is none.
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        if self.deliveries.is_empty() {
            let left = self.shared.deliveries.take_batch(usize::MAX, &mut self.deliveries);
            if left == Left::Ended && self.deliveries.is_empty() {
                return Err("the reading thread has ended before the job".into());
            }
        }
        match self.deliveries.pop_front() {
            Some(Delivery::Batch(batch)) => Ok(Some(batch)),
            Some(Delivery::Failed(error)) => Err(error.into()),
            None => Ok(None),
        }
    }
}

impl<F: DeserializationSchema, P: OnMalformedRecord<F::Out>> KafkaSourceReader<F, P> {
    /// Emits what is in a batch, up to `max` records. True if nothing is left of it.
    fn emit(
        &mut self,
        batch: &mut Batch,
        max: u64,
        out: &mut SourceCollector<'_, P::Out>,
    ) -> Result<bool> {
        while out.emitted() < max {
            let Some((number, item)) = batch.next() else { return Ok(true) };
            let slot = &mut self.slots[number];
            match item {
                Item::Record(message) => {
                    if self.named != Some(number) {
                        self.named = Some(number);
                        out.begin_split(&slot.id);
                    }
                    let KafkaSplit { topic, partition, .. } = &slot.split;
                    let message = KafkaMessage { topic, partition: *partition, ..message };
                    let timestamp_ms = message.timestamp_ms.unwrap_or(NO_TIMESTAMP);
                    let next = message.offset + 1;
                    match self.format.deserialize(&message) {
                        Ok(value) => self.on_malformed.emit(value, timestamp_ms, out),
                        Err(error) => {
                            let record = MalformedRecord::new(&message, &error);
                            let skipped = &mut self.skipped;
                            self.on_malformed.reject(record, timestamp_ms, out, skipped)?;
                        }
                    }
                    slot.split.position = next;
                }
                Item::Moved(position) => slot.split.position = position,
                Item::Finished => {
                    slot.is_open = false;
                    self.open_count -= 1;
                    out.end_split(&slot.id);
                    self.named = None;
                }
            }
        }
        Ok(false)
    }

    fn status(&self) -> InputStatus {
        match (self.open_count, self.no_more) {
            (0, true) => InputStatus::EndOfInput,
            _ => InputStatus::NothingAvailable,
        }
    }
}

impl<F: DeserializationSchema, P: OnMalformedRecord<F::Out>> SourceReader
    for KafkaSourceReader<F, P>
{
    type Out = P::Out;
    type Split = KafkaSplit;

    fn wakes_core(&self) -> bool {
        true
    }

    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, P::Out>,
    ) -> Result<InputStatus> {
        self.start()?;
        if self.named.is_none()
            && let Some((number, slot)) =
                self.slots.iter().enumerate().find(|(_, slot)| slot.is_open)
        {
            // Named before it has a record, so that partitions without any hold the watermark back, unless they are idle.
            self.named = Some(number);
            out.begin_split(&slot.id);
        }
        let max = max as u64;
        while out.emitted() < max {
            let mut batch = match self.batch.take() {
                Some(batch) => batch,
                None => match self.next_batch()? {
                    Some(batch) => batch,
                    None => return Ok(self.status()),
                },
            };
            match self.emit(&mut batch, max, out)? {
                true => self.shared.give_back(batch),
                false => self.batch = Some(batch),
            }
        }
        Ok(InputStatus::MoreAvailable)
    }

    fn add_splits(&mut self, splits: Vec<KafkaSplit>) {
        for split in splits.into_iter().filter(|split| !split.is_read()) {
            let number = u32::try_from(self.slots.len()).expect("fewer partitions than 4 billion");
            self.shared.command(Command::Assign(number, split.clone()));
            let id = split.split_id();
            self.slots.push(Slot { split, id, is_open: true });
            self.open_count += 1;
        }
    }

    fn no_more_splits(&mut self) {
        self.no_more = true;
    }

    fn snapshot(&self) -> Vec<KafkaSplit> {
        let open = self.slots.iter().filter(|slot| slot.is_open);
        open.map(|slot| slot.split.clone()).collect()
    }

    fn notify_checkpoint_complete(&mut self, _: CheckpointId, splits: &[KafkaSplit]) -> Result<()> {
        if self.commits && !splits.is_empty() && self.thread.is_some() {
            self.shared.command(Command::Commit(splits.to_vec()));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.stop();
        Ok(())
    }
}

impl<F, P> Drop for KafkaSourceReader<F, P> {
    /// `close` is not called while a panic unwinds; then the thread is told to end, too.
    fn drop(&mut self) {
        self.shared.end();
    }
}
