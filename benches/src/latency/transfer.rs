//! What a phase has measured, as text from the process that ran it to the one that compares.
//!
//! A line is `name value count` of a histogram, or `name value`. Values are those of the histogram's own steps, so both ends have the
//! same one.

use super::Measurement;
use super::gaps::Gaps;
use hdrhistogram::Histogram;
use std::fmt::Write;

type Histograms<'a> = [(&'static str, &'a mut Histogram<u64>); 5];
type Numbers<'a> = [(&'static str, &'a mut u64); 3];

/// Everything of both that is compared, by name.
fn parts<'a>(
    measurement: &'a mut Measurement,
    clock: &'a mut Gaps,
) -> (Histograms<'a>, Numbers<'a>) {
    let latencies = &mut measurement.latencies;
    let (poll_gaps, poll_watched_ns) = measurement.poll_gaps.parts();
    let (clock_gaps, clock_watched_ns) = clock.parts();
    let histograms = [
        ("all", &mut latencies.all),
        ("due", &mut latencies.due),
        ("crossed", &mut latencies.crossed),
        ("poll_gaps", poll_gaps),
        ("clock_gaps", clock_gaps),
    ];
    let numbers = [
        ("poll_watched_ns", poll_watched_ns),
        ("clock_watched_ns", clock_watched_ns),
        ("waited_ns", &mut measurement.waited_ns),
    ];
    (histograms, numbers)
}

pub(super) fn to_text(mut measurement: Measurement, mut clock: Gaps) -> String {
    let mut text = String::new();
    let (histograms, numbers) = parts(&mut measurement, &mut clock);
    for (name, histogram) in histograms {
        for at in histogram.iter_recorded() {
            let (value, count) = (at.value_iterated_to(), at.count_at_value());
            writeln!(text, "{name} {value} {count}").expect("a string takes everything");
        }
    }
    for (name, number) in numbers {
        writeln!(text, "{name} {number}").expect("a string takes everything");
    }
    text
}

/// # Errors
/// What is no such text.
pub(super) fn from_text(text: &str) -> thalweg::Result<(Measurement, Gaps)> {
    let (mut measurement, mut clock) = (Measurement::default(), Gaps::default());
    let (mut histograms, mut numbers) = parts(&mut measurement, &mut clock);
    let mut numbers_seen = 0;
    for line in text.lines() {
        let unknown = || format!("'{line}' is nothing that a phase says");
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            [name, value, count] => {
                let found = histograms.iter_mut().find(|(known, _)| *known == name);
                let (_, histogram) = found.ok_or_else(unknown)?;
                histogram.record_n(value.parse()?, count.parse()?)?;
            }
            [name, value] => {
                let found = numbers.iter_mut().find(|(known, _)| *known == name);
                *found.ok_or_else(unknown)?.1 = value.parse()?;
                numbers_seen += 1;
            }
            _ => return Err(unknown().into()),
        }
    }
    if numbers_seen != numbers.len() {
        return Err("a phase has not said everything".into());
    }
    Ok((measurement, clock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_arrives() {
        let (mut measurement, mut clock) = (Measurement::default(), Gaps::default());
        for ns in [0, 700, 700, 123_456, 59_000_000_000] {
            measurement.latencies.due.saturating_record(ns);
        }
        measurement.waited_ns = 5;
        for ns in [0, 2_000, 9_000_000] {
            clock.saw(ns);
        }
        let (again, clock_again) = from_text(&to_text(measurement.clone(), clock.clone())).unwrap();
        assert_eq!(again.latencies.due, measurement.latencies.due);
        assert_eq!(again.latencies.all.len(), 0);
        assert_eq!(again.waited_ns, 5);
        assert_eq!(clock_again.count(), 2);
        let quantile = |gaps: &Gaps| gaps.delay_quantile_ns(0.9);
        assert!((quantile(&clock_again) - quantile(&clock)).abs() < 1.0);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let text = to_text(Measurement::default(), Gaps::default());
        assert!(from_text(text.lines().next().unwrap()).is_err());
        assert!(from_text(&format!("{text}other 1\n")).is_err());
        assert!(from_text(&format!("{text}due many 1\n")).is_err());
    }
}
