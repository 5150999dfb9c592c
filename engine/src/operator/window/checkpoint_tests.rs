//! Windows in tables, restarted at every element, with as many subtasks or others.

use super::*;
use crate::function::{ByValue, Count};
use crate::operator::keyed::KeyedOperator;
use crate::operator::test_support::{
    Event, NODE, Recorder, Subtasks, feed_all, restart_everywhere, restored,
};
use crate::operator::window::emit::WithClosure;
use crate::operator::window::pane::PaneWindows;
use crate::operator::window::sessions::{SessionSettings, SessionWindows};
use crate::operator::window::sliced::SlicedWindows;
use crate::operator::{Consume, Push};
use crate::record::Control;
use crate::state::StateValue;
use std::marker::PhantomData;

/// Key and value.
type Rec = (u32, u64);
/// Key, window and result.
type Out<R> = (u32, (i64, i64), R);

/// An aggregate that tells in which order elements came, and takes no fixed number of bytes.
#[derive(Clone)]
struct InOrder;

impl AggregateFunction<Rec> for InOrder {
    type Accumulator = String;
    type Result = String;
    fn create_accumulator(&self) -> String {
        String::new()
    }
    fn add(&self, accumulator: &mut String, record: &Rec) {
        accumulator.push_str(&format!("{};", record.1));
    }
    fn result(&self, accumulator: &String) -> String {
        accumulator.clone()
    }
    fn merge(&self, into: &mut String, other: &String) {
        into.push_str(other);
    }
}

fn key(record: &Rec) -> u32 {
    record.0
}

fn selector() -> impl KeySelector<Rec, Key = u32> {
    ByValue::new(|record: &Rec| record.0)
}

fn opened<R: 'static>(
    context: &BuildContext,
) -> Opened<impl EmitPlain<u32, TimeWindow, R, Out = Out<R>> + use<R>> {
    let function = |key: &u32, window: TimeWindow, result, out: &mut Collector<'_, Out<R>>| {
        out.collect((*key, (window.start, window.end), result));
    };
    let emit = WithClosure { function, types: PhantomData };
    Opened::open(emit, &context.stage, NODE, |_, _| Ok(()), |_| Ok(())).unwrap()
}

#[derive(Clone, Copy, Debug)]
struct Kind {
    windows: AlignedWindows,
    lateness_ms: i64,
}

impl Kind {
    #[expect(clippy::type_complexity, reason = "what is hidden has no names")]
    fn core<A: AggregateFunction<Rec>>(
        self,
        aggregate: A,
        context: &mut BuildContext,
    ) -> Result<
        WindowCore<
            Rec,
            impl KeySelector<Rec, Key = u32> + use<A>,
            A,
            impl EmitPlain<u32, TimeWindow, A::Result, Out = Out<A::Result>> + use<A>,
        >,
    >
    where
        A::Result: 'static,
    {
        let Kind { windows, lateness_ms } = self;
        let (selector, late, node) = (selector(), None, NODE);
        let settings = WindowSettings { selector, aggregate, windows, lateness_ms, late, node };
        let emit = opened(context);
        WindowCore::open(settings, emit, context)
    }
}

fn head<L: crate::operator::keyed::Logic<Rec>>(
    logic: L,
    next: impl Push<L::Out>,
    context: &BuildContext,
) -> Box<dyn Consume<Rec>> {
    Box::new(KeyedOperator::new(logic, next, context.stage.clone()))
}

fn panes<A: AggregateFunction<Rec, Result: 'static>>(
    kind: Kind,
    aggregate: A,
    context: &mut BuildContext,
    next: Recorder<Out<A::Result>>,
) -> Result<Box<dyn Consume<Rec>>> {
    let core = kind.core(aggregate, context)?;
    Ok(head(PaneWindows::open(core, context)?, next, context))
}

fn slices(
    kind: Kind,
    context: &mut BuildContext,
    next: Recorder<Out<u64>>,
) -> Result<Box<dyn Consume<Rec>>> {
    let core = kind.core(Count, context)?;
    Ok(head(SlicedWindows::open(core, context)?, next, context))
}

fn sessions<A: AggregateFunction<Rec, Result: 'static>>(
    (gap_ms, lateness_ms): (i64, i64),
    aggregate: A,
    context: &mut BuildContext,
    next: Recorder<Out<A::Result>>,
) -> Result<Box<dyn Consume<Rec>>> {
    let (selector, late, node) = (selector(), None, NODE);
    let settings = SessionSettings { selector, aggregate, gap_ms, lateness_ms, late, node };
    let emit = opened(context);
    Ok(head(SessionWindows::open(settings, emit, context)?, next, context))
}

/// Elements in disorder, some of them late, and watermarks.
fn events(count: u64, keys: u64, seed: u64) -> Vec<Event<Rec>> {
    let mut state = seed;
    let mut random = move |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let (mut events, mut now_ms) = (Vec::new(), -40);
    for number in 0..count {
        now_ms += random(4) as i64;
        let behind = if random(8) == 0 { random(45) } else { random(6) };
        events.push(Event::Record((random(keys) as u32, number), now_ms - behind as i64));
        if random(5) == 0 {
            events.push(Event::Watermark(now_ms - 7));
        }
    }
    events.push(Event::Watermark(i64::MAX));
    events
}

const SCALES: [(usize, usize); 5] = [(1, 1), (2, 2), (4, 4), (1, 3), (3, 2)];

fn kinds() -> impl Iterator<Item = Kind> {
    let windows = [(10, 10, 0), (10, 5, 0), (12, 5, 2), (6, 9, 1)];
    let all = windows.into_iter().flat_map(|windows| [0, 15].map(|late| (windows, late)));
    all.map(|((size_ms, slide_ms, offset_ms), lateness_ms)| Kind {
        windows: AlignedWindows { size_ms, slide_ms, offset_ms },
        lateness_ms,
    })
}

#[test]
fn panes_go_on_from_any_element() {
    for (seed, kind) in kinds().enumerate() {
        let events = events(60, 7, seed as u64);
        for scale in SCALES {
            restart_everywhere(scale, &events, key, |c, next| panes(kind, InOrder, c, next));
        }
    }
}

#[test]
fn slices_go_on_from_any_element() {
    for (seed, kind) in kinds().enumerate().filter(|(_, kind)| kind.windows.overlap()) {
        let events = events(60, 7, seed as u64);
        for scale in SCALES {
            restart_everywhere(scale, &events, key, |c, next| slices(kind, c, next));
        }
    }
}

#[test]
fn sessions_go_on_from_any_element() {
    for (seed, (gap_ms, lateness_ms)) in [(5, 0), (5, 15), (12, 3), (1, 0)].into_iter().enumerate()
    {
        let events = events(60, 9, seed as u64);
        for scale in SCALES {
            let make =
                |c: &mut BuildContext, next| sessions((gap_ms, lateness_ms), InOrder, c, next);
            restart_everywhere(scale, &events, key, make);
            let make = |c: &mut BuildContext, next| sessions((gap_ms, lateness_ms), Count, c, next);
            restart_everywhere(scale, &events, key, make);
        }
    }
}

/// So large that a table has many parts.
#[derive(Clone)]
struct Wide;

impl AggregateFunction<Rec> for Wide {
    type Accumulator = [u64; 126];
    type Result = u64;
    fn create_accumulator(&self) -> [u64; 126] {
        [0; 126]
    }
    fn add(&self, accumulator: &mut [u64; 126], record: &Rec) {
        accumulator[record.1 as usize % 126] += record.1;
    }
    fn result(&self, accumulator: &[u64; 126]) -> u64 {
        accumulator.iter().sum()
    }
    fn merge(&self, into: &mut [u64; 126], other: &[u64; 126]) {
        into.iter_mut().zip(other).for_each(|(into, other)| *into += other);
    }
}

/// One table of several parts, changed all over while it is written.
#[test]
fn parts_are_written_before_they_change() {
    let windows = AlignedWindows { size_ms: 1_000, slide_ms: 1_000, offset_ms: 0 };
    let kind = Kind { windows, lateness_ms: 0 };
    let make = |c: &mut BuildContext, next: Recorder<_>| panes(kind, Wide, c, next);
    let mut state = 9_u64;
    let mut records = |count: usize| {
        let record = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(7);
            Event::Record(((state >> 33) as u32 % 6_000, state >> 50), 5)
        };
        (0..count).map(record).collect::<Vec<_>>()
    };
    let (before, meanwhile) = (records(9_000), records(3_000));
    let mut expected = Subtasks::build(1, None, make).unwrap();
    feed_all(&mut expected, &before, key);
    expected.control(Control::Watermark(i64::MAX));
    expected.settle();
    let mut first = Subtasks::build(1, None, make).unwrap();
    feed_all(&mut first, &before, key);
    first.barrier(1);
    feed_all(&mut first, &meanwhile, key);
    // Its window is given up before all of it is written.
    first.control(Control::Watermark(i64::MAX));
    let mut second = Subtasks::build(2, Some(restored(first.snapshots())), make).unwrap();
    second.control(Control::Watermark(i64::MAX));
    second.settle();
    let sorted = |of: &Subtasks<Rec, Out<u64>>| {
        let mut heard = of.heard().concat();
        heard.sort_unstable();
        heard
    };
    assert!(sorted(&expected).len() > 4_000, "several parts of 896 entries");
    assert_eq!(sorted(&second), sorted(&expected));
}

/// A checkpoint overtakes one that is being written, and one is given up.
#[test]
fn one_checkpoint_after_the_other_is_written() {
    let windows = AlignedWindows { size_ms: 10, slide_ms: 10, offset_ms: 0 };
    let kind = Kind { windows, lateness_ms: 0 };
    let events: Vec<_> = (0..40).map(|number| Event::Record((number as u32, number), 3)).collect();
    let mut subtasks = Subtasks::build(1, None, |c, next| panes(kind, InOrder, c, next)).unwrap();
    feed_all(&mut subtasks, &events[..30], key);
    subtasks.barrier(1);
    feed_all(&mut subtasks, &events[30..32], key);
    subtasks.barrier(2);
    let second = subtasks.snapshots();
    assert_eq!(second[0].checkpoint.0, 2, "the first was delivered before, and is subsumed");
    let lengths = second[0].pieces[0].bytes.length_bytes();
    feed_all(&mut subtasks, &events[32..], key);
    subtasks.barrier(3);
    let third = subtasks.snapshots();
    assert!(third[0].pieces[0].bytes.length_bytes() > lengths);
}

fn refusal<T: StateValue + Clone>(
    before: impl Fn(&mut BuildContext, Recorder<Out<T>>) -> Result<Box<dyn Consume<Rec>>>,
    after: impl Fn(&mut BuildContext, Recorder<Out<T>>) -> Result<Box<dyn Consume<Rec>>>,
) -> String {
    let mut first = Subtasks::build(1, None, before).unwrap();
    feed_all(&mut first, &[Event::Record((1, 1), 3)], key);
    first.barrier(1);
    match Subtasks::build(1, Some(restored(first.snapshots())), after) {
        Ok(_) => panic!("it is refused"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn other_windows_than_the_checkpoint_has_are_refused() {
    let kind = |size_ms, slide_ms| {
        let windows = AlignedWindows { size_ms, slide_ms, offset_ms: 0 };
        Kind { windows, lateness_ms: 0 }
    };
    let error = refusal::<u64>(
        |c, next| panes(kind(10, 5), Count, c, next),
        |c, next| panes(kind(20, 5), Count, c, next),
    );
    assert_eq!(
        error,
        "the state 'windows' of operator 'test' (subtask 1) cannot be restored: its windows were of 10 ms every 5 ms and \
         are now of 20 ms every 5 ms; change them back, or begin without the checkpoint"
    );
    let error = refusal::<u64>(
        |c, next| panes(kind(10, 5), Count, c, next),
        |c, next| slices(kind(10, 5), c, next),
    );
    assert!(error.contains("it keeps windows one by one"), "{error}");
    let error = refusal::<u64>(
        |c, next| panes(kind(10, 5), Count, c, next),
        |c, next| sessions((5, 0), Count, c, next),
    );
    assert!(error.contains("the operator now keeps sessions"), "{error}");
    let error = refusal::<u64>(
        |c, next| panes(kind(10, 5), Count, c, next),
        |c, next| panes(kind(10, 5), Wide, c, next),
    );
    assert!(error.contains("the type of its accumulators is now [u64;126]"), "{error}");
}
