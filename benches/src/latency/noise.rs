//! The engine's own work told apart from the noise of the host.
//!
//! ```text
//! cores 0, 1   engine │ by hand │ engine │ by hand │ ..      a phase is a job, or a pair of threads, of its own
//! core  2      clock  │ clock   │ clock  │ clock   │ ..      where there is one that neither uses
//! ```
//! Two cores that both work leave none to watch from, and a third thread that spins would be the noise. So engine and hand-written
//! threads alternate on the same cores, at the same rate, with the same records and checks. With `-p 1` the other core is free, and
//! a thread on it reads the clock all the time.
//!
//! A phase of the engine is a process of its own, which has ended when the next phase begins: executors of glommio stay with their
//! process and look up a hundred times a second, which would be noise to the hand-written threads.
//!
//! - `merged`: quantiles of all phases together, and their ratios: what is felt here, with the host's share.
//! - `best`: the smallest quantile of all phases. Noise only adds, so this is closest to what each does by itself.
//! - `control_p999_us`: what the p99.9 of a program without any work would be on this host: by the gaps of the clock if a core is free,
//!   else by those of the hand-written threads, whose loop has a short turn. `above_control` is the share of records above that.
//! - `waited_ms` is how long the threads were ready and other threads of this machine had the core, `stolen_ms` how long the hypervisor gave
//!   it to others, if it says so. What they do not explain the host has done unseen.
//! - `poll_gap_p999_us`: the same from the gaps between two polls of the source, which has the engine's turns in it.

use super::alternating::median;
use super::gaps::Gaps;
use super::host::{allowed_cores, stolen_ms};
use super::latencies::{QUANTILES, at_us, share_above};
use super::pair::{Pair, control};
use super::transfer::{from_text, to_text};
use super::{Latencies, Measurement, Options, Pace, write_job};
use std::process::{Command, Stdio};
use thalweg::prelude::*;

/// Of each phase: the state is small, and phases should lie close together.
const WARM_UP_NS: u64 = 200_000_000;

/// All phases of one side.
#[derive(Default)]
struct Side {
    latencies: Latencies,
    poll_gaps: Gaps,
    waited_ns: u64,
    stolen_ms: u64,
    /// Of each phase, in the order of `QUANTILES`; from when events were due.
    phases: Vec<[f64; QUANTILES.len()]>,
}

impl Side {
    fn add(&mut self, measurement: &Measurement, stolen_ms: u64) {
        let due = &measurement.latencies.due;
        self.phases.push(QUANTILES.map(|(_, quantile)| at_us(due, quantile)));
        self.latencies.add(&measurement.latencies);
        self.poll_gaps.add(&measurement.poll_gaps);
        self.waited_ns += measurement.waited_ns;
        self.stolen_ms += stolen_ms;
    }

    fn of_phases(&self, quantile: usize) -> Vec<f64> {
        self.phases.iter().map(|phase| phase[quantile]).collect()
    }

    fn best(&self, quantile: usize) -> f64 {
        self.of_phases(quantile).into_iter().fold(f64::INFINITY, f64::min)
    }
}

pub(super) fn run(options: &Options) -> thalweg::Result<()> {
    let allowed = match options.configuration.cores() {
        Some(cores) => cores.as_slice().to_vec(),
        None => allowed_cores()?,
    };
    let p = options.configuration.parallelism();
    let Some((cores, free)) = allowed.split_at_checked(p) else {
        return Err(
            format!("-p {p}: there are {} cores, and each needs its own", allowed.len()).into()
        );
    };
    let pace = Pace { warm_up_ns: WARM_UP_NS, ..options.pace(options.rate, false) };
    if options.is_phase {
        let (measurement, gaps) = engine_phase(options, &pace, cores, free.first())?;
        print!("{}", to_text(measurement, gaps));
        return Ok(());
    }
    let (mut engine, mut hand, mut clock) = (Side::default(), Side::default(), Gaps::default());
    for round in 0..options.rounds {
        // Who begins changes too.
        for is_engine in [round % 2 == 0, round % 2 == 1] {
            let stolen = stolen_ms();
            let (measurement, gaps) = match is_engine {
                true => engine_process()?,
                false => hand_phase(&pace, cores, free.first())?,
            };
            let side = if is_engine { &mut engine } else { &mut hand };
            side.add(&measurement, stolen_ms() - stolen);
            clock.add(&gaps);
        }
    }
    print(options, &engine, &hand, free.first().map(|_| &clock));
    Ok(())
}

/// Runs this program again, for one phase of the engine.
fn engine_process() -> thalweg::Result<(Measurement, Gaps)> {
    let output = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--phase")
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("a phase of the engine has failed: {}", output.status).into());
    }
    from_text(&String::from_utf8(output.stdout)?)
}

fn engine_phase(
    options: &Options,
    pace: &Pace,
    cores: &[usize],
    free: Option<&usize>,
) -> thalweg::Result<(Measurement, Gaps)> {
    let env = StreamExecutionEnvironment::with_configuration(options.configuration.clone());
    env.configure(|c| c.cores(cores.iter().copied()));
    let run = write_job(&env, pace);
    let (from_ns, end_ns) = run.measured_ns().ok_or("nothing is filled in first")?;
    let clock = free.map(|core| control(*core, from_ns, end_ns));
    env.execute("latency")?;
    let gaps = clock.map(|clock| clock.join()).transpose();
    let gaps = gaps.map_err(|_| "the thread of the clock has panicked")?.transpose()?;
    Ok((run.measurement()?, gaps.unwrap_or_default()))
}

fn hand_phase(
    pace: &Pace,
    cores: &[usize],
    free: Option<&usize>,
) -> thalweg::Result<(Measurement, Gaps)> {
    let pair = Pair::start(pace, cores);
    let (from_ns, end_ns) = pair.measured_ns().ok_or("nothing is filled in first")?;
    let clock = free.map(|core| control(*core, from_ns, end_ns));
    let measurement = pair.wait()?;
    let gaps = clock.map(|clock| clock.join()).transpose();
    let gaps = gaps.map_err(|_| "the thread of the clock has panicked")?.transpose()?;
    Ok((measurement, gaps.unwrap_or_default()))
}

fn print(options: &Options, engine: &Side, hand: &Side, clock: Option<&Gaps>) {
    let head = format!("{} rate={}", options.head("noise"), options.rate);
    for (name, side) in [("engine", engine), ("hand", hand)] {
        println!(
            "{head} by={name} phases={} {} waited_ms={:.1} stolen_ms={} poll_gap_p999_us={:.2} poll_gap_max_us={:.1}",
            side.phases.len(),
            side.latencies,
            side.waited_ns as f64 / 1e6,
            side.stolen_ms,
            side.poll_gaps.delay_quantile_ns(0.999) / 1e3,
            side.poll_gaps.longest_ns() as f64 / 1e3,
        );
    }
    let (gaps, control) = match clock {
        Some(clock) => (clock, "clock"),
        None => (&hand.poll_gaps, "hand"),
    };
    let control_p999_ns = gaps.delay_quantile_ns(0.999);
    println!(
        "{head} control={control} control_p99_us={:.2} control_p999_us={:.2} control_gaps={} control_gap_max_us={:.1} engine_p999_us={:.2} hand_p999_us={:.2} engine_above_control={:.6} hand_above_control={:.6}",
        gaps.delay_quantile_ns(0.99) / 1e3,
        control_p999_ns / 1e3,
        gaps.count(),
        gaps.longest_ns() as f64 / 1e3,
        at_us(&engine.latencies.due, 0.999),
        at_us(&hand.latencies.due, 0.999),
        share_above(&engine.latencies.due, control_p999_ns),
        share_above(&hand.latencies.due, control_p999_ns),
    );
    for (at, (name, quantile)) in QUANTILES.iter().enumerate() {
        let merged = [engine, hand].map(|side| at_us(&side.latencies.due, *quantile));
        let best = [engine, hand].map(|side| side.best(at));
        let middle = [engine, hand].map(|side| median(&side.of_phases(at)));
        println!(
            "{head} due_{name} merged_engine_us={:.2} merged_hand_us={:.2} merged_times={:.2} median_engine_us={:.2} median_hand_us={:.2} median_times={:.2} best_engine_us={:.2} best_hand_us={:.2} best_times={:.2} engine_adds_us={:.2}",
            merged[0],
            merged[1],
            merged[0] / merged[1],
            middle[0],
            middle[1],
            middle[0] / middle[1],
            best[0],
            best[1],
            best[0] / best[1],
            best[0] - best[1],
        );
    }
}
