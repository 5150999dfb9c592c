//! The keyed-state store beside plain hashbrown, one line a side and one for the ratio.
//!
//! ```text
//! cargo run --release -p thalweg-benches --bin state -- rmw --keys 10000000 --value-bytes 8 --zipf 0.99
//! ```

use thalweg::prelude::*;
use thalweg_benches::now_ns;
use thalweg_benches::state::{Options, declared, run};

fn main() -> thalweg::Result<()> {
    now_ns();
    let (_, arguments) = StreamExecutionEnvironment::from_args_with(&declared())?;
    run(&Options::read(&arguments)?)
}
