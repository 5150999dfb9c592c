//! Scripts whose results real Flink gave, and variations by its rules.

use Step::{Active, Clock, End, Event, Idle, Watermark};
use thalweg::config::ShellKind;
use thalweg::prelude::*;
use thalweg::record::StreamStatus;
use thalweg::testing::{self, OutputEvent, TestDriver};

/// A record: value, a second timestamp, and whether it is a punctuation.
type Row = (i64, i64, bool);

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Input, timestamp, record.
    Event(usize, i64, Row),
    Watermark(usize, i64),
    Idle(usize),
    Active(usize),
    End(usize),
    Clock(i64),
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Single,
    Union,
    Connect,
    /// `(0 u 1) connect (2 u 3)`
    ConnectOfUnions,
}

#[derive(Clone, Copy, Debug)]
enum Strategy {
    /// As the script says.
    None,
    Bounded(u64),
    /// Delay, idle timeout.
    Idling(u64, u64),
    /// By the second timestamp.
    BySecond(u64),
    Punctuated,
    /// Timestamps alone, with an idle timeout.
    Silent(u64),
}

fn assign(rows: DataStream<Row>, strategy: Strategy) -> DataStream<Row> {
    let bounded = |ms| WatermarkStrategy::bounded_out_of_orderness(milliseconds(ms));
    match strategy {
        Strategy::None => rows,
        Strategy::Bounded(ms) => rows.assign_timestamps_and_watermarks(bounded(ms)).boxed(),
        Strategy::Idling(ms, timeout_ms) => {
            let strategy = bounded(ms).with_idleness(milliseconds(timeout_ms));
            rows.assign_timestamps_and_watermarks(strategy).boxed()
        }
        Strategy::BySecond(ms) => {
            let strategy = bounded(ms).with_timestamp(|row: &Row| row.1);
            rows.assign_timestamps_and_watermarks(strategy).boxed()
        }
        Strategy::Punctuated => {
            let strategy =
                WatermarkStrategy::punctuated(|row: &Row, ts| row.2.then_some(ts - row.1));
            rows.assign_timestamps_and_watermarks(strategy).boxed()
        }
        Strategy::Silent(timeout_ms) => {
            let strategy = WatermarkStrategy::none().with_idleness(milliseconds(timeout_ms));
            rows.assign_timestamps_and_watermarks(strategy).boxed()
        }
    }
}

fn write(env: &StreamExecutionEnvironment, mode: Mode, strategies: &[Strategy]) {
    let names = ["0", "1", "2", "3"].into_iter().zip(strategies);
    let mut inputs = names.map(|(name, strategy)| {
        assign(env.from_source(testing::input::<Row>(), name).boxed(), *strategy)
    });
    let mut next = || inputs.next().expect("a strategy for each input");
    let out = match mode {
        Mode::Single => next().map(|row| row.0).boxed(),
        Mode::Union => {
            let first = next();
            first.union_all(inputs).map(|row| row.0).boxed()
        }
        Mode::Connect => next().connect(next()).map(|row| row.0, |row| row.0).boxed(),
        Mode::ConnectOfUnions => {
            let (first, second) = (next().union(next()), next().union(next()));
            first.connect(second).map(|row| row.0, |row| row.0).boxed()
        }
    };
    out.sink_to(testing::output()).name("out");
}

fn told(event: OutputEvent<i64>) -> String {
    match event {
        OutputEvent::Record { value, timestamp_ms: Some(at) } => format!("{value}@{at}"),
        OutputEvent::Record { value, timestamp_ms: None } => format!("{value}"),
        OutputEvent::Watermark(i64::MAX) => "end".to_owned(),
        OutputEvent::Watermark(watermark) => format!("w{watermark}"),
        OutputEvent::Status(StreamStatus::Idle) => "idle".to_owned(),
        OutputEvent::Status(StreamStatus::Active) => "active".to_owned(),
    }
}

fn act(driver: &mut TestDriver, step: Step) {
    let name = |input: usize| ["0", "1", "2", "3"][input];
    match step {
        Event(input, at, row) => driver.pipe_at(name(input), [(at, row)]),
        Watermark(input, watermark) => driver.watermark(name(input), watermark),
        Idle(input) => driver.idle(name(input)),
        Active(input) => driver.active(name(input)),
        End(input) => driver.end(name(input)),
        Clock(now_ms) => driver.set_clock_ms(now_ms),
    }
}

/// Runs a script with ticks each 200 ms. After each step the output is what stands beside it, separated by blanks.
#[track_caller]
fn check(mode: Mode, strategies: &[Strategy], script: &[(Step, &str)]) {
    let seeded = (0..3).map(|seed| TestDriver::builder().seed(seed));
    let threads = TestDriver::builder().shell(ShellKind::Threads);
    for builder in seeded.chain([threads]) {
        let builder = builder.configure(|c| c.auto_watermark_interval(milliseconds(200)));
        let mut driver = builder.build(|env| write(env, mode, strategies)).expect("a sound plan");
        for (index, (step, expected)) in script.iter().enumerate() {
            act(&mut driver, *step);
            let events: Vec<_> = driver.events::<i64>("out").into_iter().map(told).collect();
            assert_eq!(events.join(" "), *expected, "step {index}, {step:?}");
        }
        assert!(driver.failure().is_none());
    }
}

fn event(at: i64, v: i64) -> Step {
    Event(0, at, (v, 0, false))
}

#[test]
fn bounded() {
    check(
        Mode::Single,
        &[Strategy::Bounded(3)],
        &[
            (Clock(200), ""),
            (event(10, 1), "1@10"),
            (Clock(400), "w6"),
            (event(8, 2), "2@8"),
            (Clock(600), ""),
            (event(15, 3), "3@15"),
            (event(14, 4), "4@14"),
            (Clock(800), "w11"),
            (Clock(1_000), ""),
            (End(0), "end"),
        ],
    );
}

#[test]
fn ticks_between_and_over_intervals() {
    check(
        Mode::Single,
        &[Strategy::Bounded(0)],
        &[
            (event(10, 1), "1@10"),
            (Clock(199), ""),
            (Clock(700), "w9"),
            (event(20, 2), "2@20"),
            (Clock(800), ""),
            (Clock(899), ""),
            (Clock(900), "w19"),
            (event(30, 3), "3@30"),
            (Clock(900), ""),
            (Clock(1_100), "w29"),
        ],
    );
}

#[test]
fn monotonous() {
    check(
        Mode::Single,
        &[Strategy::Bounded(0)],
        &[
            (event(10, 1), "1@10"),
            (Clock(200), "w9"),
            (event(10, 2), "2@10"),
            (Clock(400), ""),
            (event(11, 3), "3@11"),
            (Clock(600), "w10"),
        ],
    );
}

#[test]
fn assigner() {
    check(
        Mode::Single,
        &[Strategy::BySecond(10)],
        &[
            (Event(0, 1, (1, 100, false)), "1@100"),
            (Watermark(0, 50), ""),
            (Idle(0), ""),
            (Clock(200), "w89"),
            (Event(0, 2, (2, 90, false)), "2@90"),
            (Clock(400), ""),
            (End(0), "end"),
        ],
    );
}

#[test]
fn punctuated() {
    check(
        Mode::Single,
        &[Strategy::Punctuated],
        &[
            (event(10, 1), "1@10"),
            (Event(0, 12, (2, 2, true)), "2@12 w10"),
            (Event(0, 11, (3, 5, true)), "3@11"),
            (Event(0, 20, (4, 0, true)), "4@20 w20"),
            (Clock(200), ""),
            (End(0), "end"),
        ],
    );
}

#[test]
fn idleness() {
    check(
        Mode::Single,
        &[Strategy::Idling(0, 500)],
        &[
            (event(10, 1), "1@10"),
            (Clock(200), "w9"),
            (Clock(400), ""),
            (Clock(600), ""),
            (Clock(800), ""),
            (Clock(1_000), "idle"),
            (event(20, 2), "2@20"),
            (Clock(1_200), "active w19"),
        ],
    );
}

#[test]
fn idleness_of_other_timeouts_and_jumps() {
    check(
        Mode::Single,
        &[Strategy::Idling(0, 400)],
        &[
            (event(10, 1), "1@10"),
            (Clock(200), "w9"),
            (Clock(400), ""),
            (Clock(800), ""), // not more than 400 ms after 400
            (Clock(1_000), "idle"),
            (event(5, 2), "2@5"),
            (Clock(1_200), ""),
            (Clock(1_400), ""),
            (Clock(5_000), ""), // idle it is already
            (event(11, 3), "3@11"),
            (Clock(5_200), "active w10"),
            (Clock(5_400), ""),
            (Clock(9_000), "idle"),
            (End(0), "active end"),
        ],
    );
    check(
        Mode::Single,
        &[Strategy::Silent(100)],
        &[
            (Clock(200), ""),
            (Clock(400), "idle"),
            (event(10, 1), "1@10"),
            (Clock(600), ""),
            (Clock(800), ""),
            (Clock(1_000), ""),
            (End(0), "active end"),
        ],
    );
}

#[test]
fn strategies_before_a_union() {
    check(
        Mode::Union,
        &[Strategy::Bounded(0), Strategy::Bounded(5)],
        &[
            (Event(0, 10, (1, 0, false)), "1@10"),
            (Event(1, 50, (2, 0, false)), "2@50"),
            (Clock(200), "w9"),
            (Event(0, 60, (3, 0, false)), "3@60"),
            (Clock(400), "w44"),
            (Event(1, 70, (4, 0, false)), "4@70"),
            (Clock(600), "w59"),
            (End(0), "w64"),
            (End(1), "end"),
        ],
    );
}

#[test]
fn ticks_of_several_inputs_come_in_their_order() {
    check(
        Mode::Union,
        &[Strategy::Bounded(0), Strategy::Bounded(0)],
        &[
            (Event(0, 11, (1, 0, false)), "1@11"),
            (Event(1, 16, (2, 0, false)), "2@16"),
            (Clock(200), "w10"),
            (Event(0, 31, (3, 0, false)), "3@31"),
            (Event(1, 41, (4, 0, false)), "4@41"),
            (Clock(400), "w15 w30"),
        ],
    );
}

#[test]
fn an_idle_strategy_before_a_union() {
    check(
        Mode::Union,
        &[Strategy::Bounded(0), Strategy::Idling(0, 300)],
        &[
            (Event(0, 100, (1, 0, false)), "1@100"),
            (Event(1, 20, (2, 0, false)), "2@20"),
            (Clock(200), "w19"),
            (Clock(400), ""),
            (Clock(600), ""),
            (Clock(800), "w99"),
            (Event(1, 50, (3, 0, false)), "3@50"),
            (Clock(1_000), ""),
            (Event(0, 200, (4, 0, false)), "4@200"),
            (Clock(1_200), "w199"),
        ],
    );
}

#[test]
fn union_minimum() {
    check(
        Mode::Union,
        &[Strategy::None; 2],
        &[
            (Watermark(0, 5), ""),
            (Watermark(1, 3), "w3"),
            (Watermark(1, 7), "w5"),
            (Watermark(0, 4), ""),
            (Watermark(0, 9), "w7"),
            (Watermark(1, 9), "w9"),
            (End(0), ""),
            (End(1), "end"),
        ],
    );
}

#[test]
fn union_of_three() {
    check(
        Mode::Union,
        &[Strategy::None; 3],
        &[
            (Watermark(0, 5), ""),
            (Watermark(1, 3), ""),
            (Watermark(2, 10), "w3"),
            (End(1), "w5"),
            (Watermark(0, 8), "w8"),
            (End(0), "w10"),
            (Watermark(2, 11), "w11"),
            (End(2), "end"),
        ],
    );
}

#[test]
fn union_with_idle_inputs() {
    check(
        Mode::Union,
        &[Strategy::None; 2],
        &[
            (Watermark(0, 5), ""),
            (Watermark(1, 3), "w3"),
            (Idle(1), "w5"),
            (Watermark(0, 8), "w8"),
            (Idle(0), "idle"),
            (Active(1), "active"),
            (Watermark(1, 6), ""),
            (Watermark(1, 9), "w9"),
            (Active(0), ""),
        ],
    );
}

#[test]
fn union_with_an_input_that_comes_back_late() {
    let back_late = [
        (Watermark(0, 10), ""),
        (Idle(1), "w10"),
        (Active(1), ""),
        (Watermark(1, 4), ""),
        (Watermark(0, 12), "w12"),
        (Watermark(1, 11), ""),
        (Watermark(0, 14), "w14"),
        (Watermark(1, 13), ""),
    ];
    check(Mode::Union, &[Strategy::None; 2], &back_late);
    // In a connect it is waited for.
    let mut back_late = back_late;
    (back_late[4].1, back_late[5].1) = ("", "w11");
    (back_late[6].1, back_late[7].1) = ("", "w13");
    check(Mode::Connect, &[Strategy::None; 2], &back_late);
}

#[test]
fn connect_minimum() {
    check(
        Mode::Connect,
        &[Strategy::None; 2],
        &[
            (Event(0, 1, (1, 0, false)), "1@1"),
            (Watermark(0, 5), ""),
            (Event(1, 1, (2, 0, false)), "2@1"),
            (Watermark(1, 3), "w3"),
            (Event(0, 2, (3, 0, false)), "3@2"),
            (Watermark(1, 9), "w5"),
            (End(0), "w9"),
            (End(1), "end"),
        ],
    );
}

#[test]
fn connect_with_idle_inputs() {
    check(
        Mode::Connect,
        &[Strategy::None; 2],
        &[
            (Watermark(0, 5), ""),
            (Watermark(1, 3), "w3"),
            (Idle(1), "w5"),
            (Watermark(0, 7), "w7"),
            (Idle(0), "idle"),
            (Active(0), "active"),
            (Watermark(0, 8), "w8"),
            (Active(1), ""),
            (Watermark(1, 9), ""),
        ],
    );
    check(
        Mode::Connect,
        &[Strategy::None; 2],
        &[
            (Watermark(0, 9), ""),
            (Idle(0), ""),
            (Watermark(1, 4), "w4"),
            (Idle(1), "w9 idle"),
            (Active(1), "active"),
            (Watermark(1, 6), ""),
        ],
    );
}

#[test]
fn connect_of_unions() {
    check(
        Mode::ConnectOfUnions,
        &[Strategy::None; 4],
        &[
            (Watermark(0, 5), ""),
            (Watermark(1, 8), ""),
            (Watermark(2, 6), ""),
            (Watermark(3, 20), "w5"),
            (Idle(0), "w6"),
            (Idle(1), ""),
            (Watermark(2, 30), "w20"),
            (Active(0), ""),
            (Watermark(0, 7), ""), // its union is at 8 already
            (Watermark(0, 25), ""),
            (Watermark(3, 40), "w25"),
            (Idle(2), ""),
            (Idle(3), ""),
            (Idle(0), "w40 idle"),
            (Active(3), "active"),
            (Event(3, 1, (1, 0, false)), "1@1"),
        ],
    );
}
