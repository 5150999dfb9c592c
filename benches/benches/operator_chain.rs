//! Chains of 1 to 32 stateless operators: fused by their types, and erased after every operator.
//!
//! The operators take turns: map, filter, flat_map, map. None drops or adds a record.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::sync::Arc;
use support::{Expected, JobBench, Numbers, Tally};
use thalweg::prelude::*;
use thalweg_benches::workload::Meter;

const RECORDS: u64 = 2_000_000;

fn odd_multiple(x: u64) -> u64 {
    x.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1)
}

/// True for all numbers that the source makes and the maps give; the compiler cannot know.
fn is_kept(x: &u64) -> bool {
    *x != 0x0123_4567_89AB_CDEF
}

fn rotated(x: u64) -> Option<u64> {
    Some(x.rotate_left(7))
}

fn one(s: DataStream<u64, impl Chain<u64>>) -> DataStream<u64, impl Chain<u64>> {
    s.map(odd_multiple)
}

fn two(s: DataStream<u64, impl Chain<u64>>) -> DataStream<u64, impl Chain<u64>> {
    one(s).filter(is_kept)
}

fn four(s: DataStream<u64, impl Chain<u64>>) -> DataStream<u64, impl Chain<u64>> {
    one(two(s).flat_map(rotated))
}

fn eight(s: DataStream<u64, impl Chain<u64>>) -> DataStream<u64, impl Chain<u64>> {
    four(four(s))
}

fn sixteen(s: DataStream<u64, impl Chain<u64>>) -> DataStream<u64, impl Chain<u64>> {
    eight(eight(s))
}

fn thirty_two(s: DataStream<u64, impl Chain<u64>>) -> DataStream<u64, impl Chain<u64>> {
    sixteen(sixteen(s))
}

/// The same with a virtual call a batch between any two.
fn erased(mut s: DataStream<u64>, operators: usize) -> DataStream<u64> {
    for i in 0..operators {
        s = match i % 4 {
            0 | 3 => s.map(odd_multiple).boxed(),
            1 => s.filter(is_kept).boxed(),
            _ => s.flat_map(rotated).boxed(),
        };
    }
    s
}

/// What the chain makes of a number.
fn plain(x: u64, operators: usize) -> Option<u64> {
    (0..operators).try_fold(x, |x, i| match i % 4 {
        0 | 3 => Some(odd_multiple(x)),
        1 => is_kept(&x).then_some(x),
        _ => rotated(x),
    })
}

fn source(
    env: &StreamExecutionEnvironment,
    meter: &Arc<Meter>,
) -> DataStream<u64, impl Chain<u64> + use<>> {
    let meter = meter.clone();
    env.from_reader(move |context| {
        Ok(Numbers::new(context, RECORDS, (|_, i| i) as fn(u64, u64) -> u64, meter.clone()))
    })
}

fn operator_chain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("operator_chain");
    let job = |name, operators: usize| JobBench {
        name,
        parameter: operators.to_string(),
        parallelism: 1,
        records: RECORDS,
        expected: (0..RECORDS).filter_map(|x| plain(x, operators)).collect::<Expected>(),
    };
    macro_rules! fused {
        ($operators:literal, $chain:path) => {
            job("fused", $operators).measure(&mut group, |env, meter| {
                $chain(source(env, meter)).sink_to(Tally::new(meter, |x: &u64| *x));
            });
        };
    }
    fused!(1, one);
    fused!(2, two);
    fused!(4, four);
    fused!(8, eight);
    fused!(16, sixteen);
    fused!(32, thirty_two);
    for operators in [1, 2, 4, 8, 16, 32] {
        job("boxed", operators).measure(&mut group, |env, meter| {
            let stream = erased(source(env, meter).boxed(), operators);
            stream.sink_to(Tally::new(meter, |x: &u64| *x));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = operator_chain }
criterion_main!(benches);
