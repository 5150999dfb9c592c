//! Whether this process may use io_uring at all.
//!
//! glommio 0.9 must not be tried on a host that refuses io_uring: it panics inside the executor's thread and leaves a
//! poisoned lock for the executors after it. So the question is put to the kernel first.

use std::io;

/// glommio refuses to start below this limit of locked memory.
const LOCKED_BYTES_MIN: u64 = 512 * 1024;

/// Why io_uring cannot be used here, with the remedy; `None` when it can.
///
/// The single place that asks.
pub(crate) fn io_uring_refused() -> Option<String> {
    match locked_bytes_limit() {
        Ok(limit) if limit < LOCKED_BYTES_MIN => {
            return Some(format!(
                "the limit of locked memory is {limit} bytes and {LOCKED_BYTES_MIN} are needed; raise it \
                 (`ulimit -l`, LimitMEMLOCK= in systemd, --ulimit memlock=-1 in Docker)"
            ));
        }
        Ok(_) => {}
        Err(error) => return Some(format!("the limit of locked memory cannot be read: {error}")),
    }
    set_up_and_close().err().map(|error| explain(&error))
}

fn explain(error: &io::Error) -> String {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM) => {
            "a seccomp profile (Docker's default one does) or the sysctl kernel.io_uring_disabled forbids it; allow \
             io_uring_setup, io_uring_enter and io_uring_register in the profile"
        }
        Some(libc::ENOSYS) => "the kernel has no io_uring; 5.8 or later is needed",
        Some(libc::ENOMEM) => "the limit of locked memory is used up; raise it (`ulimit -l`)",
        _ => "see io_uring_setup(2)",
    };
    format!("io_uring_setup failed with \"{error}\": {remedy}")
}

fn locked_bytes_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live `rlimit`, all the call writes.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    if result == 0 { Ok(limit.rlim_cur) } else { Err(io::Error::last_os_error()) }
}

fn set_up_and_close() -> io::Result<()> {
    const ENTRIES: libc::c_long = 4;
    // `struct io_uring_params` of the kernel's interface: 120 bytes, all zero for a plain ring.
    let mut parameters = [0_u64; 15];
    // SAFETY: the call reads and writes the 120 bytes of `io_uring_params` behind the pointer, which `parameters` has,
    // aligned for its widest field.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, parameters.as_mut_ptr()) };
    if ring < 0 {
        return Err(io::Error::last_os_error());
    }
    let ring = i32::try_from(ring).map_err(io::Error::other)?;
    // SAFETY: `ring` is a descriptor that the call above has just opened and nobody else owns.
    let result = unsafe { libc::close(ring) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_remedy() {
        let check = |code: i32, word: &str| {
            let text = explain(&io::Error::from_raw_os_error(code));
            assert!(text.contains(word), "{text}");
        };
        check(libc::EPERM, "seccomp");
        check(libc::ENOSYS, "5.8");
        check(libc::ENOMEM, "ulimit");
        check(libc::EINVAL, "io_uring_setup(2)");
    }

    #[test]
    fn the_probe_leaks_no_descriptor() {
        let first = io_uring_refused();
        for _ in 0..4_096 {
            assert_eq!(io_uring_refused(), first);
        }
    }
}
