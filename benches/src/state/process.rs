//! What the kernel says of this process.

use std::fs::read_to_string;

/// Bytes that this process caused to be sent to storage so far.
pub(super) fn written_bytes() -> u64 {
    field(&read_to_string("/proc/self/io").unwrap_or_default(), "write_bytes:")
}

/// Resident memory that is no mapped file, in bytes.
pub(super) fn anonymous_bytes() -> u64 {
    field(&read_to_string("/proc/self/status").unwrap_or_default(), "RssAnon:") << 10
}

/// Gives the memory that the allocator has kept back to the kernel, so that the next to be measured
/// is measured alone.
pub(super) fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointer and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// How long this thread was ready to run and had no processor, in nanoseconds: what the machine took
/// from a measurement.
pub(super) fn thread_waited_ns() -> u64 {
    let text = read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The number behind a name at the beginning of a line; 0 where there is none.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_for_what_it_has() {
        assert_eq!(field("VmRSS: 5 kB\nRssAnon:\t  7 kB\n", "RssAnon:"), 7);
        assert_eq!(field("VmRSS: 5 kB\n", "RssAnon:"), 0);
        if cfg!(target_os = "linux") {
            assert!(anonymous_bytes() > 0);
        }
    }
}
