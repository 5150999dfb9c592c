//! Exactly once: orders are booked to accounts, and the job crashes on the way.
//!
//! ```sh
//! cargo run --release --example exactly_once
//! ```
//!
//! ```text
//! orders ─► by account: balance ─► CSV files, published by checkpoints
//!    ▲                     │
//!    └── positions ── checkpoint each 20 ms ── balances
//! ```
//!
//! 1. Each order changes the balance of its account; each balance is a row of a CSV file.
//! 2. A checkpoint has the source's position, all balances, and how far the files are written: all as of one moment. A file
//!    is published when a checkpoint has all of it.
//! 3. In the middle user code panics. The job goes back to its last checkpoint by itself: the source reads again what came
//!    behind it, and what was written behind it is cut off.
//! 4. Then the job is stopped ([`JobHandle::stop`]), as for an update: it takes a last checkpoint and ends. A new run of
//!    the program would find that checkpoint in the directory, as the second half of this one does.
//! 5. The files hold each order once, and each account's balances without a gap.
//!
//! A checkpoint costs the record path microseconds. What it buys at the sink is told by [`explain`]: here
//! exactly-once, because the source can be read again and the sink takes back what was not committed. The price is that
//! rows are visible a checkpoint later.
//!
//! [`explain`]: StreamExecutionEnvironment::explain

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use thalweg::graph::ExplainFormat;
use thalweg::prelude::*;

const ORDERS: i64 = 200_000;
const ACCOUNTS: i64 = 1_000;

/// The balance of an account after an order.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
struct Balance {
    order: i64,
    account: i64,
    orders_of_account: i64,
    cents: i64,
}

/// The job: `check` sees each order first, and may panic.
fn balances(
    orders: DataStream<i64, impl Chain<i64>>,
    check: impl FnMut(i64) + Clone + Send + 'static,
) -> DataStream<Balance> {
    let mut check = check;
    let checked = orders.map(move |order| {
        check(order);
        order
    });
    checked
        .key_by(|order| order % ACCOUNTS)
        .scan((0, 0), |(orders_of_account, cents), order| {
            *orders_of_account += 1;
            *cents += order % 100 - 40;
            let account = order % ACCOUNTS;
            Balance { order, account, orders_of_account: *orders_of_account, cents: *cents }
        })
        .name("balances")
        .boxed()
}

/// Writes the job with its settings.
fn write_job(
    directory: &Path,
    check: impl FnMut(i64) + Clone + Send + 'static,
) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::new();
    env.enable_checkpointing(Duration::from_millis(20)).at(directory.join("checkpoints"));
    env.configure(|c| c.restart_delay(Duration::from_millis(10)));
    let files = sink::FileSink::csv(directory.join("balances")).roll_at_bytes(1 << 20);
    balances(env.from_sequence(0..=ORDERS - 1), check).sink_to(files);
    env
}

/// All rows that are published.
fn published(directory: &Path) -> std::io::Result<Vec<Balance>> {
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(directory.join("balances"))? {
        let path: PathBuf = entry?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            let text = std::fs::read_to_string(path)?;
            rows.extend(text.lines().filter_map(row));
        }
    }
    Ok(rows)
}

/// `None` for what is no row.
fn row(line: &str) -> Option<Balance> {
    let mut fields = line.split(',').map(|field| field.parse().ok());
    let mut next = || fields.next().flatten();
    Some(Balance { order: next()?, account: next()?, orders_of_account: next()?, cents: next()? })
}

/// How many orders are there once, and whether each account's balances have no gap.
fn audit(rows: &[Balance]) -> (usize, bool) {
    let mut times = BTreeMap::new();
    let mut orders_of_account: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for row in rows {
        *times.entry(row.order).or_insert(0) += 1;
        orders_of_account.entry(row.account).or_default().push(row.orders_of_account);
    }
    let without_gap = orders_of_account.values_mut().all(|numbers| {
        numbers.sort_unstable();
        numbers.iter().copied().eq(1..=numbers.len() as i64)
    });
    (times.values().filter(|times| **times == 1).count(), without_gap)
}

/// Runs the job in `directory` with a panic and a stop on the way; how often it was restarted.
fn run(directory: &Path) -> thalweg::Result<u32> {
    let seen = Arc::new(AtomicI64::new(0));
    let count = seen.clone();
    let env = write_job(directory, move |_| {
        let before = count.fetch_add(1, Ordering::Relaxed);
        assert!(before != ORDERS / 4, "the order that crashes the job");
    });
    println!("{}", env.explain(ExplainFormat::Text)?);
    let job = env.execute_async("balances")?;
    while !job.is_finished() && seen.load(Ordering::Relaxed) < ORDERS / 2 {
        std::thread::yield_now();
    }
    job.stop();
    job.wait()?;
    let restarts = job.checkpoints().restarts;

    // What a new process does: the same job, the same directory.
    write_job(directory, |_| ()).execute("balances")?;
    Ok(restarts)
}

fn main() -> thalweg::Result<()> {
    let directory = std::env::temp_dir().join(format!("thalweg-balances-{}", std::process::id()));
    let restarts = run(&directory)?;
    let rows = published(&directory)?;
    let (once, without_gap) = audit(&rows);
    println!("restarts: {restarts}");
    println!(
        "{ORDERS} orders, {} rows, {once} orders once, without gap: {without_gap}",
        rows.len()
    );
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::testing::{self, TestDriver};

    #[test]
    fn each_order_is_booked_once() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(run(directory.path()).expect("the job ends"), 1);
        let rows = published(directory.path()).expect("files");
        assert_eq!(rows.len() as i64, ORDERS);
        assert_eq!(audit(&rows), (ORDERS as usize, true));
    }

    #[test]
    fn balances_go_on_after_a_restart() {
        let mut test = TestDriver::builder()
            .checkpoints()
            .build(|env| {
                let orders = env.from_source(testing::input::<i64>(), "orders");
                balances(orders, |_| ()).sink_to(testing::output()).name("balances");
            })
            .expect("the job starts");
        test.pipe("orders", [5_i64]);
        test.checkpoint();
        test.restart();
        test.pipe("orders", [5 + ACCOUNTS]);
        let counts: Vec<_> = test.outputs::<Balance>("balances");
        assert_eq!(counts.iter().map(|b| b.orders_of_account).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(counts.iter().map(|b| b.cents).collect::<Vec<_>>(), [-35, -70]);
    }
}
