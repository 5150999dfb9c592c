//! What a test does with a broker beside the connector: topics, records in, records out.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Broker;

/// Ample: the machine may be busy with builds.
const LIMIT: Duration = Duration::from_secs(60);

/// A record that a test reads back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// When it was made.
    pub timestamp_ms: Option<i64>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Message {
    /// The value as text; empty if there is none.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }
}

/// What a reader of a topic sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Records that are committed, or outside transactions.
    Committed,
    /// All.
    Uncommitted,
}

impl Broker {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers());
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("an admin client")
    }

    fn admin_options() -> AdminOptions {
        AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT))
    }

    /// Makes a topic.
    ///
    /// # Panics
    /// If it cannot be made, or is there already.
    pub fn create_topic(&self, topic: &str, partitions: i32) {
        self.create_topic_with(topic, partitions, &[]);
    }

    /// Makes a topic with settings.
    ///
    /// # Panics
    /// As [`create_topic`](Self::create_topic).
    pub fn create_topic_with(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        let made = block_on(self.admin().create_topics([&new], &Self::admin_options()));
        made.expect("the request")[0].as_ref().expect("the topic is made");
        self.wait_for_partitions(topic, partitions);
    }

    /// Gives a topic more partitions.
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn add_partitions(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let made = block_on(self.admin().create_partitions([&new], &Self::admin_options()));
        made.expect("the request")[0].as_ref().expect("the partitions are made");
        self.wait_for_partitions(topic, i32::try_from(partitions).expect("few"));
    }

    /// Removes a topic, and waits until it is gone.
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn delete_topic(&self, topic: &str) {
        let deleted = block_on(self.admin().delete_topics(&[topic], &Self::admin_options()));
        deleted.expect("the request")[0].as_ref().expect("the topic is removed");
        self.wait_for_partitions(topic, 0);
    }

    /// Removes a group with its offsets.
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn delete_group(&self, group: &str) {
        let deleted = block_on(self.admin().delete_groups(&[group], &Self::admin_options()));
        deleted.expect("the request")[0].as_ref().expect("the group is removed");
    }

    /// Removes all records of a partition below an offset, as retention does.
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn delete_records(&self, topic: &str, partition: i32, below: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(below)).expect("an offset");
        let deleted = block_on(self.admin().delete_records(&offsets, &Self::admin_options()));
        deleted.expect("the records are removed");
    }

    fn wait_for_partitions(&self, topic: &str, partitions: i32) {
        let consumer = self.consumer(Read::Uncommitted);
        for _ in 0..600 {
            let metadata = consumer.fetch_metadata(Some(topic), LIMIT).expect("metadata");
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let count = found.filter(|found| found.error().is_none()).map_or(0, |found| {
                let is_ready = |part: &&rdkafka::metadata::MetadataPartition| part.leader() >= 0;
                found.partitions().iter().filter(is_ready).count()
            });
            if i32::try_from(count) == Ok(partitions) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        panic!("topic {topic} has not come to {partitions} partitions in a minute");
    }

    fn consumer(&self, read: Read) -> BaseConsumer {
        consumer(&self.servers(), read)
    }

    /// The first offset of a partition, and the one behind its last record that may be read.
    ///
    /// # Panics
    /// If the broker does not say.
    pub fn offsets(&self, topic: &str, partition: i32, read: Read) -> (i64, i64) {
        self.consumer(read).fetch_watermarks(topic, partition, LIMIT).expect("the offsets")
    }

    /// What a group has committed for a partition.
    ///
    /// # Panics
    /// If the broker does not say.
    pub fn committed_offset(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let mut config = self.config();
        let consumer: BaseConsumer = config.set("group.id", group).create().expect("a consumer");
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition(topic, partition);
        let offsets = consumer.committed_offsets(partitions, LIMIT).expect("the offsets");
        offsets
            .find_partition(topic, partition)
            .and_then(|found| found.offset().to_raw())
            .filter(|at| *at >= 0)
    }

    /// Commits an offset for a group, as a consumer of it would.
    ///
    /// # Panics
    /// If the broker refuses.
    pub fn commit_offset(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let mut config = self.config();
        let consumer: BaseConsumer = config.set("group.id", group).create().expect("a consumer");
        let mut offsets = TopicPartitionList::new();
        let offset = Offset::Offset(offset);
        offsets.add_partition_offset(topic, partition, offset).expect("an offset");
        let mode = rdkafka::consumer::CommitMode::Sync;
        consumer.commit(&offsets, mode).expect("the offset is committed");
    }

    /// Everything in a topic, by partition and offset, up to where it ends now.
    ///
    /// # Panics
    /// If it cannot be read within a minute.
    pub fn read(&self, topic: &str, read: Read) -> Vec<Message> {
        read_topic(&self.servers(), topic, read)
    }

    /// A producer.
    pub fn producer(&self) -> Producer {
        Producer { client: self.config().create().expect("a producer"), transactional: false }
    }

    /// A producer whose records are in transactions.
    ///
    /// # Panics
    /// If the broker refuses.
    pub fn transactional_producer(&self, id: &str) -> Producer {
        let mut config = self.config();
        let client: BaseProducer = config.set("transactional.id", id).create().expect("a producer");
        client.init_transactions(LIMIT).expect("transactions");
        Producer { client, transactional: true }
    }
}

fn consumer(servers: &str, read: Read) -> BaseConsumer {
    let level = if read == Read::Committed { "read_committed" } else { "read_uncommitted" };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config.set("group.id", "thalweg-tests-reader").set("isolation.level", level);
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    config.set("auto.offset.reset", "earliest");
    config.create().expect("a consumer")
}

/// Waits until no transaction is open in a topic, half a minute at most; is that so? A commit is answered before its markers are in
/// the partitions, so that readers of committed records see it a moment later.
///
/// # Panics
/// If the broker does not say.
pub fn is_settled(servers: &str, topic: &str) -> bool {
    let (stable, all) = (consumer(servers, Read::Committed), consumer(servers, Read::Uncommitted));
    let metadata = all.fetch_metadata(Some(topic), LIMIT).expect("metadata");
    let end = |consumer: &BaseConsumer, partition| {
        consumer.fetch_watermarks(topic, partition, LIMIT).expect("the offsets").1
    };
    let partitions = metadata.topics()[0].partitions().iter();
    partitions.map(|partition| partition.id()).all(|partition| {
        (0..300).any(|_| {
            let is_so = end(&stable, partition) == end(&all, partition);
            if !is_so {
                std::thread::park_timeout(Duration::from_millis(100));
            }
            is_so
        })
    })
}

/// [`Broker::read`] of a broker that another process has started.
///
/// # Panics
/// If it cannot be read within a minute.
pub fn read_topic(servers: &str, topic: &str, read: Read) -> Vec<Message> {
    let consumer = consumer(servers, read);
    let metadata = consumer.fetch_metadata(Some(topic), LIMIT).expect("metadata");
    let mut open = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let at = Offset::Beginning;
        assignment.add_partition_offset(topic, partition.id(), at).expect("an offset");
        open.insert(partition.id(), ());
    }
    consumer.assign(&assignment).expect("the partitions are assigned");
    let mut messages = Vec::new();
    while !open.is_empty() {
        match consumer.poll(LIMIT) {
            None => panic!("nothing came of {topic} for a minute; open: {open:?}"),
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = open.remove(&partition),
            Some(Err(error)) => panic!("reading {topic}: {error}"),
            Some(Ok(message)) => messages.push(owned(&message)),
        }
    }
    messages.sort();
    messages
}

fn owned(message: &rdkafka::message::BorrowedMessage<'_>) -> Message {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let headers = headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)));
    Message {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        timestamp_ms: message.timestamp().to_millis(),
        headers: headers.collect(),
    }
}

/// Writes to topics.
pub struct Producer {
    client: BaseProducer,
    transactional: bool,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("transactional", &self.transactional).finish()
    }
}

impl Producer {
    /// Writes values to a partition; with [`flush`](Self::flush) they are there.
    pub fn send<V: AsRef<[u8]>>(
        &self,
        topic: &str,
        partition: i32,
        values: impl IntoIterator<Item = V>,
    ) -> &Self {
        for value in values {
            self.send_record(BaseRecord::to(topic).partition(partition).payload(value.as_ref()));
        }
        self
    }

    /// Writes values that were made at a time.
    pub fn send_at<V: AsRef<[u8]>>(
        &self,
        topic: &str,
        partition: i32,
        values: impl IntoIterator<Item = (i64, V)>,
    ) -> &Self {
        for (timestamp_ms, value) in values {
            let record = BaseRecord::to(topic).partition(partition).payload(value.as_ref());
            self.send_record(record.timestamp(timestamp_ms));
        }
        self
    }

    /// Writes a record with key and headers; no value is a tombstone.
    pub fn send_whole(
        &self,
        topic: &str,
        partition: i32,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> &Self {
        let packed = headers.iter().fold(OwnedHeaders::new(), |packed, (key, value)| {
            packed.insert(Header { key, value: Some(*value) })
        });
        let mut record = BaseRecord::to(topic).partition(partition).key(key).headers(packed);
        record.payload = value;
        self.send_record(record);
        self
    }

    fn send_record(&self, record: BaseRecord<'_, [u8], [u8]>) {
        let mut record = record;
        while let Err((error, refused)) = self.client.send(record) {
            let code = error.rdkafka_error_code();
            assert_eq!(code, Some(rdkafka::types::RDKafkaErrorCode::QueueFull), "{error}");
            self.client.poll(Duration::from_millis(100));
            record = refused;
        }
        self.client.poll(Duration::ZERO);
    }

    /// Waits until all that was written is in the topics.
    ///
    /// # Panics
    /// If it is not within a minute.
    pub fn flush(&self) {
        self.client.flush(LIMIT).expect("the records are written");
    }

    /// Begins a transaction.
    pub fn begin(&self) -> &Self {
        self.client.begin_transaction().expect("a transaction");
        self
    }

    /// Commits the transaction.
    pub fn commit(&self) {
        self.client.commit_transaction(LIMIT).expect("a commit");
    }

    /// Aborts the transaction, with what was written in it (which is in the log all the same).
    pub fn abort(&self) {
        self.flush();
        self.client.abort_transaction(LIMIT).expect("an abort");
    }
}

/// Waits for a future that threads of the client's complete.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
