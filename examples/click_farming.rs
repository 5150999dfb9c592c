//! Click farming: somebody clicks the same advertisement all day long. Such clicks are not counted, the rest by province.
//!
//! ```sh
//! cargo run --release --example click_farming
//! ```
//!
//! ```text
//! clicks ─► by (user, ad, day): Limit ─┬─► by province: count per hour, every 10 minutes ─► print
//!                                      └─► side output: blacklist ─► print
//! ```
//!
//! 1. The source makes the clicks of two days. Most people click an advertisement once or twice; a few programs do so
//!    hundreds of times.
//! 2. `Limit` counts the clicks of a user on an advertisement. With the hundredth of a day the pair goes to the blacklist,
//!    and what follows goes nowhere until midnight.
//! 3. The day is part of the key, so a click that comes a little after midnight still counts for the day on which it
//!    was made. The timer at midnight decides nothing, it only frees the state.
//! 4. The clicks that are left are counted in overlapping windows, which share their slices of ten minutes.
//!
//! It costs a row with a number, and a timer, for each user, advertisement and day.

use thalweg::config::DeclaredArguments;
use thalweg::prelude::*;

const LIMIT: u32 = 100;
const CLICKS: u64 = 60_000;
const CLICKS_EVERY_MS: i64 = 2 * DAY_MS / CLICKS as i64;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const PROVINCES: [&str; 5] = ["Alberta", "British Columbia", "Manitoba", "Ontario", "Quebec"];

/// Somebody has clicked an advertisement.
#[thalweg::record]
#[derive(Clone, Debug)]
struct Click {
    user: u64,
    ad: u64,
    province: String,
    at_ms: i64,
}

/// Who clicked what more than anybody would.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Blacklisted {
    day: i64,
    user: u64,
    ad: u64,
}

/// The clicks of a province in the hour until `window_end_ms`.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Clicks {
    province: String,
    window_end_ms: i64,
    count: u64,
}

/// The job: honest clicks by province, and the blacklist.
fn click_farming(
    clicks: DataStream<Click, impl Chain<Click>>,
) -> (DataStream<Clicks>, DataStream<Blacklisted>) {
    let blacklist = OutputTag::new("blacklist");
    let honest = clicks
        .key_by(|click| (click.user, click.ad, click.at_ms.div_euclid(DAY_MS)))
        .process(Limit { blacklist: blacklist.clone(), count: ValueState::default() })
        .name("limit");
    let blacklist = honest.side_output(&blacklist);
    let counts = honest
        .key_by_ref(|click| &click.province)
        .window(SlidingEventTimeWindows::of(hours(1), minutes(10)))
        .aggregate_with(Count, |province, window, count, out| {
            out.collect(Clicks { province: province.clone(), window_end_ms: window.end(), count });
        })
        .name("by province");
    (counts.boxed(), blacklist)
}

/// Lets `LIMIT` clicks of a user on an advertisement through each day.
#[derive(Clone)]
struct Limit {
    blacklist: OutputTag<Blacklisted>,
    count: ValueState<u32>,
}

impl KeyedProcessFunction for Limit {
    type Key = (u64, u64, i64);
    type In = Click;
    type Out = Click;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.count = context.value_state(ValueStateDescriptor::new("count"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        click: Click,
        context: &mut Context<'_, Self::Key>,
        out: &mut Collector<'_, Click>,
    ) -> thalweg::Result<()> {
        let (user, ad, day) = *context.current_key();
        let count = self.count.modify(context, |count| {
            *count = count.saturating_add(1);
            *count
        })?;
        if count == 1 {
            context.timer_service().register_event_time_timer((day + 1) * DAY_MS - 1);
        }
        if count == LIMIT {
            context.output(&self.blacklist, Blacklisted { day, user, ad });
        }
        if count <= LIMIT {
            out.collect(click);
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: i64,
        context: &mut OnTimerContext<'_, Self::Key>,
        _: &mut Collector<'_, Click>,
    ) -> thalweg::Result<()> {
        Ok(self.count.clear(context)?)
    }
}

/// Click `n` of the two days. One in ten is made by a program: one of two on the first day, a third one on the second.
fn click(n: u64) -> Click {
    let (chance, at_ms) = (mixed(n), n as i64 * CLICKS_EVERY_MS);
    let (user, ad) = match chance % 20 {
        0 => (6_661, 7),
        1 if at_ms < DAY_MS => (6_662, 3),
        1 => (6_663, 7),
        _ => ((chance >> 8) % 3_000, (chance >> 32) % 20),
    };
    let province = PROVINCES[(user % 13 % 5) as usize].to_owned();
    Click { user, ad, province, at_ms }
}

/// Looks random, and is the same in each run: the mixer of SplitMix64.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The generated clicks with their event times. One subtask, so that they stay in order and the same ones are filtered at
/// any parallelism.
fn two_days(env: &StreamExecutionEnvironment) -> DataStream<Click> {
    env.from_iter((0..CLICKS).map(click))
        .assign_timestamps_and_watermarks(
            WatermarkStrategy::monotonous().with_timestamp(|click: &Click| click.at_ms),
        )
        .set_parallelism(1)
}

fn main() -> thalweg::Result<()> {
    let declared = DeclaredArguments::new("Counts clicks by province, without those of farms.");
    let (env, _) = StreamExecutionEnvironment::from_args_or_exit(&declared);

    let (counts, blacklist) = click_farming(two_days(&env));
    let (counts, blacklist) = (counts.collect(), blacklist.collect());
    let result = env.execute("click farming")?;

    for Blacklisted { day, user, ad } in blacklist.take_sorted() {
        println!("day {}: user {user} is blacklisted for advertisement {ad}", day + 1);
    }
    let counts = counts.take_sorted();
    for province in PROVINCES {
        let of_province = || counts.iter().filter(|clicks| clicks.province == province);
        // Of equal hours the first.
        let Some(most) = of_province().rev().max_by_key(|clicks| clicks.count) else { continue };
        let (day, minute) = (most.window_end_ms / DAY_MS + 1, most.window_end_ms % DAY_MS / 60_000);
        let (hour, minute, count) = (minute / 60, minute % 60, most.count);
        println!(
            "{province:<17} {count:>3} clicks in the hour until {hour:02}:{minute:02} of day {day}"
        );
    }
    println!("{CLICKS} clicks, {} results; {:.1?}", counts.len(), result.runtime);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::testing::{self, TestDriver};

    #[test]
    fn a_pair_is_blacklisted_once_and_filtered_until_midnight() {
        let mut test = TestDriver::new(|env| {
            let clicks = env.from_source(testing::input::<Click>(), "clicks");
            let (counts, blacklist) = click_farming(clicks);
            counts.sink_to(testing::output()).name("counts");
            blacklist.sink_to(testing::output()).name("blacklist");
        });
        let mut pipe = |user, count, at_ms| {
            let click = Click { user, ad: 7, province: "Quebec".to_owned(), at_ms };
            test.pipe_at("clicks", (0..count).map(|_| (at_ms, click.clone())));
            test.outputs::<Blacklisted>("blacklist")
        };
        assert_eq!(pipe(1, 99, 1_000), []);
        assert_eq!(pipe(2, 10, 1_000), []);
        assert_eq!(pipe(1, 1, 2_000), [Blacklisted { day: 0, user: 1, ad: 7 }]);
        assert_eq!(pipe(1, 150, 3_000), []);
        // The next day, before any watermark has said so; and a click of the day before.
        assert_eq!(pipe(1, 20, DAY_MS), []);
        assert_eq!(pipe(1, 1, 4_000), []);
        test.watermark("clicks", DAY_MS - 1);
        let first_day: Vec<Clicks> = test.outputs("counts");
        assert_eq!(first_day.iter().map(|clicks| clicks.count).collect::<Vec<_>>(), [110; 6]);
        assert_eq!(first_day[0].window_end_ms, 600_000);
        test.end("clicks");
        let next_day: Vec<Clicks> = test.outputs("counts");
        assert_eq!(next_day.iter().map(|clicks| clicks.count).collect::<Vec<_>>(), [20; 6]);
        assert_eq!(next_day[0].window_end_ms, DAY_MS + 600_000);
    }

    #[test]
    fn the_farms_are_found_and_the_rest_is_counted_at_any_parallelism() {
        let is_farm = |click: &Click| (6_661..=6_663).contains(&click.user);
        let honest = (0..CLICKS).map(click).filter(|click| !is_farm(click)).count() as u64;
        for parallelism in [1, 4] {
            let env = StreamExecutionEnvironment::new();
            env.set_parallelism(parallelism);
            let (counts, blacklist) = click_farming(two_days(&env));
            let (counts, blacklist) = (counts.collect(), blacklist.collect());
            env.execute("click farming").unwrap();
            let found = blacklist.take_sorted();
            let found: Vec<_> = found.iter().map(|pair| (pair.day, pair.user, pair.ad)).collect();
            assert_eq!(found, [(0, 6_661, 7), (0, 6_662, 3), (1, 6_661, 7), (1, 6_663, 7)]);
            // Each click is in six windows; a farm has 100 clicks a day.
            let counted: u64 = counts.take().iter().map(|clicks| clicks.count).sum();
            assert_eq!(counted, 6 * (honest + 400));
        }
    }
}
