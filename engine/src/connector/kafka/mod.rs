//! Apache Kafka: topics as streams. Feature `kafka`.
//!
//! ```text
//!  format ── what bytes mean         record ── a record as Kafka has it
//!  settings ─ servers, properties    error ── what went wrong, where, and what helps
//! ```
//!
//! The client is librdkafka, by the crate `rdkafka`, whose sources are compiled with it (a C compiler, make and bash are needed). TLS,
//! SASL and zstd are features of that crate: a program that needs them names it with the feature among its own dependencies.
//!
//! **Invariants**
//! - No core calls the client where that may wait: what talks to brokers has a thread of its own.
//! - What a connector's guarantees rest on is set by the connector and refused in [`KafkaSettings`].

mod error;
mod format;
mod record;
mod settings;
mod sink;

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
