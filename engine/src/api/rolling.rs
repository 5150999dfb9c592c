//! Rolling aggregates of keyed streams: one result for each record.

use crate::api::chain::Chain;
use crate::api::keyed::KeyedStream;
use crate::api::stream::DataStream;
use crate::function::{KeySelector, UserFunction};
use std::ops::AddAssign;
use thalweg_state::StateValue;

/// Keeps `T` a key; emits the new value after each record.
macro_rules! rolling {
    ($self:ident, |$kept:ident, $record:ident| $combine:block) => {
        $self.scan(None, move |state: &mut Option<T>, $record: T| {
            let next = match state.take() {
                Some($kept) => $combine,
                None => $record,
            };
            state.insert(next).clone()
        })
    };
}

impl<T, S> KeyedStream<T, S>
where
    T: StateValue + Clone + Send,
    Option<T>: StateValue,
    S: KeySelector<T>,
{
    /// Combines each record with what its key has so far and emits the result.
    ///
    /// Cost: one record a key, for as long as the job runs; a clone a record.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let longest = env
    ///     .from_elements(["a", "abc", "ab"].map(String::from))
    ///     .key_by(|_| 0u8)
    ///     .reduce(|a, b| if a.len() >= b.len() { a } else { b })
    ///     .collect();
    /// env.execute("longest")?;
    /// assert_eq!(longest.take(), ["a", "abc", "abc"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce<F>(self, mut function: F) -> DataStream<T, impl Chain<T>>
    where
        F: FnMut(T, T) -> T + UserFunction,
    {
        rolling!(self, |kept, record| { function(kept, record) })
    }

    /// Adds up a field; the other fields are those of the key's first record.
    ///
    /// Cost: one record a key, for as long as the job runs; a clone a record.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let sums = env
    ///     .from_elements([(5, 1), (3, 2), (3, 3)])
    ///     .key_by(|_| 0_u8)
    ///     .sum(|record: &mut (i32, i32)| &mut record.0)
    ///     .collect();
    /// env.execute("sum")?;
    /// assert_eq!(sums.take(), [(5, 1), (8, 1), (11, 1)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn sum<V, F>(self, mut field: F) -> DataStream<T, impl Chain<T>>
    where
        V: AddAssign + Copy,
        F: FnMut(&mut T) -> &mut V + UserFunction,
    {
        rolling!(self, |kept, record| {
            let (mut kept, mut record) = (kept, record);
            let value = *field(&mut record);
            *field(&mut kept) += value;
            kept
        })
    }

    /// Keeps the smallest value of a field; the other fields are those of the key's first record.
    ///
    /// Cost: one record a key, for as long as the job runs; a clone a record.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let least = env
    ///     .from_elements([(5, 1), (3, 2), (3, 3)])
    ///     .key_by(|_| 0_u8)
    ///     .min(|record: &mut (i32, i32)| &mut record.0)
    ///     .collect();
    /// env.execute("min")?;
    /// assert_eq!(least.take(), [(5, 1), (3, 1), (3, 1)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn min<V, F>(self, mut field: F) -> DataStream<T, impl Chain<T>>
    where
        V: PartialOrd + Copy,
        F: FnMut(&mut T) -> &mut V + UserFunction,
    {
        rolling!(self, |kept, record| {
            let (mut kept, mut record) = (kept, record);
            let value = *field(&mut record);
            let least = field(&mut kept);
            if value < *least {
                *least = value;
            }
            kept
        })
    }

    /// Keeps the largest value of a field; the other fields are those of the key's first record.
    ///
    /// Cost: one record a key, for as long as the job runs; a clone a record.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let most = env
    ///     .from_elements([(3, 1), (5, 2), (5, 3)])
    ///     .key_by(|_| 0_u8)
    ///     .max(|record: &mut (i32, i32)| &mut record.0)
    ///     .collect();
    /// env.execute("max")?;
    /// assert_eq!(most.take(), [(3, 1), (5, 1), (5, 1)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn max<V, F>(self, mut field: F) -> DataStream<T, impl Chain<T>>
    where
        V: PartialOrd + Copy,
        F: FnMut(&mut T) -> &mut V + UserFunction,
    {
        rolling!(self, |kept, record| {
            let (mut kept, mut record) = (kept, record);
            let value = *field(&mut record);
            let most = field(&mut kept);
            if value > *most {
                *most = value;
            }
            kept
        })
    }

    /// Keeps the whole record with the smallest value; among equals the first.
    ///
    /// Cost: one record a key, for as long as the job runs; a clone a record.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let least = env
    ///     .from_elements([(5, 1), (3, 2), (3, 3)])
    ///     .key_by(|_| 0_u8)
    ///     .min_by(|record: &(i32, i32)| record.0)
    ///     .collect();
    /// env.execute("min by")?;
    /// assert_eq!(least.take(), [(5, 1), (3, 2), (3, 2)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn min_by<V, F>(self, mut value: F) -> DataStream<T, impl Chain<T>>
    where
        V: PartialOrd,
        F: FnMut(&T) -> V + UserFunction,
    {
        rolling!(self, |kept, record| { if value(&record) < value(&kept) { record } else { kept } })
    }

    /// [`min_by`](Self::min_by), but among equals the last.
    ///
    /// Cost: one record a key, for as long as the job runs; a clone a record.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let least = env
    ///     .from_elements([(5, 1), (3, 2), (3, 3)])
    ///     .key_by(|_| 0_u8)
    ///     .min_by_last(|record: &(i32, i32)| record.0)
    ///     .collect();
    /// env.execute("min by last")?;
    /// assert_eq!(least.take(), [(5, 1), (3, 2), (3, 3)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn min_by_last<V, F>(self, mut value: F) -> DataStream<T, impl Chain<T>>
    where
        V: PartialOrd,
        F: FnMut(&T) -> V + UserFunction,
    {
        rolling!(self, |kept, record| {
            if value(&record) <= value(&kept) { record } else { kept }
        })
    }

    /// Keeps the whole record with the largest value; among equals the first.
    ///
    /// Cost: one record a key, for as long as the job runs; a clone a record.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let most = env
    ///     .from_elements([(3, 1), (5, 2), (5, 3)])
    ///     .key_by(|_| 0_u8)
    ///     .max_by(|record: &(i32, i32)| record.0)
    ///     .collect();
    /// env.execute("max by")?;
    /// assert_eq!(most.take(), [(3, 1), (5, 2), (5, 2)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn max_by<V, F>(self, mut value: F) -> DataStream<T, impl Chain<T>>
    where
        V: PartialOrd,
        F: FnMut(&T) -> V + UserFunction,
    {
        rolling!(self, |kept, record| { if value(&record) > value(&kept) { record } else { kept } })
    }

    /// [`max_by`](Self::max_by), but among equals the last.
    ///
    /// Cost: one record a key, for as long as the job runs; a clone a record.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let most = env
    ///     .from_elements([(3, 1), (5, 2), (5, 3)])
    ///     .key_by(|_| 0_u8)
    ///     .max_by_last(|record: &(i32, i32)| record.0)
    ///     .collect();
    /// env.execute("max by last")?;
    /// assert_eq!(most.take(), [(3, 1), (5, 2), (5, 3)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn max_by_last<V, F>(self, mut value: F) -> DataStream<T, impl Chain<T>>
    where
        V: PartialOrd,
        F: FnMut(&T) -> V + UserFunction,
    {
        rolling!(self, |kept, record| {
            if value(&record) >= value(&kept) { record } else { kept }
        })
    }
}
