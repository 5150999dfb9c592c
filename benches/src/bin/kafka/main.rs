//! The connector of Kafka against its client alone, in one run, one after the other and again.
//!
//! ```text
//! cargo run --release -p thalweg-benches --features kafka --bin kafka -- read --records 2000000 --rounds 5
//! cargo run --release -p thalweg-benches --features kafka --bin kafka -- copy --interval-ms 1000
//! cargo run --release -p thalweg-benches --features kafka --bin kafka -- latency --interval-ms 100 --rate 10000
//! ```
//!
//! Without `--servers` it starts a broker (`tests/services/kafka.sh`, which needs Maven and Java) and stops it again. A
//! line a round says the records a second of each, and the last line the medians and their ratio.

mod broker;
mod copy;
mod latency;
mod read;

use thalweg::config::{Argument, Arguments, DeclaredArguments};
use thalweg_benches::alloc::Counting;

use broker::Broker;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn declared() -> DeclaredArguments {
    DeclaredArguments::new("Measures the connector of Kafka beside its client alone.")
        .with(Argument::positional("part").required().help("read, copy or latency"))
        .with(Argument::option("servers", "HOST:PORT").help("brokers; default: one is started"))
        .with(Argument::option("records", "N").help("records in the topic").default(1_000_000))
        .with(Argument::option("bytes", "B").help("bytes of a value").default(100))
        .with(Argument::option("partitions", "P").help("partitions of the topic").default(4))
        .with(Argument::option("rounds", "N").help("how often each is run").default(5))
        .with(
            Argument::option("interval-ms", "M")
                .help("between checkpoints of `copy` and `latency`")
                .default(1_000),
        )
        .with(Argument::option("rate", "R").help("records a second of `latency`").default(10_000))
        .with(Argument::option("seconds", "S").help("how long `latency` sends").default(20))
}

/// What is measured.
#[derive(Clone, Debug)]
struct Settings {
    records: u64,
    bytes: usize,
    partitions: i32,
    parallelism: usize,
    rounds: usize,
}

fn main() -> thalweg::Result<()> {
    let (env, arguments) =
        thalweg::prelude::StreamExecutionEnvironment::from_args_with(&declared())?;
    let parallelism = env.configuration()?.parallelism();
    let settings = settings(&arguments, parallelism)?;
    let interval = std::time::Duration::from_millis(arguments.parse("interval-ms")?);
    let broker = match arguments.get("servers") {
        Some(servers) => Broker::at(servers),
        None => Broker::start()?,
    };
    match arguments.get("part") {
        Some("read") => read::run(&broker, &settings),
        Some("copy") => copy::run(&broker, &settings, interval),
        Some("latency") => {
            let pace = (arguments.parse("rate")?, arguments.parse("seconds")?);
            latency::run(&broker, &settings, interval, pace)
        }
        other => {
            Err(format!("there is no part {}; write read, copy or latency", other.unwrap_or(""))
                .into())
        }
    }
}

fn settings(arguments: &Arguments, parallelism: usize) -> thalweg::Result<Settings> {
    Ok(Settings {
        records: arguments.parse("records")?,
        bytes: arguments.parse("bytes")?,
        partitions: arguments.parse("partitions")?,
        parallelism,
        rounds: arguments.parse("rounds")?,
    })
}

/// The one in the middle.
fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}
