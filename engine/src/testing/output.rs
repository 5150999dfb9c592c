//! [`output`]: a sink that a test reads.

use super::hub::{Hub, Port};
use crate::Result;
use crate::exchange::valve::{Valve, ValveState};
use crate::function::{RuntimeContext, Sink};
use crate::record::{CheckpointId, Control, NO_TIMESTAMP, StreamStatus};
use crate::sync::{Mutex, lock};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// What a stream has brought to an [`output`], in sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputEvent<T> {
    /// A record.
    Record {
        /// The record.
        value: T,
        /// Its timestamp in milliseconds, if it has one.
        timestamp_ms: Option<i64>,
    },
    /// A watermark, in milliseconds; `i64::MAX` at the end of input.
    Watermark(i64),
    /// The stream went idle or active.
    Status(StreamStatus),
}

/// A sink whose records a [`TestDriver`](super::TestDriver) reads, by the sink's name. Belongs into the closure that
/// writes the driver's job.
///
/// With several subtasks their records come as they were emitted, and their watermarks and statuses are joined as in
/// front of any operator: the least watermark of all that are not idle.
///
/// # Examples
///
/// ```
/// use thalweg::testing::{self, OutputEvent, TestDriver};
///
/// let mut test = TestDriver::new(|env| {
///     env.from_source(testing::input::<i32>(), "in").sink_to(testing::output()).name("out");
/// });
/// test.pipe_at("in", [(1_000, 7)]);
/// test.watermark("in", 999);
/// assert_eq!(
///     test.events::<i32>("out"),
///     [OutputEvent::Record { value: 7, timestamp_ms: Some(1_000) }, OutputEvent::Watermark(999)]
/// );
/// ```
pub fn output<T: Send + 'static>() -> TestOutput<T> {
    TestOutput { share: Hub::share(), opened: None, _record: PhantomData }
}

/// See [`output`].
pub struct TestOutput<T> {
    share: Option<(Arc<Hub>, u64)>,
    /// Where a subtask writes, once it is open.
    opened: Option<Opened<T>>,
    _record: PhantomData<fn(T)>,
}

struct Opened<T> {
    hub: Arc<Hub>,
    operator_name: String,
    subtask: usize,
    events: OutputEvents<T>,
}

/// For the subtasks: a clone is not open.
impl<T> Clone for TestOutput<T> {
    fn clone(&self) -> Self {
        TestOutput { share: self.share.clone(), opened: None, _record: PhantomData }
    }
}

impl<T> Drop for TestOutput<T> {
    fn drop(&mut self) {
        if let Some(opened) = &self.opened {
            opened.hub.outputs.leave(&opened.operator_name, opened.subtask);
        }
    }
}

impl<T> fmt::Debug for TestOutput<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestOutput").finish_non_exhaustive()
    }
}

/// What all subtasks of an output have brought and nobody has taken.
pub(super) struct OutputEvents<T>(Arc<Mutex<Joined<T>>>);

impl<T> Clone for OutputEvents<T> {
    fn clone(&self) -> Self {
        OutputEvents(self.0.clone())
    }
}

struct Joined<T> {
    events: Vec<OutputEvent<T>>,
    valve: Valve,
    /// What the valve was at each checkpoint: watermarks and statuses of the subtasks go on from there after a restart.
    at_checkpoints: BTreeMap<CheckpointId, ValveState>,
}

impl<T> OutputEvents<T> {
    fn new(parallelism: usize) -> Self {
        let (valve, at_checkpoints) = (Valve::new(parallelism), BTreeMap::new());
        let joined = Joined { events: Vec::new(), valve, at_checkpoints };
        OutputEvents(Arc::new(Mutex::new(joined)))
    }

    /// A subtask of a new attempt begins, before any of that attempt runs.
    fn begin_anew(&self, parallelism: usize, restored: Option<CheckpointId>) {
        let Joined { valve, at_checkpoints, .. } = &mut *lock(&self.0);
        *valve = Valve::new(parallelism);
        if let Some(state) = restored.and_then(|checkpoint| at_checkpoints.get(&checkpoint)) {
            // One valve stands for all subtasks: it is the only one, whatever their number.
            valve.restore(std::slice::from_ref(state), Some(0));
        }
    }

    pub(super) fn take(&self) -> Vec<OutputEvent<T>> {
        std::mem::take(&mut lock(&self.0).events)
    }

    fn record(&self, value: T, timestamp_ms: i64) {
        let timestamp_ms = Some(timestamp_ms).filter(|at| *at != NO_TIMESTAMP);
        lock(&self.0).events.push(OutputEvent::Record { value, timestamp_ms });
    }

    fn control(&self, subtask: usize, control: Control) {
        let Joined { events, valve, at_checkpoints } = &mut *lock(&self.0);
        let mut aligned = None;
        valve.on(subtask, control, |control| match control {
            Control::Watermark(watermark_ms) => events.push(OutputEvent::Watermark(watermark_ms)),
            Control::Status(status) => events.push(OutputEvent::Status(status)),
            Control::Barrier(barrier) => aligned = Some(barrier.checkpoint),
            Control::End => {}
        });
        at_checkpoints.extend(aligned.map(|checkpoint| (checkpoint, valve.snapshot())));
    }
}

/// [`OutputEvents`] of whatever type.
pub(super) trait OutputPort: Port {}

impl<T: Send + 'static> Port for OutputEvents<T> {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<T: Send + 'static> OutputPort for OutputEvents<T> {}

impl<T: Send + 'static> Sink<T> for TestOutput<T> {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        let Some((hub, owner)) = &self.share else {
            return Err("testing::output was called outside of a test driver; call it in the closure that writes the \
                        driver's job"
                .into());
        };
        let (subtask, parallelism) = (context.subtask_index(), context.parallelism());
        let (operator_name, restored) =
            (context.operator_name().to_owned(), context.restored_checkpoint());
        let mut entered = None;
        hub.outputs.enter::<T>((*owner, &operator_name, subtask), |others| {
            let other = others.values().next().and_then(|other| other.as_any().downcast_ref());
            let events: OutputEvents<T> =
                other.map_or_else(|| OutputEvents::new(parallelism), Clone::clone);
            if others.contains_key(&subtask) {
                events.begin_anew(parallelism, restored);
            }
            entered = Some(events.clone());
            Arc::new(events)
        })?;
        let hub = hub.clone();
        self.opened = entered.map(|events| Opened { hub, operator_name, subtask, events });
        Ok(())
    }

    fn write(&mut self, record: T, timestamp_ms: i64) -> Result<()> {
        if let Some(opened) = &self.opened {
            opened.events.record(record, timestamp_ms);
        }
        Ok(())
    }

    fn on_control(&mut self, control: Control) -> Result<()> {
        if let Some(opened) = &self.opened {
            opened.events.control(opened.subtask, control);
        }
        Ok(())
    }
}
