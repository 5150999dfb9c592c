//! Apache Kafka: topics as streams. Feature `kafka`.
//!
//! ```no_run
//! use thalweg::connector::kafka::{Json, KafkaSource, MalformedRecord};
//! use thalweg::prelude::*;
//!
//! #[derive(serde::Deserialize)]
//! struct Order { item: String, total: f64 }
//!
//! let env = StreamExecutionEnvironment::new();
//! env.enable_checkpointing(seconds(1)).at("/var/lib/orders");
//! let source = KafkaSource::builder("localhost:9092")
//!     .topics(["orders"])
//!     .group_id("orders-job")          // for those who watch how far the job is
//!     .format(Json::<Order>::new())
//!     .results();                      // malformed records do not end the job
//! let strategy = WatermarkStrategy::bounded_out_of_orderness(seconds(5)).with_idleness(seconds(30));
//! let dead = OutputTag::<MalformedRecord>::new("dead letters");
//! let orders = env.from_source_with(source, strategy, "orders").divert_errors(&dead);
//! orders.side_output(&dead).map(|record| record.to_string()).print_to_stderr();
//! orders.filter(|order| order.total > 100.0).map(|order| order.item).print();
//! env.execute("orders")?;
//! # Ok::<(), thalweg::Error>(())
//! ```
//!
//! # Building
//!
//! The client is librdkafka, by the crate `rdkafka`, whose sources are compiled with it: a C compiler, make and bash are needed, and
//! nothing else. TLS, SASL and zstd are features of that crate: a program that needs them names it with the feature among its own
//! dependencies, and sets the properties (`security.protocol`, `sasl.*`, `ssl.*`) with [`KafkaSource::property`].
//!
//! # What the source guarantees
//!
//! - **Each record once.** A partition's position lies in the job's checkpoints, and nowhere else. A job that goes on from one reads
//!   exactly what comes behind, whatever was committed to the group.
//! - **In order** within each partition. Partitions are spread over the subtasks; each has a watermark and an idleness of its own
//!   ([`from_source_with`](crate::api::StreamExecutionEnvironment::from_source_with)), so that reading one faster than another makes
//!   nothing late. A record's timestamp is Kafka's, unless the strategy assigns another.
//! - **Only what is committed** by transactional writers, unless [`KafkaSource::read_uncommitted`].
//! - **A position that is lost is an error**, never a silent reset: records that retention removed before they were read, a log that
//!   is shorter than it was, a topic that was deleted, or deleted and created again ([`KafkaErrorKind::OffsetOutOfRange`],
//!   [`KafkaErrorKind::TopicReplaced`]). Such a job is not restarted: no further attempt would do better.
//! - **A bounded source ends by positions**: control markers and aborted records at the end of a partition do not keep it waiting,
//!   and a broker that is away does not end it.
//!
//! # What the sink guarantees
//!
//! By choice: exactly once for readers of committed records, at least once, or best effort. [`KafkaSink`] says what each takes, which
//! settings matter, and what happens when the broker, or the job, is away for how long.
//!
//! # When a broker is away, for the source
//!
//! | what waits | for how long | and then |
//! |---|---|---|
//! | a start or restart | [`startup_timeout`](KafkaSource::startup_timeout), 30 s | the attempt fails with [`KafkaErrorKind::Unreachable`]; the restart strategy decides |
//! | reading, connection lost | without limit; connects again after `reconnect.backoff.ms` (100 ms) up to `reconnect.backoff.max.ms` (1 s) | goes on where it was; warnings are in the log, watermarks stand or are idle |
//! | reading, broker does not answer | `socket.timeout.ms` (60 s) | connects again |
//! | the look for new partitions | the startup timeout | a warning; the next interval looks again |
//! | a commit to the group | | a warning: the next checkpoint commits again |
//! | records behind another program's open transaction | that producer's `transaction.timeout.ms`, after which the broker aborts it | goes on |
//! | any of it | the topic's `retention.ms` | [`KafkaErrorKind::OffsetOutOfRange`], with what is kept |
//!
//! # Settings that matter
//!
//! | property or method | unless set | effect |
//! |---|---|---|
//! | `fetch.wait.max.ms` | 100, bounded 20 | how long a broker may hold an empty answer back; what comes is sent at once |
//! | `fetch.min.bytes` | 1 | more makes fewer, larger answers, and latency |
//! | `queued.max.messages.kbytes` | 16384 | what the client reads ahead, a subtask |
//! | `fetch.queue.backoff.ms` | 5 | how long nothing is fetched once so much is read ahead; with librdkafka's own 1000 the source runs dry |
//! | [`buffer_bytes`](KafkaSource::buffer_bytes) | 2 MiB | what lies ready for a subtask; when it is full, nothing is taken from the client |
//! | [`discover_every`](KafkaSource::discover_every) | 1 min | how late a new partition is found |
//! | [`with_idleness`](crate::time::WatermarkStrategy::with_idleness) | off | without it a partition that has no records holds all event time back |
//!
//! # How it is built
//!
//! ```text
//!  source ─ partitions as splits     format ── what bytes mean         record ── a record as Kafka has it
//!  client ─ where its log goes       settings ─ servers, properties    error ── what went wrong, where, and what helps
//!  native ─ calls without a safe form
//! ```
//!
//! **Invariants**
//! - No core calls the client: what talks to brokers has a thread of its own.
//! - What a connector's guarantees rest on is set by the connector and refused in [`KafkaSettings`].
//! - Unsafe code is in `native` alone.

mod client;
mod error;
mod format;
mod native;
mod record;
mod settings;
mod sink;
mod source;

pub use error::{KafkaError, KafkaErrorKind};
pub use format::{
    Bytes, Csv, DeserializationSchema, FnFormat, FormatError, Json, KeyValue, Nullable, Records,
    RkyvFormat, SerializationSchema, Text, from_fn,
};
pub use record::{KafkaHeader, KafkaHeaders, KafkaMessage, KafkaRecord};
pub use settings::KafkaSettings;
pub use sink::{
    Formatted, HeadersOut, KafkaSink, KafkaSinkBuilder, MissingMarker, RecordPacker, WholeRecords,
    crash_points as sink_crash_points,
};
pub use source::{
    EndPosition, KafkaSource, KafkaSourceReader, KafkaSplit, MalformedRecord, OffsetReset, Offsets,
    OnMalformedRecord, StartPosition,
};
