//! w2 and w3 with renoir's own windows, as a user would write them. They begin at the first record of each key, so their rows
//! are not those of the others: no digest is compared and no ratio printed.

use super::{events, not_written, sink, with_watermarks};
use crate::Error;
use crate::case::{Case, Workload};
use crate::events::Pace;
use crate::sink::Run;
use renoir::prelude::*;

/// Events between two watermarks of all sources: a window is looked at at each of them.
const EVENTS_A_WATERMARK_W2: u64 = 100_000;
const EVENTS_A_WATERMARK_W3: u64 = 60_000;

pub(super) fn build(env: &StreamContext, case: &Case, run: &Run) -> Result<(), Error> {
    let sources = case.parallelism as u64;
    match case.workload {
        Workload::W2 => {
            let events = events(env, case, run, Pace::Dense);
            let counts = with_watermarks(events, EVENTS_A_WATERMARK_W2 / sources)
                .group_by(|event| event.key)
                .window(EventTimeWindow::tumbling(1_000))
                .count()
                .unkey()
                .map(|(key, count)| (key, 0u64, count as u64));
            sink(counts, run);
        }
        Workload::W3 => {
            let events = events(env, case, run, Pace::Sparse);
            let best = with_watermarks(events, EVENTS_A_WATERMARK_W3 / sources)
                .group_by(|event| event.key)
                .window(EventTimeWindow::sliding(3_600_000, 300_000))
                .count()
                .unkey()
                .window_all(EventTimeWindow::tumbling(300_000))
                .fold(Vec::new(), |best: &mut Vec<(u64, u64)>, row: &(u64, usize)| {
                    let (key, count) = (row.0, row.1 as u64);
                    let is_before =
                        |other: &(u64, u64)| other.0 > count || (other.0 == count && other.1 < key);
                    best.insert(best.partition_point(is_before), (count, key));
                    best.truncate(3);
                })
                .drop_key()
                .flat_map(|best| best.into_iter().map(|(count, key)| (key, 0u64, count)));
            sink(best, run);
        }
        _ => return Err(not_written(case)),
    }
    Ok(())
}
