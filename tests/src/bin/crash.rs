//! Kills a real job on the real disk, again and again, and audits what it has committed.
//!
//! ```text
//! cargo run --release -p thalweg-tests --bin crash -- --kills 60
//!     [--sink files|kafka] [--rescale MOST] [--seed N] [--records N] [--interval-ms N] [--point NAME]
//!     [--directory DIR] [--plant N]
//! ```
//!
//! `SIGKILL` at random times and an abort at each of the named crash points; several kills a job, each followed by a start
//! from the same directory, until all input is through. Ends with `kills=60 lost=0 duplicate=0 unordered=0` and code 0; with 1
//! if a record was lost, came twice or out of order, a sum, window or timer is wrong, a file was left over, or a process
//! failed or hung; with 2 if it could not be tried.
//!
//! `--sink kafka` writes the records' sums to a topic of a broker that is started for it (build with `--features kafka`), kills at
//! the Kafka sink's crash points, and kills and freezes the broker too.
//!
//! `--rescale MOST` runs each process with another parallelism, up to `MOST`, and ends some with a savepoint, with which the next
//! begins.
//!
//! `--plant N` plants a fault in the children, which must then be found: needs a build with `RUSTFLAGS="--cfg planted"`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use thalweg_tests::crash::{CHILD_ARGUMENT, KillPlan, SinkKind, run_child, run_kills};

const USAGE: &str = "usage: crash [--kills N] [--sink files|kafka] [--rescale MOST] [--seed N] [--records N] [--interval-ms N] [--point NAME] \
                     [--directory DIR] [--plant N]";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == CHILD_ARGUMENT) {
        arguments.remove(0);
        return match run_child(&arguments) {
            Ok(end) => ExitCode::from(end.code()),
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    match plan(&arguments) {
        Ok(plan) => run(&plan),
        Err(message) => refuse(&format!("{message}\n{USAGE}")),
    }
}

fn run(plan: &KillPlan) -> ExitCode {
    match run_kills(plan, |line| println!("{line}")) {
        Ok(report) => {
            println!("{report}");
            // Else they are kept, to be looked at.
            if report.is_clean() && std::fs::remove_dir_all(&plan.directory).is_ok() {
                return ExitCode::SUCCESS;
            }
            ExitCode::FAILURE
        }
        Err(error) => refuse(&format!("{}: {error}", plan.directory.display())),
    }
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(2)
}

fn plan(arguments: &[String]) -> Result<KillPlan, String> {
    let mut plan = KillPlan {
        sink: SinkKind::Files,
        kills: 60,
        seed: 1,
        records: 40_000,
        interval_ms: 20,
        rescale: None,
        plant: None,
        point: None,
        directory: std::env::temp_dir().join(format!("thalweg-crash-{}", std::process::id())),
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--kills" => plan.kills = number(word, value)?,
            "--sink" => plan.sink = sink(value)?,
            "--rescale" => plan.rescale = Some(number::<usize>(word, value)?.max(1)),
            "--seed" => plan.seed = number(word, value)?,
            "--records" => plan.records = number(word, value)?,
            "--interval-ms" => plan.interval_ms = number(word, value)?,
            "--plant" => plan.plant = Some(fault(value)?),
            "--point" => plan.point = Some(point(value)?),
            "--directory" => plan.directory = PathBuf::from(value),
            _ => return Err(format!("'{word}' is not an option")),
        }
    }
    if plan.sink == SinkKind::Kafka && plan.rescale.is_some() {
        return Err("--rescale looks at files: leave out --sink kafka".into());
    }
    Ok(plan)
}

fn number<N: FromStr>(option: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("{option}: '{value}' is not a number"))
}

fn sink(name: &str) -> Result<SinkKind, String> {
    match name {
        "files" => Ok(SinkKind::Files),
        "kafka" => Ok(SinkKind::Kafka),
        _ => Err(format!("--sink: '{name}' is neither files nor kafka")),
    }
}

fn point(name: &str) -> Result<String, String> {
    #[cfg_attr(not(feature = "kafka"), expect(unused_mut, reason = "Kafka adds its own"))]
    let mut all = thalweg::testing::crash_points::all();
    #[cfg(feature = "kafka")]
    all.extend(thalweg::connector::kafka::sink_crash_points::ALL);
    match all.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!("--point: there is no '{name}'; there are {}", all.join(", "))),
    }
}

fn fault(number_text: &str) -> Result<u8, String> {
    let number = number("--plant", number_text)?;
    let fault = thalweg_io::Fault::of_number(number)
        .ok_or_else(|| format!("--plant: there is no fault {number}"))?;
    if cfg!(not(planted)) {
        return Err("--plant: this build cannot; set RUSTFLAGS=\"--cfg planted\"".into());
    }
    println!("planted: {}", fault.words());
    Ok(number)
}
