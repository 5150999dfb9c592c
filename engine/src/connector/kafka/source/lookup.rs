//! What the enumerator has to ask brokers: which topics and partitions there are, and where they begin and end.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::bridge::{replaced, watermarks};
use super::position::{EndPosition, OffsetReset, Offsets, StartPosition, TopicPartition};
use super::reach::{ATTEMPT, ATTEMPT_MS, Brokers};
use super::split::KafkaSplit;
use super::topics::Topics;
use crate::connector::kafka::error::{KafkaError, KafkaErrorKind};
use crate::connector::kafka::native::{Client, TopicDescription, describe_topics};

/// Partitions that were found before, and the ids of their topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) partitions: BTreeMap<TopicPartition, String>,
    /// It has been looked once: what is found from now on is new.
    pub(super) has_looked: bool,
}

/// What to look for.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) brokers: Brokers,
    pub(super) topics: Topics,
    pub(super) start: StartPosition,
    pub(super) end: Option<EndPosition>,
    /// Others may come: that there is none is no mistake.
    pub(super) may_wait: bool,
}

impl Lookup {
    /// The partitions that are not known, each with its start and end.
    pub(super) fn look(
        &self,
        client: &Client,
        known: &Known,
        is_over: impl Fn() -> bool + Copy,
    ) -> Result<Vec<KafkaSplit>, KafkaError> {
        let topics = self.topics(client, known, is_over)?;
        if !known.has_looked {
            self.check_named(&topics)?;
        }
        let is_new = |topic: &TopicDescription, partition: i32| {
            !known.partitions.contains_key(&(topic.name.clone(), partition))
        };
        let mut splits = Vec::new();
        for topic in &topics {
            let count = i32::try_from(topic.partition_count).unwrap_or(i32::MAX);
            for partition in (0..count).filter(|partition| is_new(topic, *partition)) {
                let ask = || self.split(client, topic, partition, known.has_looked);
                splits.push(self.brokers.patiently(is_over, ask)?);
            }
        }
        Ok(splits)
    }

    /// The topics that are read, described.
    fn topics(
        &self,
        client: &Client,
        known: &Known,
        is_over: impl Fn() -> bool + Copy,
    ) -> Result<Vec<TopicDescription>, KafkaError> {
        let mut names: BTreeSet<String> = match &self.topics {
            Topics::Named(names) => names.iter().cloned().collect(),
            Topics::Pattern(pattern) => {
                let all = self.brokers.patiently(is_over, || all_topics(client))?;
                all.into_iter().filter(|name| pattern.is_match(name)).collect()
            }
        };
        if names.is_empty() && known.partitions.is_empty() && !self.may_wait {
            let text = format!("no topic matches {}", self.topics);
            let error = KafkaError::new(KafkaErrorKind::UnknownTopic, text);
            return Err(
                error.remedy_is("correct the pattern, or wait for topics with `discover_every`")
            );
        }
        let ids: BTreeMap<&str, &str> =
            known.partitions.iter().map(|((topic, _), id)| (topic.as_str(), id.as_str())).collect();
        names.extend(ids.keys().map(|name| (*name).to_owned()));
        let names: Vec<String> = names.into_iter().collect();
        let described =
            self.brokers.patiently(is_over, || describe_topics(client, &names, ATTEMPT_MS))?;
        let topics = described.into_iter().map(|topic| match topic {
            Ok(topic) if ids.get(&*topic.name).is_some_and(|id| *id != topic.id) => {
                Err(replaced(&topic.name))
            }
            Err(error) if error.topic().is_some_and(|topic| ids.contains_key(topic)) => {
                Err(error.kind_is(KafkaErrorKind::TopicReplaced))
            }
            other => other,
        });
        topics.collect()
    }

    /// Are the partitions there whose offsets are named?
    fn check_named(&self, topics: &[TopicDescription]) -> Result<(), KafkaError> {
        let start = match &self.start {
            StartPosition::Offsets(offsets) => Some(offsets),
            _ => None,
        };
        let end = match &self.end {
            Some(EndPosition::Offsets(offsets)) => Some(offsets),
            _ => None,
        };
        let is_there = |(name, partition): &&TopicPartition| {
            let count = |topic: &TopicDescription| i32::try_from(topic.partition_count);
            let topic = topics.iter().find(|topic| topic.name == *name);
            topic.is_some_and(|topic| (0..count(topic).unwrap_or(i32::MAX)).contains(partition))
        };
        let mut named = start.into_iter().chain(end).flat_map(Offsets::partitions);
        match named.find(|partition| !is_there(partition)) {
            None => Ok(()),
            Some((topic, partition)) => {
                let text =
                    "an offset is named for it, and it is not among the partitions that are read";
                let error = KafkaError::new(KafkaErrorKind::UnknownPartition, text);
                Err(error
                    .at(topic, *partition)
                    .remedy_is("name offsets of partitions that are there"))
            }
        }
    }

    fn split(
        &self,
        client: &Client,
        topic: &TopicDescription,
        partition: i32,
        is_late: bool,
    ) -> Result<KafkaSplit, KafkaError> {
        let place = Place { client, topic: &topic.name, partition };
        let log = watermarks(client, &topic.name, partition)?;
        let position = if is_late { log.0 } else { self.start(&place, log)? };
        let end = self.end(&place, log)?;
        let (topic, topic_id) = (topic.name.clone(), topic.id.clone());
        Ok(KafkaSplit { topic, topic_id, partition, position, end })
    }

    fn start(&self, place: &Place<'_>, (first, end): (i64, i64)) -> Result<i64, KafkaError> {
        match &self.start {
            StartPosition::Earliest => Ok(first),
            StartPosition::Latest => Ok(end),
            StartPosition::Timestamp(at_ms) => Ok(place.at_time(*at_ms)?.unwrap_or(end).max(first)),
            StartPosition::Offsets(offsets) => match offsets.get(place.topic, place.partition) {
                None => Ok(first),
                Some(offset) if (first..=end).contains(&offset) => Ok(offset),
                Some(offset) => {
                    let text =
                        format!("the start offset is not within {first}..={end}, which is kept");
                    let error = KafkaError::new(KafkaErrorKind::OffsetOutOfRange, text);
                    let error = error.at(place.topic, place.partition).at_offset(offset);
                    Err(error.remedy_is("name an offset within, or another start position"))
                }
            },
            StartPosition::Committed { or } => match (place.committed()?, or) {
                (Some(offset), _) if (first..=end).contains(&offset) => Ok(offset),
                (_, OffsetReset::Earliest) => Ok(first),
                (_, OffsetReset::Latest) => Ok(end),
                (committed, OffsetReset::Fail) => {
                    let text = match committed {
                        None => "the group has committed no offset".to_owned(),
                        Some(offset) => format!(
                            "the group has committed offset {offset}, which is not within {first}..={end}, which is kept"
                        ),
                    };
                    let error = KafkaError::new(KafkaErrorKind::OffsetOutOfRange, text);
                    let error = error.at(place.topic, place.partition);
                    Err(error.remedy_is(
                        "say where to begin then: `StartPosition::Committed { or: OffsetReset::Earliest }`",
                    ))
                }
            },
        }
    }

    fn end(&self, place: &Place<'_>, (_, end): (i64, i64)) -> Result<Option<i64>, KafkaError> {
        match &self.end {
            None => Ok(None),
            Some(EndPosition::Latest) => Ok(Some(end)),
            Some(EndPosition::Timestamp(at_ms)) => Ok(Some(place.at_time(*at_ms)?.unwrap_or(end))),
            Some(EndPosition::Offsets(offsets)) => {
                match offsets.get(place.topic, place.partition) {
                    Some(offset) => Ok(Some(offset)),
                    None => {
                        let text = "no end offset is named for it";
                        let error = KafkaError::new(KafkaErrorKind::Setting, text);
                        let error = error.at(place.topic, place.partition);
                        Err(error
                            .remedy_is("name one for each partition in `EndPosition::Offsets`"))
                    }
                }
            }
        }
    }
}

/// A partition, and who to ask about it.
struct Place<'a> {
    client: &'a Client,
    topic: &'a str,
    partition: i32,
}

impl Place<'_> {
    fn error(&self, what: &str, error: &rdkafka::error::KafkaError) -> KafkaError {
        KafkaError::of_client(what, error).at(self.topic, self.partition)
    }

    /// A list of this partition alone, with an offset.
    fn list(&self, offset: Offset) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(self.topic, self.partition, offset);
        added.map_err(|error| self.error("it cannot be asked for", &error))?;
        Ok(list)
    }

    fn offset(&self, list: &TopicPartitionList) -> Result<Option<i64>, KafkaError> {
        let Some(found) = list.find_partition(self.topic, self.partition) else { return Ok(None) };
        found.error().map_err(|error| self.error("it cannot be asked for", &error))?;
        match found.offset() {
            Offset::Offset(offset) => Ok(Some(offset)),
            _ => Ok(None),
        }
    }

    /// The offset of the first record with this time or a later one.
    fn at_time(&self, at_ms: i64) -> Result<Option<i64>, KafkaError> {
        let asked = self.list(Offset::Offset(at_ms))?;
        let found = self.client.offsets_for_times(asked, ATTEMPT);
        self.offset(
            &found.map_err(|error| self.error("cannot ask for the offset of a time", &error))?,
        )
    }

    /// What the group has committed.
    fn committed(&self) -> Result<Option<i64>, KafkaError> {
        let asked = self.list(Offset::Invalid)?;
        let found = self.client.committed_offsets(asked, ATTEMPT);
        let what = "cannot ask for the group's committed offset";
        self.offset(&found.map_err(|error| self.error(what, &error))?)
    }
}

/// The names of all topics but the broker's own.
fn all_topics(client: &Client) -> Result<Vec<String>, KafkaError> {
    let metadata = client.fetch_metadata(None, ATTEMPT);
    let metadata =
        metadata.map_err(|error| KafkaError::of_client("cannot ask for the topics", &error))?;
    let names = metadata.topics().iter().map(|topic| topic.name());
    Ok(names.filter(|name| !name.starts_with("__")).map(str::to_owned).collect())
}
