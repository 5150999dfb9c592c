//! Fraud detection: a card is tried with less than a dollar, and then at once with more than 500.
//!
//! ```sh
//! cargo run --release --example fraud_detection     # takes four seconds
//! ```
//!
//! 1. The source makes 500 payments a second, by the clock on the wall: "at once" is meant as the thief means it.
//! 2. Each card is a key. A small payment sets a flag, and a timer of processing time that takes it away again.
//! 3. The next payment of the card, whatever it is, takes both away. If the flag was there and the payment is a large one,
//!    that is the fraud.
//!
//! Processing time makes a job simple and its results depend on when the records come: this input gives other results
//! when it is read again faster. The test moves the clock itself. See `login_failures` for the event-time way.
//!
//! It costs a number and a timer for each card whose last payment was small, for as long as the flag lasts.

use std::time::Duration;
use thalweg::config::DeclaredArguments;
use thalweg::prelude::*;
use thalweg::source::DataGeneratorSource;
use thalweg::time::duration_ms;

const SMALL_CENTS: u64 = 100;
const LARGE_CENTS: u64 = 50_000;
/// A minute in the real world, where fewer payments are made.
const WITHIN: Duration = milliseconds(400);
const PAYMENTS: u64 = 2_000;
const PAYMENTS_PER_SECOND: f64 = 500.0;

/// A card was used.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Payment {
    card: u64,
    cents: u64,
}

/// A payment that somebody should look at.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fraud {
    card: u64,
    cents: u64,
}

/// The job: large payments soon after a small one.
fn fraud_detection(
    payments: DataStream<Payment, impl Chain<Payment>>,
    within: Duration,
) -> DataStream<Fraud> {
    payments
        .key_by(|payment| payment.card)
        .process(SmallThenLarge { within_ms: duration_ms(within), ..SmallThenLarge::default() })
        .name("small, then large")
        .boxed()
}

/// Emits large payments soon after a small one.
#[derive(Clone, Default)]
struct SmallThenLarge {
    within_ms: i64,
    /// The flag: when it will be taken away.
    small_until_ms: ValueState<i64>,
}

impl KeyedProcessFunction for SmallThenLarge {
    type Key = u64;
    type In = Payment;
    type Out = Fraud;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.small_until_ms = context.value_state(ValueStateDescriptor::new("small until"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        Payment { card, cents }: Payment,
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, Fraud>,
    ) -> thalweg::Result<()> {
        if let Some(until_ms) = self.small_until_ms.take(context)? {
            context.timer_service().delete_processing_time_timer(until_ms);
            if cents > LARGE_CENTS {
                out.collect(Fraud { card, cents });
            }
        }
        if cents < SMALL_CENTS {
            let mut timers = context.timer_service();
            let until_ms = timers.current_processing_time() + self.within_ms;
            timers.register_processing_time_timer(until_ms);
            self.small_until_ms.update(context, until_ms)?;
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: i64,
        context: &mut OnTimerContext<'_, u64>,
        _: &mut Collector<'_, Fraud>,
    ) -> thalweg::Result<()> {
        Ok(self.small_until_ms.clear(context)?)
    }
}

/// Payment `n`. Of the cards from 9,000 on, each begins with a small payment; with every other one a large one follows
/// at once, with the rest 1.5 seconds later.
fn payment(n: u64) -> Payment {
    let chance = mixed(n);
    let large = 50_001 + chance % 100_000;
    let hundred = n / 100;
    match (n % 100, hundred % 2) {
        (0, _) => Payment { card: 9_000 + hundred, cents: 1 + chance % 99 },
        (1, 0) => Payment { card: 9_000 + hundred, cents: large },
        (50, 0) if hundred > 7 => Payment { card: 9_000 + hundred - 7, cents: large },
        _ => Payment { card: chance % 1_000, cents: 100 + (chance >> 32) % 30_000 },
    }
}

/// Looks random, and is the same in each run: the mixer of SplitMix64.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn main() -> thalweg::Result<()> {
    let declared = DeclaredArguments::new("Finds large payments soon after a small one.");
    let (env, _) = StreamExecutionEnvironment::from_args_or_exit(&declared);

    let payments =
        DataGeneratorSource::new(payment).count(PAYMENTS).records_per_second(PAYMENTS_PER_SECOND);
    // One subtask, so that the payments of a card come in order.
    let payments = env.from_source(payments, "payments").set_parallelism(1);
    let frauds = fraud_detection(payments, WITHIN).collect();
    let result = env.execute("fraud detection")?;

    let frauds = frauds.take_sorted();
    for Fraud { card, cents } in &frauds {
        println!("card {card}: ${}.{:02}", cents / 100, cents % 100);
    }
    println!("{PAYMENTS} payments, {} of them frauds; {:.1?}", frauds.len(), result.runtime);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::testing::{self, TestDriver};

    #[test]
    fn large_after_small_is_fraud_for_a_minute() {
        let mut test = TestDriver::new(|env| {
            let payments = env.from_source(testing::input::<Payment>(), "payments");
            fraud_detection(payments, minutes(1)).sink_to(testing::output()).name("frauds");
        });
        let mut frauds_after = |clock_ms, card, dollars: &[u64]| {
            test.set_clock_ms(clock_ms);
            test.pipe("payments", dollars.iter().map(|n| Payment { card, cents: n * 100 }));
            test.outputs::<Fraud>("frauds")
        };
        let fraud = |card, dollars: u64| [Fraud { card, cents: dollars * 100 }];
        assert_eq!(frauds_after(0, 1, &[0, 501]), fraud(1, 501));
        assert_eq!(frauds_after(0, 2, &[0, 10, 600]), []);
        assert_eq!(frauds_after(1_000, 3, &[0]), []);
        assert_eq!(frauds_after(61_000, 3, &[700]), []);
        assert_eq!(frauds_after(61_000, 4, &[0]), []);
        assert_eq!(frauds_after(62_000, 4, &[500, 501]), []);
        assert_eq!(frauds_after(62_000, 5, &[0, 0, 501]), fraud(5, 501));
        // The second small payment has a minute of its own.
        assert_eq!(frauds_after(70_000, 6, &[0]), []);
        assert_eq!(frauds_after(100_000, 6, &[0]), []);
        assert_eq!(frauds_after(159_999, 6, &[501]), fraud(6, 501));
    }

    #[test]
    fn the_input_has_small_payments_of_both_kinds() {
        let large = (0..PAYMENTS).filter(|n| payment(*n).cents > LARGE_CENTS);
        let after: Vec<u64> = large
            .map(|n| {
                let small = (0..n).rev().find(|earlier| payment(*earlier).card == payment(n).card);
                n - small.expect("a small payment of the same card")
            })
            .collect();
        assert_eq!(after.iter().filter(|count| **count == 1).count(), 10);
        assert_eq!(after.iter().filter(|count| **count == 750).count(), after.len() - 10);
        assert!(after.len() > 15, "{after:?}");
    }
}
