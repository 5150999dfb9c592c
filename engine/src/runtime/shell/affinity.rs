//! Which cores this process may use, and pinning to one of them.

use std::io;

/// The cores of the process's affinity mask, ascending.
///
/// The mask is the main thread's (Linux names it by the process id): the caller may itself be pinned to one core, as a
/// task or a connector thread is, and that says nothing about where executors may go.
///
/// # Errors
///
/// The error of `sched_getaffinity`.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    let set = process_mask()?;
    // SAFETY: the index stays below the number of bits of the set.
    Ok((0..CAPACITY).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// Pins the calling thread to `core`.
pub(crate) fn pin_current_thread(core: usize) -> io::Result<()> {
    if core >= CAPACITY {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: zeroes are the empty set, as below.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` was checked to be below the number of bits of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    confine_current_thread(&set)
}

/// Lets the calling thread run on all cores of the process: a thread inherits the mask of the one that starts it, and one
/// that a core starts would share that core alone with it.
pub(crate) fn unpin_current_thread() -> io::Result<()> {
    confine_current_thread(&process_mask()?)
}

/// How many cores a mask has room for.
const CAPACITY: usize = size_of::<libc::cpu_set_t>() * 8;

fn process_mask() -> io::Result<libc::cpu_set_t> {
    // SAFETY: `cpu_set_t` is a plain array of integers, for which zeroes are a valid value: the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let process = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    // SAFETY: `set` is a live `cpu_set_t` of the size passed, and the call writes nothing else.
    let result =
        unsafe { libc::sched_getaffinity(process, size_of::<libc::cpu_set_t>(), &mut set) };
    if result == 0 { Ok(set) } else { Err(io::Error::last_os_error()) }
}

fn confine_current_thread(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: `set` is a live `cpu_set_t` of the size passed; 0 names the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_runs_where_it_was_pinned() {
        let allowed = allowed_cores().unwrap();
        let core = *allowed.last().unwrap();
        let ran_on = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    pin_current_thread(core).unwrap();
                    // SAFETY: takes no argument and writes no memory.
                    unsafe { libc::sched_getcpu() }
                })
                .join()
                .unwrap()
        });
        assert_eq!(ran_on, i32::try_from(core).unwrap());
        // The pinned thread did not narrow the process.
        assert_eq!(allowed_cores().unwrap(), allowed);
        assert!(pin_current_thread(usize::MAX).is_err());
    }
}
