//! Allocations an event in the steady state.
//!
//! A thread that does nothing else reads the allocator's count a second after the start and again when the seconds asked for are
//! over; the job runs on for a second. All threads of the process are counted, also those that write no record. The events between are
//! those of the run by its length, so of a count other than zero the quotient is as exact as the rate is steady.
//!
//! Each workload is run three ways, and all workloads one way before the next: executors of glommio stay with the process, timers and all.
//!
//! | `by` | what can allocate |
//! |---|---|
//! | `path` | one slot, plain threads: what a record meets, and nothing else. **The bench fails if w1 or w1p allocates at all**: they have their keys by then. Windows allocate when they open and close. |
//! | `edges` | `-p` slots, plain threads: an edge takes a fresh block where its consumer is more pages behind than it keeps |
//! | `shell` | `-p` slots, the shell that is configured: glommio takes memory for its timers, a thousand times a second if it is asked to look up so often, whatever the records |

use super::Options;
use super::known::{WORKLOADS, Workload};
use crate::alloc::allocations;
use crate::now_ns;
use std::thread;
use std::time::Duration;
use thalweg::config::ShellKind;
use thalweg::prelude::*;

const WARM_UP_SECONDS: u64 = 1;
/// Workloads whose records must not allocate.
const WITHOUT: [&str; 2] = ["w1", "w1p"];

/// How a workload is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Path,
    Edges,
    Shell,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            By::Path => "path",
            By::Edges => "edges",
            By::Shell => "shell",
        }
    }

    fn environment(self, options: &Options) -> StreamExecutionEnvironment {
        let p = options.configuration.parallelism();
        let env = options.environment(if self == By::Path { 1 } else { p });
        if self != By::Shell {
            env.configure(|c| c.shell(ShellKind::Threads));
        }
        env
    }
}

pub(super) fn run(options: &Options) -> thalweg::Result<()> {
    let before = allocations();
    drop(std::hint::black_box(Box::new(0_u8)));
    if allocations() == before {
        return Err("the program has no allocator that counts".into());
    }
    let mut broken = Vec::new();
    for by in [By::Path, By::Edges, By::Shell] {
        for workload in &WORKLOADS {
            let name = workload.name;
            workload.check(&by.environment(options))?;
            let p = by.environment(options).configuration()?.parallelism();
            for round in 0..options.rounds {
                let (count, events) = measure(options, workload, by)?;
                println!(
                    "scaling allocations workload={name} by={} p={p} k={} round={round} seconds={} events={events:.0} allocations={count} per_event={:.9}",
                    by.name(),
                    workload.keys,
                    options.seconds,
                    count as f64 / events,
                );
                if by == By::Path && count > 0 && WITHOUT.contains(&name) {
                    broken.push(format!("{name}: {count}"));
                }
            }
        }
    }
    match broken.is_empty() {
        true => Ok(()),
        false => Err(format!("allocations where none should be: {}", broken.join(", ")).into()),
    }
}

/// Allocations of the steady time, and about how many events it had.
fn measure(options: &Options, workload: &Workload, by: By) -> thalweg::Result<(u64, f64)> {
    let run_seconds = options.seconds + 2 * WARM_UP_SECONDS;
    let env = by.environment(options);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            thread::sleep(Duration::from_secs(WARM_UP_SECONDS));
            let (before, begin_ns) = (allocations(), now_ns());
            thread::sleep(Duration::from_secs(options.seconds));
            (allocations() - before, now_ns() - begin_ns)
        });
        let outcome = workload.run(&env, run_seconds);
        let (count, ns) = watch.join().map_err(|_| "the thread that counts has panicked")?;
        let reading = outcome?.reading;
        let rate = reading.events as f64 / reading.seconds;
        Ok((count, rate * ns as f64 / 1e9))
    })
}
