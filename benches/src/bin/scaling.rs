//! How cost grows with slots, keys, operators and jobs, and that the path of a record allocates nothing.
//!
//! ```text
//! cargo run --release -p thalweg-benches --bin scaling -- slots
//! cargo run --release -p thalweg-benches --bin scaling -- keys --keys-max 10000000 --seconds 5
//! cargo run --release -p thalweg-benches --bin scaling -- allocations -p 2
//! ```
//! What the lines mean is told in [`thalweg_benches::scaling`].

use thalweg::prelude::*;
use thalweg_benches::alloc::Counting;
use thalweg_benches::now_ns;
use thalweg_benches::scaling::{Options, declared, run};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> thalweg::Result<()> {
    now_ns();
    let (env, arguments) = StreamExecutionEnvironment::from_args_or_exit(&declared());
    run(&Options::read(&env, &arguments)?)
}
