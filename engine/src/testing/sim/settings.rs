//! What a seed decides before its run begins.

use crate::config::{ConfigurationBuilder, RestartKind, StateBackend};
use crate::runtime::shell::seeded::SplitMix;
use std::time::Duration;

/// What a disk does besides losing what was not synced when the process is killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Nothing.
    Crash,
    /// In half of the runs reads, writes and syncs fail now and then, and the disk is full for a while. In a quarter a sync
    /// fails, and the machine stops soon after. In another quarter, instead of all that, a bit flips while no process runs.
    #[default]
    Disk,
}

/// See the module docs.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) parallelism: usize,
    pub(super) cores: usize,
    pub(super) backend: StateBackend,
    batch_records: usize,
    interval_ms: u64,
    retained: usize,
    pub(super) has_disk_faults: bool,
    /// Syncs of files fail, and the machine stops when a checkpoint is complete after that.
    pub(super) has_failed_syncs: bool,
    /// Bits flip between two processes; the disk has no other fault then.
    pub(super) has_bit_rot: bool,
    /// Kills and failures that are to come.
    pub(super) faults: u64,
    /// Subtasks of an operator at most, if that changes from process to process.
    pub(super) rescales_to: Option<usize>,
}

impl Settings {
    /// `focus` is drawn from besides: most of what a seed decides does not depend on it.
    pub(super) fn draw(
        random: &mut SplitMix,
        focus: &mut SplitMix,
        profile: Profile,
        parallelism_max: usize,
    ) -> Self {
        let focus = if profile == Profile::Disk { focus.below(4) } else { 3 };
        let has_bit_rot = focus == 0;
        let parallelism = 1 + random.below(parallelism_max);
        Settings {
            parallelism,
            cores: 1 + random.below(parallelism),
            backend: [StateBackend::Lsm, StateBackend::Memory][random.below(2)],
            batch_records: 1 + random.below(12),
            interval_ms: 5 + random.below(60) as u64,
            retained: 1 + random.below(3),
            has_disk_faults: profile == Profile::Disk && random.below(2) == 0 && !has_bit_rot,
            has_failed_syncs: focus == 1,
            has_bit_rot,
            faults: 3 + random.below(8) as u64,
            rescales_to: None,
        }
    }

    pub(super) fn undisturbed(&self) -> Self {
        Settings {
            faults: 0,
            has_disk_faults: false,
            has_failed_syncs: false,
            has_bit_rot: false,
            ..self.clone()
        }
    }

    /// May a process end, or not begin, because of the disk, and say no more of it than that?
    pub(super) fn may_give_up(&self) -> bool {
        self.has_disk_faults || self.has_failed_syncs
    }

    pub(super) fn configure(&self, configuration: &mut ConfigurationBuilder) {
        configuration
            .parallelism(self.parallelism)
            .state_backend(self.backend)
            .batch_records(self.batch_records)
            .pages_in_flight(2)
            .drain_budget_records(32)
            .checkpoint_interval(Duration::from_millis(self.interval_ms))
            .checkpoint_timeout(Duration::from_millis(2_000))
            .checkpoints_retained(self.retained)
            .restart_strategy(RestartKind::FixedDelay)
            .restart_attempts(u32::MAX)
            .restart_delay(Duration::from_millis(2));
    }
}
