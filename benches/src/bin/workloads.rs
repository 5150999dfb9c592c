//! The workloads that are compared with other systems, one line a run.
//!
//! ```text
//! cargo run --release -p thalweg-benches --bin workloads -- w1 --keys 1000 --parallelism 2 --seconds 10
//! cargo run --release -p thalweg-benches --features object-store --bin workloads -- w6 --checkpoint-remote file:///tmp/copies
//! ```

use std::fs::remove_dir_all;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use thalweg::config::{Argument, Arguments, DeclaredArguments, StateBackend};
use thalweg::prelude::*;
use thalweg_benches::workload::{
    Latencies, Layout, Loss, Outcome, Settings, hot_keys, latency, lose, named_counts, recover,
    running_sum, running_sum_by_process, session_count, tumbling_count,
};
use thalweg_benches::{alloc::Counting, now_ns};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn declared() -> DeclaredArguments {
    DeclaredArguments::new(
        "Runs one of the workloads w1, w1p (w1 by a process function), w2, w3, w4, w5, w7; w6 is w1 with a million keys, the backend lsm and a checkpoint each second. \
         `recovery` measures how long checkpoints of --keys changes take, and how long a job is away that fails or is killed.",
    )
    .with(Argument::positional("workload").required().help("w1, w1p, w2, w3, w4, w5, w6, w7 or recovery"))
    .with(
        Argument::option("keys", "K")
            .help("number of keys (w1, w5: 1000; w2, w3, w7: 10000; w4: 100000; others: 1000000)"),
    )
    .with(Argument::option("events", "N").help("stop after so many events"))
    .with(Argument::option("seconds", "S").help("stop after so many seconds").default(10))
    .with(Argument::option("backend", "B").help("state backend: memory, or lsm (w6, recovery)"))
    .with(
        Argument::option("checkpoint-ms", "M")
            .help("checkpoint interval; 0 takes none (w6: 1000, others: 0)"),
    )
    .with(
        Argument::option("checkpoints-in", "DIR")
            .help("where they are kept, in a directory of the run's own that is removed")
            .default(std::env::temp_dir().display()),
    )
    .with(Argument::option("rate", "R").help("events a second of w5").default(100_000))
    .with(
        Argument::option("layout", "L")
            .help("state of `recovery`: flat, rows, or timers (rows with a timer each)")
            .default("flat"),
    )
    .with(
        Argument::option("step", "S")
            .help("of `recovery`: kill (two processes), restart (one), machine (two, and the directory is lost: from the copies in --checkpoint-remote, or in a directory beside it), and the halves of kill, lose and recover")
            .default("kill"),
    )
    .with(Argument::option("runs", "N").help("how often to run it").default(1))
}

struct Line<'a> {
    workload: &'a str,
    parallelism: usize,
    settings: &'a Settings,
    profile: String,
    backend: StateBackend,
    checkpoint_ms: u64,
}

impl Line<'_> {
    fn throughput(&self, outcome: &Outcome) {
        let Line { workload, parallelism, settings, backend, checkpoint_ms, .. } = self;
        let reading = outcome.reading;
        let last = outcome.last.map_or("-".to_string(), |last| format!("{last:016x}"));
        println!(
            "thalweg {workload} p={parallelism} k={} n={} backend={backend} checkpoint_ms={checkpoint_ms} events_per_s={:.0} checksum={:016x} final={last} rss_mib={:.1} first_output_ms={:.1} allocations={}",
            settings.keys,
            reading.events,
            reading.events as f64 / reading.seconds,
            reading.checksum,
            reading.resident_mib,
            reading.first_output_ms,
            reading.allocations,
        );
    }

    fn latency(&self, latencies: &Latencies) {
        let Line { workload, parallelism, settings, profile, backend, checkpoint_ms } = self;
        let us = |ns: u64| ns as f64 / 1e3;
        let (all, due, crossed) = (&latencies.all, &latencies.due, &latencies.crossed);
        println!(
            "thalweg {workload} p={parallelism} k={} rate={} backend={backend} checkpoint_ms={checkpoint_ms} profile={profile} p50_us={:.2} p99_us={:.2} p999_us={:.2} max_us={:.1} due_p50_us={:.2} due_p99_us={:.2} crossed_p50_us={:.2} crossed_p99_us={:.2} samples={}",
            settings.keys,
            settings.rate,
            us(all.value_at_quantile(0.5)),
            us(all.value_at_quantile(0.99)),
            us(all.value_at_quantile(0.999)),
            us(all.max()),
            us(due.value_at_quantile(0.5)),
            us(due.value_at_quantile(0.99)),
            us(crossed.value_at_quantile(0.5)),
            us(crossed.value_at_quantile(0.99)),
            all.len(),
        );
    }
}

fn settings(workload: &str, arguments: &Arguments) -> thalweg::Result<Settings> {
    let keys = match workload {
        "w2" | "w3" | "w7" => 10_000,
        "w4" => 100_000,
        "w6" | "recovery" => 1_000_000,
        _ => 1_000,
    };
    let events: Option<u64> = arguments.parse_optional("events")?;
    Ok(Settings {
        keys: arguments.parse_optional("keys")?.unwrap_or(keys),
        events: events.unwrap_or(u64::MAX),
        seconds: if events.is_some() { u64::MAX } else { arguments.parse("seconds")? },
        rate: arguments.parse("rate")?,
        with_final: events.is_some(),
    })
}

fn run(runs_left: &mut Option<u64>) -> thalweg::Result<()> {
    let (env, arguments) = StreamExecutionEnvironment::from_args_with(&declared())?;
    let workload = arguments.get("workload").unwrap_or_default().to_owned();
    runs_left.get_or_insert(arguments.parse("runs")?);
    let settings = settings(&workload, &arguments)?;
    let parallelism = env.configuration()?.parallelism();
    let profile = env.configuration()?.profile().to_string();
    let (backend, checkpoint_ms) = match &*workload {
        "w6" => (StateBackend::Lsm, 1_000),
        "recovery" => (StateBackend::Lsm, 0),
        _ => (StateBackend::Memory, 0),
    };
    let backend = arguments.parse_optional("backend")?.unwrap_or(backend);
    let checkpoint_ms = arguments.parse_optional("checkpoint-ms")?.unwrap_or(checkpoint_ms);
    env.configure(|c| c.state_backend(backend));
    if workload == "recovery" {
        return run_recovery(&env, &arguments, &settings);
    }
    let directory = Path::new(arguments.get("checkpoints-in").unwrap_or("."))
        .join(format!("thalweg-workloads-{}", std::process::id()));
    if checkpoint_ms > 0 {
        env.enable_checkpointing(Duration::from_millis(checkpoint_ms)).at(&directory);
    }
    let line = Line {
        workload: &workload,
        parallelism,
        settings: &settings,
        profile,
        backend,
        checkpoint_ms,
    };
    let result = run_one(&env, line);
    if checkpoint_ms > 0 {
        remove_dir_all(directory)?;
    }
    result
}

/// The job goes on where it was lost, in this process or in another one.
fn run_recovery(
    env: &StreamExecutionEnvironment,
    arguments: &Arguments,
    settings: &Settings,
) -> thalweg::Result<()> {
    let layout: Layout = arguments.parse("layout")?;
    let step = arguments.get("step").unwrap_or_default();
    let base = Path::new(arguments.get("checkpoints-in").unwrap_or("."));
    // The halves of a kill are given the directory itself.
    let directory = match step {
        "lose" | "recover" => base.to_path_buf(),
        _ => base.join(format!("thalweg-workloads-{}", std::process::id())),
    };
    env.enable_checkpointing(Duration::from_secs(3_600)).at(&directory);
    let recovery = match step {
        "restart" => lose(env, settings, (layout, Loss::Failure))?,
        "lose" => return lose(env, settings, (layout, Loss::Abort)).map(drop),
        "recover" => recover(env, settings, layout)?,
        "kill" | "machine" => {
            let store = directory.with_extension("store");
            let remote = match env.configuration()?.checkpoint_remote() {
                None if step == "machine" => Some(format!("file://{}", store.display())),
                _ => None,
            };
            let durable = run_half("lose", &directory, remote.as_deref())?;
            if step == "machine" {
                remove_dir_all(&directory)?;
            }
            let recovered = run_half("recover", &directory, remote.as_deref())?;
            remove_dir_all(directory)?;
            if remote.is_some() {
                remove_dir_all(store)?;
            }
            let words = durable.split_whitespace().map(str::parse);
            let mut durable_ms = words.collect::<Result<Vec<f64>, _>>()?;
            durable_ms.sort_by(f64::total_cmp);
            println!("{} {}", recovered.trim(), durable_words(&durable_ms));
            return Ok(());
        }
        other => {
            return Err(format!("unknown step '{other}'; there are kill, restart, machine").into());
        }
    };
    println!(
        "thalweg recovery p={} k={} backend={} layout={} built_ms={:.1} first_output_ms={:.1} all_output_ms={:.1} {}",
        env.configuration()?.parallelism(),
        settings.keys,
        env.configuration()?.state_backend(),
        arguments.get("layout").unwrap_or_default(),
        recovery.built_ms,
        recovery.first_output_ms,
        recovery.all_output_ms,
        durable_words(&recovery.durable_ms),
    );
    if step == "restart" {
        remove_dir_all(directory)?;
    }
    Ok(())
}

/// Median and maximum, if there are any.
fn durable_words(sorted_ms: &[f64]) -> String {
    match sorted_ms {
        [] => String::new(),
        [.., last] => {
            format!("durable_p50_ms={:.1} durable_max_ms={last:.1}", sorted_ms[sorted_ms.len() / 2])
        }
    }
}

/// Runs this program again, for one half of a kill, and returns what it has printed. `remote` is where it copies checkpoints to
/// if it was not given anything.
fn run_half(step: &str, directory: &Path, remote: Option<&str>) -> thalweg::Result<String> {
    let output = Command::new(std::env::current_exe()?)
        .envs(remote.map(|remote| ("THALWEG_CHECKPOINT_REMOTE", remote)))
        .args(std::env::args_os().skip(1))
        .args(["--runs", "1", "--step", step, "--checkpoints-in"])
        .arg(directory)
        .stderr(Stdio::inherit())
        .output()?;
    // The one that loses its state ends itself.
    if step == "recover" && !output.status.success() {
        return Err(format!("the process that recovers has failed: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn run_one(env: &StreamExecutionEnvironment, line: Line<'_>) -> thalweg::Result<()> {
    let (workload, settings) = (line.workload, line.settings);
    match workload {
        "w1" | "w6" => line.throughput(&running_sum(env, settings)?),
        "w1p" => line.throughput(&running_sum_by_process(env, settings)?),
        "w2" => line.throughput(&tumbling_count(env, settings)?),
        "w3" => line.throughput(&hot_keys(env, settings)?),
        "w4" => line.throughput(&session_count(env, settings)?),
        "w7" => line.throughput(&named_counts(env, settings)?),
        "w5" => line.latency(&latency(env, settings)?),
        other => {
            return Err(format!(
                "unknown workload '{other}'; there are w1, w1p, w2, w3, w4, w5, w6, w7, recovery"
            )
            .into());
        }
    }
    Ok(())
}

fn main() -> thalweg::Result<()> {
    now_ns();
    let mut runs_left = None;
    loop {
        run(&mut runs_left)?;
        match &mut runs_left {
            Some(left) if *left > 1 => *left -= 1,
            _ => return Ok(()),
        }
    }
}
