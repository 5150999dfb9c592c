//! A sink takes one type of record.
use thalweg::prelude::*;

#[derive(Clone)]
struct Words;

impl Sink<String> for Words {
    fn write(&mut self, _: String, _: i64) -> thalweg::Result<()> {
        Ok(())
    }
}

fn main() {
    let env = StreamExecutionEnvironment::new();
    env.from_sequence(1..=10).sink_to(Words);
}
