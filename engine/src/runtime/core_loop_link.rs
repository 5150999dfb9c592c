//! The link between a core's loop and everybody else: inbox, waker, idle policy.
//!
//! 1. Control puts a command into the inbox, sets the `pending` flag and wakes the core.
//! 2. The loop looks at the flag once a round, which is a load of a line that nobody writes; only then it locks.
//! 3. Each engine that names the core leases it with an idle policy; the most wakeful lease rules, and a core that
//!    nobody leases sleeps at once.
//!
//! **Invariants**
//! - After the inbox is closed no command enters it; the sender gets the command back.
//! - `pending` is set under the lock together with the push, and cleared under the lock together with the take, so it
//!   is never down while a command lies there.

use std::collections::VecDeque;
use std::sync::Arc;

use super::deployment::CoreCommand;
use super::shell::IdlePolicy;
use super::wake::CoreWaker;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};

/// The core's loop has ended; the command comes back.
#[derive(Debug, thiserror::Error)]
#[error("core {core} has shut down; ask the registry of executors for a new handle")]
pub struct CoreGone {
    /// Which core.
    pub core: usize,
    /// What was not delivered.
    pub command: Box<CoreCommand>,
}

/// How a test driver learns what a core's loop has done (see `stepped`): it asks, and the next round that begins answers
/// when it ends. Nobody asks in production; then a round costs one load of a line that nobody writes.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Pulse {
    /// The number of the latest question. Its release publishes what the asker knows to the round that reads it.
    asked: AtomicU64,
    /// Rounds that have worked; written by the loop before `answered`.
    worked: AtomicU64,
    /// The question that was answered last. Its release publishes `worked`, and all that the rounds until then did.
    answered: AtomicU64,
}

impl Pulse {
    fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { asked: zero(), worked: zero(), answered: zero() }
    }

    /// Asks, and returns the question's number.
    pub(crate) fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// How many rounds have worked, once a round that began after question `number` is over.
    pub(crate) fn answer_to(&self, number: u64) -> Option<u64> {
        let is_answered = self.answered.load(Ordering::Acquire) >= number;
        is_answered.then(|| self.worked.load(Ordering::Relaxed))
    }

    /// The latest question; by the loop when a round begins.
    #[inline]
    pub(crate) fn question(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// The round that read question `number` is over, and `worked` rounds have worked; by the loop.
    #[cold]
    pub(crate) fn answer(&self, number: u64, worked: u64) {
        self.worked.store(worked, Ordering::Relaxed);
        self.answered.store(number, Ordering::Release);
    }
}

/// Shared by a core's loop, its shell and all handles to it.
#[derive(Debug)]
pub(crate) struct CoreLink {
    core: usize,
    waker: Arc<CoreWaker>,
    /// Set by senders, cleared by the loop, both under the lock of `inbox`; the loop reads it without.
    pending: AtomicBool,
    inbox: Mutex<Inbox>,
    /// The ruling policy as [`IdlePolicy::spin_ns`]; written under the lock of `leases`, read by the loop.
    spin_ns: AtomicU64,
    leases: Mutex<Leases>,
    pulse: Pulse,
}

#[derive(Debug, Default)]
struct Inbox {
    commands: VecDeque<CoreCommand>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Leases {
    next_id: u64,
    held: Vec<(u64, IdlePolicy)>,
}

impl CoreLink {
    pub(crate) fn new(core: usize) -> Self {
        Self {
            core,
            waker: Arc::new(CoreWaker::new()),
            pending: AtomicBool::new(false),
            inbox: Mutex::new(Inbox::default()),
            spin_ns: AtomicU64::new(IdlePolicy::EFFICIENT.spin_ns()),
            leases: Mutex::new(Leases::default()),
            pulse: Pulse::new(),
        }
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    pub(crate) fn core(&self) -> usize {
        self.core
    }

    pub(crate) fn waker(&self) -> &Arc<CoreWaker> {
        &self.waker
    }

    /// Hands a command over and gets the core up.
    pub(crate) fn send(&self, command: CoreCommand) -> Result<(), CoreGone> {
        {
            let mut inbox = lock(&self.inbox);
            if inbox.closed {
                return Err(CoreGone { core: self.core, command: Box::new(command) });
            }
            inbox.commands.push_back(command);
            self.pending.store(true, Ordering::Relaxed);
        }
        self.waker.wake_if_sleeping();
        Ok(())
    }

    /// All commands that wait, or none without taking the lock. Relaxed is enough: a command that is not seen now is
    /// seen in a later round, or, before a sleep, by the argument of [`CoreWaker`]; the lock publishes its content.
    #[inline]
    pub(crate) fn take_commands(&self) -> VecDeque<CoreCommand> {
        if !self.pending.load(Ordering::Relaxed) {
            return VecDeque::new();
        }
        let mut inbox = lock(&self.inbox);
        self.pending.store(false, Ordering::Relaxed);
        std::mem::take(&mut inbox.commands)
    }

    /// Refuses commands from now on and returns those that came too late for the loop.
    pub(crate) fn close(&self) -> VecDeque<CoreCommand> {
        let mut inbox = lock(&self.inbox);
        inbox.closed = true;
        self.pending.store(false, Ordering::Relaxed);
        std::mem::take(&mut inbox.commands)
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.inbox).closed
    }

    /// Adds a lease and returns its id. A core that sleeps is woken, so that it takes up the new policy.
    pub(crate) fn lease(&self, policy: IdlePolicy) -> u64 {
        let id = {
            let mut leases = lock(&self.leases);
            let id = leases.next_id;
            leases.next_id += 1;
            leases.held.push((id, policy));
            self.rule(&leases);
            id
        };
        self.waker.wake_if_sleeping();
        id
    }

    /// Ends a lease.
    pub(crate) fn release(&self, id: u64) {
        let mut leases = lock(&self.leases);
        leases.held.retain(|(held, _)| *held != id);
        self.rule(&leases);
    }

    fn rule(&self, leases: &Leases) {
        let spin_ns = leases.held.iter().map(|(_, policy)| policy.spin_ns()).max();
        self.spin_ns.store(spin_ns.unwrap_or(IdlePolicy::EFFICIENT.spin_ns()), Ordering::Relaxed);
    }

    /// How long the core polls without success before it sleeps; `u64::MAX` for ever.
    #[inline]
    pub(crate) fn spin_ns(&self) -> u64 {
        self.spin_ns.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_models {
    use super::*;
    use crate::runtime::deployment::JobId;
    use crate::runtime::wake::Unparker;
    use crate::sync::thread;

    /// A command sent while the core is on its way to sleep is always taken.
    #[test]
    fn loom_a_command_is_never_left_lying() {
        loom::model(|| {
            let link = Arc::new(CoreLink::new(0));
            let sender = Arc::clone(&link);
            let handle = loom::thread::spawn(move || {
                sender.send(CoreCommand::Start(JobId(7))).unwrap();
            });
            link.waker().bind(Unparker::Thread(thread::current()));
            let mut taken = 0;
            while taken == 0 {
                link.waker().raise();
                taken += link.take_commands().len();
                if taken == 0 {
                    link.waker().sleep_on_thread(None);
                }
            }
            link.waker().unbind();
            handle.join().unwrap();
        });
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::runtime::deployment::JobId;

    #[test]
    fn the_most_wakeful_lease_rules() {
        let link = CoreLink::new(0);
        assert_eq!(link.spin_ns(), 0);
        let balanced = link.lease(IdlePolicy::BALANCED);
        let latency = link.lease(IdlePolicy::LATENCY);
        let _efficient = link.lease(IdlePolicy::EFFICIENT);
        assert_eq!(link.spin_ns(), u64::MAX);
        link.release(latency);
        assert_eq!(link.spin_ns(), 100_000);
        link.release(balanced);
        assert_eq!(link.spin_ns(), 0);
    }

    #[test]
    fn a_closed_inbox_hands_the_command_back() {
        let link = CoreLink::new(3);
        link.send(CoreCommand::Start(JobId(1))).unwrap();
        assert_eq!(link.close().len(), 1);
        let refused = link.send(CoreCommand::CancelJob(JobId(2))).unwrap_err();
        assert!(matches!(*refused.command, CoreCommand::CancelJob(JobId(2))));
        assert!(refused.to_string().starts_with("core 3 has shut down"));
    }
}
