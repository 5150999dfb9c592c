//! The enumerator of sources whose splits are known at the start: each reader gets its own, then the end.
//!
//! Its state in checkpoints is whether it has assigned them, and those that came back.

use std::collections::VecDeque;

use crate::Result;
use crate::function::{
    ArchivedState, EnumeratorContext, ReaderContext, SourceSplit, SplitEnumerator,
};

/// Hands the split made for subtask i to reader i.
///
/// **Invariant**: a split is in `returned` or with a reader, never both; a reader asks only after it was told that there are no more,
/// when splits of a failed one have come back.
pub(crate) struct FixedSplits<S, F> {
    /// Makes the splits for a number of readers; taken at the first discovery.
    make: Option<F>,
    returned: VecDeque<S>,
}

impl<S: SourceSplit, F: FnOnce(usize) -> Vec<S> + Send> FixedSplits<S, F> {
    pub(crate) fn new(make: F) -> Box<Self> {
        Box::new(FixedSplits { make: Some(make), returned: VecDeque::new() })
    }
}

impl<S: SourceSplit, F: FnOnce(usize) -> Vec<S> + Send> SplitEnumerator<S> for FixedSplits<S, F> {
    fn discover(&mut self, context: &mut EnumeratorContext<S>) -> Result<()> {
        let Some(make) = self.make.take() else { return Ok(()) };
        let parallelism = context.parallelism();
        for (index, split) in make(parallelism).into_iter().enumerate() {
            context.assign_split(index, split);
        }
        (0..parallelism).for_each(|subtask| context.signal_no_more_splits(subtask));
        Ok(())
    }

    fn handle_split_request(
        &mut self,
        subtask_index: usize,
        context: &mut EnumeratorContext<S>,
    ) -> Result<()> {
        match self.returned.pop_front() {
            Some(split) => context.assign_split(subtask_index, split),
            // Before the discovery there is nothing to say: it will assign to everybody.
            None if self.make.is_some() => {}
            None => context.signal_no_more_splits(subtask_index),
        }
        Ok(())
    }

    fn add_splits_back(&mut self, splits: Vec<S>, _subtask_index: usize) {
        self.returned.extend(splits);
    }

    fn snapshot_state(&self) -> Result<ArchivedState> {
        let returned = self.returned.iter().map(|split| Ok(split.to_archived()?.into_vec()));
        let state: Stored = (self.make.is_none(), returned.collect::<Result<_>>()?);
        Ok(ArchivedState::of(&state)?)
    }

    fn restore_state(&mut self, state: &ArchivedState) -> Result<()> {
        let Some((is_assigned, returned)) = state.get::<Stored>()? else { return Ok(()) };
        if is_assigned {
            self.make = None;
        }
        let returned = returned.iter().map(|bytes| Ok(S::from_archived(bytes)?));
        self.returned = returned.collect::<Result<_>>()?;
        Ok(())
    }
}

/// Were the splits assigned, and archives of those that came back.
type Stored = (bool, Vec<Vec<u8>>);

/// The split of readers that know their part by their index: how far a reader has come. It makes its split itself.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubtaskSplit {
    /// Which reader, from 0.
    pub subtask: u64,
    /// Of how many.
    pub parallelism: u64,
    /// Where it goes on; what that means is the reader's own affair.
    pub position: u64,
}

impl SourceSplit for SubtaskSplit {
    fn split_id(&self) -> String {
        format!("{} of {}", self.subtask, self.parallelism)
    }
}

/// A reader was given the position of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the checkpoint has the position of subtask {} of {} of a source whose records are made by subtask, and this is subtask \
     {} of {}; go on with the parallelism of the checkpoint",
    from.subtask + 1, from.parallelism, to.subtask + 1, to.parallelism
)]
pub struct SubtaskSplitError {
    /// Of the checkpoint.
    pub from: SubtaskSplit,
    /// The reader's own.
    pub to: SubtaskSplit,
}

impl SubtaskSplit {
    /// A reader's own, from its start.
    pub(crate) fn start(context: &ReaderContext) -> Self {
        let (subtask, parallelism) = (context.subtask_index as u64, context.parallelism as u64);
        SubtaskSplit { subtask, parallelism, position: 0 }
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// If it was of other readers.
    pub(crate) fn go_on(&mut self, splits: Vec<Self>) -> Result<(), SubtaskSplitError> {
        for split in splits {
            if (split.subtask, split.parallelism) != (self.subtask, self.parallelism) {
                return Err(SubtaskSplitError { from: split, to: *self });
            }
            *self = split;
        }
        Ok(())
    }
}

/// What a reader of such splits holds: those to read, and whether more may come.
#[derive(Debug)]
pub(crate) struct HeldSplits<S> {
    pub(crate) splits: VecDeque<S>,
    no_more: bool,
}

impl<S: SourceSplit> HeldSplits<S> {
    pub(crate) fn new() -> Self {
        HeldSplits { splits: VecDeque::new(), no_more: false }
    }

    pub(crate) fn add(&mut self, splits: Vec<S>) {
        self.splits.extend(splits);
    }

    pub(crate) fn no_more(&mut self) {
        self.no_more = true;
    }

    pub(crate) fn wants_split(&self) -> bool {
        self.splits.is_empty() && !self.no_more
    }

    pub(crate) fn snapshot(&self) -> Vec<S> {
        self.splits.iter().cloned().collect()
    }

    /// What to answer when no split is at hand.
    pub(crate) fn status_when_empty(&self) -> crate::function::InputStatus {
        use crate::function::InputStatus;
        match (self.splits.is_empty(), self.no_more) {
            (false, _) => InputStatus::MoreAvailable,
            (true, false) => InputStatus::NothingAvailable,
            (true, true) => InputStatus::EndOfInput,
        }
    }
}

/// The four methods of a [`SourceReader`](crate::function::SourceReader) that its field `held` answers.
macro_rules! held_splits {
    () => {
        fn add_splits(&mut self, splits: Vec<Self::Split>) {
            self.held.add(splits);
        }
        fn no_more_splits(&mut self) {
            self.held.no_more();
        }
        fn wants_split(&self) -> bool {
            self.held.wants_split()
        }
        fn snapshot(&self) -> Vec<Self::Split> {
            self.held.snapshot()
        }
    };
}
pub(crate) use held_splits;
