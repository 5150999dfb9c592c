//! Closures go to other cores.
use std::rc::Rc;
use thalweg::prelude::*;

fn main() {
    let env = StreamExecutionEnvironment::new();
    let factor = Rc::new(2);
    env.from_sequence(1..=10).map(move |n| n * *factor).for_each(|_| ());
}
