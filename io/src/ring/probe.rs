//! Asks the kernel for io_uring before anything depends on it.
//!
//! glommio panics inside its executor thread when io_uring is refused, so the engine asks first
//! and falls back to plain threads. The probe does what one glommio 0.9 executor does at start:
//!
//! 1. sets up three rings of 128 entries, held at once: two plain (main, latency), one IOPOLL;
//! 2. asks the kernel for the operations glommio requires;
//! 3. compares RLIMIT_MEMLOCK with the 512 KiB below which glommio gives up;
//! 4. drops the rings.
//!
//! A refusal says why and what helps, as far as `/proc` tells.

use std::fmt;
use std::fs;
use std::io;

use io_uring::{IoUring, Probe, opcode};

/// The smallest RLIMIT_MEMLOCK with which a glommio executor starts (its `MIN_MEMLOCK_LIMIT`).
pub const MEMLOCK_NEEDED_BYTES: u64 = 512 * 1024;

/// glommio's default depth of each of its rings.
const RING_ENTRIES: u32 = 128;

/// What glommio 0.9 checks for (its `GLOMMIO_URING_OPS`), by name for the message.
const NEEDED_OPERATIONS: [(&str, u8); 23] = [
    ("NOP", opcode::Nop::CODE),
    ("READV", opcode::Readv::CODE),
    ("WRITEV", opcode::Writev::CODE),
    ("FSYNC", opcode::Fsync::CODE),
    ("READ_FIXED", opcode::ReadFixed::CODE),
    ("WRITE_FIXED", opcode::WriteFixed::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("POLL_REMOVE", opcode::PollRemove::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("RECVMSG", opcode::RecvMsg::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("TIMEOUT_REMOVE", opcode::TimeoutRemove::CODE),
    ("ACCEPT", opcode::Accept::CODE),
    ("LINK_TIMEOUT", opcode::LinkTimeout::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("FALLOCATE", opcode::Fallocate::CODE),
    ("OPENAT", opcode::OpenAt::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("STATX", opcode::Statx::CODE),
    ("READ", opcode::Read::CODE),
    ("WRITE", opcode::Write::CODE),
    ("SEND", opcode::Send::CODE),
    ("RECV", opcode::Recv::CODE),
];

/// Whether io_uring can carry an executor of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UringSupport {
    /// It can.
    Supported {
        /// The soft limit on locked memory; `None` without a limit.
        memlock_bytes: Option<u64>,
    },
    /// It cannot.
    Refused(UringRefusal),
}

impl UringSupport {
    /// Whether it can.
    pub fn is_supported(&self) -> bool {
        matches!(self, UringSupport::Supported { .. })
    }
}

/// Why io_uring cannot be used, as shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UringRefusal {
    /// The kernel's error number; `None` if a limit or an old kernel rules io_uring out.
    pub errno: Option<i32>,
    /// What was found.
    pub reason: String,
    /// What an administrator can do.
    pub remedy: String,
}

impl fmt::Display for UringRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "io_uring cannot be used: {}; {}", self.reason, self.remedy)
    }
}

/// Sets up what one executor needs, drops it again and says whether that worked.
///
/// Takes well under a millisecond where io_uring is there. The answer holds for the moment: a
/// later executor may still meet a limit of open files.
///
/// # Examples
///
/// ```
/// use thalweg_io::ring::{UringSupport, probe};
///
/// match probe() {
///     UringSupport::Supported { .. } => println!("io_uring works"),
///     UringSupport::Refused(refusal) => println!("{refusal}; running on plain threads"),
/// }
/// ```
pub fn probe() -> UringSupport {
    let answer = set_up_rings().and_then(|()| check_memlock(memlock_limit()));
    match answer {
        Ok(memlock_bytes) => UringSupport::Supported { memlock_bytes },
        Err(refusal) => UringSupport::Refused(refusal),
    }
}

fn set_up_rings() -> Result<(), UringRefusal> {
    let plain = || IoUring::new(RING_ENTRIES).map_err(|error| refuse_system(&error));
    let main = plain()?;
    let polled = IoUring::builder().setup_iopoll().build(RING_ENTRIES);
    let _polled: IoUring = polled.map_err(|error| refuse_system(&error))?;
    let _latency = plain()?;
    let mut operations = Probe::new();
    main.submitter().register_probe(&mut operations).map_err(|error| refuse_system(&error))?;
    refuse_missing(&NEEDED_OPERATIONS, |code| operations.is_supported(code))
}

/// A ring of `entry_count` entries on a kernel that knows the `needed` operations.
pub(super) fn set_up_ring(
    entry_count: u32,
    needed: &[(&str, u8)],
) -> Result<IoUring, UringRefusal> {
    let ring = IoUring::new(entry_count).map_err(|error| refuse_system(&error))?;
    let mut operations = Probe::new();
    let known = ring.submitter().register_probe(&mut operations);
    known.map_err(|error| refuse_system(&error))?;
    refuse_missing(needed, |code| operations.is_supported(code))?;
    Ok(ring)
}

/// Refuses a kernel that does not know all of the `needed` operations.
fn refuse_missing(
    needed: &[(&str, u8)],
    is_supported: impl Fn(u8) -> bool,
) -> Result<(), UringRefusal> {
    let missing: Vec<_> =
        needed.iter().filter(|(_, code)| !is_supported(*code)).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(UringRefusal {
        errno: None,
        reason: format!("this kernel's io_uring lacks {}", missing.join(", ")),
        remedy: "run Linux 5.8 or later".to_owned(),
    })
}

/// The soft limit on locked memory; `None` without a limit.
fn memlock_limit() -> io::Result<Option<u64>> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` has room for the answer.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur))
}

fn check_memlock(limit: io::Result<Option<u64>>) -> Result<Option<u64>, UringRefusal> {
    match limit {
        Ok(Some(bytes)) if bytes < MEMLOCK_NEEDED_BYTES => Err(UringRefusal {
            errno: None,
            reason: format!(
                "the limit on locked memory (RLIMIT_MEMLOCK) is {} KiB, needed are {} KiB",
                bytes / 1024,
                MEMLOCK_NEEDED_BYTES / 1024
            ),
            remedy: memlock_remedy(),
        }),
        Ok(limit) => Ok(limit),
        Err(error) => Err(UringRefusal {
            errno: error.raw_os_error(),
            reason: format!("the limit on locked memory cannot be read: {error}"),
            remedy: "check the process's seccomp profile".to_owned(),
        }),
    }
}

fn memlock_remedy() -> String {
    "raise it: `ulimit -l 8192`, LimitMEMLOCK=8M in the systemd unit, or `docker run --ulimit \
     memlock=8388608`"
        .to_owned()
}

/// What `/proc` tells about refusals; `None` where it tells nothing.
#[derive(Debug, Default)]
struct System {
    /// `kernel.io_uring_disabled`: 1 is for unprivileged processes, 2 for all.
    disabled: Option<u32>,
    /// Whether this thread runs under a seccomp filter.
    filtered: Option<bool>,
    memlock_bytes: Option<u64>,
}

impl System {
    fn read() -> Self {
        let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        Self {
            disabled: disabled.and_then(|text| text.trim().parse().ok()),
            filtered: mode.map(|mode| mode.trim() == "2"),
            memlock_bytes: memlock_limit().ok().flatten(),
        }
    }
}

/// Puts the kernel's refusal into words, with what `/proc` tells now.
fn refuse_system(error: &io::Error) -> UringRefusal {
    refuse_setup(error, &System::read())
}

/// Puts the kernel's refusal into words. Pure: `system` is what `/proc` said.
fn refuse_setup(error: &io::Error, system: &System) -> UringRefusal {
    let (reason, remedy) = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => explain_denied(system),
        Some(libc::ENOSYS) => (
            "this kernel has no io_uring (ENOSYS)".to_owned(),
            "run Linux 5.8 or later with CONFIG_IO_URING; gVisor and some sandboxes have none"
                .to_owned(),
        ),
        Some(libc::ENOMEM) => explain_no_memory(system),
        Some(libc::EMFILE | libc::ENFILE) => (
            "no file descriptor is left, an executor needs three for its rings".to_owned(),
            "raise `ulimit -n`".to_owned(),
        ),
        _ => (
            format!("the kernel refused to set up a ring: {error}"),
            "run Linux 5.8 or later, and check the kernel's log".to_owned(),
        ),
    };
    UringRefusal { errno: error.raw_os_error(), reason, remedy }
}

fn explain_denied(system: &System) -> (String, String) {
    if let Some(level @ 1..) = system.disabled {
        return (
            format!("io_uring is switched off on this machine (kernel.io_uring_disabled={level})"),
            "set `sysctl kernel.io_uring_disabled=0`, or 1 and add the user to \
             kernel.io_uring_group"
                .to_owned(),
        );
    }
    let reason = match system.filtered {
        Some(true) => "a seccomp filter denies io_uring_setup, as Docker's default profile does",
        _ => {
            "the kernel denies io_uring_setup (EPERM), as Docker's default profile or a security \
              module does"
        }
    };
    (
        reason.to_owned(),
        "start the container with a seccomp profile that allows io_uring_setup, io_uring_enter \
         and io_uring_register (`docker run --security-opt seccomp=profile.json`)"
            .to_owned(),
    )
}

fn explain_no_memory(system: &System) -> (String, String) {
    let limit = match system.memlock_bytes {
        Some(bytes) => format!("{} KiB", bytes / 1024),
        None => "unlimited".to_owned(),
    };
    (
        format!(
            "memory for a ring cannot be locked (ENOMEM): RLIMIT_MEMLOCK is {limit}, needed are {} \
             KiB",
            MEMLOCK_NEEDED_BYTES / 1024
        ),
        memlock_remedy(),
    )
}

#[cfg(test)]
mod tests;
