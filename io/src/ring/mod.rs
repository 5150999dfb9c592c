//! io_uring: today the probe that says whether this process may use it.
//!
//! The driver (submission, completion, the life of one operation, registered buffers) for the
//! checkpoint writer joins it here later.

mod probe;

pub use probe::{MEMLOCK_NEEDED_BYTES, UringRefusal, UringSupport, probe};
