//! The marker of a subtask: which checkpoint's records it has committed last.
//!
//! A marker is a group offset, committed in the same transaction as the records: group `PREFIX-SUBTASK`, partition 0 of the
//! sink's topic, the checkpoint's number as the offset, the run as its metadata. A group is nobody's consumer group, so
//! that it shows up in tools with a lag that means nothing.
//!
//! **Invariant**: after both transactional ids of a subtask were taken over, its marker does not change but by who took
//! them; it is read with stable offsets, so that a commit under way is waited for.

use super::super::client::TracingContext;
use super::super::error::{KafkaError, KafkaErrorKind};
use super::super::native::fetch_brokers;
use super::super::settings::KafkaSettings;
use super::bridge::{Bridge, LANES, Step};
use super::lane::LanePlan;
use super::producer::Patience;
use super::stored::Identity;
use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::topic_partition_list::Offset;
use std::time::Duration;

/// What metadata of markers begin with.
const METADATA: &str = "thalweg 1 run ";
/// The longest that one call waits.
const SLICE: Duration = Duration::from_secs(1);
/// The same in milliseconds.
const SLICE_MS: i32 = 1_000;

/// See the module docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// 0 before the first.
    pub(super) checkpoint: u64,
    pub(super) run: u64,
}

/// The name of a lane's transactions.
pub(super) fn transactional_id(prefix: &str, subtask: usize, lane: usize) -> String {
    format!("{prefix}-{subtask}-{lane}")
}

/// All names of a subtask's transactions.
pub(super) fn transactional_ids(prefix: &str, subtask: usize) -> [String; LANES] {
    std::array::from_fn(|lane| transactional_id(prefix, subtask, lane))
}

/// Where a subtask's marker is.
pub(super) struct MarkerGroup {
    consumer: BaseConsumer<TracingContext>,
    group: String,
    topic: String,
}

impl MarkerGroup {
    pub(super) fn new(
        plan: &LanePlan,
        identity: &Identity,
        subtask: usize,
    ) -> Result<Self, KafkaError> {
        let group = format!("{}-{subtask}", identity.prefix);
        let own = [
            ("group.id", group.as_str()),
            ("enable.auto.commit", "false"),
            // With it a commit of offsets that is under way is waited for.
            ("isolation.level", "read_committed"),
        ];
        let log = TracingContext { operator: plan.operator.clone() };
        let consumer =
            BaseConsumer::from_config_and_context(&plan.settings.client_config(&own), log);
        let consumer = consumer.map_err(|error| KafkaSettings::refused(&error))?;
        Ok(MarkerGroup { consumer, group, topic: identity.topic.clone() })
    }

    /// The group, as a transaction wants it.
    pub(super) fn metadata(&self) -> Result<ConsumerGroupMetadata, KafkaError> {
        self.consumer.group_metadata().ok_or_else(|| {
            let message = format!("the client has no group '{}'", self.group);
            KafkaError::new(KafkaErrorKind::Client, message)
        })
    }

    /// A marker, as a transaction wants it.
    pub(super) fn offsets(&self, marker: Marker) -> Result<TopicPartitionList, KafkaError> {
        let mut offsets = TopicPartitionList::new();
        let mut place = offsets.add_partition(&self.topic, 0);
        let offset = i64::try_from(marker.checkpoint).unwrap_or(i64::MAX);
        place.set_offset(Offset::Offset(offset)).map_err(|error| self.error(&error))?;
        place.set_metadata(format!("{METADATA}{:016x}", marker.run));
        Ok(offsets)
    }

    fn error(&self, error: &ClientError) -> KafkaError {
        let operation = format!("the marker of group '{}' cannot be used", self.group);
        KafkaError::of_client(&operation, error)
    }

    /// The marker as the broker has it; `None` if it has none.
    pub(super) fn read(&self, bridge: &Bridge, patience: Duration) -> Step<Option<Marker>> {
        let patience = Patience::of(patience);
        // Opens the connection; without one the call below says what is wrong.
        let _ = fetch_brokers(self.consumer.client(), SLICE_MS);
        loop {
            let mut place = TopicPartitionList::new();
            place.add_partition(&self.topic, 0);
            let committed = self.consumer.committed_offsets(place, SLICE);
            let found = committed.and_then(|found| {
                let Some(element) = found.find_partition(&self.topic, 0) else { return Ok(None) };
                element.error()?;
                Ok(match element.offset() {
                    Offset::Offset(offset) => Some((offset, element.metadata().to_owned())),
                    _ => None,
                })
            });
            match found {
                Ok(None) => return Ok(None),
                Ok(Some((offset, metadata))) => return Ok(Some(self.parse(offset, &metadata)?)),
                Err(error) => {
                    let error = self.error(&error);
                    if patience.is_over() || error.kind() == KafkaErrorKind::NotAuthorized {
                        return Err(error.into());
                    }
                }
            }
            bridge.pause(Duration::from_millis(50))?;
        }
    }

    fn parse(&self, offset: i64, metadata: &str) -> Result<Marker, KafkaError> {
        let run = metadata.strip_prefix(METADATA).and_then(|run| u64::from_str_radix(run, 16).ok());
        match (u64::try_from(offset), run) {
            (Ok(checkpoint), Some(run)) => Ok(Marker { checkpoint, run }),
            _ => Err(KafkaError::new(
                KafkaErrorKind::Marker,
                format!(
                    "group '{}' has offset {offset} with metadata '{metadata}', which no sink has written",
                    self.group
                ),
            )
            .at(&self.topic, 0)
            .at_offset(offset)
            .remedy_is("the group is used by a consumer: give the sink another prefix")),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.group
    }
}

/// What becomes of an epoch that a checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Its transaction was committed.
    Skip,
    /// It was not, and is aborted: its records are sent again.
    Resend,
}

/// What the user says of a marker that is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingMarker {
    /// The job is refused.
    #[default]
    Refuse,
    /// The records of the checkpoint are in the topic: they are not sent again.
    Committed,
    /// They are not: they are sent.
    NotCommitted,
}

/// Decides on the epoch of `checkpoint` by the marker that was read. Pure.
pub(super) fn resolve(
    group: &str,
    checkpoint: u64,
    run: u64,
    marker: Option<Marker>,
    missing: MissingMarker,
) -> Result<Resolution, KafkaError> {
    match (marker, missing) {
        (Some(marker), _) if marker.run == run => match marker.checkpoint >= checkpoint {
            true => Ok(Resolution::Skip),
            false => Ok(Resolution::Resend),
        },
        (Some(_), _) => Err(KafkaError::new(
            KafkaErrorKind::Marker,
            format!(
                "the marker of group '{group}' is of another run than the checkpoint, which has records of checkpoint \
                 {checkpoint} that may be committed or not"
            ),
        )
        .remedy_is(
            "a job that was begun anew has used the sink's prefix since; go on from a checkpoint of that one, or begin \
             without the checkpoint",
        )),
        (None, MissingMarker::Committed) => Ok(Resolution::Skip),
        (None, MissingMarker::NotCommitted) => Ok(Resolution::Resend),
        (None, MissingMarker::Refuse) => Err(KafkaError::new(
            KafkaErrorKind::Marker,
            format!(
                "group '{group}' has no marker, so that nothing tells whether the records of checkpoint {checkpoint} are \
                 committed"
            ),
        )
        .remedy_is(
            "the group or the topic was deleted, or the broker's `offsets.retention.minutes` is below the job's pause; \
             look into the topic for these records, and say `on_missing_marker` what you have found",
        )),
    }
}

/// A job must not go on from a checkpoint before one whose records are committed: they would be sent again. Pure.
pub(super) fn check_not_behind(
    group: &str,
    (restored, run): (u64, u64),
    marker: Option<Marker>,
) -> Result<(), KafkaError> {
    match marker {
        Some(marker) if marker.run == run && marker.checkpoint > restored => {
            let sent = marker.checkpoint;
            Err(KafkaError::new(
                KafkaErrorKind::Marker,
                format!(
                    "the records of checkpoint {sent} are committed by group '{group}', and the job goes on from checkpoint \
                     {restored}, which is before it: they would be sent again"
                ),
            )
            .remedy_is(format!(
                "go on from checkpoint {sent} or a later one, or begin without a checkpoint"
            )))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(marker: Option<Marker>, missing: MissingMarker, expected: Result<Resolution, &str>) {
        match (resolve("paid-0", 7, 1, marker, missing), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{marker:?}"),
            (Err(error), Err(word)) => {
                assert_eq!(error.kind(), KafkaErrorKind::Marker);
                assert!(error.to_string().contains(word), "{error}");
            }
            (found, expected) => panic!("{marker:?}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn the_marker_decides_and_nothing_is_guessed() {
        let marker = |checkpoint, run| Some(Marker { checkpoint, run });
        check(marker(7, 1), MissingMarker::Refuse, Ok(Resolution::Skip));
        check(marker(8, 1), MissingMarker::Refuse, Ok(Resolution::Skip));
        check(marker(6, 1), MissingMarker::Refuse, Ok(Resolution::Resend));
        check(marker(0, 1), MissingMarker::Committed, Ok(Resolution::Resend));
        check(marker(7, 2), MissingMarker::Committed, Err("another run"));
        check(None, MissingMarker::Refuse, Err("on_missing_marker"));
        check(None, MissingMarker::Committed, Ok(Resolution::Skip));
        check(None, MissingMarker::NotCommitted, Ok(Resolution::Resend));
    }

    #[test]
    fn a_checkpoint_before_the_marker_is_refused() {
        let marker = |checkpoint, run| Some(Marker { checkpoint, run });
        assert!(check_not_behind("g", (7, 1), marker(7, 1)).is_ok());
        assert!(check_not_behind("g", (7, 1), None).is_ok());
        assert!(check_not_behind("g", (7, 1), marker(9, 2)).is_ok());
        let error = check_not_behind("g", (7, 1), marker(9, 1)).unwrap_err();
        assert!(error.to_string().contains("go on from checkpoint 9"), "{error}");
    }

    #[test]
    fn ids_name_prefix_subtask_and_lane() {
        assert_eq!(transactional_ids("paid", 3), ["paid-3-0", "paid-3-1"]);
    }
}
