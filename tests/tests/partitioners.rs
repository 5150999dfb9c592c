//! How records find their subtask, and what cuts a job into tasks.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use thalweg::prelude::*;
use thalweg_tests::{On, Place, WithSubtask, failure_of, matrix};

matrix![
    rebalance_deals_out_evenly,
    shuffle_draws_from_the_seed,
    rescale_stays_near,
    broadcast_reaches_every_subtask,
    global_goes_to_the_first,
    forward_keeps_the_subtask,
    custom_partitioners_choose,
    a_custom_index_out_of_range_fails_the_job,
    an_operator_of_parallelism_one_keeps_order,
    a_partitioner_behind_set_parallelism_is_the_only_one,
    keys_behind_set_parallelism_keep_their_order,
    every_stage_may_have_its_own_parallelism,
    chains_break_where_asked,
    slot_sharing_groups_give_the_same_answers,
];

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}

/// How many records each subtask saw.
fn shares<T>(parallelism: usize, rows: &[Place<T>]) -> Vec<usize> {
    let mut shares = vec![0; parallelism];
    rows.iter().for_each(|row| shares[row.0] += 1);
    shares
}

fn rebalance_deals_out_evenly(on: On) {
    let env = on.env();
    let out = env.from_elements(0..1_000i64).rebalance().map_with(WithSubtask::default()).collect();
    env.execute("rebalance").unwrap();
    let rows = out.take();
    let shares = shares(on.parallelism, &rows);
    assert!(shares.iter().all(|share| *share == 1_000 / on.parallelism), "{shares:?}");
    assert_eq!(sorted(rows.into_iter().map(|row| row.1)), sorted(0..1_000));
}

fn shuffle_draws_from_the_seed(on: On) {
    let run = |seed| {
        let env = on.env();
        env.configure(|c| c.seed(seed));
        let out =
            env.from_elements(0..1_000i64).shuffle().map_with(WithSubtask::default()).collect();
        env.execute("shuffle").unwrap();
        let rows = out.take_sorted();
        assert_eq!(sorted(rows.iter().map(|row| row.1)), sorted(0..1_000));
        let shares = shares(on.parallelism, &rows);
        assert!(shares.iter().all(|share| *share > 600 / on.parallelism), "{shares:?}");
        rows
    };
    assert_eq!(run(1), run(1));
    assert_eq!(run(1) == run(2), on.parallelism == 1);
}

fn rescale_stays_near(on: On) {
    let env = on.env();
    let numbers = env.from_parallel(|ctx| {
        let subtask = ctx.subtask_index;
        (0..400).map(move |n| (subtask, n))
    });
    let out = numbers
        .rescale()
        .map_with(WithSubtask::default())
        .set_parallelism(2 * on.parallelism)
        .collect();
    env.execute("rescale").unwrap();
    let rows = out.take();
    assert_eq!(rows.len(), 400 * on.parallelism);
    for (consumer, (producer, _)) in &rows {
        assert_eq!(consumer / 2, *producer);
    }
    assert!(shares(2 * on.parallelism, &rows).iter().all(|share| *share == 200));
}

fn broadcast_reaches_every_subtask(on: On) {
    let env = on.env();
    let out = env
        .from_elements((0..200i64).map(|n| n.to_string()))
        .broadcast()
        .map_with(WithSubtask::default())
        .collect();
    let direct = env.from_elements(0..10i64).broadcast().collect();
    env.execute("broadcast").unwrap();
    let rows = out.take();
    for subtask in 0..on.parallelism {
        let seen: Vec<_> = rows.iter().filter(|r| r.0 == subtask).map(|r| r.1.clone()).collect();
        assert_eq!(seen, (0..200).map(|n: i64| n.to_string()).collect::<Vec<_>>());
    }
    assert_eq!(direct.len(), 10 * on.parallelism);
}

fn global_goes_to_the_first(on: On) {
    let env = on.env();
    let out = env.from_sequence(1..=1_000).global().map_with(WithSubtask::default()).collect();
    env.execute("global").unwrap();
    assert_eq!(out.take_sorted(), sorted((1..=1_000).map(|n| (0, n))));
}

fn forward_keeps_the_subtask(on: On) {
    let env = on.env();
    let numbers = env.from_parallel(|ctx| {
        let subtask = ctx.subtask_index;
        (0..500).map(move |n| (subtask, n))
    });
    let out = numbers.disable_chaining().forward().map_with(WithSubtask::default()).collect();
    env.execute("forward").unwrap();
    let rows = out.take();
    assert_eq!(rows.len(), 500 * on.parallelism);
    assert!(rows.iter().all(|(subtask, (from, _))| subtask == from));
}

fn custom_partitioners_choose(on: On) {
    let env = on.env();
    let out = env
        .from_sequence(0..=999)
        .partition_custom(|n, count| (*n as usize / 3) % count)
        .map_with(WithSubtask::default())
        .collect();
    env.execute("custom").unwrap();
    let expected = (0..=999).map(|n| ((n as usize / 3) % on.parallelism, n));
    assert_eq!(out.take_sorted(), sorted(expected));
}

fn a_custom_index_out_of_range_fails_the_job(on: On) {
    let env = on.env();
    env.from_elements(0..1_000i64)
        .name("numbers")
        .partition_custom(|n, count| if *n == 321 { count } else { 0 })
        .for_each(|_| ());
    let failure = failure_of(&env);
    let count = on.parallelism;
    let expected =
        format!("the partitioner chose consumer {count} of {count}; give an index below {count}");
    assert_eq!(failure.message, expected);
    assert_eq!((failure.operator.as_str(), failure.record), ("numbers", 322));
}

fn an_operator_of_parallelism_one_keeps_order(on: On) {
    let env = on.env();
    let out =
        env.from_elements(0..3_000i64).map(|n| n).set_parallelism(1).map(|n| n).set_parallelism(1);
    let out = out.collect_at_one();
    env.execute("one by one").unwrap();
    assert!(out.take().into_iter().eq(0..3_000), "out of order");
}

trait CollectAtOne<T> {
    /// Collects in one subtask.
    fn collect_at_one(self) -> Collected<T>;
}
impl<T: Send + 'static, C: Chain<T>> CollectAtOne<T> for DataStream<T, C> {
    fn collect_at_one(self) -> Collected<T> {
        let collected = Collected::default();
        drop(
            self.sink_to(thalweg::connector::sink::CollectSink::into(&collected))
                .set_parallelism(1),
        );
        collected
    }
}

fn a_partitioner_behind_set_parallelism_is_the_only_one(on: On) {
    let env = on.env();
    let out = env
        .from_elements(0..3_000i64)
        .map(|n| n)
        .set_parallelism(1)
        .global()
        .map_with(WithSubtask::default())
        .collect();
    env.execute("global from one").unwrap();
    // One producer, one consumer: order is kept.
    assert!(out.take().into_iter().eq((0..3_000).map(|n| (0, n))), "out of order");
}

fn keys_behind_set_parallelism_keep_their_order(on: On) {
    let env = on.env();
    let out = env
        .from_parallel(|_| 0..3_000i64)
        .set_parallelism(1)
        .key_by(|n| n % 10)
        .scan(-1, |last, n| (std::mem::replace(last, n), n))
        .collect();
    env.execute("keys in order").unwrap();
    let expected = (0..3_000).map(|n| (if n < 10 { -1 } else { n - 10 }, n));
    assert!(out.take_sorted() == sorted(expected), "out of order");
}

fn every_stage_may_have_its_own_parallelism(on: On) {
    let env = on.env();
    let numbers = env.from_parallel(|ctx| {
        let (subtask, parallelism) = (ctx.subtask_index, ctx.parallelism);
        (0..600i64).filter(move |n| *n as usize % parallelism == subtask)
    });
    let out = numbers
        .set_parallelism(3)
        .map(|n| n * 2)
        .set_parallelism(1)
        .filter(|n| n % 3 != 0)
        .key_by(|n| n % 7)
        .scan(0u64, |count, n| (*count += 1, n).1)
        .set_parallelism(4)
        .map_with(WithSubtask::default())
        .set_parallelism(2)
        .collect_at_one();
    env.execute("widths").unwrap();
    let rows = out.take();
    assert!(shares(2, &rows).iter().all(|share| *share > 0));
    let expected = (0..600).map(|n| n * 2).filter(|n| n % 3 != 0);
    assert_eq!(sorted(rows.into_iter().map(|row| row.1)), sorted(expected));
}

fn chains_break_where_asked(on: On) {
    let count = |write: fn(&StreamExecutionEnvironment) -> Collected<i64>, chaining: bool| {
        let env = on.env();
        env.configure(|c| c.chaining(chaining));
        let out = write(&env);
        let result = env.execute("chains").unwrap();
        assert_eq!(out.take_sorted(), sorted((1..=1_000).map(|n| n + 3)));
        result.metrics.vertices.len()
    };
    let chained = |env: &StreamExecutionEnvironment| {
        env.from_sequence(1..=1_000).map(|n| n + 1).map(|n| n + 1).map(|n| n + 1).collect()
    };
    let apart = |env: &StreamExecutionEnvironment| {
        env.from_sequence(1..=1_000)
            .map(|n| n + 1)
            .map(|n| n + 1)
            .disable_chaining()
            .map(|n| n + 1)
            .collect()
    };
    let headed = |env: &StreamExecutionEnvironment| {
        env.from_sequence(1..=1_000)
            .map(|n| n + 1)
            .map(|n| n + 1)
            .start_new_chain()
            .map(|n| n + 1)
            .collect()
    };
    assert_eq!(count(chained, true), 1);
    assert_eq!(count(apart, true), 3);
    assert_eq!(count(headed, true), 2);
    assert!(count(apart, false) >= 3);
    assert!(count(chained, false) >= 1);
}

fn slot_sharing_groups_give_the_same_answers(on: On) {
    let env = on.env();
    let out = env
        .from_sequence(1..=2_000)
        .map(|n| n % 100)
        .slot_sharing_group("heavy")
        .key_by(|n| *n)
        .scan(0u64, |count, n| {
            *count += 1;
            (n, *count)
        })
        .slot_sharing_group("state")
        .collect();
    env.execute("groups").unwrap();
    let mut last = HashMap::new();
    for (key, count) in out.take_sorted() {
        assert_eq!(last.insert(key, count).unwrap_or(0) + 1, count);
    }
    assert!(last.len() == 100 && last.values().all(|count| *count == 20));
}
