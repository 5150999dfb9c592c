//! The enumerators of a job's sources, run on the control thread.
//!
//! **Invariants**
//! - An enumerator's panic is an error of the enumerator; it leaves the control thread whole.
//! - After an error no enumerator of the job is called again: the job fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::BoxError;
use crate::checkpoint::snapshot::{PieceKey, RestoredState, SnapshotPiece};
use crate::error::JobFailure;
use crate::graph::NodeId;
use crate::runtime::coordinator::{RequestPoster, SourceCoordinator};
use crate::runtime::core_loop_panic::caught;
use crate::runtime::deployment::JobId;
use crate::runtime::dispatcher::ControlSender;
use crate::runtime::submission::Submission;
use crate::runtime::submission::blueprint::MailboxesBySource;

/// Which source's enumerator failed, and why.
pub(super) struct Refusal {
    source: NodeId,
    error: BoxError,
    panicked: bool,
}

/// The name of an enumerator's piece.
const PIECE: &str = "enumerator";

/// See the module docs.
#[derive(Default)]
pub(super) struct Sources {
    running: BTreeMap<NodeId, RunningSource>,
    mailboxes: MailboxesBySource,
}

struct RunningSource {
    coordinator: Box<dyn SourceCoordinator>,
    /// On the monotonic clock; `None` for never again.
    next_discovery_ns: Option<u64>,
}

impl Sources {
    /// Makes the enumerators and lets each look for splits once.
    pub(super) fn open(
        &mut self,
        (submission, job): (&Submission, JobId),
        restored: Option<&RestoredState>,
        control: &ControlSender,
        now_ns: u64,
    ) -> Result<(), JobFailure> {
        let mut nodes: Vec<NodeId> = submission.coordinators.keys().copied().collect();
        nodes.sort();
        let opened = nodes.into_iter().try_for_each(|node| {
            self.open_one(submission, node, poster(job, control))?;
            self.restore_one(submission, node, restored)?;
            self.discover_one(node, now_ns)
        });
        opened.map_err(|refusal| self.failure(submission, refusal))
    }

    fn open_one(
        &mut self,
        submission: &Submission,
        node: NodeId,
        poster: RequestPoster,
    ) -> Result<(), Refusal> {
        let parallelism = submission.explain.stream_graph.node(node).parallelism;
        let factory = &submission.coordinators[&node];
        let Some((coordinator, mailboxes)) = guarded(node, || factory.make(parallelism, poster))?
        else {
            return Ok(());
        };
        self.running.insert(node, RunningSource { coordinator, next_discovery_ns: None });
        let keyed = mailboxes.into_iter().enumerate().map(|(subtask, m)| ((node, subtask), m));
        self.mailboxes.extend(keyed);
        Ok(())
    }

    /// Lets an enumerator go on from a checkpoint.
    fn restore_one(
        &mut self,
        submission: &Submission,
        node: NodeId,
        restored: Option<&RestoredState>,
    ) -> Result<(), Refusal> {
        let operator = submission.explain.stream_graph.node(node).operator_id;
        let piece = restored.and_then(|restored| restored.of(operator, PIECE).first());
        match (self.running.get_mut(&node), piece) {
            (Some(source), Some(piece)) => {
                guarded(node, || source.coordinator.restore(&piece.bytes))
            }
            _ => Ok(()),
        }
    }

    /// A barrier begins: what enumerators assign from now on is read behind it. Their states, for its checkpoint.
    pub(super) fn begin_barrier(
        &self,
        submission: &Submission,
    ) -> Result<Vec<SnapshotPiece>, Refusal> {
        let pieces = self.running.iter().map(|(node, source)| {
            let operator = submission.explain.stream_graph.node(*node).operator_id;
            let bytes = guarded(*node, || {
                source.coordinator.begin_barrier();
                source.coordinator.snapshot()
            })?;
            let (key, bytes) = (PieceKey { operator, name: PIECE }, bytes.into());
            Ok(SnapshotPiece { key, subtask: 0, bytes })
        });
        pieces.collect()
    }

    /// The mailboxes of all sources; once.
    pub(super) fn take_mailboxes(&mut self) -> MailboxesBySource {
        std::mem::take(&mut self.mailboxes)
    }

    /// A reader asks for a split.
    pub(super) fn on_request(&mut self, node: NodeId, subtask: usize) -> Result<(), Refusal> {
        let Some(source) = self.running.get_mut(&node) else { return Ok(()) };
        guarded(node, || source.coordinator.on_request(subtask))
    }

    /// Lets those enumerators look for splits whose time has come.
    pub(super) fn discover(&mut self, now_ns: u64) -> Result<(), Refusal> {
        let is_due =
            |source: &RunningSource| source.next_discovery_ns.is_some_and(|at| at <= now_ns);
        let due: Vec<NodeId> =
            self.running.iter().filter(|(_, source)| is_due(source)).map(|(n, _)| *n).collect();
        due.into_iter().try_for_each(|node| self.discover_one(node, now_ns))
    }

    fn discover_one(&mut self, node: NodeId, now_ns: u64) -> Result<(), Refusal> {
        let Some(source) = self.running.get_mut(&node) else { return Ok(()) };
        source.next_discovery_ns = guarded(node, || {
            source.coordinator.discover()?;
            Ok(source.coordinator.discovery_interval())
        })?
        // A look each millisecond is as often as makes sense; an interval of zero would leave no time for the rest.
        .map(|interval| u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1_000_000))
        .map(|interval_ns| now_ns.saturating_add(interval_ns));
        Ok(())
    }

    /// When the next enumerator is due.
    pub(super) fn next_discovery_ns(&self) -> Option<u64> {
        self.running.values().filter_map(|source| source.next_discovery_ns).min()
    }

    /// The job's failure that a refusal is.
    pub(super) fn failure(&self, submission: &Submission, refusal: Refusal) -> JobFailure {
        let Refusal { source, error, panicked } = refusal;
        JobFailure {
            job: submission.name.clone(),
            operator: format!(
                "{} (split enumerator)",
                submission.explain.stream_graph.node(source).name
            ),
            subtask: 0,
            parallelism: 0,
            record: 0,
            panicked,
            message: error.to_string(),
            cause: (!panicked).then(|| Arc::from(error)),
        }
    }
}

fn poster(job: JobId, control: &ControlSender) -> RequestPoster {
    let control = control.clone();
    Arc::new(move |source, subtask| control.split_request(job, source, subtask))
}

fn guarded<R>(source: NodeId, code: impl FnOnce() -> crate::Result<R>) -> Result<R, Refusal> {
    match caught(code) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(Refusal { source, error, panicked: false }),
        Err(text) => Err(Refusal { source, error: text.into(), panicked: true }),
    }
}
