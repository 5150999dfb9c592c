//! Windows are cut from keyed streams.
use thalweg::prelude::*;

fn main() {
    let env = StreamExecutionEnvironment::new();
    env.from_sequence(1..=10).window(TumblingEventTimeWindows::of(seconds(1))).aggregate(Count);
}
