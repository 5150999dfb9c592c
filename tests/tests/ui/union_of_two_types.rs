//! A union is of streams of one type.
use thalweg::prelude::*;

fn main() {
    let env = StreamExecutionEnvironment::new();
    let numbers = env.from_sequence(1..=10);
    let words = env.from_elements(["a", "b"]);
    numbers.union(words).for_each(|_| ());
}
