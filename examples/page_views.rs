//! Page views: how many pages of a shop were looked at, hour by hour.
//!
//! ```sh
//! cargo run --release --example page_views          # a day, on every core
//! cargo run --release --example page_views -- -p 1  # on one: the same numbers
//! ```
//!
//! ```text
//! events ─► views only ─► by part: count per hour ─► all: sum per hour ─► print
//! ```
//!
//! 1. The source makes the events of a day, up to half a minute out of order. Only the views count.
//! 2. A window over all records has a single subtask, however many there are. So the views are counted in `PARTS` parts
//!    first, which all subtasks share.
//! 3. The result of a window carries the last instant of the window. So a second window of the same size gets the counts
//!    of the same hour from all parts, and adds them up: a few records an hour, however many views there are.
//!
//! It costs one number for each part and hour that is open.

use thalweg::config::DeclaredArguments;
use thalweg::prelude::*;
use thalweg::source::DataGeneratorSource;

/// Some for each core, and few enough to be nothing to add up.
const PARTS: u64 = 64;
const EVENTS: u64 = 200_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What a visitor of the shop did.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    View,
    Cart,
    Buy,
}

/// A line of the shop's log.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Event {
    user: u64,
    action: Action,
    at_ms: i64,
}

/// The views of an hour.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PageViews {
    start_ms: i64,
    views: u64,
}

/// The job: page views of each hour.
fn page_views(events: DataStream<Event, impl Chain<Event>>) -> DataStream<PageViews> {
    events
        .filter(|event| event.action == Action::View)
        .key_by(|event| event.user % PARTS)
        .window(TumblingEventTimeWindows::of(hours(1)))
        .aggregate_with(Count, |_, window, views, out| {
            out.collect(PageViews { start_ms: window.start(), views });
        })
        .name("count parts")
        .window_all(TumblingEventTimeWindows::of(hours(1)))
        .sum(|part| &mut part.views)
        .name("add up")
}

/// Event `n` of the day: more at noon than at night, three of four a view, each a little later than it should be.
fn event(n: u64) -> Event {
    let x = n as f64 / EVENTS as f64 - 0.5;
    let due_ms = ((0.5 + 0.5 * x + 2.0 * x * x * x) * DAY_MS as f64) as i64;
    let chance = mixed(n);
    let action = match chance % 20 {
        0..15 => Action::View,
        15..19 => Action::Cart,
        _ => Action::Buy,
    };
    let early_ms = (chance >> 32) as i64 % 30_000;
    Event { user: (chance >> 8) % 5_000, action, at_ms: (due_ms - early_ms).max(0) }
}

/// Looks random, and is the same in each run: the mixer of SplitMix64.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The generated day with its event times.
fn day(env: &StreamExecutionEnvironment) -> DataStream<Event> {
    env.from_source(DataGeneratorSource::new(event).count(EVENTS), "shop")
        .assign_timestamps_and_watermarks(
            WatermarkStrategy::bounded_out_of_orderness(seconds(30))
                .with_timestamp(|event: &Event| event.at_ms),
        )
        .boxed()
}

fn main() -> thalweg::Result<()> {
    let declared = DeclaredArguments::new("Counts the page views of each hour of a day.");
    let (env, _) = StreamExecutionEnvironment::from_args_or_exit(&declared);

    let hours = page_views(day(&env)).collect();
    let result = env.execute("page views")?;

    let hours = hours.take_sorted();
    for PageViews { start_ms, views } in &hours {
        let bar = "#".repeat(*views as usize / 250);
        println!("{:02}:00 {views:>6} {bar}", start_ms / 3_600_000);
    }
    let views: u64 = hours.iter().map(|hour| hour.views).sum();
    println!("{views} views among {EVENTS} events; {:.1?}", result.runtime);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::testing::{self, TestDriver};

    #[test]
    fn views_are_counted_by_the_hour_and_nothing_else_is() {
        let mut test = TestDriver::new(|env| {
            let events = env.from_source(testing::input::<Event>(), "events");
            page_views(events).sink_to(testing::output()).name("hours");
        });
        let mut pipe = |at_ms, user, action| {
            test.pipe_at("events", [(at_ms, Event { user, action, at_ms })]);
        };
        pipe(1_000, 1, Action::View);
        pipe(2_000, 2, Action::Buy);
        pipe(3_599_999, 1, Action::View);
        pipe(3_600_000, 3, Action::View);
        assert!(test.outputs::<PageViews>("hours").is_empty());
        test.watermark("events", 3_599_999);
        let first = PageViews { start_ms: 0, views: 2 };
        assert_eq!(test.outputs::<PageViews>("hours"), [first]);
        test.end("events");
        let second = PageViews { start_ms: 3_600_000, views: 1 };
        assert_eq!(test.outputs::<PageViews>("hours"), [second]);
    }

    #[test]
    fn the_day_is_counted_in_full_at_any_parallelism() {
        let mut expected = vec![0; 24];
        let views = (0..EVENTS).map(event).filter(|event| event.action == Action::View);
        views.for_each(|event| expected[(event.at_ms / 3_600_000) as usize] += 1);
        for parallelism in [1, 4] {
            let env = StreamExecutionEnvironment::new();
            env.set_parallelism(parallelism);
            let hours = page_views(day(&env)).collect();
            env.execute("page views").unwrap();
            let counts: Vec<u64> = hours.take_sorted().iter().map(|hour| hour.views).collect();
            assert_eq!(counts, expected);
        }
    }
}
