//! What tests with Kafka share: a real broker, which [`Broker`] starts, stops, freezes and kills, and a plain client beside
//! the connector that fills and reads topics.
//!
//! A broker is a process of its own in a folder of its own on a port of its own; `services/kafka.sh` starts it. One that all
//! tests of a binary share is [`Broker::shared`]; a test that harms its broker has [one of its own](Broker::start). A watcher
//! process kills the broker and removes its folder once the test process is gone, however it went.

mod broker;
mod client;

pub use broker::Broker;
pub use client::{Message, Producer, Read, is_settled, read_topic};
