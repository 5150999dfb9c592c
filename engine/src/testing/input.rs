//! [`input`]: a source that a test feeds.

use super::hub::{Hub, Port};
use crate::Result;
use crate::function::{
    Boundedness, InputStatus, NoSplit, ReaderContext, Source, SourceCollector, SourceReader,
};
use crate::record::StreamStatus;
use crate::runtime::CoreWaker;
use crate::sync::{Mutex, lock};
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A source whose elements a [`TestDriver`](super::TestDriver) injects, by the source's name. Belongs into the closure
/// that writes the driver's job.
///
/// It has the job's parallelism, and gives records to its subtasks in turn; `set_parallelism(1)` on the stream makes it
/// one. It ends when the test says so.
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
pub fn input<T: Send + 'static>() -> TestInput<T> {
    TestInput { share: Hub::share(), _record: PhantomData }
}

/// See [`input`].
pub struct TestInput<T> {
    share: Option<(Arc<Hub>, u64)>,
    _record: PhantomData<fn() -> T>,
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

/// One subtask's elements, from the test to its reader.
pub(super) struct InputQueue<T> {
    elements: Mutex<VecDeque<Element<T>>>,
    waker: Arc<CoreWaker>,
}

impl<T> InputQueue<T> {
    fn push(&self, element: Element<T>) {
        lock(&self.elements).push_back(element);
        self.waker.wake_if_sleeping();
    }

    pub(super) fn push_record(&self, record: T, timestamp_ms: i64) {
        self.push(Element::Record(record, timestamp_ms));
    }
}

/// An [`InputQueue`] of whatever type.
pub(super) trait InputPort: Port {
    fn push_control(&self, control: InputControl);
    /// For its reader, which knows the type of its records.
    fn queue(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T: Send + 'static> Port for InputQueue<T> {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl<T: Send + 'static> InputPort for InputQueue<T> {
    fn push_control(&self, control: InputControl) {
        self.push(Element::Control(control));
    }
    fn queue(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<T: Send + 'static> Source for TestInput<T> {
    type Out = T;
    type Split = NoSplit;
    type Reader = TestInputReader<T>;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn create_reader(&self, context: &ReaderContext) -> Result<TestInputReader<T>> {
        let Some((hub, owner)) = &self.share else {
            return Err("testing::input was called outside of a test driver; call it in the closure that writes the \
                        driver's job"
                .into());
        };
        let queue = Arc::new(InputQueue::<T> {
            elements: Mutex::new(VecDeque::new()),
            waker: context.waker.clone(),
        });
        let place = (*owner, &context.operator_name[..], context.subtask_index);
        let port = hub.inputs.enter::<T>(place, |_| queue)?;
        match port.queue().downcast::<InputQueue<T>>() {
            Ok(queue) => Ok(TestInputReader { queue }),
            Err(_) => unreachable!("a source has one type of records"),
        }
    }
}

/// Reads a [`TestInput`].
pub struct TestInputReader<T> {
    queue: Arc<InputQueue<T>>,
}

impl<T> fmt::Debug for TestInputReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestInputReader").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> SourceReader for TestInputReader<T> {
    type Out = T;
    type Split = NoSplit;

    fn wakes_core(&self) -> bool {
        true
    }

    /// Up to the next control, which must leave before the records behind it.
    fn poll_batch(&mut self, max: usize, out: &mut SourceCollector<'_, T>) -> Result<InputStatus> {
        for _ in 0..max {
            let Some(element) = lock(&self.queue.elements).pop_front() else {
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
}
