//! The Kafka sink against a real broker: what readers see, after failures of the job, of the broker and of the user.
//!
//! The tests are ignored unless asked for (`cargo test -p thalweg-tests --features kafka --test kafka_sink -- --ignored`): they
//! start a broker. `.ci/run` has a step for them.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "jobs that last long enough to be interrupted")]

#[path = "kafka_sink/mistakes.rs"]
mod mistakes;
#[path = "kafka_sink/outages.rs"]
mod outages;
#[path = "kafka_sink/restarts.rs"]
mod restarts;
#[path = "kafka_sink/support.rs"]
mod support;
#[path = "kafka_sink/writing.rs"]
mod writing;
