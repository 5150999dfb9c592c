//! Crash points in the simulator: they are counted, and at one of them the process may die.
//!
//! 1. While a process runs, each crash point that it passes calls [`Death::pass`] (in builds with the feature `crash-points` of
//!    `thalweg-io`; in others none is ever passed).
//! 2. At the one that is armed the image of the disk is taken, at that very moment, and the ledger turns to the next
//!    process.
//! 3. What the process still does until its turn is over happens to a disk that nobody will read, and to a ledger that
//!    does not listen. Then the run finds [`Death::take`] and drops it.
//!
//! **Invariant**: nothing that the process does behind the point has any effect on the next one.

use super::ledger::Ledger;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use thalweg_io::storage::FaultStorage;
use thalweg_io::{CrashHook, set_crash_hook};

/// How often each crash point was passed, and how often a process died there.
pub(super) type PointCounts = BTreeMap<&'static str, (u64, u64)>;

/// Where the process is to die.
#[derive(Clone, Copy, Debug)]
pub(super) struct Armed {
    pub(super) point: &'static str,
    /// At which pass of it, from 1.
    pub(super) pass: u64,
    /// Draws the image of the disk.
    pub(super) seed: u64,
    /// All of the machine dies, so that what was not synced may be gone.
    pub(super) is_machine: bool,
}

/// See the module docs. One for each process.
#[derive(Debug)]
pub(super) struct Death {
    state: Rc<RefCell<State>>,
    before: Option<Hook>,
}

/// A hook that is given back.
struct Hook(CrashHook);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

#[derive(Debug)]
struct State {
    counts: PointCounts,
    armed: Option<Armed>,
    disk: FaultStorage,
    ledger: Arc<Ledger>,
    /// Where it died, and the disk as the next process finds it.
    after: Option<(&'static str, FaultStorage)>,
}

impl Death {
    /// Watches the process that begins on this thread.
    pub(super) fn watch(disk: &FaultStorage, ledger: &Arc<Ledger>, armed: Option<Armed>) -> Self {
        let state = State {
            counts: PointCounts::new(),
            armed,
            disk: disk.clone(),
            ledger: ledger.clone(),
            after: None,
        };
        let state = Rc::new(RefCell::new(state));
        let hooked = state.clone();
        let hook: CrashHook = Rc::new(move |point| hooked.borrow_mut().pass(point));
        Death { state, before: set_crash_hook(Some(hook)).map(Hook) }
    }

    /// Where the process has died, and the disk that it has left; once.
    pub(super) fn take(&self) -> Option<(&'static str, FaultStorage)> {
        self.state.borrow_mut().after.take()
    }

    /// What was passed so far; counted anew from here on.
    pub(super) fn take_counts(&self) -> PointCounts {
        std::mem::take(&mut self.state.borrow_mut().counts)
    }
}

impl Drop for Death {
    fn drop(&mut self) {
        set_crash_hook(self.before.take().map(|hook| hook.0));
    }
}

impl State {
    fn pass(&mut self, point: &'static str) {
        if self.armed.is_none() && self.after.is_some() {
            return; // It is dead.
        }
        let (passes, kills) = self.counts.entry(point).or_default();
        *passes += 1;
        let Some(armed) = self.armed.filter(|armed| armed.point == point) else { return };
        if *passes < armed.pass {
            return;
        }
        *kills += 1;
        self.armed = None;
        let Armed { seed, is_machine, .. } = armed;
        let after = if is_machine { self.disk.crash(seed) } else { self.disk.kill(seed) };
        self.ledger.next_process();
        self.after = Some((point, after));
    }
}
