//! What the sustained-run binaries share: the event generator and digests of WORKLOADS, an allocator that counts, clocks.
//!
//! The generator and the digests are fixed by the comparison with other systems; do not change them.
#![expect(clippy::disallowed_methods, reason = "benches measure by the clock")]

pub mod alloc;
pub mod digest;
pub mod nexmark;
pub mod state;
pub mod workload;

use std::time::Instant;

/// Nanoseconds on the monotonic clock since the first call in this process.
pub fn now_ns() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Resident memory of this process in MiB.
pub fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0.0);
    pages * 4096.0 / (1 << 20) as f64
}
