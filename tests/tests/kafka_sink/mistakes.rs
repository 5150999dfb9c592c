//! What cannot be is said with its remedy, and never succeeds.

use super::support::*;
use std::time::Duration;
use thalweg::config::RestartKind;
use thalweg::connector::kafka::{KafkaErrorKind, KafkaSink};
use thalweg::prelude::*;
use thalweg_tests::kafka::{Broker, Read};

#[test]
#[ignore = "needs a broker"]
fn an_unknown_topic_is_no_new_one() {
    let broker = Broker::shared();
    for builder in
        [exactly_once(broker, "nowhere"), exactly_once(broker, "nowhere").at_least_once()]
    {
        let env = env(1, None);
        write_numbers(&env, 10, builder, |_| {});
        check_failure(
            env.execute("nowhere"),
            KafkaErrorKind::UnknownTopic,
            &["'nowhere'", "create the topic"],
        );
    }
    broker.create_topic("somewhere", 1);
    let env = env(1, None);
    let sink = numbers(exactly_once(broker, "somewhere")).topic_by(|_| "nowhere".to_owned());
    env.from_elements([(1, "1".to_owned())]).sink_to(sink);
    check_failure(
        env.execute("nowhere"),
        KafkaErrorKind::UnknownTopic,
        &["'nowhere'", "create the topic"],
    );
}

#[test]
#[ignore = "needs a broker"]
fn a_broker_that_is_not_there_is_named() {
    for guarantee in ["least", "exactly"] {
        let builder = KafkaSink::builder("127.0.0.1:9").topic("t").exactly_once("t");
        let builder = if guarantee == "least" { builder.at_least_once() } else { builder };
        let env = env(1, None);
        write_numbers(&env, 10, builder.startup_timeout(Duration::from_secs(2)), |_| {});
        check_failure(env.execute("refused"), KafkaErrorKind::Unreachable, &["bootstrap servers"]);
    }
}

#[test]
#[ignore = "needs a broker"]
fn settings_that_cannot_be_are_refused() {
    let broker = Broker::shared();
    broker.create_topic("settings", 1);
    type Build = fn(&Broker) -> thalweg::connector::kafka::KafkaSinkBuilder;
    let cases: [(Build, &str); 4] = [
        (|broker| KafkaSink::builder(broker.servers()), "call `topic`"),
        (
            |broker| exactly_once(broker, "settings").property("acks", "0"),
            "follows from the guarantee",
        ),
        (
            |broker| exactly_once(broker, "settings").property("no.such.thing", "1"),
            "'no.such.thing'",
        ),
        (
            // More than brokers allow by default.
            |broker| {
                exactly_once(broker, "settings").transaction_timeout(Duration::from_secs(16 * 60))
            },
            "transaction.max.timeout.ms",
        ),
    ];
    for (builder, words) in cases {
        let env = env(1, None);
        write_numbers(&env, 10, builder(broker), |_| {});
        check_failure(env.execute("settings"), KafkaErrorKind::Setting, &[words]);
    }
}

#[test]
fn a_transaction_must_outlive_a_checkpoint() {
    let env = StreamExecutionEnvironment::new();
    env.enable_checkpointing(Duration::from_secs(60));
    let builder = KafkaSink::builder("127.0.0.1:9").topic("t").exactly_once("t");
    write_numbers(&env, 10, builder.transaction_timeout(Duration::from_secs(30)), |_| {});
    let error = env.execute("short").unwrap_err().to_string();
    assert!(error.contains("its transactions time out after 30000 ms"), "{error}");
}

#[test]
#[ignore = "needs a broker"]
fn a_record_that_is_too_large_fails_the_job() {
    let broker = Broker::shared();
    broker.create_topic_with("small", 1, &[("max.message.bytes", "1000")]);
    for builder in [exactly_once(broker, "small"), exactly_once(broker, "small").at_least_once()] {
        let env = env(1, None);
        env.from_elements([(1, "x".repeat(5_000))]).sink_to(numbers(builder));
        check_failure(
            env.execute("large"),
            KafkaErrorKind::TooLarge,
            &["'small'", "max.message.bytes"],
        );
    }
    assert_eq!(committed(broker, "small").len(), 0);
}

#[test]
#[ignore = "needs a broker"]
fn more_than_may_wait_for_checkpoints_is_an_error() {
    let broker = Broker::shared();
    broker.create_topic("ahead", 1);
    let env = StreamExecutionEnvironment::new();
    env.configure(|c| c.parallelism(1).restart_strategy(RestartKind::Never));
    env.enable_checkpointing(Duration::from_secs(300));
    let builder = exactly_once(broker, "ahead").write_ahead_bytes_max(1 << 20);
    write_numbers(&env, 1_000_000, builder, |_| {});
    check_failure(env.execute("ahead"), KafkaErrorKind::Setting, &["write_ahead_bytes_max"]);
    assert_eq!(committed(broker, "ahead").len(), 0);
}

#[test]
#[ignore = "needs a broker"]
fn whoever_comes_later_fences_who_was_there() {
    let broker = Broker::shared();
    broker.create_topic("fenced", 1);
    let first = env(1, None);
    write_numbers(&first, 1_000_000, exactly_once(broker, "fenced"), slowly(20));
    let first = first.execute_async("first").unwrap();
    wait_until("the first has committed", || !committed(broker, "fenced").is_empty());
    let second = env(1, None);
    write_numbers(&second, 10, exactly_once(broker, "fenced"), |_| {});
    second.execute("second").unwrap();
    check_failure(first.wait(), KafkaErrorKind::Fenced, &["transactional id", "prefix of its own"]);
}

#[test]
#[ignore = "needs a broker"]
fn a_transaction_that_was_open_for_too_long_is_said_to_be() {
    let broker = Broker::shared();
    broker.create_topic("expired", 1);
    let env = StreamExecutionEnvironment::new();
    env.configure(|c| c.parallelism(1).restart_strategy(RestartKind::Never));
    let builder = exactly_once(broker, "expired").transaction_timeout(Duration::from_secs(1));
    let (input, records) = thalweg::source::channel::<i64>(16);
    env.from_source(records, "input").map(|n| (n, n.to_string())).sink_to(numbers(builder));
    let job = env.execute_async("expired").unwrap();
    input.blocking_send(1).unwrap();
    wait_until("it is written", || broker.read("expired", Read::Uncommitted).len() == 1);
    // The broker of the tests looks for such transactions each half second.
    std::thread::sleep(Duration::from_secs(3));
    drop(input);
    let words = ["transaction.max.timeout.ms"];
    check_failure(job.wait(), KafkaErrorKind::TransactionExpired, &words);
    assert_eq!(committed(broker, "expired").len(), 0);
}
