//! `print`, `collect` and kin: the sinks that are methods of a stream.

use std::fmt::{Debug, Display};
use std::panic::Location;

use crate::api::operators::Cloned;
use crate::api::{Chain, DataStream, DataStreamSink};
use crate::connector::sink::{CollectSink, Collected, PrintSink};
use crate::function::SinkPromise;

impl<T: Send + 'static, C: Chain<T>> DataStream<T, C> {
    /// Prints each record on a line of standard output, as `Display` shows it; with several subtasks after `<subtask>> `.
    #[track_caller]
    pub fn print(self) -> DataStreamSink
    where
        T: Display,
    {
        self.end(
            "print",
            Cloned(PrintSink::<T>::display()),
            SinkPromise::default(),
            Location::caller(),
        )
    }

    /// [`print`](Self::print) as `Debug` shows it.
    #[track_caller]
    pub fn print_debug(self) -> DataStreamSink
    where
        T: Debug,
    {
        self.end(
            "print",
            Cloned(PrintSink::<T>::debug()),
            SinkPromise::default(),
            Location::caller(),
        )
    }

    /// [`print`](Self::print) to standard error.
    #[track_caller]
    pub fn print_to_stderr(self) -> DataStreamSink
    where
        T: Display,
    {
        self.end(
            "print",
            Cloned(PrintSink::<T>::display().to_stderr()),
            SinkPromise::default(),
            Location::caller(),
        )
    }

    /// Keeps all records in memory, to be taken when the job has ended; for streams that end.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// let even = env.from_elements([1, 2, 3, 4]).filter(|n| n % 2 == 0).collect();
    /// env.execute("even")?;
    /// assert_eq!(even.take(), [2, 4]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn collect(self) -> Collected<T> {
        let collected = Collected::default();
        drop(self.end(
            "collect",
            Cloned(CollectSink::into(&collected)),
            SinkPromise::default(),
            Location::caller(),
        ));
        collected
    }
}
