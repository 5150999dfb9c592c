//! Lines of results: words and `name=value` fields.

use std::fmt::{Display, Write};

use super::Options;
use super::files::Figures;
use super::growth::GrowthFigures;
use super::pairing::Rates;
use super::stopwatch::Latencies;

/// One line; printed when it is complete.
pub(super) struct Line {
    text: String,
}

impl Line {
    /// `system bench`, the first words of the line.
    pub(super) fn new(system: &str, bench: &str) -> Self {
        Line { text: format!("{system} {bench}") }
    }

    pub(super) fn field(mut self, name: &str, value: impl Display) -> Self {
        write!(self.text, " {name}={value}").expect("writing to a String cannot fail");
        self
    }

    /// A number with so many decimals.
    pub(super) fn number(self, name: &str, value: f64, decimals: usize) -> Self {
        self.field(name, format_args!("{value:.decimals$}"))
    }

    pub(super) fn mib(self, name: &str, bytes: u64) -> Self {
        self.number(name, bytes as f64 / f64::from(1 << 20), 1)
    }

    /// Nanoseconds, as microseconds.
    pub(super) fn us(self, name: &str, ns: u64) -> Self {
        self.number(name, ns as f64 / 1e3, 1)
    }

    /// The quantiles of single calls.
    pub(super) fn latencies(self, latencies: &Latencies) -> Self {
        self.field("p50_ns", latencies.quantile_ns(0.5))
            .field("p99_ns", latencies.quantile_ns(0.99))
            .field("p999_ns", latencies.quantile_ns(0.999))
            .us("longest_us", latencies.longest_ns())
    }

    /// The longest call of growth, and what memory it took.
    pub(super) fn growth(self, growth: &GrowthFigures) -> Self {
        self.us("growth_longest_us", growth.longest.repeated_ns())
            .us("growth_longest_raw_us", growth.longest.raw_ns())
            .mib("rss_mib", growth.resident_bytes)
    }

    pub(super) fn print(self) {
        println!("{}", self.text);
    }
}

/// What a phase has shown of both sides, ours first.
pub(super) struct PhaseReport<'a> {
    pub(super) bench: &'a str,
    pub(super) baseline: &'a str,
    pub(super) options: &'a Options,
    pub(super) rates: &'a Rates,
    pub(super) latencies: [Latencies; 2],
    pub(super) growths: [&'a GrowthFigures; 2],
    pub(super) checkpoints: Option<&'a Figures>,
}

impl PhaseReport<'_> {
    /// Prints a line a side and one for the ratio.
    pub(super) fn print(self) {
        let PhaseReport { bench, baseline, options, rates, .. } = self;
        let mut ours = self.side("thalweg", 0, rates.ours_mops(), options.backend.name());
        if let Some(figures) = self.checkpoints {
            let bytes_per_call = figures.bytes_written as f64 / rates.ours_operations as f64;
            ours = figures.add_to(ours.mib("written_mib", rates.ours_written_bytes)).number(
                "checkpoint_bytes/call",
                bytes_per_call,
                1,
            );
        }
        ours.print();
        self.side(baseline, 1, rates.plain_mops(), "memory").print();
        print_ratio(bench, baseline, rates);
    }

    fn side(&self, system: &str, side: usize, mops: f64, backend: &str) -> Line {
        Line::new(system, self.bench)
            .field("keys", self.options.keys)
            .field("backend", backend)
            .field("events", self.options.keys_are())
            .number("mops", mops, 2)
            .number("ns", 1e3 / mops, 0)
            .latencies(&self.latencies[side])
            .growth(self.growths[side])
    }
}

/// The line of a ratio, after the lines of both sides.
pub(super) fn print_ratio(bench: &str, baseline: &str, rates: &Rates) {
    Line::new("ratio", bench)
        .number(&format!("thalweg/{baseline}"), rates.ratio(), 3)
        .number("thalweg_waited_ms", rates.ours_waited_ns as f64 / 1e6, 0)
        .number(&format!("{baseline}_waited_ms"), rates.plain_waited_ns as f64 / 1e6, 0)
        .print();
}
