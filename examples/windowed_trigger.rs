//! A trigger: what the shops have sold today, every ten seconds, in windows of a day.
//!
//! ```sh
//! cargo run --release --example windowed_trigger
//! ```
//!
//! 1. The window is the day, so everybody begins with nothing at midnight.
//! 2. By itself a window tells its result when it is over. The trigger makes it fire every ten seconds of event time before, and
//!    once more at midnight. It fires without purging, so each result is the day so far.
//! 3. The sales of a shop are added up as they come; firing costs the same in the morning as in the evening.
//! 4. A result carries the last instant of its window, which is midnight. When it was made the function learns from the
//!    watermark.
//!
//! A result in between has every sale that came before the watermark that fired it, also one of a second later. The
//! last one of the day is exact. A shop has results from its first sale of the day on.
//!
//! It costs a sale, the time of the next firing and two timers for each shop; and 8,640 results a day.

use std::time::Duration;
use thalweg::config::DeclaredArguments;
use thalweg::prelude::*;
use thalweg::time::duration_ms;

const EVERY: Duration = seconds(10);
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const SALES: u64 = 60_000;
const SALES_EVERY_MS: i64 = 2 * DAY_MS / SALES as i64;

/// A shop has sold something.
#[thalweg::record]
#[derive(Clone, Debug)]
struct Sale {
    shop: String,
    cents: u64,
    at_ms: i64,
}

/// What a shop has sold on a day until `until_ms`, a multiple of ten seconds.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Revenue {
    until_ms: i64,
    shop: String,
    cents: u64,
}

/// The job: the revenue of the day so far, every ten seconds.
fn revenue(sales: DataStream<Sale, impl Chain<Sale>>) -> DataStream<Revenue> {
    sales
        .key_by_ref(|sale| &sale.shop)
        .window(TumblingEventTimeWindows::of(days(1)))
        .trigger(ContinuousEventTimeTrigger::of(EVERY))
        .reduce_process(|sum, sale| Sale { cents: sum.cents + sale.cents, ..sale }, SoFar)
        .name("day so far")
        .boxed()
}

/// Says until when a sum goes.
#[derive(Clone)]
struct SoFar;

impl ProcessWindowFunction for SoFar {
    type Key = String;
    type In = Sale;
    type Out = Revenue;
    type Window = TimeWindow;

    fn process(
        &mut self,
        shop: &String,
        context: &mut WindowContext<'_, TimeWindow>,
        sums: &[Sale],
        out: &mut Collector<'_, Revenue>,
    ) -> thalweg::Result<()> {
        // A watermark says that everything up to it has come; beyond the window it says no more than its end does.
        let until_ms = context.current_watermark().min(context.window().max_timestamp()) + 1;
        let until_ms = until_ms - until_ms % duration_ms(EVERY);
        let cents = sums.iter().map(|sum| sum.cents).sum();
        out.collect(Revenue { until_ms, shop: shop.clone(), cents });
        Ok(())
    }
}

/// Sale `n` of two days, one every 2.88 seconds.
fn sale(n: u64) -> Sale {
    let chance = mixed(n);
    let shop = ["Baker", "Florist", "Grocer"][(chance % 3) as usize].to_owned();
    Sale { shop, cents: 100 + (chance >> 32) % 2_000, at_ms: n as i64 * SALES_EVERY_MS }
}

/// Looks random, and is the same in each run: the mixer of SplitMix64.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The generated sales with their event times. Two days are read in an instant, so the usual watermark every 200 ms would
/// come when all is over. Here each sale carries one, as if it came live.
fn two_days(env: &StreamExecutionEnvironment) -> DataStream<Sale> {
    env.from_iter((0..SALES).map(sale))
        .assign_timestamps_and_watermarks(
            WatermarkStrategy::punctuated(|_: &Sale, at_ms| Some(at_ms - 1))
                .with_timestamp(|sale: &Sale| sale.at_ms),
        )
        .set_parallelism(1)
}

fn main() -> thalweg::Result<()> {
    let declared = DeclaredArguments::new("Tells every ten seconds what shops have sold today.");
    let (env, _) = StreamExecutionEnvironment::from_args_or_exit(&declared);

    let results = revenue(two_days(&env)).collect();
    let result = env.execute("day so far")?;

    let results = results.take_sorted();
    println!("until      shop       revenue of the day");
    for Revenue { until_ms, shop, cents } in &results {
        // The first half minute, each noon, and both sides of midnight.
        let is_shown = *until_ms <= 30_000
            || until_ms % DAY_MS == DAY_MS / 2
            || (until_ms - DAY_MS).abs() <= 10_000
            || *until_ms == 2 * DAY_MS;
        if is_shown {
            let (day, second) = (until_ms / DAY_MS + 1, until_ms % DAY_MS / 1_000);
            let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
            let (dollars, cents) = (cents / 100, cents % 100);
            println!("{day} {hour:02}:{minute:02}:{second:02} {shop:<9} {dollars:>8}.{cents:02}");
        }
    }
    println!("{SALES} sales, {} results; {:.1?}", results.len(), result.runtime);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::testing::{self, TestDriver};

    #[test]
    fn a_day_fires_every_ten_seconds_and_at_midnight() {
        let mut test = TestDriver::new(|env| {
            let sales = env.from_source(testing::input::<Sale>(), "sales");
            revenue(sales).sink_to(testing::output()).name("revenue");
        });
        let sale = |shop: &str, cents, at_ms| (at_ms, Sale { shop: shop.to_owned(), cents, at_ms });
        let row = |until_ms, shop: &str, cents| Revenue { until_ms, shop: shop.to_owned(), cents };
        test.pipe_at("sales", [sale("a", 100, 1_000), sale("b", 50, 4_000), sale("a", 20, 12_000)]);
        let mut results_at = |watermark_ms| {
            test.watermark("sales", watermark_ms);
            let mut results = test.outputs::<Revenue>("revenue");
            results.sort();
            results
        };
        assert_eq!(results_at(9_999), []);
        // The sale of second 12 is in it, because it has come.
        assert_eq!(results_at(10_000), [row(10_000, "a", 120), row(10_000, "b", 50)]);
        assert_eq!(results_at(19_999), []);
        assert_eq!(results_at(20_500), [row(20_000, "a", 120), row(20_000, "b", 50)]);
        // Every ten seconds from 30 on, and midnight.
        let rest = results_at(DAY_MS - 1);
        assert_eq!(rest.len(), 2 * 8_638);
        assert_eq!(rest.last(), Some(&row(DAY_MS, "b", 50)));
        test.pipe_at("sales", [sale("a", 7, DAY_MS)]);
        test.watermark("sales", DAY_MS + 10_000);
        assert_eq!(test.outputs::<Revenue>("revenue"), [row(DAY_MS + 10_000, "a", 7)]);
    }

    #[test]
    fn every_ten_seconds_of_both_days_have_a_result_at_any_parallelism() {
        for parallelism in [1, 4] {
            let env = StreamExecutionEnvironment::new();
            env.set_parallelism(parallelism);
            let results = revenue(two_days(&env)).collect();
            env.execute("day so far").unwrap();
            let results = results.take_sorted();
            for shop in ["Baker", "Florist", "Grocer"] {
                // From the first sale of a day on.
                let sales = || (0..SALES).map(sale).filter(|sale| sale.shop == shop);
                let begins_ms = [0, DAY_MS].map(|midnight_ms| {
                    let first = sales().find(|sale| sale.at_ms >= midnight_ms);
                    first.map_or(0, |sale| sale.at_ms)
                });
                let every_ten_s = (1..=2 * DAY_MS / 10_000).map(|n| n * 10_000);
                let expected = every_ten_s
                    .filter(|until_ms| *until_ms > begins_ms[((until_ms - 1) / DAY_MS) as usize]);
                let of_shop = results.iter().filter(|row| row.shop == shop);
                assert!(of_shop.map(|row| row.until_ms).eq(expected), "{shop}");
            }
            for day in [0, 1] {
                let sold: u64 = (0..SALES)
                    .map(sale)
                    .filter(|sale| sale.at_ms / DAY_MS == day)
                    .map(|sale| sale.cents)
                    .sum();
                let at_midnight = results.iter().filter(|row| row.until_ms == (day + 1) * DAY_MS);
                assert_eq!(at_midnight.map(|row| row.cents).sum::<u64>(), sold);
            }
        }
    }
}
