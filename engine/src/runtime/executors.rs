//! The registry of executors: the one thing of the engine that is global to the process.
//!
//! 1. An engine asks for a core: shell kind, core number, idle policy.
//! 2. The first to ask starts the core's thread; the others get the same one. It stays for the life of the process,
//!    asleep when nobody needs it: glommio 0.9 leaks eventfds with each executor that ends, so executors are not ended.
//! 3. The handle is a lease. While it lives its idle policy counts; of several the most wakeful one rules.
//!
//! **Invariants**
//! - At most one executor per (shell, core).
//! - io_uring is probed before the first glommio executor is built, and glommio is not touched where it is refused.
//! - The fall-back to threads is said once a process, with the remedy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::core_loop_link::{CoreGone, CoreLink};
use super::deployment::CoreCommand;
use super::shell::{self, IdlePolicy, Shell, allowed_cores};
use super::wake::CoreWaker;
pub use crate::config::ShellKind;
use crate::time::{Clock, LentClock, SystemClock};
use thalweg_io::ring::{UringSupport, probe};

/// Why a core cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The core is outside the affinity mask of the process, or does not exist.
    #[error(
        "core {core} is not one of the cores this process may use, {allowed:?}; name one of these, or widen the mask \
         (taskset, the container's cpuset, CPUAffinity= in systemd)"
    )]
    CoreNotAllowed {
        /// The core asked for.
        core: usize,
        /// The cores of the mask.
        allowed: Vec<usize>,
    },
    /// The glommio shell was asked for by name on a host that refuses io_uring.
    #[error("the glommio shell needs io_uring: {reason}; or choose the shell `auto` or `threads`")]
    UringRefused {
        /// Why, and what would help.
        reason: String,
    },
    /// The core's thread did not come up.
    #[error("the executor of core {core} did not start: {reason}")]
    NotStarted {
        /// Which core.
        core: usize,
        /// What the thread said.
        reason: String,
    },
    /// The affinity mask cannot be read.
    #[error("the cores this process may use cannot be read (sched_getaffinity)")]
    Affinity(#[source] std::io::Error),
}

/// A lease of a core, held by an engine. Dropping it ends the lease; the core goes on.
///
/// The sum of what crosses to the core: commands go in here, events come back through the sink of each deployment, and
/// producers get its waker.
#[derive(Debug)]
pub struct CoreHandleRemote {
    link: Arc<CoreLink>,
    shell: Shell,
    lease: u64,
    /// Of an executor that is not shared; it goes back to the others of its kind with the lease.
    own: Option<Arc<LentClock>>,
}

impl CoreHandleRemote {
    fn new(link: Arc<CoreLink>, shell: Shell, policy: IdlePolicy) -> Self {
        let lease = link.lease(policy);
        Self { link, shell, lease, own: None }
    }

    /// A core that its owner drives on a thread that is there anyway.
    pub(crate) fn driven_by_owner(link: Arc<CoreLink>) -> Self {
        Self::new(link, Shell::Seeded, IdlePolicy::EFFICIENT)
    }

    pub(crate) fn link(&self) -> &Arc<CoreLink> {
        &self.link
    }

    /// Hands the core a command and gets it up.
    ///
    /// # Errors
    ///
    /// The core's loop has ended; the command comes back.
    pub fn send(&self, command: CoreCommand) -> Result<(), CoreGone> {
        self.link.send(command)
    }

    /// The core's waker, for producers on other threads.
    #[must_use]
    pub fn waker(&self) -> Arc<CoreWaker> {
        Arc::clone(self.link.waker())
    }

    /// Which core.
    #[must_use]
    pub fn core(&self) -> usize {
        self.link.core()
    }

    /// Which shell drives it: what [`ShellKind::Auto`] came to.
    #[must_use]
    pub fn shell(&self) -> Shell {
        self.shell
    }
}

impl Drop for CoreHandleRemote {
    fn drop(&mut self) {
        self.link.release(self.lease);
        if let Some(clock) = self.own.take()
            && !self.link.is_closed()
        {
            own_executors().push(OwnExecutor { shell: self.shell, link: self.link.clone(), clock });
        }
    }
}

/// An executor that serves one owner at a time, by a clock that the owner lends it.
struct OwnExecutor {
    shell: Shell,
    link: Arc<CoreLink>,
    clock: Arc<LentClock>,
}

/// Those that nobody has just now. They are kept for the same reason as the shared ones.
fn own_executors() -> MutexGuard<'static, Vec<OwnExecutor>> {
    static IDLE: Mutex<Vec<OwnExecutor>> = Mutex::new(Vec::new());
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

type Registry = HashMap<(Shell, usize), Arc<CoreLink>>;

/// The process-wide registry. See the module.
#[derive(Debug)]
pub struct Executors;

impl Executors {
    /// Leases a core, starting its executor if this is the first lease of it.
    ///
    /// # Errors
    ///
    /// The core is outside the affinity mask, glommio was asked for by name and io_uring is refused, or the thread did
    /// not come up.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::runtime::{Executors, ExecutorError, IdlePolicy, ShellKind, allowed_cores};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let core = allowed_cores()?[0];
    /// let mine = Executors::core(ShellKind::Threads, core, IdlePolicy::EFFICIENT)?;
    /// assert_eq!(mine.core(), core);
    ///
    /// let far = Executors::core(ShellKind::Auto, 9_999, IdlePolicy::default());
    /// assert!(matches!(far, Err(ExecutorError::CoreNotAllowed { core: 9_999, .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn core(
        kind: ShellKind,
        core: usize,
        policy: IdlePolicy,
    ) -> Result<Arc<CoreHandleRemote>, ExecutorError> {
        let shell = allow(kind, core)?;
        let link = Self::find_or_start(shell, core)?;
        Ok(Arc::new(CoreHandleRemote::new(link, shell, policy)))
    }

    /// Leases an executor that nobody shares, and that runs by `clock`: for tests of jobs.
    pub(crate) fn own_core(
        kind: ShellKind,
        core: usize,
        policy: IdlePolicy,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<CoreHandleRemote>, ExecutorError> {
        let shell = allow(kind, core)?;
        let is_fit = |own: &OwnExecutor| own.shell == shell && own.link.core() == core;
        let idle = {
            let mut idle = own_executors();
            idle.iter().position(is_fit).map(|index| idle.swap_remove(index))
        };
        let (link, lent) = match idle {
            Some(OwnExecutor { link, clock: lent, .. }) => {
                lent.lend(clock);
                (link, lent)
            }
            None => {
                let lent = Arc::new(LentClock::new(clock));
                let link = shell::start(shell, core, lent.clone())
                    .map_err(|reason| ExecutorError::NotStarted { core, reason })?;
                (link, lent)
            }
        };
        let mut handle = CoreHandleRemote::new(link, shell, policy);
        handle.own = Some(lent);
        Ok(Arc::new(handle))
    }

    fn find_or_start(shell: Shell, core: usize) -> Result<Arc<CoreLink>, ExecutorError> {
        static REGISTRY: OnceLock<Mutex<Registry>> = OnceLock::new();
        let registry = REGISTRY.get_or_init(Mutex::default);
        // Held while a thread starts: a second engine must wait for that thread, not start another.
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        match registry.get(&(shell, core)) {
            Some(link) if !link.is_closed() => Ok(Arc::clone(link)),
            _ => {
                let link = shell::start(shell, core, Arc::new(SystemClock::new()))
                    .map_err(|reason| ExecutorError::NotStarted { core, reason })?;
                registry.insert((shell, core), Arc::clone(&link));
                Ok(link)
            }
        }
    }
}

/// Is the core one that this process may use, and what does the kind come to?
fn allow(kind: ShellKind, core: usize) -> Result<Shell, ExecutorError> {
    let allowed = allowed_cores().map_err(ExecutorError::Affinity)?;
    if !allowed.contains(&core) {
        return Err(ExecutorError::CoreNotAllowed { core, allowed });
    }
    resolve(kind, io_uring_refused_once)
}

/// Why io_uring cannot be used here, with the remedy; `None` when it can.
///
/// glommio 0.9 must not be tried on a host that refuses io_uring: it panics inside the executor's thread and leaves a
/// poisoned lock for the executors after it. So the kernel is asked first.
pub(crate) fn io_uring_refused() -> Option<String> {
    match probe() {
        UringSupport::Supported { .. } => None,
        UringSupport::Refused(refusal) => Some(format!("{}; {}", refusal.reason, refusal.remedy)),
    }
}

/// The answer does not change while the process lives; it is asked for once.
fn io_uring_refused_once() -> Option<String> {
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    REFUSED.get_or_init(io_uring_refused).clone()
}

/// Decides what a kind comes to; `refused` is asked only if it matters.
fn resolve(
    kind: ShellKind,
    refused: impl FnOnce() -> Option<String>,
) -> Result<Shell, ExecutorError> {
    match kind {
        ShellKind::Threads => Ok(Shell::Threads),
        ShellKind::Glommio => match refused() {
            Some(reason) => Err(ExecutorError::UringRefused { reason }),
            None => Ok(Shell::Glommio),
        },
        ShellKind::Auto => match refused() {
            Some(reason) => {
                warn_once(&reason);
                Ok(Shell::Threads)
            }
            None => Ok(Shell::Glommio),
        },
    }
}

fn warn_once(reason: &str) {
    static WARNED: std::sync::Once = std::sync::Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            "io_uring is refused, so plain threads drive the tasks and checkpoints use ordinary system calls: same \
             results, slower checkpoints. {reason}"
        );
    });
}

#[cfg(test)]
#[cfg(not(loom))]
#[path = "executors_tests.rs"]
mod tests;
