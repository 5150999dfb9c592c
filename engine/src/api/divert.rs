//! Streams of results: errors leave by a side output.

use std::marker::PhantomData;

use crate::Result;
use crate::api::{Chain, DataStream};
use crate::function::{Collector, OutputTag, ProcessContext, ProcessFunction};

impl<T, E, C> DataStream<Result<T, E>, C>
where
    T: Send + 'static,
    E: Send + 'static,
    C: Chain<Result<T, E>>,
{
    /// What is `Ok` goes on; what is `Err` goes to the side output `tag`, with its timestamp. For sources that give malformed records as
    /// [`results`](crate::source::FileSource::results), and for functions that fail record by record. An error that nobody
    /// reads by [`side_output`](DataStream::side_output) is dropped.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let words = env.from_elements(["1", "two", "3"]);
    /// let bad = OutputTag::<String>::new("no numbers");
    /// let numbers = words.map(|word| word.parse::<u32>().map_err(|_| word.to_owned())).divert_errors(&bad);
    /// let bad = numbers.side_output(&bad).collect();
    /// let numbers = numbers.collect();
    /// env.execute("numbers")?;
    /// assert_eq!((numbers.take(), bad.take()), (vec![1, 3], vec!["two".to_owned()]));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn divert_errors(self, tag: &OutputTag<E>) -> DataStream<T, impl Chain<T>> {
        self.process(DivertErrors { tag: tag.clone(), _value: PhantomData })
    }
}

struct DivertErrors<T, E> {
    tag: OutputTag<E>,
    _value: PhantomData<fn() -> T>,
}

impl<T, E> Clone for DivertErrors<T, E> {
    fn clone(&self) -> Self {
        DivertErrors { tag: self.tag.clone(), _value: PhantomData }
    }
}

impl<T: 'static, E: 'static> ProcessFunction for DivertErrors<T, E> {
    type In = Result<T, E>;
    type Out = T;

    fn process_element(
        &mut self,
        record: Result<T, E>,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, T>,
    ) -> Result<()> {
        match record {
            Ok(value) => out.collect(value),
            Err(error) => context.output(&self.tag, error),
        }
        Ok(())
    }
}
