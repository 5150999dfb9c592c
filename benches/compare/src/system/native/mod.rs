//! The hand-written loop: what the machine allows for the same work with no engine around it. One thread (`alone`), or two
//! that exchange records over rings (`pair`).

mod alone;
mod latency;
mod pair;

use super::not_written;
use crate::Error;
use crate::case::{Case, Measured, System, Workload};
use crate::events::{Event, Named, Pace};
use crate::operator::{
    BestOfShards, END_OF_TIME, NamedCounts, PrefetchedSum, Sessions, ShardOperator, Sliding, Sum,
    Tumbling,
};
use crate::sink::{Row, Run};
use pair::Exchanged;
use thalweg_benches::workload::Outcome;

/// Event time that may pass before a watermark follows.
const DELAY_MS: u64 = 100;

/// What a job's sources emit, and how far event time is when event `i` is out.
struct Input<M, T> {
    make: M,
    time: T,
}

impl<M, T: Fn(u64) -> u64> Input<M, T> {
    fn watermark(&self, last: u64) -> u64 {
        (self.time)(last).saturating_sub(DELAY_MS + 1)
    }
}

pub(super) fn run(case: &Case) -> Result<Measured, Error> {
    let keys = std::hint::black_box(case.keys);
    let is_prefetched = case.system == System::NativePrefetched;
    let outcome = match (case.workload, case.parallelism) {
        (Workload::W5, 2) => return Ok(Measured::latencies(&latency::run(case))),
        (Workload::W1, _) if is_prefetched => {
            run_events(case, keys, Pace::Dense, PrefetchedSum::default)?
        }
        (Workload::W1, _) => run_events(case, keys, Pace::Dense, Sum::default)?,
        (Workload::W2, _) => run_events(case, keys, Pace::Dense, Tumbling::default)?,
        (Workload::W3, _) => hot_keys(case, keys)?,
        (Workload::W4, _) => run_events(case, keys, Pace::Dense, Sessions::default)?,
        (Workload::W7, _) => {
            let input = Input { make: Named::new, time: |i| i / 1000 };
            run_rows(case, &input, NamedCounts::default)?
        }
        _ => return Err(not_written(case)),
    };
    Ok(Measured::throughput(&outcome))
}

fn events(
    keys: u64,
    pace: Pace,
) -> Input<impl Fn(u64) -> Event + Copy + Send + Sync, impl Fn(u64) -> u64 + Copy + Send + Sync> {
    let time = move |i| if pace == Pace::Sparse { i } else { i / 1000 };
    Input { make: move |i| Event::new(i, keys, pace), time }
}

fn run_events<O>(
    case: &Case,
    keys: u64,
    pace: Pace,
    operator: impl Fn() -> O + Sync,
) -> Result<Outcome, Error>
where
    O: ShardOperator<In = Event, Out: Row>,
{
    run_rows(case, &events(keys, pace), operator)
}

/// A job of one operator, whose rows go to a sink beside it.
fn run_rows<O, M, T>(
    case: &Case,
    input: &Input<M, T>,
    operator: impl Fn() -> O + Sync,
) -> Result<Outcome, Error>
where
    O: ShardOperator<In: Exchanged, Out: Row>,
    M: Fn(u64) -> O::In + Sync,
    T: Fn(u64) -> u64 + Sync,
{
    let run = Run::new(&case.settings());
    run_shards(case, input, &run, operator, || {
        let mut sink = run.sink();
        move |row| sink.write(&row)
    })?;
    Ok(run.outcome())
}

/// w3: each shard's best are merged when all have ended.
fn hot_keys(case: &Case, keys: u64) -> Result<Outcome, Error> {
    let run = Run::new(&case.settings());
    let (sender, receiver) = std::sync::mpsc::channel();
    run_shards(case, &events(keys, Pace::Sparse), &run, Sliding::default, || {
        let sender = sender.clone();
        move |best| sender.send(best).expect("it is received below")
    })?;
    drop(sender);
    let mut sink = run.sink();
    let mut out = |row| sink.write(&row);
    let mut all = BestOfShards::default();
    for best in receiver {
        all.record(best, &mut out);
    }
    all.watermark(END_OF_TIME, &mut out);
    drop(sink);
    Ok(run.outcome())
}

fn run_shards<O, M, T, S>(
    case: &Case,
    input: &Input<M, T>,
    run: &Run,
    operator: impl Fn() -> O + Sync,
    sink: impl Fn() -> S,
) -> Result<(), Error>
where
    O: ShardOperator<In: Exchanged>,
    M: Fn(u64) -> O::In + Sync,
    T: Fn(u64) -> u64 + Sync,
    S: FnMut(O::Out) + Send,
{
    match case.parallelism {
        1 => alone::run(run, input, operator(), sink()),
        2 => pair::run(run, input, operator, [sink(), sink()]),
        _ => return Err(not_written(case)),
    }
    Ok(())
}
