//! renoir. Where a job is a step per record of a key, it is written with renoir's own keyed operators, as a user would. Its
//! windows begin at the first record of each key instead of at multiples of their size, so w2, w3 and w4 have the hand-written
//! operators of `operator` in a custom one; `renoir-windows` is the job with renoir's windows, which answers another question.

mod custom;
mod latency;
mod nexmark;
mod own_windows;

use super::not_written;
use crate::Error;
use crate::case::{Case, Measured, System, Workload};
use crate::events::{Block, Event, Named, Numbers, Pace};
use crate::operator::{BestOfShards, Sessions, ShardOperator, Sliding, Tumbling};
use crate::sink::{Row, Run};
use custom::apply;
use renoir::Stream;
use renoir::operator::{Operator, Timestamp};
use renoir::prelude::*;

/// Records that go from block to block at once.
const BATCH: usize = 4_096;
const BLOCK: u64 = 512;
const DELAY_MS: i64 = 100;

pub(super) fn run(case: &Case) -> Result<Measured, Error> {
    let env = StreamContext::new(RuntimeConfig::local(case.parallelism as u64)?);
    if case.workload == Workload::W5 {
        return Ok(Measured::latencies(&latency::run(env, case)));
    }
    if let Workload::Nexmark(query) = case.workload {
        return Ok(crate::nexmark::measured(&nexmark::run(env, case, query)?));
    }
    let run = Run::new(&case.settings());
    if case.system == System::RenoirWindows {
        own_windows::build(&env, case, &run)?;
    } else {
        build(&env, case, &run)?;
    }
    env.execute_blocking();
    Ok(Measured::throughput(&run.outcome()))
}

fn build(env: &StreamContext, case: &Case, run: &Run) -> Result<(), Error> {
    match case.workload {
        Workload::W1 => {
            let mut sum = 0u64;
            let sums = events(env, case, run, Pace::Dense)
                .group_by(|event| event.key)
                .rich_map(move |(_, event)| {
                    sum += event.value;
                    sum
                })
                .unkey();
            sink(sums, run);
        }
        Workload::W2 => windows(env, case, run, Tumbling::default()),
        Workload::W4 => windows(env, case, run, Sessions::default()),
        Workload::W3 => {
            let watermarked = with_watermarks(events(env, case, run, Pace::Sparse), BATCH as u64);
            let best = apply(watermarked.group_by(|event| event.key), Sliding::default());
            sink(apply(best.group_by(|best| best.0), BestOfShards::default()), run);
        }
        Workload::W7 => {
            let (mut count, mut cents) = (0u64, 0u64);
            let counts = source(env, run, Named::new)
                .group_by(|event| event.name.clone())
                .rich_map(move |(_, event)| {
                    count += 1;
                    cents += event.cents();
                    (count, cents)
                })
                .unkey()
                .map(|(name, (count, cents))| (name, count, cents));
            sink(counts, run);
        }
        _ => return Err(not_written(case)),
    }
    Ok(())
}

fn windows<O>(env: &StreamContext, case: &Case, run: &Run, operator: O)
where
    O: ShardOperator<In = Event, Out = (u64, u64, u64)> + Clone + Send + 'static,
{
    let events = with_watermarks(events(env, case, run, Pace::Dense), BATCH as u64);
    sink(apply(events.group_by(|event| event.key), operator), run);
}

/// The numbers of a source subtask, one by one.
struct Source<M> {
    numbers: Numbers,
    block: Block,
    make: M,
}

impl<T, M: Fn(u64) -> T> Iterator for Source<M> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        loop {
            if let Some(i) = self.block.next() {
                return Some((self.make)(i));
            }
            self.block = self.numbers.next_block(BLOCK)?;
        }
    }
}

fn source<T, M>(
    env: &StreamContext,
    run: &Run,
    make: M,
) -> Stream<impl Operator<Out = T> + use<T, M>>
where
    T: Clone + Send + 'static,
    M: Fn(u64) -> T + Clone + Send + 'static,
{
    let run = run.clone();
    env.stream_par_iter(move |index: u64, of: u64| Source {
        numbers: Numbers::new(&run.settings, run.meter.clone(), index, of),
        block: Block::EMPTY,
        make,
    })
    .batch_mode(BatchMode::fixed(BATCH))
}

fn events(
    env: &StreamContext,
    case: &Case,
    run: &Run,
    pace: Pace,
) -> Stream<impl Operator<Out = Event> + use<>> {
    let keys = std::hint::black_box(case.keys);
    source(env, run, move |i| Event::new(i, keys, pace))
}

/// Event time and, after each so many events, a watermark.
fn with_watermarks(
    events: Stream<impl Operator<Out = Event> + 'static>,
    every: u64,
) -> Stream<impl Operator<Out = Event>> {
    let mut count = 0u64;
    events.add_timestamps(
        |event: &Event| event.ts as Timestamp,
        move |_: &Event, ts: &Timestamp| {
            count += 1;
            count.is_multiple_of(every).then(|| (*ts - DELAY_MS - 1).max(0))
        },
    )
}

fn sink<R: Row + Send + 'static>(rows: Stream<impl Operator<Out = R> + 'static>, run: &Run) {
    let mut sink = run.sink();
    rows.for_each(move |row| {
        // The whole of it is captured, so that a replica drops one sink.
        let sink = &mut sink;
        sink.write(&row);
    });
}
