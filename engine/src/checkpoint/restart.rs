//! Restart strategies: is a job that failed tried again, and when? As Flink's, by the same names.
//!
//! - *never*: no.
//! - *fixed delay*: a number of times, each after the same delay.
//! - *exponential delay*: always, after a delay that grows with each failure, up to a bound; once the job has run for
//!   a while without one it is the first delay again. Flink draws some jitter, so that jobs of a cluster do not restart
//!   together; here there is nobody to be kept apart.
//! - *failure rate*: always, unless there were too many failures within an interval.
//!
//! A pure function of settings and the times of failures.

use super::settings::RestartSettings;
use std::collections::VecDeque;

/// See the module docs.
#[derive(Clone, Debug)]
pub(crate) struct RestartStrategy {
    settings: RestartSettings,
    /// Restarts so far.
    attempts: u32,
    /// The latest failures, as many as the strategy asks for.
    failures_ns: VecDeque<u64>,
    delay_ns: u64,
}

/// What is to become of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is tried again after this.
    RestartAfter { delay_ns: u64 },
    /// It is not, because of this.
    GiveUp { reason: String },
}

impl RestartStrategy {
    pub(crate) fn new(settings: RestartSettings) -> Self {
        RestartStrategy { settings, attempts: 0, failures_ns: VecDeque::new(), delay_ns: 0 }
    }

    /// The job has failed at `now_ns` of the monotonic clock.
    pub(crate) fn on_failure(&mut self, now_ns: u64) -> Decision {
        let decision = match self.settings {
            RestartSettings::Never => give_up("the restart strategy is never"),
            RestartSettings::FixedDelay { attempts_max, .. } if self.attempts >= attempts_max => {
                give_up(&format!(
                    "it was restarted {attempts_max} times, as often as `restart_attempts` allows"
                ))
            }
            RestartSettings::FixedDelay { delay_ns, .. } => Decision::RestartAfter { delay_ns },
            RestartSettings::ExponentialDelay { first_ns, max_ns, multiplier, reset_after_ns } => {
                let last_ns = self.failures_ns.back().copied();
                // The time that it ran: the delay before is not part of it.
                let ran_ns = last_ns.map(|last| now_ns.saturating_sub(last + self.delay_ns));
                let is_new = ran_ns.is_none_or(|ran| ran >= reset_after_ns);
                let grown_ns = self.delay_ns.saturating_mul(u64::from(multiplier));
                self.delay_ns = if is_new { first_ns } else { grown_ns }.min(max_ns);
                Decision::RestartAfter { delay_ns: self.delay_ns }
            }
            RestartSettings::FailureRate { failures_max, interval_ns, delay_ns } => {
                let earliest_ns = now_ns.saturating_sub(interval_ns);
                self.failures_ns.retain(|at| *at > earliest_ns || interval_ns > now_ns);
                if self.failures_ns.len() >= failures_max as usize {
                    give_up(&format!(
                        "it failed more than {failures_max} times within `restart_failure_interval_ms`"
                    ))
                } else {
                    Decision::RestartAfter { delay_ns }
                }
            }
        };
        self.failures_ns.push_back(now_ns);
        if matches!(self.settings, RestartSettings::ExponentialDelay { .. })
            && self.failures_ns.len() > 1
        {
            self.failures_ns.pop_front();
        }
        self.attempts += u32::from(matches!(decision, Decision::RestartAfter { .. }));
        decision
    }

    /// Restarts so far.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }
}

fn give_up(reason: &str) -> Decision {
    Decision::GiveUp { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decisions(settings: RestartSettings, failures_ns: &[u64]) -> Vec<Option<u64>> {
        let mut strategy = RestartStrategy::new(settings);
        let decide = |at: &u64| match strategy.on_failure(*at) {
            Decision::RestartAfter { delay_ns } => Some(delay_ns),
            Decision::GiveUp { .. } => None,
        };
        failures_ns.iter().map(decide).collect()
    }

    #[test]
    fn never_and_fixed() {
        assert_eq!(decisions(RestartSettings::Never, &[1]), [None]);
        let fixed = RestartSettings::FixedDelay { attempts_max: 2, delay_ns: 7 };
        assert_eq!(decisions(fixed, &[1, 2, 3]), [Some(7), Some(7), None]);
    }

    #[test]
    fn delays_grow_up_to_the_bound_and_begin_anew_after_a_quiet_time() {
        let settings = RestartSettings::ExponentialDelay {
            first_ns: 10,
            max_ns: 35,
            multiplier: 2,
            reset_after_ns: 1_000,
        };
        let failures = [0, 50, 100, 150, 200 + 35 + 1_000, 1_300];
        let expected = [Some(10), Some(20), Some(35), Some(35), Some(10), Some(20)];
        assert_eq!(decisions(settings, &failures), expected);
    }

    #[test]
    fn too_many_failures_within_the_interval_are_the_end() {
        let settings =
            RestartSettings::FailureRate { failures_max: 2, interval_ns: 100, delay_ns: 1 };
        assert_eq!(decisions(settings, &[0, 50, 99]), [Some(1), Some(1), None]);
        assert_eq!(decisions(settings, &[0, 50, 101, 160]), [Some(1), Some(1), Some(1), Some(1)]);
    }
}
