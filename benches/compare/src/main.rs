//! The same work on Thalweg, timely, renoir and a hand-written loop, in one run.
//!
//! ```text
//! compare table ─► one process a run: compare run SYSTEM WORKLOAD ─► one line each
//!       │
//!       ├─► JSON: every result        peers.sh ─► lines of Flink and Jet ─► compare peers ─► JSON
//!       └─► Markdown, SVG, README
//! ```
#![expect(clippy::disallowed_methods, reason = "benches measure by the clock and start threads")]

mod arguments;
mod case;
mod events;
mod latency;
mod nexmark;
mod operator;
mod sink;
mod system;
mod table;

use arguments::Arguments;
use case::{Case, System, Until, Workload};
use std::path::PathBuf;
use table::Options;
use table::report::Report;
use thalweg_benches::alloc::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Error = Box<dyn std::error::Error + Send + Sync>;

const HELP: &str = "\
compare table [--rounds R] [--seconds S] [--only w1,w2] [--peers FILE] [--json FILE] [--markdown FILE] [--svg DIR]
    measures all rows, R rounds of S seconds a run (5 and 4), and prints the table
compare run SYSTEM WORKLOAD [-p P] [--keys K] [--events N | --seconds S]
    runs one system once and prints its line
compare render --from FILE [--peers FILE] [--markdown FILE] [--svg DIR] [--readme FILE]
    writes from a table's JSON; the README has the table between <!-- compare:begin --> and <!-- compare:end -->
compare peers --lines FILE --json FILE
    reads the lines that peers.sh has collected";

fn main() -> Result<(), Error> {
    thalweg_benches::now_ns();
    let words: Vec<_> = std::env::args().skip(1).collect();
    let command = format!("cargo run --release -- {}", words.join(" "));
    let mut arguments = Arguments::new(words.into_iter());
    match arguments.word::<String>("command")?.as_str() {
        "run" => run(arguments),
        "table" => table::run(&options(arguments, command)?),
        "render" => render(arguments),
        "peers" => peers(arguments, command),
        "help" | "--help" => {
            println!("{HELP}");
            Ok(())
        }
        other => Err(format!("unknown command '{other}'\n{HELP}").into()),
    }
}

fn run(mut arguments: Arguments) -> Result<(), Error> {
    let parallelism = arguments.option("-p")?.unwrap_or(1);
    let keys = arguments.option("--keys")?;
    let events = arguments.option("--events")?;
    let seconds = arguments.option("--seconds")?.unwrap_or(10);
    let system: System = arguments.word("system")?;
    let workload: Workload = arguments.word("workload")?;
    arguments.finish()?;
    let keys = keys.unwrap_or(workload.default_keys());
    let until = events.map_or(Until::Seconds(seconds), Until::Events);
    if workload.is_latency() && events.is_some() {
        return Err(format!("{workload} runs for --seconds, not for --events").into());
    }
    let case = Case { system, workload, parallelism, keys, until };
    println!("{}", system::run(&case)?.line(&case));
    Ok(())
}

fn options(mut arguments: Arguments, command: String) -> Result<Options, Error> {
    let only = arguments.option::<String>("--only")?;
    let only = only.map(|only| only.split(',').map(str::parse).collect()).transpose()?;
    let options = Options {
        rounds: arguments.option("--rounds")?.unwrap_or(5),
        seconds: arguments.option("--seconds")?.unwrap_or(4),
        only,
        json: arguments.option("--json")?,
        markdown: arguments.option("--markdown")?,
        svg: arguments.option("--svg")?,
        peers: arguments.option("--peers")?,
        command,
    };
    arguments.finish()?;
    if options.rounds == 0 || options.seconds == 0 {
        return Err("--rounds and --seconds are at least 1".into());
    }
    Ok(options)
}

fn render(mut arguments: Arguments) -> Result<(), Error> {
    let from: Option<PathBuf> = arguments.option("--from")?;
    let readme: Option<PathBuf> = arguments.option("--readme")?;
    let options = options(arguments, String::new())?;
    let mut report = Report::read(&from.ok_or("--from is missing: the JSON of a table")?)?;
    if let Some(peers) = &options.peers {
        report.add_apart(&Report::read(peers)?);
    }
    table::write(&report, &options)?;
    let summary = table::markdown::summary(&report);
    match readme {
        Some(readme) => table::readme::write(&readme, &summary),
        None => {
            println!("{summary}");
            Ok(())
        }
    }
}

fn peers(mut arguments: Arguments, command: String) -> Result<(), Error> {
    let lines: Option<PathBuf> = arguments.option("--lines")?;
    let json: Option<PathBuf> = arguments.option("--json")?;
    arguments.finish()?;
    let (Some(lines), Some(json)) = (lines, json) else {
        return Err("--lines and --json name the files to read and to write".into());
    };
    let text = std::fs::read_to_string(&lines)
        .map_err(|error| format!("{} cannot be read: {error}", lines.display()))?;
    table::peers::report(&text, command)?.write(&json)
}
