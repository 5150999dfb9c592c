//! w5 on renoir, with its default batches (of up to 1,024 records, sent after a millisecond) or with batches of one record.

use crate::case::{Case, System};
use crate::latency::{PacedRun, PacedSource, Stamped};
use renoir::prelude::*;
use std::time::Duration;
use thalweg_benches::now_ns;
use thalweg_benches::workload::Latencies;

/// Waits for the time of the next event. Sources share the cores with the keyed blocks, so they yield instead of spinning.
struct Source(PacedSource);

impl Iterator for Source {
    type Item = Stamped;

    fn next(&mut self) -> Option<Stamped> {
        loop {
            if let Some(event) = self.0.poll(now_ns()) {
                return Some(event);
            }
            if self.0.is_over() {
                return None;
            }
            std::thread::yield_now();
        }
    }
}

pub(super) fn run(env: StreamContext, case: &Case) -> Latencies {
    let mode = match case.system {
        System::RenoirSingle => BatchMode::single(),
        _ => BatchMode::timed(1024, Duration::from_millis(1)),
    };
    let run = PacedRun::new(case);
    let source = run.clone();
    let mut recorder = run.recorder(None);
    let mut sum = 0u64;
    env.stream_par_iter(move |index: u64, of: u64| Source(source.source(index, of)))
        .batch_mode(mode)
        .group_by(|event| event.key)
        .rich_map(move |(_, event): (&u64, Stamped)| {
            sum += event.value;
            (event, sum)
        })
        .for_each(move |(_, (event, sum))| {
            let recorder = &mut recorder;
            std::hint::black_box(sum);
            recorder.record(&event);
        });
    env.execute_blocking();
    run.latencies()
}
