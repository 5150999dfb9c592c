//! timely, with the hand-written operators of `operator` in its own. A capability's time is the watermark, in milliseconds; the
//! time of a record is in the record.

mod dataflow;
mod latency;
mod nexmark;

use super::not_written;
use crate::Error;
use crate::case::{Case, Measured, Workload};
use crate::events::{Event, Named, Pace};
use crate::operator::{
    Best, BestOfShards, NamedCounts, Sessions, ShardOperator, Sliding, Sum, Tumbling, route,
    route_name,
};
use crate::sink::Run;
use dataflow::{Rows, emit, keyed, sink, source};
use timely::dataflow::Scope;
use timely::worker::Worker;

pub(super) fn run(case: &Case) -> Result<Measured, Error> {
    match case.workload {
        Workload::W5 => return Ok(Measured::latencies(&latency::run(case)?)),
        Workload::Nexmark(query) => {
            return Ok(crate::nexmark::measured(&nexmark::run(case, query)?));
        }
        Workload::W1 | Workload::W2 | Workload::W3 | Workload::W4 | Workload::W7 => {}
        _ => return Err(not_written(case)),
    }
    let (run, case) = (Run::new(&case.settings()), *case);
    let workers_run = run.clone();
    execute(case.parallelism, move |worker| {
        worker.dataflow::<u64, _, _>(|scope| build(&case, &workers_run, scope));
    })?;
    Ok(Measured::throughput(&run.outcome()))
}

/// Runs the dataflows that `build` makes on so many workers, to their end.
fn execute(
    workers: usize,
    build: impl Fn(&mut Worker) + Send + Sync + 'static,
) -> Result<(), Error> {
    let config =
        if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
    let guards = timely::execute(config, move |worker| {
        build(worker);
        while worker.has_dataflows() {
            worker.step();
        }
    })?;
    for result in guards.join() {
        result?;
    }
    Ok(())
}

fn build(case: &Case, run: &Run, scope: Scope<'_, u64>) {
    let keys = std::hint::black_box(case.keys);
    let by_key = |event: &Event| route(event.key);
    let events = |pace, scope| source(scope, run, move |i| Event::new(i, keys, pace), pace);
    match case.workload {
        Workload::W1 => sink(emit(events(Pace::Dense, scope), by_key, Sum::default()), run),
        Workload::W2 => windows(events(Pace::Dense, scope), Tumbling::default(), run),
        Workload::W4 => windows(events(Pace::Dense, scope), Sessions::default(), run),
        Workload::W3 => {
            let best = keyed(events(Pace::Sparse, scope), by_key, Sliding::default());
            let by_end = |best: &(u64, Best)| route(best.0);
            sink(keyed(best, by_end, BestOfShards::default()), run);
        }
        _ => {
            let events = source(scope, run, Named::new, Pace::Dense);
            sink(
                emit(events, |event: &Named| route_name(&event.name), NamedCounts::default()),
                run,
            );
        }
    }
}

fn windows<'s, O>(events: Rows<'s, Event>, operator: O, run: &Run)
where
    O: ShardOperator<In = Event, Out = (u64, u64, u64)> + 'static,
{
    sink(keyed(events, |event: &Event| route(event.key), operator), run);
}
