//! The control-plane side of sources: runs their enumerators and carries splits to their readers.
//!
//! **Invariants**
//! - One coordinator a source and job; it is called from one control thread at a time.
//! - What an enumerator decides is posted to the readers' mailboxes before the call returns.

use crate::Result;
use crate::function::{EnumeratorContext, Source, SourceSplit, SplitEnumerator};
use crate::graph::NodeId;
use crate::operator::source::SplitMailbox;
use std::any::Any;
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
            let coordinator: Box<dyn SourceCoordinator> =
                Box::new(Coordinator { enumerator, mailboxes });
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
}

struct Coordinator<S: SourceSplit> {
    enumerator: Box<dyn SplitEnumerator<S>>,
    mailboxes: Vec<Arc<SplitMailbox<S>>>,
}

impl<S: SourceSplit> Coordinator<S> {
    fn call(
        &mut self,
        code: impl FnOnce(&mut dyn SplitEnumerator<S>, &mut EnumeratorContext<S>) -> Result<()>,
    ) -> Result<()> {
        let mut context = EnumeratorContext::new(self.mailboxes.len());
        code(&mut *self.enumerator, &mut context)?;
        for (subtask, assignment) in context.assignments {
            self.mailboxes[subtask].post(assignment);
        }
        Ok(())
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
}
