//! The sums as records of a topic: how the job writes them, what readers see, and what befalls the broker.

use super::job::Topic;
use super::verdict::SumRow;
use crate::Random;
use crate::kafka::{Broker, Read, is_settled, read_topic};
use std::time::Duration;
use thalweg::connector::kafka::{Csv, Formatted, KafkaSink, sink_crash_points};

/// Partitions of a topic.
const PARTITIONS: i32 = 3;
/// How long the job waits for a broker before it fails; freezes are shorter and longer than that.
const PATIENCE: Duration = Duration::from_secs(3);
/// Points of the engine that lie between two steps of a commit.
const OF_THE_ENGINE: [&str; 4] =
    ["ckpt.shard_snapshot", "ckpt.all_acked", "ckpt.meta_fsync", "ckpt.published"];

/// The sink of sums.
pub(super) fn sums(topic: &Topic) -> KafkaSink<Formatted<SumRow, Csv<SumRow>>> {
    let sink = KafkaSink::builder(&topic.servers).topic(&topic.name).exactly_once(&topic.name);
    let sink = sink.delivery_timeout(PATIENCE).startup_timeout(PATIENCE);
    sink.format(Csv::new()).key_by(|row: &SumRow| row.key.to_string())
}

/// The rows that readers of committed records see: partition by partition, which has each key's in order.
pub(super) fn committed(topic: &Topic) -> Vec<String> {
    // If it is not, what is open hides what is behind it, which counts as lost.
    is_settled(&topic.servers, &topic.name);
    let messages = read_topic(&topic.servers, &topic.name, Read::Committed);
    messages.iter().map(|message| message.text().trim_end().to_owned()).collect()
}

/// The points at which processes are killed.
pub(super) fn points() -> Vec<&'static str> {
    sink_crash_points::ALL.into_iter().chain(OF_THE_ENGINE).collect()
}

/// A topic for a job.
pub(super) fn topic(broker: &Broker, number: u64) -> Topic {
    let name = format!("sums-{number}");
    broker.create_topic(&name, PARTITIONS);
    Topic { servers: broker.servers(), name }
}

/// What befalls the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outage {
    /// Killed, and started again at once.
    Killed,
    /// Stopped in its tracks for that long.
    Frozen(Duration),
}

impl Outage {
    pub(super) fn draw(random: &mut Random) -> Self {
        match random.below(3) {
            0 => Outage::Killed,
            1 => Outage::Frozen(Duration::from_millis(200 + random.below(1_500))),
            _ => Outage::Frozen(PATIENCE + Duration::from_millis(500 + random.below(2_000))),
        }
    }

    /// Lets it happen, and returns when the broker answers again.
    pub(super) fn happen(self, broker: &Broker) {
        match self {
            Outage::Killed => {
                broker.kill();
                broker.start_again();
            }
            Outage::Frozen(time) => {
                broker.freeze();
                #[expect(clippy::disallowed_methods, reason = "the outage lasts real time")]
                std::thread::sleep(time);
                broker.thaw();
            }
        }
    }
}
