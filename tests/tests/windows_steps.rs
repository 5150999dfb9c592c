//! Windows step by step: when each trigger fires, what each evictor drops, what late elements do, what window functions
//! keep, and what the clock fires.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use thalweg::api::StreamExecutionEnvironment;
use thalweg::prelude::*;
use thalweg::testing::{self, OutputEvent, TestDriver};
use thalweg_tests::{Steps, stepped};

stepped![
    continuous_event_time_fires_at_multiples_and_at_the_end,
    continuous_event_time_ends_in_windows_without_end,
    continuous_event_time_goes_on_in_merged_sessions,
    continuous_processing_time_fires_by_the_clock,
    continuous_processing_time_fires_once_at_an_end_that_has_passed,
    counts_replace_the_end_of_the_window,
    counts_add_up_when_sessions_merge,
    purging_leaves_the_late_elements_alone,
    delta_compares_with_what_fired_last,
    a_timeout_fires_what_waits,
    a_timeout_is_put_off_and_clears,
    a_timeout_fires_event_time_windows_when_they_are_given_up,
    triggers_of_ones_own_have_state_timers_and_merge,
    late_elements_fire_the_last_window_first,
    evictors_drop_before_and_after,
    evictors_of_ones_own_see_time,
    an_evictor_may_leave_nothing,
    count_windows_slide,
    processing_time_windows_fire_in_order,
    processing_time_sessions_grow,
    global_windows_end_with_the_input,
    functions_keep_state_of_window_and_key,
    functions_emit_to_the_side,
    whole_streams_have_windows_too,
    named_reductions_keep_what_they_promise,
];

/// Key and value.
type Event = (u64, i64);
/// The values of a window.
type Values = Vec<i64>;

/// Tells the values of a window, in order.
#[derive(Clone)]
struct Tell<W>(std::marker::PhantomData<fn() -> W>);

fn tell<W>() -> Tell<W> {
    Tell(std::marker::PhantomData)
}

impl<W: Window> ProcessWindowFunction for Tell<W> {
    type Key = u64;
    type In = Event;
    type Out = Values;
    type Window = W;
    fn process(
        &mut self,
        _: &u64,
        _: &mut WindowContext<'_, W>,
        elements: &[Event],
        out: &mut Collector<'_, Values>,
    ) -> thalweg::Result<()> {
        out.collect(elements.iter().map(|event| event.1).collect());
        Ok(())
    }
}

impl<W: Window> ProcessAllWindowFunction for Tell<W> {
    type In = Event;
    type Out = Values;
    type Window = W;
    fn process(
        &mut self,
        _: &mut WindowContext<'_, W>,
        elements: &[Event],
        out: &mut Collector<'_, Values>,
    ) -> thalweg::Result<()> {
        out.collect(elements.iter().map(|event| event.1).collect());
        Ok(())
    }
}

/// A driver of windows over input `in`, keyed, with output `out`.
macro_rules! windows {
    ($steps:expr, |$keyed:ident| $end:expr) => {
        driver($steps, |env| {
            let $keyed =
                env.from_source(testing::input::<Event>(), "in").key_by(|event: &Event| event.0);
            $end.sink_to(testing::output()).name("out");
        })
    };
}

fn driver(steps: Steps, write: impl FnOnce(&StreamExecutionEnvironment)) -> TestDriver {
    steps.driver().build(write).unwrap()
}

fn event(test: &mut TestDriver, at: i64, value: i64) {
    test.pipe_at("in", [(at, (1_u64, value))]);
}

/// Records since the last call, with their timestamps.
#[track_caller]
fn out<T: Send + 'static>(test: &mut TestDriver) -> Vec<(i64, T)> {
    let record = |event: OutputEvent<T>| match event {
        OutputEvent::Record { value, timestamp_ms } => Some((timestamp_ms.unwrap(), value)),
        _ => None,
    };
    let out = test.events::<T>("out").into_iter().filter_map(record).collect();
    if let Some(failure) = test.failure() {
        panic!("{failure}");
    }
    out
}

/// [`out`] of windows that tell their values.
#[track_caller]
fn told(test: &mut TestDriver) -> Vec<(i64, Values)> {
    out(test)
}

/// Nothing of the usual output.
const NOTHING: [(i64, Values); 0] = [];

fn tumbling(size: u64) -> TumblingEventTimeWindows {
    TumblingEventTimeWindows::of(milliseconds(size))
}

fn sessions(gap: u64) -> EventTimeSessionWindows {
    EventTimeSessionWindows::with_gap(milliseconds(gap))
}

fn continuous_event_time_fires_at_multiples_and_at_the_end(steps: Steps) {
    let trigger = ContinuousEventTimeTrigger::of(milliseconds(4));
    let mut test = windows!(steps, |keyed| keyed
        .window(tumbling(20))
        .trigger(trigger)
        .allowed_lateness(milliseconds(5))
        .process(tell()));
    event(&mut test, 1, 1);
    test.watermark("in", 3);
    assert_eq!(told(&mut test), NOTHING);
    test.watermark("in", 12); // 4, 8 and 12, one firing each
    assert_eq!(told(&mut test), vec![(19, vec![1]); 3]);
    event(&mut test, 13, 2);
    test.watermark("in", 19); // 16, and the end
    assert_eq!(told(&mut test), vec![(19, vec![1, 2]); 2]);
    event(&mut test, 2, 3); // late, but allowed
    assert_eq!(told(&mut test), [(19, vec![1, 2, 3])]);
    test.watermark("in", 24);
    event(&mut test, 2, 4);
    test.end("in");
    assert_eq!(told(&mut test), NOTHING);
}

fn continuous_event_time_ends_in_windows_without_end(steps: Steps) {
    let trigger = ContinuousEventTimeTrigger::of(milliseconds(10));
    let windows = GlobalWindows::create();
    let mut test = windows!(steps, |keyed| keyed.window(windows).trigger(trigger).process(tell()));
    event(&mut test, 3, 1);
    test.watermark("in", 25); // 10 and 20
    assert_eq!(told(&mut test), vec![(i64::MAX, vec![1]); 2]);
    test.end("in"); // 30, and the end
    assert_eq!(told(&mut test), vec![(i64::MAX, vec![1]); 2]);
}

fn continuous_event_time_goes_on_in_merged_sessions(steps: Steps) {
    let trigger = ContinuousEventTimeTrigger::of(milliseconds(10));
    let mut test =
        windows!(steps, |keyed| keyed.window(sessions(15)).trigger(trigger).process(tell()));
    event(&mut test, 3, 1);
    event(&mut test, 12, 2);
    test.watermark("in", 10);
    assert_eq!(told(&mut test), [(26, vec![1, 2])]);
    event(&mut test, 20, 3);
    test.watermark("in", 30);
    assert_eq!(told(&mut test), vec![(34, vec![1, 2, 3]); 2]);
    test.end("in");
    assert_eq!(told(&mut test), [(34, vec![1, 2, 3])]);
}

fn continuous_processing_time_fires_by_the_clock(steps: Steps) {
    let trigger = ContinuousProcessingTimeTrigger::of(milliseconds(40));
    let windows = TumblingProcessingTimeWindows::of(milliseconds(100));
    let mut test = windows!(steps, |keyed| keyed.window(windows).trigger(trigger).process(tell()));
    test.set_clock_ms(10);
    event(&mut test, 0, 1);
    test.set_clock_ms(39);
    assert_eq!(told(&mut test), NOTHING);
    test.set_clock_ms(40);
    assert_eq!(told(&mut test), [(99, vec![1])]);
    event(&mut test, 0, 2);
    test.set_clock_ms(250); // 80, and the end
    assert_eq!(told(&mut test), vec![(99, vec![1, 2]); 2]);
    event(&mut test, 0, 3);
    test.end("in");
    assert_eq!(told(&mut test), NOTHING);
}

/// The clock is ahead of the events, as it is when old data is read.
fn continuous_processing_time_fires_once_at_an_end_that_has_passed(steps: Steps) {
    let trigger = ContinuousProcessingTimeTrigger::of(milliseconds(40));
    let windows = tumbling(10);
    let mut test = windows!(steps, |keyed| keyed.window(windows).trigger(trigger).process(tell()));
    test.set_clock_ms(1_000);
    event(&mut test, 1, 1);
    test.set_clock_ms(1_001);
    assert_eq!(told(&mut test), [(9, vec![1])]);
    event(&mut test, 2, 2);
    test.set_clock_ms(1_100);
    assert_eq!(told(&mut test), NOTHING);
}

fn counts_replace_the_end_of_the_window(steps: Steps) {
    let mut test = windows!(steps, |keyed| keyed
        .window(tumbling(10))
        .trigger(CountTrigger::of(2))
        .process(tell()));
    for (at, value) in [(1, 1), (2, 2), (3, 3), (11, 4)] {
        event(&mut test, at, value);
    }
    assert_eq!(told(&mut test), [(9, vec![1, 2])]);
    test.end("in");
    assert_eq!(told(&mut test), NOTHING);
}

fn counts_add_up_when_sessions_merge(steps: Steps) {
    let mut test = windows!(steps, |keyed| keyed
        .window(sessions(10))
        .trigger(CountTrigger::of(5))
        .process(tell()));
    for (at, value) in [(0, 1), (1, 2), (16, 3), (17, 4)] {
        event(&mut test, at, value);
    }
    assert_eq!(told(&mut test), NOTHING);
    event(&mut test, 9, 5); // bridges two and two
    assert_eq!(told(&mut test), [(26, vec![1, 2, 3, 4, 5])]);
}

fn purging_leaves_the_late_elements_alone(steps: Steps) {
    let mut test = windows!(steps, |keyed| keyed
        .window(tumbling(10))
        .trigger(PurgingTrigger::of(EventTimeTrigger))
        .allowed_lateness(milliseconds(10))
        .process(tell()));
    event(&mut test, 1, 1);
    event(&mut test, 2, 2);
    test.watermark("in", 9);
    event(&mut test, 3, 3);
    event(&mut test, 4, 4);
    test.end("in");
    assert_eq!(told(&mut test), [(9, vec![1, 2]), (9, vec![3]), (9, vec![4])]);
}

fn delta_compares_with_what_fired_last(steps: Steps) {
    let trigger = DeltaTrigger::of(5.0, |last: &Event, new: &Event| (new.1 - last.1) as f64);
    let mut test =
        windows!(steps, |keyed| keyed.window(tumbling(10)).trigger(trigger).process(tell()));
    for (at, value) in [(1, 1), (2, 6), (3, 7), (4, 12), (5, 13)] {
        event(&mut test, at, value);
    }
    assert_eq!(told(&mut test), [(9, vec![1, 6, 7]), (9, vec![1, 6, 7, 12, 13])]);
    event(&mut test, 11, 100);
    test.end("in");
    assert_eq!(told(&mut test), NOTHING);
}

fn a_timeout_fires_what_waits(steps: Steps) {
    let trigger = ProcessingTimeoutTrigger::of(CountTrigger::of(3), milliseconds(100))
        .clear_on_timeout(false);
    let mut test = windows!(steps, |keyed| keyed
        .window(GlobalWindows::create())
        .trigger(trigger)
        .process(tell()));
    test.set_clock_ms(10);
    event(&mut test, 0, 1);
    test.set_clock_ms(50);
    event(&mut test, 0, 2);
    test.set_clock_ms(109);
    assert_eq!(told(&mut test), NOTHING);
    test.set_clock_ms(110);
    assert_eq!(told(&mut test), [(i64::MAX, vec![1, 2])]);
    event(&mut test, 0, 3); // the count went on
    assert_eq!(told(&mut test), [(i64::MAX, vec![1, 2, 3])]);
}

fn a_timeout_is_put_off_and_clears(steps: Steps) {
    let inner = PurgingTrigger::of(CountTrigger::of(3));
    let trigger =
        ProcessingTimeoutTrigger::of(inner, milliseconds(100)).reset_timer_on_new_record(true);
    let mut test = windows!(steps, |keyed| keyed
        .window(GlobalWindows::create())
        .trigger(trigger)
        .process(tell()));
    event(&mut test, 0, 1);
    test.set_clock_ms(60);
    event(&mut test, 0, 2);
    test.set_clock_ms(159);
    assert_eq!(told(&mut test), NOTHING);
    test.set_clock_ms(160);
    assert_eq!(told(&mut test), [(i64::MAX, vec![1, 2])]);
    event(&mut test, 0, 3); // counting begins anew; a timeout does not purge
    event(&mut test, 0, 4);
    assert_eq!(told(&mut test), NOTHING);
    event(&mut test, 0, 5);
    assert_eq!(told(&mut test), [(i64::MAX, vec![1, 2, 3, 4, 5])]);
    test.set_clock_ms(1_000); // the timer went with the firing
    assert_eq!(told(&mut test), NOTHING);
}

fn a_timeout_fires_event_time_windows_when_they_are_given_up(steps: Steps) {
    let trigger = ProcessingTimeoutTrigger::of(NeverTrigger, milliseconds(100));
    let mut test =
        windows!(steps, |keyed| keyed.window(tumbling(10)).trigger(trigger).process(tell()));
    event(&mut test, 1, 1);
    test.watermark("in", 9);
    assert_eq!(told(&mut test), [(9, vec![1])]);
}

/// Fires at the end and wherever the values of a window have reached 10 since it fired; what windows have merges.
#[derive(Clone, Default)]
struct AtTen {
    sum: ReducingState<i64>,
    firings: ValueState<u32>,
}

impl Trigger<Event, TimeWindow> for AtTen {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        let sum = ReducingStateDescriptor::new("sum", |a: &mut i64, b| *a += b);
        self.sum = context.reducing_state(sum)?;
        self.firings = context.value_state(ValueStateDescriptor::new("firings"))?;
        Ok(())
    }
    fn on_element(
        &mut self,
        record: &Event,
        _: i64,
        window: &TimeWindow,
        context: &mut TriggerContext<'_>,
    ) -> thalweg::Result<TriggerResult> {
        context.register_event_time_timer(window.max_timestamp());
        self.sum.add(context, record.1)?;
        if self.sum.get(context)?.unwrap_or_default() < 10 {
            return Ok(TriggerResult::Continue);
        }
        self.sum.clear(context)?;
        self.firings.modify(context, |firings| *firings += 1)?;
        Ok(TriggerResult::Fire)
    }
    fn on_event_time(
        &mut self,
        time_ms: i64,
        window: &TimeWindow,
        context: &mut TriggerContext<'_>,
    ) -> thalweg::Result<TriggerResult> {
        let is_end = time_ms == window.max_timestamp();
        // A window that has fired three times is not told again.
        let is_told = self.firings.value(context)?.unwrap_or_default() >= 3;
        Ok(if is_end && !is_told { TriggerResult::FireAndPurge } else { TriggerResult::Purge })
    }
    fn can_merge(&self) -> bool {
        true
    }
    fn on_merge(
        &mut self,
        window: &TimeWindow,
        context: &mut OnMergeContext<'_>,
    ) -> thalweg::Result<()> {
        context.merge_reducing(&self.sum)?;
        context.merge_value(&self.firings, |a, b| a + b)?;
        context.window()?.register_event_time_timer(window.max_timestamp());
        Ok(())
    }
    fn clear(
        &mut self,
        window: &TimeWindow,
        context: &mut TriggerContext<'_>,
    ) -> thalweg::Result<()> {
        context.delete_event_time_timer(window.max_timestamp());
        self.sum.clear(context)?;
        Ok(self.firings.clear(context)?)
    }
}

fn triggers_of_ones_own_have_state_timers_and_merge(steps: Steps) {
    let trigger = AtTen::default();
    let mut test =
        windows!(steps, |keyed| keyed.window(sessions(10)).trigger(trigger).process(tell()));
    event(&mut test, 0, 6);
    event(&mut test, 20, 3);
    assert_eq!(told(&mut test), NOTHING);
    event(&mut test, 10, 1); // 6 + 3 + 1
    assert_eq!(told(&mut test), [(29, vec![6, 3, 1])]);
    test.watermark("in", 29);
    assert_eq!(told(&mut test), [(29, vec![6, 3, 1])]);
    for (at, value) in [(40, 10), (41, 11), (60, 12)] {
        event(&mut test, at, value);
        assert_eq!(out::<Values>(&mut test).len(), 1);
    }
    event(&mut test, 50, 1); // merged: three firings
    assert_eq!(told(&mut test), NOTHING);
    test.end("in");
    assert_eq!(told(&mut test), NOTHING);
}

fn late_elements_fire_the_last_window_first(steps: Steps) {
    let windows = SlidingEventTimeWindows::of(milliseconds(30), milliseconds(10));
    for general in [false, true] {
        let mut test = windows!(steps, |keyed| {
            let windowed = keyed.window(windows).allowed_lateness(milliseconds(100));
            match general {
                true => windowed
                    .trigger(EventTimeTrigger)
                    .aggregate_with(Count, |_, _, count, out| out.collect(count))
                    .boxed(),
                false => {
                    windowed.aggregate_with(Count, |_, _, count, out| out.collect(count)).boxed()
                }
            }
        });
        event(&mut test, 25, 1);
        test.watermark("in", 60);
        assert_eq!(out::<u64>(&mut test), [(29, 1), (39, 1), (49, 1)]);
        event(&mut test, 35, 2); // late for three windows, which fire again at once
        assert_eq!(out::<u64>(&mut test), [(59, 1), (49, 2), (39, 2)]);
    }
}

fn evictors_drop_before_and_after(steps: Steps) {
    let count = |after: bool| {
        let evictor = CountEvictor::of(2);
        if after { evictor.after() } else { evictor }
    };
    for (after, expected) in
        [(false, [vec![2, 3], vec![5, 6]]), (true, [vec![1, 2, 3], vec![2, 3, 4, 5, 6]])]
    {
        let mut test = windows!(steps, |keyed| keyed
            .window(GlobalWindows::create())
            .trigger(CountTrigger::of(3))
            .evictor(count(after))
            .process(tell()));
        (1..7).for_each(|value| event(&mut test, value, value));
        let told: Vec<Values> = told(&mut test).into_iter().map(|(_, values)| values).collect();
        assert_eq!(told, expected, "after: {after}");
    }
    let delta = DeltaEvictor::of(3.0, |element: &Event, last: &Event| (last.1 - element.1) as f64);
    let mut test =
        windows!(steps, |keyed| keyed.window(tumbling(10)).evictor(delta).process(tell()));
    for (at, value) in [(1, 1), (2, 8), (3, 4), (4, 3), (5, 6)] {
        event(&mut test, at, value);
    }
    test.end("in");
    assert_eq!(told(&mut test), [(9, vec![8, 4, 6])]);
    let mut test = windows!(steps, |keyed| keyed
        .window(tumbling(100))
        .evictor(TimeEvictor::of(milliseconds(5)))
        .reduce(|a, b| (a.0, a.1 + b.1)));
    for (at, value) in [(10, 1), (18, 2), (13, 4), (14, 8)] {
        event(&mut test, at, value);
    }
    test.end("in");
    assert_eq!(out::<Event>(&mut test), [(99, (1, 10))]); // those after 13
}

/// Drops what is older than the watermark by more than 10, and tells nothing else.
#[derive(Clone)]
struct Fresh;
impl Evictor<Event, TimeWindow> for Fresh {
    fn evict_before(
        &mut self,
        elements: &mut WindowElements<Event>,
        window: &TimeWindow,
        context: &EvictorContext,
    ) -> thalweg::Result<()> {
        assert!(elements.iter().all(|(_, at)| at.is_some_and(|at| at < window.end())));
        let oldest = context.current_watermark() - 10;
        elements.retain(|_, at| at.is_some_and(|at| at >= oldest));
        Ok(())
    }
}

fn evictors_of_ones_own_see_time(steps: Steps) {
    let mut test =
        windows!(steps, |keyed| keyed.window(tumbling(20)).evictor(Fresh).process(tell()));
    for at in [3, 12, 7, 19] {
        event(&mut test, at, at);
    }
    test.watermark("in", 19);
    assert_eq!(told(&mut test), [(19, vec![12, 19])]);
}

fn an_evictor_may_leave_nothing(steps: Steps) {
    let none = CountEvictor::of(0);
    let mut test =
        windows!(steps, |keyed| keyed.window(tumbling(10)).evictor(none).process(tell()));
    event(&mut test, 1, 1);
    test.watermark("in", 9);
    assert_eq!(out::<Values>(&mut test), [(9, vec![])]);
    let mut test = windows!(steps, |keyed| keyed
        .window(tumbling(10))
        .evictor(none)
        .reduce(|a, b| (a.0, a.1 + b.1)));
    event(&mut test, 1, 1);
    test.end("in");
    assert_eq!(out::<Event>(&mut test), []);
}

fn count_windows_slide(steps: Steps) {
    let mut test = windows!(steps, |keyed| keyed.count_window_sliding(3, 2).process(tell()));
    (1..7).for_each(|value| event(&mut test, value, value));
    test.end("in");
    let told: Vec<Values> = told(&mut test).into_iter().map(|(_, values)| values).collect();
    assert_eq!(told, [vec![1, 2], vec![2, 3, 4], vec![4, 5, 6]]);
}

fn processing_time_windows_fire_in_order(steps: Steps) {
    let windows =
        SlidingProcessingTimeWindows::of(milliseconds(100), milliseconds(50)).offset_ms(-10);
    let mut test = windows!(steps, |keyed| keyed.window(windows).process(tell()));
    test.set_clock_ms(5);
    event(&mut test, 1_000, 1); // its own time means nothing
    test.set_clock_ms(45);
    test.pipe("in", [(1_u64, 2_i64)]);
    test.watermark("in", 5_000);
    assert_eq!(told(&mut test), [(39, vec![1])]);
    test.set_clock_ms(1_000);
    assert_eq!(told(&mut test), [(89, vec![1, 2]), (139, vec![2])]);
    event(&mut test, 0, 3);
    test.end("in"); // what is open is dropped
    assert_eq!(told(&mut test), NOTHING);
}

fn processing_time_sessions_grow(steps: Steps) {
    let windows = ProcessingTimeSessionWindows::with_gap(milliseconds(50));
    let mut test = windows!(steps, |keyed| keyed.window(windows).process(tell()));
    test.set_clock_ms(10);
    event(&mut test, 0, 1);
    test.set_clock_ms(40);
    event(&mut test, 0, 2);
    test.set_clock_ms(70);
    assert_eq!(told(&mut test), NOTHING);
    test.set_clock_ms(89);
    assert_eq!(told(&mut test), [(89, vec![1, 2])]);
    let dynamic = ProcessingTimeSessionWindows::with_dynamic_gap(|event: &Event| event.1);
    let mut test = windows!(steps, |keyed| keyed.window(dynamic).process(tell()));
    event(&mut test, 0, 100);
    test.set_clock_ms(20);
    event(&mut test, 0, 30);
    test.set_clock_ms(99);
    assert_eq!(told(&mut test), [(99, vec![100, 30])]);
}

fn global_windows_end_with_the_input(steps: Steps) {
    let windows = GlobalWindows::with_end_of_stream_trigger();
    let mut test = windows!(steps, |keyed| keyed.window(windows).process(tell()));
    event(&mut test, 5, 1);
    test.pipe("in", [(1_u64, 2_i64)]);
    test.watermark("in", i64::MAX - 1);
    assert_eq!(told(&mut test), NOTHING);
    test.end("in");
    assert_eq!(told(&mut test), [(i64::MAX, vec![1, 2])]);
}

/// Counts the firings of windows and of keys.
#[derive(Clone, Default)]
struct Firings {
    of_window: ValueState<u32>,
    of_key: ValueState<u32>,
}

impl ProcessWindowFunction for Firings {
    type Key = u64;
    type In = Event;
    type Out = (u32, u32);
    type Window = TimeWindow;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        // One name for both: they are apart.
        let descriptor = || ValueStateDescriptor::new("firings");
        self.of_window = context.window_state()?.value_state(descriptor())?;
        self.of_key = context.value_state(descriptor())?;
        Ok(())
    }
    fn process(
        &mut self,
        key: &u64,
        context: &mut WindowContext<'_, TimeWindow>,
        _: &[Event],
        out: &mut Collector<'_, (u32, u32)>,
    ) -> thalweg::Result<()> {
        assert_eq!(*key, 1);
        let add = |n: &mut u32| {
            *n += 1;
            *n
        };
        let of_window = self.of_window.modify(&mut context.window_state(), add)?;
        let of_key = self.of_key.modify(&mut context.global_state(), add)?;
        assert!(self.of_key.value(&context.window_state()).is_err());
        out.collect((of_window, of_key));
        Ok(())
    }
    fn clear(&mut self, context: &mut WindowContext<'_, TimeWindow>) -> thalweg::Result<()> {
        Ok(self.of_window.clear(&mut context.window_state())?)
    }
}

fn functions_keep_state_of_window_and_key(steps: Steps) {
    let mut test = windows!(steps, |keyed| keyed
        .window(tumbling(10))
        .allowed_lateness(milliseconds(10))
        .reduce_process(|a, b| (a.0, a.1 + b.1), Firings::default()));
    event(&mut test, 1, 1);
    test.watermark("in", 9);
    event(&mut test, 2, 2);
    event(&mut test, 11, 3);
    test.watermark("in", 19);
    event(&mut test, 3, 4); // too late
    event(&mut test, 12, 5);
    test.end("in");
    let told: Vec<_> = out::<(u32, u32)>(&mut test).into_iter().map(|(_, told)| told).collect();
    assert_eq!(told, [(1, 1), (2, 2), (1, 3), (2, 4)]);
    // Windows that merge have no state of their own.
    let sessions = driver(steps, |env| {
        env.from_source(testing::input::<Event>(), "in")
            .key_by(|event: &Event| event.0)
            .window(sessions(10))
            .process(Firings::default())
            .sink_to(testing::output())
            .name("out");
    });
    let failure = sessions.failure().unwrap().to_string();
    assert!(failure.contains("windows of this assigner merge"), "{failure}");
}

/// Tells the processing time on the side.
#[derive(Clone)]
struct Clock(OutputTag<(i64, i64)>);
impl ProcessWindowFunction for Clock {
    type Key = u64;
    type In = Event;
    type Out = i64;
    type Window = TimeWindow;
    fn process(
        &mut self,
        _: &u64,
        context: &mut WindowContext<'_, TimeWindow>,
        elements: &[Event],
        out: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        let times = (context.current_processing_time(), context.current_watermark());
        context.output(&self.0, times);
        out.collect(elements[0].1);
        Ok(())
    }
}

fn functions_emit_to_the_side(steps: Steps) {
    let tag = OutputTag::new("clock");
    let mut test = driver(steps, |env| {
        let stream = env
            .from_source(testing::input::<Event>(), "in")
            .key_by(|event: &Event| event.0)
            .window(tumbling(10))
            .process(Clock(tag.clone()));
        stream.side_output(&tag).sink_to(testing::output()).name("out");
        stream.sink_to(testing::output::<i64>()).name("values");
    });
    test.set_clock_ms(77);
    event(&mut test, 1, 5);
    test.watermark("in", 12);
    assert_eq!(out::<(i64, i64)>(&mut test), [(9, (77, 12))]);
    assert_eq!(test.outputs::<i64>("values"), [5]);
}

fn whole_streams_have_windows_too(steps: Steps) {
    let all = |write: &dyn Fn(DataStream<Event>) -> DataStream<Values>| {
        driver(steps, |env| {
            let events = env.from_source(testing::input::<Event>(), "in").boxed();
            write(events).sink_to(testing::output()).name("out");
        })
    };
    // One subtask emits, several may write: their order is not told.
    let sorted = |test: &mut TestDriver| {
        let mut told = told(test);
        told.sort();
        told
    };
    let feed = |test: &mut TestDriver| {
        for (key, at, value) in [(1_u64, 1, 1_i64), (2, 5, 2), (3, 25, 3), (4, 16, 4), (5, 14, 5)] {
            test.pipe_at("in", [(at, (key, value))]);
        }
        test.end("in");
    };
    let mut test = all(&|events| events.window_all(tumbling(10)).process(tell()));
    feed(&mut test);
    assert_eq!(sorted(&mut test), [(9, vec![1, 2]), (19, vec![4, 5]), (29, vec![3])]);
    let mut test = all(&|events| events.window_all(sessions(10)).process(tell()));
    feed(&mut test);
    let mut session = told(&mut test);
    session[0].1.sort_unstable();
    assert_eq!(session, [(34, vec![1, 2, 3, 4, 5])]);
    let mut test = all(&|events| events.count_window_all(2).process(tell()));
    feed(&mut test);
    assert_eq!(sorted(&mut test), [(i64::MAX, vec![1, 2]), (i64::MAX, vec![3, 4])]);
    let mut test = all(&|events| events.count_window_all_sliding(3, 2).process(tell()));
    feed(&mut test);
    assert_eq!(sorted(&mut test), [(i64::MAX, vec![1, 2]), (i64::MAX, vec![2, 3, 4])]);
}

fn named_reductions_keep_what_they_promise(steps: Steps) {
    type Reading = (u64, i64, i64);
    let readings: [Reading; 4] = [(1, 10, 5), (1, 20, 3), (1, 30, 3), (1, 40, 5)];
    macro_rules! check {
        ($method:ident, $field:expr, $expected:expr) => {
            let mut test = driver(steps, |env| {
                env.from_source(testing::input::<Reading>(), "in")
                    .key_by(|reading: &Reading| reading.0)
                    .window(tumbling(10))
                    .$method($field)
                    .sink_to(testing::output())
                    .name("out");
            });
            for (at, reading) in readings.into_iter().enumerate() {
                test.pipe_at("in", [(at as i64, reading)]);
            }
            test.end("in");
            assert_eq!(out::<Reading>(&mut test), [(9, $expected)], stringify!($method));
        };
    }
    check!(sum, |reading: &mut Reading| &mut reading.2, (1, 10, 16));
    check!(min, |reading: &mut Reading| &mut reading.2, (1, 10, 3));
    check!(max, |reading: &mut Reading| &mut reading.2, (1, 10, 5));
    check!(min_by, |reading: &Reading| reading.2, (1, 20, 3));
    check!(min_by_last, |reading: &Reading| reading.2, (1, 30, 3));
    check!(max_by, |reading: &Reading| reading.2, (1, 10, 5));
    check!(max_by_last, |reading: &Reading| reading.2, (1, 40, 5));
}
