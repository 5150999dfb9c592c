//! `SIGTERM` and `SIGINT` as a wish to stop, for binaries that ask for it
//! ([`JobHandle::stop_on_termination_signal`](super::JobHandle::stop_on_termination_signal)).
//!
//! 1. The first job that asks starts a thread that waits for the two signals, for as long as the process lives.
//! 2. The first signal stops all jobs that asked and have not ended, gracefully; the second cancels them, and their
//!    checkpoints stay whatever `checkpoints_on_cancel` says; the third ends the process.
//! 3. A job that has not ended when its time is over, because user code does not return, is not waited for: the signal
//!    does what it does to every process.
//! 4. When none of the jobs is left the signals do so, too.
//!
//! **Invariants**
//! - A process in which no job asked keeps its signals.
//! - From the first signal to the end of the process it takes a bounded time, or somebody else keeps it alive.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::job_handle::JobHandle;
use super::threads::spawn_named;

/// What a job may take longer than its own limit to stop: its failure and its end take a moment, too.
const GRACE: Duration = Duration::from_secs(2);

/// Linux shows 15 characters of them.
const WAITING_THREAD: &str = "thalweg-signals";
const PATIENT_THREAD: &str = "thalweg-patient";

/// The jobs that asked; signals are the process's, and so is this.
static DESK: Mutex<Desk> = Mutex::new(Desk { jobs: Vec::new(), is_listening: false });

struct Desk {
    jobs: Vec<Watched>,
    is_listening: bool,
}

struct Watched {
    job: JobHandle,
    /// Signals that it was told of.
    told: u32,
}

/// What a signal means for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Stop,
    Halt,
    EndProcess,
}

/// Of the so-many-th signal, from 1.
fn wish_of(told: u32) -> Wish {
    match told {
        0 | 1 => Wish::Stop,
        2 => Wish::Halt,
        _ => Wish::EndProcess,
    }
}

/// Stops a job at the next signal.
///
/// # Errors
/// If the system refuses the handler or its thread.
pub(super) fn watch(job: JobHandle) -> io::Result<()> {
    let mut desk = DESK.lock().unwrap_or_else(PoisonError::into_inner);
    if !desk.is_listening {
        let signals = Signals::new([SIGTERM, SIGINT])?;
        spawn_named(WAITING_THREAD, move || listen(signals)).map_err(io::Error::other)?;
        desk.is_listening = true;
    }
    desk.jobs.retain(|watched| !watched.job.is_finished());
    if desk.jobs.iter().all(|watched| watched.job.id() != job.id()) {
        desk.jobs.push(Watched { job, told: 0 });
    }
    Ok(())
}

fn listen(mut signals: Signals) {
    for signal in signals.forever() {
        let wishes = wishes();
        if wishes.is_empty() || wishes.iter().any(|(_, wish)| *wish == Wish::EndProcess) {
            end_process(signal);
            continue;
        }
        for (job, wish) in wishes {
            tracing::warn!(job = job.name(), signal, ?wish, "a signal ends the job");
            let limit = match wish {
                Wish::Stop => {
                    job.stop();
                    job.stop_timeout().saturating_add(GRACE)
                }
                Wish::Halt | Wish::EndProcess => {
                    job.halt();
                    GRACE
                }
            };
            be_patient(job, limit, signal);
        }
    }
}

/// What a signal means for the jobs that are left.
fn wishes() -> Vec<(JobHandle, Wish)> {
    let mut desk = DESK.lock().unwrap_or_else(PoisonError::into_inner);
    desk.jobs.retain(|watched| !watched.job.is_finished());
    let tell = |watched: &mut Watched| {
        watched.told += 1;
        (watched.job.clone(), wish_of(watched.told))
    };
    desk.jobs.iter_mut().map(tell).collect()
}

/// Ends the process if the job does not end in time.
fn be_patient(job: JobHandle, limit: Duration, signal: i32) {
    let patient = spawn_named(PATIENT_THREAD, move || {
        if !job.wait_within(limit) {
            tracing::error!(job = job.name(), "has not ended in time; the process ends");
            end_process(signal);
        }
    });
    if let Err(error) = patient {
        tracing::error!("nobody watches how long stopping takes: {error}");
    }
}

/// Does what the signal does to a process without a handler.
fn end_process(signal: i32) {
    if let Err(error) = emulate_default_handler(signal) {
        tracing::error!(signal, "the signal cannot be raised: {error}");
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_stops_the_second_halts_the_third_ends() {
        let order = [1, 2, 3, 4].map(wish_of);
        assert_eq!(order, [Wish::Stop, Wish::Halt, Wish::EndProcess, Wish::EndProcess]);
    }
}
