//! The thread between librdkafka and a core: takes messages from the client and hands them over by the batch.
//!
//! ```text
//!  librdkafka's threads ─► MessageQueue ─► bridge thread: copies ─► deliveries ─► core: format ─► chain
//!                                              ▲                                    │
//!                                              └── empty batches, commands ◄────────┘
//! ```
//! 1. A command assigns partitions. Before that the broker is asked whether they are the ones that the positions are of: the
//!    topic's id is the same, and the position lies in what is kept.
//! 2. As long as there is an empty batch, it is filled with what the client has, and handed over when it is full or the client has
//!    nothing more just now. Without an empty batch nothing is taken: that is the backpressure. The client reads ahead within
//!    limits of its own.
//! 3. A partition with an end is read until a position reaches it: by a record, or by what librdkafka says of the end of the log,
//!    which counts markers and aborted records too.
//! 4. Anything that cannot go on is handed over as an error, behind all that came before it.
//!
//! **Invariants**
//! - There are as many batches as `buffer_bytes` allows, in the hands of the thread, in the queue, or with the core.
//! - Partitions are led to the queue before they are assigned, so that no message comes by another way.
//! - The thread waits for a tenth of a second at most, but for brokers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::batch::{BATCH_BYTES, BATCH_RECORDS, Batch};
use super::reach::{ATTEMPT, ATTEMPT_MS, Brokers, serve};
use super::split::KafkaSplit;
use crate::connector::channel::queue::{Queue, Refused};
use crate::connector::kafka::error::{KafkaError, KafkaErrorKind};
use crate::connector::kafka::native::{
    Client, MessageQueue, Messages, NativeMessage, describe_topics,
};
use crate::runtime::CoreWaker;
use crate::sync::{Condvar, Mutex, lock, wait_for};

/// How long to wait for messages before commands are looked at.
const WAIT_MS: i32 = 20;

/// How long to wait for commands and empty batches before the client's events are looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// How often to ask again for the end of a log that seems to be before a position: a broker that has just come back finds its end
/// by and by.
const END_ATTEMPTS: u32 = 20;

/// What the thread hands over.
pub(super) enum Delivery {
    Batch(Batch),
    Failed(KafkaError),
}

/// What the core wants.
pub(super) enum Command {
    /// Read a split, as the slot of this number.
    Assign(u32, KafkaSplit),
    /// These positions are in a checkpoint: tell the group.
    Commit(Vec<KafkaSplit>),
}

/// What core and thread share.
pub(super) struct Shared {
    pub(super) deliveries: Arc<Queue<Delivery>>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    commands: VecDeque<Command>,
    empty: Vec<Batch>,
    is_over: bool,
}

impl Shared {
    pub(super) fn new(buffer_bytes: usize, core: Arc<CoreWaker>) -> Arc<Self> {
        // One is filled while the core reads another.
        let batches = buffer_bytes.div_ceil(BATCH_BYTES).max(2);
        // Room for all of them and for an error.
        let deliveries = Queue::new(batches + 1);
        deliveries.set_receiving_core(Some(core));
        let empty = std::iter::repeat_with(Batch::default).take(batches).collect();
        let state = State { commands: VecDeque::new(), empty, is_over: false };
        Arc::new(Shared { deliveries, state: Mutex::new(state), changed: Condvar::new() })
    }

    pub(super) fn command(&self, command: Command) {
        lock(&self.state).commands.push_back(command);
        self.changed.notify_one();
    }

    /// A batch that the core has read.
    pub(super) fn give_back(&self, mut batch: Batch) {
        batch.clear();
        let mut state = lock(&self.state);
        let was_short = state.empty.is_empty();
        state.empty.push(batch);
        drop(state);
        if was_short {
            self.changed.notify_one();
        }
    }

    /// A batch for the core to read.
    fn hand_over(&self, batch: Batch) {
        match self.deliveries.try_push(Delivery::Batch(batch)) {
            // Who is gone needs none.
            Ok(()) | Err(Refused::Closed(_)) => {}
            Err(Refused::Full(_)) => unreachable!("there is room for all batches"),
        }
    }

    /// The thread is to end.
    pub(super) fn end(&self) {
        lock(&self.state).is_over = true;
        self.changed.notify_one();
        self.deliveries.close_consumer();
    }

    fn is_over(&self) -> bool {
        lock(&self.state).is_over
    }

    /// What is to be done next: commands, and a batch to fill if one is wanted. `None` for nothing any more.
    fn next_work(&self, wants_batch: bool) -> Option<(VecDeque<Command>, Option<Batch>)> {
        let mut state = lock(&self.state);
        let has_work =
            |state: &State| !state.commands.is_empty() || (wants_batch && !state.empty.is_empty());
        if !state.is_over && !has_work(&state) {
            state = wait_for(&self.changed, state, PAUSE).0;
        }
        if state.is_over {
            // The positions of the last checkpoint are committed also when the job has ended by then.
            let commits = std::mem::take(&mut state.commands);
            let is_commit = |command: &Command| matches!(command, Command::Commit(_));
            let commits: VecDeque<_> = commits.into_iter().filter(is_commit).collect();
            return (!commits.is_empty()).then_some((commits, None));
        }
        let batch = if wants_batch { state.empty.pop() } else { None };
        Some((std::mem::take(&mut state.commands), batch))
    }
}

/// The thread's body.
pub(super) fn run(brokers: &Brokers, shared: &Arc<Shared>) {
    let ending = Ending(shared.clone());
    let ran = Bridge::open(brokers, shared).and_then(|mut bridge| bridge.run());
    if let Err(error) = ran {
        ending.say(error);
    }
}

/// However the thread ends, the reader hears of it.
struct Ending(Arc<Shared>);

impl Ending {
    fn say(&self, error: KafkaError) {
        // There is room for one; who is gone needs no message.
        let _ = self.0.deliveries.try_push(Delivery::Failed(error));
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = KafkaError::new(KafkaErrorKind::Client, "the reading thread panicked");
            self.say(error.remedy_is("report this as a mistake, with the log"));
        }
        self.0.deliveries.close_producers();
    }
}

/// A partition that is read.
struct Slot {
    split: KafkaSplit,
    is_open: bool,
}

/// Of a topic's object in the client, and the number of a partition.
type Address = (usize, i32);

struct Bridge<'a> {
    brokers: &'a Brokers,
    shared: &'a Arc<Shared>,
    slots: Vec<Slot>,
    open_count: usize,
    /// The slots of partitions, by address of the topic and number: those that messages have come of.
    slots_met: HashMap<Address, u32>,
    /// The one of the message before: messages of a partition come together.
    slot_met: Option<(Address, u32)>,
    /// Before the queue and the client: they are dropped first.
    messages: Messages,
    queue: MessageQueue,
    client: Arc<Client>,
}

impl<'a> Bridge<'a> {
    fn open(brokers: &'a Brokers, shared: &'a Arc<Shared>) -> Result<Self, KafkaError> {
        let client = brokers.client()?;
        brokers.reach(&client, || shared.is_over())?;
        let queue = MessageQueue::new(client.clone());
        let (slots, slots_met) = (Vec::new(), HashMap::new());
        let messages = Messages::new(BATCH_RECORDS / 2);
        let (open_count, slot_met) = (0, None);
        Ok(Bridge {
            brokers,
            shared,
            slots,
            open_count,
            slots_met,
            slot_met,
            messages,
            queue,
            client,
        })
    }

    fn run(&mut self) -> Result<(), KafkaError> {
        while let Some((commands, batch)) = self.shared.next_work(self.open_count > 0) {
            serve(&self.client)?;
            self.obey(commands)?;
            if let Some(batch) = batch {
                self.fill(batch)?;
            }
        }
        Ok(())
    }

    fn obey(&mut self, commands: VecDeque<Command>) -> Result<(), KafkaError> {
        let mut assigned = Vec::new();
        for command in commands {
            match command {
                Command::Assign(slot, split) => assigned.push((slot, split)),
                Command::Commit(splits) => self.commit(&splits),
            }
        }
        if assigned.is_empty() { Ok(()) } else { self.assign(assigned) }
    }

    /// For those who watch the group; see the module docs of the source.
    fn commit(&self, splits: &[KafkaSplit]) {
        let mut offsets = TopicPartitionList::new();
        for split in splits {
            let at = Offset::Offset(split.position);
            if let Err(error) = offsets.add_partition_offset(&split.topic, split.partition, at) {
                tracing::warn!("the offset of {} is not committed: {error}", split.topic);
            }
        }
        if let Err(error) = self.client.commit(&offsets, CommitMode::Async) {
            tracing::warn!("offsets are not committed to the group: {error}");
        }
    }

    fn assign(&mut self, assigned: Vec<(u32, KafkaSplit)>) -> Result<(), KafkaError> {
        self.check_topics(&assigned)?;
        let mut partitions = TopicPartitionList::new();
        for (slot, split) in assigned {
            debug_assert_eq!(slot as usize, self.slots.len(), "slots are numbered by the core");
            if self.shared.is_over() {
                return Ok(());
            }
            self.check_position(&split)?;
            self.queue.gather(&split.topic, split.partition)?;
            let at = Offset::Offset(split.position);
            let added = partitions.add_partition_offset(&split.topic, split.partition, at);
            added.map_err(|error| KafkaError::of_client("it cannot be assigned", &error))?;
            self.open_count += 1;
            self.slots.push(Slot { split, is_open: true });
        }
        let assigned = self.client.incremental_assign(&partitions);
        assigned.map_err(|error| KafkaError::of_client("partitions cannot be assigned", &error))
    }

    /// Are the topics the ones that the positions are of?
    fn check_topics(&self, assigned: &[(u32, KafkaSplit)]) -> Result<(), KafkaError> {
        let ids: BTreeMap<&str, &str> = assigned
            .iter()
            .map(|(_, split)| (split.topic.as_str(), split.topic_id.as_str()))
            .collect();
        let names: Vec<String> = ids.keys().map(|name| (*name).to_owned()).collect();
        let described = self.brokers.patiently(
            || self.shared.is_over(),
            || describe_topics(&self.client, &names, ATTEMPT_MS),
        )?;
        for topic in described {
            let topic = topic.map_err(|error| match error.kind() {
                KafkaErrorKind::UnknownTopic => error.kind_is(KafkaErrorKind::TopicReplaced),
                _ => error,
            })?;
            if ids.get(topic.name.as_str()).is_some_and(|id| *id != topic.id) {
                return Err(replaced(&topic.name));
            }
        }
        Ok(())
    }

    /// Is the position in what is kept?
    fn check_position(&self, split: &KafkaSplit) -> Result<(), KafkaError> {
        let KafkaSplit { topic, partition, position, .. } = split;
        for attempt in 1.. {
            let (first, end) = self.brokers.patiently(
                || self.shared.is_over(),
                || watermarks(&self.client, topic, *partition),
            )?;
            let error = if *position < first {
                format!("the records from there on were removed: the first one kept is {first}")
            } else if *position > end && attempt == END_ATTEMPTS {
                format!("it is beyond the end of the partition, which is {end}")
            } else if *position > end && !self.shared.is_over() {
                let state = lock(&self.shared.state);
                drop(wait_for(&self.shared.changed, state, PAUSE));
                continue;
            } else {
                return Ok(());
            };
            let error = KafkaError::new(KafkaErrorKind::OffsetOutOfRange, error);
            return Err(error.at(topic, *partition).at_offset(*position));
        }
        Ok(())
    }

    /// Fills a batch with what there is, and hands it over if that is anything.
    fn fill(&mut self, mut batch: Batch) -> Result<(), KafkaError> {
        let mut messages = std::mem::take(&mut self.messages);
        let mut finished = TopicPartitionList::new();
        let mut wait_ms = WAIT_MS;
        let mut ran = Ok(());
        while !batch.is_full() && ran.is_ok() && self.open_count > 0 {
            self.queue.take(wait_ms, &mut messages);
            if messages.is_empty() {
                break;
            }
            wait_ms = 0;
            ran = messages
                .iter()
                .try_for_each(|message| self.put(message, &mut batch, &mut finished));
        }
        messages.clear();
        self.messages = messages;
        if batch.is_empty() {
            self.shared.give_back(batch);
        } else {
            self.shared.hand_over(batch);
        }
        ran?;
        if finished.count() > 0 {
            self.slot_met = None;
            self.slots_met.clear();
            let left = self.client.incremental_unassign(&finished);
            left.map_err(|error| KafkaError::of_client("partitions cannot be left", &error))?;
        }
        Ok(())
    }

    /// Puts one message into the batch, or does what it says.
    fn put(
        &mut self,
        message: NativeMessage<'_>,
        batch: &mut Batch,
        finished: &mut TopicPartitionList,
    ) -> Result<(), KafkaError> {
        let Some(number) = self.slot_of(message) else { return self.put_stray(message) };
        let slot = &mut self.slots[number as usize];
        if !slot.is_open {
            return Ok(());
        }
        match message.error() {
            None => {
                let is_behind = slot.split.end.is_some_and(|end| message.offset() >= end);
                slot.split.position = message.offset().saturating_add(i64::from(!is_behind));
                if !is_behind {
                    batch.push(number, message);
                }
            }
            Some(Code::PartitionEOF) if message.offset() > slot.split.position => {
                slot.split.position = message.offset();
                batch.push_moved(number, message.offset());
            }
            Some(Code::PartitionEOF) => {}
            Some(code) => judge(code, message, &slot.split)?,
        }
        if slot.split.is_read() {
            slot.is_open = false;
            self.open_count -= 1;
            batch.push_finished(number);
            finished.add_partition(&slot.split.topic, slot.split.partition);
        }
        Ok(())
    }

    /// A message of no partition: errors of the client as a whole.
    fn put_stray(&self, message: NativeMessage<'_>) -> Result<(), KafkaError> {
        match message.error() {
            Some(code) => {
                tracing::warn!("{}", KafkaError::of_code(&message.error_text(), code));
                Ok(())
            }
            None => {
                let text = "a record came of a partition that is not read";
                let error = KafkaError::new(KafkaErrorKind::Client, text);
                Err(error.at(message.topic(), message.partition()).at_offset(message.offset()))
            }
        }
    }

    fn slot_of(&mut self, message: NativeMessage<'_>) -> Option<u32> {
        let address = (message.topic_address(), message.partition());
        match self.slot_met {
            Some((met, slot)) if met == address => Some(slot),
            _ => {
                let slot = self.slot_at(address, message)?;
                self.slot_met = Some((address, slot));
                Some(slot)
            }
        }
    }

    fn slot_at(&mut self, address: Address, message: NativeMessage<'_>) -> Option<u32> {
        if let Some(slot) = self.slots_met.get(&address) {
            return Some(*slot);
        }
        let (topic, partition) = (message.topic(), message.partition());
        let is_it = |slot: &Slot| slot.split.partition == partition && slot.split.topic == topic;
        let slot = u32::try_from(self.slots.iter().position(is_it)?).ok()?;
        self.slots_met.insert(address, slot);
        Some(slot)
    }
}

/// Does an error that librdkafka says of a partition end the job? What passes by itself only goes to the log.
#[cold]
fn judge(code: Code, message: NativeMessage<'_>, split: &KafkaSplit) -> Result<(), KafkaError> {
    let text = message.error_text();
    let error = KafkaError::of_code(&text, code).at(&split.topic, split.partition);
    let error = error.at_offset(split.position);
    match error.kind() {
        KafkaErrorKind::Unreachable | KafkaErrorKind::TimedOut => {
            tracing::warn!("{error}");
            Ok(())
        }
        KafkaErrorKind::UnknownTopic | KafkaErrorKind::UnknownPartition => {
            Err(error.kind_is(KafkaErrorKind::TopicReplaced))
        }
        KafkaErrorKind::TooLarge => Err(error.remedy_is(
            "raise the properties `receive.message.max.bytes` and `fetch.message.max.bytes`",
        )),
        _ if matches!(
            code,
            Code::NotImplemented | Code::BadCompression | Code::UnsupportedCompressionType
        ) =>
        {
            Err(error.remedy_is(
                "compile the codec in: add `rdkafka` with its feature `zstd` to the program's dependencies",
            ))
        }
        _ => Err(error),
    }
}

/// The topic is another one than that which was read.
pub(super) fn replaced(topic: &str) -> KafkaError {
    let text = "it was deleted and created again since it was read";
    KafkaError::new(KafkaErrorKind::TopicReplaced, text).of_topic(topic)
}

/// The first offset of a partition that is kept, and the one behind the last that may be read.
pub(super) fn watermarks(
    client: &Client,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), KafkaError> {
    client.fetch_watermarks(topic, partition, ATTEMPT).map_err(|error| {
        let error = KafkaError::of_client("cannot ask for its first and last offset", &error);
        error.at(topic, partition)
    })
}
