//! The operator over a clock that the tests set, and a downstream that minds the contract of the verbs.

use super::*;
use crate::metrics::JobMetrics;
use crate::operator::source_splits::SourceSplits;
use crate::operator::{OperatorNames, TaskContext};
use crate::record::{Barrier, CheckpointId, StreamStatus};
use crate::runtime::{CoreHandle, CoreServices};
use crate::time::{
    BoundedOutOfOrderness, IngestionTime, NoWatermarks, RecordedTimestamps, WatermarkGenerator,
    WatermarkOutput, milliseconds,
};
use Control::{End, Status, Watermark};
use Said::{Record, Told};
use StreamStatus::{Active, Idle};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// What came out: records by their timestamps.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Record(i64),
    Told(Control),
}

/// Downstream, as the test sees it.
#[derive(Default)]
struct Downstream {
    said: RefCell<Vec<Said>>,
    is_full: Cell<bool>,
    /// The last verb was a drive that answered `Ready`.
    was_ready: Cell<bool>,
}

struct Recorder(Rc<Downstream>);

impl Push<i64> for Recorder {
    fn push(&mut self, _: i64, timestamp: i64) {
        self.0.was_ready.set(false);
        self.0.said.borrow_mut().push(Record(timestamp));
    }
    fn control(&mut self, control: Control) {
        assert!(self.0.was_ready.replace(false), "{control:?} without a drive that was ready");
        self.0.said.borrow_mut().push(Told(control));
    }
    fn drive(&mut self, _: bool) -> Flow {
        self.0.was_ready.set(!self.0.is_full.get());
        if self.0.is_full.get() { Flow::Blocked } else { Flow::Ready }
    }
}

struct Bench<O> {
    operator: O,
    core: CoreHandle,
    downstream: Rc<Downstream>,
}

fn stage() -> Rc<StageContext> {
    let core = CoreHandle::new(CoreServices::default());
    let names = Arc::new(OperatorNames(vec!["test".to_owned()]));
    let metrics = JobMetrics::new("test").register_subtask("test", 0);
    StageContext::new(TaskContext::new(core), names, NodeId(0), (0, 1, 128), metrics)
}

type Operator<W, A> = Timestamps<i64, W, A, Recorder>;

fn bench_with<W: WatermarkMaker<i64>, A: TimestampAssigner<i64>>(
    interval_ms: i64,
    assigner: A,
    make: impl FnOnce(Ticks) -> W,
) -> Bench<Operator<W, A>> {
    let (stage, downstream) = (stage(), Rc::new(Downstream::default()));
    let (core, ticks) = (stage.task.core.clone(), Ticks::new(interval_ms, 0));
    let parts = (make(ticks), assigner);
    let next = Recorder(downstream.clone());
    let operator = Timestamps::new(parts, next, ticks, (stage, NodeId(0)));
    Bench { operator, core, downstream }
}

/// One generator, with an idle timeout in milliseconds.
fn bench<G: WatermarkGenerator<i64>>(
    interval_ms: i64,
    generator: G,
    timeout_ms: Option<u64>,
) -> Bench<Operator<OneGenerator<G>, RecordedTimestamps>> {
    bench_with(interval_ms, RecordedTimestamps, |ticks| {
        let idleness = timeout_ms.map(|ms| ticks.idleness(ms * 1_000_000, 0));
        OneGenerator::new(generator, idleness)
    })
}

fn bounded(delay_ms: u64) -> BoundedOutOfOrderness {
    BoundedOutOfOrderness::new(milliseconds(delay_ms))
}

impl<O: Push<i64>> Bench<O> {
    /// Drives until there is nothing more to do, as the owner does.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            if self.operator.drive(true) != Flow::Busy {
                return;
            }
        }
        panic!("it is busy for ever");
    }

    fn push(&mut self, timestamp: i64) {
        self.operator.push(timestamp, timestamp);
    }

    /// One batch.
    fn batch(&mut self, timestamps: &[i64]) -> Vec<Said> {
        timestamps.iter().for_each(|timestamp| self.push(*timestamp));
        self.settle();
        self.taken()
    }

    fn clock(&mut self, now_ms: i64) -> Vec<Said> {
        self.core.next_timer_ms.set(i64::MAX);
        self.core.now_ms.set(now_ms);
        self.core.monotonic_ns.set(now_ms as u64 * 1_000_000);
        self.settle();
        self.taken()
    }

    fn control(&mut self, control: Control) -> Vec<Said> {
        self.settle();
        self.operator.control(control);
        self.settle();
        self.taken()
    }

    fn taken(&mut self) -> Vec<Said> {
        self.downstream.said.take()
    }
}

const NOTHING: [Said; 0] = [];

#[test]
fn without_interval_a_watermark_leaves_after_each_batch_that_raised_it() {
    let mut bench = bench(0, bounded(3), None);
    assert_eq!(bench.clock(5), NOTHING);
    let said = bench.batch(&[10, 8, 15]);
    assert_eq!(said, [Record(10), Record(8), Record(15), Told(Watermark(11))]);
    assert_eq!(bench.batch(&[14]), [Record(14)]);
}

#[test]
fn with_an_interval_watermarks_leave_at_ticks() {
    let mut bench = bench(200, bounded(3), None);
    assert_eq!(bench.clock(200), NOTHING, "nothing before the first record");
    assert_eq!(bench.batch(&[10]), [Record(10)]);
    assert_eq!(bench.clock(399), NOTHING);
    assert_eq!(bench.core.next_timer_ms.get(), 400);
    assert_eq!(bench.clock(400), [Told(Watermark(6))]);
    assert_eq!(bench.batch(&[8]), [Record(8)]);
    assert_eq!(bench.clock(600), NOTHING, "nothing new");
    assert_eq!(bench.batch(&[15, 14]), [Record(15), Record(14)]);
    assert_eq!(bench.clock(800), [Told(Watermark(11))]);
}

/// Counts the ticks: the watermark is their number.
struct CountTicks(i64);

impl WatermarkGenerator<i64> for CountTicks {
    fn on_event(&mut self, _: &i64, _: i64, _: &mut WatermarkOutput) {}
    fn on_periodic(&mut self, out: &mut WatermarkOutput) {
        self.0 += 1;
        out.emit_watermark(self.0);
    }
}

#[test]
fn a_jump_over_several_intervals_is_one_tick_and_the_next_is_an_interval_later() {
    let mut bench = bench(200, CountTicks(0), None);
    assert_eq!(bench.clock(1_050), [Told(Watermark(1))]);
    assert_eq!(bench.clock(1_200), NOTHING);
    assert_eq!(bench.clock(1_249), NOTHING);
    assert_eq!(bench.clock(1_250), [Told(Watermark(2))]);
    assert_eq!(bench.clock(1_250), NOTHING, "a clock that stands gives no tick");
}

#[test]
fn a_clock_set_back_delays_a_tick_by_no_more_than_an_interval() {
    let mut bench = bench(200, CountTicks(0), None);
    assert_eq!(bench.clock(1_000_000), [Told(Watermark(1))]);
    assert_eq!(bench.clock(5_000), NOTHING);
    assert_eq!(bench.clock(5_199), NOTHING);
    assert_eq!(bench.clock(5_200), [Told(Watermark(2))]);
}

#[test]
fn idleness_shows_at_ticks_and_ends_with_the_next_watermark() {
    let mut bench = bench(200, bounded(0), Some(500));
    assert_eq!(bench.batch(&[10]), [Record(10)]);
    assert_eq!(bench.clock(200), [Told(Watermark(9))]);
    for now_ms in [400, 600, 800] {
        assert_eq!(bench.clock(now_ms), NOTHING);
    }
    assert_eq!(bench.clock(1_000), [Told(Status(Idle))]);
    assert_eq!(bench.clock(1_200), NOTHING);
    assert_eq!(bench.batch(&[20]), [Record(20)], "a record alone does not make it active");
    assert_eq!(bench.clock(1_400), [Told(Status(Active)), Told(Watermark(19))]);
}

#[test]
fn a_record_without_progress_leaves_an_idle_stream_idle() {
    let mut bench = bench(200, bounded(0), Some(100));
    bench.batch(&[10]);
    let said: Vec<_> = (1..=4).flat_map(|n| bench.clock(n * 200)).collect();
    assert_eq!(said, [Told(Watermark(9)), Told(Status(Idle))]);
    assert_eq!(bench.batch(&[5]), [Record(5)]);
    let said: Vec<_> = (5..=12).flat_map(|n| bench.clock(n * 200)).collect();
    assert_eq!(said, NOTHING, "idle is not said twice");
    bench.batch(&[11]);
    assert_eq!(bench.clock(2_600), [Told(Status(Active)), Told(Watermark(10))]);
}

#[test]
fn a_stream_without_any_record_goes_idle_too() {
    let mut none = bench(200, NoWatermarks, Some(300));
    let idle_at = (1..9).find(|n| none.clock(n * 200) == [Told(Status(Idle))]);
    assert_eq!(idle_at, Some(3));
    assert_eq!(none.batch(&[1]), [Record(1)]);
    assert!((9..20).all(|n| none.clock(n * 200).is_empty()), "it has no watermark to wake by");
    assert_eq!(none.control(Watermark(MAX_WATERMARK))[0], Told(Status(Active)));
}

#[test]
fn without_interval_idleness_is_found_after_the_timeout() {
    let mut bench = bench(0, bounded(0), Some(500));
    assert_eq!(bench.batch(&[10]), [Record(10), Told(Watermark(9))]);
    bench.clock(100);
    bench.batch(&[9]);
    assert_eq!(bench.clock(599), NOTHING);
    assert_eq!(bench.core.next_timer_ms.get(), 600);
    assert_eq!(bench.clock(600), [Told(Status(Idle))]);
    assert_eq!(bench.clock(5_000), NOTHING);
    assert_eq!(bench.core.next_timer_ms.get(), i64::MAX, "an idle stream waits for records alone");
    assert_eq!(bench.batch(&[11]), [Record(11), Told(Status(Active)), Told(Watermark(10))]);
}

#[test]
fn time_in_which_downstream_is_full_is_not_idleness() {
    for interval_ms in [0, 200] {
        let mut bench = bench(interval_ms, bounded(0), Some(500));
        bench.batch(&[10]);
        bench.clock(200);
        bench.clock(400);
        bench.downstream.is_full.set(true);
        assert_eq!(bench.clock(410), NOTHING);
        assert_eq!(bench.clock(60_400), NOTHING);
        bench.downstream.is_full.set(false);
        assert_eq!(bench.clock(60_400), NOTHING, "interval {interval_ms}");
        let idle_at = (1..9).find(|n| bench.clock(60_400 + n * 100) == [Told(Status(Idle))]);
        assert!(idle_at.is_some_and(|n| n >= 1), "idle in the end: {idle_at:?}");
    }
}

#[test]
fn setting_the_wall_clock_makes_nothing_idle() {
    let mut bench = bench(200, bounded(0), Some(500));
    bench.batch(&[10]);
    bench.clock(200);
    for wall_ms in [3_600_000, 7_200_000, 0, 200, 400] {
        bench.core.now_ms.set(wall_ms);
        bench.settle();
        assert_eq!(bench.taken(), NOTHING);
    }
}

/// A record `n` with `n % 10 == 0` is a punctuation.
#[derive(Clone)]
struct Tens;

impl WatermarkGenerator<i64> for Tens {
    fn on_event(&mut self, record: &i64, timestamp: i64, out: &mut WatermarkOutput) {
        if record % 10 == 0 {
            out.emit_watermark(timestamp);
        }
    }
    fn on_periodic(&mut self, _: &mut WatermarkOutput) {}
}

#[test]
fn a_punctuation_leaves_right_behind_its_record() {
    for interval_ms in [0, 200] {
        let mut bench = bench(interval_ms, Tens, None);
        let said = bench.batch(&[1, 20, 3, 10, 30, 40, 5]);
        let expected = [
            Record(1),
            Record(20),
            Told(Watermark(20)),
            Record(3),
            Record(10), // behind the watermark: no news
            Record(30),
            Told(Watermark(30)),
            Record(40),
            Told(Watermark(40)),
            Record(5),
        ];
        assert_eq!(said, expected);
    }
}

#[test]
fn a_punctuation_makes_an_idle_stream_active() {
    let mut bench = bench(200, Tens, Some(100));
    assert!((1..=3).flat_map(|n| bench.clock(n * 200)).eq([Told(Status(Idle))]));
    assert_eq!(bench.batch(&[3]), [Record(3)]);
    let said = bench.batch(&[10, 1]);
    assert_eq!(said, [Record(10), Told(Status(Active)), Told(Watermark(10)), Record(1)]);
}

/// Does everything a generator may do, in both calls.
struct Talkative;

impl WatermarkGenerator<i64> for Talkative {
    fn on_event(&mut self, _: &i64, timestamp: i64, out: &mut WatermarkOutput) {
        out.emit_watermark(timestamp - 5);
        out.emit_watermark(timestamp - 7);
        out.mark_idle();
        out.mark_idle();
        out.emit_watermark(timestamp);
    }
    fn on_periodic(&mut self, out: &mut WatermarkOutput) {
        out.mark_idle();
        out.mark_active();
        out.mark_active();
        out.emit_watermark(i64::MIN);
    }
}

#[test]
fn a_generator_may_say_everything_in_both_calls() {
    let mut bench = bench(200, Talkative, None);
    assert_eq!(
        bench.batch(&[10, 12]),
        [
            Record(10),
            Told(Watermark(5)),
            Told(Status(Idle)),
            Told(Status(Active)),
            Told(Watermark(10)),
            Record(12),
            Told(Status(Idle)),
            Told(Status(Active)),
            Told(Watermark(12)),
        ]
    );
    assert_eq!(bench.clock(200), [Told(Status(Idle)), Told(Status(Active))]);
}

/// Says that it emits at ticks only, and emits for each record.
struct Careless;

impl WatermarkGenerator<i64> for Careless {
    const PUNCTUATED: bool = false;
    fn on_event(&mut self, _: &i64, timestamp: i64, out: &mut WatermarkOutput) {
        out.emit_watermark(timestamp);
    }
    fn on_periodic(&mut self, _: &mut WatermarkOutput) {}
}

#[test]
fn what_a_generator_of_ticks_emits_for_a_record_is_not_lost() {
    let mut bench = bench(200, Careless, None);
    assert_eq!(bench.batch(&[7]), [Record(7)]);
    assert_eq!(bench.clock(200), [Told(Watermark(7))]);
}

#[test]
fn upstream_is_dropped_but_the_end_of_time() {
    let mut bench = bench(200, bounded(10), None);
    bench.batch(&[100]);
    for control in [Watermark(50), Status(Idle), Status(Active)] {
        assert_eq!(bench.control(control), NOTHING);
    }
    assert_eq!(bench.clock(200), [Told(Watermark(89))]);
    let barrier = Control::Barrier(Barrier::periodic(CheckpointId(1)));
    assert_eq!(bench.control(barrier), [Told(barrier)]);
    assert_eq!(bench.control(Watermark(MAX_WATERMARK)), [Told(Watermark(MAX_WATERMARK))]);
    assert_eq!(bench.clock(400), NOTHING);
    assert_eq!(bench.control(End), [Told(End)]);
}

#[test]
fn an_idle_stream_is_active_at_the_end_of_time() {
    let mut bench = bench(0, bounded(0), Some(100));
    assert_eq!(bench.clock(100), [Told(Status(Idle))]);
    let said = bench.control(Watermark(MAX_WATERMARK));
    assert_eq!(said, [Told(Status(Active)), Told(Watermark(MAX_WATERMARK))]);
    assert_eq!(bench.control(End), [Told(End)]);
}

#[test]
fn ingestion_time_stamps_by_the_clock() {
    let mut bench =
        bench_with(0, IngestionTime::default(), |_| OneGenerator::new(bounded(0), None));
    bench.clock(1_000);
    let said = bench.batch(&[7, 8]);
    assert_eq!(said, [Record(1_000), Record(1_000), Told(Watermark(999))]);
    bench.clock(900);
    assert_eq!(bench.batch(&[9]), [Record(1_000)]);
}

mod splits {
    use super::*;

    type PerSplitBench<G> = Bench<Operator<PerSplit<G>, RecordedTimestamps>>;

    fn per_split<G: WatermarkGenerator<i64> + Clone>(
        interval_ms: i64,
        generator: G,
        timeout_ms: Option<u64>,
    ) -> (PerSplitBench<G>, Rc<SourceSplits>) {
        let splits = Rc::new(SourceSplits::new(None));
        let register = splits.clone();
        let bench = bench_with(interval_ms, RecordedTimestamps, |ticks| {
            let idleness = timeout_ms.map(|ms| (ticks, ms * 1_000_000));
            PerSplit::new(generator, idleness, register, 0)
        });
        (bench, splits)
    }

    /// Pushes records of a split and drives.
    fn read<G: WatermarkGenerator<i64> + Clone>(
        (bench, splits): &mut (PerSplitBench<G>, Rc<SourceSplits>),
        split: &str,
        timestamps: &[i64],
    ) -> Vec<Control> {
        splits.begin(split);
        told(bench.batch(timestamps))
    }

    fn told(said: Vec<Said>) -> Vec<Control> {
        said.into_iter()
            .filter_map(|said| if let Told(c) = said { Some(c) } else { None })
            .collect()
    }

    #[test]
    fn the_watermark_is_the_minimum_over_the_splits() {
        let mut source = per_split(0, bounded(0), None);
        source.1.assign("a".into());
        source.1.assign("b".into());
        assert_eq!(read(&mut source, "a", &[100]), [], "b has not had a record");
        assert_eq!(read(&mut source, "b", &[10]), [Watermark(9)]);
        assert_eq!(read(&mut source, "b", &[50]), [Watermark(49)]);
        assert_eq!(read(&mut source, "b", &[500]), [Watermark(99)]);
        assert_eq!(read(&mut source, "a", &[300]), [Watermark(299)]);
    }

    #[test]
    fn a_split_that_has_ended_is_forgotten_and_a_new_one_holds() {
        let mut source = per_split(0, bounded(0), None);
        assert_eq!(read(&mut source, "a", &[10]), [Watermark(9)]);
        assert_eq!(read(&mut source, "b", &[50]), []);
        source.1.end("a");
        assert_eq!(told(source.0.batch(&[])), [Watermark(49)]);
        assert_eq!(read(&mut source, "c", &[20]), [], "behind the watermark");
        assert_eq!(read(&mut source, "b", &[90]), [], "c holds");
        assert_eq!(read(&mut source, "c", &[60]), [Watermark(59)]);
        source.1.end("b");
        source.1.end("c");
        assert_eq!(told(source.0.batch(&[])), [], "all have ended: time stands still");
        let end = source.0.control(Watermark(MAX_WATERMARK));
        assert_eq!(told(end), [Watermark(MAX_WATERMARK)]);
    }

    #[test]
    fn records_and_the_end_of_a_split_in_one_batch() {
        let mut source = per_split(0, bounded(0), None);
        source.1.begin("a");
        source.0.push(10);
        source.1.end("a");
        source.1.begin("b");
        source.0.push(40);
        assert_eq!(told(source.0.batch(&[])), [Watermark(39)]);
        assert_eq!(read(&mut source, "c", &[50]), []);
        source.1.end("b");
        assert_eq!(read(&mut source, "d", &[70]), [Watermark(49)], "in the slot of a");
    }

    #[test]
    fn an_idle_split_does_not_hold_the_others() {
        let mut source = per_split(200, bounded(0), Some(300));
        read(&mut source, "a", &[100]);
        read(&mut source, "b", &[10]);
        assert_eq!(told(source.0.clock(200)), [Watermark(9)]);
        for now_ms in (400..=800).step_by(200) {
            read(&mut source, "a", &[100 + now_ms]);
            let expected = if now_ms == 800 { vec![Watermark(899)] } else { vec![] };
            assert_eq!(told(source.0.clock(now_ms)), expected, "at {now_ms}");
        }
        // b is back, behind: it holds the watermark until it has caught up.
        read(&mut source, "b", &[20]);
        read(&mut source, "a", &[2_000]);
        assert_eq!(told(source.0.clock(1_000)), []);
        read(&mut source, "b", &[1_500]);
        assert_eq!(told(source.0.clock(1_200)), [Watermark(1_499)]);
    }

    #[test]
    fn when_all_splits_are_idle_the_maximum_goes_first() {
        let mut source = per_split(200, bounded(0), Some(300));
        read(&mut source, "a", &[100]);
        read(&mut source, "b", &[10]);
        let said: Vec<_> = (1..=6).flat_map(|n| told(source.0.clock(n * 200))).collect();
        assert_eq!(said, [Watermark(9), Watermark(99), Status(Idle)]);
        read(&mut source, "b", &[50]);
        assert_eq!(told(source.0.clock(1_400)), [], "behind: it stays idle");
        read(&mut source, "b", &[150]);
        assert_eq!(told(source.0.clock(1_600)), [Status(Active), Watermark(149)]);
    }

    #[test]
    fn between_two_splits_the_silence_begins_anew() {
        let mut source = per_split(200, bounded(0), Some(300));
        for n in 1..=20 {
            read(&mut source, "a", &[n]);
            source.0.clock(n * 200);
        }
        source.1.end("a");
        let said: Vec<_> = (21..=23).flat_map(|n| told(source.0.clock(n * 200))).collect();
        assert_eq!(said, []);
        assert_eq!(told(source.0.clock(4_800)), [Status(Idle)], "no split for long: idle");
        read(&mut source, "b", &[1_000]);
        assert_eq!(told(source.0.clock(5_000)), [Status(Active), Watermark(999)]);
    }

    #[test]
    fn records_outside_any_split_are_a_split() {
        let mut source = per_split(0, bounded(0), None);
        assert_eq!(told(source.0.batch(&[10])), [Watermark(9)]);
        assert_eq!(read(&mut source, "a", &[50]), []);
        source.1.end("a");
        assert_eq!(told(source.0.batch(&[20])), [Watermark(19)]);
    }

    #[test]
    fn punctuations_are_of_the_split_of_their_record() {
        let mut source = per_split(0, Tens, None);
        source.1.assign("a".into());
        source.1.assign("b".into());
        // One batch: what waits behind a punctuation keeps its split.
        for (split, timestamp) in [("a", 10), ("b", 20), ("a", 30), ("b", 7), ("b", 40)] {
            source.1.begin(split);
            source.0.push(timestamp);
        }
        assert_eq!(
            source.0.batch(&[]),
            [
                Record(10),
                Record(20),
                Told(Watermark(10)),
                Record(30),
                Told(Watermark(20)),
                Record(7),
                Record(40),
                Told(Watermark(30)),
            ]
        );
    }

    #[test]
    fn a_reader_that_names_no_split_has_one_generator() {
        let mut source = per_split(0, bounded(0), None);
        source.1.assign("a".into());
        source.1.assign("b".into());
        assert_eq!(told(source.0.batch(&[10])), [Watermark(9)]);
    }
}
