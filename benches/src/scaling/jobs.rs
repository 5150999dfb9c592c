//! More jobs in one engine, on the same cores, at the same time.
//!
//! Each is w1 with a thousand keys and `-p` subtasks, one on each core. For a number of jobs:
//!
//! 1. all run with a fixed number of events, and their results are compared with what is known;
//! 2. all are submitted without an end; `submit_ms` is how long the calls took, `running_ms` until each had emitted something;
//! 3. half a second later their events are counted over the seconds asked for: `total` is the sum of their rates, `fairness` the
//!    smallest by the largest;
//! 4. all are cancelled; `cancel_ms` is how long until nothing of a job was left, one after the other.

use super::known::W1_LAST;
use super::{Options, Rounds};
use crate::now_ns;
use crate::workload::{Event, Events, Outcome, Run, Settings};
use std::collections::HashMap;
use std::thread;
use std::time::Duration;
use thalweg::prelude::*;

const JOBS: [usize; 5] = [1, 2, 4, 8, 16];
const KEYS: u64 = 1_000;
const CHECKED_EVENTS: u64 = 300_000;
const WARM_UP: Duration = Duration::from_millis(500);
/// How long jobs may take to begin.
const PATIENCE_NS: u64 = 30_000_000_000;

pub(super) fn run(options: &Options) -> thalweg::Result<()> {
    let p = options.configuration.parallelism();
    let engine = Engine::builder().configuration(options.configuration.clone());
    let engine = engine.slots(p * JOBS[JOBS.len() - 1]).build()?;
    for jobs in JOBS {
        check(&engine, jobs)?;
    }
    let mut rounds = JOBS.map(|_| Round::default());
    for _ in 0..options.rounds {
        for (jobs, round) in JOBS.into_iter().zip(&mut rounds) {
            measure(&engine, jobs, options.seconds, round)?;
        }
    }
    let one = rounds[0].total.median();
    for (jobs, round) in JOBS.into_iter().zip(&rounds) {
        println!(
            "scaling jobs jobs={jobs} p={p} k={KEYS} total_events_per_s={:.0} least={:.0} most={:.0} times_of_one={:.2} fairness={:.3} fairness_least={:.3} submit_ms={:.2} running_ms={:.2} cancel_ms={:.2}",
            round.total.median(),
            round.total.least(),
            round.total.most(),
            round.total.median() / one,
            round.fairness.median(),
            round.fairness.least(),
            round.submit_ms.median(),
            round.running_ms.median(),
            round.cancel_ms.median(),
        );
    }
    Ok(())
}

#[derive(Default)]
struct Round {
    total: Rounds,
    fairness: Rounds,
    submit_ms: Rounds,
    running_ms: Rounds,
    cancel_ms: Rounds,
}

fn submit(engine: &Engine, settings: &Settings) -> thalweg::Result<(JobHandle, Run)> {
    let run = Run::new(settings);
    let last = |row: &(u64, u64), kept: &mut HashMap<u64, (u64, u64)>| {
        let entry = kept.entry(row.0).or_default();
        *entry = (row.1, entry.1 + 1);
    };
    let job = engine.submit("w1", |env| {
        env.from_source(Events::new(settings, run.meter.clone(), 1000), "events")
            .key_by(|event: &Event| event.key)
            .scan(0u64, |sum, event| {
                *sum += event.value;
                (event.key, *sum)
            })
            .sink_to(run.sink(|(key, sum): &(u64, u64)| key ^ sum, last));
    })?;
    Ok((job, run))
}

/// All jobs at once give what one does.
fn check(engine: &Engine, jobs: usize) -> thalweg::Result<()> {
    let settings = Settings {
        keys: KEYS,
        events: CHECKED_EVENTS,
        seconds: u64::MAX,
        rate: 0,
        with_final: true,
    };
    let submitted =
        (0..jobs).map(|_| submit(engine, &settings)).collect::<thalweg::Result<Vec<_>>>()?;
    for (job, run) in submitted {
        job.wait()?;
        let Outcome { last, .. } = run.outcome();
        if last != Some(W1_LAST) {
            let last = last.unwrap_or(0);
            return Err(format!("one of {jobs} jobs: {last:016x} is not {W1_LAST:016x}").into());
        }
    }
    Ok(())
}

fn measure(engine: &Engine, jobs: usize, seconds: u64, round: &mut Round) -> thalweg::Result<()> {
    let settings =
        Settings { keys: KEYS, events: u64::MAX, seconds: u64::MAX, rate: 0, with_final: false };
    let begin_ns = now_ns();
    let submitted =
        (0..jobs).map(|_| submit(engine, &settings)).collect::<thalweg::Result<Vec<_>>>()?;
    round.submit_ms.add(ms_since(begin_ns));
    let counts =
        || -> Vec<u64> { submitted.iter().map(|(_, run)| run.meter.read().events).collect() };
    while counts().contains(&0) {
        if let Some((job, _)) = submitted.iter().find(|(job, _)| job.is_finished()) {
            job.wait()?;
        }
        if now_ns() > begin_ns + PATIENCE_NS {
            return Err(format!("of {jobs} jobs some have not begun").into());
        }
        thread::sleep(Duration::from_micros(200));
    }
    round.running_ms.add(ms_since(begin_ns));
    thread::sleep(WARM_UP);
    let (before, before_ns) = (counts(), now_ns());
    thread::sleep(Duration::from_secs(seconds));
    let (after, after_ns) = (counts(), now_ns());
    let cancelled_ns = now_ns();
    for (job, _) in &submitted {
        job.cancel();
    }
    for (job, _) in &submitted {
        // It is cancelled, and says so.
        let _ = job.wait();
    }
    round.cancel_ms.add(ms_since(cancelled_ns));
    let elapsed = (after_ns - before_ns) as f64 / 1e9;
    let rates: Vec<f64> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| (after - before) as f64 / elapsed)
        .collect();
    round.total.add(rates.iter().sum());
    round.fairness.add(fairness(&rates));
    Ok(())
}

/// The smallest by the largest.
fn fairness(rates: &[f64]) -> f64 {
    let most = rates.iter().copied().fold(0.0, f64::max);
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
    if most == 0.0 { 0.0 } else { least / most }
}

fn ms_since(begin_ns: u64) -> f64 {
    (now_ns() - begin_ns) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fair() {
        assert_eq!(fairness(&[2.0, 2.0]), 1.0);
        assert_eq!(fairness(&[1.0, 4.0, 2.0]), 0.25);
        assert_eq!(fairness(&[0.0, 0.0]), 0.0);
    }
}
