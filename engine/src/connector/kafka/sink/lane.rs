//! A lane: the thread that has a producer, sends what the core hands over, and commits.
//!
//! **Invariants**
//! - Epochs of all lanes are delivered in order, and committed in order.
//! - A lane that ends, for whatever reason, without being told to, fails the sink: the core never waits for nobody.

use super::super::error::{KafkaError, KafkaErrorKind};
use super::super::settings::KafkaSettings;
use super::bridge::{Bridge, LANES, Step, Stop, Work};
use super::crash_points;
use super::marker::{Marker, MarkerGroup, MissingMarker, transactional_id};
use super::producer::Producer;
use super::recovery::{Restored, recover};
use super::stored::Identity;
use crate::Result;
use crate::runtime::threads::spawn_named;
use std::sync::Arc;
use std::time::Duration;
use thalweg_io::crash_point;

/// Between two looks at deliveries while nothing comes.
const IDLE_LOOK: Duration = Duration::from_millis(5);
/// The same when nothing is under way either: failures of the client are noticed then.
const IDLE_LOOK_EMPTY: Duration = Duration::from_millis(200);

/// What lanes need to know; of one subtask.
#[derive(Clone, Debug)]
pub(super) struct LanePlan {
    /// In the plan.
    pub(super) operator: String,
    pub(super) settings: KafkaSettings,
    pub(super) identity: Identity,
    pub(super) subtask: usize,
    pub(super) parallelism: usize,
    pub(super) has_transactions: bool,
    pub(super) transaction_timeout: Duration,
    /// How long a broker that does not answer is waited for, at work.
    pub(super) delivery_timeout: Duration,
    /// The same at the start.
    pub(super) startup_timeout: Duration,
    pub(super) missing_marker: MissingMarker,
    pub(super) is_idempotent: bool,
}

impl LanePlan {
    fn thread_name(&self) -> String {
        format!("kafka sink {} {}", self.operator, self.subtask)
    }

    /// A producer for the transactions of a lane of this or another subtask.
    pub(super) fn transactional_producer(
        &self,
        identity: &Identity,
        subtask: usize,
        lane: usize,
    ) -> Result<Producer, KafkaError> {
        let id = transactional_id(&identity.prefix, subtask, lane);
        let timeout_ms = self.transaction_timeout.as_millis().to_string();
        let message_ms =
            self.delivery_timeout.min(self.transaction_timeout).as_millis().to_string();
        let own = [
            ("transactional.id", id.as_str()),
            ("transaction.timeout.ms", &timeout_ms),
            ("message.timeout.ms", &message_ms),
            ("acks", "all"),
        ];
        self.producer(&own)
    }

    fn plain_producer(&self) -> Result<Producer, KafkaError> {
        let message_ms = self.delivery_timeout.as_millis().to_string();
        let idempotence = if self.is_idempotent { "true" } else { "false" };
        let own = [("enable.idempotence", idempotence), ("message.timeout.ms", &message_ms)];
        self.producer(&own)
    }

    fn producer(&self, own: &[(&str, &str)]) -> Result<Producer, KafkaError> {
        let mut settings = self.settings.clone();
        for (name, value) in DEFAULTS {
            if settings.get(name).is_none() {
                settings = settings.property(name, value);
            }
        }
        Producer::new(&settings, own, &self.operator)
    }
}

/// Where librdkafka's own are others.
const DEFAULTS: [(&str, &str); 4] = [
    // A mistyped topic is an error and not a new topic.
    ("allow.auto.create.topics", "false"),
    // Keys go to the partitions to which Kafka's own producer sends them.
    ("partitioner", "murmur2_random"),
    // Records of chunks wait in the client, at most these; more wait in the sink, which holds the job back.
    ("queue.buffering.max.kbytes", "65536"),
    ("queue.buffering.max.messages", "500000"),
];

/// Fails the sink if its lane ends by a panic.
struct EndGuard(Arc<Bridge>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let message = "a thread of the sink has panicked";
            let error = KafkaError::new(KafkaErrorKind::Client, message);
            self.0.fail(
                error.remedy_is("this is a mistake of the sink: please report it with the log"),
            );
        }
    }
}

/// Starts the lanes of a subtask; what the checkpoint has is committed before anything else.
pub(super) fn start(bridge: &Arc<Bridge>, plan: LanePlan, restored: Restored) -> Result<()> {
    let guarded = EndGuard(bridge.clone());
    let name = plan.thread_name();
    spawn_named(&name, move || {
        let bridge = guarded.0.clone();
        let outcome = match plan.has_transactions {
            true => run_first(&bridge, plan, restored),
            false => run_plain(&bridge, &plan),
        };
        end(&bridge, outcome);
        drop(guarded);
    })?;
    Ok(())
}

fn end(bridge: &Bridge, outcome: Step) {
    if let Err(Stop::Failed(error)) = outcome {
        bridge.fail(error);
    }
}

/// Lane 0 with transactions: recovers, starts the others, and works.
fn run_first(bridge: &Arc<Bridge>, plan: LanePlan, restored: Restored) -> Step {
    let producers = recover(bridge, &plan, &restored)?;
    drop(restored);
    bridge.recovered();
    let mut first = None;
    for (index, producer) in producers.into_iter().enumerate() {
        let lane = Lane::new(bridge, &plan, index, producer)?;
        if index == 0 {
            first = Some(lane);
            continue;
        }
        let guarded = EndGuard(bridge.clone());
        let started = spawn_named(&plan.thread_name(), move || {
            end(&guarded.0, lane.run());
            drop(guarded);
        });
        if let Err(error) = started {
            return Err(KafkaError::new(KafkaErrorKind::Client, error.to_string()).into());
        }
    }
    first.map_or(Ok(()), Lane::run)
}

/// A producer with its epochs.
struct Lane {
    bridge: Arc<Bridge>,
    index: usize,
    producer: Producer,
    group: MarkerGroup,
    topic: String,
    run: u64,
    patience: Duration,
}

impl Lane {
    fn new(
        bridge: &Arc<Bridge>,
        plan: &LanePlan,
        index: usize,
        producer: Producer,
    ) -> Result<Self, KafkaError> {
        let group = MarkerGroup::new(plan, &plan.identity, plan.subtask)?;
        let (run, patience) = (plan.identity.run, plan.delivery_timeout);
        let (bridge, topic) = (bridge.clone(), plan.identity.topic.clone());
        Ok(Lane { bridge, index, producer, group, topic, run, patience })
    }

    fn run(self) -> Step {
        let mut has_begun = false;
        let outcome = (self.index as u64..)
            .step_by(LANES)
            .try_for_each(|sequence| self.run_epoch(sequence, &mut has_begun));
        if matches!(outcome, Err(Stop::Closed)) && has_begun {
            self.producer.abort();
        }
        outcome
    }

    /// Sends an epoch and commits it.
    fn run_epoch(&self, sequence: u64, has_begun: &mut bool) -> Step {
        let checkpoint = loop {
            match self.next_work()? {
                Work::Records(chunk) => {
                    self.begin(sequence, has_begun)?;
                    self.producer.send_all(&self.bridge, &self.topic, &chunk.bytes)?;
                    crash_point(crash_points::SENT);
                    self.bridge.sent(chunk);
                }
                Work::End { sequence: ended, checkpoint } => {
                    debug_assert_eq!(ended, sequence, "epochs come in order");
                    break checkpoint;
                }
            }
        };
        self.begin(sequence, has_begun)?;
        self.producer.flush(&self.bridge)?;
        crash_point(crash_points::FLUSHED);
        self.bridge.flushed(sequence);
        self.bridge.wait_turn_to_commit(sequence)?;
        let marker = self.group.offsets(Marker { checkpoint: checkpoint.0, run: self.run })?;
        let group = self.group.metadata()?;
        self.producer.commit(&self.bridge, (&marker, &group), self.patience)?;
        *has_begun = false;
        self.bridge.committed(sequence);
        Ok(())
    }

    /// Begins the transaction when all epochs before are delivered.
    fn begin(&self, sequence: u64, has_begun: &mut bool) -> Step {
        if !*has_begun {
            self.bridge.wait_flushed_before(sequence)?;
            self.producer.begin_transaction()?;
            *has_begun = true;
            crash_point(crash_points::BEGUN);
        }
        Ok(())
    }

    fn next_work(&self) -> Step<Work> {
        next_work(&self.bridge, self.index, &self.producer)
    }
}

/// The next piece of work; what is delivered meanwhile is taken note of.
fn next_work(bridge: &Bridge, lane: usize, producer: &Producer) -> Step<Work> {
    loop {
        let limit = if producer.in_flight() { IDLE_LOOK } else { IDLE_LOOK_EMPTY };
        if let Some(work) = bridge.next_work(lane, limit)? {
            return Ok(work);
        }
        producer.look()?;
    }
}

/// The only lane without transactions.
fn run_plain(bridge: &Arc<Bridge>, plan: &LanePlan) -> Step {
    let producer = plan.plain_producer()?;
    producer.check_topic(bridge, &plan.identity.topic, plan.startup_timeout)?;
    bridge.recovered();
    loop {
        match next_work(bridge, 0, &producer)? {
            Work::Records(chunk) => {
                producer.send_all(bridge, &plan.identity.topic, &chunk.bytes)?;
                crash_point(crash_points::SENT);
                bridge.sent(chunk);
            }
            Work::End { sequence, .. } => {
                producer.flush(bridge)?;
                crash_point(crash_points::FLUSHED);
                bridge.flushed(sequence);
            }
        }
    }
}
