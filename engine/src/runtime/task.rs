//! The task: the one thing a shell drives.
//!
//! A task is a synchronous state machine. It owns its operators, their state and its halves of the rings; it reads no
//! clock, starts no thread, waits for nothing and draws no random number. Whatever of the world it may see is in
//! [`CoreServices`], which the shell refreshes before each run. So the same task runs under the glommio shell, the
//! plain-thread shell, and the seeded one of [`testing`](crate::testing), which has one thread and a virtual clock.
//!
//! **Invariants**
//! - A task is built, run and dropped on one thread.
//! - `run` returns after about `budget` records; it never blocks.
//! - After `Done` a task is not run again.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::deployment::TaskOrder;
use super::wake::CoreWaker;

/// What one run of a task came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Records, controls or timers were handled; run again soon.
    Worked,
    /// Nothing to do until an input, a timer or a mailbox brings something.
    Idle,
    /// An output is full: only the consumer can help.
    Blocked,
    /// The end of input has passed through and everything is handed over.
    Done,
}

/// A unit of scheduling: one pipelined region of operators in one slot.
///
/// Whatever a run hands over or takes in that another task could wait for (a page, an empty page given back, a message)
/// makes it `Worked`, also if the run did nothing but flush what an earlier one left; and if that other task may be on another core, the run ends with that core's
/// [`CoreWaker::wake_if_sleeping`].
pub trait Task {
    /// Runs for about `budget` records and returns.
    fn run(&mut self, budget: usize) -> Progress;

    /// Takes note of an order, which it follows when it is run.
    fn order(&mut self, order: TaskOrder) {
        let _ = order;
    }
}

/// What the tasks of one core may know of the world, refreshed by the shell.
///
/// The shell writes the cells before it runs a task; tasks only read them.
#[derive(Debug, Default)]
pub struct CoreServices {
    /// Wall clock, milliseconds since the epoch: processing time.
    pub now_ms: Cell<i64>,
    /// Monotonic clock in nanoseconds, for rates and durations.
    pub monotonic_ns: Cell<u64>,
    /// Earliest processing-time instant (ms) at which some idle task wants to run; `i64::MAX` for none. Tasks lower it
    /// while they run, the shell resets it before each round.
    pub next_timer_ms: Cell<i64>,
    /// Processing-time timers do not fire although their time has come: a test driver is between two steps of its
    /// clock. Always false elsewhere.
    pub timers_held: Cell<bool>,
    /// Gets this core up. A task whose input comes from a thread of its own (a blocking client behind the channel
    /// source) gives that thread a clone.
    pub waker: Arc<CoreWaker>,
}

/// Shared by all tasks of a core.
pub type CoreHandle = Rc<CoreServices>;
