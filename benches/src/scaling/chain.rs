//! More operators: 1 to 32 maps, put together in four ways, all on one core; beside a plain loop that does the same.
//!
//! | form | between two maps |
//! |---|---|
//! | `fused` | nothing: the chain is one type |
//! | `erased` | `boxed`: a virtual call a batch |
//! | `cut` | `start_new_chain`: an exchange, below which the next operator hangs in the same task |
//! | `tasks` | a slot sharing group of its own: another task on the same core, and a queue |
//!
//! A map is two operations that the compiler cannot join with those of the next one. `ns_per_operator` is what one more costs: the
//! time of an event less that with one operator, by how many there are more.

use super::{Options, Rounds};
use crate::now_ns;
use crate::workload::Meter;
use std::sync::Arc;
use thalweg::prelude::*;

const OPERATORS: [usize; 6] = [1, 2, 4, 8, 16, 32];

#[inline(always)]
fn step(x: u64) -> u64 {
    (x ^ (x >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn one(s: DataStream<u64, impl Chain<u64>>) -> DataStream<u64, impl Chain<u64>> {
    s.map(step)
}

fn two(s: DataStream<u64, impl Chain<u64>>) -> DataStream<u64, impl Chain<u64>> {
    one(one(s))
}

fn four(s: DataStream<u64, impl Chain<u64>>) -> DataStream<u64, impl Chain<u64>> {
    two(two(s))
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

/// What the chain makes of the numbers below `end`.
fn plain<const N: usize>(end: u64) -> u64 {
    (0..end).map(|x| (0..N).fold(x, |x, _| step(x))).fold(0, u64::wrapping_add)
}

fn plain_of(operators: usize, end: u64) -> u64 {
    match operators {
        1 => plain::<1>(end),
        2 => plain::<2>(end),
        4 => plain::<4>(end),
        8 => plain::<8>(end),
        16 => plain::<16>(end),
        _ => plain::<32>(end),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Fused,
    Erased,
    Cut,
    Tasks,
}

const FORMS: [(&str, Form); 4] =
    [("fused", Form::Fused), ("erased", Form::Erased), ("cut", Form::Cut), ("tasks", Form::Tasks)];

pub(super) fn run(options: &Options) -> thalweg::Result<()> {
    let mut ns = [(); FORMS.len()].map(|()| OPERATORS.map(|_| Rounds::default()));
    let mut plain_ns = OPERATORS.map(|_| Rounds::default());
    for _ in 0..options.rounds {
        for (at, operators) in OPERATORS.into_iter().enumerate() {
            for ((_, form), ns) in FORMS.into_iter().zip(&mut ns) {
                let (taken_ns, plain_taken_ns) = measure(options, form, operators)?;
                ns[at].add(taken_ns);
                plain_ns[at].add(plain_taken_ns);
            }
        }
    }
    for ((form, _), ns) in FORMS.into_iter().zip(&ns) {
        print(form, ns);
    }
    print("loop", &plain_ns);
    Ok(())
}

fn print(form: &str, ns: &[Rounds; OPERATORS.len()]) {
    let one = ns[0].median();
    for (operators, ns) in OPERATORS.into_iter().zip(ns) {
        let median = ns.median();
        let each = match operators {
            1 => "-".to_owned(),
            _ => format!("{:.3}", (median - one) / (operators - 1) as f64),
        };
        println!(
            "scaling chain form={form} operators={operators} events_per_s={:.0} ns_per_event={median:.3} least={:.3} most={:.3} ns_per_operator={each}",
            1e9 / median,
            ns.least(),
            ns.most(),
        );
    }
}

/// Nanoseconds an event of a job, and of the loop that checks it.
fn measure(options: &Options, form: Form, operators: usize) -> thalweg::Result<(f64, f64)> {
    let env = options.environment(1);
    let core = options.cores()?[0];
    env.configure(|c| c.cores([core]));
    let meter = Arc::new(Meter::default());
    let source = Numbers { run_ns: options.seconds * 1_000_000_000, meter: meter.clone() };
    let numbers = env.from_source(source, "numbers");
    let sink = Sum { rows: 0, sum: 0, meter: meter.clone() };
    match form {
        Form::Fused => match operators {
            1 => one(numbers).sink_to(sink),
            2 => two(numbers).sink_to(sink),
            4 => four(numbers).sink_to(sink),
            8 => eight(numbers).sink_to(sink),
            16 => sixteen(numbers).sink_to(sink),
            _ => thirty_two(numbers).sink_to(sink),
        },
        Form::Erased => joined(numbers, operators, |s, _| s.map(step).boxed()).sink_to(sink),
        Form::Cut => joined(numbers, operators, |s, at| match at {
            0 => s.map(step).boxed(),
            _ => s.map(step).start_new_chain(),
        })
        .sink_to(sink),
        Form::Tasks => joined(numbers, operators, |s, at| match at {
            0 => s.map(step).boxed(),
            _ => s.map(step).slot_sharing_group(format!("operator {at}")),
        })
        .sink_to(sink),
    };
    env.execute("chain")?;
    let reading = meter.read();
    let begin_ns = now_ns();
    let expected = std::hint::black_box(plain_of(operators, reading.events));
    let plain_taken_ns = now_ns() - begin_ns;
    if (reading.rows, reading.checksum) != (reading.events, expected) {
        return Err(format!(
            "{form:?} of {operators}: {} of {} rows, {:016x} is not {expected:016x}",
            reading.rows, reading.events, reading.checksum,
        )
        .into());
    }
    let events = reading.events.max(1) as f64;
    Ok((reading.seconds * 1e9 / events, plain_taken_ns as f64 / events))
}

fn joined(
    numbers: DataStream<u64, impl Chain<u64>>,
    operators: usize,
    join: impl Fn(DataStream<u64>, usize) -> DataStream<u64>,
) -> DataStream<u64> {
    (0..operators).fold(numbers.boxed(), join)
}

/// 0, 1, 2 and so on, for as long as is asked for; not parallel.
struct Numbers {
    run_ns: u64,
    meter: Arc<Meter>,
}

impl Source for Numbers {
    type Out = u64;
    type Split = NoSplit;
    type Reader = NumbersReader;
    fn is_non_parallel(&self) -> bool {
        true
    }
    fn create_reader(&self, _: &ReaderContext) -> thalweg::Result<NumbersReader> {
        let (run_ns, meter) = (self.run_ns, self.meter.clone());
        Ok(NumbersReader { run_ns, end_ns: None, next: 0, polls: 0, meter })
    }
}

struct NumbersReader {
    run_ns: u64,
    end_ns: Option<u64>,
    next: u64,
    polls: u32,
    meter: Arc<Meter>,
}

impl SourceReader for NumbersReader {
    type Out = u64;
    type Split = NoSplit;

    #[inline(always)]
    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, u64>,
    ) -> thalweg::Result<InputStatus> {
        if self.end_ns.is_none() {
            self.meter.started();
        }
        let end_ns = *self.end_ns.get_or_insert_with(|| now_ns() + self.run_ns);
        let end = self.next + max as u64;
        for x in self.next..end {
            out.collect(x);
        }
        self.next = end;
        self.meter.emitted(max as u64);
        // As in w1: the clock is read every 32 batches.
        self.polls = self.polls.wrapping_add(1);
        match self.polls.is_multiple_of(32) && now_ns() >= end_ns {
            true => Ok(InputStatus::EndOfInput),
            false => Ok(InputStatus::MoreAvailable),
        }
    }
}

#[derive(Clone)]
struct Sum {
    rows: u64,
    sum: u64,
    meter: Arc<Meter>,
}

impl Sink<u64> for Sum {
    #[inline(always)]
    fn write(&mut self, x: u64, _: i64) -> thalweg::Result<()> {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(x);
        Ok(())
    }

    fn finish(&mut self) -> thalweg::Result<SinkStatus> {
        self.meter.finished(self.rows, self.sum);
        Ok(SinkStatus::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_as_long_as_it_says() {
        let by_hand = |operators: usize| {
            (0..100_u64).map(|x| (0..operators).fold(x, |x, _| step(x))).fold(0, u64::wrapping_add)
        };
        for operators in OPERATORS {
            assert_eq!(plain_of(operators, 100), by_hand(operators));
        }
    }
}
