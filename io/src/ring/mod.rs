//! io_uring: may this process use it, and two drivers that do.
//!
//! ```text
//!  probe ──── what an executor needs: may this process use io_uring, and if not, why
//!  op ─────── one operation with its file and bytes: pushed to a Kernel, handed back when done
//!  driver ─── the Kernel that is a ring: writes, syncs, links; for the writer thread of `uring`
//!  reads ──── a ring for many reads into borrowed buffers, owned by the thread that waits
//!  allocate ─ blocks for a file ahead of its writes
//!  wake ───── what ends a driver's wait when there are new commands
//! ```
//!
//! # Invariants
//!
//! - The kernel holds what it was given until the completion: operations by ownership, borrowed
//!   buffers because the reader does not return (or unwind) before all its reads are done.
//! - A ring is used by one thread at a time.

mod allocate;
mod driver;
mod op;
mod probe;
mod reads;
#[cfg(test)]
mod unruly;
mod wake;

pub(crate) use allocate::allocate;
pub(crate) use driver::Driver;
pub(crate) use op::{Completion, Kernel, Op, WriteBytes};
pub use probe::{MEMLOCK_NEEDED_BYTES, UringRefusal, UringSupport, probe};
pub(crate) use reads::{PlannedRead, ReadRing};
#[cfg(test)]
pub(crate) use unruly::{Faults, UnrulyKernel};
pub(crate) use wake::Wake;
