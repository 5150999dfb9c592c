//! Latency of a steady stream: up to saturation, with checkpoints, with compaction, beside a busy job, and beside the noise of the host.
//!
//! ```text
//! cargo run --release -p thalweg-benches --bin latency -- sweep -p 2
//! cargo run --release -p thalweg-benches --bin latency -- checkpoints --rate 100000 --rounds 5
//! cargo run --release -p thalweg-benches --bin latency -- noise -p 1
//! ```
//! What the lines mean is told in [`thalweg_benches::latency`].

use thalweg::prelude::*;
use thalweg_benches::alloc::Counting;
use thalweg_benches::latency::{Options, declared, run};
use thalweg_benches::now_ns;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> thalweg::Result<()> {
    now_ns();
    let (env, arguments) = StreamExecutionEnvironment::from_args_or_exit(&declared());
    run(&Options::read(&env, &arguments)?)
}
