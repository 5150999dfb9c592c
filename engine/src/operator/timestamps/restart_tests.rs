//! The operator restarted at every step: what it says is the same as without.

use super::piece::StoredTimestamps;
use super::*;
use crate::checkpoint::snapshot::RestoredState;
use crate::operator::alignment::AlignmentGroups;
use crate::operator::pieces::Report;
use crate::operator::source_splits::SourceSplits;
use crate::operator::test_support::{Heard, NODE, Recorder, Said, context, restored};
use crate::record::{Barrier, CheckpointId};
use crate::runtime::{CoreHandle, CoreServices, TaskOrder};
use crate::time::{
    BoundedOutOfOrderness, IngestionTime, RecordedTimestamps, StrategyState, WatermarkAlignment,
    WatermarkGenerator, WatermarkOutput, milliseconds,
};
use std::sync::Arc;

/// What happens to a source.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The reader is given a split.
    Assign(&'static str),
    /// A record of a split; of none where it has no name.
    Record(&'static str, i64),
    /// A split ends.
    End(&'static str),
    /// The time, in milliseconds.
    Clock(i64),
}
use Step::{Assign, Clock, End, Record};

/// An operator of one run.
struct Run<O> {
    operator: O,
    splits: Rc<SourceSplits>,
    core: CoreHandle,
    stage: Rc<StageContext>,
    heard: Heard<i64>,
    /// The monotonic clock of this run began when the wall clock said so.
    began_ms: i64,
}

impl<O: Push<i64>> Run<O> {
    fn settle(&mut self) {
        // Once more than it asks for: the batch after one with a watermark sees how long there has been silence.
        for _ in 0..2 {
            while self.operator.drive(true) == Flow::Busy {}
        }
        assert!(!self.stage.task.has_failed());
    }

    fn step(&mut self, step: Step) {
        match step {
            Assign(split) => self.splits.assign(split.to_owned()),
            Record(split, timestamp) => {
                if !split.is_empty() {
                    self.splits.begin(split);
                }
                self.operator.push(timestamp, timestamp);
            }
            End(split) => self.splits.end(split),
            Clock(now_ms) => self.set_clock(now_ms),
        }
        self.settle();
    }

    fn set_clock(&mut self, now_ms: i64) {
        self.core.now_ms.set(now_ms);
        // The wall clock may be set back.
        let monotonic_ns = (now_ms - self.began_ms).max(0) as u64 * 1_000_000;
        self.core.monotonic_ns.set(monotonic_ns.max(self.core.monotonic_ns.get()));
    }

    fn said(&self) -> Vec<Said<i64>> {
        let is_barrier = |said: &Said<i64>| matches!(said, Said::Told(Control::Barrier(_)));
        self.heard.borrow().iter().filter(|said| !is_barrier(said)).cloned().collect()
    }
}

/// What of an operator its checkpoint has.
fn snapshot<O: Push<i64>>(run: &mut Run<O>) -> crate::checkpoint::snapshot::TaskSnapshot {
    run.settle();
    run.operator.control(Control::Barrier(Barrier::periodic(CheckpointId(1))));
    match run.stage.task.pieces.take_reports().pop() {
        Some(Report::Ready(snapshot)) => snapshot,
        other => panic!("a snapshot, not {other:?}"),
    }
}

/// Ticks, and the idle timeout in nanoseconds.
type Timing = (Ticks, Option<u64>);

fn start<W: WatermarkMaker<i64>, A: TimestampAssigner<i64>>(
    now_ms: i64,
    (interval_ms, timeout_ms): (i64, Option<u64>),
    place: (usize, usize),
    state: Option<Arc<RestoredState>>,
    make: impl Fn(Timing, Rc<SourceSplits>) -> (W, A),
) -> Run<Timestamps<i64, W, A, Recorder<i64>>> {
    let core = CoreHandle::new(CoreServices::default());
    core.now_ms.set(now_ms);
    let context = context(place, &core, state);
    let (stage, heard) = (context.stage.clone(), Heard::default());
    let ticks = Ticks::new(interval_ms, now_ms);
    let splits = Rc::new(SourceSplits::new(None));
    let parts = make((ticks, timeout_ms.map(|ms| ms * 1_000_000)), splits.clone());
    let next = Recorder(heard.clone());
    let operator = Timestamps::open(parts, next, ticks, &context, NODE).unwrap();
    Run { operator, splits, core, stage, heard, began_ms: now_ms }
}

/// The splits that the reader has after these steps.
fn open_splits(steps: &[Step]) -> Vec<&'static str> {
    let mut open = Vec::new();
    for step in steps {
        match step {
            Assign(split) | Record(split, _) if !split.is_empty() && !open.contains(split) => {
                open.push(*split);
            }
            End(split) => open.retain(|open| open != split),
            _ => {}
        }
    }
    open
}

/// What holds after all that was said: the last watermark, and whether the stream is idle.
fn standing(said: &[Said<i64>]) -> Vec<Said<i64>> {
    let told = |is_it: fn(&Control) -> bool| {
        said.iter().rev().find(|said| matches!(said, Said::Told(control) if is_it(control)))
    };
    let watermark = told(|control| matches!(control, Control::Watermark(_)));
    let status = told(|control| matches!(control, Control::Status(_)));
    let idle = status.filter(|status| **status == Said::Told(Control::Status(StreamStatus::Idle)));
    watermark.into_iter().chain(idle).cloned().collect()
}

fn restart_everywhere<W: WatermarkMaker<i64>, A: TimestampAssigner<i64>>(
    timing: (i64, Option<u64>),
    steps: &[Step],
    make: impl Fn(Timing, Rc<SourceSplits>) -> (W, A) + Copy,
) {
    let mut undisturbed = start(0, timing, (0, 1), None, make);
    undisturbed.settle();
    steps.iter().for_each(|step| undisturbed.step(*step));
    let expected = undisturbed.said();
    let watermarks = expected.iter().filter(|said| matches!(said, Said::Told(_))).count();
    assert!(watermarks > 0, "it says something: {expected:?}");
    for at in 0..=steps.len() {
        let mut first = start(0, timing, (0, 1), None, make);
        first.settle();
        steps[..at].iter().for_each(|step| first.step(*step));
        let snapshot = snapshot(&mut first);
        let mut said = first.said();
        let now_ms = first.core.now_ms.get();
        let mut second = start(now_ms, timing, (0, 1), Some(restored(vec![snapshot])), make);
        open_splits(&steps[..at]).iter().for_each(|id| second.splits.assign((*id).to_owned()));
        second.settle();
        steps[at..].iter().for_each(|step| second.step(*step));
        // Who listens may have forgotten it.
        let repeated = standing(&said);
        let again = second.said();
        assert_eq!(again.get(..repeated.len()), Some(&*repeated), "restarted at step {at}");
        said.extend_from_slice(&again[repeated.len()..]);
        assert_eq!(said, expected, "restarted at step {at} of {steps:?}");
    }
}

fn bounded() -> BoundedOutOfOrderness {
    BoundedOutOfOrderness::new(milliseconds(5))
}

fn one<G: WatermarkGenerator<i64>>(
    generator: G,
    (ticks, timeout_ns): Timing,
) -> (OneGenerator<G>, RecordedTimestamps) {
    let idleness = timeout_ns.map(|ns| ticks.idleness(ns, 0));
    (OneGenerator::new(generator, idleness), RecordedTimestamps)
}

fn each<G: WatermarkGenerator<i64> + Clone>(
    generator: G,
    (ticks, timeout_ns): Timing,
    splits: Rc<SourceSplits>,
) -> (PerSplit<G>, RecordedTimestamps) {
    let idleness = timeout_ns.map(|ns| (ticks, ns));
    (PerSplit::new(generator, idleness, splits, 0), RecordedTimestamps)
}

/// Says each tenth at once, and at ticks what it has seen; keeps that.
#[derive(Clone)]
struct Tens(i64);

impl WatermarkGenerator<i64> for Tens {
    fn on_event(&mut self, record: &i64, timestamp_ms: i64, out: &mut WatermarkOutput) {
        self.0 = self.0.max(timestamp_ms);
        if record % 10 == 0 {
            out.emit_watermark(self.0);
        }
    }
    fn on_periodic(&mut self, out: &mut WatermarkOutput) {
        out.emit_watermark(self.0.saturating_sub(20));
    }
    fn snapshot_state(&self) -> Result<StrategyState> {
        StrategyState::of(&self.0)
    }
    fn restore_state(&mut self, state: &StrategyState) -> Result {
        self.0 = state.value()?;
        Ok(())
    }
}

const WITHOUT_SPLITS: [Step; 14] = [
    Record("", 20),
    Record("", 23),
    Clock(90),
    Clock(210),
    Record("", 31),
    Clock(390),
    Clock(430),
    Clock(640),
    Clock(1_100),
    Record("", 30),
    Clock(1_250),
    Record("", 60),
    Record("", 57),
    Clock(1_500),
];

const WITH_SPLITS: [Step; 24] = [
    Assign("a"),
    Assign("b"),
    Record("a", 50),
    Clock(100),
    Record("b", 30),
    Clock(210),
    Record("a", 70),
    Record("b", 45),
    Clock(300),
    Record("a", 81),
    Clock(420),
    // The other one goes idle.
    Record("a", 90),
    Clock(640),
    Record("a", 97),
    Clock(900),
    Record("b", 60),
    Assign("c"),
    Clock(1_300),
    Record("c", 99),
    End("b"),
    Record("a", 120),
    Clock(1_500),
    End("a"),
    Clock(2_600),
];

const TIMINGS: [(i64, Option<u64>); 5] =
    [(0, None), (200, None), (0, Some(150)), (200, Some(150)), (100, Some(400))];

#[test]
fn one_generator_goes_on() {
    for timing in TIMINGS {
        restart_everywhere(timing, &WITHOUT_SPLITS, |timing, _| one(bounded(), timing));
        restart_everywhere(timing, &WITHOUT_SPLITS, |timing, _| one(Tens(0), timing));
    }
}

#[test]
fn generators_of_splits_go_on() {
    for timing in TIMINGS {
        restart_everywhere(timing, &WITH_SPLITS, |timing, splits| each(bounded(), timing, splits));
        restart_everywhere(timing, &WITH_SPLITS, |timing, splits| each(Tens(0), timing, splits));
        let make = |timing, splits| each(bounded(), timing, splits);
        restart_everywhere(timing, &WITHOUT_SPLITS, make);
    }
}

#[test]
fn time_of_arrival_does_not_fall_after_a_restart() {
    let steps =
        [Clock(1_000), Record("", 1), Clock(900), Record("", 2), Clock(1_100), Record("", 3)];
    restart_everywhere((0, None), &steps, |timing, _| {
        (one(bounded(), timing).0, IngestionTime::default())
    });
}

/// Splits of two subtasks go to one, and those of one to two: each goes on with its own generator.
#[test]
fn splits_take_their_generators_along() {
    let make = |timing, splits| each(bounded(), timing, splits);
    let run = |place, state| start(0, (0, None), place, state, make);
    let (mut first, mut second) = (run((0, 2), None), run((1, 2), None));
    let steps = [Assign("a"), Assign("b"), Record("a", 100), Record("b", 60)];
    steps.iter().for_each(|step| first.step(*step));
    second.step(Record("c", 300));
    let state = restored(vec![snapshot(&mut first), snapshot(&mut second)]);
    let mut alone = run((0, 1), Some(state.clone()));
    ["a", "b", "c"].iter().for_each(|split| alone.splits.assign((*split).to_owned()));
    alone.settle();
    // Lower than what the second has said, higher than the first: nothing is late that was not.
    [Record("b", 90), Record("c", 290)].iter().for_each(|step| alone.step(*step));
    let told = |run: &Run<_>| {
        let said: Vec<Said<i64>> = Run::said(run);
        said.into_iter().filter(|said| matches!(said, Said::Told(_))).collect::<Vec<_>>()
    };
    let watermarks = |all: &[i64]| -> Vec<Said<i64>> {
        all.iter().map(|watermark| Said::Told(Control::Watermark(*watermark))).collect()
    };
    assert_eq!(told(&alone), watermarks(&[54, 84]), "what the first had said, once more");
    let state = restored(vec![snapshot(&mut alone)]);
    let (mut left, mut right) = (run((0, 2), Some(state.clone())), run((1, 2), Some(state)));
    ["a", "c"].iter().for_each(|split| left.splits.assign((*split).to_owned()));
    right.splits.assign("b".to_owned());
    left.settle();
    right.settle();
    assert_eq!(told(&left), watermarks(&[84, 94]), "what a and c have together");
    assert_eq!(told(&right), watermarks(&[84]), "b has said so before");
    right.step(Record("b", 91));
    assert_eq!(told(&right), watermarks(&[84, 85]));
}

/// Else a stream would be idle because its source was told to read no further, and event time would end.
#[test]
fn nobody_is_asked_while_the_job_is_being_stopped() {
    for timing in [(0, Some(150)), (200, Some(150))] {
        let mut run = start(0, timing, (0, 1), None, |timing, _| one(bounded(), timing));
        run.step(Record("", 20));
        run.step(Clock(200));
        let said = run.said();
        run.stage.task.pieces.order(TaskOrder::StopReading);
        (2..9).for_each(|tenths| run.step(Clock(tenths * 200)));
        assert_eq!(run.said(), said, "{timing:?}");
    }
}

/// An aligned source is not waited for, nor waits, by what it said before the restart.
#[test]
fn aligned_sources_know_what_they_have_said() {
    let groups = AlignmentGroups::default();
    let alignment =
        WatermarkAlignment { group: "g".to_owned(), max_drift_ms: 10, update_interval_ms: 0 };
    let [ahead, behind] = [500, 100].map(|timestamp| {
        let join = || Rc::new(SourceSplits::new(Some(groups.join(&alignment))));
        let mut first =
            start(0, (0, None), (0, 1), None, |timing, splits| each(bounded(), timing, splits));
        first.step(Record("", timestamp));
        let state = Some(restored(vec![snapshot(&mut first)]));
        let splits = join();
        start(0, (0, None), (0, 1), state, |timing, _| each(bounded(), timing, splits.clone()));
        splits
    });
    assert!(ahead.must_wait(0) && !behind.must_wait(0));
}

#[test]
fn a_piece_of_another_type_is_refused() {
    let mut first = start(0, (0, None), (0, 1), None, |timing, _| one(Tens(3), timing));
    first.step(Record("", 20));
    let state = restored(vec![snapshot(&mut first)]);
    let core = CoreHandle::new(CoreServices::default());
    let context = context((0, 1), &core, Some(state));
    let stored: Vec<StoredTimestamps> = context.restored_values(NODE, PIECE).unwrap();
    assert_eq!(stored.len(), 1);
    /// Keeps something else.
    #[derive(Clone)]
    struct Other;
    impl WatermarkGenerator<i64> for Other {
        fn on_event(&mut self, _: &i64, _: i64, _: &mut WatermarkOutput) {}
        fn on_periodic(&mut self, _: &mut WatermarkOutput) {}
        fn restore_state(&mut self, state: &StrategyState) -> Result {
            state.value::<(i64, bool)>().map(drop)
        }
    }
    let ticks = Ticks::new(0, 0);
    let parts = one(Other, (ticks, None));
    let opened =
        Timestamps::open(parts, Recorder(Heard::default()), ticks, &context, NODE).map(drop);
    let error = opened.unwrap_err().to_string();
    assert!(error.starts_with("the state 'watermarks' of operator 'test' (subtask 1)"), "{error}");
    assert!(error.contains("is now (i64,bool), and was of a type with"), "{error}");
}
