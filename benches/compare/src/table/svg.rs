//! Bar charts as SVG: a group of bars for each row, on a logarithmic scale. Narrow enough for a phone; light or dark as the
//! reader's system is.

use super::markdown::number;
use super::report::{Report, Row};
use crate::case::{System, Workload};
use std::fmt::Write;

const WIDTH: f64 = 480.0;
/// Where bars begin and end.
const LEFT: f64 = 12.0;
const RIGHT: f64 = WIDTH - 150.0;
const BAR: f64 = 15.0;
const GAP: f64 = 3.0;

/// Colours that can be told apart in both modes and without red and green (Okabe and Ito, "Color universal design").
const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}.small{font-size:11px}\
.tick{stroke:#d0d7de}.thalweg{fill:#0072b2}.native{fill:#8c959f}.timely{fill:#009e73}.renoir{fill:#e69f00}\
.flink{fill:#d55e00}.jet{fill:#cc79a7}.paper{fill:#ffffff}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.tick{stroke:#30363d}.paper{fill:#0d1117}\
.thalweg{fill:#56b4e9}.native{fill:#6e7681}}";

/// One bar.
struct Bar {
    class: &'static str,
    label: &'static str,
    value: f64,
}

/// The bars of a row, under its title.
struct Bars {
    title: String,
    bars: Vec<Bar>,
}

/// Whether a workload is in a chart.
type IsIn = fn(Workload) -> bool;

/// The charts that the report has something for, with the names of their files.
pub(crate) fn plots(report: &Report) -> Vec<(&'static str, String)> {
    let kinds: [(&str, &str, IsIn); 3] = [
        ("throughput.svg", "million events a second", |workload| {
            !workload.is_latency() && !matches!(workload, Workload::Nexmark(_))
        }),
        ("nexmark.svg", "Nexmark, million events a second", |workload| {
            matches!(workload, Workload::Nexmark(_))
        }),
        ("latency.svg", "median latency in microseconds (less is better)", Workload::is_latency),
    ];
    let plots = kinds.into_iter().filter_map(|(name, title, is_in)| {
        let rows = report.rows.iter().filter(|row| is_in(row.workload));
        let groups: Vec<_> = rows.map(bars).filter(|group| !group.bars.is_empty()).collect();
        (!groups.is_empty()).then(|| (name, plot(title, &groups)))
    });
    plots.collect()
}

fn bars(row: &Row) -> Bars {
    let value = |system| {
        let result = row.result(system)?;
        let rate = result.rate().map(|rate| rate.median / 1e6);
        rate.or_else(|| Some(result.quantile(|quantiles| quantiles.p50_us)?.median))
    };
    let bars = System::all().filter_map(|system| {
        Some(Bar { class: class(system), label: system.title(), value: value(system)? })
    });
    let keys = if row.keys == 0 { String::new() } else { format!(", {} keys", row.keys) };
    let cores = if row.parallelism == 1 { "1 core" } else { "2 cores" };
    let title = match row.workload {
        Workload::Nexmark(_) => format!("{}, {cores}", row.workload),
        workload => format!("{workload}: {}{keys}, {cores}", workload.title()),
    };
    Bars { title, bars: bars.collect() }
}

fn class(system: System) -> &'static str {
    match system {
        System::Thalweg | System::ThalwegBalanced | System::ThalwegWithoutCheckpoints => "thalweg",
        System::Native | System::NativePrefetched => "native",
        System::Timely => "timely",
        System::Renoir | System::RenoirWindows | System::RenoirSingle => "renoir",
        System::Flink | System::FlinkRocksDb | System::FlinkSql => "flink",
        System::Jet => "jet",
    }
}

/// The powers of ten around all values.
fn decades(groups: &[Bars]) -> (i32, i32) {
    let values = || groups.iter().flat_map(|group| &group.bars).map(|bar| bar.value.max(1e-3));
    let least = values().fold(f64::INFINITY, f64::min).log10().floor() as i32;
    let most = values().fold(0.0, f64::max).log10().ceil() as i32;
    (least, most.max(least + 1))
}

fn plot(title: &str, groups: &[Bars]) -> String {
    let (least, most) = decades(groups);
    let place = |value: f64| {
        let share = (value.max(1e-3).log10() - f64::from(least)) / f64::from(most - least);
        LEFT + share * (RIGHT - LEFT)
    };
    let mut body = String::new();
    let mut y = 44.0;
    for group in groups {
        y += 18.0;
        push(&mut body, format_args!("<text x=\"{LEFT}\" y=\"{y}\">{}</text>\n", group.title));
        y += 6.0;
        for Bar { class, label, value } in &group.bars {
            let (width, text) = (place(*value) - LEFT, y + BAR - 3.0);
            let after = LEFT + width + 5.0;
            push(
                &mut body,
                format_args!(
                    "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/>\n\
                     <text class=\"small\" x=\"{after:.1}\" y=\"{text}\">{} {label}</text>\n",
                    number(*value)
                ),
            );
            y += BAR + GAP;
        }
    }
    let height = y + 10.0;
    let mut ticks = String::new();
    for decade in least..=most {
        let value = 10f64.powi(decade);
        let x = place(value);
        push(
            &mut ticks,
            format_args!(
                "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"42\" y2=\"{height}\"/>\n\
                 <text class=\"small\" x=\"{x:.1}\" y=\"38\" text-anchor=\"middle\">{value}</text>\n"
            ),
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n\
         <style>{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"18\">{title}</text>\n{ticks}{body}</svg>\n"
    )
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes all that is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_holds_all_bars() {
        let bar = |value| Bar { class: "timely", label: "timely", value };
        let group = Bars { title: "w1".to_owned(), bars: vec![bar(0.3), bar(120.0)] };
        assert_eq!(decades(std::slice::from_ref(&group)), (-1, 3));
        let text = plot("rates", &[group]);
        assert_eq!(text.matches("<rect class=\"timely\"").count(), 2);
        assert!(!text.contains("NaN") && !text.contains("width=\"-"));
    }
}
