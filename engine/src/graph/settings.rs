//! What planning needs to know of the environment, and Flink's rule for the number of key groups.

use std::time::Duration;

/// Largest parallelism, and largest number of key groups: Flink's `UPPER_BOUND_MAX_PARALLELISM`.
pub const MAX_PARALLELISM_BOUND: usize = 1 << 15;

/// Smallest number of key groups that is chosen unasked: Flink's `DEFAULT_LOWER_BOUND_MAX_PARALLELISM`.
pub const DEFAULT_MAX_PARALLELISM_MIN: usize = 1 << 7;

/// The environment's settings that bear on a plan; an operator's own settings win over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSettings {
    /// The job's name, for people.
    pub job_name: String,
    /// Parallelism of operators that say none; default 1.
    pub parallelism: usize,
    /// Number of key groups of operators that say none; by default [`default_max_parallelism`] of their parallelism.
    pub max_parallelism: Option<usize>,
    /// May operators be chained at all? Default true. Off, every operator with an edge is a vertex of its own.
    pub chaining_enabled: bool,
    /// The job's checkpoints; `None`, the default, for none.
    pub checkpoints: Option<CheckpointSettings>,
}

/// What planning needs to know of a job's checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// From one to the next.
    pub interval: Duration,
    /// After which a checkpoint is given up.
    pub timeout: Duration,
    /// Do tasks with several inputs wait until a barrier has come on all of them? If not, records behind a barrier may be
    /// in its checkpoint.
    pub is_aligned: bool,
}

impl Default for PlanSettings {
    fn default() -> Self {
        Self {
            job_name: "job".to_owned(),
            parallelism: 1,
            max_parallelism: None,
            chaining_enabled: true,
            checkpoints: None,
        }
    }
}

/// Flink's rule: one and a half times the parallelism, rounded up to a power of two, within 128 and 32768.
///
/// ```
/// use thalweg::graph::default_max_parallelism;
/// assert_eq!(default_max_parallelism(1), 128);
/// assert_eq!(default_max_parallelism(100), 256);
/// ```
pub fn default_max_parallelism(parallelism: usize) -> usize {
    let bounded = parallelism.min(MAX_PARALLELISM_BOUND);
    (bounded + bounded / 2)
        .next_power_of_two()
        .clamp(DEFAULT_MAX_PARALLELISM_MIN, MAX_PARALLELISM_BOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_max_parallelism_follows_flink() {
        let cases = [
            (0, 128),
            (1, 128),
            (85, 128),
            (86, 256),
            (128, 256),
            (171, 256),
            (172, 512),
            (21_845, 32_768),
            (32_768, 32_768),
            (usize::MAX, 32_768),
        ];
        for (parallelism, expected) in cases {
            assert_eq!(default_max_parallelism(parallelism), expected, "of {parallelism}");
        }
    }
}
