//! [`input`]: a source that a test feeds.
//!
//! What is injected is kept, and a reader's position in it is in checkpoints: a job that is restarted reads on from there, or
//! from the start.
//!
//! **Invariant**: element n of a subtask is the n-th that was injected, in every attempt.

use super::hub::{Hub, Port};
use crate::Result;
use crate::connector::source::{SubtaskSplit, SubtaskSplitError};
use crate::function::{
    Boundedness, InputStatus, ReaderContext, Source, SourceCollector, SourceReader,
};
use crate::record::StreamStatus;
use crate::runtime::CoreWaker;
use crate::sync::{Mutex, lock};
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// A source whose elements a [`TestDriver`](super::TestDriver) injects, by the source's name. Belongs into the closure
/// that writes the driver's job.
///
/// It has the job's parallelism, and gives records to its subtasks in turn; `set_parallelism(1)` on the stream makes it
/// one. It ends when the test says so. It keeps all that is injected, so that it can be read again after a restart; for
/// records that are not `Clone` there is [`input_once`].
///
/// # Examples
///
/// ```
/// use thalweg::testing::{self, TestDriver};
///
/// let mut test = TestDriver::new(|env| {
///     let words = env.from_source(testing::input::<String>(), "words");
///     words.map(|word| word.len()).sink_to(testing::output()).name("lengths");
/// });
/// test.pipe("words", ["to".to_owned(), "be".to_owned()]);
/// assert_eq!(test.outputs::<usize>("lengths"), [2, 2]);
/// ```
pub fn input<T: Clone + Send + 'static>() -> TestInput<T> {
    TestInput { share: Hub::share(), clone: Some(T::clone) }
}

/// [`input`] for records that are not `Clone`: what was read once is gone, and a restart goes on behind it.
pub fn input_once<T: Send + 'static>() -> TestInput<T> {
    TestInput { share: Hub::share(), clone: None }
}

/// See [`input`].
pub struct TestInput<T> {
    share: Option<(Arc<Hub>, u64)>,
    /// `None`: records can be read once.
    clone: Option<fn(&T) -> T>,
}

impl<T> fmt::Debug for TestInput<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestInput").finish_non_exhaustive()
    }
}

/// What a test injects beside records.
#[derive(Clone, Copy, Debug)]
pub(super) enum InputControl {
    Watermark(i64),
    Status(StreamStatus),
    End,
}

enum Element<T> {
    Record(T, i64),
    Control(InputControl),
}

/// One subtask's elements, from the test to its readers.
pub(super) struct InputQueue<T> {
    log: Mutex<Log<T>>,
    /// The core of the reader there is now.
    waker: Mutex<Arc<CoreWaker>>,
}

struct Log<T> {
    elements: VecDeque<Element<T>>,
    /// The position of the first of them.
    first: u64,
    clone: Option<fn(&T) -> T>,
}

impl<T> Log<T> {
    /// The element at a position, or the first there is behind it.
    fn read(&mut self, position: &mut u64) -> Option<Element<T>> {
        *position = (*position).max(self.first);
        let Some(clone) = self.clone else {
            let element = self.elements.pop_front()?;
            self.first += 1;
            *position += 1;
            return Some(element);
        };
        let index = usize::try_from(*position - self.first).ok()?;
        let element = match self.elements.get(index)? {
            Element::Record(record, timestamp_ms) => Element::Record(clone(record), *timestamp_ms),
            Element::Control(control) => Element::Control(*control),
        };
        *position += 1;
        Some(element)
    }
}

impl<T> InputQueue<T> {
    fn new(clone: Option<fn(&T) -> T>, waker: Arc<CoreWaker>) -> Self {
        let log = Log { elements: VecDeque::new(), first: 0, clone };
        InputQueue { log: Mutex::new(log), waker: Mutex::new(waker) }
    }

    fn push(&self, element: Element<T>) {
        lock(&self.log).elements.push_back(element);
        lock(&self.waker).wake_if_sleeping();
    }

    pub(super) fn push_record(&self, record: T, timestamp_ms: i64) {
        self.push(Element::Record(record, timestamp_ms));
    }
}

/// An [`InputQueue`] of whatever type.
pub(super) trait InputPort: Port {
    fn push_control(&self, control: InputControl);
}

impl<T: Send + 'static> Port for InputQueue<T> {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<T: Send + 'static> InputPort for InputQueue<T> {
    fn push_control(&self, control: InputControl) {
        self.push(Element::Control(control));
    }
}

impl<T: Send + 'static> Source for TestInput<T> {
    type Out = T;
    type Split = SubtaskSplit;
    type Reader = TestInputReader<T>;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn is_replayable(&self) -> bool {
        self.clone.is_some()
    }

    fn create_reader(&self, context: &ReaderContext) -> Result<TestInputReader<T>> {
        let Some((hub, owner)) = &self.share else {
            return Err("testing::input was called outside of a test driver; call it in the closure that writes the \
                        driver's job"
                .into());
        };
        let (subtask, operator_name) = (context.subtask_index, context.operator_name.clone());
        let mut entered = None;
        hub.inputs.enter::<T>((*owner, &operator_name, subtask), |ports| {
            let before =
                ports.get(&subtask).and_then(|port| port.clone().into_any().downcast().ok());
            let waker = context.waker.clone();
            let queue: Arc<InputQueue<T>> =
                before.unwrap_or_else(|| Arc::new(InputQueue::new(self.clone, waker.clone())));
            *lock(&queue.waker) = waker;
            entered = Some(queue.clone());
            queue
        })?;
        let queue = entered.ok_or("the port was not made")?;
        let (hub, split) = (hub.clone(), SubtaskSplit::start(context));
        Ok(TestInputReader { queue, hub, operator_name, split, refusal: None })
    }
}

/// Reads a [`TestInput`].
pub struct TestInputReader<T> {
    queue: Arc<InputQueue<T>>,
    hub: Arc<Hub>,
    operator_name: String,
    /// Its position is that of the next element.
    split: SubtaskSplit,
    refusal: Option<SubtaskSplitError>,
}

impl<T> fmt::Debug for TestInputReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestInputReader").finish_non_exhaustive()
    }
}

impl<T> Drop for TestInputReader<T> {
    fn drop(&mut self) {
        let subtask = usize::try_from(self.split.subtask).unwrap_or(usize::MAX);
        self.hub.inputs.leave(&self.operator_name, subtask);
    }
}

impl<T: Send + 'static> SourceReader for TestInputReader<T> {
    type Out = T;
    type Split = SubtaskSplit;

    fn wakes_core(&self) -> bool {
        true
    }

    /// Up to the next control, which must leave before the records behind it.
    fn poll_batch(&mut self, max: usize, out: &mut SourceCollector<'_, T>) -> Result<InputStatus> {
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal.into());
        }
        for _ in 0..max {
            let Some(element) = lock(&self.queue.log).read(&mut self.split.position) else {
                return Ok(InputStatus::NothingAvailable);
            };
            match element {
                Element::Record(record, timestamp_ms) => {
                    out.collect_with_timestamp(record, timestamp_ms);
                    continue;
                }
                Element::Control(InputControl::Watermark(watermark_ms)) => {
                    out.controls().passing_watermark(watermark_ms);
                }
                Element::Control(InputControl::Status(status)) => out.controls().status(status),
                Element::Control(InputControl::End) => return Ok(InputStatus::EndOfInput),
            }
            break;
        }
        Ok(InputStatus::MoreAvailable)
    }

    fn add_splits(&mut self, splits: Vec<SubtaskSplit>) {
        self.refusal = self.split.go_on(splits).err();
        let mut log = lock(&self.queue.log);
        if log.elements.is_empty() {
            // The job goes on in another hub, which has nothing of what was injected before.
            log.first = log.first.max(self.split.position);
        }
    }

    fn snapshot(&self) -> Vec<SubtaskSplit> {
        vec![self.split]
    }
}
