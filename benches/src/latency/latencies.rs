//! The histograms of a run, and how they are printed.

use hdrhistogram::Histogram;
use std::fmt;

/// The histograms of a run, in nanoseconds.
#[derive(Clone)]
pub struct Latencies {
    /// From emission.
    pub all: Histogram<u64>,
    /// From the time the event was due: what a queue in front of a slow system would feel.
    pub due: Histogram<u64>,
    /// From emission, only records whose key lives on another subtask than their source.
    pub crossed: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies { all: new_histogram(), due: new_histogram(), crossed: new_histogram() }
    }
}

impl Latencies {
    /// Takes what another run, or another part of this one, has recorded.
    pub fn add(&mut self, other: &Latencies) {
        self.all += &other.all;
        self.due += &other.due;
        self.crossed += &other.crossed;
    }
}

/// Up to a minute, three digits: a fixed size, so that recording never allocates.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds")
}

/// The fields of a line: three times p50, p90, p99, p99.9 and the maximum, in microseconds.
impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in [("", &self.all), ("due_", &self.due), ("crossed_", &self.crossed)]
        {
            for (quantile_name, quantile) in QUANTILES {
                let us = at_us(histogram, quantile);
                write!(f, "{name}{quantile_name}_us={us:.2} ")?;
            }
            write!(f, "{name}max_us={:.1} ", histogram.max() as f64 / 1e3)?;
        }
        write!(f, "samples={}", self.all.len())
    }
}

/// The quantiles that are printed, by name.
pub(crate) const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// A quantile in microseconds.
pub(crate) fn at_us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

/// The share of samples that are above a value.
pub(crate) fn share_above(histogram: &Histogram<u64>, value_ns: f64) -> f64 {
    let total = histogram.len();
    if total == 0 {
        return 0.0;
    }
    let at_most = histogram.count_between(0, value_ns.max(0.0) as u64);
    (total - at_most.min(total)) as f64 / total as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_above_a_value_counts_what_is_above_it() {
        let mut histogram = new_histogram();
        for us in 1..=1_000_u64 {
            histogram.saturating_record(us * 1_000);
        }
        let above = share_above(&histogram, 900_000.0);
        assert!((above - 0.1).abs() < 0.002, "{above}");
        assert_eq!(share_above(&histogram, 2_000_000.0), 0.0);
        assert_eq!(share_above(&new_histogram(), 0.0), 0.0);
    }

    #[test]
    fn a_line_has_all_quantiles_of_all_histograms() {
        let mut latencies = Latencies::default();
        latencies.due.saturating_record(2_000);
        let line = latencies.to_string();
        assert!(line.contains(" due_p999_us=2.00 due_max_us=2.0 crossed_p50_us=0.00 "), "{line}");
        assert!(line.ends_with(" samples=0"), "{line}");
    }
}
