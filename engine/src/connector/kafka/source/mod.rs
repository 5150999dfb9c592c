//! Topics as streams: [`KafkaSource`].
//!
//! ```text
//!  KafkaEnumerator ─ KafkaSplit (partition, position) ─► KafkaSourceReader (one a subtask)
//!    └ thread: Lookup ◄─► brokers                          └ thread: bridge ◄─► brokers
//! ```
//! - `topics`, `position`: what is read, and from where to where. `lookup` asks brokers for both; `enumerator` has the answers.
//! - `bridge` is the thread that takes messages from librdkafka; `batch` is what it hands over; `reader` makes records of them.
//! - `malformed`: what becomes of records that are none. `reach`: brokers that do not answer.

mod batch;
mod bridge;
mod enumerator;
mod lookup;
mod malformed;
mod position;
mod reach;
mod reader;
mod split;
mod topics;

pub use malformed::{MalformedRecord, OnMalformedRecord};
pub use position::{EndPosition, OffsetReset, Offsets, StartPosition};
pub use reader::KafkaSourceReader;
pub use split::KafkaSplit;

use std::time::Duration;

use self::enumerator::KafkaEnumerator;
use self::lookup::Lookup;
use self::reach::{ATTEMPT, Brokers};
use self::topics::Topics;
use super::error::{KafkaError, KafkaErrorKind};
use super::format::{Bytes, DeserializationSchema};
use super::settings::{KafkaSettings, Owned};
use crate::Result;
use crate::connector::file::{AsResults, Malformed};
use crate::function::{Boundedness, ReaderContext, Source, SplitEnumerator};

/// How often new partitions are looked for, unless set.
const DISCOVERY_INTERVAL_DEFAULT: Duration = Duration::from_secs(60);

/// How long a source waits for the first answer of a broker, unless set.
const STARTUP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// What lies between a reader's thread and its core at most, unless set.
const BUFFER_BYTES_DEFAULT: usize = 2 << 20;

/// The group of readers that have none: librdkafka assigns partitions to members of groups only. Nothing is committed to it.
const NO_GROUP: &str = "thalweg";

/// Owned by the source.
const OWNED: [Owned; 10] = [
    ("group.id", "call `group_id`"),
    ("isolation.level", "call `read_uncommitted`"),
    (
        "auto.offset.reset",
        "say where to begin with `start_from`; a position that is lost is an error",
    ),
    ("enable.auto.commit", "offsets are committed with checkpoints, if `group_id` is called"),
    ("enable.auto.offset.store", "offsets are committed with checkpoints, if `group_id` is called"),
    ("auto.commit.interval.ms", "offsets are committed with checkpoints, if `group_id` is called"),
    ("enable.partition.eof", "bounded reading needs it"),
    ("allow.auto.create.topics", "a topic that is not there is an error"),
    ("group.protocol", "the source assigns partitions itself"),
    ("partition.assignment.strategy", "the source assigns partitions itself"),
];

/// Reads topics of Kafka, each partition by one subtask, in order.
///
/// Begin with [`builder`](Self::builder), name the topics and the [format](Self::format); the rest has defaults. The
/// [guide](super) says what is guaranteed, which settings matter, and what happens when a broker is away.
///
/// # Examples
/// ```no_run
/// use thalweg::connector::kafka::{Json, KafkaSource, StartPosition};
/// use thalweg::prelude::*;
///
/// #[derive(serde::Deserialize)]
/// struct Order { item: String, total: f64 }
///
/// let env = StreamExecutionEnvironment::new();
/// let orders = KafkaSource::builder("localhost:9092")
///     .topics(["orders"])
///     .start_from(StartPosition::Earliest)
///     .format(Json::<Order>::new());
/// let in_order = WatermarkStrategy::bounded_out_of_orderness(seconds(5)).with_idleness(seconds(30));
/// let orders = env.from_source_with(orders, in_order, "orders");
/// orders.filter(|order| order.total > 100.0).map(|order| order.item).print();
/// env.execute("large orders")?;
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct KafkaSource<F, P = Malformed> {
    settings: KafkaSettings,
    topics: Result<Topics, KafkaError>,
    group_id: Option<String>,
    start: StartPosition,
    end: Option<EndPosition>,
    reads_uncommitted: bool,
    discover_every: Option<Duration>,
    startup_timeout: Duration,
    buffer_bytes: usize,
    format: F,
    on_malformed: P,
}

impl KafkaSource<Bytes> {
    /// A source of these brokers (`host:port`, comma separated), whose records are the bytes of the values until a
    /// [`format`](Self::format) is set.
    pub fn builder(bootstrap_servers: impl Into<String>) -> Self {
        KafkaSource {
            settings: KafkaSettings::new(bootstrap_servers),
            topics: Ok(Topics::Named(Vec::new())),
            group_id: None,
            start: StartPosition::default(),
            end: None,
            reads_uncommitted: false,
            discover_every: Some(DISCOVERY_INTERVAL_DEFAULT),
            startup_timeout: STARTUP_TIMEOUT_DEFAULT,
            buffer_bytes: BUFFER_BYTES_DEFAULT,
            format: Bytes,
            on_malformed: Malformed::default(),
        }
    }
}

impl<F, P> KafkaSource<F, P> {
    /// The topics, by name. One that is not there fails the job before it runs.
    #[must_use]
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics = Ok(Topics::Named(topics.into_iter().map(Into::into).collect()));
        self
    }

    /// All topics whose whole name matches a regular expression, also those that come later, but the broker's own.
    #[must_use]
    pub fn topic_pattern(mut self, pattern: &str) -> Self {
        self.topics = Topics::matching(pattern);
        self
    }

    /// The consumer group: with each checkpoint that is complete its positions are committed there, for those who watch how far the
    /// job is. The job itself never goes by them, except with [`StartPosition::Committed`]. Default: none.
    #[must_use]
    pub fn group_id(mut self, group_id: impl Into<String>) -> Self {
        self.group_id = Some(group_id.into());
        self
    }

    /// Where to begin, unless a checkpoint says it. Default: [`StartPosition::Earliest`].
    #[must_use]
    pub fn start_from(mut self, start: StartPosition) -> Self {
        self.start = start;
        self
    }

    /// Makes the source bounded: it ends when all partitions that are there at the start have been read up to here. Default: it does
    /// not end.
    #[must_use]
    pub fn end_at(mut self, end: EndPosition) -> Self {
        self.end = Some(end);
        self
    }

    /// Reads also what is in open and aborted transactions. Default: only what is committed, and nothing behind the beginning of an
    /// open transaction.
    #[must_use]
    pub fn read_uncommitted(mut self) -> Self {
        self.reads_uncommitted = true;
        self
    }

    /// How often to look for new partitions, and new topics of a pattern; they are read from their first record. At least each 10
    /// ms. Default: a minute. A bounded source does not look.
    #[must_use]
    pub fn discover_every(mut self, interval: Duration) -> Self {
        self.discover_every = Some(interval.max(Duration::from_millis(10)));
        self
    }

    /// The partitions that are there at the start are all. A subtask without any ends then, and holds no watermark back.
    #[must_use]
    pub fn no_discovery(mut self) -> Self {
        self.discover_every = None;
        self
    }

    /// How long to wait for the first answer of a broker before the job fails, when it starts or restarts; in steps of 2 s. Once it
    /// runs, it waits for brokers without limit. Default: 30 s.
    #[must_use]
    pub fn startup_timeout(mut self, timeout: Duration) -> Self {
        self.startup_timeout = timeout;
        self
    }

    /// How much lies ready for a subtask at most, in steps of 128 KiB, at least two of them, and more for records that are larger
    /// alone. What librdkafka reads ahead comes on top (`queued.max.messages.kbytes`, 16 MiB unless set). Default: 2 MiB.
    #[must_use]
    pub fn buffer_bytes(mut self, buffer_bytes: usize) -> Self {
        self.buffer_bytes = buffer_bytes;
        self
    }

    /// Sets a property of librdkafka, except those that the source owns: see [`KafkaSettings`].
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings = self.settings.property(name, value);
        self
    }

    /// How records become values. Default: the bytes of the value.
    #[must_use]
    pub fn format<G: DeserializationSchema>(self, format: G) -> KafkaSource<G, P> {
        self.with(|_, on_malformed| (format, on_malformed))
    }

    /// The same with other parts.
    fn with<G, Q>(self, change: impl FnOnce(F, P) -> (G, Q)) -> KafkaSource<G, Q> {
        let KafkaSource { settings, topics, group_id, start, end, reads_uncommitted, .. } = self;
        let (discover_every, startup_timeout) = (self.discover_every, self.startup_timeout);
        let buffer_bytes = self.buffer_bytes;
        let (format, on_malformed) = change(self.format, self.on_malformed);
        KafkaSource {
            settings,
            topics,
            group_id,
            start,
            end,
            reads_uncommitted,
            discover_every,
            startup_timeout,
            buffer_bytes,
            format,
            on_malformed,
        }
    }

    /// What there is to look for, or the first mistake in the settings.
    fn lookup(&self, operator: &str) -> Result<Lookup, KafkaError> {
        let topics = self.topics.clone()?;
        topics.check()?;
        let brokers = self.brokers(operator)?;
        if matches!(self.start, StartPosition::Committed { .. }) && self.group_id.is_none() {
            let text = "the source is to begin at what its group has committed, and has no group";
            return Err(KafkaError::new(KafkaErrorKind::Setting, text).remedy_is("call `group_id`"));
        }
        let (start, end) = (self.start.clone(), self.end.clone());
        let may_wait = self.discovery().is_some();
        Ok(Lookup { brokers, topics, start, end, may_wait })
    }

    fn brokers(&self, operator: &str) -> Result<Brokers, KafkaError> {
        self.settings.check(&OWNED)?;
        let attempts = self.startup_timeout.as_secs().div_ceil(ATTEMPT.as_secs()).max(1);
        let isolation = if self.reads_uncommitted { "read_uncommitted" } else { "read_committed" };
        let own = [
            ("group.id", self.group_id.as_deref().unwrap_or(NO_GROUP)),
            ("isolation.level", isolation),
            ("auto.offset.reset", "error"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("allow.auto.create.topics", "false"),
        ];
        let mut config = self.settings.client_config(&own);
        // What the user says goes before these. A bounded source is done when the ends are known, and an empty answer waits for so long.
        let fetch_wait_ms = if self.end.is_some() { "20" } else { "100" };
        let defaults = [
            ("client.id", "thalweg"),
            ("queued.max.messages.kbytes", "16384"),
            // After a second, as librdkafka has it, what was read ahead is used up long since.
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.wait.max.ms", fetch_wait_ms),
            ("fetch.error.backoff.ms", "100"),
            ("reconnect.backoff.max.ms", "1000"),
        ];
        for (name, value) in defaults {
            if self.settings.get(name).is_none() {
                config.set(name, value);
            }
        }
        config.create_native_config().map_err(|error| KafkaSettings::refused(&error))?;
        let servers = self.settings.bootstrap_servers().to_owned();
        let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        Ok(Brokers { servers, config, operator: operator.to_owned(), attempts })
    }

    fn discovery(&self) -> Option<Duration> {
        if self.end.is_some() { None } else { self.discover_every }
    }
}

impl<F> KafkaSource<F> {
    /// What becomes of records that the format cannot decode. Default: [`Malformed::Fail`], with topic, partition and offset.
    #[must_use]
    pub fn on_malformed(mut self, on_malformed: Malformed) -> Self {
        self.on_malformed = on_malformed;
        self
    }

    /// Malformed records are records too: the stream is one of `Result<T, MalformedRecord>`, which
    /// [`divert_errors`](crate::api::DataStream::divert_errors) takes apart into records and a side output of dead letters.
    ///
    /// # Examples
    /// ```no_run
    /// use thalweg::connector::kafka::{Json, KafkaSource, MalformedRecord};
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// let numbers = KafkaSource::builder("localhost:9092").topics(["numbers"]).format(Json::<u64>::new());
    /// let dead = OutputTag::<MalformedRecord>::new("dead letters");
    /// let numbers = env.from_source(numbers.results(), "numbers").divert_errors(&dead);
    /// numbers.side_output(&dead).map(|record| format!("{record}: {:?}", record.value)).print();
    /// numbers.map(|n| n * n).print();
    /// env.execute("squares")?;
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[must_use]
    pub fn results(self) -> KafkaSource<F, AsResults> {
        self.with(|format, _| (format, AsResults))
    }
}

impl<F: DeserializationSchema, P: OnMalformedRecord<F::Out>> Source for KafkaSource<F, P> {
    type Out = P::Out;
    type Split = KafkaSplit;
    type Reader = KafkaSourceReader<F, P>;

    fn boundedness(&self) -> Boundedness {
        match self.end {
            Some(_) => Boundedness::Bounded,
            None => Boundedness::Unbounded,
        }
    }

    fn create_enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator<KafkaSplit>>>> {
        let lookup = self.lookup("kafka")?;
        Ok(Some(Box::new(KafkaEnumerator::new(lookup, self.discovery()))))
    }

    fn create_reader(&self, context: &ReaderContext) -> Result<Self::Reader> {
        let brokers = self.brokers(&context.operator_name)?;
        let parts = (self.format.clone(), self.on_malformed.clone());
        let settings = (self.group_id.is_some(), self.buffer_bytes);
        Ok(KafkaSourceReader::new(parts, brokers, settings, context))
    }
}

#[cfg(test)]
mod tests;
