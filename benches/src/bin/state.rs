//! The keyed-state store beside plain hashbrown, or an ordered set: a line a side, and one for their ratio.
//!
//! ```text
//! cargo run --release -p thalweg-benches --bin state -- rmw --keys 10000000 --value-bytes 8 --zipf 0.99
//! ```
//!
//! | bench | a call | lines |
//! |---|---|---|
//! | `rmw` | adds to a key's value | `rmw` |
//! | `rmw --budget-mib` | the same with less memory than the state takes, our side alone | `rmw` |
//! | `list` | appends 16 bytes to a key's list; reads and clears a list of ten | `list-append`, `list-drain` |
//! | `map` | puts or gets an entry of a map of 100; sums all its values | `map-put`, `map-get`, `map-scan-100` |
//! | `timers` | the earliest of `--keys` timers fires and is registered again; every fourth time another one is moved | `timers` |
//! | `snapshot`, `restore` | checkpoints of a share of the keys; opening one | one a share; `restore` |
//!
//! **A line of the first four**: median rate (`mops`) and time a call with barriers and beats (`ns`), quantiles of single
//! calls, the longest call of growth (that came again in each repetition, and with noise), memory. On files
//! (`--backend lsm`, the default) also what was written; with `--barrier-every N` how many barriers there were, how long
//! they and the beats after batches held records up, time until checkpoints were durable, and their bytes: together, each,
//! and by call.
//! Quantiles mean what they say from a thousand barriers on: `--barriers 1000`. `stall_running` leaves out the time
//! that the thread was ready and had no processor, which a shared machine adds.

use thalweg::prelude::*;
use thalweg_benches::now_ns;
use thalweg_benches::state::{Options, declared, run};

fn main() -> thalweg::Result<()> {
    now_ns();
    let (_, arguments) = StreamExecutionEnvironment::from_args_with(&declared())?;
    run(&Options::read(&arguments)?)
}
