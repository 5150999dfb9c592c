//! Jobs that are stopped, killed and rescaled.

use super::support::*;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use thalweg::connector::kafka::{KafkaSink, MissingMarker, sink_crash_points};
use thalweg_io::CRASH_POINT_VARIABLE;
use thalweg_tests::kafka::Broker;

const NUMBERS: i64 = 30_000;

/// Runs the job from where the directory says until it ends, or has read some more.
fn run(broker: &Broker, topic: &str, directory: &Path, parallelism: usize, more: i64) -> bool {
    let read = Arc::new(AtomicI64::new(0));
    let env = env(parallelism, Some(directory));
    let (count, mut pause) = (read.clone(), slowly(50));
    write_numbers(&env, NUMBERS, exactly_once(broker, topic), move |n| {
        count.fetch_add(1, Ordering::Relaxed);
        pause(n);
    });
    let job = env.execute_async("numbers").unwrap();
    while !job.is_finished() && read.load(Ordering::Relaxed) < more {
        std::thread::sleep(Duration::from_millis(1));
    }
    let has_ended = job.is_finished();
    job.stop();
    job.wait().unwrap();
    has_ended
}

#[test]
#[ignore = "needs a broker"]
fn a_job_that_is_stopped_and_rescaled_writes_each_record_once() {
    let broker = Broker::shared();
    broker.create_topic("rescaled", 4);
    let directory = tempfile::tempdir().unwrap();
    for parallelism in [2, 4, 1, 3] {
        run(broker, "rescaled", directory.path(), parallelism, 4_000);
    }
    run(broker, "rescaled", directory.path(), 2, i64::MAX);
    audit(broker, "rescaled", NUMBERS);
}

/// The process that is killed: started by other tests, with the place in the environment.
#[test]
#[ignore = "a part of other tests"]
fn child() {
    if std::env::var("KAFKA_CHILD_SERVERS").is_err() {
        return; // Nobody has started it.
    }
    let variable = |name: &str| std::env::var(format!("KAFKA_CHILD_{name}")).unwrap();
    let (servers, topic) = (variable("SERVERS"), variable("TOPIC"));
    let env =
        env(variable("PARALLELISM").parse().unwrap(), Some(Path::new(&variable("DIRECTORY"))));
    let missing = match variable("MISSING").as_str() {
        "committed" => MissingMarker::Committed,
        "not committed" => MissingMarker::NotCommitted,
        _ => MissingMarker::Refuse,
    };
    let builder = KafkaSink::builder(servers).topic(&topic).exactly_once(format!("{topic}-writer"));
    let count = variable("NUMBERS").parse().unwrap();
    write_numbers(&env, count, builder.on_missing_marker(missing), slowly(8));
    env.execute("numbers").unwrap();
}

struct Child<'a> {
    broker: &'a Broker,
    topic: &'a str,
    directory: &'a Path,
    parallelism: usize,
    missing: &'a str,
    numbers: i64,
}

impl Child<'_> {
    /// Runs a process to its end, armed or not; what it has said, and whether it went well.
    fn run(&self, point: Option<&str>) -> (bool, String) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "restarts::child", "--ignored", "--nocapture"]);
        command.env("KAFKA_CHILD_SERVERS", self.broker.servers());
        command.env("KAFKA_CHILD_TOPIC", self.topic);
        command.env("KAFKA_CHILD_DIRECTORY", self.directory);
        command.env("KAFKA_CHILD_PARALLELISM", self.parallelism.to_string());
        command.env("KAFKA_CHILD_MISSING", self.missing);
        command.env("KAFKA_CHILD_NUMBERS", self.numbers.to_string());
        command.env_remove(CRASH_POINT_VARIABLE);
        if let Some(point) = point {
            command.env(CRASH_POINT_VARIABLE, point);
        }
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    #[track_caller]
    fn dies_at(&self, point: &str) {
        let (is_well, said) = self.run(Some(point));
        let name = point.split(':').next().unwrap();
        assert!(!is_well && said.contains(&format!("crash point {name}")), "{point}: {said}");
    }

    #[track_caller]
    fn ends_well(&self) {
        let (is_well, said) = self.run(None);
        assert!(is_well, "{said}");
    }
}

#[test]
#[ignore = "needs a broker"]
fn a_kill_between_any_two_steps_neither_loses_nor_repeats() {
    let broker = Broker::shared();
    broker.create_topic("killed", 3);
    let numbers = 80_000;
    let directory = tempfile::tempdir().unwrap();
    let child = Child {
        broker,
        topic: "killed",
        directory: directory.path(),
        parallelism: 2,
        missing: "",
        numbers,
    };
    child.dies_at("ckpt.published:2"); // so that there is something to recover
    for point in sink_crash_points::ALL {
        // An epoch is sent again only where one was left open to doubt by the kill before.
        match point {
            "kafka.resent" => {
                child.dies_at("ckpt.published:2");
                child.dies_at("kafka.resent:1");
            }
            "kafka.marker_read" => child.dies_at("kafka.marker_read:1"),
            "kafka.fenced" | "kafka.recovered" => child.dies_at(&format!("{point}:1")),
            _ => child.dies_at(&format!("{point}:2")),
        }
    }
    child.ends_well();
    audit(broker, "killed", numbers);
}

#[test]
#[ignore = "needs a broker"]
fn what_a_larger_attempt_has_left_open_is_ended() {
    let broker = Broker::shared();
    broker.create_topic("dangling", 3);
    let directory = tempfile::tempdir().unwrap();
    let small = Child {
        broker,
        topic: "dangling",
        directory: directory.path(),
        parallelism: 1,
        missing: "",
        numbers: NUMBERS,
    };
    small.dies_at("ckpt.published:3");
    // It has sent, and no checkpoint knows of it.
    Child { parallelism: 4, ..small }.dies_at("kafka.sent:7");
    small.ends_well();
    // Else readers would wait for the transaction timeout.
    audit(broker, "dangling", NUMBERS);
}

#[test]
#[ignore = "needs a broker"]
fn a_marker_that_is_gone_is_not_guessed() {
    let broker = Broker::shared();
    broker.create_topic("gone", 1);
    let directory = tempfile::tempdir().unwrap();
    let child = Child {
        broker,
        topic: "gone",
        directory: directory.path(),
        parallelism: 1,
        missing: "",
        numbers: NUMBERS,
    };
    // The first one's records are committed when it is told of, and so not yet.
    child.dies_at("ckpt.published:1");
    broker.delete_group("gone-writer-0");
    let (is_well, said) = child.run(None);
    assert!(!is_well && said.contains("has no marker"), "{said}");
    assert!(said.contains("on_missing_marker"), "{said}");
    Child { missing: "not committed", ..child }.ends_well();
    audit(broker, "gone", NUMBERS);
}

#[test]
#[ignore = "needs a broker"]
fn a_checkpoint_of_another_run_is_refused() {
    let broker = Broker::shared();
    broker.create_topic("runs", 1);
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let child = Child {
        broker,
        topic: "runs",
        directory: first.path(),
        parallelism: 1,
        missing: "",
        numbers: NUMBERS,
    };
    child.dies_at("ckpt.published:4");
    Child { directory: second.path(), ..child }.dies_at("kafka.committed:3");
    let (is_well, said) = child.run(None);
    assert!(!is_well && said.contains("is of another run than the checkpoint"), "{said}");
}

#[test]
#[ignore = "needs a broker"]
fn a_prefix_may_change_over_a_restart() {
    let broker = Broker::shared();
    broker.create_topic("renamed", 2);
    let directory = tempfile::tempdir().unwrap();
    let child = Child {
        broker,
        topic: "renamed",
        directory: directory.path(),
        parallelism: 2,
        missing: "",
        numbers: NUMBERS,
    };
    child.dies_at("ckpt.published:4");
    let env = env(2, Some(directory.path()));
    let builder = exactly_once(broker, "renamed").exactly_once("another-prefix");
    write_numbers(&env, NUMBERS, builder, |_| {});
    env.execute("numbers").unwrap();
    audit(broker, "renamed", NUMBERS);
}

#[test]
#[ignore = "needs a broker"]
fn a_sink_without_transactions_does_not_take_over_one_with() {
    let broker = Broker::shared();
    broker.create_topic("weaker", 1);
    let directory = tempfile::tempdir().unwrap();
    let child = Child {
        broker,
        topic: "weaker",
        directory: directory.path(),
        parallelism: 1,
        missing: "",
        numbers: NUMBERS,
    };
    child.dies_at("ckpt.published:3");
    let env = env(1, Some(directory.path()));
    write_numbers(&env, NUMBERS, exactly_once(broker, "weaker").at_least_once(), |_| {});
    let error = env.execute("numbers").unwrap_err().to_string();
    assert!(error.contains("which may hold transactions that wait for their commit"), "{error}");
}
