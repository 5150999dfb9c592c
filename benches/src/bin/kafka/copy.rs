//! Copying a topic into another one: Kafka → map → Kafka, by the connector and by the client's own consumer and producer.
//!
//! The client is run plain (what is sent is acknowledged by all replicas, nothing is ever repeated or committed), and with
//! transactions as its documentation has them: one producer, which commits each interval and waits for that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use thalweg::connector::kafka::{Bytes, EndPosition, KafkaSink, KafkaSource};
use thalweg::prelude::*;
use thalweg_benches::now_ns;

use super::broker::{Broker, LIMIT};
use super::{Settings, median, read};

/// Who copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Client,
    ClientInTransactions,
    AtLeastOnce,
    ExactlyOnce,
}

const ALL: [By; 4] = [By::Client, By::AtLeastOnce, By::ExactlyOnce, By::ClientInTransactions];

/// What all consumers, and what all producers are set to.
const CONSUMER: [(&str, &str); 3] = [
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.wait.max.ms", "20"),
    ("fetch.queue.backoff.ms", "5"),
];
const PRODUCER: [(&str, &str); 3] =
    [("linger.ms", "5"), ("batch.size", "262144"), ("queue.buffering.max.kbytes", "65536")];

/// Runs all, one after the other, as often as said.
pub(crate) fn run(broker: &Broker, settings: &Settings, interval: Duration) -> thalweg::Result {
    let Settings { records, bytes, partitions, parallelism, rounds } = *settings;
    let from = format!("copy-{}", std::process::id());
    broker.create_topic(&from, partitions)?;
    broker.fill(&from, partitions, records, bytes)?;
    read::by_client(broker, &from, settings)?;
    let mut rates: [Vec<f64>; 4] = Default::default();
    for round in 1..=rounds {
        for (index, by) in ALL.into_iter().enumerate() {
            let to = format!("{from}-{by:?}-{round}");
            broker.create_topic(&to, partitions)?;
            let rate = copy(by, broker, (&from, &to), settings, interval)?;
            println!("copy round={round} by={by:?} {rate:.0}/s");
            rates[index].push(rate);
            // The markers of the last commit are written after its answer.
            #[expect(clippy::disallowed_methods, reason = "between two measurements")]
            std::thread::sleep(Duration::from_millis(500));
            // All of them are there, once.
            read::by_client(broker, &to, settings)?;
        }
    }
    let [client, least, exactly, transactions] = rates.map(median);
    println!(
        "copy records={records} bytes={bytes} partitions={partitions} parallelism={parallelism} interval_ms={} \
         client={client:.0}/s at_least_once={least:.0}/s exactly_once={exactly:.0}/s client_in_transactions={transactions:.0}/s \
         ratio_at_least_once={:.2} ratio_exactly_once={:.2} ratio_exactly_once_to_transactions={:.2}",
        interval.as_millis(),
        least / client,
        exactly / client,
        exactly / transactions,
    );
    Ok(())
}

fn copy(
    by: By,
    broker: &Broker,
    topics: (&str, &str),
    settings: &Settings,
    interval: Duration,
) -> thalweg::Result<f64> {
    let begin_ns = now_ns();
    match by {
        By::Client => by_client(broker, topics, settings, None)?,
        By::ClientInTransactions => by_client(broker, topics, settings, Some(interval))?,
        By::AtLeastOnce | By::ExactlyOnce => {
            let directory = Directory::new()?;
            let is_exact = by == By::ExactlyOnce;
            by_job(broker, topics, settings, (interval, is_exact), &directory.0)?;
        }
    }
    Ok(settings.records as f64 / ((now_ns() - begin_ns) as f64 / 1e9))
}

/// The map: a value with one bit flipped behind its number.
fn change(mut value: Vec<u8>) -> Vec<u8> {
    if let Some(byte) = value.get_mut(8) {
        *byte ^= 1;
    }
    value
}

fn by_client(
    broker: &Broker,
    (from, to): (&str, &str),
    settings: &Settings,
    commit_each: Option<Duration>,
) -> thalweg::Result {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.servers()).set("group.id", "copy-alone");
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
    CONSUMER.iter().for_each(|(name, value)| _ = config.set(*name, *value));
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..settings.partitions {
        assignment.add_partition_offset(from, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;

    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.servers()).set("acks", "all");
    config.set("enable.idempotence", "true");
    PRODUCER.iter().for_each(|(name, value)| _ = config.set(*name, *value));
    if commit_each.is_some() {
        config.set("transactional.id", format!("{to}-client"));
    }
    let producer: BaseProducer = config.create()?;
    if commit_each.is_some() {
        producer.init_transactions(LIMIT)?;
        producer.begin_transaction()?;
    }
    let group = consumer.group_metadata().ok_or("no group")?;
    let mut positions = TopicPartitionList::new();
    let mut commit = |offsets: &[i64]| -> thalweg::Result {
        for (partition, offset) in offsets.iter().enumerate() {
            positions.set_partition_offset_or_add(from, partition, *offset)?;
        }
        // As `commit_transaction` does, which waits in steps of 100 ms.
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::from_millis(1));
        }
        producer.send_offsets_to_transaction(&positions, &group, LIMIT)?;
        Ok(producer.commit_transaction(LIMIT)?)
    };
    let (mut open, mut count) = (settings.partitions, 0_u64);
    let mut offsets = vec![0_i64; usize::try_from(settings.partitions)?];
    let mut committed_ns = now_ns();
    while open > 0 {
        let message = match consumer.poll(LIMIT) {
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(_))) => {
                open -= 1;
                continue;
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Err("nothing came for a minute".into()),
        };
        let value = change(message.payload().unwrap_or_default().to_vec());
        offsets[usize::try_from(message.partition())?] = message.offset() + 1;
        let mut record: BaseRecord<'_, (), Vec<u8>> = BaseRecord::to(to).payload(&value);
        while let Err((error, refused)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(1));
            record = refused;
        }
        count += 1;
        if count % 256 == 0 {
            producer.poll(Duration::ZERO);
            if let Some(each) = commit_each
                && now_ns() - committed_ns >= u64::try_from(each.as_nanos())?
            {
                commit(&offsets)?;
                producer.begin_transaction()?;
                committed_ns = now_ns();
            }
        }
    }
    match commit_each {
        Some(_) => commit(&offsets),
        None => {
            while producer.in_flight_count() > 0 {
                producer.poll(Duration::from_millis(1));
            }
            Ok(())
        }
    }
}

trait SetOrAdd {
    fn set_partition_offset_or_add(
        &mut self,
        topic: &str,
        partition: usize,
        offset: i64,
    ) -> thalweg::Result;
}

impl SetOrAdd for TopicPartitionList {
    fn set_partition_offset_or_add(
        &mut self,
        topic: &str,
        partition: usize,
        offset: i64,
    ) -> thalweg::Result {
        let partition = i32::try_from(partition)?;
        match self.find_partition(topic, partition) {
            Some(mut found) => Ok(found.set_offset(Offset::Offset(offset))?),
            None => Ok(self.add_partition_offset(topic, partition, Offset::Offset(offset))?),
        }
    }
}

fn by_job(
    broker: &Broker,
    (from, to): (&str, &str),
    settings: &Settings,
    (interval, is_exact): (Duration, bool),
    directory: &Path,
) -> thalweg::Result {
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(settings.parallelism);
    env.enable_checkpointing(interval).at(directory);
    let source = KafkaSource::builder(broker.servers()).topics([from]).end_at(EndPosition::Latest);
    let source =
        CONSUMER.iter().fold(source, |source, (name, value)| source.property(*name, *value));
    let sink = KafkaSink::builder(broker.servers()).topic(to);
    let sink = PRODUCER.iter().fold(sink, |sink, (name, value)| sink.property(*name, *value));
    let sink = if is_exact { sink.exactly_once(to) } else { sink.at_least_once() };
    env.from_source(source.format(Bytes), "copy").map(change).sink_to(sink.format(Bytes));
    env.execute("copy")?;
    Ok(())
}

/// For checkpoints; removed with it.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    /// A new one.
    pub(crate) fn new() -> thalweg::Result<Self> {
        let path = std::env::temp_dir().join(format!("thalweg-bench-copy-{}", now_ns()));
        std::fs::create_dir_all(&path)?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
