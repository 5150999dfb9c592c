//! Unique visitors: how many different people read a newspaper's site, hour by hour.
//!
//! ```sh
//! cargo run --release --example unique_visitors
//! ```
//!
//! 1. The source makes the visits of a day: a small town reads its paper, and most readers come several times.
//! 2. An aggregate keeps the set of those who were there in an hour, and gives its size.
//! 3. As in `page_views` there are parts first and a sum afterwards, which is exact because a reader is always in the same
//!    part: nobody is in two of the sets.
//!
//! # What it costs
//!
//! The sets hold every visitor of each hour that is open: some 16 bytes each, so about 16 MB for a million. They are exact. Where
//! they grow too large, give a little exactness away and keep the rest of the job as it is:
//!
//! - a **Bloom filter** in the accumulator (`Vec<u64>` and a count; ten bits a visitor) says of a visitor "seen", wrongly
//!   in 1 % of the cases, so the count is a little low;
//! - a **HyperLogLog** sketch (`Vec<u8>` of 16 KiB, however many visitors) is right within 1 % or so, and two of them can
//!   be merged even if the same visitors are in both: then the parts may be cut in any way.

use std::collections::HashSet;
use thalweg::config::DeclaredArguments;
use thalweg::prelude::*;
use thalweg::source::DataGeneratorSource;

/// Some for each core, and few enough to be nothing to add up.
const PARTS: u64 = 64;
const VISITS: u64 = 150_000;
const READERS: u64 = 20_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Somebody opened a page.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Visit {
    reader: u64,
    at_ms: i64,
}

/// What is known of an hour.
#[thalweg::record]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Visitors {
    start_ms: i64,
    unique: u64,
    visits: u64,
}

/// The job: unique visitors of each hour.
fn unique_visitors(visits: DataStream<Visit, impl Chain<Visit>>) -> DataStream<Visitors> {
    visits
        .key_by(|visit| visit.reader % PARTS)
        .window(TumblingEventTimeWindows::of(hours(1)))
        .aggregate_with(Distinct, |_, window, (unique, visits), out| {
            out.collect(Visitors { start_ms: window.start(), unique, visits });
        })
        .name("sets")
        .window_all(TumblingEventTimeWindows::of(hours(1)))
        .reduce(|sum, part| Visitors {
            unique: sum.unique + part.unique,
            visits: sum.visits + part.visits,
            ..sum
        })
        .name("add up")
}

/// How many different readers there were, and how many visits.
#[derive(Clone)]
struct Distinct;

impl AggregateFunction<Visit> for Distinct {
    type Accumulator = (HashSet<u64>, u64);
    type Result = (u64, u64);

    fn create_accumulator(&self) -> (HashSet<u64>, u64) {
        Default::default()
    }
    fn add(&self, (readers, visits): &mut (HashSet<u64>, u64), visit: &Visit) {
        readers.insert(visit.reader);
        *visits += 1;
    }
    fn result(&self, (readers, visits): &(HashSet<u64>, u64)) -> (u64, u64) {
        (readers.len() as u64, *visits)
    }
    fn merge(&self, into: &mut (HashSet<u64>, u64), other: &(HashSet<u64>, u64)) {
        into.0.extend(&other.0);
        into.1 += other.1;
    }
}

/// Visit `n` of the day: more at noon than at night, and some readers come far more often than others.
fn visit(n: u64) -> Visit {
    let x = n as f64 / VISITS as f64 - 0.5;
    let at_ms = ((0.5 + 0.5 * x + 2.0 * x * x * x) * DAY_MS as f64) as i64;
    let (chance, another) = (mixed(2 * n) % READERS, mixed(2 * n + 1) % READERS);
    Visit { reader: chance.min(another), at_ms }
}

/// Looks random, and is the same in each run: the mixer of SplitMix64.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The generated day with its event times.
fn day(env: &StreamExecutionEnvironment) -> DataStream<Visit> {
    env.from_source(DataGeneratorSource::new(visit).count(VISITS), "visits")
        .assign_timestamps_and_watermarks(
            WatermarkStrategy::monotonous().with_timestamp(|visit: &Visit| visit.at_ms),
        )
        .boxed()
}

fn main() -> thalweg::Result<()> {
    let declared = DeclaredArguments::new("Counts the different visitors of each hour of a day.");
    let (env, _) = StreamExecutionEnvironment::from_args_or_exit(&declared);

    let hours = unique_visitors(day(&env)).collect();
    let result = env.execute("unique visitors")?;

    let hours = hours.take_sorted();
    println!("hour    visitors  visits");
    for Visitors { start_ms, unique, visits } in &hours {
        println!("{:02}:00  {unique:>9} {visits:>7}", start_ms / 3_600_000);
    }
    let most = hours.iter().max_by_key(|hour| hour.unique).copied().unwrap_or_default();
    let (unique, hour) = (most.unique, most.start_ms / 3_600_000);
    println!(
        "{VISITS} visits; most visitors, {unique}, from {hour:02}:00 on; {:.1?}",
        result.runtime
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::testing::{self, TestDriver};

    #[test]
    fn a_reader_counts_once_an_hour() {
        let mut test = TestDriver::new(|env| {
            let visits = env.from_source(testing::input::<Visit>(), "visits");
            unique_visitors(visits).sink_to(testing::output()).name("hours");
        });
        let visits = [(1_000, 1), (2_000, 1), (3_000, 2), (3_600_005, 3), (3_600_006, 1)];
        test.pipe_at("visits", visits.map(|(at_ms, reader)| (at_ms, Visit { reader, at_ms })));
        test.watermark("visits", 3_599_999);
        let first = Visitors { start_ms: 0, unique: 2, visits: 3 };
        assert_eq!(test.outputs::<Visitors>("hours"), [first]);
        test.end("visits");
        let second = Visitors { start_ms: 3_600_000, unique: 2, visits: 2 };
        assert_eq!(test.outputs::<Visitors>("hours"), [second]);
    }

    #[test]
    fn parts_add_up_to_the_whole_at_any_parallelism() {
        let mut readers = vec![HashSet::new(); 24];
        (0..VISITS).map(visit).for_each(|visit| {
            readers[(visit.at_ms / 3_600_000) as usize].insert(visit.reader);
        });
        for parallelism in [1, 4] {
            let env = StreamExecutionEnvironment::new();
            env.set_parallelism(parallelism);
            let hours = unique_visitors(day(&env)).collect();
            env.execute("unique visitors").unwrap();
            let hours = hours.take_sorted();
            let unique: Vec<u64> = hours.iter().map(|hour| hour.unique).collect();
            assert_eq!(unique, readers.iter().map(|set| set.len() as u64).collect::<Vec<_>>());
            assert_eq!(hours.iter().map(|hour| hour.visits).sum::<u64>(), VISITS);
        }
    }
}
