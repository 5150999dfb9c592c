//! Only boxed streams can be cloned.
use thalweg::prelude::*;

fn main() {
    let env = StreamExecutionEnvironment::new();
    let doubled = env.from_sequence(1..=10).map(|n| n * 2);
    doubled.clone().for_each(|_| ());
    doubled.for_each(|_| ());
}
