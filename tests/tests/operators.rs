//! Stateless operators, rich functions, process functions and streams that branch and meet: exact results on every shell
//! and parallelism.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use thalweg::prelude::*;
use thalweg_tests::{Lifecycle, On, failure_of, matrix};

matrix![
    stateless_operators_give_the_exact_multiset,
    order_is_kept_within_a_subtask,
    a_long_iterator_is_pulled_as_there_is_room,
    fallible_closures_give_what_plain_ones_give,
    rich_functions_open_and_close_once_a_subtask,
    rich_functions_close_after_a_failure_too,
    factories_make_functions_on_their_cores,
    process_functions_feed_side_outputs,
    a_side_output_can_be_read_twice,
    boxed_streams_feed_several_consumers,
    unions_bring_everything_once,
    connected_streams_keep_both_types,
    names_and_uids_show,
];

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}

fn stateless_operators_give_the_exact_multiset(on: On) {
    let env = on.env();
    let out = env
        .from_sequence(0..=9_999)
        .map(|n| n * 3)
        .filter(|n| n % 2 == 0)
        .flat_map(|n| [n, -n].into_iter().take((n % 3) as usize + 1 + (n % 4) as usize / 2))
        .map(|n| (n, n.to_string()))
        .collect();
    env.execute("stateless").unwrap();
    let expected = (0..=9_999i64)
        .map(|n| n * 3)
        .filter(|n| n % 2 == 0)
        .flat_map(|n| [n, -n].into_iter().take((n % 3) as usize + 1 + (n % 4) as usize / 2))
        .map(|n| (n, n.to_string()));
    assert_eq!(out.take_sorted(), sorted(expected));
}

fn order_is_kept_within_a_subtask(on: On) {
    let env = on.env();
    let out = env
        .from_parallel(|ctx| {
            let subtask = ctx.subtask_index;
            (0..3_000u64).map(move |n| (subtask, n))
        })
        .map(|(subtask, n)| (subtask, n + 1))
        .filter(|(_, n)| n % 7 != 0)
        .flat_map(|(subtask, n)| (0..n % 3).map(move |part| (subtask, n, part)))
        .collect();
    env.execute("in order").unwrap();
    let out = out.take();
    for subtask in 0..on.parallelism {
        let seen: Vec<_> = out.iter().filter(|row| row.0 == subtask).copied().collect();
        let numbers = (1..=3_000u64).filter(|n| n % 7 != 0);
        let expected: Vec<_> =
            numbers.flat_map(|n| (0..n % 3).map(move |part| (subtask, n, part))).collect();
        assert_eq!(seen, expected, "subtask {subtask}");
    }
}

/// Counts what the iterator gave and what the sink took, and keeps the largest difference.
#[derive(Clone, Default)]
struct Lag {
    given: Arc<AtomicU64>,
    taken: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
}

impl Lag {
    fn take(&self) {
        let taken = self.taken.fetch_add(1, Ordering::SeqCst);
        let lag = self.given.load(Ordering::SeqCst).saturating_sub(taken);
        self.most.fetch_max(lag, Ordering::SeqCst);
    }
}

fn a_long_iterator_is_pulled_as_there_is_room(on: On) {
    const ITEMS: u64 = 1_000_000;
    let (env, lag) = (on.env(), Lag::default());
    env.configure(|c| c.page_bytes(4_096).pages_in_flight(2).batch_records(16));
    let (given, taken) = (lag.given.clone(), lag.clone());
    let last = Arc::new(AtomicU64::new(0));
    let ordered = last.clone();
    env.from_elements([ITEMS])
        .flat_map(move |count| {
            let given = given.clone();
            (1..=count).inspect(move |_| _ = given.fetch_add(1, Ordering::Relaxed))
        })
        .set_parallelism(1)
        .global()
        .for_each(move |n: u64| {
            assert_eq!(ordered.swap(n, Ordering::Relaxed), n - 1, "out of order");
            taken.take();
        })
        .disable_chaining();
    env.execute("a long iterator").unwrap();
    assert_eq!(last.load(Ordering::SeqCst), ITEMS);
    assert_eq!(lag.taken.load(Ordering::SeqCst), ITEMS);
    // Two pages of at most 512 records in flight, one being filled, one being read, and their rounding.
    let most = lag.most.load(Ordering::SeqCst);
    assert!(most <= 16_384, "{most} records were in memory at once");
}

fn fallible_closures_give_what_plain_ones_give(on: On) {
    let env = on.env();
    let out = env
        .from_sequence(1..=2_000)
        .try_map(|n| Ok(n.to_string().parse::<i64>()? + 1))
        .try_filter(|n| Ok(n % 3 != 0))
        .try_flat_map(|n| Ok(vec![n; (n % 4) as usize]))
        .collect();
    env.execute("fallible").unwrap();
    let expected = (2..=2_001).filter(|n| n % 3 != 0).flat_map(|n| vec![n; (n % 4) as usize]);
    assert_eq!(out.take_sorted(), sorted(expected));
}

/// Does nothing, as every kind of rich function, but counts; fails at `fails_at`.
#[derive(Clone, Default)]
struct Counted {
    life: Lifecycle,
    fails_at: Option<i64>,
    is_open: bool,
}

impl Counted {
    fn opened(&mut self) -> thalweg::Result<()> {
        assert!(!self.is_open, "opened twice");
        self.is_open = true;
        self.life.open();
        Ok(())
    }
    fn see(&self, n: i64) -> thalweg::Result<i64> {
        assert!(self.is_open, "used before it was opened");
        if self.fails_at == Some(n) { Err(format!("{n} is not wanted").into()) } else { Ok(n) }
    }
    fn closed(&mut self) -> thalweg::Result<()> {
        assert!(self.is_open, "closed twice");
        self.is_open = false;
        self.life.close();
        Ok(())
    }
}

macro_rules! counted {
    ($kind:ident { $($items:tt)* }) => {
        impl $kind for Counted {
            $($items)*
            fn open(&mut self, _: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
                self.opened()
            }
            fn close(&mut self) -> thalweg::Result<()> {
                self.closed()
            }
        }
    };
}

counted!(MapFunction {
    type In = i64;
    type Out = i64;
    fn map(&mut self, n: i64) -> thalweg::Result<i64> {
        self.see(n)
    }
});
counted!(FilterFunction {
    type In = i64;
    fn filter(&mut self, n: &i64) -> thalweg::Result<bool> {
        self.see(*n).map(|_| true)
    }
});
counted!(FlatMapFunction {
    type In = i64;
    type Out = i64;
    fn flat_map(&mut self, n: i64, out: &mut Collector<'_, i64>) -> thalweg::Result<()> {
        out.collect(self.see(n)?);
        Ok(())
    }
});
counted!(ProcessFunction {
    type In = i64;
    type Out = i64;
    fn process_element(
        &mut self,
        n: i64,
        _: &mut ProcessContext<'_>,
        out: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        out.collect(self.see(n)?);
        Ok(())
    }
});
counted!(KeyedProcessFunction {
    type Key = i64;
    type In = i64;
    type Out = i64;
    fn process_element(
        &mut self,
        n: i64,
        _: &mut Context<'_, i64>,
        out: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        out.collect(self.see(n)?);
        Ok(())
    }
});
counted!(CoMapFunction {
    type In1 = i64;
    type In2 = i64;
    type Out = i64;
    fn map1(&mut self, n: i64) -> thalweg::Result<i64> {
        self.see(n)
    }
    fn map2(&mut self, n: i64) -> thalweg::Result<i64> {
        self.see(n)
    }
});
impl Sink<i64> for Counted {
    fn open(&mut self, _: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.opened()
    }
    fn write(&mut self, n: i64, _: i64) -> thalweg::Result<()> {
        self.see(n).map(drop)
    }
    fn close(&mut self) -> thalweg::Result<()> {
        self.closed()
    }
}

/// One operator of each kind; gives the lives of all seven.
fn every_kind(env: &StreamExecutionEnvironment, fails_at: [Option<i64>; 7]) -> [Lifecycle; 7] {
    let functions = fails_at.map(|fails_at| Counted { fails_at, ..Counted::default() });
    let lives = functions.clone().map(|function| function.life);
    let [map, filter, flat_map, process, keyed, co_map, sink] = functions;
    let stream = env
        .from_sequence(1..=999)
        .map_with(map)
        .filter_with(filter)
        .flat_map_with(flat_map)
        .process(process)
        .key_by(|n| n % 10)
        .process(keyed);
    stream.connect(env.from_sequence(1_000..=1_999)).map_with(co_map).sink_to(sink);
    lives
}

fn rich_functions_open_and_close_once_a_subtask(on: On) {
    let env = on.env();
    let lives = every_kind(&env, [None; 7]);
    env.execute("rich").unwrap();
    for (kind, life) in lives.iter().enumerate() {
        assert_eq!(life.counts(), (on.parallelism, on.parallelism), "function {kind}");
    }
}

fn rich_functions_close_after_a_failure_too(on: On) {
    for kind in 0..7 {
        let (env, mut fails_at) = (on.env(), [None; 7]);
        fails_at[kind] = Some(500);
        let lives = every_kind(&env, fails_at);
        assert_eq!(failure_of(&env).message, "500 is not wanted", "function {kind}");
        for (other, life) in lives.iter().enumerate() {
            let (opened, closed) = life.counts();
            assert_eq!(opened, closed, "function {other} when {kind} failed");
        }
    }
}

/// Neither `Clone` nor `Send`.
struct Private(Rc<Cell<i64>>);

impl MapFunction for Private {
    type In = i64;
    type Out = i64;
    fn map(&mut self, n: i64) -> thalweg::Result<i64> {
        self.0.set(self.0.get() + 1);
        Ok(n)
    }
}
impl FilterFunction for Private {
    type In = i64;
    fn filter(&mut self, _: &i64) -> thalweg::Result<bool> {
        self.0.set(self.0.get() + 1);
        Ok(true)
    }
}
impl FlatMapFunction for Private {
    type In = i64;
    type Out = i64;
    fn flat_map(&mut self, n: i64, out: &mut Collector<'_, i64>) -> thalweg::Result<()> {
        out.collect(n);
        out.collect(-n);
        Ok(())
    }
}
impl KeyedProcessFunction for Private {
    type Key = i64;
    type In = i64;
    type Out = i64;
    fn process_element(
        &mut self,
        n: i64,
        _: &mut Context<'_, i64>,
        out: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        self.0.set(self.0.get() + 1);
        out.collect(n);
        Ok(())
    }
}
impl Sink<i64> for Private {
    fn write(&mut self, _: i64, _: i64) -> thalweg::Result<()> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }
}

fn factories_make_functions_on_their_cores(on: On) {
    let (env, made) = (on.env(), Arc::new(AtomicUsize::new(0)));
    let counted = made.clone();
    let make = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Private(Rc::new(Cell::new(0)))
    };
    let stream = env
        .from_sequence(1..=1_000)
        .map_with_factory(make.clone())
        .filter_with_factory(make.clone())
        .flat_map_with_factory(make.clone())
        .key_by(|n| n.abs() % 7)
        .process_factory(make.clone())
        .boxed();
    stream.clone().sink_to_factory(make);
    let out = stream.collect();
    env.execute("factories").unwrap();
    assert_eq!(out.take_sorted(), sorted((1..=1_000).flat_map(|n| [n, -n])));
    assert_eq!(made.load(Ordering::SeqCst), 5 * on.parallelism);
}

/// Sends multiples of 3 and of 5 to the side, and the rest on.
#[derive(Clone)]
struct Sieve {
    threes: OutputTag<i64>,
    fives: OutputTag<String>,
}

impl Sieve {
    fn new() -> Self {
        Sieve { threes: OutputTag::new("threes"), fives: OutputTag::new("fives") }
    }
}

impl ProcessFunction for Sieve {
    type In = i64;
    type Out = i64;
    fn process_element(
        &mut self,
        n: i64,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        if n % 3 == 0 {
            context.output(&self.threes, n);
        }
        if n % 5 == 0 {
            context.output(&self.fives, n.to_string());
        }
        if n % 3 != 0 && n % 5 != 0 {
            out.collect(n);
        }
        Ok(())
    }
}

fn process_functions_feed_side_outputs(on: On) {
    let (env, sieve) = (on.env(), Sieve::new());
    let sieved = env.from_sequence(1..=3_000).process(sieve.clone());
    let threes = sieved.side_output(&sieve.threes).map(|n| n / 3).collect();
    let fives = sieved.side_output(&sieve.fives).rebalance().collect();
    let rest = sieved.key_by(|n| n % 4).scan(0u64, |count, n| (*count += 1, n).1).collect();
    env.execute("sieve").unwrap();
    assert_eq!(threes.take_sorted(), sorted(1..=1_000));
    assert_eq!(fives.take_sorted(), sorted((1..=600).map(|n| (n * 5).to_string())));
    assert_eq!(rest.take_sorted(), sorted((1..=3_000).filter(|n| n % 3 != 0 && n % 5 != 0)));
}

fn a_side_output_can_be_read_twice(on: On) {
    let (env, sieve) = (on.env(), Sieve::new());
    let sieved = env.from_sequence(1..=900).process(sieve.clone());
    let first = sieved.side_output(&sieve.threes).collect();
    let second = sieved.side_output(&sieve.threes).map(|n| -n).collect();
    // Nobody reads `fives`: what goes there is dropped.
    let rest = sieved.collect();
    env.execute("twice").unwrap();
    assert_eq!(first.take_sorted(), sorted((1..=300).map(|n| n * 3)));
    assert_eq!(second.take_sorted(), sorted((1..=300).map(|n| n * -3)));
    assert_eq!(rest.len(), 480);
}

fn boxed_streams_feed_several_consumers(on: On) {
    let (env, calls) = (on.env(), Arc::new(AtomicU64::new(0)));
    let counted = calls.clone();
    let stream = env
        .from_sequence(1..=2_000)
        .map(move |n| (counted.fetch_add(1, Ordering::Relaxed), n).1)
        .boxed();
    let even = stream.clone().filter(|n| n % 2 == 0).map(|n| n.to_string());
    let odd = stream.clone().filter(|n| n % 2 == 1).rebalance().map(|n| n.to_string());
    let diamond = even.union(odd).collect();
    let per_key = stream.key_by(|n| n % 3).reduce(|a, b| a + b).collect();
    env.execute("diamond").unwrap();
    assert_eq!(diamond.take_sorted(), sorted((1..=2_000).map(|n: i64| n.to_string())));
    assert_eq!(per_key.len(), 2_000);
    assert_eq!(calls.load(Ordering::SeqCst), 2_000, "what is upstream runs once");
}

fn unions_bring_everything_once(on: On) {
    let env = on.env();
    let first = env.from_sequence(0..=999);
    let second = env.from_elements(1_000..2_000i64).map(|n| n);
    let others =
        [(2_000, 2_999), (3_000, 3_000)].map(|(low, high)| env.from_sequence(low..=high).boxed());
    let empty = env.from_elements(Vec::<i64>::new()).boxed();
    let all = first.union(second).union_all(others.into_iter().chain([empty])).collect();
    env.execute("union").unwrap();
    assert_eq!(all.take_sorted(), sorted(0..=3_000));
}

/// Emits the numbers doubled, the words as often as they have letters.
#[derive(Clone)]
struct Mixed;
impl CoFlatMapFunction for Mixed {
    type In1 = i64;
    type In2 = String;
    type Out = String;
    fn flat_map1(&mut self, n: i64, out: &mut Collector<'_, String>) -> thalweg::Result<()> {
        out.collect((n * 2).to_string());
        Ok(())
    }
    fn flat_map2(&mut self, word: String, out: &mut Collector<'_, String>) -> thalweg::Result<()> {
        (0..word.len()).for_each(|_| out.collect(word.clone()));
        Ok(())
    }
}

fn connected_streams_keep_both_types(on: On) {
    let env = on.env();
    let words = ["a", "bb", "ccc"].map(String::from);
    let mapped = env
        .from_sequence(1..=100)
        .connect(env.from_elements(words.clone()))
        .map(|n| n.to_string(), |word| word + "!")
        .collect();
    let flat_mapped =
        env.from_sequence(1..=100).connect(env.from_elements(words)).flat_map_with(Mixed).collect();
    env.execute("connect").unwrap();
    let expected =
        (1..=100).map(|n: i64| n.to_string()).chain(["a!", "bb!", "ccc!"].map(String::from));
    assert_eq!(mapped.take_sorted(), sorted(expected));
    let repeated = ["a", "bb", "bb", "ccc", "ccc", "ccc"].map(String::from);
    let expected = (1..=100).map(|n: i64| (n * 2).to_string()).chain(repeated);
    assert_eq!(flat_mapped.take_sorted(), sorted(expected));
}

fn names_and_uids_show(on: On) {
    let env = on.env();
    let stream =
        env.from_sequence(1..=10).name("numbers").map(|n| n * 2).name("twice").uid("twice-1");
    let _out = stream.collect();
    let json = env.explain(thalweg::graph::ExplainFormat::Json).unwrap();
    for part in ["numbers", "twice", "twice-1"] {
        assert!(json.contains(part), "{part} is missing in {json}");
    }
    let result = env.execute("names").unwrap();
    assert_eq!(result.name, "names");
    let vertices: Vec<_> = result.metrics.vertices.iter().map(|v| v.vertex.as_str()).collect();
    assert!(vertices.iter().any(|vertex| vertex.contains("twice")), "{vertices:?}");
}
