//! Mistakes in windows: all are told by name, where they were made, before a record is read; or at the record that makes
//! them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use thalweg::api::StreamExecutionEnvironment;
use thalweg::prelude::*;
use thalweg::time::days;

type Keyed = (u64, i64);

/// The error of a job.
fn error_of<U: Send + 'static, C: Chain<U>>(
    write: impl FnOnce(DataStream<Keyed>) -> DataStream<U, C>,
) -> String {
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(1);
    let strategy = WatermarkStrategy::none().with_timestamp(|event: &Keyed| event.1);
    let events = env.from_elements([(1, 10), (1, i64::MAX)]);
    let stamped = events.assign_timestamps_and_watermarks(strategy).boxed();
    write(stamped).name("windows").for_each(|_| ());
    env.execute("mistakes").unwrap_err().to_string()
}

/// The error of windows with this assigner.
fn assigner_error<A: WindowAssigner<Keyed>>(assigner: A) -> String {
    error_of(|events| events.key_by(|event| event.0).window(assigner).aggregate(Count))
}

#[track_caller]
fn check(error: &str, parts: &[&str]) {
    assert!(error.contains("operator 'windows' "), "{error}");
    for part in parts {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn sizes_slides_gaps_and_offsets_are_checked() {
    let ms = milliseconds;
    let place = "windows_mistakes.rs";
    let zero = "is 0 ms; give at least 1 ms";
    check(&assigner_error(TumblingEventTimeWindows::of(ms(0))), &[zero, place]);
    check(&assigner_error(TumblingProcessingTimeWindows::of(ms(0))), &["size of a window", zero]);
    let slide = SlidingEventTimeWindows::of(ms(10), ms(0));
    check(&assigner_error(slide), &["slide of a window", zero]);
    check(&assigner_error(SlidingProcessingTimeWindows::of(ms(0), ms(5))), &[zero]);
    check(&assigner_error(EventTimeSessionWindows::with_gap(ms(0))), &["gap of a session", zero]);
    check(&assigner_error(ProcessingTimeSessionWindows::with_gap(ms(0))), &[zero]);
    let offset = TumblingEventTimeWindows::of(ms(10)).offset_ms(-10);
    check(&assigner_error(offset), &["-10 ms, which is not less than its size, 10 ms"]);
    let offset = SlidingProcessingTimeWindows::of(ms(10), ms(5)).offset(ms(7));
    check(&assigner_error(offset), &["7 ms, which is not less than its slide, 5 ms"]);
    let many = SlidingEventTimeWindows::of(days(365), ms(1));
    check(&assigner_error(many), &["31536000000 sliding windows, more than 10000000"]);
}

#[test]
fn triggers_evictors_counts_and_lateness_are_checked() {
    let tumbling = || TumblingEventTimeWindows::of(milliseconds(10));
    macro_rules! error {
        (|$keyed:ident| $windowed:expr) => {
            error_of(|events| {
                let $keyed = events.key_by(|event| event.0);
                $windowed.reduce(|a, _| a)
            })
        };
    }
    let delta = |_: &Keyed, _: &Keyed| 0.0;
    check(
        &error!(|keyed| keyed.window(tumbling()).trigger(CountTrigger::of(0))),
        &["number of elements of a count trigger is 0"],
    );
    check(
        &error!(|keyed| keyed
            .window(tumbling())
            .trigger(PurgingTrigger::of(ContinuousEventTimeTrigger::of(milliseconds(0))))),
        &["interval of a continuous trigger is 0 ms"],
    );
    check(
        &error!(|keyed| keyed.window(tumbling()).trigger(DeltaTrigger::of(f64::NAN, delta))),
        &["the threshold is not a number"],
    );
    check(
        &error!(|keyed| keyed.window(tumbling()).evictor(DeltaEvictor::of(f64::NAN, delta))),
        &["the threshold is not a number"],
    );
    check(
        &error!(|keyed| keyed
            .window(EventTimeSessionWindows::with_gap(milliseconds(5)))
            .trigger(DeltaTrigger::of(1.0, delta))),
        &["windows of this assigner merge, but the trigger", "DeltaTrigger", "cannot"],
    );
    check(
        &error!(|keyed| keyed.window(tumbling()).allowed_lateness_ms(-1)),
        &["the allowed lateness is -1 ms; give 0 or more"],
    );
    check(&error!(|keyed| keyed.count_window(0)), &["number of elements of a count trigger is 0"]);
    check(
        &error!(|keyed| keyed.count_window_sliding(0, 1)),
        &["number of elements of a sliding count window is 0"],
    );
    // All at once.
    let error = error!(|keyed| keyed.window(tumbling().offset_ms(10)).allowed_lateness_ms(-1));
    check(&error, &["2 errors", "offset", "lateness"]);
}

#[test]
fn records_without_a_time_for_windows_fail_the_job() {
    let without_timestamp = |windows: fn(KeyedStreamOf) -> DataStream<u64>| {
        let env = StreamExecutionEnvironment::new();
        env.set_parallelism(1);
        let counts = windows(env.from_elements([(1, 1)]).key_by(key as fn(&Keyed) -> u64));
        counts.name("windows").for_each(|_| ());
        env.execute("none").unwrap_err().to_string()
    };
    let size = milliseconds(10);
    for (how, error) in [
        ("panes", without_timestamp(|s| s.window(tumbling()).aggregate(Count).boxed())),
        (
            "general",
            without_timestamp(|s| {
                s.window(tumbling()).trigger(EventTimeTrigger).aggregate(Count).boxed()
            }),
        ),
        ("sessions", without_timestamp(|s| s.window(gap()).aggregate(Count).boxed())),
        (
            "general sessions",
            without_timestamp(|s| {
                s.window(gap()).trigger(EventTimeTrigger).aggregate(Count).boxed()
            }),
        ),
    ] {
        assert!(error.contains("the record has no timestamp"), "{how}: {error}");
        check(&error, &["at record 1 of its input"]);
    }
    let far = "the timestamp 9223372036854775807 is too near the end of time";
    check(&assigner_error(TumblingEventTimeWindows::of(size)), &[far, "record 2"]);
    check(&assigner_error(EventTimeSessionWindows::with_gap(size)), &[far, "record 2"]);
}

fn key(event: &Keyed) -> u64 {
    event.0
}
type KeyedStreamOf = KeyedStream<Keyed, thalweg::function::ByValue<fn(&Keyed) -> u64, u64>>;

fn tumbling() -> TumblingEventTimeWindows {
    TumblingEventTimeWindows::of(milliseconds(10))
}

fn gap() -> EventTimeSessionWindows {
    EventTimeSessionWindows::with_gap(milliseconds(10))
}

#[test]
fn whole_streams_have_one_subtask() {
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(2);
    env.from_elements([1, 2])
        .window_all(GlobalWindows::with_end_of_stream_trigger())
        .aggregate(Count)
        .name("windows")
        .set_parallelism(2)
        .for_each(|_| ());
    let error = env.execute("two").unwrap_err().to_string();
    assert!(error.contains("parallelism 2 is above max parallelism 1"), "{error}");
}
