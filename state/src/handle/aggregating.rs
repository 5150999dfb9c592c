//! One accumulator a key.

use std::fmt;
use std::sync::Arc;

use super::KeyedContext;
use crate::descriptor::Fold;
use crate::memory::{Expiring, Place};
use crate::{RowCursor, StateError, StateValue};

/// A handle to one accumulator of the current key, into which an
/// [`AggregateFunction`](crate::AggregateFunction) adds values of type `IN` and out of which it makes
/// an `OUT`.
///
/// The function is that of the descriptor the handle was made from. It changes the accumulator in
/// place and costs one indirect call for each `add`.
///
/// # Examples
///
/// ```
/// use thalweg_state::{AggregateFunction, AggregatingState, AggregatingStateDescriptor};
/// use thalweg_state::{Key, RowStore, StateRegistrar};
///
/// #[derive(Clone)]
/// struct Mean;
/// impl AggregateFunction<f64> for Mean {
///     type Accumulator = (f64, u64);
///     type Result = f64;
///     fn create_accumulator(&self) -> (f64, u64) {
///         (0.0, 0)
///     }
///     fn add(&self, (sum, count): &mut (f64, u64), value: &f64) {
///         *sum += value;
///         *count += 1;
///     }
///     fn result(&self, (sum, count): &(f64, u64)) -> f64 {
///         sum / *count as f64
///     }
///     fn merge(&self, into: &mut (f64, u64), other: &(f64, u64)) {
///         into.0 += other.0;
///         into.1 += other.1;
///     }
/// }
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// # let mut registrar = StateRegistrar::new::<u64>("example");
/// let mean: AggregatingState<f64, (f64, u64), f64> =
///     registrar.register_aggregating(&AggregatingStateDescriptor::new("mean", Mean))?;
/// # let mut rows = RowStore::<u64>::new(registrar)?;
/// # let (mut cursor, _) = rows.enter(7.key_hash(), &7)?;
/// # let ctx = &mut cursor;
/// assert_eq!(mean.get(ctx)?, None);
/// mean.add(ctx, 20.0)?;
/// mean.add(ctx, 21.0)?;
/// assert_eq!(mean.get(ctx)?, Some(20.5));
/// mean.clear(ctx)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Every verb fails if the handle was not opened, belongs to another operator, or is used where no
/// key is set.
///
/// # Time to live
///
/// With a TTL the accumulator expires as a whole, and `add` dates the whole. An accumulator that has
/// expired is begun anew, or goes on if expired values may be returned.
pub struct AggregatingState<IN, ACC, OUT> {
    pub(super) place: AggregatingPlace<IN, ACC, OUT>,
    fold: Option<Arc<dyn Fold<IN, ACC, OUT>>>,
}

type AggregatingPlace<IN, ACC, OUT> = Place<ACC, Expiring<ACC>, AggregatingState<IN, ACC, OUT>>;

impl<IN: 'static, ACC: StateValue, OUT: 'static> AggregatingState<IN, ACC, OUT> {
    /// The result of what was added; `None` if nothing was.
    pub fn get<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<Option<OUT>, StateError> {
        let cursor = ctx.cursor();
        let accumulator = if self.place.is_plain(cursor) {
            self.place.plain.get(cursor)?
        } else {
            let (slot, access) = self.place.expiring_at(cursor)?;
            slot.get(cursor)?.and_then(|held| held.read(access))
        };
        Ok(accumulator
            .zip(self.fold.as_deref())
            .map(|(accumulator, fold)| fold.result(accumulator)))
    }

    /// Adds a value.
    #[inline]
    pub fn add<C: KeyedContext + ?Sized>(&self, ctx: &mut C, value: IN) -> Result<(), StateError> {
        let Some(fold) = self.fold.as_deref() else {
            return self.place.expiring_at(ctx.cursor()).map(drop);
        };
        let accumulator = if self.place.is_plain(ctx.cursor()) {
            self.place.plain.get_or_insert_with(ctx.cursor_mut(), || fold.create())?
        } else {
            self.write_expiring(ctx.cursor_mut(), fold)?
        };
        fold.add(accumulator, &value);
        Ok(())
    }

    /// Removes the accumulator.
    pub fn clear<C: KeyedContext + ?Sized>(&self, ctx: &mut C) -> Result<(), StateError> {
        if !self.place.is_plain(ctx.cursor()) {
            let (slot, _) = self.place.expiring_at(ctx.cursor())?;
            return slot.take(ctx.cursor_mut()).map(drop);
        }
        self.place.plain.take(ctx.cursor_mut()).map(drop)
    }

    #[cold]
    #[inline(never)]
    fn write_expiring<'c>(
        &self,
        cursor: RowCursor<'c>,
        fold: &dyn Fold<IN, ACC, OUT>,
    ) -> Result<&'c mut ACC, StateError> {
        let (slot, access) = self.place.expiring_at(&cursor)?;
        let make = || fold.create();
        let held = slot.get_or_insert_with(cursor, || Expiring::new(make(), access))?;
        Ok(held.write_or_make(access, make))
    }
}

impl<IN, ACC, OUT> AggregatingState<IN, ACC, OUT> {
    pub(crate) fn new(
        place: AggregatingPlace<IN, ACC, OUT>,
        fold: Arc<dyn Fold<IN, ACC, OUT>>,
    ) -> Self {
        AggregatingState { place, fold: Some(fold) }
    }

    /// The state's name; `None` before the handle was opened.
    pub fn name(&self) -> Option<&str> {
        self.place.name()
    }
}

impl<IN, ACC, OUT> Default for AggregatingState<IN, ACC, OUT> {
    fn default() -> Self {
        AggregatingState { place: Place::default(), fold: None }
    }
}

impl<IN, ACC, OUT> Clone for AggregatingState<IN, ACC, OUT> {
    fn clone(&self) -> Self {
        AggregatingState { place: self.place.clone(), fold: self.fold.clone() }
    }
}

impl<IN, ACC, OUT> fmt::Debug for AggregatingState<IN, ACC, OUT> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AggregatingState")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
