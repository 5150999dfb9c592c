//! Rates from slow to saturation.
//!
//! A rate is **sustained** if 98 of 100 records that were due came out in the time they were due in, and 99 of 100 within 10 ms of
//! when they were due. Rates grow by 1, 2, 5, 10 until one is not; then rates between the last that was and the first that was
//! not are tried, each in the middle of what is left. A rate that fails is tried once more, as a neighbour on the host can spoil
//! any.

use super::latencies::at_us;
use super::{Measurement, Options, run_once};

/// Less of the rate that is asked for is saturation.
const ACHIEVED_MIN: f64 = 0.98;
/// A p99 above this is saturation.
const DUE_P99_US_MAX: f64 = 10_000.0;
/// How often what is left is halved.
const HALVINGS: u32 = 3;
/// No source here comes near: the search ends in any case.
const RATE_MAX: u64 = 1_000_000_000;

pub(super) fn run(options: &Options) -> thalweg::Result<()> {
    let mut search = Search::from(options.rate);
    while let Some(rate) = search.next() {
        let is_sustained = attempt(options, rate)? || attempt(options, rate)?;
        search.tell(rate, is_sustained);
    }
    let rate = |rate: Option<u64>| rate.map_or("-".to_owned(), |rate| rate.to_string());
    println!(
        "{} seconds={} sustained={} saturated={}",
        options.head("saturation"),
        options.seconds,
        rate(search.sustained),
        rate(search.saturated),
    );
    Ok(())
}

/// Was the rate sustained?
fn attempt(options: &Options, rate: u64) -> thalweg::Result<bool> {
    let measurement = run_once(options, &options.pace(rate, false), |_| {})?;
    let is_sustained = is_sustained(rate, &measurement);
    println!(
        "{} rate={rate} achieved={:.0} sustained={is_sustained} {} poll_gap_max_us={:.1} waited_ms={:.1}",
        options.head("sweep"),
        measurement.achieved_rate(),
        measurement.latencies,
        measurement.poll_gaps.longest_ns() as f64 / 1e3,
        measurement.waited_ns as f64 / 1e6,
    );
    Ok(is_sustained)
}

fn is_sustained(rate: u64, measurement: &Measurement) -> bool {
    let due_p99_us = at_us(&measurement.latencies.due, 0.99);
    keeps_up(rate, measurement.achieved_rate(), due_p99_us)
}

fn keeps_up(rate: u64, achieved: f64, due_p99_us: f64) -> bool {
    achieved >= ACHIEVED_MIN * rate as f64 && due_p99_us <= DUE_P99_US_MAX
}

/// Which rate is tried next.
#[derive(Clone, Debug)]
struct Search {
    next: u64,
    sustained: Option<u64>,
    saturated: Option<u64>,
    halvings: u32,
}

impl Search {
    fn from(rate: u64) -> Self {
        Search { next: rate, sustained: None, saturated: None, halvings: 0 }
    }

    fn next(&self) -> Option<u64> {
        let Some(saturated) = self.saturated else {
            return Some(self.next).filter(|rate| *rate <= RATE_MAX);
        };
        // The first rate has failed: there is nothing below to begin with.
        let sustained = self.sustained?;
        let middle = two_digits(sustained.midpoint(saturated));
        let is_new = middle > sustained && middle < saturated;
        Some(middle).filter(|_| is_new && self.halvings < HALVINGS)
    }

    fn tell(&mut self, rate: u64, is_sustained: bool) {
        if self.saturated.is_some() {
            self.halvings += 1;
        }
        if is_sustained {
            self.sustained = Some(rate);
            self.next = following(rate);
        } else {
            self.saturated = Some(rate);
        }
    }
}

/// 1, 2, 5, 10 and so on.
fn following(rate: u64) -> u64 {
    let digits = 10_u64.pow(rate.max(1).ilog10());
    match rate / digits {
        1 => 2 * digits,
        2..=4 => 5 * digits,
        _ => 10 * digits,
    }
}

/// Rounded down to two digits, so that lines are easy to read.
fn two_digits(rate: u64) -> u64 {
    let unit = 10_u64.pow(rate.max(1).ilog10().saturating_sub(1));
    rate / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_or_not() {
        assert!(keeps_up(100_000, 100_010.0, 5.0));
        assert!(keeps_up(100_000, 98_000.0, 10_000.0));
        assert!(!keeps_up(100_000, 97_900.0, 5.0));
        assert!(!keeps_up(100_000, 100_000.0, 10_001.0));
    }

    /// All rates that are tried of a system that sustains `capacity`, and what is found.
    fn search(from: u64, capacity: u64) -> (Vec<u64>, Option<u64>, Option<u64>) {
        let mut search = Search::from(from);
        let mut tried = Vec::new();
        while let Some(rate) = search.next() {
            tried.push(rate);
            search.tell(rate, rate <= capacity);
        }
        (tried, search.sustained, search.saturated)
    }

    #[test]
    fn rates_grow_until_one_fails_and_close_in_on_it() {
        let (tried, sustained, saturated) = search(10_000, 3_900_000);
        assert_eq!(tried[..4], [10_000, 20_000, 50_000, 100_000]);
        assert_eq!(tried[tried.len() - 4..], [5_000_000, 3_500_000, 4_200_000, 3_800_000]);
        assert_eq!((sustained, saturated), (Some(3_800_000), Some(4_200_000)));
    }

    #[test]
    fn a_search_ends_in_any_case() {
        assert_eq!(search(10_000, 0), (vec![10_000], None, Some(10_000)));
        let (tried, sustained, saturated) = search(300_000, u64::MAX);
        assert_eq!(tried.first(), Some(&300_000));
        assert_eq!((sustained, saturated), (Some(RATE_MAX), None));
        assert_eq!(following(1), 2);
        assert_eq!(following(12_345), 20_000);
    }
}
