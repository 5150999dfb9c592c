//! A filter must answer with a bool.
use thalweg::prelude::*;

fn main() {
    let env = StreamExecutionEnvironment::new();
    env.from_sequence(1..=10).filter(|n| n % 2).for_each(|_| ());
}
