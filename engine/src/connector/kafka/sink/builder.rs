//! [`KafkaSinkBuilder`]: where a sink writes and what it promises.

use super::super::error::{KafkaError, KafkaErrorKind};
use super::super::format::SerializationSchema;
use super::super::settings::{KafkaSettings, Owned};
use super::marker::MissingMarker;
use super::packer::{Formatted, WholeRecords};
use super::{Guarantee, KafkaSink, Plan};
use std::time::Duration;

/// Properties on which the guarantees rest.
const OWNED: [Owned; 8] = [
    ("transactional.id", "call `exactly_once` with a prefix"),
    ("transaction.timeout.ms", "call `transaction_timeout`"),
    ("enable.idempotence", "it follows from the guarantee"),
    ("acks", "it follows from the guarantee"),
    ("request.required.acks", "it follows from the guarantee"),
    ("message.timeout.ms", "call `delivery_timeout`"),
    ("delivery.timeout.ms", "call `delivery_timeout`"),
    ("group.id", "a sink names its groups after the prefix of `exactly_once`"),
];

/// The bytes of Kafka's longest topic name and, by our choice, of a prefix.
const NAME_BYTES_MAX: usize = 249;

/// Says where a [`KafkaSink`] writes and what it promises; [`format`](Self::format) or [`records`](Self::records) makes the
/// sink. What cannot be is an error of the job's start.
#[derive(Clone, Debug)]
pub struct KafkaSinkBuilder {
    plan: Plan,
}

impl KafkaSinkBuilder {
    pub(super) fn new(settings: KafkaSettings) -> Self {
        KafkaSinkBuilder {
            plan: Plan {
                settings,
                topic: String::new(),
                guarantee: Guarantee::AtLeastOnce,
                // The most that brokers allow by default.
                transaction_timeout: Duration::from_secs(15 * 60),
                delivery_timeout: Duration::from_secs(120),
                startup_timeout: Duration::from_secs(15),
                write_ahead_bytes_max: 1 << 30,
                missing_marker: MissingMarker::Refuse,
            },
        }
    }

    /// The topic of records that name none, and of the markers of an exactly-once sink. It must be there. Needed.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.plan.topic = topic.into();
        self
    }

    /// Sets a property of librdkafka's producer, for example `compression.type` or `linger.ms`. Those on which the guarantee
    /// rests are refused.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.plan.settings = self.plan.settings.property(name, value);
        self
    }

    /// Each record once, also over failures, for readers with `isolation.level=read_committed`: with transactions that are
    /// committed when their checkpoint is complete. `transactional_id_prefix` is the sink's own in the whole cluster, and stays
    /// the same over restarts; not empty.
    #[must_use]
    pub fn exactly_once(mut self, transactional_id_prefix: impl Into<String>) -> Self {
        self.plan.guarantee = Guarantee::ExactlyOnce { prefix: transactional_id_prefix.into() };
        self
    }

    /// Each record at least once: a checkpoint waits until what was written before it is acknowledged by all replicas in
    /// sync. The default.
    #[must_use]
    pub fn at_least_once(mut self) -> Self {
        self.plan.guarantee = Guarantee::AtLeastOnce;
        self
    }

    /// No checkpoint waits for the broker. A record that cannot be delivered fails the job all the same.
    #[must_use]
    pub fn best_effort(mut self) -> Self {
        self.plan.guarantee = Guarantee::BestEffort;
        self
    }

    /// After which time the broker aborts a transaction by itself, in which readers of committed records see nothing behind
    /// it. Default: 15 minutes, the most that brokers allow by default. A job is refused whose checkpoints may take longer,
    /// interval and timeout together; at least 1 s.
    #[must_use]
    pub fn transaction_timeout(mut self, timeout: Duration) -> Self {
        self.plan.transaction_timeout = timeout;
        self
    }

    /// How long the sink tries to deliver a record, or to commit, before the job fails. Default: 2 minutes.
    #[must_use]
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.plan.delivery_timeout = timeout;
        self
    }

    /// How long the sink waits for a broker to answer when the job starts. Default: 15 s.
    #[must_use]
    pub fn startup_timeout(mut self, timeout: Duration) -> Self {
        self.plan.startup_timeout = timeout;
        self
    }

    /// How many bytes of a subtask may wait for checkpoints, in memory and in each checkpoint; more fail the job. For
    /// exactly-once. Default: 1 GiB.
    #[must_use]
    pub fn write_ahead_bytes_max(mut self, bytes: usize) -> Self {
        self.plan.write_ahead_bytes_max = bytes;
        self
    }

    /// What you have found in the topic, where a job was refused because its marker is gone. Default: refuse.
    #[must_use]
    pub fn on_missing_marker(mut self, missing: MissingMarker) -> Self {
        self.plan.missing_marker = missing;
        self
    }

    /// A sink whose records have their value in this format. Key, headers and the like are set by methods of the sink.
    pub fn format<T, F: SerializationSchema<T>>(self, format: F) -> KafkaSink<Formatted<T, F>> {
        self.build(Formatted::new(format))
    }

    /// A sink of [`KafkaRecord`](super::super::KafkaRecord)s, each of which says all of itself; an empty topic is the sink's.
    pub fn records(self) -> KafkaSink<WholeRecords> {
        self.build(WholeRecords::default())
    }

    fn build<P>(self, packer: P) -> KafkaSink<P> {
        let mistake = self.check().err();
        KafkaSink { plan: self.plan, packer, mistake, core: None, opened: None }
    }

    fn check(&self) -> Result<(), KafkaError> {
        self.plan.settings.check(&OWNED)?;
        let refuse = |message: &str, remedy: &str| {
            Err(KafkaError::new(KafkaErrorKind::Setting, message).remedy_is(remedy))
        };
        if !is_name(&self.plan.topic) {
            let message = format!("the sink's topic is '{}'", self.plan.topic);
            return refuse(
                &message,
                "call `topic` with letters, digits, '.', '_' and '-', at most 249",
            );
        }
        if let Guarantee::ExactlyOnce { prefix } = &self.plan.guarantee
            && (prefix.is_empty() || prefix.len() > NAME_BYTES_MAX || prefix.contains('\0'))
        {
            let message = format!("the sink's transactional id prefix is '{prefix}'");
            return refuse(&message, "call `exactly_once` with 1 to 249 bytes");
        }
        let second = Duration::from_secs(1);
        let longest = Duration::from_millis(i32::MAX as u64);
        let timeouts = [
            ("transaction timeout", self.plan.transaction_timeout),
            ("delivery timeout", self.plan.delivery_timeout),
        ];
        for (name, timeout) in timeouts {
            if !(second..=longest).contains(&timeout) {
                let message = format!("the sink's {name} is {} ms", timeout.as_millis());
                return refuse(&message, "choose 1 s to 24 days");
            }
        }
        Ok(())
    }
}

/// Is it a name that Kafka takes for a topic?
fn is_name(topic: &str) -> bool {
    let is_taken = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=NAME_BYTES_MAX).contains(&topic.len()) && topic.chars().all(is_taken)
}

#[cfg(test)]
mod tests {
    use super::super::super::format::Text;
    use super::*;

    fn refusal(change: impl FnOnce(KafkaSinkBuilder) -> KafkaSinkBuilder) -> String {
        let builder = KafkaSink::builder("localhost:9092").topic("t").exactly_once("p");
        let sink = change(builder).format::<String, _>(Text);
        sink.mistake.map_or_else(|| "none".to_owned(), |mistake| mistake.to_string())
    }

    #[test]
    fn what_cannot_be_is_said_with_the_remedy() {
        assert_eq!(refusal(|builder| builder), "none");
        assert_eq!(refusal(|builder| builder.property("linger.ms", "1")), "none");
        type Change = fn(KafkaSinkBuilder) -> KafkaSinkBuilder;
        let cases: [(Change, &str); 7] = [
            (|b| b.topic("a b"), "call `topic`"),
            (|b| b.topic(""), "call `topic`"),
            (|b| b.exactly_once(""), "call `exactly_once`"),
            (|b| b.property("acks", "1"), "it follows from the guarantee"),
            (|b| b.property("transactional.id", "x"), "call `exactly_once`"),
            (|b| b.transaction_timeout(Duration::from_millis(1)), "choose 1 s to 24 days"),
            (|b| b.delivery_timeout(Duration::ZERO), "the sink's delivery timeout is 0 ms"),
        ];
        for (change, words) in cases {
            let found = refusal(change);
            assert!(found.contains(words), "{found}");
        }
    }
}
