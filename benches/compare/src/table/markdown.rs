//! The report as Markdown: a summary for the README, and all that was measured.

use super::report::{Report, Row, Spread, SystemResult};
use crate::case::{Quantiles, System, Workload};
use std::fmt::Write;

/// The tables, one a kind of workload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Throughput,
    Checkpoints,
    Nexmark,
    Latency,
}

const GROUPS: [(Group, &str); 4] = [
    (Group::Throughput, "Throughput, million events a second, all cores together"),
    (Group::Nexmark, "Nexmark, million events a second, all cores together"),
    (Group::Checkpoints, "Checkpoints each second, million events a second"),
    (Group::Latency, "Latency at 100,000 events a second, microseconds"),
];

fn group_of(workload: Workload) -> Group {
    match workload {
        Workload::W1 | Workload::W2 | Workload::W3 | Workload::W4 | Workload::W7 => {
            Group::Throughput
        }
        Workload::W6 => Group::Checkpoints,
        Workload::W5 | Workload::W6Latency => Group::Latency,
        Workload::Nexmark(_) => Group::Nexmark,
    }
}

/// For the README: medians and ratios.
pub(crate) fn summary(report: &Report) -> String {
    let mut text = head(report);
    for (group, title) in GROUPS {
        let rows: Vec<_> =
            report.rows.iter().filter(|row| group_of(row.workload) == group).collect();
        if rows.is_empty() {
            continue;
        }
        let table = match group {
            Group::Latency => latency_table(&rows),
            _ => rate_table(&rows),
        };
        push(&mut text, format_args!("\n**{title}**\n\n{table}"));
    }
    text.push_str(&notes(report));
    text
}

/// Everything.
pub(crate) fn full(report: &Report) -> String {
    let mut text = format!("# Compared\n\n{}\n## All results\n\n", summary(report));
    text.push_str("| work | system | median | min | max | Thalweg / it | min | max |\n");
    text.push_str("|---|---|--:|--:|--:|--:|--:|--:|\n");
    for row in &report.rows {
        for result in &row.results {
            for (what, spread) in spreads(result) {
                let (work, system) = (work(row), result.system.title());
                let ratio = row.ratio(result.system).map_or("| | |".to_owned(), |ratio| {
                    format!("| {:.2} | {:.2} | {:.2}", ratio.median, ratio.min, ratio.max)
                });
                let Spread { median, min, max } = spread;
                let cells = format!("{} | {} | {}", number(median), number(min), number(max));
                push(&mut text, format_args!("| {work}{what} | {system} | {cells} {ratio} |\n"));
            }
        }
    }
    text
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes all that is written");
}

/// One of them.
type Quantile = fn(&Quantiles) -> f64;

fn spreads(result: &SystemResult) -> Vec<(&'static str, Spread)> {
    let scaled = result.rate().map(|rate| ("", rate.scaled(1e-6)));
    let quantiles: [(&str, Quantile); 3] = [
        (", p50", |quantiles| quantiles.p50_us),
        (", p99", |quantiles| quantiles.p99_us),
        (", p99.9", |quantiles| quantiles.p999_us),
    ];
    let quantiles =
        quantiles.into_iter().filter_map(|(name, which)| Some((name, result.quantile(which)?)));
    scaled.into_iter().chain(quantiles).collect()
}

fn head(report: &Report) -> String {
    let Report { command, date, machine, .. } = report;
    format!("`{command}`, {date}, on {machine}.\n")
}

fn work(row: &Row) -> String {
    let keys = match row.keys {
        0 => String::new(),
        keys if keys >= 1_000_000 => format!(", {} M keys", keys / 1_000_000),
        keys => format!(", {} k keys", keys / 1_000),
    };
    let threads = if row.parallelism == 1 { "1 core" } else { "2 cores" };
    match row.workload {
        Workload::Nexmark(query) => format!("q{query}, {threads}"),
        workload => format!("{workload} {}{keys}, {threads}", workload.title()),
    }
}

/// Three digits, but no more than two behind the point.
pub(super) fn number(value: f64) -> String {
    match value {
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn rate_table(rows: &[&Row]) -> String {
    let has_rate = |system: System| {
        rows.iter().any(|row| row.result(system).is_some_and(|result| result.rate().is_some()))
    };
    let systems: Vec<_> = System::all().filter(|system| has_rate(*system)).collect();
    let titles: Vec<_> = systems.iter().map(|system| system.title()).collect();
    let mut text = format!("| | {} |\n|---|{}\n", titles.join(" | "), "--:|".repeat(systems.len()));
    for row in rows {
        let cells: Vec<_> = systems.iter().map(|system| rate_cell(row, *system)).collect();
        push(&mut text, format_args!("| {} | {} |\n", work(row), cells.join(" | ")));
    }
    text
}

fn rate_cell(row: &Row, system: System) -> String {
    let Some((result, rate)) = row.result(system).and_then(|result| Some((result, result.rate()?)))
    else {
        return String::new();
    };
    let rate = number(rate.median / 1e6);
    match row.ratio(system) {
        _ if system == System::Thalweg => format!("**{rate}**"),
        Some(ratio) if result.is_apart => format!("{rate} ({}×)*", number(ratio.median)),
        Some(ratio) => {
            let Spread { median, min, max } = ratio;
            format!("{rate} ({}×, {}–{})", number(median), number(min), number(max))
        }
        None => format!("{rate} †"),
    }
}

fn latency_table(rows: &[&Row]) -> String {
    let mut text = "| | system | p50 | p99 | p99.9 |\n|---|---|--:|--:|--:|\n".to_owned();
    for row in rows {
        for system in System::all() {
            let Some(result) = row.result(system) else { continue };
            let cells: Vec<_> = spreads(result)
                .into_iter()
                .map(|(_, Spread { median, min, max })| {
                    format!("{} ({}–{})", number(median), number(min), number(max))
                })
                .collect();
            let apart = if result.is_apart { "*" } else { "" };
            let (work, title) = (work(row), system.title());
            push(&mut text, format_args!("| {work} | {title}{apart} | {} |\n", cells.join(" | ")));
        }
    }
    text
}

fn notes(report: &Report) -> String {
    let results = || report.rows.iter().flat_map(|row| &row.results);
    let rounds = results().filter(|result| !result.is_apart);
    let rounds = rounds.map(|result| result.events_per_s.len().max(result.latencies.len())).max();
    let mut text = format!(
        "\nMedians of {} rounds, in each of which the systems of a row run in turn. In brackets how many times as fast Thalweg \
         is: the median over the rounds of the ratio within one, and its extremes.\n",
        rounds.unwrap_or(0)
    );
    let is_unchecked =
        |result: &SystemResult| !result.is_checked && !result.events_per_s.is_empty();
    if results().any(is_unchecked) {
        text.push_str(
            "† answers another question (its windows begin elsewhere), so there is no ratio.\n",
        );
    }
    if results().any(|result| result.is_apart) {
        text.push_str("\\* measured in a run of its own; the ratio is that of medians.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let check = |value, expected| assert_eq!(number(value), expected);
        check(0.123, "0.12");
        check(9.994, "9.99");
        check(9.996, "10.0");
        check(99.96, "100");
        check(1234.5, "1234");
    }
}
