//! The table: answers are compared first, then the systems of a row run in turn, round by round, each run in a process of its
//! own.

pub(crate) mod child;
pub(crate) mod machine;
pub(crate) mod markdown;
pub(crate) mod peers;
pub(crate) mod plan;
pub(crate) mod readme;
pub(crate) mod report;
pub(crate) mod svg;

use crate::Error;
use crate::case::{Measured, System, Until, Workload};
use machine::Machine;
use plan::Plan;
use report::{Report, Row, SystemResult};
use std::path::PathBuf;

/// What a table is asked for.
pub(crate) struct Options {
    pub(crate) rounds: usize,
    /// How long a run is.
    pub(crate) seconds: u64,
    pub(crate) only: Option<Vec<Workload>>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    /// Results of systems that run elsewhere.
    pub(crate) peers: Option<PathBuf>,
    /// As it was written.
    pub(crate) command: String,
}

/// Latencies need a second to warm up, and enough samples behind it for the last quantile.
const LATENCY_SECONDS_MIN: u64 = 4;

/// Measures and writes everything that was asked for.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let machine = Machine::read()?;
    if !machine.is_native() {
        return Err("not built with -C target-cpu=native: run cargo in benches/compare, where \
                    .cargo/config.toml says so"
            .into());
    }
    // A file that cannot be read is told before an hour of measuring, not behind it.
    let peers = options.peers.as_deref().map(Report::read).transpose()?;
    let (command, date) = (options.command.clone(), machine::today()?);
    let mut report = Report { command, date, machine, rows: Vec::new() };
    for plan in plan::plans(options.only.as_deref()) {
        report.rows.push(measure(&plan, options)?);
        // What is measured is kept, whatever becomes of the rest.
        if let Some(path) = &options.json {
            report.write(path)?;
        }
    }
    if let Some(peers) = &peers {
        report.add_apart(peers);
    }
    write(&report, options)?;
    println!("{}", markdown::summary(&report));
    Ok(())
}

/// The files that were asked for.
pub(crate) fn write(report: &Report, options: &Options) -> Result<(), Error> {
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    if let Some(path) = &options.markdown {
        report::write(path, &markdown::full(report))?;
    }
    if let Some(directory) = &options.svg {
        std::fs::create_dir_all(directory)?;
        for (name, text) in svg::plots(report) {
            report::write(&directory.join(name), &text)?;
        }
    }
    Ok(())
}

fn measure(plan: &Plan, options: &Options) -> Result<Row, Error> {
    let Plan { workload, parallelism, keys, .. } = *plan;
    let mut results = check(plan)?;
    let seconds = if workload.is_latency() {
        options.seconds.max(LATENCY_SECONDS_MIN)
    } else {
        options.seconds
    };
    for round in 0..options.rounds {
        // The one that begins has the machine as the last row left it: each round another one begins.
        let first = round % results.len();
        for place in (first..results.len()).chain(0..first) {
            let case = plan.case(results[place].system, Until::Seconds(seconds));
            let measured = child::measure(&case)?;
            eprintln!("{}", measured.line(&case));
            results[place].add(&measured);
        }
    }
    Ok(Row { workload, parallelism, keys, results })
}

/// Runs each system on the same events, and compares its answer with Thalweg's, and that with the published one.
fn check(plan: &Plan) -> Result<Vec<SystemResult>, Error> {
    let mut results: Vec<_> = plan.systems.iter().copied().map(SystemResult::new).collect();
    if plan.workload.is_latency() {
        return Ok(results);
    }
    let events = plan.check_events();
    let digest = plan::compared(plan.workload, plan.parallelism);
    let published = plan::published(plan.workload, plan.parallelism, plan.keys);
    let mut expected = published.map(|published| published.digest);
    for result in &mut results {
        if !plan::answers(result.system, plan.workload) {
            continue;
        }
        let case = plan.case(result.system, Until::Events(events));
        let measured = child::measure(&case)?;
        let line = measured.line(&case);
        eprintln!("{line}");
        let found = digest.of(&measured).ok_or_else(|| format!("no digest in '{line}'"))?;
        compare(expected, found, &line)?;
        if let Measured::Throughput { events: emitted, .. } = measured
            && emitted != events
        {
            return Err(format!("{events} events were asked for: '{line}'").into());
        }
        // Thalweg is the first in each row.
        expected = Some(found);
        result.is_checked = true;
    }
    assert_eq!(results[0].system, System::Thalweg, "others are compared with it");
    Ok(results)
}

fn compare(expected: Option<u64>, found: u64, line: &str) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != found => {
            Err(format!("another answer than {expected:016x}: '{line}'").into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_answer_is_an_error() {
        assert!(compare(Some(1), 1, "line").is_ok());
        assert!(compare(None, 2, "line").is_ok());
        assert!(compare(Some(1), 2, "line").is_err());
    }

    #[test]
    fn thalweg_is_the_first_in_each_row() {
        assert!(plan::plans(None).iter().all(|plan| plan.systems[0] == System::Thalweg));
        assert_eq!(plan::plans(Some(&[Workload::W2])).len(), 2);
    }
}
