//! Who is to blame: from what a core reports to the failure that users read.

use std::sync::Arc;

use crate::BoxError;
use crate::error::JobFailure;
use crate::runtime::deployment::{FailureSite, TaskFailure};

/// The failure of a task: of the operator it names, or else of the task itself, whose name says which subtask it is.
pub(super) fn task(job: &str, subtask: usize, failure: TaskFailure) -> JobFailure {
    let TaskFailure { task, message, source, panicked, site } = failure;
    let itself = || FailureSite { operator: task, subtask, parallelism: 0, record: 0 };
    let FailureSite { operator, subtask, parallelism, record } = site.unwrap_or_else(itself);
    let (job, cause) = (job.to_owned(), source.map(Arc::from));
    JobFailure { job, operator, subtask, parallelism, record, panicked, message, cause }
}

/// A failure that no task is to blame for.
pub(super) fn job(job: &str, error: BoxError) -> JobFailure {
    JobFailure {
        job: job.to_owned(),
        operator: "job master".to_owned(),
        subtask: 0,
        parallelism: 0,
        record: 0,
        panicked: false,
        message: error.to_string(),
        cause: Some(Arc::from(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_without_a_culprit_blames_itself() {
        let failure = task("job", 2, TaskFailure::from_panic("map (3/4)", "index"));
        assert_eq!(failure.to_string(), "job 'job': operator 'map (3/4)' panicked: index");
        let error = job("job", "no core".into());
        assert_eq!(error.to_string(), "job 'job': operator 'job master' failed: no core");
        assert_eq!(error.cause.unwrap().to_string(), "no core");
    }
}
