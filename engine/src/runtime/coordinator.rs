//! The control-plane side of sources: runs their enumerators and carries splits to their readers.
//!
//! **Invariants**
//! - One coordinator a source and job; it is called from one control thread at a time.
//! - What an enumerator decides is posted to the readers' mailboxes before the call returns.
//! - A split is assigned once, also across restarts: an enumerator that keeps no state of its own finds its splits again,
//!   and those whose ids are in the checkpoint are passed over.

use crate::Result;
use crate::function::{
    ArchivedState, Assignment, EnumeratorContext, Source, SourceSplit, SplitEnumerator,
};
use crate::graph::NodeId;
use crate::operator::pieces::{PieceCause, from_bytes, to_bytes};
use crate::operator::source::SplitMailbox;
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Posts a reader's request for a split to the control plane: (source, subtask).
pub(crate) type RequestPoster = Arc<dyn Fn(NodeId, usize) + Send + Sync>;

/// A source's mailboxes, by subtask: `Arc<SplitMailbox<S>>` each.
pub(crate) type Mailboxes = Vec<Box<dyn Any + Send + Sync>>;

/// Makes a source's coordinator and mailboxes for one execution; `None` for sources without splits.
pub(crate) struct SourceCoordinatorFactory(MakeCoordinator);

type MakeCoordinator = Box<
    dyn Fn(usize, RequestPoster) -> Result<Option<(Box<dyn SourceCoordinator>, Mailboxes)>>
        + Send
        + Sync,
>;

impl SourceCoordinatorFactory {
    pub(crate) fn new<S: Source>(node: NodeId, source: Arc<S>) -> Self {
        SourceCoordinatorFactory(Box::new(move |parallelism, poster| {
            let Some(enumerator) = source.create_enumerator()? else { return Ok(None) };
            let mailbox = |subtask| {
                let poster = poster.clone();
                SplitMailbox::<S::Split>::new(Box::new(move || poster(node, subtask)))
            };
            let mailboxes: Vec<_> = (0..parallelism).map(mailbox).collect();
            let erased =
                mailboxes.iter().map(|m| Box::new(m.clone()) as Box<dyn Any + Send + Sync>);
            let erased = erased.collect();
            let keeps_state = !enumerator.snapshot_state()?.is_none();
            let coordinator: Box<dyn SourceCoordinator> = Box::new(Coordinator {
                enumerator,
                mailboxes,
                assigned: (!keeps_state).then(BTreeSet::new),
                assigned_before: BTreeSet::new(),
            });
            Ok(Some((coordinator, erased)))
        }))
    }

    pub(crate) fn make(
        &self,
        parallelism: usize,
        poster: RequestPoster,
    ) -> Result<Option<(Box<dyn SourceCoordinator>, Mailboxes)>> {
        (self.0)(parallelism, poster)
    }
}

/// A source's enumerator with its types hidden.
pub(crate) trait SourceCoordinator: Send {
    /// Looks for splits: at the start and then each [`discovery_interval`](Self::discovery_interval).
    fn discover(&mut self) -> Result<()>;
    /// How often to look again.
    fn discovery_interval(&self) -> Option<Duration>;
    /// A reader asks for a split.
    fn on_request(&mut self, subtask: usize) -> Result<()>;
    /// The enumerator's state, for a checkpoint that [begins](Self::begin_barrier) in the same breath.
    fn snapshot(&self) -> Result<Vec<u8>>;
    /// Goes on from a checkpoint; before the first discovery.
    fn restore(&mut self, bytes: &[u8]) -> Result<()>;
    /// What is assigned from now on is read behind the barrier that is ordered next.
    fn begin_barrier(&self);
}

struct Coordinator<S: SourceSplit> {
    enumerator: Box<dyn SplitEnumerator<S>>,
    mailboxes: Vec<Arc<SplitMailbox<S>>>,
    /// Ids of all splits that were ever assigned; `None` where the enumerator keeps state itself.
    assigned: Option<BTreeSet<String>>,
    /// Of those, the ones of the checkpoint that are not found again yet: their readers have them.
    assigned_before: BTreeSet<String>,
}

/// The enumerator's state, and the ids of the splits that were assigned if it has none.
type Stored = (Vec<u8>, Vec<String>);

/// An enumerator cannot go on from a checkpoint.
#[derive(Debug, thiserror::Error)]
#[error("the state of the split enumerator cannot be restored: {cause}")]
struct EnumeratorStateError {
    #[source]
    cause: PieceCause,
}

impl<S: SourceSplit> Coordinator<S> {
    fn call(
        &mut self,
        code: impl FnOnce(&mut dyn SplitEnumerator<S>, &mut EnumeratorContext<S>) -> Result<()>,
    ) -> Result<()> {
        let mut context = EnumeratorContext::new(self.mailboxes.len());
        code(&mut *self.enumerator, &mut context)?;
        for (subtask, assignment) in context.assignments {
            if let Some(assignment) = self.admit(assignment) {
                self.mailboxes[subtask].post(assignment);
            }
        }
        Ok(())
    }

    /// The assignment without splits that readers have from the checkpoint.
    fn admit(&mut self, assignment: Assignment<S>) -> Option<Assignment<S>> {
        let Some(assigned) = &mut self.assigned else { return Some(assignment) };
        let mut splits = match assignment {
            Assignment::Splits(splits) => splits,
            Assignment::NoMore => return Some(assignment),
        };
        splits.retain(|split| !self.assigned_before.remove(&split.split_id()));
        assigned.extend(splits.iter().map(SourceSplit::split_id));
        (!splits.is_empty()).then_some(Assignment::Splits(splits))
    }
}

impl<S: SourceSplit> SourceCoordinator for Coordinator<S> {
    fn discover(&mut self) -> Result<()> {
        self.call(|enumerator, context| enumerator.discover(context))
    }
    fn discovery_interval(&self) -> Option<Duration> {
        self.enumerator.discovery_interval()
    }
    fn on_request(&mut self, subtask: usize) -> Result<()> {
        self.call(|enumerator, context| enumerator.handle_split_request(subtask, context))
    }
    fn snapshot(&self) -> Result<Vec<u8>> {
        let state = self.enumerator.snapshot_state()?.into_bytes();
        let assigned = self.assigned.iter().flatten().cloned().collect();
        let stored: Stored = (state, assigned);
        Ok(to_bytes(&stored)?)
    }
    fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        let (state, assigned): Stored =
            from_bytes(bytes).map_err(|cause| EnumeratorStateError { cause })?;
        let state = ArchivedState::from_bytes(state);
        if !state.is_none() {
            self.enumerator.restore_state(&state)?;
        }
        if let Some(all) = &mut self.assigned {
            self.assigned_before = assigned.iter().cloned().collect();
            all.extend(assigned);
        }
        Ok(())
    }
    fn begin_barrier(&self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.begin_barrier());
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
