//! Windows of all kinds and assigners, window joins, asynchronous requests.

use super::{Run, Step, clock, input, record, watermark};
use crate::prelude::*;
use crate::testing;
use crate::window::Window;
use std::marker::PhantomData;

/// Key and value.
type Rec = (u32, i64);
/// Key, window, values.
type Row = (u32, String, String);

/// Elements in some disorder, a few of them late, watermarks and the clock.
fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let late = [0, 3, 0, 0, 9, 0, 1, 0, 21, 0];
    for n in 0..16_i64 {
        let key = [3_u32, 1, 7, 1, 2, 3][n as usize % 6];
        steps.push(record("in", n as usize, (key, n), 3 * n - late[n as usize % 10]));
        match n % 4 {
            1 => steps.push(watermark(&["in"], 3 * n - 4)),
            3 => steps.push(clock(n * 4)),
            _ => {}
        }
    }
    steps.push(watermark(&["in"], 70));
    steps.push(clock(1_000));
    steps
}

/// Tells what a window has, and how often it has fired, by key and by window.
struct Tell<W> {
    of_key: ValueState<u64>,
    of_window: ValueState<u64>,
    has_state: bool,
    window: PhantomData<fn() -> W>,
}

impl<W> Clone for Tell<W> {
    fn clone(&self) -> Self {
        Self::new(self.has_state)
    }
}

impl<W> Tell<W> {
    /// Windows that merge have no state of their own.
    fn new(has_state: bool) -> Self {
        let (of_key, of_window) = (ValueState::default(), ValueState::default());
        Tell { of_key, of_window, has_state, window: PhantomData }
    }
}

impl<W: Window> ProcessWindowFunction for Tell<W> {
    type Key = u32;
    type In = Rec;
    type Out = Row;
    type Window = W;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> crate::Result<()> {
        self.of_key = context.value_state(ValueStateDescriptor::new("of key"))?;
        if self.has_state {
            self.of_window =
                context.window_state()?.value_state(ValueStateDescriptor::new("of window"))?;
        }
        Ok(())
    }
    fn process(
        &mut self,
        key: &u32,
        context: &mut WindowContext<'_, W>,
        elements: &[Rec],
        out: &mut Collector<'_, Row>,
    ) -> crate::Result<()> {
        let count = |count: &mut u64| {
            *count += 1;
            *count
        };
        let of_key = self.of_key.modify(&mut context.global_state(), count)?;
        let of_window = match self.has_state {
            true => self.of_window.modify(&mut context.window_state(), count)?,
            false => 0,
        };
        let mut values: Vec<_> = elements.iter().map(|(_, value)| *value).collect();
        values.sort_unstable();
        let at = context.current_watermark();
        let told = format!("{values:?}, of the key {of_key}, of it {of_window}, at {at}");
        out.collect((*key, format!("{:?}", context.window()), told));
        Ok(())
    }
}

/// Restarts a job of a keyed stream at every step.
macro_rules! check {
    ($keyed:ident => $rows:expr) => {
        check!($keyed => $rows, Row)
    };
    ($keyed:ident => $rows:expr, $row:ty) => {{
        let write = |env: &StreamExecutionEnvironment| {
            let elements = input::<Rec>(env, "in");
            let $keyed = elements.key_by(|(key, _)| *key);
            $rows.sink_to(testing::output()).name("out");
        };
        Run { write, steps: steps() }.check_briefly::<$row>();
    }};
}

fn ms(count: u64) -> std::time::Duration {
    milliseconds(count)
}

fn tumbling() -> TumblingEventTimeWindows {
    TumblingEventTimeWindows::of(ms(10))
}

fn sliding() -> SlidingEventTimeWindows {
    SlidingEventTimeWindows::of(ms(15), ms(6))
}

fn sessions() -> EventTimeSessionWindows {
    EventTimeSessionWindows::with_gap(ms(7))
}

fn row<R: std::fmt::Debug>(key: &u32, window: TimeWindow, result: R, out: &mut Collector<'_, Row>) {
    out.collect((*key, format!("{window:?}"), format!("{result:?}")));
}

#[test]
fn panes() {
    check!(keyed => keyed.window(tumbling()).aggregate_with(Count, row));
    let late = |keyed| WindowedStream::allowed_lateness(keyed, ms(12));
    check!(keyed => late(keyed.window(tumbling())).reduce(|a, b| (a.0, a.1 + b.1)), Rec);
    check!(keyed => keyed.window(sliding()).allowed_lateness(ms(12)).reduce(|a, b| (a.0, a.1 + b.1)), Rec);
}

#[test]
fn slices() {
    check!(keyed => keyed.window(sliding()).aggregate_with(Count, row));
    check!(keyed => keyed.window(sliding()).allowed_lateness(ms(12)).aggregate_with(Count, row));
}

#[test]
fn sessions_in_tables() {
    check!(keyed => keyed.window(sessions()).aggregate_with(Count, row));
    check!(keyed => keyed.window(sessions()).allowed_lateness(ms(12)).aggregate_with(Count, row));
}

#[test]
fn general_windows() {
    let tell = Tell::<TimeWindow>::new(true);
    check!(keyed => keyed.window(tumbling()).process(tell.clone()));
    check!(keyed => keyed.window(sliding()).allowed_lateness(ms(12)).process(tell.clone()));
    let windows = TumblingProcessingTimeWindows::of(ms(20));
    check!(keyed => keyed.window(windows).process(tell.clone()));
    let windows = SlidingProcessingTimeWindows::of(ms(30), ms(20));
    check!(keyed => keyed.window(windows).process(tell.clone()));
}

#[test]
fn general_sessions() {
    let tell = Tell::<TimeWindow>::new(false);
    check!(keyed => keyed.window(sessions()).process(tell.clone()));
    check!(keyed => keyed.window(sessions()).allowed_lateness(ms(12)).process(tell.clone()));
    let dynamic = EventTimeSessionWindows::with_dynamic_gap(|record: &Rec| record.1 % 5 + 3);
    check!(keyed => keyed.window(dynamic).aggregate_with(Count, row));
    let processing = ProcessingTimeSessionWindows::with_gap(ms(14));
    check!(keyed => keyed.window(processing).process(tell.clone()));
}

#[test]
fn windows_with_triggers() {
    let tell = Tell::<TimeWindow>::new(true);
    check!(keyed => keyed.window(tumbling()).trigger(CountTrigger::of(2)).process(tell.clone()));
    let continuous = || ContinuousEventTimeTrigger::of(ms(4));
    check!(keyed => keyed.window(sliding()).trigger(continuous()).process(tell.clone()));
    let purging = || PurgingTrigger::of(ContinuousProcessingTimeTrigger::of(ms(8)));
    check!(keyed => keyed.window(tumbling()).trigger(purging()).process(tell.clone()));
    let tell = Tell::<TimeWindow>::new(false);
    check!(keyed => keyed.window(sessions()).trigger(CountTrigger::of(2)).process(tell.clone()));
}

#[test]
fn global_and_count_windows() {
    let tell = Tell::<GlobalWindow>::new(true);
    let global = || GlobalWindows::create();
    check!(keyed => keyed.window(global()).trigger(CountTrigger::of(3)).process(tell.clone()));
    let delta = || DeltaTrigger::of(4.0, |a: &Rec, b: &Rec| (b.1 - a.1) as f64);
    check!(keyed => keyed.window(global()).trigger(delta()).process(tell.clone()));
    check!(keyed => keyed.count_window(3).process(tell.clone()));
    check!(keyed => keyed.count_window_sliding(3, 2).process(tell.clone()));
}

#[test]
fn windows_with_evictors() {
    let tell = Tell::<TimeWindow>::new(true);
    let evictor = || CountEvictor::of(2).after();
    let continuous = || ContinuousEventTimeTrigger::of(ms(4));
    check!(keyed => keyed.window(sliding()).trigger(continuous()).evictor(evictor()).process(tell.clone()));
    let evictor = || TimeEvictor::of(ms(4));
    check!(keyed => keyed.window(sessions()).evictor(evictor()).aggregate_with(Count, row));
}

/// `window_all` has one subtask.
#[test]
fn windows_of_a_whole_stream() {
    let write = |env: &StreamExecutionEnvironment| {
        let elements = input::<Rec>(env, "in");
        let counts = elements.window_all(sliding()).aggregate(Count);
        counts.sink_to(testing::output()).name("out");
    };
    Run { write, steps: steps() }.check_briefly::<u64>();
    let write = |env: &StreamExecutionEnvironment| {
        let elements = input::<Rec>(env, "in");
        // The order of inputs decides what is in a window of three.
        let elements = elements.map(|_| 1_u64).set_parallelism(1);
        let counts = elements.count_window_all(3).reduce(|a, b| a + b);
        counts.sink_to(testing::output()).name("out");
    };
    Run { write, steps: steps() }.check_briefly::<u64>();
}

fn steps_of_two() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for n in 0..18_i64 {
        let input = if n % 3 == 0 { "right" } else { "left" };
        steps.push(record(
            input,
            n as usize,
            (n as u32 % 2, n),
            3 * n - [0, 4, 0, 20][n as usize % 4],
        ));
        if n % 5 == 4 {
            steps.push(watermark(&["left", "right"], 3 * n - 5));
        }
    }
    steps.push(watermark(&["left", "right"], 90));
    steps
}

#[test]
fn window_joins_and_co_groups() {
    let write = |env: &StreamExecutionEnvironment| {
        let left = input::<Rec>(env, "left");
        let right = input::<Rec>(env, "right");
        let keys = left.join(right).where_key(|rec| rec.0).equal_to(|rec| rec.0);
        let windows = keys.window(sliding()).allowed_lateness(ms(8));
        let pairs = windows.apply(|left: &Rec, right: &Rec| (left.0, left.1, right.1));
        pairs.sink_to(testing::output()).name("out");
    };
    Run { write, steps: steps_of_two() }.check_briefly::<(u32, i64, i64)>();
    let write = |env: &StreamExecutionEnvironment| {
        let left = input::<Rec>(env, "left");
        let right = input::<Rec>(env, "right");
        let keys = left.co_group(right).where_key(|rec| rec.0).equal_to(|rec| rec.0);
        let groups = keys.window(sessions()).apply(
            |left: &[Rec], right: &[Rec], out: &mut Collector<'_, (usize, usize, i64)>| {
                let sum = left.iter().chain(right).map(|rec| rec.1).sum();
                out.collect((left.len(), right.len(), sum));
            },
        );
        groups.sink_to(testing::output()).name("out");
    };
    Run { write, steps: steps_of_two() }.check_briefly::<(usize, usize, i64)>();
}
