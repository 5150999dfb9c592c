//! A producer of librdkafka with what the sink needs of it: whole chunks, transactions that can be waited for in slices,
//! and the first record that could not be delivered.
//!
//! **Invariants**
//! - Each call that may wait returns within a slice, so that a thread which is to end does.
//! - An error of a delivery is kept until it is taken; nothing is sent or committed behind it.

use super::super::client::TracingContext;
use super::super::error::{KafkaError, KafkaErrorKind};
use super::super::native::fetch_brokers;
use super::super::settings::KafkaSettings;
use super::bridge::{Bridge, Step, Stop};
use super::chunk::{Entry, first_entry};
use super::crash_points;
use crate::sync::{Mutex, lock};
use crate::time::{Clock, SystemClock};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError as ClientError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thalweg_io::crash_point;

/// The longest that a thread waits for the client in one go.
const SLICE: Duration = Duration::from_secs(1);
/// The same in milliseconds.
const SLICE_MS: i32 = 1_000;
/// While deliveries are waited for: `poll` of the client waits its time out whatever comes.
const POLL: Duration = Duration::from_millis(1);
/// Records between two looks at what was delivered.
const RECORDS_A_POLL: usize = 256;

/// A topic that is just being made is unknown for a moment.
const NEW_TOPIC: Duration = Duration::from_millis(300);

/// How long something may take. For threads of clients alone: tasks know no clock.
#[derive(Debug)]
pub(super) struct Patience {
    clock: SystemClock,
    until_ns: u64,
}

impl Patience {
    pub(super) fn of(time: Duration) -> Self {
        let clock = SystemClock::new();
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Patience { clock, until_ns: clock.monotonic_ns().saturating_add(time_ns) }
    }

    pub(super) fn is_over(&self) -> bool {
        self.clock.monotonic_ns() >= self.until_ns
    }
}

/// Takes what the client reports.
#[derive(Debug)]
pub(super) struct Deliveries {
    log: TracingContext,
    /// Set with release after `failure`, read with acquire before it: the common case takes no lock.
    has_failed: AtomicBool,
    failure: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = result else { return };
        let mut failure = lock(&self.failure);
        // What is behind the first failure fails because of it.
        if failure.is_none() {
            let error = KafkaError::of_client("a record could not be written", error);
            *failure = Some(error.at(message.topic(), message.partition()));
            self.has_failed.store(true, Ordering::Release);
        }
    }
}

/// See the module docs.
pub(super) struct Producer {
    client: BaseProducer<Deliveries>,
    /// Empty without transactions.
    transactional_id: String,
}

impl Producer {
    /// A producer with these properties over the settings. Nothing is sent to the broker yet.
    pub(super) fn new(
        settings: &KafkaSettings,
        own: &[(&str, &str)],
        operator: &str,
    ) -> Result<Self, KafkaError> {
        let config = settings.client_config(own);
        let log = TracingContext { operator: operator.to_owned() };
        let (has_failed, failure) = (AtomicBool::new(false), Mutex::new(None));
        let deliveries = Deliveries { log, has_failed, failure };
        let client = BaseProducer::from_config_and_context(&config, deliveries);
        let client = client.map_err(|error| KafkaSettings::refused(&error))?;
        let transactional_id = config.get("transactional.id").unwrap_or_default().to_owned();
        Ok(Producer { client, transactional_id })
    }

    /// Is the topic there? Waits until a broker answers, so long at most.
    pub(super) fn check_topic(&self, bridge: &Bridge, topic: &str, patience: Duration) -> Step {
        let patience = Patience::of(patience);
        let mut unknown_for = Patience::of(NEW_TOPIC);
        loop {
            let metadata = self.client.client().fetch_metadata(Some(topic), SLICE);
            let error = match metadata {
                Ok(metadata) => {
                    let found = metadata.topics().iter().find(|found| found.name() == topic);
                    let code = found.map(|found| found.error().map(Code::from));
                    let Some(code) = code.unwrap_or(Some(Code::UnknownTopic)) else {
                        return Ok(());
                    };
                    let error = KafkaError::of_code("the sink cannot write to it", code);
                    if unknown_for.is_over() || error.kind() != KafkaErrorKind::UnknownTopic {
                        return Err(error.of_topic(topic).into());
                    }
                    error
                }
                Err(error) => {
                    unknown_for = Patience::of(NEW_TOPIC);
                    KafkaError::of_client("no broker has answered", &error)
                        .kind_is(KafkaErrorKind::Unreachable)
                }
            };
            if patience.is_over() {
                return Err(error.of_topic(topic).into());
            }
            bridge.pause(Duration::from_millis(50))?;
        }
    }

    /// Hands all records of packed bytes to the client, as fast as its queue takes them; `topic` is that of records that name
    /// none.
    pub(super) fn send_all(&self, bridge: &Bridge, topic: &str, mut bytes: &[u8]) -> Step {
        let mut count = 0;
        while !bytes.is_empty() {
            let entry = first_entry(bytes).expect("packed by this process, or looked through");
            bytes = &bytes[entry.packed_bytes..];
            self.send(bridge, topic, &entry)?;
            count += 1;
            if count % RECORDS_A_POLL == 0 {
                self.look()?;
            }
        }
        self.look()
    }

    fn send(&self, bridge: &Bridge, topic: &str, entry: &Entry<'_>) -> Step {
        let topic = if entry.topic.is_empty() { topic } else { entry.topic };
        let mut record: BaseRecord<'_, [u8], [u8], ()> = BaseRecord::to(topic);
        (record.key, record.payload) = (entry.key, entry.value);
        (record.partition, record.timestamp) = (entry.partition, entry.timestamp_ms);
        let mut headers = entry.headers.clone().peekable();
        if headers.peek().is_some() {
            let all = headers
                .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value }));
            record.headers = Some(all);
        }
        loop {
            let (error, refused) = match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            if error.rdkafka_error_code() != Some(Code::QueueFull) {
                self.look()?;
                let error = self.cause_of(error);
                let error = self.explain("a record could not be sent", &error).of_topic(topic);
                return Err(error.into());
            }
            record = refused;
            bridge.check_open()?;
            self.client.poll(POLL);
            self.look()?;
        }
    }

    /// Takes note of deliveries without waiting.
    pub(super) fn look(&self) -> Step {
        self.client.poll(Duration::ZERO);
        if self.client.context().has_failed.load(Ordering::Acquire)
            && let Some(error) = lock(&self.client.context().failure).clone()
        {
            return Err(self.of_fatal(error).into());
        }
        Ok(())
    }

    pub(super) fn in_flight(&self) -> bool {
        self.client.in_flight_count() > 0
    }

    /// Waits until all that was sent is delivered. The client's own `flush` would wait in steps of 100 ms.
    pub(super) fn flush(&self, bridge: &Bridge) -> Step {
        while self.in_flight() {
            bridge.check_open()?;
            self.client.poll(POLL);
            self.look()?;
        }
        self.look()
    }

    /// Fences all others with the transactional id, and aborts what they have left open.
    pub(super) fn init_transactions(&self, bridge: &Bridge, patience: Duration) -> Step {
        // Opens the connection; without one the call below says what is wrong.
        let _ = fetch_brokers(self.client.client(), SLICE_MS);
        let init = || self.client.init_transactions(SLICE);
        self.in_slices(bridge, "the transactional id cannot be taken over", patience, init)
    }

    pub(super) fn begin_transaction(&self) -> Step {
        let begun = self.client.begin_transaction();
        begun.map_err(|error| self.explain("a transaction cannot be begun", &error).into())
    }

    /// Puts offsets of a group into the transaction, and commits it.
    pub(super) fn commit(
        &self,
        bridge: &Bridge,
        (marker, group): (&TopicPartitionList, &ConsumerGroupMetadata),
        patience: Duration,
    ) -> Step {
        let send = || self.client.send_offsets_to_transaction(marker, group, SLICE * 10);
        self.in_slices(bridge, "the marker cannot be put into the transaction", patience, send)?;
        crash_point(crash_points::MARKER_SENT);
        self.flush(bridge)?;
        crash_point(crash_points::COMMIT_SENT);
        let commit = || self.client.commit_transaction(SLICE);
        self.in_slices(bridge, "a transaction cannot be committed", patience, commit)?;
        crash_point(crash_points::COMMITTED);
        Ok(())
    }

    /// Aborts what is open, if that can be done soon; the next who takes the transactional id does it otherwise.
    pub(super) fn abort(&self) {
        if let Err(error) = self.client.abort_transaction(SLICE) {
            tracing::debug!(transactional_id = self.transactional_id, %error, "left open");
        }
    }

    /// Repeats a call that the client can go on with, until it is done, cannot be, or has taken too long.
    fn in_slices(
        &self,
        bridge: &Bridge,
        operation: &str,
        patience: Duration,
        call: impl Fn() -> KafkaResult<()>,
    ) -> Step {
        let patience = Patience::of(patience);
        let mut is_told = false;
        loop {
            let Err(error) = call() else { return Ok(()) };
            self.look()?;
            let may_pass = match &error {
                ClientError::Transaction(error) => error.is_retriable() && !error.is_fatal(),
                _ => false,
            };
            if !may_pass || patience.is_over() {
                return Err(self.explain(operation, &error).into());
            }
            if !std::mem::replace(&mut is_told, true) {
                let transactional_id = self.transactional_id.as_str();
                tracing::warn!(transactional_id, %error, "{operation} yet");
            }
            bridge.pause(Duration::from_millis(20))?;
        }
    }

    /// A client whose transaction is lost refuses records without a reason. It says why to whoever wants to begin another.
    fn cause_of(&self, error: ClientError) -> ClientError {
        match error.rdkafka_error_code() {
            Some(Code::State) => self.client.begin_transaction().err().unwrap_or(error),
            _ => error,
        }
    }

    /// What the client says, with the reason of a failure that it cannot recover from.
    pub(super) fn explain(&self, operation: &str, error: &ClientError) -> KafkaError {
        let named = match self.transactional_id.as_str() {
            "" => operation.to_owned(),
            id => format!("{operation} (transactional id '{id}')"),
        };
        let explained = match error {
            ClientError::Transaction(error) => {
                let said = format!("{named}: {}", error.string());
                KafkaError::of_code(&said, error.code())
            }
            error => KafkaError::of_client(&named, error),
        };
        self.of_fatal(explained)
    }

    /// A fatal failure of the client has its own code behind the one that calls answer.
    fn of_fatal(&self, error: KafkaError) -> KafkaError {
        let error = match self.client.client().fatal_error() {
            Some((code, reason)) if error.code() != Some(code) => {
                KafkaError::of_code(&format!("{error}: {reason}"), code)
            }
            _ => error,
        };
        match error.code() {
            Some(Code::InvalidTransactionTimeout) => {
                error.kind_is(KafkaErrorKind::Setting).remedy_is(
                    "lower the sink's `transaction_timeout`, and the checkpoints' timeout with it, or raise the broker's \
                     `transaction.max.timeout.ms`",
                )
            }
            _ => error,
        }
    }
}

impl From<KafkaError> for Stop {
    fn from(error: KafkaError) -> Self {
        Stop::Failed(error)
    }
}
