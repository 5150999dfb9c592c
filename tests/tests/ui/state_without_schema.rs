//! State needs a schema, which `#[thalweg::record]` gives.
use thalweg::prelude::*;

#[derive(Clone, Default)]
struct Sum {
    total: f64,
}

#[derive(Clone, Default)]
struct Running {
    sum: ValueState<Sum>,
}

impl KeyedProcessFunction for Running {
    type Key = i64;
    type In = i64;
    type Out = i64;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.sum = context.value_state(ValueStateDescriptor::new("sum"))?;
        Ok(())
    }
    fn process_element(
        &mut self,
        n: i64,
        _: &mut Context<'_, i64>,
        out: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        out.collect(n);
        Ok(())
    }
}

fn main() {
    let env = StreamExecutionEnvironment::new();
    env.from_sequence(1..=10).key_by(|n| *n).process(Running::default()).for_each(|_| ());
}
