//! Watermark alignment: sources of one group that run ahead wait for the rest.
//!
//! Each subtask of a source in the group is a member with one atomic, on cache lines of its own. It writes there what it has
//! last said downstream, and compares that with the lowest of all members before it polls its reader.
//!
//! ```text
//!   may read   while   own watermark <= lowest of the group + max drift
//! ```
//!
//! Not counted are members that have said no watermark yet, are idle, or have ended. A member that waits looks each
//! millisecond: nobody wakes it, so that no writer needs to know who waits.
//!
//! **Invariants**
//! - Members join while their task is built; all tasks of a job are built before the first one runs. So a member that looks
//!   for the first time sees all others.
//! - The member with the lowest watermark never waits, so not all of them can.

use crate::record::{Control, MAX_WATERMARK, StreamStatus};
use crate::time::WatermarkAlignment;
use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Not counted: no watermark yet.
const NONE_YET: i64 = i64::MIN;

/// Not counted: idle, or ended.
const SILENT: i64 = MAX_WATERMARK;

/// Two cache lines, since neighbours are fetched in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Member {
    /// Written by its own subtask, read by all of the group; publishes nothing but itself.
    watermark_ms: AtomicI64,
}

type Members = Arc<Mutex<Vec<Arc<Member>>>>;

/// The groups of one job, by name. Locked while tasks are built, and once more by each member when it first looks.
#[derive(Debug, Default)]
pub(crate) struct AlignmentGroups {
    groups: Mutex<HashMap<String, Members>>,
}

impl AlignmentGroups {
    /// Makes the subtask that is being built a member.
    pub(crate) fn join(&self, alignment: &WatermarkAlignment) -> AlignedSource {
        let member = Arc::new(Member { watermark_ms: AtomicI64::new(NONE_YET) });
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let group = groups.entry(alignment.group.clone()).or_default();
        group.lock().unwrap_or_else(PoisonError::into_inner).push(member.clone());
        AlignedSource {
            member,
            group: group.clone(),
            members: OnceCell::new(),
            watermark_ms: Cell::new(NONE_YET),
            lowest_ms: Cell::new(SILENT),
            look_again_ms: Cell::new(i64::MIN),
            max_drift_ms: alignment.max_drift_ms,
            update_interval_ms: alignment.update_interval_ms,
        }
    }
}

/// One subtask of an aligned source; lives on its core.
#[derive(Debug)]
pub(crate) struct AlignedSource {
    member: Arc<Member>,
    group: Members,
    /// All members, from the first look on.
    members: OnceCell<Vec<Arc<Member>>>,
    /// The last watermark said, also while idle.
    watermark_ms: Cell<i64>,
    /// The lowest of the group as of the last look.
    lowest_ms: Cell<i64>,
    look_again_ms: Cell<i64>,
    max_drift_ms: i64,
    update_interval_ms: i64,
}

impl AlignedSource {
    /// The subtask has said this downstream.
    pub(crate) fn has_said(&self, control: Control) {
        let counts_as_ms = match control {
            Control::Watermark(watermark_ms) => {
                self.watermark_ms.set(watermark_ms);
                watermark_ms
            }
            Control::Status(StreamStatus::Active) => self.watermark_ms.get(),
            Control::Status(StreamStatus::Idle) | Control::End => SILENT,
            Control::Barrier(_) => return,
        };
        self.member.watermark_ms.store(counts_as_ms, Ordering::Relaxed);
    }

    /// Is it too far ahead to be read just now?
    pub(crate) fn must_wait(&self, now_ms: i64) -> bool {
        let is_ahead = || {
            let watermark_ms = self.watermark_ms.get();
            let ahead_ms = watermark_ms.saturating_sub(self.lowest_ms.get());
            ahead_ms > self.max_drift_ms && watermark_ms != SILENT
        };
        // A clock that was set back is no reason to believe an old look for long.
        let is_due = now_ms >= self.look_again_ms.get()
            || now_ms.saturating_add(self.update_interval_ms) < self.look_again_ms.get();
        if is_due || is_ahead() {
            self.look(now_ms);
        }
        is_ahead()
    }

    fn look(&self, now_ms: i64) {
        self.look_again_ms.set(now_ms.saturating_add(self.update_interval_ms));
        let members = self
            .members
            .get_or_init(|| self.group.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let watermarks = members.iter().map(|member| member.watermark_ms.load(Ordering::Relaxed));
        self.lowest_ms.set(watermarks.filter(|ms| *ms != NONE_YET).min().unwrap_or(SILENT));
    }
}

impl Drop for AlignedSource {
    fn drop(&mut self) {
        // However its task ended, nobody is to wait for it.
        self.member.watermark_ms.store(SILENT, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Control::{Status, Watermark};

    fn group(count: usize, max_drift_ms: i64, update_interval_ms: i64) -> Vec<AlignedSource> {
        let groups = AlignmentGroups::default();
        let group = "g".to_owned();
        let alignment = WatermarkAlignment { group, max_drift_ms, update_interval_ms };
        (0..count).map(|_| groups.join(&alignment)).collect()
    }

    fn waiting(members: &[AlignedSource], now_ms: i64) -> Vec<bool> {
        members.iter().map(|member| member.must_wait(now_ms)).collect()
    }

    #[test]
    fn who_is_ahead_by_more_than_the_drift_waits() {
        let members = group(3, 100, 0);
        for (member, watermark) in members.iter().zip([1_000, 1_100, 1_101]) {
            member.has_said(Watermark(watermark));
        }
        assert_eq!(waiting(&members, 0), [false, false, true]);
        members[0].has_said(Watermark(1_001));
        assert_eq!(waiting(&members, 0), [false, false, false]);
    }

    #[test]
    fn who_has_no_watermark_is_idle_or_has_ended_is_not_waited_for() {
        let members = group(3, 10, 0);
        members[0].has_said(Watermark(500));
        assert_eq!(waiting(&members, 0), [false, false, false]);
        members[1].has_said(Watermark(5));
        assert_eq!(waiting(&members, 0), [true, false, false]);
        members[1].has_said(Status(StreamStatus::Idle));
        assert_eq!(waiting(&members, 0), [false, false, false]);
        members[1].has_said(Status(StreamStatus::Active));
        assert_eq!(waiting(&members, 0), [true, false, false]);
        members[1].has_said(Watermark(MAX_WATERMARK));
        members[1].has_said(Control::End);
        assert_eq!(waiting(&members, 0), [false, false, false]);
    }

    #[test]
    fn a_member_that_is_dropped_holds_nobody() {
        let mut members = group(2, 10, 0);
        members[0].has_said(Watermark(500));
        members[1].has_said(Watermark(5));
        assert!(members[0].must_wait(0));
        drop(members.pop());
        assert!(!members[0].must_wait(0));
    }

    #[test]
    fn a_member_that_does_not_wait_looks_each_interval() {
        let members = group(2, 10, 50);
        members[1].has_said(Watermark(0));
        assert!(!members[0].must_wait(1_000));
        members[1].has_said(Watermark(100));
        // It still believes that the lowest is 0, and is not ahead of that.
        members[0].has_said(Watermark(5));
        assert!(!members[0].must_wait(1_049));
        // Ahead of what it believes: it looks at once.
        members[0].has_said(Watermark(105));
        assert!(!members[0].must_wait(1_049));
        // Not ahead of what it believes, until it looks again.
        members[1].has_said(Watermark(MAX_WATERMARK));
        assert!(!members[0].must_wait(1_200) && !members[0].must_wait(900));
    }

    #[test]
    fn the_largest_drift_does_not_overflow() {
        let members = group(2, i64::MAX, 0);
        members[0].has_said(Watermark(i64::MAX - 1));
        members[1].has_said(Watermark(i64::MIN + 1));
        assert_eq!(waiting(&members, 0), [false, false]);
    }

    #[test]
    fn groups_of_other_names_do_not_meet() {
        let groups = AlignmentGroups::default();
        let named = |group: &str| WatermarkAlignment {
            group: group.to_owned(),
            max_drift_ms: 0,
            update_interval_ms: 0,
        };
        let (a, b) = (groups.join(&named("a")), groups.join(&named("b")));
        b.has_said(Watermark(1));
        a.has_said(Watermark(100));
        assert!(!a.must_wait(0) && !b.must_wait(0));
    }
}
