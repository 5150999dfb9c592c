//! What readers see of a job that goes well, and of one that fails and goes on.

use super::support::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thalweg::config::RestartKind;
use thalweg::connector::kafka::{Json, KafkaHeader, KafkaRecord, KafkaSink, Text};
use thalweg::graph::ExplainFormat;
use thalweg::prelude::*;
use thalweg_tests::kafka::{Broker, Read};

#[test]
#[ignore = "needs a broker"]
fn each_guarantee_writes_all_in_order() {
    let broker = Broker::shared();
    for parallelism in [1, 2] {
        for guarantee in ["best", "least", "exactly"] {
            let topic = format!("all-{guarantee}-{parallelism}");
            broker.create_topic(&topic, 3);
            let env = env(parallelism, None);
            let builder = KafkaSink::builder(broker.servers()).topic(&topic);
            let builder = match guarantee {
                "best" => builder.best_effort(),
                "least" => builder.at_least_once(),
                _ => builder.exactly_once(format!("{topic}-writer")),
            };
            write_numbers(&env, 20_000, builder, |_| {});
            env.execute("numbers").unwrap();
            audit(broker, &topic, 20_000);
            if parallelism == 1 {
                let mut last = [0; KEYS as usize];
                for message in settled(broker, &topic) {
                    let n: i64 = message.text().parse().unwrap();
                    let last = &mut last[(n % KEYS) as usize];
                    assert!(*last < n, "{n} of {topic} comes behind {last}");
                    *last = n;
                }
            }
        }
    }
}

#[test]
#[ignore = "needs a broker"]
fn records_are_seen_when_their_checkpoint_is_complete() {
    let broker = Broker::shared();
    broker.create_topic("seen", 1);
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(1);
    env.enable_checkpointing(Duration::from_secs(300));
    let (input, records) = thalweg::source::channel::<i64>(16);
    let sink = numbers(exactly_once(broker, "seen"));
    env.from_source(records, "input").map(|n| (n, n.to_string())).sink_to(sink);
    let job = env.execute_async("seen").unwrap();
    for n in 1..=3 {
        input.blocking_send(n).unwrap();
    }
    wait_until("the records are written", || broker.read("seen", Read::Uncommitted).len() == 3);
    assert_eq!(committed(broker, "seen").len(), 0);
    job.checkpoint();
    wait_until("the records are committed", || committed(broker, "seen").len() == 3);
    input.blocking_send(4).unwrap();
    wait_until("the next is written", || broker.read("seen", Read::Uncommitted).len() == 4);
    assert_eq!(committed(broker, "seen").len(), 3);
    drop(input);
    job.wait().unwrap();
    audit(broker, "seen", 4);
}

#[test]
#[ignore = "needs a broker"]
fn without_checkpoints_all_is_one_transaction() {
    let broker = Broker::shared();
    broker.create_topic("one", 2);
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(1);
    write_numbers(&env, 10_000, exactly_once(broker, "one"), |_| {});
    env.execute("one").unwrap();
    audit(broker, "one", 10_000);
}

#[test]
#[ignore = "needs a broker"]
fn a_job_that_panics_writes_each_record_once() {
    let broker = Broker::shared();
    broker.create_topic("panics", 3);
    let env = env(2, None);
    env.configure(|c| c.restart_strategy(RestartKind::FixedDelay).restart_attempts(10));
    env.configure(|c| c.restart_delay(Duration::from_millis(1)));
    let left = Arc::new(AtomicU64::new(3));
    let mut pause = slowly(100);
    write_numbers(&env, 40_000, exactly_once(broker, "panics"), move |n| {
        pause(n);
        let is_due = n % 6_000 == 0;
        let once = |n: u64| n.checked_sub(1);
        let panics =
            is_due && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, once).is_ok();
        assert!(!panics, "once more");
    });
    let explained = env.explain(ExplainFormat::Text).unwrap();
    assert!(explained.contains("delivery: exactly-once: all sources replay"), "{explained}");
    assert!(explained.contains("panics-writer-0-0"), "{explained}");
    let job = env.execute_async("panics").unwrap();
    job.wait().unwrap();
    assert!(job.checkpoints().restarts >= 1);
    audit(broker, "panics", 40_000);
}

#[test]
#[ignore = "needs a broker"]
fn at_least_once_loses_nothing() {
    let broker = Broker::shared();
    broker.create_topic("least", 2);
    let env = env(1, None);
    env.configure(|c| c.restart_strategy(RestartKind::FixedDelay).restart_attempts(10));
    env.configure(|c| c.restart_delay(Duration::from_millis(1)));
    let left = Arc::new(AtomicU64::new(2));
    let builder = KafkaSink::builder(broker.servers()).topic("least");
    let mut pause = slowly(100);
    write_numbers(&env, 20_000, builder, move |n| {
        pause(n);
        let once = |n: u64| n.checked_sub(1);
        let panics =
            n % 6_000 == 0 && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, once).is_ok();
        assert!(!panics, "once more");
    });
    let explained = env.explain(ExplainFormat::Text).unwrap();
    assert!(explained.contains("delivery: at-least-once"), "{explained}");
    env.execute("least").unwrap();
    let mut found: Vec<i64> =
        committed(broker, "least").iter().map(|message| message.text().parse().unwrap()).collect();
    found.sort_unstable();
    found.dedup();
    assert!(found == (1..=20_000).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs a broker"]
fn all_parts_of_a_record_arrive() {
    let broker = Broker::shared();
    broker.create_topic("parts", 2);
    broker.create_topic("parts-other", 2);
    let env = env(1, None);
    let words = env.from_elements(["one", "two", "three"].map(String::from));
    let sink = exactly_once(broker, "parts").format::<String, _>(Json::new());
    let sink = sink.key_format(Text, |word: &String| word[..1].to_owned());
    let sink = sink.partition_by(|word| if word == "one" { 1 } else { -1 });
    let sink = sink.topic_by(|w| if w == "two" { "parts-other".into() } else { "parts".into() });
    let sink = sink.headers(|word, headers| headers.push("length", word.len().to_string()));
    // Not long ago, or the broker would remove them at once.
    let now_ms = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let sink = sink.timestamp_by(move |word| now_ms - word.len() as i64);
    let sink = sink.tombstone_if(|w| w == "three");
    words.sink_to(sink);
    let record = KafkaRecord::to("parts-other").with_key("k").with_value("v").at_ms(now_ms - 77);
    let record =
        KafkaRecord { headers: vec![KafkaHeader { name: "none".into(), value: None }], ..record };
    let whole = KafkaSink::builder(broker.servers()).topic("parts").exactly_once("parts-whole");
    env.from_elements([record.in_partition(0)]).sink_to(whole.records()).name("whole");
    env.execute("parts").unwrap();

    let first = settled(broker, "parts");
    let one = first.iter().find(|message| message.text() == "\"one\"").unwrap();
    assert_eq!((one.partition, one.timestamp_ms), (1, Some(now_ms - 3)));
    assert_eq!(one.headers, [("length".to_owned(), Some(b"3".to_vec()))]);
    let three = first.iter().find(|message| message.value.is_none()).unwrap();
    assert_eq!(three.key.as_deref(), Some(b"t".as_slice()));
    assert_eq!(first.len(), 2);
    let other = settled(broker, "parts-other");
    assert_eq!(other.len(), 2);
    let whole = other.iter().find(|message| message.text() == "v").unwrap();
    assert_eq!((whole.partition, whole.timestamp_ms), (0, Some(now_ms - 77)));
    assert_eq!(whole.headers, [("none".to_owned(), None)]);
}
