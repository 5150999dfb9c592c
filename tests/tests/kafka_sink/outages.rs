//! The broker goes away, and comes back.

use super::support::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use thalweg::config::RestartKind;
use thalweg::connector::kafka::{KafkaErrorKind, KafkaSinkBuilder};
use thalweg::prelude::*;
use thalweg_tests::kafka::Broker;

const NUMBERS: i64 = 60_000;

/// Starts a job that takes some seconds; how many numbers it has read.
fn start(
    env: &StreamExecutionEnvironment,
    builder: KafkaSinkBuilder,
) -> (JobHandle, Arc<AtomicI64>) {
    let read = Arc::new(AtomicI64::new(0));
    let (count, mut pause) = (read.clone(), slowly(10));
    write_numbers(env, NUMBERS, builder, move |n| {
        count.fetch_add(1, Ordering::Relaxed);
        pause(n);
    });
    (env.execute_async("numbers").unwrap(), read)
}

fn wait_for(read: &AtomicI64, count: i64) {
    wait_until("the job has read", || read.load(Ordering::Relaxed) >= count);
}

#[test]
#[ignore = "needs a broker"]
fn a_broker_that_comes_back_in_time_is_waited_for() {
    let broker = Broker::start();
    for topic in ["exactly", "least"] {
        broker.create_topic(topic, 2);
        let env = env(1, None);
        let builder = exactly_once(&broker, topic);
        let builder = if topic == "least" { builder.at_least_once() } else { builder };
        let (job, read) = start(&env, builder);
        wait_for(&read, 5_000);
        broker.kill();
        std::thread::sleep(Duration::from_secs(1));
        broker.start_again();
        wait_for(&read, 20_000);
        broker.freeze();
        std::thread::sleep(Duration::from_secs(2));
        broker.thaw();
        job.wait().unwrap();
        audit(&broker, topic, NUMBERS);
    }
}

#[test]
#[ignore = "needs a broker"]
fn a_broker_that_is_away_for_too_long_fails_the_job_which_goes_on_later() {
    let broker = Broker::start();
    broker.create_topic("away", 2);
    let checkpoints = tempfile::tempdir().unwrap();
    let limit = Duration::from_secs(2);
    let first = env(1, Some(checkpoints.path()));
    let builder = exactly_once(&broker, "away").delivery_timeout(limit);
    let (job, read) = start(&first, builder);
    wait_for(&read, 5_000);
    broker.freeze();
    let error = kafka_failure(job.wait());
    let kinds = [KafkaErrorKind::TimedOut, KafkaErrorKind::Unreachable, KafkaErrorKind::Client];
    assert!(kinds.contains(&error.kind()), "{error}");
    let again = env(1, Some(checkpoints.path()));
    let builder = exactly_once(&broker, "away").startup_timeout(limit);
    write_numbers(&again, NUMBERS, builder, |_| {});
    check_failure(again.execute("numbers"), KafkaErrorKind::Unreachable, &["bootstrap servers"]);
    broker.thaw();
    let again = env(1, Some(checkpoints.path()));
    again.configure(|c| c.restart_strategy(RestartKind::FixedDelay).restart_attempts(5));
    write_numbers(&again, NUMBERS, exactly_once(&broker, "away"), |_| {});
    again.execute("numbers").unwrap();
    audit(&broker, "away", NUMBERS);
}
