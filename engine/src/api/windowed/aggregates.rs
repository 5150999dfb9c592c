//! Reductions of windows, and those that are so common that they have names.

use super::WindowedStream;
use super::choice::{ChooseEvictor, ChooseTrigger};
use crate::api::chain::Chain;
use crate::api::stream::DataStream;
use crate::function::{AggregateFunction, KeySelector, UserFunction};
use crate::operator::window::stored::Reduced;
use crate::state::StateValue;
use crate::window::WindowAssigner;
use std::ops::AddAssign;

/// A reduction as an aggregate; the result of a window without elements is `None`.
#[derive(Clone)]
pub(super) struct Reducing<F>(pub(super) F);

impl<T, F> AggregateFunction<T> for Reducing<F>
where
    T: StateValue + Clone + Send,
    F: Fn(T, T) -> T + UserFunction,
{
    type Accumulator = Reduced<T>;
    type Result = Option<T>;
    #[inline(always)]
    fn create_accumulator(&self) -> Reduced<T> {
        Reduced(None)
    }
    #[inline(always)]
    fn add(&self, accumulator: &mut Reduced<T>, record: &T) {
        accumulator.0 = Some(match accumulator.0.take() {
            Some(kept) => (self.0)(kept, record.clone()),
            None => record.clone(),
        });
    }
    #[inline(always)]
    fn result(&self, accumulator: &Reduced<T>) -> Option<T> {
        accumulator.0.clone()
    }
    fn merge(&self, into: &mut Reduced<T>, other: &Reduced<T>) {
        if let Some(record) = &other.0 {
            self.add(into, record);
        }
    }
}

/// Sets the field of `kept` to that of `record` where `replaces` says so.
fn replace_field<T, V: Copy>(
    (mut kept, mut record): (T, T),
    field: impl Fn(&mut T) -> &mut V,
    replaces: impl FnOnce(&V, &V) -> bool,
) -> T {
    let value = *field(&mut record);
    let current = field(&mut kept);
    if replaces(&value, current) {
        *current = value;
    }
    kept
}

/// The same reductions for windows of a key and of a whole stream.
macro_rules! named_reductions {
    ($output:ty) => {
        /// Adds up a field; the other fields are those of the window's first record.
        ///
        /// Cost: one record for each key and window.
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
        ///     .count_window(3)
        ///     .sum(|record: &mut (i32, i32)| &mut record.0)
        ///     .collect();
        /// env.execute("sum")?;
        /// assert_eq!(sums.take(), [(11, 1)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        #[track_caller]
        pub fn sum<X, F>(self, field: F) -> $output
        where
            X: AddAssign + Copy,
            F: Fn(&mut T) -> &mut X + UserFunction,
        {
            self.reduce(move |mut kept, mut record| {
                let value = *field(&mut record);
                *field(&mut kept) += value;
                kept
            })
        }

        /// The smallest value of a field; the other fields are those of the window's first record.
        ///
        /// Cost: one record for each key and window.
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
        ///     .count_window(3)
        ///     .min(|record: &mut (i32, i32)| &mut record.0)
        ///     .collect();
        /// env.execute("min")?;
        /// assert_eq!(least.take(), [(3, 1)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        #[track_caller]
        pub fn min<X, F>(self, field: F) -> $output
        where
            X: PartialOrd + Copy,
            F: Fn(&mut T) -> &mut X + UserFunction,
        {
            self.reduce(move |a, b| replace_field((a, b), &field, |new, least| new < least))
        }

        /// The largest value of a field; the other fields are those of the window's first record.
        ///
        /// Cost: one record for each key and window.
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
        ///     .count_window(3)
        ///     .max(|record: &mut (i32, i32)| &mut record.0)
        ///     .collect();
        /// env.execute("max")?;
        /// assert_eq!(most.take(), [(5, 1)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        #[track_caller]
        pub fn max<X, F>(self, field: F) -> $output
        where
            X: PartialOrd + Copy,
            F: Fn(&mut T) -> &mut X + UserFunction,
        {
            self.reduce(move |a, b| replace_field((a, b), &field, |new, most| new > most))
        }

        /// The whole record with the smallest value; among equals the first.
        ///
        /// Cost: one record for each key and window.
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
        ///     .count_window(3)
        ///     .min_by(|record: &(i32, i32)| record.0)
        ///     .collect();
        /// env.execute("min by")?;
        /// assert_eq!(least.take(), [(3, 2)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        #[track_caller]
        pub fn min_by<X, F>(self, value: F) -> $output
        where
            X: PartialOrd,
            F: Fn(&T) -> X + UserFunction,
        {
            self.reduce(move |a, b| if value(&b) < value(&a) { b } else { a })
        }

        /// [`min_by`](Self::min_by), but among equals the last.
        ///
        /// Cost: one record for each key and window.
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
        ///     .count_window(3)
        ///     .min_by_last(|record: &(i32, i32)| record.0)
        ///     .collect();
        /// env.execute("min by last")?;
        /// assert_eq!(least.take(), [(3, 3)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        #[track_caller]
        pub fn min_by_last<X, F>(self, value: F) -> $output
        where
            X: PartialOrd,
            F: Fn(&T) -> X + UserFunction,
        {
            self.reduce(move |a, b| if value(&b) <= value(&a) { b } else { a })
        }

        /// The whole record with the largest value; among equals the first.
        ///
        /// Cost: one record for each key and window.
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
        ///     .count_window(3)
        ///     .max_by(|record: &(i32, i32)| record.0)
        ///     .collect();
        /// env.execute("max by")?;
        /// assert_eq!(most.take(), [(5, 2)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        #[track_caller]
        pub fn max_by<X, F>(self, value: F) -> $output
        where
            X: PartialOrd,
            F: Fn(&T) -> X + UserFunction,
        {
            self.reduce(move |a, b| if value(&b) > value(&a) { b } else { a })
        }

        /// [`max_by`](Self::max_by), but among equals the last.
        ///
        /// Cost: one record for each key and window.
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
        ///     .count_window(3)
        ///     .max_by_last(|record: &(i32, i32)| record.0)
        ///     .collect();
        /// env.execute("max by last")?;
        /// assert_eq!(most.take(), [(5, 3)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        #[track_caller]
        pub fn max_by_last<X, F>(self, value: F) -> $output
        where
            X: PartialOrd,
            F: Fn(&T) -> X + UserFunction,
        {
            self.reduce(move |a, b| if value(&b) >= value(&a) { b } else { a })
        }
    };
}

impl<T, S, A, R, V> WindowedStream<T, S, A, R, V>
where
    T: StateValue + Clone + Send,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    R: ChooseTrigger<T, A>,
    V: ChooseEvictor<T, A::Window>,
{
    named_reductions!(DataStream<T, impl Chain<T>>);
}

impl<T, A, R, V> super::AllWindowedStream<T, A, R, V>
where
    T: StateValue + Clone + Send,
    A: WindowAssigner<T>,
    R: ChooseTrigger<T, A>,
    V: ChooseEvictor<T, A::Window>,
{
    named_reductions!(DataStream<T>);
}
