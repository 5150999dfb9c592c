//! From Kafka to Kafka, exactly once: orders become payments, and the job crashes on the way.
//!
//! ```sh
//! cargo run --release -p thalweg-examples --features kafka --example kafka_to_kafka -- [HOST:PORT]
//! ```
//!
//! ```text
//! topic orders ─► source ─► map ─► sink ─► transaction ─► topic payments ─► readers of committed records
//!                   │                │          ▲
//!                offsets          records     commit, with the checkpoint's number
//!                   └── checkpoint ──┘──────────┘
//! ```
//!
//! 1. A first job fills the topic `orders`.
//! 2. The second makes a payment of each order. Offsets are in its checkpoints, and so are the records of the open transaction;
//!    it is committed when the checkpoint is complete. In the middle user code panics: the job goes back to its last
//!    checkpoint, asks the broker how far it has committed, and sends again what is missing, or nothing.
//! 3. The third reads `payments` as any reader of committed records would, and finds each order once.
//!
//! Without an address a broker is started for it, which needs Maven and Java (`tests/services/kafka.sh`).

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thalweg::config::RestartKind;
use thalweg::connector::kafka::{EndPosition, Json, KafkaSink, KafkaSource};
use thalweg::graph::ExplainFormat;
use thalweg::prelude::*;

const ORDERS: i64 = 200_000;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Order {
    id: i64,
    cents: i64,
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Payment {
    order: i64,
    euros: f64,
}

fn fill(servers: &str) -> thalweg::Result {
    let env = StreamExecutionEnvironment::new();
    let sink = KafkaSink::builder(servers).topic("orders").format(Json::new());
    let orders = env.from_sequence(1..=ORDERS).map(|id| Order { id, cents: id % 10_000 });
    orders.sink_to(sink.key_by(|order: &Order| order.id.to_string())).name("orders");
    env.execute("fill")?;
    Ok(())
}

/// Returns how often the job had to be restarted.
fn pay(servers: &str, checkpoints: PathBuf) -> thalweg::Result<u32> {
    let env = StreamExecutionEnvironment::new();
    env.enable_checkpointing(Duration::from_millis(100)).at(checkpoints);
    env.configure(|c| c.restart_strategy(RestartKind::FixedDelay).restart_attempts(3));
    let source = KafkaSource::builder(servers).topics(["orders"]).end_at(EndPosition::Latest);
    let has_crashed = Arc::new(AtomicBool::new(false));
    let payments =
        env.from_source(source.format(Json::<Order>::new()), "orders").map(move |order| {
            let is_time = order.id == ORDERS / 2 && !has_crashed.swap(true, Ordering::Relaxed);
            assert!(!is_time, "on purpose: order {} crashes the job", order.id);
            Payment { order: order.id, euros: order.cents as f64 / 100.0 }
        });
    let sink = KafkaSink::builder(servers).topic("payments").exactly_once("example-payments");
    payments.sink_to(sink.format(Json::new())).name("payments");
    let explained = env.explain(ExplainFormat::Text)?;
    explained
        .lines()
        .filter(|line| line.contains("delivery:"))
        .for_each(|line| println!("{}", line.trim()));
    let job = env.execute_async("payments")?;
    job.wait()?;
    Ok(job.checkpoints().restarts)
}

/// How often each order was paid: lost and paid twice.
fn audit(servers: &str) -> thalweg::Result<(usize, usize)> {
    let env = StreamExecutionEnvironment::new();
    let source = KafkaSource::builder(servers).topics(["payments"]).end_at(EndPosition::Latest);
    let paid = env.from_source(source.format(Json::<Payment>::new()), "payments").collect();
    env.execute("audit")?;
    let mut times = vec![0_usize; ORDERS as usize + 1];
    paid.take().iter().for_each(|payment| times[payment.order as usize] += 1);
    let lost = times.iter().skip(1).filter(|times| **times == 0).count();
    Ok((lost, times.iter().filter(|times| **times > 1).count()))
}

fn main() -> thalweg::Result {
    let folder = std::env::temp_dir().join(format!("thalweg-example-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let given = std::env::args().nth(1);
    let servers = match &given {
        Some(servers) => servers.clone(),
        None => script("start", &folder).map(|()| format!("127.0.0.1:{PORT}"))?,
    };
    let outcome = run(&servers, folder.join("checkpoints"));
    if given.is_none() {
        script("stop", &folder)?;
    }
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn run(servers: &str, checkpoints: PathBuf) -> thalweg::Result {
    create_topics(servers)?;
    fill(servers)?;
    let restarts = pay(servers, checkpoints)?;
    let (lost, twice) = audit(servers)?;
    println!("{ORDERS} orders, {restarts} restart: {lost} not paid, {twice} paid twice");
    assert_eq!((lost, twice), (0, 0));
    Ok(())
}

fn create_topics(servers: &str) -> thalweg::Result {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", servers).create()?;
    let topics =
        ["orders", "payments"].map(|name| NewTopic::new(name, 2, TopicReplication::Fixed(1)));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new()))?;
    for topic in made {
        topic.map_err(|(topic, code)| format!("topic {topic}: {code}"))?;
    }
    Ok(())
}

const PORT: u16 = 29_392;

fn script(verb: &str, folder: &std::path::Path) -> thalweg::Result {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/services/kafka.sh");
    let mut command = Command::new("bash");
    command.args([script, verb]).arg(folder);
    if verb == "start" {
        command.arg(PORT.to_string());
    }
    match command.status()?.success() {
        true => Ok(()),
        false => Err(format!("{script} {verb} failed: give the address of a broker").into()),
    }
}
