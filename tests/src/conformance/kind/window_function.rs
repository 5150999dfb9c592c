//! The functions of windows: with a key and without, of windows of time and of global ones.

use crate::conformance::event::{Event, Output};
use serde_json::{Map, Value, json};
use std::marker::PhantomData;
use thalweg::prelude::*;
use thalweg::window::{GlobalWindow, Window};

/// The windows of the cases.
pub(super) trait Bounded: Window {
    /// Start and end, where a window has any.
    fn bounds(&self) -> Option<(i64, i64)>;
}
impl Bounded for TimeWindow {
    fn bounds(&self) -> Option<(i64, i64)> {
        Some((self.start(), self.end()))
    }
}
impl Bounded for GlobalWindow {
    fn bounds(&self) -> Option<(i64, i64)> {
        None
    }
}

/// `{key?, start?, end?, ..}`.
fn row<const N: usize>(
    key: Option<&String>,
    window: &impl Bounded,
    fields: [(&str, Value); N],
) -> Output {
    let bounds = window.bounds();
    let named = [
        ("key", key.map(|key| json!(key))),
        ("start", bounds.map(|(start, _)| json!(start))),
        ("end", bounds.map(|(_, end)| json!(end))),
    ];
    let named = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let fields: Map<_, _> = named.chain(fields).map(|(name, value)| (name.into(), value)).collect();
    Output::new(&Value::Object(fields))
}

/// What a `process` function tells besides the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tells {
    /// Nothing.
    Elements,
    /// The watermark.
    Watermark,
    /// How often the window fired, and the key.
    Fires,
}

/// `{key, start, end, vs}` and more.
#[derive(Clone)]
pub(super) struct Elements<W> {
    tells: Tells,
    sort_vs: bool,
    window_fires: ValueState<u64>,
    key_fires: ValueState<u64>,
    window: PhantomData<fn() -> W>,
}

impl<W: Bounded> Elements<W> {
    pub(super) fn new(tells: Tells, sort_vs: bool) -> Self {
        let (window_fires, key_fires) = (ValueState::default(), ValueState::default());
        Elements { tells, sort_vs, window_fires, key_fires, window: PhantomData }
    }

    fn open_states(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        if self.tells == Tells::Fires {
            self.key_fires = context.value_state(ValueStateDescriptor::new("key fires"))?;
            let fires = ValueStateDescriptor::new("window fires");
            self.window_fires = context.window_state()?.value_state(fires)?;
        }
        Ok(())
    }

    fn tell(
        &mut self,
        key: Option<&String>,
        context: &mut WindowContext<'_, W>,
        elements: &[Event],
    ) -> thalweg::Result<Output> {
        let mut vs: Vec<i64> = elements.iter().map(|event| event.v).collect();
        if self.sort_vs {
            vs.sort_unstable();
        }
        let (window, vs) = (context.window(), ("vs", json!(vs)));
        Ok(match self.tells {
            Tells::Elements => row(key, &window, [vs]),
            Tells::Watermark => row(key, &window, [vs, ("wm", context.current_watermark().into())]),
            Tells::Fires => {
                let one_more = |fires: &mut u64| {
                    *fires += 1;
                    *fires
                };
                let of_window = self.window_fires.modify(&mut context.window_state(), one_more)?;
                let of_key = self.key_fires.modify(&mut context.global_state(), one_more)?;
                let fires = [("window_fires", of_window.into()), ("key_fires", of_key.into())];
                let [of_window, of_key] = fires;
                row(key, &window, [vs, of_window, of_key])
            }
        })
    }

    fn clear_states(&mut self, context: &mut WindowContext<'_, W>) -> thalweg::Result<()> {
        match self.tells {
            Tells::Fires => Ok(self.window_fires.clear(&mut context.window_state())?),
            Tells::Elements | Tells::Watermark => Ok(()),
        }
    }
}

/// `{key, start, end, v}` of the one element that a reduction leaves.
#[derive(Clone)]
pub(super) struct Reduced<W>(PhantomData<fn() -> W>);

/// `{key, start, end, count, sum}` of an aggregate's result.
#[derive(Clone)]
pub(super) struct Aggregated<W>(PhantomData<fn() -> W>);

impl<W: Bounded> Reduced<W> {
    pub(super) fn new() -> Self {
        Reduced(PhantomData)
    }

    fn tell(
        &mut self,
        key: Option<&String>,
        context: &mut WindowContext<'_, W>,
        elements: &[Event],
    ) -> thalweg::Result<Output> {
        let [event] = elements else {
            return Err(format!("{} results of a reduction", elements.len()).into());
        };
        Ok(row(key, &context.window(), [("v", event.v.into())]))
    }
}

impl<W: Bounded> Aggregated<W> {
    pub(super) fn new() -> Self {
        Aggregated(PhantomData)
    }

    fn tell(
        &mut self,
        key: Option<&String>,
        context: &mut WindowContext<'_, W>,
        elements: &[(i64, i64)],
    ) -> thalweg::Result<Output> {
        let [(count, sum)] = elements else {
            return Err(format!("{} results of an aggregate", elements.len()).into());
        };
        Ok(row(key, &context.window(), [("count", (*count).into()), ("sum", (*sum).into())]))
    }
}

/// The traits for keyed and other windows, over the methods above.
macro_rules! window_function {
    ($function:ident, $input:ty $(, $open:ident, $clear:ident)?) => {
        impl<W: Bounded> ProcessWindowFunction for $function<W> {
            type Key = String;
            type In = $input;
            type Out = Output;
            type Window = W;
            $(fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
                self.$open(context)
            })?
            fn process(
                &mut self,
                key: &String,
                context: &mut WindowContext<'_, W>,
                elements: &[$input],
                out: &mut Collector<'_, Output>,
            ) -> thalweg::Result<()> {
                out.collect(self.tell(Some(key), context, elements)?);
                Ok(())
            }
            $(fn clear(&mut self, context: &mut WindowContext<'_, W>) -> thalweg::Result<()> {
                self.$clear(context)
            })?
        }

        impl<W: Bounded> ProcessAllWindowFunction for $function<W> {
            type In = $input;
            type Out = Output;
            type Window = W;
            $(fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
                self.$open(context)
            })?
            fn process(
                &mut self,
                context: &mut WindowContext<'_, W>,
                elements: &[$input],
                out: &mut Collector<'_, Output>,
            ) -> thalweg::Result<()> {
                out.collect(self.tell(None, context, elements)?);
                Ok(())
            }
            $(fn clear(&mut self, context: &mut WindowContext<'_, W>) -> thalweg::Result<()> {
                self.$clear(context)
            })?
        }
    };
}

window_function!(Elements, Event, open_states, clear_states);
window_function!(Reduced, Event);
window_function!(Aggregated, (i64, i64));

/// `(count, sum)` of `v`.
#[derive(Clone)]
pub(super) struct CountAndSum;

impl AggregateFunction<Event> for CountAndSum {
    type Accumulator = (i64, i64);
    type Result = (i64, i64);
    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }
    fn add(&self, (count, sum): &mut (i64, i64), event: &Event) {
        *count += 1;
        *sum = sum.wrapping_add(event.v);
    }
    fn result(&self, accumulator: &(i64, i64)) -> (i64, i64) {
        *accumulator
    }
    fn merge(&self, into: &mut (i64, i64), other: &(i64, i64)) {
        into.0 += other.0;
        into.1 = into.1.wrapping_add(other.1);
    }
}

/// `{count, sum}`.
pub(super) fn counted((count, sum): (i64, i64)) -> Output {
    Output::new(&json!({"count": count, "sum": sum}))
}
