//! The connector of Kafka against its client alone, in one run, one after the other and again.
//!
//! ```text
//! cargo run --release -p thalweg-benches --features kafka --bin kafka -- read --records 2000000 --rounds 5
//! ```
//!
//! Without `--servers` it starts a broker (`tests/services/kafka.sh`, which needs Maven and Java) and stops it again. A
//! line a round says the records a second of each, and the last line the medians and their ratio.

mod broker;
mod read;

use thalweg::config::{Argument, Arguments, DeclaredArguments};
use thalweg_benches::alloc::Counting;

use broker::Broker;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn declared() -> DeclaredArguments {
    DeclaredArguments::new("Measures the connector of Kafka beside its client alone.")
        .with(Argument::positional("part").required().help("read"))
        .with(Argument::option("servers", "HOST:PORT").help("brokers; default: one is started"))
        .with(Argument::option("records", "N").help("records in the topic").default(1_000_000))
        .with(Argument::option("bytes", "B").help("bytes of a value").default(100))
        .with(Argument::option("partitions", "P").help("partitions of the topic").default(4))
        .with(Argument::option("rounds", "N").help("how often each is run").default(5))
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
    let broker = match arguments.get("servers") {
        Some(servers) => Broker::at(servers),
        None => Broker::start()?,
    };
    match arguments.get("part") {
        Some("read") => read::run(&broker, &settings),
        other => Err(format!("there is no part {}; write read", other.unwrap_or("")).into()),
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
