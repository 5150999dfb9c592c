//! Order timeout: orders must be paid within 15 minutes. Orders come on one stream, payments on another.
//!
//! ```sh
//! cargo run --release --example order_timeout
//! ```
//!
//! ```text
//! orders ───► by order ─┐
//!                       ├─► match ─┬─► paid
//! payments ─► by order ─┘          └─► side output: what somebody must look at
//! ```
//!
//! 1. Both streams are keyed by the order and connected: an order and its payment meet in one subtask, and share state.
//! 2. An order waits for its payment, with a timer 15 minutes ahead of it.
//! 3. A payment may come before its order, if the orders' stream is behind. It waits until both streams have passed its
//!    own time: the watermark of two streams is the smaller one.
//! 4. Whoever comes second deletes the timer. A timer that fires tells that nobody came.
//!
//! It costs a number and a timer for each order or payment that waits.

use std::time::Duration;
use thalweg::config::DeclaredArguments;
use thalweg::prelude::*;
use thalweg::time::duration_ms;

const TO_PAY_IN: Duration = minutes(15);
const ORDERS: u64 = 5_000;
const ORDERS_EVERY_MS: i64 = 10_000;

/// A customer has ordered something.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Order {
    id: u64,
    created_at_ms: i64,
}

/// The bank has got money for an order.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Payment {
    order: u64,
    paid_at_ms: i64,
}

/// How an order ended.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Paid,
    PaidLate,
    Unpaid,
    /// A payment without order, or after the order had ended.
    PaidNotCreated,
}

/// An order and its outcome.
type Ended = (u64, Outcome);

/// The job: paid orders, and what somebody must look at.
fn order_timeout(
    orders: DataStream<Order, impl Chain<Order>>,
    payments: DataStream<Payment, impl Chain<Payment>>,
) -> (DataStream<Ended>, DataStream<Ended>) {
    let look_at = OutputTag::new("look at");
    let paid = orders
        .key_by(|order| order.id)
        .connect(payments.key_by(|payment| payment.order))
        .process(Match::new(look_at.clone()))
        .name("match");
    let look_at = paid.side_output(&look_at);
    (paid.boxed(), look_at)
}

/// Brings orders and payments together.
#[derive(Clone)]
struct Match {
    look_at: OutputTag<Ended>,
    created_at_ms: ValueState<i64>,
    paid_at_ms: ValueState<i64>,
}

impl Match {
    fn new(look_at: OutputTag<Ended>) -> Self {
        Match { look_at, created_at_ms: ValueState::default(), paid_at_ms: ValueState::default() }
    }
}

impl KeyedCoProcessFunction for Match {
    type Key = u64;
    type In1 = Order;
    type In2 = Payment;
    type Out = Ended;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.created_at_ms = context.value_state(ValueStateDescriptor::new("created at"))?;
        self.paid_at_ms = context.value_state(ValueStateDescriptor::new("paid at"))?;
        Ok(())
    }

    fn process_element1(
        &mut self,
        Order { id, created_at_ms }: Order,
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, Ended>,
    ) -> thalweg::Result<()> {
        if let Some(paid_at_ms) = self.paid_at_ms.take(context)? {
            context.timer_service().delete_event_time_timer(paid_at_ms);
            out.collect((id, Outcome::Paid));
            return Ok(());
        }
        let until_ms = created_at_ms + duration_ms(TO_PAY_IN);
        context.timer_service().register_event_time_timer(until_ms);
        Ok(self.created_at_ms.update(context, created_at_ms)?)
    }

    fn process_element2(
        &mut self,
        Payment { order, paid_at_ms }: Payment,
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, Ended>,
    ) -> thalweg::Result<()> {
        let Some(created_at_ms) = self.created_at_ms.take(context)? else {
            context.timer_service().register_event_time_timer(paid_at_ms);
            return Ok(self.paid_at_ms.update(context, paid_at_ms)?);
        };
        let until_ms = created_at_ms + duration_ms(TO_PAY_IN);
        context.timer_service().delete_event_time_timer(until_ms);
        if paid_at_ms < until_ms {
            out.collect((order, Outcome::Paid));
        } else {
            context.output(&self.look_at, (order, Outcome::PaidLate));
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: i64,
        context: &mut OnTimerContext<'_, u64>,
        _: &mut Collector<'_, Ended>,
    ) -> thalweg::Result<()> {
        let outcome = match self.paid_at_ms.take(context)? {
            Some(_) => Outcome::PaidNotCreated,
            None => Outcome::Unpaid,
        };
        self.created_at_ms.clear(context)?;
        let order = *context.current_key();
        context.output(&self.look_at, (order, outcome));
        Ok(())
    }
}

/// Order `id`, one every ten seconds.
fn order(id: u64) -> Order {
    Order { id, created_at_ms: id as i64 * ORDERS_EVERY_MS }
}

/// The payment of an order, after up to 14 minutes. One in 50 is never made, and one in 500 names another order.
fn payment(id: u64) -> Option<Payment> {
    let chance = mixed(id);
    let paid_at_ms = order(id).created_at_ms + (chance >> 32) as i64 % 840_000;
    let order = if chance % 500 == 1 { id + 1_000_000 } else { id };
    let is_made = !chance.is_multiple_of(50);
    is_made.then_some(Payment { order, paid_at_ms })
}

/// Looks random, and is the same in each run: the mixer of SplitMix64.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Both generated streams with their event times; payments are out of order by up to 14 minutes.
fn shop(env: &StreamExecutionEnvironment) -> (DataStream<Order>, DataStream<Payment>) {
    let orders = env.from_iter((0..ORDERS).map(order)).assign_timestamps_and_watermarks(
        WatermarkStrategy::monotonous().with_timestamp(|order: &Order| order.created_at_ms),
    );
    let payments = env.from_iter((0..ORDERS).filter_map(payment)).assign_timestamps_and_watermarks(
        WatermarkStrategy::bounded_out_of_orderness(minutes(14))
            .with_timestamp(|payment: &Payment| payment.paid_at_ms),
    );
    (orders.boxed(), payments.boxed())
}

fn main() -> thalweg::Result<()> {
    let declared = DeclaredArguments::new("Finds orders that are not paid in time.");
    let (env, _) = StreamExecutionEnvironment::from_args_or_exit(&declared);

    let (orders, payments) = shop(&env);
    let (paid, look_at) = order_timeout(orders, payments);
    let (paid, look_at) = (paid.collect(), look_at.collect());
    let result = env.execute("order timeout")?;

    let look_at = look_at.take_sorted();
    look_at.iter().take(10).for_each(|(order, outcome)| println!("order {order}: {outcome:?}"));
    println!("..");
    let count = |wanted| look_at.iter().filter(|(_, outcome)| *outcome == wanted).count();
    println!(
        "{ORDERS} orders: {} paid, {} unpaid; {} payments for no order; {:.1?}",
        paid.len(),
        count(Outcome::Unpaid),
        count(Outcome::PaidNotCreated),
        result.runtime
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::testing::{self, TestDriver};

    fn driver() -> TestDriver {
        TestDriver::new(|env| {
            let orders = env.from_source(testing::input::<Order>(), "orders");
            let payments = env.from_source(testing::input::<Payment>(), "payments");
            let (paid, look_at) = order_timeout(orders, payments);
            paid.sink_to(testing::output()).name("paid");
            look_at.sink_to(testing::output()).name("look at");
        })
    }

    /// What a step has brought.
    fn ended(test: &mut TestDriver) -> Vec<Ended> {
        let mut ended = test.outputs::<Ended>("paid");
        assert!(ended.iter().all(|(_, outcome)| *outcome == Outcome::Paid));
        ended.extend(test.outputs::<Ended>("look at"));
        ended
    }

    fn create(test: &mut TestDriver, id: u64, created_at_ms: i64) -> Vec<Ended> {
        test.pipe_at("orders", [(created_at_ms, Order { id, created_at_ms })]);
        ended(test)
    }

    fn pay(test: &mut TestDriver, order: u64, paid_at_ms: i64) -> Vec<Ended> {
        test.pipe_at("payments", [(paid_at_ms, Payment { order, paid_at_ms })]);
        ended(test)
    }

    fn watermark(test: &mut TestDriver, watermark_ms: i64) -> Vec<Ended> {
        test.watermark("orders", watermark_ms);
        assert_eq!(ended(test), [], "the payments hold the watermark back");
        test.watermark("payments", watermark_ms);
        ended(test)
    }

    #[test]
    fn orders_and_payments_meet_or_time_out() {
        let test = &mut driver();
        assert_eq!(create(test, 1, 1_000), []);
        assert_eq!(create(test, 2, 2_000), []);
        assert_eq!(pay(test, 1, 600_000), [(1, Outcome::Paid)]);
        assert_eq!(watermark(test, 901_000), []);
        assert_eq!(watermark(test, 902_000), [(2, Outcome::Unpaid)]);
        assert_eq!(pay(test, 3, 960_000), []);
        assert_eq!(watermark(test, 960_000), [(3, Outcome::PaidNotCreated)]);
        assert_eq!(pay(test, 4, 1_200_000), []);
        assert_eq!(create(test, 4, 1_140_000), [(4, Outcome::Paid)]);
        assert_eq!(create(test, 5, 1_200_000), []);
        assert_eq!(pay(test, 5, 2_100_000), [(5, Outcome::PaidLate)]);
        assert_eq!(pay(test, 2, 1_260_000), []);
        test.end("orders");
        test.end("payments");
        assert_eq!(ended(test), [(2, Outcome::PaidNotCreated)]);
    }

    #[test]
    fn every_order_ends_once_at_any_parallelism() {
        let paid_orders: Vec<u64> =
            (0..ORDERS).filter_map(payment).map(|paid| paid.order).collect();
        let strange = paid_orders.iter().filter(|order| **order >= ORDERS).count();
        let paid_count = paid_orders.len() - strange;
        for parallelism in [1, 4] {
            let env = StreamExecutionEnvironment::new();
            env.set_parallelism(parallelism);
            let (orders, payments) = shop(&env);
            let (paid, look_at) = order_timeout(orders, payments);
            let (paid, look_at) = (paid.collect(), look_at.collect());
            env.execute("order timeout").unwrap();
            let look_at = look_at.take();
            let count = |wanted| look_at.iter().filter(|(_, outcome)| *outcome == wanted).count();
            assert_eq!(paid.len(), paid_count);
            assert_eq!(count(Outcome::Unpaid), ORDERS as usize - paid_count);
            assert_eq!(
                (count(Outcome::PaidNotCreated), look_at.len()),
                (strange, ORDERS as usize - paid_count + strange)
            );
        }
    }
}
