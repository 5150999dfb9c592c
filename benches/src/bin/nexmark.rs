//! The Nexmark queries, one line a run.
//!
//! ```text
//! cargo run --release -p thalweg-benches --bin nexmark -- q5 --parallelism 2 --seconds 5
//! cargo run --release -p thalweg-benches --bin nexmark -- all --check
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use thalweg::config::{Argument, DeclaredArguments, StateBackend};
use thalweg::prelude::*;
use thalweg_benches::nexmark::{Dataset, Settings, expected, queries, run};
use thalweg_benches::{alloc::Counting, now_ns};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn declared() -> DeclaredArguments {
    DeclaredArguments::new("Runs a Nexmark query, or all of them, on events that are made in memory first.")
        .with(Argument::positional("query").required().help("q0 to q5, q7 to q9, q11, q16 to q20, or all"))
        .with(Argument::option("dataset", "N").help("events that are made, and repeated with other ids and times").default(1_000_000))
        .with(Argument::option("events", "N").help("stop after so many events"))
        .with(Argument::option("seconds", "S").help("stop after so many seconds").default(5))
        .with(Argument::flag("check").help("run each event once, and compare the final table with Flink's (100,000 or 1,000,000 events)"))
        .with(Argument::option("backend", "B").help("state backend: memory, or lsm").default("memory"))
}

/// Whether all results that were compared are Flink's.
fn run_all() -> thalweg::Result<bool> {
    let (env, arguments) = StreamExecutionEnvironment::from_args_with(&declared())?;
    let wanted = arguments.get("query").unwrap_or_default().to_owned();
    let count: usize = arguments.parse("dataset")?;
    if count == 0 {
        return Err("--dataset 0: there must be an event at least".into());
    }
    let is_check = arguments.is_given("check");
    let events: Option<u64> = arguments.parse_optional("events")?;
    let settings = Settings {
        dataset: Arc::new(Dataset::generate(count)),
        events: if is_check { count as u64 } else { events.unwrap_or(u64::MAX) },
        seconds: if is_check || events.is_some() { u64::MAX } else { arguments.parse("seconds")? },
        with_table: is_check,
    };
    let backend: StateBackend = arguments.parse("backend")?;
    env.configure(|c| c.state_backend(backend));
    let parallelism = env.configuration()?.parallelism();
    let mut all_equal = true;
    for query in queries().filter(|query| wanted == "all" || wanted == *query) {
        let outcome = run(&env, query, &settings)?;
        let reading = outcome.reading;
        print!(
            "thalweg {query} p={parallelism} n={} backend={backend} events_per_s={:.0} rows={} checksum={:016x} rss_mib={:.1} first_output_ms={:.1} allocations={}",
            reading.events,
            reading.events as f64 / reading.seconds,
            reading.rows,
            reading.checksum,
            reading.resident_mib,
            reading.first_output_ms,
            reading.allocations,
        );
        let Some(table) = outcome.table else {
            println!();
            continue;
        };
        let verdict = match expected(query, settings.events) {
            Some(flinks) if flinks == table => "equal",
            Some(_) => "DIFFERENT",
            None => "unknown",
        };
        println!(" table_rows={} sha256={} flink={verdict}", table.rows, table.sha256);
        all_equal &= verdict != "DIFFERENT";
    }
    if wanted != "all" && !queries().any(|query| wanted == query) {
        run(&env, &wanted, &settings)?;
    }
    Ok(all_equal)
}

fn main() -> thalweg::Result<ExitCode> {
    now_ns();
    Ok(if run_all()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
