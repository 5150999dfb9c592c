//! Strategies without sense are mistakes of the plan, told with their place.

use std::time::Duration;
use thalweg::prelude::*;

fn mistake(write: impl FnOnce(&StreamExecutionEnvironment)) -> String {
    let env = StreamExecutionEnvironment::new();
    write(&env);
    match env.execute("mistaken") {
        Err(thalweg::Error::Plan(errors)) => errors.to_string(),
        Err(other) => panic!("not a mistake of the plan: {other}"),
        Ok(_) => panic!("the plan should have been refused"),
    }
}

fn strategy() -> WatermarkStrategy<i64> {
    WatermarkStrategy::monotonous()
}

#[test]
fn an_idle_timeout_of_zero() {
    let zero = || strategy().with_idleness(Duration::ZERO);
    let behind = mistake(|env| {
        let numbers = env.from_elements([1_i64]).assign_timestamps_and_watermarks(zero());
        numbers.name("times").for_each(|_| ());
    });
    assert!(behind.contains("operator 'times'"), "{behind}");
    assert!(behind.contains("its idle timeout is zero"), "{behind}");
    let source = mistake(|env| {
        let source = source::DataGeneratorSource::new(|n| n as i64).count(1);
        env.from_source_with(source, zero(), "numbers").for_each(|_| ());
    });
    assert!(source.contains("operator 'numbers'"), "{source}");
    assert!(source.contains("its idle timeout is zero"), "{source}");
}

#[test]
fn an_alignment_that_is_not_at_a_source() {
    let told = mistake(|env| {
        let aligned = strategy().with_alignment("group", seconds(1));
        env.from_elements([1_i64]).assign_timestamps_and_watermarks(aligned).for_each(|_| ());
    });
    assert!(told.contains("give the strategy to from_source_with instead"), "{told}");
    assert!(told.contains(file!()), "{told}");
}

#[test]
fn two_sources_of_a_group_that_disagree() {
    let told = mistake(|env| {
        for (name, drift) in [("a", 1), ("b", 2), ("c", 1)] {
            let source = source::DataGeneratorSource::new(|n| n as i64).count(1);
            let aligned = strategy().with_alignment("group", seconds(drift));
            env.from_source_with(source, aligned, name).for_each(|_| ());
        }
    });
    assert!(told.contains("operator 'b'") && !told.contains("operator 'c'"), "{told}");
    assert!(told.contains("drift of 2000 ms"), "{told}");
}

#[test]
fn the_longest_times_are_taken() {
    let env = StreamExecutionEnvironment::new();
    let longest = WatermarkStrategy::bounded_out_of_orderness(Duration::MAX)
        .with_idleness(Duration::MAX)
        .with_alignment_every("group", Duration::MAX, Duration::MAX);
    let source = source::DataGeneratorSource::new(|n| n as i64).count(100);
    let numbers = env.from_source_with(source, longest, "numbers").collect();
    env.execute("longest").unwrap();
    assert_eq!(numbers.take().len(), 100);
}
