//! Thalweg: the jobs of `thalweg_benches::workload`, as they are.

use crate::Error;
use crate::case::{Case, Measured, System, Workload};
use crate::nexmark;
use std::fs::remove_dir_all;
use std::time::Duration;
use thalweg::config::StateBackend;
use thalweg::prelude::*;
use thalweg_benches::workload::{
    hot_keys, latency, named_counts, running_sum, session_count, tumbling_count,
};

const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(case: &Case) -> Result<Measured, Error> {
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(case.parallelism);
    let is_stateful = matches!(case.workload, Workload::W6 | Workload::W6Latency);
    let backend = if is_stateful { StateBackend::Lsm } else { StateBackend::Memory };
    env.configure(|c| c.state_backend(backend));
    let is_latency = matches!(case.workload, Workload::W5 | Workload::W6Latency);
    if is_latency && case.system != System::ThalwegBalanced {
        env.configure(|c| c.profile(Profile::Latency));
    }
    let directory = std::env::temp_dir().join(format!("thalweg-compare-{}", std::process::id()));
    let has_checkpoints = is_stateful && case.system != System::ThalwegWithoutCheckpoints;
    if has_checkpoints {
        env.enable_checkpointing(CHECKPOINT_INTERVAL).at(&directory);
    }
    let measured = run_in(&env, case);
    if has_checkpoints {
        remove_dir_all(directory)?;
    }
    measured
}

fn run_in(env: &StreamExecutionEnvironment, case: &Case) -> Result<Measured, Error> {
    let settings = &case.settings();
    let outcome = match case.workload {
        Workload::W1 | Workload::W6 => running_sum(env, settings)?,
        Workload::W2 => tumbling_count(env, settings)?,
        Workload::W3 => hot_keys(env, settings)?,
        Workload::W4 => session_count(env, settings)?,
        Workload::W7 => named_counts(env, settings)?,
        Workload::W5 | Workload::W6Latency => {
            return Ok(Measured::latencies(&latency(env, settings)?));
        }
        Workload::Nexmark(query) => {
            let settings = nexmark::settings(case);
            let outcome = thalweg_benches::nexmark::run(env, &format!("q{query}"), &settings)?;
            return Ok(nexmark::measured(&outcome));
        }
    };
    Ok(Measured::throughput(&outcome))
}
