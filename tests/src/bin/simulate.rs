//! Runs random jobs in the simulator and audits what they have committed.
//!
//! ```text
//! cargo run --release -p thalweg-tests --bin simulate -- --seeds 0..2000      many, those that failed once first
//! cargo run --release -p thalweg-tests --bin simulate -- --seed 17 --trace    one, with all that happened
//! RUSTFLAGS="--cfg planted" cargo run --release --target-dir target/planted -p thalweg-tests --bin simulate -- --plant 4
//! ```
//!
//! Ends with code 0 only if nothing failed, with 1 if something did, with 2 if the arguments are wrong. A seed that fails is
//! added to `tests/data/simulate_regressions.txt`.
//!
//! `--plant N` does the wrong thing at one place of the engine (`thalweg_io::Fault`), and stops at the first seed that sees it:
//! it must not end with 0. `--plant all` does so for each fault, and ends with 0 only if all were seen.

use std::io::Write as _;
use std::ops::Range;
use std::process::ExitCode;
use thalweg_io::Fault;
use thalweg_tests::simulation::{run, seeds};

const USAGE: &str =
    "usage: simulate [--seeds A..B | --seed N [--trace] | --plant N|all] [--threads T]";

/// Seeds after which a planted fault counts as not seen.
const PLANTED_SEEDS: u64 = 600;

struct Arguments {
    seeds: Option<Range<u64>>,
    seed: Option<u64>,
    is_traced: bool,
    plant: Vec<Fault>,
    are_all_planted: bool,
    threads: usize,
}

fn main() -> ExitCode {
    // Jobs that panic are told of in a line; the default hook would tell it in between.
    std::panic::set_hook(Box::new(|_| {}));
    let result = Arguments::read(std::env::args().skip(1)).and_then(|arguments| act(&arguments));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn act(arguments: &Arguments) -> Result<bool, String> {
    if let Some(seed) = arguments.seed {
        return Ok(one(seed, arguments.is_traced));
    }
    if !arguments.plant.is_empty() {
        return planted(arguments);
    }
    let old = seeds::regressions()?;
    let range = arguments.seeds.clone().unwrap_or(0..2_000);
    let plan = seeds::Plan {
        seeds: old.iter().copied().chain(range).collect(),
        threads: arguments.threads,
        is_first_enough: false,
    };
    let outcome = seeds::run_all(&plan);
    println!("{outcome}");
    for (seed, what) in outcome.failures.iter().filter(|(seed, _)| !old.contains(seed)) {
        keep(*seed, what)?;
    }
    Ok(outcome.failures.is_empty())
}

fn one(seed: u64, is_traced: bool) -> bool {
    match run(seed) {
        Ok(report) => {
            if is_traced {
                report.log.iter().for_each(|line| println!("{line}"));
            }
            println!("{} log_hash={:016x}", report.counts, report.log_hash);
            true
        }
        Err(failure) => {
            println!("{failure}\n{}", failure.what);
            false
        }
    }
}

/// Adds a seed to those that are replayed first.
fn keep(seed: u64, what: &str) -> Result<(), String> {
    let path = seeds::regressions_path();
    let line = what.lines().next().unwrap_or_default();
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| writeln!(file, "{seed} # {line}"));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(not(planted))]
fn arm(_: Option<Fault>) -> Result<(), String> {
    Err("this build has no planted faults; build it with RUSTFLAGS=\"--cfg planted\", into a directory of its own \
         (--target-dir target/planted)"
        .to_owned())
}

#[cfg(planted)]
fn arm(fault: Option<Fault>) -> Result<(), String> {
    thalweg_io::arm_planted(fault);
    Ok(())
}

fn planted(arguments: &Arguments) -> Result<bool, String> {
    let mut found = 0;
    for fault in &arguments.plant {
        arm(Some(*fault))?;
        let plan = seeds::Plan {
            seeds: arguments.seeds.clone().unwrap_or(0..PLANTED_SEEDS).collect(),
            threads: arguments.threads,
            is_first_enough: true,
        };
        let outcome = seeds::run_all(&plan);
        let (number, words, runs) = (fault.number(), fault.words(), outcome.counts.runs);
        match outcome.failures.first() {
            Some((seed, what)) => {
                found += 1;
                let what = what.lines().next().unwrap_or_default();
                println!(
                    "{number:2} found after {runs} seeds by seed {seed}: {words}\n     {what}"
                );
            }
            None => println!("{number:2} NOT FOUND by {runs} seeds: {words}"),
        }
    }
    arm(None)?;
    println!("planted={} found={found}", arguments.plant.len());
    Ok(if arguments.are_all_planted { found == arguments.plant.len() } else { found == 0 })
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut arguments = Arguments {
            seeds: None,
            seed: None,
            is_traced: false,
            plant: Vec::new(),
            are_all_planted: false,
            threads,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--seeds" => arguments.seeds = Some(range(&value()?)?),
                "--seed" => arguments.seed = Some(number(&value()?)?),
                "--trace" => arguments.is_traced = true,
                "--threads" => arguments.threads = number(&value()?)?.max(1) as usize,
                "--plant" => {
                    let value = value()?;
                    arguments.are_all_planted = value == "all";
                    arguments.plant = match value.as_str() {
                        "all" => Fault::ALL.to_vec(),
                        one => vec![fault(one)?],
                    };
                }
                other => return Err(format!("'{other}' is not known")),
            }
        }
        Ok(arguments)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|error| format!("'{text}' is no number: {error}"))
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) =
        text.split_once("..").ok_or(format!("'{text}' is no range, such as 0..2000"))?;
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err(format!("'{text}' has no seed")) } else { Ok(range) }
}

fn fault(text: &str) -> Result<Fault, String> {
    let fault = u8::try_from(number(text)?).ok().and_then(Fault::of_number);
    fault.ok_or_else(|| {
        format!("there is no fault {text}; they are numbered from 1 to {}", Fault::ALL.len())
    })
}
