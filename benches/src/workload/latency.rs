//! w5: latency of a paced stream, from emission and from the time an event was due. The job is in [`crate::latency`].

use super::Settings;
use crate::latency::{Pace, write_job};
use thalweg::prelude::*;

pub use crate::latency::Latencies;

/// w5: a paced source, a running sum for each key, the latency of each record at the sink. The first second is dropped.
///
/// # Errors
/// Those of the job; sums that are not those of the events.
pub fn latency(
    env: &StreamExecutionEnvironment,
    settings: &Settings,
) -> thalweg::Result<Latencies> {
    let pace = Pace {
        keys: settings.keys,
        rate: settings.rate,
        warm_up_ns: 1_000_000_000,
        measured_ns: settings.seconds.saturating_sub(1).saturating_mul(1_000_000_000),
        fills: false,
    };
    let run = write_job(env, &pace);
    env.execute("w5")?;
    Ok(run.measurement()?.latencies)
}
