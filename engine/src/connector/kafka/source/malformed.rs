//! What becomes of records that the format cannot decode.

use std::fmt;

use crate::Result;
use crate::connector::file::{AsResults, Malformed};
use crate::connector::kafka::error::{KafkaError, KafkaErrorKind};
use crate::connector::kafka::format::FormatError;
use crate::connector::kafka::record::KafkaMessage;
use crate::function::SourceCollector;

/// Most warnings that one reader writes about records it skips; the metric `records_skipped` counts them all.
const WARNINGS_MAX: u64 = 10;

/// A record that could not be decoded: where it is, what is in it, and what is wrong. Fit for a topic of dead letters.
#[crate::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedRecord {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// When it was made, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Its key, as it is.
    pub key: Option<Vec<u8>>,
    /// Its value, as it is.
    pub value: Option<Vec<u8>>,
    /// What the format says.
    pub error: String,
}

impl MalformedRecord {
    #[cold]
    pub(super) fn new(message: &KafkaMessage<'_>, error: &FormatError) -> Self {
        MalformedRecord {
            topic: message.topic.to_owned(),
            partition: message.partition,
            offset: message.offset,
            timestamp_ms: message.timestamp_ms,
            key: message.key.map(<[u8]>::to_vec),
            value: message.value.map(<[u8]>::to_vec),
            error: error.to_string(),
        }
    }
}

impl fmt::Display for MalformedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MalformedRecord { topic, partition, offset, error, .. } = self;
        write!(f, "topic '{topic}', partition {partition}, offset {offset}: {error}")
    }
}

impl std::error::Error for MalformedRecord {}

/// How decoded and malformed records become those of the source: [`Malformed`] or [`AsResults`]. Implemented by the engine alone.
pub trait OnMalformedRecord<T>: Clone + Send + Sync + 'static {
    /// The records.
    type Out: Send + 'static;

    /// Emits a decoded record.
    #[doc(hidden)]
    fn emit(&self, value: T, timestamp_ms: i64, out: &mut SourceCollector<'_, Self::Out>);

    /// Does what is to be done with a malformed one.
    ///
    /// # Errors
    /// Where malformed records fail the job.
    #[doc(hidden)]
    fn reject(
        &self,
        record: MalformedRecord,
        timestamp_ms: i64,
        out: &mut SourceCollector<'_, Self::Out>,
        skipped_before: &mut u64,
    ) -> Result<()>;
}

impl<T: Send + 'static> OnMalformedRecord<T> for Malformed {
    type Out = T;

    #[inline(always)]
    fn emit(&self, value: T, timestamp_ms: i64, out: &mut SourceCollector<'_, T>) {
        out.collect_with_timestamp(value, timestamp_ms);
    }

    #[cold]
    fn reject(
        &self,
        record: MalformedRecord,
        _: i64,
        out: &mut SourceCollector<'_, T>,
        skipped_before: &mut u64,
    ) -> Result<()> {
        match self {
            Malformed::SkipAndCount if *skipped_before < WARNINGS_MAX => {
                tracing::warn!("skipped a malformed record: {record}");
            }
            Malformed::SkipAndCount if *skipped_before == WARNINGS_MAX => {
                tracing::warn!("further malformed records are only counted (records_skipped)");
            }
            Malformed::SkipAndCount => {}
            Malformed::Fail => return Err(refusal(&record).into()),
        }
        *skipped_before += 1;
        out.skip();
        Ok(())
    }
}

fn refusal(record: &MalformedRecord) -> KafkaError {
    let error = KafkaError::new(KafkaErrorKind::Malformed, format!("malformed: {}", record.error));
    let error = error.at(&record.topic, record.partition).at_offset(record.offset);
    error.remedy_is(
        "correct the format, or let the source go on with `on_malformed(Malformed::SkipAndCount)` or `results()`",
    )
}

impl<T: Send + 'static> OnMalformedRecord<T> for AsResults {
    type Out = Result<T, MalformedRecord>;

    #[inline(always)]
    fn emit(&self, value: T, timestamp_ms: i64, out: &mut SourceCollector<'_, Self::Out>) {
        out.collect_with_timestamp(Ok(value), timestamp_ms);
    }

    #[cold]
    fn reject(
        &self,
        record: MalformedRecord,
        timestamp_ms: i64,
        out: &mut SourceCollector<'_, Self::Out>,
        _: &mut u64,
    ) -> Result<()> {
        out.collect_with_timestamp(Err(record), timestamp_ms);
        Ok(())
    }
}
