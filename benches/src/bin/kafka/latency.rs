//! From a record's send into one topic to its arrival from another, over a job that copies with checkpoints.
//!
//! A producer sends paced records with the time in front; a job copies them; a consumer of committed records takes the time. All
//! in one process, so one clock. For comparison the same without transactions, where the interval of checkpoints plays no part.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg::connector::kafka::{Bytes, KafkaSink, KafkaSource};
use thalweg::prelude::*;
use thalweg_benches::now_ns;

use super::Settings;
use super::broker::{Broker, LIMIT};
use super::copy::Directory;

/// Not looked at: the job has just begun.
const WARM_UP: Duration = Duration::from_secs(5);
/// Of both producers. Without it each record is a request of its own, of which a broker that shares two cores with all the others
/// here answers fewer than 10,000 a second.
const LINGER_MS: &str = "2";

/// Measures at `rate` records a second for `seconds`.
pub(crate) fn run(
    broker: &Broker,
    settings: &Settings,
    interval: Duration,
    (rate, seconds): (u64, u64),
) -> thalweg::Result {
    for is_exact in [false, true] {
        let name = if is_exact { "exactly_once" } else { "at_least_once" };
        let latencies = measure(broker, settings, (interval, is_exact), (rate, seconds))?;
        let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e6;
        println!(
            "latency by={name} rate={rate}/s bytes={} partitions={} interval_ms={} records={} p50={:.1}ms p90={:.1}ms \
             p99={:.1}ms max={:.1}ms",
            settings.bytes,
            settings.partitions,
            interval.as_millis(),
            latencies.len(),
            ms(0.5),
            ms(0.9),
            ms(0.99),
            latencies.max() as f64 / 1e6,
        );
    }
    Ok(())
}

fn measure(
    broker: &Broker,
    settings: &Settings,
    (interval, is_exact): (Duration, bool),
    (rate, seconds): (u64, u64),
) -> thalweg::Result<Histogram<u64>> {
    let (from, to) = (format!("latency-from-{is_exact}"), format!("latency-to-{is_exact}"));
    for topic in [&from, &to] {
        broker.create_topic(topic, settings.partitions)?;
    }
    let directory = Directory::new()?;
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(settings.parallelism);
    env.enable_checkpointing(interval).at(&directory.0);
    let source = KafkaSource::builder(broker.servers()).topics([&*from]).format(Bytes);
    let source = source.property("fetch.wait.max.ms", "5");
    let sink = KafkaSink::builder(broker.servers()).topic(&*to).property("linger.ms", LINGER_MS);
    let sink = if is_exact { sink.exactly_once(&*to) } else { sink.at_least_once() };
    env.from_source(source, "copy").map(|value| value).sink_to(sink.format(Bytes));
    let job = env.execute_async("latency")?;

    let is_over = Arc::new(AtomicBool::new(false));
    let sender = {
        let (config, bytes, is_over) = (client(broker), settings.bytes.max(8), is_over.clone());
        #[expect(clippy::disallowed_methods, reason = "who sends is no part of the job")]
        std::thread::spawn(move || -> Result<(), String> {
            let sent = send(&config, &from, bytes, (rate, seconds)).map_err(|e| e.to_string());
            is_over.store(true, Ordering::Release);
            sent
        })
    };
    let latencies = receive(broker, &to, settings, &is_over)?;
    sender.join().map_err(|_| "the sender panicked")??;
    job.stop();
    job.wait()?;
    Ok(latencies)
}

fn client(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.servers());
    config
}

fn send(
    config: &ClientConfig,
    topic: &str,
    bytes: usize,
    (rate, seconds): (u64, u64),
) -> thalweg::Result {
    let mut config = config.clone();
    let producer: BaseProducer = config.set("linger.ms", LINGER_MS).create()?;
    let (begin_ns, mut value) = (now_ns(), vec![b'x'; bytes]);
    for n in 0..rate * seconds {
        let due_ns = begin_ns + n * 1_000_000_000 / rate;
        while now_ns() < due_ns {
            producer.poll(Duration::ZERO);
            #[expect(clippy::disallowed_methods, reason = "a paced sender")]
            std::thread::sleep(Duration::from_micros(200));
        }
        // When it was due: what waits in a queue counts.
        value[..8].copy_from_slice(&due_ns.to_be_bytes());
        let record: BaseRecord<'_, (), Vec<u8>> = BaseRecord::to(topic).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(LIMIT)?)
}

fn receive(
    broker: &Broker,
    topic: &str,
    settings: &Settings,
    is_over: &AtomicBool,
) -> thalweg::Result<Histogram<u64>> {
    let mut config = client(broker);
    config.set("group.id", "latency").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "5");
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..settings.partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut latencies = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
    let mut first_ns = None;
    loop {
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => {
                let now_ns = now_ns();
                let due_ns = message.payload().and_then(|value| value.first_chunk());
                let due_ns = u64::from_be_bytes(*due_ns.ok_or("no time in front")?);
                let first_ns = *first_ns.get_or_insert(due_ns);
                if due_ns - first_ns.min(due_ns) >= WARM_UP.as_nanos() as u64 {
                    latencies.record(now_ns.saturating_sub(due_ns).max(1))?;
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => return Err(error.into()),
            None if is_over.load(Ordering::Acquire) => return Ok(latencies),
            None => {}
        }
    }
}
