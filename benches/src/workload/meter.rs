//! When a run began to flow, when it ended, and what came out.

use crate::alloc::allocations;
use crate::{now_ns, resident_mib};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by the sources and sinks of a run.
#[derive(Default)]
pub struct Meter {
    state: Mutex<State>,
    emitted: AtomicU64,
}

#[derive(Default)]
struct State {
    started_ns: Option<u64>,
    first_output_ns: Option<u64>,
    allocations_at_start: u64,
    finished_ns: u64,
    allocations_at_end: u64,
    rows: u64,
    checksum: u64,
    resident_mib: f64,
}

/// What a [`Meter`] has seen.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Events that the sources emitted.
    pub events: u64,
    /// Rows that reached the sinks.
    pub rows: u64,
    /// Their digest.
    pub checksum: u64,
    /// From the first poll of a source to the end of the last sink.
    pub seconds: f64,
    /// From the start of the process to the first row at a sink.
    pub first_output_ms: f64,
    /// Resident memory at the end, before the job's state is dropped.
    pub resident_mib: f64,
    /// Heap allocations between the first row and the end.
    pub allocations: u64,
}

impl Meter {
    fn with<R>(&self, code: impl FnOnce(&mut State) -> R) -> R {
        code(&mut self.state.lock().expect("nothing panics while it holds the lock"))
    }

    /// A source is polled for the first time.
    pub fn started(&self) {
        let now = now_ns();
        self.with(|state| state.started_ns = Some(state.started_ns.unwrap_or(now).min(now)));
    }

    /// A source has emitted so many more events.
    #[inline]
    pub fn emitted(&self, events: u64) {
        self.emitted.fetch_add(events, Ordering::Relaxed);
    }

    /// A sink has got its first row.
    #[cold]
    #[inline(never)]
    pub fn first_output(&self) {
        let (now, allocations) = (now_ns(), allocations());
        self.with(|state| {
            if state.first_output_ns.is_none() {
                state.first_output_ns = Some(now);
                state.allocations_at_start = allocations;
            }
        });
    }

    /// A sink has seen the end of input.
    pub fn finished(&self, rows: u64, checksum: u64) {
        let (now, allocations) = (now_ns(), allocations());
        self.with(|state| {
            state.finished_ns = state.finished_ns.max(now);
            state.allocations_at_end = allocations;
            state.resident_mib = state.resident_mib.max(resident_mib());
            state.rows += rows;
            state.checksum = state.checksum.wrapping_add(checksum);
        });
    }

    /// What it has seen.
    pub fn read(&self) -> Reading {
        let events = self.emitted.load(Ordering::Relaxed);
        self.with(|state| {
            let started_ns = state.started_ns.unwrap_or(state.finished_ns);
            Reading {
                events,
                rows: state.rows,
                checksum: state.checksum,
                seconds: (state.finished_ns - started_ns) as f64 / 1e9,
                first_output_ms: state.first_output_ns.unwrap_or(0) as f64 / 1e6,
                resident_mib: state.resident_mib,
                allocations: state.allocations_at_end.saturating_sub(state.allocations_at_start),
            }
        })
    }
}
