//! What checkpoints call of rich functions: Flink's `CheckpointedFunction` and `CheckpointListener`.
//!
//! Rust cannot ask at run time whether a function has more traits, so the hooks are methods of each function trait, with
//! defaults that do nothing.

use crate::record::CheckpointId;
use thalweg_state::{OperatorContext, OperatorContextMut, OperatorStateStore};

/// What a function may know and do when a checkpoint is taken of it: its operator state, to be brought up to date.
///
/// Keyed state needs nothing: it is in the checkpoint as it is. So is operator state that is changed record by record.
///
/// # Examples
/// A function that keeps what it has not passed on in a field, and puts it into state at checkpoints alone:
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::{self, TestDriver};
///
/// /// Passes words on by twos.
/// #[derive(Clone, Default)]
/// struct Pairs { waiting: Vec<String>, state: OperatorListState<String> }
///
/// impl FlatMapFunction for Pairs {
///     type In = String;
///     type Out = (String, String);
///     fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
///         self.state = context.operator_list_state(ListStateDescriptor::new("waiting"))?;
///         // Empty unless the job goes on from a checkpoint.
///         self.waiting = self.state.take(context)?;
///         Ok(())
///     }
///     fn flat_map(&mut self, word: String, out: &mut Collector<'_, (String, String)>) -> thalweg::Result<()> {
///         match self.waiting.pop() {
///             Some(first) => out.collect((first, word)),
///             None => self.waiting.push(word),
///         }
///         Ok(())
///     }
///     fn snapshot_state(&mut self, context: &mut SnapshotContext<'_>) -> thalweg::Result<()> {
///         Ok(self.state.update(context, self.waiting.clone())?)
///     }
/// }
/// # let mut test = TestDriver::new(|env| {
/// #     let words = env.from_source(testing::input::<String>(), "words");
/// #     words.flat_map_with(Pairs::default()).sink_to(testing::output()).name("pairs");
/// # });
/// # test.pipe("words", ["to", "be"].map(String::from));
/// # assert_eq!(test.outputs::<(String, String)>("pairs"), [("to".to_owned(), "be".to_owned())]);
/// ```
#[derive(Debug)]
pub struct SnapshotContext<'a> {
    pub(crate) checkpoint: CheckpointId,
    pub(crate) states: &'a mut OperatorStateStore,
}

impl SnapshotContext<'_> {
    /// Which checkpoint it is.
    pub fn checkpoint_id(&self) -> CheckpointId {
        self.checkpoint
    }
}

impl OperatorContext for SnapshotContext<'_> {
    fn operator_states(&self) -> &OperatorStateStore {
        self.states
    }
}

impl OperatorContextMut for SnapshotContext<'_> {
    fn operator_states_mut(&mut self) -> &mut OperatorStateStore {
        self.states
    }
}

/// The hooks of a function trait, which does what checkpoints ask of it.
macro_rules! checkpoint_hooks {
    () => {
        /// A checkpoint is being taken: brings operator state up to date that is kept in fields between checkpoints. Called between
        /// two records, after all records of before the checkpoint and before all others. What is read back is there in
        /// `open`, where [`is_restored`](crate::function::RuntimeContext::is_restored) says whether there is any.
        ///
        /// # Errors
        /// Any error fails the job.
        fn snapshot_state(
            &mut self,
            _context: &mut $crate::function::SnapshotContext<'_>,
        ) -> $crate::Result<()> {
            Ok(())
        }
        /// A checkpoint is complete: all tasks have theirs on disk. Called some time later, between records; not at all if the job
        /// fails before. It holds for all checkpoints before that were not told of, too.
        ///
        /// # Errors
        /// Any error fails the job.
        fn notify_checkpoint_complete(
            &mut self,
            _checkpoint: $crate::record::CheckpointId,
        ) -> $crate::Result<()> {
            Ok(())
        }
        /// A checkpoint was given up; a later one will have what it would have had.
        ///
        /// # Errors
        /// Any error fails the job.
        fn notify_checkpoint_aborted(
            &mut self,
            _checkpoint: $crate::record::CheckpointId,
        ) -> $crate::Result<()> {
            Ok(())
        }
    };
}
pub(crate) use checkpoint_hooks;

/// The same for a function that wraps another one: passes them on.
macro_rules! pass_hooks_on {
    ($inner:tt) => {
        fn snapshot_state(
            &mut self,
            context: &mut $crate::function::SnapshotContext<'_>,
        ) -> $crate::Result<()> {
            self.$inner.snapshot_state(context)
        }
        fn notify_checkpoint_complete(
            &mut self,
            checkpoint: $crate::record::CheckpointId,
        ) -> $crate::Result<()> {
            self.$inner.notify_checkpoint_complete(checkpoint)
        }
        fn notify_checkpoint_aborted(
            &mut self,
            checkpoint: $crate::record::CheckpointId,
        ) -> $crate::Result<()> {
            self.$inner.notify_checkpoint_aborted(checkpoint)
        }
    };
}
pub(crate) use pass_hooks_on;
