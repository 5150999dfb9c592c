//! How much memory the slots of an engine share when the configuration does not say.

/// What is assumed where the system does not tell.
const UNKNOWN_BYTES: u64 = 2 << 30;

/// Memory for the state of all slots together: half of the machine's. The other half is for records in flight, the
/// page cache (which the state's files live from) and the rest of the process.
pub(crate) fn state_memory_bytes() -> u64 {
    physical_bytes().unwrap_or(UNKNOWN_BYTES) / 2
}

fn physical_bytes() -> Option<u64> {
    // SAFETY: `sysconf` takes a number and touches no memory of ours.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    // SAFETY: as above.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let bytes = u64::try_from(pages).ok()?.checked_mul(u64::try_from(page_bytes).ok()?)?;
    (bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_memory() {
        assert!(state_memory_bytes() > 16 << 20);
    }
}
