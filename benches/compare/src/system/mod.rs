//! The programs of the systems, one module a system.

mod native;
mod renoir;
mod thalweg;
mod timely;

use crate::Error;
use crate::case::{Case, Measured, System};

/// Runs one case in this process.
pub(crate) fn run(case: &Case) -> Result<Measured, Error> {
    match case.system {
        System::Thalweg | System::ThalwegBalanced | System::ThalwegWithoutCheckpoints => {
            thalweg::run(case)
        }
        System::Native | System::NativePrefetched => native::run(case),
        System::Timely => timely::run(case),
        System::Renoir | System::RenoirWindows | System::RenoirSingle => renoir::run(case),
        System::Flink | System::FlinkRocksDb | System::FlinkSql | System::Jet => {
            Err(format!("{} is run by peers.sh, not by this program", case.system).into())
        }
    }
}

fn not_written(case: &Case) -> Error {
    format!(
        "{} has no program for {} with {} subtasks",
        case.system, case.workload, case.parallelism
    )
    .into()
}
