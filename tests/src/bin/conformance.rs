//! Runs the cases of the conformance corpus under some directories and judges what the engine emits.
//!
//! ```text
//! cargo run --release -p thalweg-tests --bin conformance -- DIR... [--shell seeded|threads|glommio] [--backend memory|lsm]
//!     [--parallelism P] [--windows sliced|pane] [--restarts case|each-step] [--seed N] [--emit FILE]
//! ```
//!
//! One line for each case that fails, with what was expected and what came; then `N passed, N failed, N skipped`. It
//! ends with code 0 only if none failed, with 2 if the arguments are wrong or a file cannot be read.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, Write, sink};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use thalweg_tests::conformance::{Setup, Verdict, case_files, run_files};

const USAGE: &str = "usage: conformance DIR... [--shell seeded|threads|glommio] [--backend memory|lsm] \
                     [--parallelism P] [--windows sliced|pane] [--restarts case|each-step] [--seed N] [--emit FILE]";

/// Subtasks of an operator at most; a case has some ten records.
const PARALLELISM_MAX: usize = 128;

struct Arguments {
    directories: Vec<PathBuf>,
    setup: Setup,
    emit: Option<PathBuf>,
}

fn main() -> ExitCode {
    // A case that panics is told in its line; the default hook would tell it twice.
    std::panic::set_hook(Box::new(|_| {}));
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => return refuse(&format!("{message}\n{USAGE}")),
    };
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => refuse(&message),
    }
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(2)
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let files = case_files(&arguments.directories).map_err(|error| error.to_string())?;
    if files.is_empty() {
        return Err("no case in these directories".into());
    }
    let mut emit: Box<dyn Write> = match &arguments.emit {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(about(path.display()))?)),
        None => Box::new(sink()),
    };
    let report = run_files(&files, arguments.setup, tell, &mut emit);
    let report = report.map_err(|error| error.to_string())?;
    emit.flush().map_err(|error| error.to_string())?;
    println!("{report}");
    Ok(report.is_success())
}

fn tell(name: &str, verdict: &Verdict) {
    match verdict {
        Verdict::Failed(why) => println!("FAIL {name}: {why}"),
        Verdict::DiffersFromQuirk(why) => println!("QUIRK {name}: {why}"),
        Verdict::Passed | Verdict::Skipped(_) => {}
    }
}

fn about<E: Display>(what: impl Display) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let setup = Setup::default();
        let mut arguments = Arguments { directories: Vec::new(), setup, emit: None };
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                None => arguments.directories.push(word.into()),
                Some(flag) => arguments.set(flag, &mut words)?,
            }
        }
        match arguments.directories.is_empty() {
            true => Err("no directory of cases".into()),
            false => Ok(arguments),
        }
    }

    fn set(&mut self, flag: &str, words: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (flag, words.next()),
        };
        let value = value.ok_or_else(|| format!("--{flag} wants a value"))?;
        match flag {
            "shell" => self.setup.shell = parse(flag, &value)?,
            "seed" => self.setup.seed = parse(flag, &value)?,
            "parallelism" => {
                self.setup.parallelism = parse(flag, &value)?;
                if !(1..=PARALLELISM_MAX).contains(&self.setup.parallelism) {
                    return Err(format!("--parallelism {value}: from 1 to {PARALLELISM_MAX}"));
                }
            }
            "windows" => {
                self.setup.is_per_pane = match value.as_str() {
                    "sliced" => false,
                    "pane" => true,
                    _ => return Err(format!("--windows {value}: sliced or pane")),
                };
            }
            "backend" => self.setup.backend = parse(flag, &value)?,
            "restarts" => self.setup.restarts = parse(flag, &value)?,
            "emit" => self.emit = Some(value.into()),
            _ => return Err(format!("unknown option --{flag}")),
        }
        Ok(())
    }
}

fn parse<T: FromStr<Err: Display>>(flag: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(about(format!("--{flag} {value}")))
}
