//! Edges between tasks: source -> edge -> sink, for records of 24 and 200 bytes and for strings.
//!
//! - `own`: one subtask, so every record stays in its slot;
//! - `rebalance`: two subtasks, half of the records cross to the other core;
//! - `cross`: two subtasks, every record crosses;
//! - `key_by`: two subtasks, hashed by key into a `scan`, about half cross.

mod support;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use std::sync::Arc;
use support::{Expected, JobBench, Numbers, Tally};
use thalweg::prelude::*;
use thalweg_benches::digest::splitmix64;
use thalweg_benches::workload::Meter;

const RECORDS: u64 = 1_000_000;

/// A record that knows who made it.
trait Sent: thalweg::record::Record {
    fn make(producer: u64, i: u64) -> Self;
    fn producer(&self) -> u64;
    fn number(&self) -> u64;
    /// Touches what has to arrive.
    fn digest(&self) -> u64;
}

/// 24 bytes of plain data.
#[thalweg::record]
#[derive(Clone, Copy)]
struct Plain24 {
    producer: u64,
    number: u64,
    value: u64,
}

impl Sent for Plain24 {
    fn make(producer: u64, number: u64) -> Self {
        Plain24 { producer, number, value: splitmix64(number) }
    }
    fn producer(&self) -> u64 {
        self.producer
    }
    fn number(&self) -> u64 {
        self.number
    }
    fn digest(&self) -> u64 {
        self.number ^ self.value
    }
}

/// 200 bytes of plain data.
#[thalweg::record]
#[derive(Clone, Copy)]
struct Plain200 {
    producer: u64,
    number: u64,
    values: [u64; 23],
}

const _: () = assert!(size_of::<Plain24>() == 24 && size_of::<Plain200>() == 200);

impl Sent for Plain200 {
    fn make(producer: u64, number: u64) -> Self {
        Plain200 { producer, number, values: [splitmix64(number); 23] }
    }
    fn producer(&self) -> u64 {
        self.producer
    }
    fn number(&self) -> u64 {
        self.number
    }
    fn digest(&self) -> u64 {
        self.number ^ self.values[22]
    }
}

/// A string of 21 bytes on the heap.
#[thalweg::record]
#[derive(Clone)]
struct Text {
    producer: u64,
    number: u64,
    text: String,
}

impl Sent for Text {
    fn make(producer: u64, number: u64) -> Self {
        let mut text = String::from("record-");
        text.extend((0..14).map(|digit| char::from(b'a' + (number >> (4 * digit)) as u8 % 16)));
        Text { producer, number, text }
    }
    fn producer(&self) -> u64 {
        self.producer
    }
    fn number(&self) -> u64 {
        self.number
    }
    fn digest(&self) -> u64 {
        self.number ^ u64::from(self.text.as_bytes()[7]) ^ self.text.len() as u64
    }
}

fn source<T: Sent>(
    env: &StreamExecutionEnvironment,
    meter: &Arc<Meter>,
) -> DataStream<T, impl Chain<T> + use<T>> {
    let meter = meter.clone();
    env.from_reader(move |context| {
        Ok(Numbers::new(context, RECORDS, T::make as fn(u64, u64) -> T, meter.clone()))
    })
}

fn edges<T: Sent>(group: &mut BenchmarkGroup<'_, WallTime>, record: &str) {
    let expected: Expected = (0..RECORDS).map(|i| T::make(0, i).digest()).collect();
    let job = |name, parallelism| {
        let parameter = record.to_owned();
        JobBench { name, parameter, parallelism, records: RECORDS, expected }
    };
    for (name, parallelism) in [("own", 1), ("rebalance", 2)] {
        job(name, parallelism).measure(group, |env, meter| {
            source::<T>(env, meter).rebalance().sink_to(Tally::new(meter, T::digest));
        });
    }
    job("cross", 2).measure(group, |env, meter| {
        source::<T>(env, meter)
            .partition_custom(|record, consumers| (record.producer() as usize + 1) % consumers)
            .sink_to(Tally::new(meter, T::digest));
    });
    job("key_by", 2).measure(group, |env, meter| {
        source::<T>(env, meter)
            .key_by(|record| record.number() % 1000)
            .scan(0u64, |count, record| {
                *count += 1;
                record
            })
            .sink_to(Tally::new(meter, T::digest));
    });
}

fn exchange_channel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange_channel");
    edges::<Plain24>(&mut group, "plain_24_bytes");
    edges::<Plain200>(&mut group, "plain_200_bytes");
    edges::<Text>(&mut group, "string");
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = exchange_channel }
criterion_main!(benches);
