//! What the kernel says of the host and of this process, and threads that stay on a core.

use std::fs::{read_dir, read_to_string};
use std::io;
use std::mem;

/// How long this thread was ready to run and had no processor, in nanoseconds.
pub(crate) fn thread_waited_ns() -> u64 {
    let text = read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// How long the hypervisor has had the processors for others, in milliseconds, since the machine began. Not every hypervisor says it.
pub(crate) fn stolen_ms() -> u64 {
    let text = read_to_string("/proc/stat").unwrap_or_default();
    // user nice system idle iowait irq softirq steal, in hundredths of a second.
    let words = text.lines().next().into_iter().flat_map(str::split_whitespace);
    words.skip(1).nth(7).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 10
}

/// Memory that can still be had, in bytes; 0 if it is not known.
pub(crate) fn available_bytes() -> u64 {
    let text = read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Bytes that this process has caused to be sent to storage, whichever thread writes them.
pub(crate) fn written_bytes() -> u64 {
    let text = read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// How long the threads of this process whose names begin so have been on a processor, in nanoseconds.
pub(crate) fn threads_cpu_ns(prefix: &str) -> u64 {
    let mut cpu_ns = 0;
    for thread in read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file| read_to_string(thread.path().join(file)).unwrap_or_default();
        if read("comm").starts_with(prefix) {
            let text = read("schedstat");
            let word = text.split_whitespace().next();
            cpu_ns += word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    cpu_ns
}

/// The cores that this thread may use, ascending.
///
/// # Errors
/// The error of `sched_getaffinity`.
pub(crate) fn allowed_cores() -> io::Result<Vec<usize>> {
    let mut set = empty_set();
    // SAFETY: `set` is a live `cpu_set_t` of the size passed; 0 names the calling thread.
    let result = unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the index stays below the number of bits of the set.
    Ok((0..CAPACITY).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect())
}

/// Keeps the calling thread on `core`.
///
/// # Errors
/// The error of `sched_setaffinity`.
pub(crate) fn stay_on(core: usize) -> io::Result<()> {
    if core >= CAPACITY {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = empty_set();
    // SAFETY: `core` was checked to be below the number of bits of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` is a live `cpu_set_t` of the size passed, and the call only reads it.
    let result = unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many cores a mask has room for.
const CAPACITY: usize = mem::size_of::<libc::cpu_set_t>() * 8;

fn empty_set() -> libc::cpu_set_t {
    // SAFETY: `cpu_set_t` is a plain array of integers, for which zeroes are a valid value: the empty set.
    unsafe { mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_put() {
        let allowed = allowed_cores().unwrap();
        let core = *allowed.last().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                stay_on(core).unwrap();
                assert_eq!(allowed_cores().unwrap(), [core]);
            });
        });
        assert_eq!(allowed_cores().unwrap(), allowed);
        assert!(stay_on(usize::MAX).is_err());
    }

    #[test]
    fn a_thread_is_found_by_its_name() {
        let thread = std::thread::Builder::new().name("named-for-test".into());
        let busy = thread.spawn(|| {
            let begin_ns = crate::now_ns();
            while crate::now_ns() < begin_ns + 5_000_000 {}
            threads_cpu_ns("named-for-")
        });
        assert!(busy.unwrap().join().unwrap() > 0);
        assert_eq!(threads_cpu_ns("no thread has this name"), 0);
        assert!(available_bytes() > 0);
    }
}
