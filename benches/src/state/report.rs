//! Lines of results: words and `name=value` fields.

use std::fmt::{Display, Write};

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

    pub(super) fn print(self) {
        println!("{}", self.text);
    }
}

/// The line of a ratio, after the lines of both sides.
pub(super) fn print_ratio(bench: &str, rates: &Rates) {
    Line::new("ratio", bench)
        .number("thalweg/hashbrown", rates.ratio(), 3)
        .number("thalweg_waited_ms", rates.ours_waited_ns as f64 / 1e6, 0)
        .number("hashbrown_waited_ms", rates.plain_waited_ns as f64 / 1e6, 0)
        .print();
}
