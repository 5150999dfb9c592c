//! Topics as streams, with a real broker.
//!
//! The tests are ignored unless asked for (`cargo test -p thalweg-tests --features kafka --test kafka_source -- --ignored`): they
//! start a broker, for which `services/kafka.sh` needs Maven and Java. `.ci/run` has a step for them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "brokers take their time, and tests wait for them")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use thalweg::config::RestartKind;
use thalweg::connector::kafka::{
    Bytes, Csv, DeserializationSchema, EndPosition, Json, KafkaError, KafkaErrorKind, KafkaHeader,
    KafkaRecord, KafkaSource, MalformedRecord, OffsetReset, Offsets, Records, RkyvFormat,
    SerializationSchema, StartPosition, Text,
};
use thalweg::prelude::*;
use thalweg::{Error, JobFailure};
use thalweg_tests::kafka::Broker;

// Times in tests begin at a second: 0 is "now" for the client's producer.

/// Values of a partition: `p0-0`, `p0-1`, ..
fn values(partition: i32, numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| format!("p{partition}-{n:06}")).collect()
}

fn all_values(partitions: i32, numbers: std::ops::Range<u64>) -> Vec<String> {
    (0..partitions).flat_map(|partition| values(partition, numbers.clone())).collect()
}

/// A topic with the same number of values in each partition.
fn filled(topic: &str, partitions: i32, numbers: std::ops::Range<u64>) -> &'static Broker {
    let broker = Broker::shared();
    broker.create_topic(topic, partitions);
    fill(broker, topic, partitions, numbers);
    broker
}

fn fill(broker: &Broker, topic: &str, partitions: i32, numbers: std::ops::Range<u64>) {
    let producer = broker.producer();
    for partition in 0..partitions {
        producer.send(topic, partition, values(partition, numbers.clone()));
    }
    producer.flush();
}

fn texts(broker: &Broker, topic: &str) -> KafkaSource<Text> {
    KafkaSource::builder(broker.servers()).topics([topic]).format(Text)
}

fn env(parallelism: usize) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(parallelism);
    env
}

/// All records of a bounded source.
fn read<F: DeserializationSchema>(source: KafkaSource<F>, parallelism: usize) -> Vec<F::Out> {
    let env = env(parallelism);
    let records = env.from_source(source, "kafka").collect();
    env.execute("read").unwrap();
    records.take()
}

fn failure_of(env: &StreamExecutionEnvironment, job: &str) -> JobFailure {
    match env.execute(job) {
        Err(Error::Job(failure)) => failure,
        Err(other) => panic!("not a failure of the job: {other}"),
        Ok(_) => panic!("the job should have failed"),
    }
}

/// The typed error that a job failed with, and the whole text.
fn cause_of(failure: &JobFailure) -> (KafkaError, String) {
    let cause = failure.cause.as_deref().and_then(|cause| cause.downcast_ref::<KafkaError>());
    (cause.unwrap_or_else(|| panic!("not typed: {failure}")).clone(), failure.to_string())
}

fn refusal<F: DeserializationSchema>(source: KafkaSource<F>) -> (KafkaError, String) {
    let env = env(1);
    env.from_source(source, "kafka").collect();
    cause_of(&failure_of(&env, "refused"))
}

#[track_caller]
fn is_refused(
    (error, text): (KafkaError, String),
    kind: KafkaErrorKind,
    words: &[&str],
) -> KafkaError {
    assert_eq!(error.kind(), kind, "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{word} is not in: {text}"));
    error
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited a minute until {what}");
}

/// Has the source read so many records?
fn has_read(job: &JobHandle, records: u64) -> bool {
    let metrics = job.metrics();
    metrics.vertices.first().is_some_and(|source| source.total.records_in >= records)
}

/// Cancels a job that does not end by itself.
fn cancel(job: &JobHandle) {
    job.cancel();
    assert!(matches!(job.wait(), Err(Error::Cancelled(_))));
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort();
    values
}

#[test]
#[ignore = "needs a broker"]
fn all_partitions_are_read_in_order_by_any_number_of_subtasks() {
    let broker = filled("all", 3, 0..2_000);
    for parallelism in [1, 2, 5] {
        let records = read(texts(broker, "all").end_at(EndPosition::Latest), parallelism);
        for partition in 0..3 {
            let of = format!("p{partition}-");
            let own: Vec<_> =
                records.iter().filter(|text| text.starts_with(&of)).cloned().collect();
            assert_eq!(own, values(partition, 0..2_000), "{parallelism} subtasks");
        }
        assert_eq!(records.len(), 6_000);
    }
}

#[test]
#[ignore = "needs a broker"]
fn records_come_whole() {
    let broker = Broker::shared();
    broker.create_topic("whole", 2);
    let producer = broker.producer();
    producer.send_whole("whole", 1, b"k1", Some(b"v1"), &[("a", b"1"), ("a", b"2"), ("b", b"")]);
    producer.send_whole("whole", 1, b"k2", None, &[]);
    producer.send_at("whole", 0, [(1_234, "timed")]).flush();
    let source = KafkaSource::builder(broker.servers()).topics(["whole"]).format(Records);
    let mut records = read(source.end_at(EndPosition::Latest), 1);
    records.sort_by_key(|record| (record.partition, record.offset));
    let [timed, first, tombstone] = &records[..] else { panic!("{records:?}") };
    assert_eq!((timed.timestamp_ms, timed.value.as_deref()), (Some(1_234), Some(&b"timed"[..])));
    assert_eq!((timed.key.clone(), timed.headers.len()), (None, 0));
    let header =
        |name: &str, value: &str| KafkaHeader { name: name.into(), value: Some(value.into()) };
    assert!(first.timestamp_ms.is_some());
    let expected = KafkaRecord {
        topic: "whole".into(),
        partition: Some(1),
        offset: Some(0),
        timestamp_ms: first.timestamp_ms,
        key: Some(b"k1".to_vec()),
        value: Some(b"v1".to_vec()),
        headers: vec![header("a", "1"), header("a", "2"), header("b", "")],
    };
    assert_eq!(*first, expected);
    assert_eq!((tombstone.offset, tombstone.value.clone()), (Some(1), None));
    assert_eq!(tombstone.key.as_deref(), Some(&b"k2"[..]));
}

#[test]
#[ignore = "needs a broker"]
fn formats_read_what_was_written() {
    #[thalweg::record]
    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Order {
        id: u64,
        item: String,
    }
    let broker = Broker::shared();
    let orders: Vec<Order> =
        (0..100).map(|id| Order { id, item: format!("item {id}, \"x\"") }).collect();
    fn round<F>(broker: &Broker, topic: &str, mut format: F, orders: &[Order])
    where
        F: DeserializationSchema<Out = Order> + SerializationSchema<Order>,
    {
        broker.create_topic(topic, 1);
        let bytes = |order: &Order| {
            let mut bytes = Vec::new();
            format.serialize(order, &mut bytes).unwrap();
            bytes
        };
        let bytes: Vec<Vec<u8>> = orders.iter().map(bytes).collect();
        broker.producer().send(topic, 0, bytes).flush();
        let source = KafkaSource::builder(broker.servers()).topics([topic]).format(format);
        assert_eq!(read(source.end_at(EndPosition::Latest), 1), orders);
    }
    round(broker, "orders-json", Json::<Order>::new(), &orders);
    round(broker, "orders-csv", Csv::<Order>::new(), &orders);
    round(broker, "orders-rkyv", RkyvFormat::<Order>::new(), &orders);

    // Another program has written another type.
    let source = KafkaSource::builder(broker.servers()).topics(["orders-rkyv"]);
    let error = refusal(source.format(RkyvFormat::<(u64, u64)>::new()));
    let words = [
        "schema mismatch",
        "topic 'orders-rkyv', partition 0, offset 0",
        "with the type it was written",
    ];
    is_refused(error, KafkaErrorKind::Malformed, &words);
    let source = KafkaSource::builder(broker.servers()).topics(["orders-json"]);
    let error = refusal(source.format(RkyvFormat::<Order>::new()));
    is_refused(error, KafkaErrorKind::Malformed, &["does not begin as an archive"]);
}

#[test]
#[ignore = "needs a broker"]
fn reading_begins_where_it_is_told() {
    let broker = Broker::shared();
    broker.create_topic("starts", 2);
    let producer = broker.producer();
    for partition in 0..2 {
        let timed =
            values(partition, 0..10).into_iter().zip(1..).map(|(value, n)| (n * 1_000, value));
        producer.send_at("starts", partition, timed);
    }
    producer.flush();
    let from = |start| {
        let source = texts(broker, "starts").start_from(start).end_at(EndPosition::Latest);
        sorted(read(source, 2))
    };
    assert_eq!(from(StartPosition::Earliest), all_values(2, 0..10));
    assert_eq!(from(StartPosition::Latest), Vec::<String>::new());
    assert_eq!(from(StartPosition::Timestamp(7_001)), all_values(2, 7..10));
    assert_eq!(from(StartPosition::Timestamp(100_000)), Vec::<String>::new());
    let offsets = Offsets::new().with("starts", 1, 8);
    let expected = [values(0, 0..10), values(1, 8..10)].concat();
    assert_eq!(from(StartPosition::Offsets(offsets)), expected);

    let start = |offsets| texts(broker, "starts").start_from(StartPosition::Offsets(offsets));
    let error = refusal(start(Offsets::new().with("starts", 1, 11)));
    let words = ["partition 1, offset 11", "not within 0..=10", "name an offset within"];
    is_refused(error, KafkaErrorKind::OffsetOutOfRange, &words);
    let error = refusal(start(Offsets::new().with("starts", 2, 0)));
    is_refused(error, KafkaErrorKind::UnknownPartition, &["topic 'starts', partition 2"]);
}

#[test]
#[ignore = "needs a broker"]
fn latest_sees_only_what_comes() {
    let broker = filled("latest", 2, 0..100);
    let env = env(2);
    let records =
        env.from_source(texts(broker, "latest").start_from(StartPosition::Latest), "kafka");
    let records = records.collect();
    let job = env.execute_async("latest").unwrap();
    let producer = broker.producer();
    let mut sent = 0;
    eventually("something comes", || {
        producer.send("latest", 0, [format!("new {sent}")]).flush();
        sent += 1;
        std::thread::sleep(Duration::from_millis(50));
        !records.is_empty()
    });
    cancel(&job);
    let came = records.take();
    assert!(came.iter().all(|text| text.starts_with("new ")), "{came:?}");
}

#[test]
#[ignore = "needs a broker"]
fn reading_ends_where_it_is_told() {
    let broker = Broker::shared();
    broker.create_topic("ends", 2);
    let producer = broker.producer();
    for partition in 0..2 {
        let timed =
            values(partition, 0..10).into_iter().zip(1..).map(|(value, n)| (n * 1_000, value));
        producer.send_at("ends", partition, timed);
    }
    producer.flush();
    let to = |end| sorted(read(texts(broker, "ends").end_at(end), 2));
    assert_eq!(to(EndPosition::Latest), all_values(2, 0..10));
    assert_eq!(to(EndPosition::Timestamp(4_500)), all_values(2, 0..4));
    assert_eq!(to(EndPosition::Timestamp(100_000)), all_values(2, 0..10));
    let offsets = Offsets::new().with("ends", 0, 0).with("ends", 1, 4);
    assert_eq!(to(EndPosition::Offsets(offsets)), values(1, 0..4));

    let source =
        texts(broker, "ends").end_at(EndPosition::Offsets(Offsets::new().with("ends", 0, 1)));
    is_refused(refusal(source), KafkaErrorKind::Setting, &["partition 1", "no end offset"]);

    // What is not there yet is waited for.
    let offsets = Offsets::new().with("ends", 0, 12).with("ends", 1, 10);
    let env = env(1);
    let source = texts(broker, "ends").end_at(EndPosition::Offsets(offsets));
    let records = env.from_source(source, "kafka").collect();
    let job = env.execute_async("waits").unwrap();
    eventually("what is there has come", || records.len() == 20);
    assert!(!job.is_finished());
    broker.producer().send("ends", 0, values(0, 10..15)).flush();
    job.wait().unwrap();
    let expected = [values(0, 0..12), values(1, 0..10)].concat();
    assert_eq!(records.take_sorted(), expected);
}

#[test]
#[ignore = "needs a broker"]
fn aborted_and_open_transactions_are_not_read_and_do_not_keep_the_end_away() {
    let broker = Broker::shared();
    broker.create_topic("transactions", 1);
    let (writer, open) =
        (broker.transactional_producer("t-writer"), broker.transactional_producer("t-open"));
    writer.begin().send("transactions", 0, ["a", "b"]).commit();
    writer.begin().send("transactions", 0, ["no 1", "no 2"]).abort();
    let read_all = |source: KafkaSource<Text>| read(source.end_at(EndPosition::Latest), 1);
    // The log ends with aborted records and their marker, and no record will ever come there.
    assert_eq!(read_all(texts(broker, "transactions")), ["a", "b"]);
    writer.begin().send("transactions", 0, ["c"]).commit();
    open.begin().send("transactions", 0, ["open"]).flush();
    writer.begin().send("transactions", 0, ["behind"]).commit();
    // What is behind the beginning of an open transaction is not there yet.
    assert_eq!(read_all(texts(broker, "transactions")), ["a", "b", "c"]);
    let all = read_all(texts(broker, "transactions").read_uncommitted());
    assert_eq!(all, ["a", "b", "no 1", "no 2", "c", "open", "behind"]);
    // An end amid what was aborted (offsets 3 and 4) is passed by position, not by a record.
    let end = EndPosition::Offsets(Offsets::new().with("transactions", 0, 4));
    assert_eq!(read(texts(broker, "transactions").end_at(end), 1), ["a", "b"]);
    open.commit();
    assert_eq!(read_all(texts(broker, "transactions")), ["a", "b", "c", "open", "behind"]);
}

#[test]
#[ignore = "needs a broker"]
fn positions_of_checkpoints_are_committed_to_the_group_and_can_be_begun_at() {
    let broker = filled("groups", 2, 0..500);
    let source = || texts(broker, "groups").group_id("groups-1");
    let committed = |or| source().start_from(StartPosition::Committed { or });
    let error = refusal(committed(OffsetReset::Fail).end_at(EndPosition::Latest));
    let words = ["has committed no offset", "or: OffsetReset::Earliest"];
    is_refused(error, KafkaErrorKind::OffsetOutOfRange, &words);

    let env = env(2);
    env.enable_checkpointing(Duration::from_millis(20));
    let start = committed(OffsetReset::Earliest);
    let records = env.from_source(start, "kafka").collect();
    let job = env.execute_async("commits").unwrap();
    let both = || [0, 1].map(|partition| broker.committed_offset("groups-1", "groups", partition));
    eventually("both are committed", || both() == [Some(500), Some(500)]);
    cancel(&job);
    assert_eq!(records.take_sorted(), all_values(2, 0..500));

    fill(broker, "groups", 2, 500..510);
    let next = committed(OffsetReset::Fail).end_at(EndPosition::Latest);
    assert_eq!(sorted(read(next, 1)), all_values(2, 500..510));

    // Without checkpoints nothing is committed, and nothing of other groups is begun at.
    assert_eq!(both(), [Some(500), Some(500)]);
    broker.commit_offset("groups-1", "groups", 0, 505);
    let next = committed(OffsetReset::Fail).end_at(EndPosition::Latest);
    let expected = [values(0, 505..510), values(1, 500..510)].concat();
    assert_eq!(sorted(read(next, 1)), expected);
}

#[test]
#[ignore = "needs a broker"]
fn new_partitions_and_topics_are_found() {
    let broker = filled("found-1", 1, 0..10);
    let env = env(2);
    let source = KafkaSource::builder(broker.servers()).topic_pattern("found-[0-9]+").format(Text);
    // Partitions that are found later begin at their first record all the same.
    let source =
        source.start_from(StartPosition::Latest).discover_every(Duration::from_millis(100));
    let records = env.from_source(source, "kafka").collect();
    let job = env.execute_async("finds").unwrap();
    eventually("the first partition is read", || {
        broker.producer().send("found-1", 0, ["new"]).flush();
        std::thread::sleep(Duration::from_millis(100));
        !records.is_empty()
    });
    broker.add_partitions("found-1", 3);
    broker.producer().send("found-1", 1, ["one"]).send("found-1", 2, ["two"]).flush();
    broker.create_topic("found-22", 1);
    broker.create_topic("not-found-3", 1);
    broker.producer().send("found-22", 0, ["other topic"]).send("not-found-3", 0, ["no"]).flush();
    let mut came = Vec::new();
    eventually("all are found", || {
        came.extend(records.take());
        ["one", "two", "other topic"].iter().all(|text| came.iter().any(|came| came == text))
    });
    cancel(&job);
    assert!(
        came.iter().all(|text| ["new", "one", "two", "other topic"].contains(&&**text)),
        "{came:?}"
    );
}

#[test]
#[ignore = "needs a broker"]
fn what_is_not_there_is_an_error_with_a_remedy() {
    let broker = Broker::shared();
    let error = refusal(texts(broker, "no-such-topic"));
    let error =
        is_refused(error, KafkaErrorKind::UnknownTopic, &["'no-such-topic'", "create the topic"]);
    assert_eq!(error.topic(), Some("no-such-topic"));
    let source = KafkaSource::builder(broker.servers()).topic_pattern("no-such-.*");
    let error = refusal(source.end_at(EndPosition::Latest));
    is_refused(error, KafkaErrorKind::UnknownTopic, &["no topic matches the pattern"]);
    // Nobody listens on port 1.
    let source = KafkaSource::builder("127.0.0.1:1").topics(["any"]);
    let error = refusal(source.startup_timeout(Duration::from_secs(2)));
    let words = ["no broker answered at '127.0.0.1:1' within 2 s", "advertised.listeners"];
    is_refused(error, KafkaErrorKind::Unreachable, &words);
}

/// Counts each value in keyed state: whoever was read twice has a 2.
fn write_counts(
    env: &StreamExecutionEnvironment,
    source: KafkaSource<Text>,
    mut at_each: impl FnMut() + Clone + Send + 'static,
) -> Collected<(String, u64)> {
    let texts = env.from_source(source, "kafka").map(move |text| {
        at_each();
        text
    });
    let counts = texts.key_by(|text: &String| text.clone()).scan(0_u64, |count, text| {
        *count += 1;
        (text, *count)
    });
    counts.collect()
}

/// Each value was counted once.
#[track_caller]
fn check_counts(counts: Vec<(String, u64)>, expected: Vec<String>) {
    let mut highest = BTreeMap::new();
    for (text, count) in counts {
        let before = highest.entry(text).or_insert(0);
        *before = count.max(*before);
    }
    assert_eq!(highest.keys().cloned().collect::<Vec<_>>(), expected);
    let twice: Vec<_> = highest.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

fn checkpointed(parallelism: usize, directory: Option<&Path>) -> StreamExecutionEnvironment {
    let env = env(parallelism);
    env.configure(|c| c.restart_strategy(RestartKind::FixedDelay).batch_records(64));
    env.configure(|c| c.restart_delay(Duration::from_millis(1)).restart_attempts(100));
    let checkpointing = env.enable_checkpointing(Duration::from_millis(5));
    if let Some(directory) = directory {
        checkpointing.at(directory);
    }
    env
}

#[test]
#[ignore = "needs a broker"]
fn a_job_that_fails_midway_counts_each_record_once() {
    let broker = filled("midway", 3, 0..4_000);
    for parallelism in [1, 2] {
        let env = checkpointed(parallelism, None);
        let (read, failures) = (Arc::new(AtomicU64::new(0)), 3);
        let at_each = {
            let read = read.clone();
            move || {
                let n = read.fetch_add(1, Ordering::Relaxed) + 1;
                if n % 200 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
                assert!(n % 3_000 != 0 || n / 3_000 > failures, "on purpose");
            }
        };
        let source = texts(broker, "midway").end_at(EndPosition::Latest);
        let counts = write_counts(&env, source, at_each);
        let job = env.execute_async("midway").unwrap();
        job.wait().unwrap();
        assert_eq!(u64::from(job.checkpoints().restarts), failures);
        check_counts(counts.take(), all_values(3, 0..4_000));
    }
}

#[test]
#[ignore = "needs a broker"]
fn a_job_goes_on_in_the_next_process() {
    let broker = filled("next", 2, 0..1_000);
    let directory = tempfile::tempdir().unwrap();
    let mut counts = Vec::new();
    for round in 1..=3 {
        let env = checkpointed(2, Some(directory.path()));
        let source = texts(broker, "next").start_from(StartPosition::Earliest);
        let collected = write_counts(&env, source, || {});
        let job = env.execute_async("next").unwrap();
        eventually("what is there has come", || {
            counts.extend(collected.take());
            counts.len() == 2_000 * round
        });
        job.stop();
        job.wait().unwrap();
        let begin = 1_000 * round as u64;
        fill(broker, "next", 2, begin..begin + 1_000);
    }
    check_counts(counts, all_values(2, 0..3_000));
}

#[test]
#[ignore = "needs a broker"]
fn positions_that_are_lost_are_refused_and_never_reset() {
    let broker = filled("lost", 1, 0..100);
    let directory = tempfile::tempdir().unwrap();
    let write = || {
        let env = checkpointed(1, Some(directory.path()));
        let counts = write_counts(&env, texts(broker, "lost"), || {});
        (env, counts)
    };
    let (env, counts) = write();
    let job = env.execute_async("lost").unwrap();
    eventually("all has come", || counts.len() == 100);
    job.stop();
    job.wait().unwrap();

    // Retention overtakes the job while it is away.
    fill(broker, "lost", 1, 100..300);
    broker.delete_records("lost", 0, 200);
    let (env, counts) = write();
    let error = is_refused(
        cause_of(&failure_of(&env, "lost")),
        KafkaErrorKind::OffsetOutOfRange,
        &["topic 'lost', partition 0, offset 100", "the first one kept is 200", "retention.ms"],
    );
    assert_eq!((error.partition(), error.offset()), (Some(0), Some(100)));
    assert!(counts.is_empty());

    // Another topic of the same name is another topic, though it has such offsets, too.
    broker.delete_topic("lost");
    filled("lost", 1, 0..300);
    let (env, counts) = write();
    let words = ["topic 'lost'", "deleted and created again", "begin without the checkpoint"];
    is_refused(cause_of(&failure_of(&env, "lost")), KafkaErrorKind::TopicReplaced, &words);
    assert!(counts.is_empty());
}

#[test]
#[ignore = "needs a broker"]
fn a_topic_that_goes_away_fails_the_job() {
    let broker = filled("gone", 1, 0..10);
    let env = env(1);
    let source = texts(broker, "gone").discover_every(Duration::from_millis(200));
    let records = env.from_source(source, "kafka").collect();
    let job = env.execute_async("gone").unwrap();
    eventually("all has come", || records.len() == 10);
    broker.delete_topic("gone");
    let Err(Error::Job(failure)) = job.wait() else { panic!("it cannot go on") };
    is_refused(cause_of(&failure), KafkaErrorKind::TopicReplaced, &["topic 'gone'"]);
}

#[test]
#[ignore = "needs a broker"]
fn malformed_records_go_where_they_are_told() {
    let broker = Broker::shared();
    broker.create_topic("malformed", 1);
    let records = ["1", "2", "x", "4", "\"five\""];
    let producer = broker.producer();
    producer.send("malformed", 0, records);
    producer.send_whole("malformed", 0, b"key", None, &[]).send("malformed", 0, ["7"]).flush();
    let source = || {
        let source = KafkaSource::builder(broker.servers()).topics(["malformed"]);
        source.format(Json::<u64>::new()).end_at(EndPosition::Latest)
    };
    let words =
        ["topic 'malformed', partition 0, offset 2", "expected value", "Malformed::SkipAndCount"];
    is_refused(refusal(source()), KafkaErrorKind::Malformed, &words);

    let skipping = env(1);
    let numbers = skipping.from_source(source().on_malformed(Malformed::SkipAndCount), "kafka");
    let numbers = numbers.collect();
    let job = skipping.execute_async("skips").unwrap();
    job.wait().unwrap();
    assert_eq!(numbers.take(), [1, 2, 4, 7]);
    assert_eq!(job.metrics().vertices[0].total.records_skipped, 3);

    let env = env(1);
    let dead = OutputTag::<MalformedRecord>::new("dead letters");
    let numbers = env.from_source(source().results(), "kafka").divert_errors(&dead);
    let dead = numbers.side_output(&dead).collect();
    let numbers = numbers.collect();
    env.execute("dead letters").unwrap();
    assert_eq!(numbers.take(), [1, 2, 4, 7]);
    let dead = dead.take();
    let places: Vec<_> = dead.iter().map(|dead| (dead.offset, dead.value.as_deref())).collect();
    assert_eq!(places, [(2, Some(&b"x"[..])), (4, Some(&b"\"five\""[..])), (5, None)]);
    assert_eq!((&*dead[0].topic, dead[0].partition), ("malformed", 0));
    assert!(dead[0].error.contains("expected value") && dead[2].error.contains("tombstone"));
    assert_eq!(dead[2].key.as_deref(), Some(&b"key"[..]));
}

/// Counts by windows of a second, by the records' own time.
fn write_windows(
    env: &StreamExecutionEnvironment,
    source: KafkaSource<Text>,
    idle_after: Option<Duration>,
    mut at_each: impl FnMut() + Clone + Send + 'static,
) -> (Collected<u64>, Collected<String>) {
    let strategy = WatermarkStrategy::monotonous();
    let strategy = match idle_after {
        Some(timeout) => strategy.with_idleness(timeout),
        None => strategy,
    };
    let late = OutputTag::<String>::new("late");
    let windows = env
        .from_source_with(source, strategy, "kafka")
        .map(move |text| {
            at_each();
            text
        })
        .key_by(|_| 0_u8)
        .window(TumblingEventTimeWindows::of(seconds(1)))
        .side_output_late_data(&late)
        .aggregate(Count);
    let late = windows.side_output(&late).collect();
    (windows.collect(), late)
}

#[test]
#[ignore = "needs a broker"]
fn each_partition_has_a_watermark_of_its_own() {
    let broker = Broker::shared();
    broker.create_topic("watermarks", 2);
    let producer = broker.producer();
    // One partition is hours ahead of the other.
    let timed = |hours: i64| (0..5_000_i64).map(move |n| (hours * 3_600_000 + n * 10 + 1_000, "x"));
    producer.send_at("watermarks", 1, timed(10)).send_at("watermarks", 0, timed(0)).flush();
    let env = env(1);
    let source = texts(broker, "watermarks").end_at(EndPosition::Latest);
    let (counts, late) = write_windows(&env, source, None, || {});
    env.execute("watermarks").unwrap();
    assert_eq!(late.len(), 0);
    assert_eq!(counts.take(), [100; 100]);
}

#[test]
#[ignore = "needs a broker"]
fn watermarks_of_partitions_go_on_after_a_failure() {
    let broker = Broker::shared();
    broker.create_topic("watermarks-2", 2);
    let producer = broker.producer();
    let timed = |hours: i64| (0..5_000_i64).map(move |n| (hours * 3_600_000 + n * 10 + 1_000, "x"));
    producer.send_at("watermarks-2", 1, timed(10)).send_at("watermarks-2", 0, timed(0)).flush();
    let env = checkpointed(1, None);
    let read = Arc::new(AtomicU64::new(0));
    let source = texts(broker, "watermarks-2").end_at(EndPosition::Latest);
    let (counts, late) = write_windows(&env, source, None, move || {
        let n = read.fetch_add(1, Ordering::Relaxed) + 1;
        if n.is_multiple_of(200) {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(n != 3_000 && n != 6_000, "on purpose");
    });
    let job = env.execute_async("watermarks").unwrap();
    job.wait().unwrap();
    assert_eq!(job.checkpoints().restarts, 2);
    assert_eq!(late.len(), 0);
    // A window may fire again after a restart; it has all of its records then, too.
    let counts = counts.take();
    assert!(counts.len() >= 100 && counts.iter().all(|count| *count == 100), "{counts:?}");
}

#[test]
#[ignore = "needs a broker"]
fn a_partition_without_records_holds_back_unless_it_is_idle() {
    let broker = Broker::shared();
    broker.create_topic("idle", 2);
    let producer = broker.producer();
    producer.send_at("idle", 0, (0..1_000_i64).map(|n| (n * 10 + 1_000, "x"))).flush();
    for (idle_after, is_held) in [(None, true), (Some(Duration::from_millis(200)), false)] {
        let env = env(1);
        let (counts, _late) = write_windows(&env, texts(broker, "idle"), idle_after, || {});
        let job = env.execute_async("idle").unwrap();
        if is_held {
            eventually("all is read", || has_read(&job, 1_000));
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(counts.len(), 0);
        } else {
            // The window that has not ended stays open.
            eventually("windows fire", || counts.len() == 9);
        }
        cancel(&job);
    }
}

#[test]
#[ignore = "needs a broker"]
fn large_records_pass_through_small_buffers() {
    let broker = Broker::shared();
    broker.create_topic_with("large", 1, &[("max.message.bytes", "4000000")]);
    let sizes = [10, 700_000, 0, 900_000, 130_000, 1, 900_000];
    let values: Vec<Vec<u8>> = sizes.iter().map(|size| vec![b'x'; *size]).collect();
    broker.producer().send("large", 0, &values).flush();
    let source = KafkaSource::builder(broker.servers()).topics(["large"]).format(Bytes);
    let source = source.buffer_bytes(0).property("fetch.message.max.bytes", "1000");
    let read = read(source.end_at(EndPosition::Latest), 1);
    assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
    assert!(read == values);
}

#[test]
#[ignore = "needs a broker"]
fn a_slow_job_holds_the_reader_back() {
    let broker = filled("slow", 1, 0..50_000);
    let env = env(1);
    let is_open = Arc::new(AtomicBool::new(false));
    let gate = is_open.clone();
    let source = texts(broker, "slow").buffer_bytes(0).end_at(EndPosition::Latest);
    let records = env.from_source(source, "kafka").map(move |text| {
        while !gate.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        text
    });
    let records = records.collect();
    let job = env.execute_async("slow").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!job.is_finished() && records.is_empty());
    is_open.store(true, Ordering::Relaxed);
    job.wait().unwrap();
    assert_eq!(records.take(), values(0, 0..50_000));
}

#[test]
#[ignore = "needs a broker"]
fn a_broker_that_goes_away_and_comes_back_loses_nothing() {
    let broker = Broker::start();
    broker.create_topic("away", 2);
    fill(&broker, "away", 2, 0..1_000);
    let env = checkpointed(2, None);
    let source = texts(&broker, "away").discover_every(Duration::from_millis(500));
    let counts = write_counts(&env, source, || {});
    let job = env.execute_async("away").unwrap();
    eventually("the first have come", || counts.len() == 2_000);
    // It is killed, and is back after a while.
    broker.kill();
    std::thread::sleep(Duration::from_secs(3));
    broker.start_again();
    fill(&broker, "away", 2, 1_000..2_000);
    eventually("the next have come", || counts.len() == 4_000);
    // It stands still for longer than requests wait.
    broker.freeze();
    std::thread::sleep(Duration::from_secs(8));
    assert!(!job.is_finished());
    broker.thaw();
    fill(&broker, "away", 2, 2_000..3_000);
    eventually("the last have come", || counts.len() == 6_000);
    assert_eq!(job.checkpoints().restarts, 0);
    cancel(&job);
    check_counts(counts.take(), all_values(2, 0..3_000));
}
