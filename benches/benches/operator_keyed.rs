//! A running sum by key, written as `scan`, as a process function with a state handle, and as `reduce`; one subtask.
//!
//! 1,000 keys fit into the first cache, a million outgrow all of a core's own.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use support::{Expected, JobBench, Tally, settings};
use thalweg::prelude::*;
use thalweg_benches::digest::splitmix64;
use thalweg_benches::workload::{Event, Events};

#[derive(Clone, Default)]
struct RunningSum {
    sum: ValueState<u64>,
}

impl KeyedProcessFunction for RunningSum {
    type Key = u64;
    type In = Event;
    type Out = (u64, u64);

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.sum = context.value_state(ValueStateDescriptor::new("sum"))?;
        Ok(())
    }

    #[inline]
    fn process_element(
        &mut self,
        event: Event,
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, (u64, u64)>,
    ) -> thalweg::Result<()> {
        let sum = self.sum.modify(context, |sum| {
            *sum += event.value;
            *sum
        })?;
        out.collect((event.key, sum));
        Ok(())
    }
}

/// key ^ sum of each event, by the plainest loop.
fn expected(keys: u64, records: u64) -> Expected {
    let mut sums = vec![0u64; keys as usize];
    let digests = (0..records).map(|i| {
        let r = splitmix64(i);
        let key = r % keys;
        sums[key as usize] += r >> 48;
        key ^ sums[key as usize]
    });
    digests.collect()
}

fn operator_keyed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("operator_keyed");
    for (keys, records) in [(1_000, 2_000_000), (1_000_000, 3_000_000)] {
        let expected = expected(keys, records);
        let job = |name| {
            let parameter = format!("{keys}_keys");
            JobBench { name, parameter, parallelism: 1, records, expected }
        };
        let settings = settings(keys, records);
        job("scan").measure(&mut group, |env, meter| {
            env.from_source(Events::new(&settings, meter.clone(), 1000), "events")
                .key_by(|event: &Event| event.key)
                .scan(0u64, |sum, event| {
                    *sum += event.value;
                    (event.key, *sum)
                })
                .sink_to(Tally::new(meter, |(key, sum): &(u64, u64)| key ^ sum));
        });
        job("process").measure(&mut group, |env, meter| {
            env.from_source(Events::new(&settings, meter.clone(), 1000), "events")
                .key_by(|event: &Event| event.key)
                .process(RunningSum::default())
                .sink_to(Tally::new(meter, |(key, sum): &(u64, u64)| key ^ sum));
        });
        job("reduce").measure(&mut group, |env, meter| {
            env.from_source(Events::new(&settings, meter.clone(), 1000), "events")
                .key_by(|event: &Event| event.key)
                .reduce(|kept, event| Event { value: kept.value + event.value, ..event })
                .sink_to(Tally::new(meter, |event: &Event| event.key ^ event.value));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = operator_keyed }
criterion_main!(benches);
