//! [`KafkaError`]: what went wrong with a broker, where, and what helps.
//!
//! One type for source and sink: both meet the same brokers, topics and settings. [`KafkaErrorKind`] is what code decides by;
//! the text names the place, the broker's own code, and the remedy.

use std::fmt;

use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};

/// A source or sink of Kafka cannot start or go on.
///
/// `Display` says what happened, where (topic, partition, offset), the broker's code, and what helps. It is the
/// [`cause`](crate::JobFailure::cause) of a job's failure, from which it can be downcast.
///
/// # Examples
/// ```
/// use thalweg::connector::kafka::{KafkaError, KafkaErrorKind};
///
/// fn is_worth_a_call(error: &thalweg::Error) -> bool {
///     let thalweg::Error::Job(failure) = error else { return true };
///     let cause = failure.cause.as_deref().and_then(|cause| cause.downcast_ref::<KafkaError>());
///     cause.is_some_and(|cause| cause.kind() == KafkaErrorKind::OffsetOutOfRange)
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaError {
    // Boxed: results are small where nothing goes wrong.
    inner: Box<Inner>,
}

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: KafkaErrorKind,
    message: String,
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    code: Option<RDKafkaErrorCode>,
    remedy: String,
}

/// What kind of failure a [`KafkaError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KafkaErrorKind {
    /// A setting cannot be: found before anything is sent.
    Setting,
    /// No broker answers at the bootstrap servers.
    Unreachable,
    /// The topic is not there.
    UnknownTopic,
    /// The topic has no such partition.
    UnknownPartition,
    /// The topic was deleted, or deleted and created again, while or since it was read.
    TopicReplaced,
    /// The position to go on from is not in the log: removed by retention, or beyond its end.
    OffsetOutOfRange,
    /// The broker refuses this user.
    NotAuthorized,
    /// A record cannot be decoded, or encoded.
    Malformed,
    /// A record is larger than the broker takes.
    TooLarge,
    /// Another producer has taken over the transactional id.
    Fenced,
    /// A transaction was open for longer than the broker allows, and aborted by it.
    TransactionExpired,
    /// What the broker has of a commit does not say whether it happened.
    Marker,
    /// The broker did not answer in time.
    TimedOut,
    /// Anything else that the client or the broker said.
    Client,
}

impl KafkaError {
    /// A failure of this kind; say what happened, in lower case without a full stop.
    pub(crate) fn new(kind: KafkaErrorKind, message: impl Into<String>) -> Self {
        let (topic, partition, offset, code) = (None, None, None, None);
        let (message, remedy) = (message.into(), kind.remedy().to_owned());
        let inner = Inner { kind, message, topic, partition, offset, code, remedy };
        KafkaError { inner: Box::new(inner) }
    }

    /// What the client said of `operation` (for example `"cannot read the metadata"`).
    pub(crate) fn of_client(operation: &str, error: &ClientError) -> Self {
        match error.rdkafka_error_code() {
            Some(code) => Self::of_code(operation, code),
            None => Self::new(KafkaErrorKind::Client, format!("{operation}: {error}")),
        }
    }

    /// What the broker or the client said of `operation`, as a code.
    pub(crate) fn of_code(operation: &str, code: RDKafkaErrorCode) -> Self {
        let mut error = Self::new(KafkaErrorKind::of_code(code), operation);
        error.inner.code = Some(code);
        error
    }

    /// The same with its place.
    #[must_use]
    pub(crate) fn at(mut self, topic: &str, partition: i32) -> Self {
        self.inner.partition = Some(partition);
        self.of_topic(topic)
    }

    /// The same with the topic.
    #[must_use]
    pub(crate) fn of_topic(mut self, topic: &str) -> Self {
        self.inner.topic = Some(topic.to_owned());
        self
    }

    /// The same with the offset.
    #[must_use]
    pub(crate) fn at_offset(mut self, offset: i64) -> Self {
        self.inner.offset = Some(offset);
        self
    }

    /// The same with another remedy.
    #[must_use]
    pub(crate) fn remedy_is(mut self, remedy: impl Into<String>) -> Self {
        self.inner.remedy = remedy.into();
        self
    }

    /// The same of another kind, with that one's remedy.
    #[must_use]
    pub(crate) fn kind_is(mut self, kind: KafkaErrorKind) -> Self {
        self.inner.kind = kind;
        self.inner.remedy = kind.remedy().to_owned();
        self
    }

    /// Will it be the same at each further attempt? Then the job is not restarted.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(
            self.inner.kind,
            KafkaErrorKind::Setting
                | KafkaErrorKind::TopicReplaced
                | KafkaErrorKind::OffsetOutOfRange
                | KafkaErrorKind::Marker
        )
    }

    /// What code decides by.
    pub fn kind(&self) -> KafkaErrorKind {
        self.inner.kind
    }

    /// The topic, where there is one.
    pub fn topic(&self) -> Option<&str> {
        self.inner.topic.as_deref()
    }

    /// The partition, where there is one.
    pub fn partition(&self) -> Option<i32> {
        self.inner.partition
    }

    /// The offset, where there is one.
    pub fn offset(&self) -> Option<i64> {
        self.inner.offset
    }

    /// What the broker or the client library called it, if it was they who said it.
    pub fn code(&self) -> Option<RDKafkaErrorCode> {
        self.inner.code
    }

    /// What helps.
    pub fn remedy(&self) -> &str {
        &self.inner.remedy
    }
}

impl fmt::Display for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { message, topic, partition, offset, code, remedy, .. } = &*self.inner;
        f.write_str("kafka: ")?;
        if let Some(topic) = topic {
            write!(f, "topic '{topic}'")?;
            partition.iter().try_for_each(|partition| write!(f, ", partition {partition}"))?;
            offset.iter().try_for_each(|offset| write!(f, ", offset {offset}"))?;
            f.write_str(": ")?;
        }
        f.write_str(message)?;
        if let Some(code) = code {
            write!(f, " ({code:?}: {})", code.to_string().to_lowercase())?;
        }
        write!(f, "; {remedy}")
    }
}

impl fmt::Debug for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaError")
            .field("kind", &self.inner.kind)
            .field("message", &self.to_string())
            .finish()
    }
}

impl std::error::Error for KafkaError {}

impl KafkaErrorKind {
    /// The kind of a code, where the operation does not say otherwise.
    fn of_code(code: RDKafkaErrorCode) -> Self {
        use RDKafkaErrorCode as Code;
        match code {
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::InvalidTopic => {
                KafkaErrorKind::UnknownTopic
            }
            Code::UnknownPartition => KafkaErrorKind::UnknownPartition,
            Code::UnknownTopicId => KafkaErrorKind::TopicReplaced,
            Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::LogTruncation => {
                KafkaErrorKind::OffsetOutOfRange
            }
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication => KafkaErrorKind::NotAuthorized,
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => KafkaErrorKind::TooLarge,
            Code::InvalidProducerEpoch | Code::ProducerFenced | Code::Fenced => {
                KafkaErrorKind::Fenced
            }
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::BrokerNotAvailable
            | Code::NetworkException
            | Code::LeaderNotAvailable
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress => KafkaErrorKind::Unreachable,
            Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::MessageTimedOut
            | Code::TimedOutQueue => KafkaErrorKind::TimedOut,
            _ => KafkaErrorKind::Client,
        }
    }

    /// What helps, where nothing better is known.
    fn remedy(self) -> &'static str {
        match self {
            KafkaErrorKind::Setting => "correct the setting",
            KafkaErrorKind::Unreachable => {
                "check that the broker runs, the bootstrap servers (host:port, comma separated) and the broker's \
                 `advertised.listeners`"
            }
            KafkaErrorKind::UnknownTopic => "create the topic, or correct its name",
            KafkaErrorKind::UnknownPartition => {
                "correct the partition, or add partitions to the topic"
            }
            KafkaErrorKind::TopicReplaced => {
                "the job's positions are of a topic that is gone: begin without the checkpoint"
            }
            KafkaErrorKind::OffsetOutOfRange => {
                "restore an older backup of the topic, or accept the loss: begin without the checkpoint and with a start \
                 position; raise the topic's retention (`retention.ms`, `retention.bytes`) above the job's longest pause"
            }
            KafkaErrorKind::NotAuthorized => {
                "give this user the permission (ACL), or correct the `sasl.*` and `ssl.*` properties"
            }
            KafkaErrorKind::Malformed => "correct the record or the format",
            KafkaErrorKind::TooLarge => {
                "raise the topic's `max.message.bytes` and the producer's `message.max.bytes`, or make records smaller"
            }
            KafkaErrorKind::Fenced => {
                "another job uses the same transactional id: stop one, or give each sink a prefix of its own"
            }
            KafkaErrorKind::TransactionExpired => {
                "raise the sink's transaction timeout and the broker's `transaction.max.timeout.ms` above the longest time \
                 between two checkpoints, restarts included"
            }
            KafkaErrorKind::Marker => {
                "check by hand which records of the last checkpoint are in the topic, then begin without the checkpoint"
            }
            KafkaErrorKind::TimedOut => {
                "check the broker's load and the network, or raise the timeout"
            }
            KafkaErrorKind::Client => "see the client's code in the documentation of librdkafka",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: KafkaError, kind: KafkaErrorKind, words: &[&str]) {
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        words.iter().for_each(|word| assert!(text.contains(word), "{word} is not in: {text}"));
    }

    #[test]
    fn errors_name_place_code_and_remedy() {
        let code = RDKafkaErrorCode::OffsetOutOfRange;
        let error = KafkaError::of_code("cannot read on", code).at("orders", 3).at_offset(17);
        let words = [
            "topic 'orders', partition 3, offset 17: cannot read on",
            "OffsetOutOfRange",
            "retention.ms",
        ];
        check(error.clone(), KafkaErrorKind::OffsetOutOfRange, &words);
        assert_eq!((error.topic(), error.partition()), (Some("orders"), Some(3)));
        assert_eq!((error.offset(), error.code()), (Some(17), Some(code)));
    }

    #[test]
    fn codes_have_kinds() {
        use RDKafkaErrorCode as Code;
        let cases = [
            (Code::UnknownTopicOrPartition, KafkaErrorKind::UnknownTopic, "create the topic"),
            (Code::AllBrokersDown, KafkaErrorKind::Unreachable, "bootstrap servers"),
            (Code::TopicAuthorizationFailed, KafkaErrorKind::NotAuthorized, "ACL"),
            (Code::ProducerFenced, KafkaErrorKind::Fenced, "prefix of its own"),
            (Code::MessageSizeTooLarge, KafkaErrorKind::TooLarge, "max.message.bytes"),
            (Code::NotLeaderForPartition, KafkaErrorKind::Client, "librdkafka"),
        ];
        for (code, kind, word) in cases {
            check(KafkaError::of_code("x", code), kind, &[word]);
        }
        let error = ClientError::ClientCreation("no memory".into());
        check(
            KafkaError::of_client("cannot begin", &error),
            KafkaErrorKind::Client,
            &["no memory"],
        );
    }
}
