//! A record that crosses cores needs `#[thalweg::record]`.
use thalweg::prelude::*;

#[derive(Clone)]
struct Reading {
    sensor: String,
    value: f64,
}

fn main() {
    let env = StreamExecutionEnvironment::new();
    env.from_sequence(1..=10)
        .map(|n| Reading { sensor: n.to_string(), value: n as f64 })
        .key_by(|reading| reading.sensor.clone())
        .scan(0.0, |sum, reading| *sum += reading.value)
        .for_each(|_| ());
}
