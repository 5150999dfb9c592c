//! Late updates: people who go through the gates of a stadium, every ten seconds. Some gates report late.
//!
//! ```sh
//! cargo run --release --example late_updates
//! ```
//!
//! ```text
//! passages ─► by gate: count per 10 s ─┬─► first results, and corrections ─► table
//!                                      └─► side output: later than a minute ─► print
//! ```
//!
//! 1. Each gate counts whoever goes through. A gate whose radio fails sends what it has when the radio works again.
//! 2. The watermark does not wait for it: the windows fire two seconds after their end, so the board at the gates is
//!    up to date.
//! 3. Windows are kept for a minute longer ([`allowed_lateness`](WindowedStream::allowed_lateness)). Each passage that
//!    comes in this time fires its window again, with all that it has by now.
//! 4. The results are therefore **updates**: whoever keeps them in a table by gate and window overwrites, and does not add up.
//! 5. What is later still cannot be counted any more, and is not lost: it goes to a side output.
//!
//! Lateness costs the windows of a minute more, that is six numbers a gate, and one result for each late passage.

use std::collections::BTreeMap;
use std::time::Duration;
use thalweg::config::DeclaredArguments;
use thalweg::prelude::*;
use thalweg::time::duration_ms;

const WINDOW: Duration = seconds(10);
const LATENESS: Duration = minutes(1);
/// How far passages are out of order when every radio works.
const DISORDER: Duration = seconds(2);
const PASSAGES: u64 = 12_000;

/// Somebody went through a gate.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
struct Passage {
    gate: String,
    at_ms: i64,
}

/// How many went through a gate in a window, as far as is known.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
struct GateCount {
    gate: String,
    window_end_ms: i64,
    count: u64,
}

/// The job: counts and their corrections, and what is too late for both.
fn late_updates(
    passages: DataStream<Passage, impl Chain<Passage>>,
) -> (DataStream<GateCount>, DataStream<Passage>) {
    let too_late = OutputTag::new("too late");
    let counts = passages
        .key_by_ref(|passage| &passage.gate)
        .window(TumblingEventTimeWindows::of(WINDOW))
        .allowed_lateness(LATENESS)
        .side_output_late_data(&too_late)
        .aggregate_with(Count, |gate, window, count, out| {
            out.collect(GateCount { gate: gate.clone(), window_end_ms: window.end(), count });
        })
        .name("count");
    let too_late = counts.side_output(&too_late);
    (counts.boxed(), too_late)
}

/// The latest count of each gate and window: what a database would hold that is written to by key.
#[derive(Debug, Default)]
struct Table(BTreeMap<(String, i64), Row>);

/// A row of the table, and what it was at first.
#[derive(Debug, Default)]
struct Row {
    first: u64,
    latest: u64,
    corrections: u64,
}

impl Table {
    fn update(&mut self, GateCount { gate, window_end_ms, count }: GateCount) {
        let row = self.0.entry((gate, window_end_ms));
        row.and_modify(|row| (row.latest, row.corrections) = (count, row.corrections + 1))
            .or_insert(Row { first: count, latest: count, corrections: 0 });
    }
}

/// The passages in the order in which they arrive, twenty a second. From 04:00 on the radio of gate C fails for half a
/// minute, from 07:00 on that of gate F for two minutes; what they hold back comes at once afterwards.
fn passages() -> Vec<Passage> {
    let mut arrivals: Vec<(i64, Passage)> = (0..PASSAGES)
        .map(|n| {
            let chance = mixed(n);
            let gate = ["A", "B", "C", "D", "E", "F"][(chance % 6) as usize].to_owned();
            let at_ms = n as i64 * 50;
            let arrives_at_ms = match (gate.as_str(), at_ms) {
                ("C", 240_000..270_000) => 270_000,
                ("F", 420_000..540_000) => 540_000,
                _ => at_ms + (chance >> 32) as i64 % duration_ms(DISORDER),
            };
            (arrives_at_ms, Passage { gate, at_ms })
        })
        .collect();
    arrivals.sort_by_key(|(arrives_at_ms, _)| *arrives_at_ms);
    arrivals.into_iter().map(|(_, passage)| passage).collect()
}

/// Looks random, and is the same in each run: the mixer of SplitMix64.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The generated passages with their event times. Ten minutes are read in an instant, so the usual watermark every 200 ms
/// would come when all is over, and nothing would be late. Here each passage carries one, as if it came live; in one
/// subtask, so that what is late is late at any parallelism.
fn stadium(env: &StreamExecutionEnvironment) -> DataStream<Passage> {
    env.from_elements(passages())
        .assign_timestamps_and_watermarks(
            WatermarkStrategy::punctuated(|_: &Passage, at_ms| {
                Some(at_ms - duration_ms(DISORDER) - 1)
            })
            .with_timestamp(|passage: &Passage| passage.at_ms),
        )
        .set_parallelism(1)
}

fn main() -> thalweg::Result<()> {
    let declared = DeclaredArguments::new("Counts people at gates, of which some report late.");
    let (env, _) = StreamExecutionEnvironment::from_args_or_exit(&declared);

    let (counts, too_late) = late_updates(stadium(&env));
    let (counts, too_late) = (counts.collect(), too_late.collect());
    let result = env.execute("late updates")?;

    let mut table = Table::default();
    counts.take().into_iter().for_each(|count| table.update(count));
    for ((gate, window_end_ms), Row { first, latest, corrections }) in &table.0 {
        if *corrections > 0 {
            let until = clock(*window_end_ms);
            println!(
                "gate {gate} until {until}: {first:>2}, after {corrections:>2} corrections {latest:>2}"
            );
        }
    }
    let too_late = too_late.take();
    if let (Some(first), Some(last)) = (too_late.first(), too_late.last()) {
        let (from, to, gate) = (clock(first.at_ms), clock(last.at_ms), &first.gate);
        println!("too late to be counted: {} at gate {gate}, {from} to {to}", too_late.len());
    }
    let (rows, counted) = (table.0.len(), table.0.values().map(|row| row.latest).sum::<u64>());
    println!("{counted} of {PASSAGES} in {rows} rows; {:.1?}", result.runtime);
    Ok(())
}

/// `04:20`: minutes and seconds.
fn clock(at_ms: i64) -> String {
    format!("{:02}:{:02}", at_ms / 60_000, at_ms / 1_000 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::testing::{self, TestDriver};

    #[test]
    fn late_passages_fire_their_window_again_for_a_minute() {
        let mut test = TestDriver::new(|env| {
            let passages = env.from_source(testing::input::<Passage>(), "passages");
            let (counts, too_late) = late_updates(passages);
            counts.sink_to(testing::output()).name("counts");
            too_late.sink_to(testing::output()).name("too late");
        });
        let passage = |gate: &str, at_ms| (at_ms, Passage { gate: gate.to_owned(), at_ms });
        let counts = |test: &mut TestDriver| {
            let counts = test.outputs::<GateCount>("counts").into_iter();
            counts.map(|row| (row.gate, row.window_end_ms, row.count)).collect::<Vec<_>>()
        };
        let row = |gate: &str, count| [(gate.to_owned(), 10_000, count)];
        test.pipe_at("passages", [passage("A", 1_000), passage("A", 2_000)]);
        assert_eq!(counts(&mut test), []);
        test.watermark("passages", 9_999);
        assert_eq!(counts(&mut test), row("A", 2));
        test.pipe_at("passages", [passage("A", 3_000)]);
        assert_eq!(counts(&mut test), row("A", 3));
        test.watermark("passages", 30_000);
        test.pipe_at("passages", [passage("A", 9_999)]);
        assert_eq!(counts(&mut test), row("A", 4));
        test.pipe_at("passages", [passage("B", 1)]);
        assert_eq!(counts(&mut test), row("B", 1));
        test.watermark("passages", 69_998);
        test.pipe_at("passages", [passage("A", 5)]);
        assert_eq!(counts(&mut test), row("A", 5));
        test.watermark("passages", 69_999);
        test.pipe_at("passages", [passage("A", 6)]);
        assert_eq!(counts(&mut test), []);
        assert_eq!(test.outputs::<Passage>("too late"), [passage("A", 6).1]);
    }

    #[test]
    fn the_table_and_what_is_too_late_are_everything_at_any_parallelism() {
        let is_lost = |passage: &Passage| {
            // When they come at last, the watermark is at 08:57: windows until 07:50 are gone.
            passage.gate == "F" && (420_000..470_000).contains(&passage.at_ms)
        };
        for parallelism in [1, 4] {
            let env = StreamExecutionEnvironment::new();
            env.set_parallelism(parallelism);
            let (counts, too_late) = late_updates(stadium(&env));
            let (counts, too_late) = (counts.collect(), too_late.collect());
            env.execute("late updates").unwrap();
            let mut table = Table::default();
            counts.take().into_iter().for_each(|count| table.update(count));
            let (lost, counted): (Vec<_>, Vec<_>) = passages().into_iter().partition(is_lost);
            assert_eq!(too_late.take(), lost);
            let mut expected = BTreeMap::new();
            for Passage { gate, at_ms } in counted {
                *expected.entry((gate, (at_ms / 10_000 + 1) * 10_000)).or_default() += 1_u64;
            }
            assert!(table.0.values().any(|row| row.corrections > 0));
            let latest = table.0.into_iter().map(|(key, row)| (key, row.latest));
            assert_eq!(latest.collect::<BTreeMap<_, _>>(), expected);
        }
    }
}
