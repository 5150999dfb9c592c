//! A key is a type with a schema; a float is none.
use thalweg::prelude::*;

fn main() {
    let env = StreamExecutionEnvironment::new();
    env.from_elements([1.5, 2.5]).key_by(|n| *n).scan(0u64, |_, n| n).for_each(|_| ());
}
