//! The interpreters: one for each kind of job, each a generic program over a job and its input.

mod asynchronous;
mod broadcast;
mod connect;
mod interval_join;
mod join;
mod process;
mod reconcile;
mod rolling;
mod side;
mod strategy;
mod usecase;
mod watermark;
mod window;
mod window_function;
mod window_join;
mod window_spec;

use crate::conformance::bench::Bench;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::time::Duration;

/// Builds a job through the public API.
///
/// **Invariant**: what it builds depends on the job alone, never on the case.
pub(super) trait Interpreter: Send + Sync {
    /// How many inputs the job has.
    fn inputs(&self) -> usize {
        1
    }

    /// At parallelism > 1 rows may come in another step than at parallelism 1, because the job orders records across
    /// keys.
    fn orders_across_keys(&self) -> bool {
        false
    }

    /// A restart changes what comes out, because time that is not in the checkpoint begins anew.
    fn is_changed_by_restarts(&self) -> bool {
        false
    }

    /// Writes the job on `bench`.
    fn build(&self, bench: &Bench<'_>);
}

/// The interpreter of `kind` for `job`.
pub(super) fn interpreter(
    kind: &str,
    job: Map<String, Value>,
) -> Result<Box<dyn Interpreter>, String> {
    Ok(match kind {
        "window" => Box::new(window::WindowJob::read(job)?),
        "process" => Box::new(read::<process::ProcessJob>(job)?.checked()?),
        "rolling" => Box::new(read::<rolling::RollingJob>(job)?.checked()?),
        "connect" => Box::new(read::<connect::ConnectJob>(job)?),
        "watermark" => Box::new(read::<watermark::WatermarkJob>(job)?.checked()?),
        "join" => Box::new(read::<join::JoinJob>(job)?),
        "async" => Box::new(read::<asynchronous::AsyncJob>(job)?),
        "side" => Box::new(read::<side::SideJob>(job)?.checked()?),
        "usecase" => Box::new(usecase::UsecaseJob::read(job)?),
        other => return Err(format!("unknown kind '{other}'")),
    })
}

fn read<J: DeserializeOwned>(job: Map<String, Value>) -> Result<J, String> {
    J::deserialize(Value::Object(job)).map_err(|error| error.to_string())
}

/// A length of time; a negative one is as wrong as zero, which the API reports where it is.
fn duration(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
