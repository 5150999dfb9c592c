//! A keyed function names the key of its stream.
use thalweg::prelude::*;

#[derive(Clone)]
struct PerUser;

impl KeyedProcessFunction for PerUser {
    type Key = String;
    type In = i64;
    type Out = i64;
    fn process_element(
        &mut self,
        n: i64,
        _: &mut Context<'_, String>,
        out: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        out.collect(n);
        Ok(())
    }
}

fn main() {
    let env = StreamExecutionEnvironment::new();
    env.from_sequence(1..=10).key_by(|n| n % 3).process(PerUser).for_each(|_| ());
}
