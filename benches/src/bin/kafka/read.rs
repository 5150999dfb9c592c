//! Reading a topic from begin to end: the source alone, and the client's own consumer alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg::connector::kafka::{EndPosition, KafkaMessage, KafkaSource, from_fn};
use thalweg::prelude::*;
use thalweg_benches::now_ns;

use super::broker::{Broker, LIMIT};
use super::{Settings, median};

/// What both are set to.
const PROPERTIES: [(&str, &str); 3] = [
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.wait.max.ms", "20"),
    ("fetch.queue.backoff.ms", "5"),
];

/// Runs both, one after the other, as often as said.
pub(crate) fn run(broker: &Broker, settings: &Settings) -> thalweg::Result {
    let Settings { records, bytes, partitions, parallelism, rounds } = *settings;
    let topic = format!("read-{}", std::process::id());
    broker.create_topic(&topic, partitions)?;
    broker.fill(&topic, partitions, records, bytes)?;
    // The broker's cache is warm for both, and nobody is measured first.
    by_client(broker, &topic, settings)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let client = by_client(broker, &topic, settings)?;
        let source = by_source(broker, &topic, settings)?;
        println!(
            "read round={round} client={client:.0}/s source={source:.0}/s ratio={:.2}",
            source / client
        );
        theirs.push(client);
        ours.push(source);
    }
    let (source, client) = (median(ours), median(theirs));
    println!(
        "read records={records} bytes={bytes} partitions={partitions} parallelism={parallelism} client={client:.0}/s \
         source={source:.0}/s ratio={:.2}",
        source / client
    );
    Ok(())
}

/// Adds up what it reads, so that both look at each value.
fn checked(seen: (u64, u64), settings: &Settings, begin_ns: u64) -> thalweg::Result<f64> {
    let seconds = (now_ns() - begin_ns) as f64 / 1e9;
    let n = settings.records;
    let expected = (n, n.wrapping_mul(n.saturating_sub(1)) / 2);
    if seen != expected {
        return Err(format!("read (count, sum) {seen:?} where {expected:?} are there").into());
    }
    Ok(n as f64 / seconds)
}

fn number(value: Option<&[u8]>) -> u64 {
    let bytes = value.and_then(|value| value.first_chunk());
    bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

pub(crate) fn by_client(broker: &Broker, topic: &str, settings: &Settings) -> thalweg::Result<f64> {
    let begin_ns = now_ns();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.servers()).set("group.id", "read-alone");
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
    PROPERTIES.iter().for_each(|(name, value)| _ = config.set(*name, *value));
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..settings.partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let (mut open, mut count, mut sum) = (settings.partitions, 0, 0_u64);
    while open > 0 {
        match consumer.poll(LIMIT) {
            Some(Ok(message)) => {
                count += 1;
                sum = sum.wrapping_add(number(message.payload()));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(error.into()),
            None => return Err("nothing came for a minute".into()),
        }
    }
    checked((count, sum), settings, begin_ns)
}

fn by_source(broker: &Broker, topic: &str, settings: &Settings) -> thalweg::Result<f64> {
    let begin_ns = now_ns();
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(settings.parallelism);
    let source = KafkaSource::builder(broker.servers()).topics([topic]).end_at(EndPosition::Latest);
    let source =
        PROPERTIES.iter().fold(source, |source, (name, value)| source.property(*name, *value));
    let source = source.format(from_fn(|message: &KafkaMessage<'_>| Ok(number(message.value()))));
    let total = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let sum = total.clone();
    env.from_source(source, "read").for_each(move |n| {
        // Of one writer as a rule; two subtasks share it.
        sum.0.fetch_add(1, Ordering::Relaxed);
        sum.1.fetch_add(n, Ordering::Relaxed);
    });
    env.execute("read")?;
    let seen = (total.0.load(Ordering::Relaxed), total.1.load(Ordering::Relaxed));
    checked(seen, settings, begin_ns)
}
