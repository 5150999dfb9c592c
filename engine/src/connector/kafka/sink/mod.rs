//! The sink: streams into topics, by guarantee.
//!
//! ```text
//! stream ─► packer ─► chunks ─┬─► lane: thread with a producer ─► broker         kept until committed, and in each
//!           (core)            └─► epoch ───────────────────────────────────────► checkpoint until then (write-ahead)
//! ```
//!
//! 1. Records are encoded on the core into chunks, which go to a **lane** as they fill or when nothing more is coming. A lane is
//!    a thread with a producer of librdkafka ([`lane`], [`producer`]); it and the core share a [`bridge`].
//! 2. *At least once*: the checkpoint waits until all that was written before its barrier is acknowledged.
//! 3. *Exactly once*: the records between two barriers, an **epoch**, are sent into a transaction as they come, and travel in
//!    the checkpoint as well. When that is complete, its number is put into the transaction as a group offset, the **marker**
//!    ([`marker`]), and both are committed. Two lanes take turns, so that an epoch is sent while the one before is committed.
//! 4. A restart cannot resume a transaction: whoever takes its id over aborts it. So the marker is read, and an epoch of the
//!    checkpoint that it does not cover is sent again ([`recovery`]). Nothing is lost however long the job was down, also when
//!    the broker has given the transaction up meanwhile.
//!
//! The order of commits is that of [two-phase commit](crate::function::two_phase).
//!
//! **Invariants**
//! - With transactions nothing is committed that is not in a complete checkpoint, and an epoch is committed with its marker
//!   or not at all.
//! - A commit of which it is not known whether it has happened fails the job; the next attempt asks the marker.
//! - The records of a partition come in the order in which the subtask wrote them.

mod bridge;
mod builder;
mod chunk;
mod lane;
mod marker;
mod packer;
mod producer;
mod recovery;
mod stored;
mod writing;

pub use builder::KafkaSinkBuilder;
pub use marker::MissingMarker;
pub use packer::{Formatted, HeadersOut, RecordPacker, WholeRecords};

use self::writing::Opened;
use super::error::KafkaError;
use super::settings::KafkaSettings;
use crate::runtime::CoreWaker;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where a Kafka sink can be made to crash (see [`thalweg_io::crash_point`]).
pub mod crash_points {
    /// The transactional ids of a subtask are taken over; nothing is known of what they have committed.
    pub const FENCED: &str = "kafka.fenced";
    /// The marker is read; nothing is decided.
    pub const MARKER_READ: &str = "kafka.marker_read";
    /// An epoch of the checkpoint is sent again, and not committed.
    pub const RESENT: &str = "kafka.resent";
    /// All that the checkpoint has is committed, and nobody knows.
    pub const RECOVERED: &str = "kafka.recovered";
    /// A transaction is begun; it has no record.
    pub const BEGUN: &str = "kafka.begun";
    /// Records of an epoch are with the client, some of them with the broker.
    pub const SENT: &str = "kafka.sent";
    /// The state of an epoch is taken, and in no checkpoint yet.
    pub const SNAPSHOT: &str = "kafka.snapshot";
    /// All records of an epoch are acknowledged; nothing is committed.
    pub const FLUSHED: &str = "kafka.flushed";
    /// The marker is in the transaction.
    pub const MARKER_SENT: &str = "kafka.marker_sent";
    /// The commit is about to be asked for.
    pub const COMMIT_SENT: &str = "kafka.commit_sent";
    /// The commit has happened, and nobody knows of it.
    pub const COMMITTED: &str = "kafka.committed";

    /// All of them.
    pub const ALL: [&str; 11] = [
        FENCED,
        MARKER_READ,
        RESENT,
        RECOVERED,
        BEGUN,
        SENT,
        SNAPSHOT,
        FLUSHED,
        MARKER_SENT,
        COMMIT_SENT,
        COMMITTED,
    ];
}

/// What a sink promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Guarantee {
    BestEffort,
    AtLeastOnce,
    ExactlyOnce { prefix: String },
}

/// All that a sink is told but the form of its records.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) settings: KafkaSettings,
    pub(super) topic: String,
    pub(super) guarantee: Guarantee,
    pub(super) transaction_timeout: Duration,
    pub(super) delivery_timeout: Duration,
    pub(super) startup_timeout: Duration,
    pub(super) write_ahead_bytes_max: usize,
    pub(super) missing_marker: MissingMarker,
}

/// Writes records into topics of Kafka.
///
/// # Guarantees
/// | | needs | a failure |
/// |---|---|---|
/// | [`exactly_once`](KafkaSinkBuilder::exactly_once) | checkpoints; readers with `isolation.level=read_committed` | neither loses nor repeats a record |
/// | [`at_least_once`](KafkaSinkBuilder::at_least_once), the default | checkpoints | repeats what was written since the last checkpoint |
/// | [`best_effort`](KafkaSinkBuilder::best_effort) | nothing | may lose what is under way, and repeat |
///
/// `explain()` says which holds, with the sources and checkpoints of the job, and names the transactional ids. Without
/// checkpoints an exactly-once sink writes one transaction, committed at the end of input.
///
/// # Exactly once
/// Readers see the records of a checkpoint when it is complete: the interval of checkpoints is the latency. Each subtask has
/// two transactional ids, `PREFIX-SUBTASK-0` and `-1`, and a group `PREFIX-SUBTASK` whose only offset, for partition 0 of the
/// topic, is the number of the last checkpoint that was committed. Give each sink a prefix of its own; a second job with the
/// same one fences the first. Records wait in memory and in the checkpoint until they are committed, so checkpoints are as
/// large as what is written between two of them.
///
/// | setting | default | what it is for |
/// |---|---|---|
/// | [`transaction_timeout`](KafkaSinkBuilder::transaction_timeout) | 15 min | above checkpoint interval + timeout (checked), at most the broker's `transaction.max.timeout.ms` |
/// | [`delivery_timeout`](KafkaSinkBuilder::delivery_timeout) | 2 min | how long a broker may be away before the job fails |
/// | [`startup_timeout`](KafkaSinkBuilder::startup_timeout) | 15 s | the same when the job starts |
/// | [`write_ahead_bytes_max`](KafkaSinkBuilder::write_ahead_bytes_max) | 1 GiB | memory of what waits for checkpoints, each subtask |
/// | broker: `transactional.id.expiration.ms` | 7 days | may be shorter than the job's pauses |
/// | broker: `offsets.retention.minutes` | 7 days | above the job's longest pause: it keeps the marker |
///
/// # When the broker is away
/// - *Shorter than the delivery timeout*: the sink holds the job back when its queue is full, and goes on.
/// - *Longer*: the job fails with [`KafkaErrorKind::TimedOut`](super::KafkaErrorKind), or `Unreachable` at a start, and its
///   restart strategy decides. Nothing is lost: what is not committed is in the checkpoint, or read again.
/// - *Longer than the transaction timeout*: the broker aborts what is open; the job fails
///   ([`KafkaErrorKind::TransactionExpired`](super::KafkaErrorKind)), and its next attempt sends those records again.
/// - *The job is away for longer than the markers are kept*: it is refused ([`KafkaErrorKind::Marker`](super::KafkaErrorKind))
///   unless nothing is open to doubt; look, and say [`on_missing_marker`](KafkaSinkBuilder::on_missing_marker).
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
/// use thalweg::connector::kafka::{Json, KafkaSink};
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.enable_checkpointing(Duration::from_millis(200)).at("/var/lib/payments");
/// let payments = env.from_elements([("alice", 12), ("bob", 7)]);
/// let sink = KafkaSink::builder("localhost:9092").topic("paid").exactly_once("payments");
/// payments.sink_to(sink.format(Json::new()).key_by(|(who, _): &(&str, i32)| who.as_bytes().to_vec()));
/// env.execute("payments")?;
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct KafkaSink<P> {
    plan: Plan,
    packer: P,
    /// Why it cannot be, said when the job starts.
    mistake: Option<KafkaError>,
    /// Between `open` and `initialize_state`.
    core: Option<Arc<CoreWaker>>,
    opened: Option<Opened>,
}

impl<P> fmt::Debug for KafkaSink<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// For the subtasks: a clone is not open.
impl<P: Clone> Clone for KafkaSink<P> {
    fn clone(&self) -> Self {
        let (plan, packer) = (self.plan.clone(), self.packer.clone());
        KafkaSink { plan, packer, mistake: self.mistake.clone(), core: None, opened: None }
    }
}

impl KafkaSink<()> {
    /// A sink that writes to the cluster of these brokers (`host:port`, comma separated).
    pub fn builder(bootstrap_servers: impl Into<String>) -> KafkaSinkBuilder {
        KafkaSinkBuilder::new(KafkaSettings::new(bootstrap_servers))
    }
}
