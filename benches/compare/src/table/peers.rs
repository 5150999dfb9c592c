//! Reads the lines of the programs on the Java virtual machine, which `peers.sh` has collected, into a report of their own.

use super::machine::{self, Machine};
use super::plan::{Digest, compared, published};
use super::report::Report;
use crate::Error;
use crate::case::{Measured, Quantiles, System, Words, Workload};

/// What a line is about.
struct Subject {
    system: System,
    workload: Workload,
    parallelism: usize,
    keys: u64,
}

/// The report of all lines, in their order. Lines that are tagged as checks have a digest, which must be the published one; a
/// system that has passed the check of a workload counts as checked in all rows of it, with other keys and subtasks too.
pub(crate) fn report(lines: &str, command: String) -> Result<Report, Error> {
    let (date, machine) = (machine::today()?, Machine::read()?);
    let mut report = Report { command, date, machine, rows: Vec::new() };
    let mut checked = Vec::new();
    for line in lines.lines() {
        let Some(subject) = subject(line)? else { continue };
        let Subject { system, workload, parallelism, keys } = subject;
        let words = Words(line);
        if words.find("tag") == Some("check") {
            check(line, &subject)?;
            checked.push((system, workload));
            continue;
        }
        let measured = measured(&words, workload).map_err(|error| {
            format!("{error}; the run has failed, or was too short to be measured")
        })?;
        report.row_mut((workload, parallelism, keys)).result_mut(system).add(&measured);
    }
    for row in &mut report.rows {
        // w6 is the program of w1.
        let workload = if row.workload == Workload::W6 { Workload::W1 } else { row.workload };
        for result in &mut row.results {
            // The published answers to Nexmark are Flink's.
            result.is_checked = checked.contains(&(result.system, workload))
                || matches!(workload, Workload::Nexmark(_));
        }
    }
    Ok(report)
}

/// `None` if the line is not for the table: notes, and variants of a job that it has no column for.
fn subject(line: &str) -> Result<Option<Subject>, Error> {
    let mut heads = line.split_whitespace();
    let (Some(program), Some(job)) = (heads.next(), heads.next()) else { return Ok(None) };
    let words = Words(line);
    let is_default = |name, value| words.find(name).is_none_or(|found| found == value);
    let has_checkpoints = !is_default("ckpt_ms", "0");
    let keys = words.parse("k").unwrap_or(0);
    let system = match (program.split('-').next(), words.find("backend")) {
        (Some("flink"), _) if program == "flink-sql" || job == "w3sql" => System::FlinkSql,
        (Some("flink"), Some("hashmap")) => System::Flink,
        (Some("flink"), Some("rocksdb")) => System::FlinkRocksDb,
        (Some("hazelcast"), _) => System::Jet,
        _ => return Ok(None),
    };
    let workload = match job {
        "w1" if has_checkpoints => Workload::W6,
        "w5" if !is_default("timeout_ms", "0") || words.find("idle_us") == Some("default") => {
            return Ok(None);
        }
        "w5" if has_checkpoints => Workload::W6Latency,
        "w5" if keys != Workload::W5.default_keys() => return Ok(None),
        "w1" | "w2" | "w3" | "w5" => job.parse()?,
        "w3sql" => Workload::W3,
        query if program == "flink-sql" => query.parse()?,
        _ => return Ok(None),
    };
    if !matches!(words.find("tag"), None | Some("-" | "check")) {
        return Ok(None);
    }
    Ok(Some(Subject { system, workload, parallelism: words.parse("p")?, keys }))
}

fn measured(words: &Words<'_>, workload: Workload) -> Result<Measured, Error> {
    if workload.is_latency() {
        let p50_us = words.parse("p50_us")?;
        let (p99_us, p999_us) = (words.parse("p99_us")?, words.parse("p999_us")?);
        let quantiles = Quantiles { p50_us, p99_us, p999_us };
        return Ok(Measured::Latency { quantiles, samples: 0 });
    }
    let events_per_s: f64 = words.parse("events_per_s")?;
    if !events_per_s.is_finite() {
        return Err(format!("no rate in the line '{}'", words.0).into());
    }
    Ok(Measured::Throughput { events: 0, events_per_s, checksum: 0, last: None })
}

fn check(line: &str, subject: &Subject) -> Result<(), Error> {
    let Subject { workload, parallelism, keys, .. } = *subject;
    let Some(published) = published(workload, parallelism, keys) else {
        return Err(format!("nothing is published to compare '{line}' with").into());
    };
    // These programs have the digest of all rows only.
    let is_comparable = compared(workload, parallelism) == Digest::Rows;
    let words = Words(line);
    let found = u64::from_str_radix(words.find("checksum").unwrap_or_default(), 16)?;
    if !is_comparable || words.parse::<u64>("n")? != published.events || found != published.digest {
        return Err(format!("another answer than {:016x}: '{line}'", published.digest).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLINK: &str = "flink-2.3.0 w1 p=1 k=1000 n=1125899906842624 backend=hashmap ckpt_ms=0 timeout_ms=100 tag=- \
                         events_per_s=10200000 checksum=0000000000000000";
    const CHECK: &str = "flink-2.3.0 w1 p=1 k=1000 n=300000 backend=hashmap ckpt_ms=0 timeout_ms=100 tag=check \
                         events_per_s=NaN checksum=000001593bdb353e";

    fn read(lines: &[&str]) -> Result<Report, Error> {
        report(&lines.join("\n"), String::new())
    }

    #[test]
    fn lines_become_results() {
        let report = read(&[CHECK, FLINK, "  checkpoints=3 median_ms=4", FLINK]).unwrap();
        let result = report.rows[0].result(System::Flink).unwrap();
        assert_eq!(result.events_per_s, [1.02e7, 1.02e7]);
        assert!(result.is_checked);
    }

    #[test]
    fn jobs_with_checkpoints_are_w6() {
        let line = FLINK.replace("ckpt_ms=0", "ckpt_ms=1000").replace("hashmap", "rocksdb");
        let report = read(&[&line]).unwrap();
        assert_eq!(report.rows[0].workload, Workload::W6);
        assert!(report.rows[0].result(System::FlinkRocksDb).is_some());
    }

    #[test]
    fn another_answer_and_a_run_without_a_rate_are_errors() {
        assert!(read(&[&CHECK.replace("353e", "353f")]).is_err());
        assert!(read(&[&FLINK.replace("10200000", "NaN")]).is_err());
    }

    #[test]
    fn variants_without_a_column_are_left_out() {
        let only_linear = FLINK.replace(" w1 ", " w1c ");
        assert!(read(&[&only_linear, "", "warming up"]).unwrap().rows.is_empty());
    }
}
