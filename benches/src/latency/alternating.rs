//! The job beside something else, and the same without, in turns.

use super::host::{threads_cpu_ns, written_bytes};
use super::latencies::at_us;
use super::{Latencies, Measurement, Options, Pace, Run, Scratch, write_job};
use crate::now_ns;
use crate::workload::{Settings, running_sum};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use thalweg::config::StateBackend;
use thalweg::prelude::*;

/// State files are written by threads of this name.
const STATE_THREADS: &str = "state-";
/// How long before the end of the measured time the threads are looked at: they end with the job.
const BEFORE_END_NS: u64 = 30_000_000;

/// With a checkpoint a second, and without any; both on files.
pub(super) fn checkpoints(options: &Options) -> thalweg::Result<()> {
    let pace = options.pace(options.rate, true);
    alternate(options, "checkpoints", |has_checkpoints| {
        let scratch = Scratch::new(&options.directory, "latency-checkpoints")?;
        let env = on_files(options, &scratch);
        if has_checkpoints {
            env.enable_checkpointing(Duration::from_secs(1)).at(scratch.path().join("checkpoints"));
        }
        let run = write_job(&env, &pace);
        let job = env.execute_async("latency")?;
        job.wait()?;
        let seen = job.checkpoints();
        if has_checkpoints && seen.completed < options.seconds / 2 {
            let (completed, failure) = (seen.completed, seen.latest_failure.unwrap_or_default());
            return Err(format!("only {completed} checkpoints were complete: {failure}").into());
        }
        let extra = format!(
            "checkpoints={} latest_checkpoint_ms={:.0}",
            seen.completed,
            seen.latest_duration.unwrap_or_default().as_secs_f64() * 1e3,
        );
        Ok((run.measurement()?, extra))
    })
}

/// With less memory than the state takes, so that rows leave it and come back, and files are merged; and with all in memory.
pub(super) fn compaction(options: &Options) -> thalweg::Result<()> {
    let pace = options.pace(options.rate, true);
    alternate(options, "compaction", |has_budget| {
        let scratch = Scratch::new(&options.directory, "latency-compaction")?;
        let env = on_files(options, &scratch);
        if has_budget {
            env.configure(|c| c.slot_memory_mib(options.budget_mib));
        }
        let run = write_job(&env, &pace);
        let job = env.execute_async("latency")?;
        let work = watch_files(&job, &run, &scratch)?;
        job.wait()?;
        if has_budget && work.files_at_end == 0 {
            return Err(format!(
                "nothing was ever merged: --budget-mib {} holds the state of {} keys, or --seconds is too short",
                options.budget_mib, options.keys,
            )
            .into());
        }
        let extra = format!(
            "budget_mib={} files_merged={} files_removed={} sorted_files={} state_threads_cpu_ms={:.0} written_mib={:.1}",
            if has_budget { options.budget_mib.to_string() } else { "-".to_owned() },
            work.files_merged,
            work.files_removed,
            work.files_at_end,
            work.cpu_ms,
            work.written_mib,
        );
        Ok((run.measurement()?, extra))
    })
}

fn on_files(options: &Options, scratch: &Scratch) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::with_configuration(options.configuration.clone());
    env.configure(|c| c.state_backend(StateBackend::Lsm).state_directory(scratch.path()));
    env
}

/// What went on in the background in the measured time.
#[derive(Debug, Default)]
struct BackgroundWork {
    /// Sorted files that came: each is the outcome of merging others.
    files_merged: usize,
    /// Sorted files that went, merged into others.
    files_removed: usize,
    /// Sorted files that were there at last.
    files_at_end: usize,
    cpu_ms: f64,
    written_mib: f64,
}

fn watch_files(job: &JobHandle, run: &Run, scratch: &Scratch) -> thalweg::Result<BackgroundWork> {
    let sorted = || scratch.files("sst");
    let Some((from_ns, end_ns)) = wait_for(job, || run.measured_ns()) else {
        // It has failed, and says so to who waits for it.
        return Ok(BackgroundWork::default());
    };
    sleep_until(from_ns);
    let (files, cpu_ns, written) = (sorted(), threads_cpu_ns(STATE_THREADS), written_bytes());
    sleep_until(end_ns - BEFORE_END_NS.min(end_ns - from_ns));
    let files_at_end = sorted();
    let cpu_ns = threads_cpu_ns(STATE_THREADS).saturating_sub(cpu_ns);
    let written = written_bytes().saturating_sub(written);
    let missing_of = |files: &[PathBuf], others: &[PathBuf]| {
        files.iter().filter(|file| others.binary_search(file).is_err()).count()
    };
    Ok(BackgroundWork {
        files_merged: missing_of(&files_at_end, &files),
        files_removed: missing_of(&files, &files_at_end),
        files_at_end: files_at_end.len(),
        cpu_ms: cpu_ns as f64 / 1e6,
        written_mib: written as f64 / (1 << 20) as f64,
    })
}

/// Waits until there is something to see, or the job has ended.
fn wait_for<T>(job: &JobHandle, look: impl Fn() -> Option<T>) -> Option<T> {
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if job.is_finished() {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn sleep_until(ns: u64) {
    thread::sleep(Duration::from_nanos(ns.saturating_sub(now_ns())));
}

/// With w1 at full speed in the same engine, on the same cores, and alone.
pub(super) fn busy(options: &Options) -> thalweg::Result<()> {
    let pace = options.pace(options.rate, false);
    alternate(options, "busy", |is_busy| {
        let p = options.configuration.parallelism();
        let engine = Engine::builder().configuration(options.configuration.clone());
        let engine = engine.slots(2 * p).build()?;
        thread::scope(|scope| {
            // From before the first event until after the last one.
            let seconds = (pace.warm_up_ns + pace.measured_ns).div_ceil(1_000_000_000) + 1;
            let engine = &engine;
            let neighbour = is_busy.then(|| scope.spawn(move || full_speed(engine, seconds)));
            let measurement = measure_in(engine, &pace);
            let neighbour = neighbour.map(|thread| thread.join()).transpose();
            let rate = match neighbour.map_err(|_| "the job at full speed has panicked")? {
                Some(rate) => format!("busy_events_per_s={:.0}", rate?),
                None => "busy_events_per_s=-".to_owned(),
            };
            Ok((measurement?, rate))
        })
    })
}

fn measure_in(engine: &Engine, pace: &Pace) -> thalweg::Result<Measurement> {
    let env = engine.environment();
    let run = write_job(&env, pace);
    env.execute("latency")?;
    run.measurement()
}

/// Events a second of w1.
fn full_speed(engine: &Engine, seconds: u64) -> thalweg::Result<f64> {
    let settings = Settings { keys: 1_000, events: u64::MAX, seconds, rate: 0, with_final: false };
    let reading = running_sum(&engine.environment(), &settings)?.reading;
    if reading.rows != reading.events {
        let (events, rows) = (reading.events, reading.rows);
        return Err(format!("of {events} events of w1 {rows} came out").into());
    }
    Ok(reading.events as f64 / reading.seconds)
}

/// All runs of one way.
#[derive(Default)]
struct Side {
    latencies: Latencies,
    /// Of each run.
    due_p99_us: Vec<f64>,
    due_p999_us: Vec<f64>,
}

impl Side {
    fn add(&mut self, measurement: &Measurement) {
        let due = &measurement.latencies.due;
        self.due_p99_us.push(at_us(due, 0.99));
        self.due_p999_us.push(at_us(due, 0.999));
        self.latencies.add(&measurement.latencies);
    }
}

/// Runs with and without in turns; `run` is told which, and says what else belongs on the line.
fn alternate(
    options: &Options,
    bench: &str,
    mut run: impl FnMut(bool) -> thalweg::Result<(Measurement, String)>,
) -> thalweg::Result<()> {
    let mut sides = [Side::default(), Side::default()];
    let names = ["no", "yes"];
    let head = format!("{} rate={}", options.head(bench), options.rate);
    for round in 0..options.rounds {
        // Who begins changes too.
        let begins = usize::from(round % 2 == 1);
        for at in [begins, 1 - begins] {
            let (measurement, extra) = run(at == 1)?;
            println!(
                "{head} {bench}={} round={round} achieved={:.0} {} poll_gap_max_us={:.1} waited_ms={:.1} {extra}",
                names[at],
                measurement.achieved_rate(),
                measurement.latencies,
                measurement.poll_gaps.longest_ns() as f64 / 1e3,
                measurement.waited_ns as f64 / 1e6,
            );
            sides[at].add(&measurement);
        }
    }
    for (name, side) in names.iter().zip(&sides) {
        println!("{head} {bench}={name} all_rounds {}", side.latencies);
    }
    let [without, with] = &sides;
    let times =
        |quantile| at_us(&with.latencies.due, quantile) / at_us(&without.latencies.due, quantile);
    println!(
        "{head} {bench}=yes/no due_p50_times={:.2} due_p99_times={:.2} due_p999_times={:.2} median_of_rounds_due_p99_times={:.2} median_of_rounds_due_p999_times={:.2}",
        times(0.5),
        times(0.99),
        times(0.999),
        median(&with.due_p99_us) / median(&without.due_p99_us),
        median(&with.due_p999_us) / median(&without.due_p999_us),
    );
    Ok(())
}

/// The middle one; of an even number the upper of both.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 3.0);
        assert!(median(&[]).is_nan());
    }
}
