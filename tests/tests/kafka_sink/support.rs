//! Jobs of numbers, and what a topic has of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use thalweg::Error;
use thalweg::config::RestartKind;
use thalweg::connector::kafka::{
    Formatted, KafkaError, KafkaErrorKind, KafkaSink, KafkaSinkBuilder, Text,
};
use thalweg::prelude::*;
use thalweg_tests::kafka::{Broker, Message, Read, is_settled};

/// Keys of numbers.
pub(super) const KEYS: i64 = 7;

/// An environment with checkpoints, which fails at the first failure.
pub(super) fn env(parallelism: usize, checkpoints: Option<&Path>) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::new();
    env.configure(|c| c.parallelism(parallelism).restart_strategy(RestartKind::Never));
    env.configure(|c| c.batch_records(64));
    let checkpointing = env.enable_checkpointing(Duration::from_millis(50));
    if let Some(directory) = checkpoints {
        checkpointing.at(directory);
    }
    env
}

pub(super) fn exactly_once(broker: &Broker, topic: &str) -> KafkaSinkBuilder {
    KafkaSink::builder(broker.servers()).topic(topic).exactly_once(format!("{topic}-writer"))
}

/// Numbers as text, under a few keys.
pub(super) fn numbers(
    builder: KafkaSinkBuilder,
) -> KafkaSink<Formatted<(i64, String), NumberText>> {
    builder.format(NumberText(Text)).key_by(|(n, _): &(i64, String)| (n % KEYS).to_string())
}

/// The text alone.
#[derive(Clone)]
pub(super) struct NumberText(Text);

impl thalweg::connector::kafka::SerializationSchema<(i64, String)> for NumberText {
    fn serialize(
        &mut self,
        (_, text): &(i64, String),
        bytes: &mut Vec<u8>,
    ) -> Result<(), thalweg::connector::kafka::FormatError> {
        self.0.serialize(text, bytes)
    }
}

/// Writes the numbers `1..=count`; `at_each` sees each before.
pub(super) fn write_numbers(
    env: &StreamExecutionEnvironment,
    count: i64,
    builder: KafkaSinkBuilder,
    mut at_each: impl FnMut(i64) + Clone + Send + 'static,
) {
    let numbers = env.from_sequence(1..=count).uid("numbers").map(move |n| {
        at_each(n);
        (n, n.to_string())
    });
    numbers
        .key_by(|(n, _)| n % KEYS)
        .scan(0_i64, |_, record| record)
        .uid("last")
        .sink_to(self::numbers(builder))
        .name("topic")
        .uid("topic");
}

/// Takes a while: a millisecond each so many numbers.
pub(super) fn slowly(each: i64) -> impl FnMut(i64) + Clone + Send + 'static {
    move |n| {
        if n % each == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

pub(super) fn committed(broker: &Broker, topic: &str) -> Vec<Message> {
    broker.read(topic, Read::Committed)
}

/// The same when all that was asked to be committed is.
#[track_caller]
pub(super) fn settled(broker: &Broker, topic: &str) -> Vec<Message> {
    assert!(is_settled(&broker.servers(), topic), "a transaction of {topic} is open");
    committed(broker, topic)
}

/// Each number is there once, under its key.
#[track_caller]
pub(super) fn audit(broker: &Broker, topic: &str, count: i64) {
    let messages = settled(broker, topic);
    let mut times: BTreeMap<i64, u32> = BTreeMap::new();
    for message in &messages {
        let n: i64 = message.text().parse().unwrap();
        assert_eq!(message.key.as_deref(), Some((n % KEYS).to_string().as_bytes()));
        *times.entry(n).or_default() += 1;
    }
    let lost: Vec<_> = (1..=count).filter(|n| !times.contains_key(n)).collect();
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(
        lost.is_empty() && twice.is_empty() && times.len() as i64 == count,
        "of {count}: {} lost, from {:?}; {} twice, from {:?}",
        lost.len(),
        lost.first(),
        twice.len(),
        twice.first()
    );
}

/// Why a job has failed, as Kafka's connector says it.
#[track_caller]
pub(super) fn kafka_failure(outcome: Result<JobResult, Error>) -> KafkaError {
    let Err(Error::Job(failure)) = outcome else {
        panic!("the job should have failed: {outcome:?}")
    };
    let cause = failure.cause.as_deref().and_then(|cause| cause.downcast_ref::<KafkaError>());
    cause.unwrap_or_else(|| panic!("another failure: {failure}")).clone()
}

#[track_caller]
pub(super) fn check_failure(
    outcome: Result<JobResult, Error>,
    kind: KafkaErrorKind,
    words: &[&str],
) {
    let error = kafka_failure(outcome);
    assert_eq!(error.kind(), kind, "{error}");
    words.iter().for_each(|word| assert!(error.to_string().contains(word), "{word}: {error}"));
}

/// Waits for a condition, a minute at most.
#[track_caller]
pub(super) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited a minute until {what}");
}
