//! What tests of this and other packages share: child processes, and a kernel without io_uring.
//!
//! Some conditions hold for a whole process and cannot be taken back (a seccomp filter, a resource
//! limit). A test that needs one runs itself again as a child:
//!
//! ```
//! use thalweg_io::testing;
//!
//! // marked `#[test]`
//! fn starts_without_io_uring() {
//!     if !testing::is_child() {
//!         testing::run_as_child("starts_without_io_uring", &[]).unwrap().assert_success();
//!         return;
//!     }
//!     testing::deny_io_uring().unwrap();
//!     // ... the test proper, in a process of its own
//! }
//! ```

use std::io;
use std::process::{Command, ExitStatus};

const CHILD_VARIABLE: &str = "THALWEG_TEST_CHILD";

/// Whether this process was started by [`run_as_child`].
pub fn is_child() -> bool {
    std::env::var_os(CHILD_VARIABLE).is_some()
}

/// What became of a child process.
#[derive(Debug)]
pub struct ChildOutcome {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote, both streams.
    pub output: String,
}

impl ChildOutcome {
    /// Checks that the test ran in the child and passed.
    ///
    /// # Panics
    ///
    /// With the child's output, if it did not.
    pub fn assert_success(&self) {
        let ran = self.output.contains("1 passed");
        assert!(self.status.success() && ran, "child {}:\n{}", self.status, self.output);
    }
}

/// Runs one test of the calling test binary in a process of its own and waits for it.
///
/// `test_name` is the full name as the test harness lists it, such as
/// `ring::probe::tests::says_why`; `environment` is added to the child's.
///
/// # Errors
///
/// If the child cannot be started.
pub fn run_as_child(test_name: &str, environment: &[(&str, &str)]) -> io::Result<ChildOutcome> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--exact", test_name, "--nocapture", "--test-threads=1"])
        .env(CHILD_VARIABLE, "1")
        .envs(environment.iter().copied())
        .output()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(ChildOutcome { status: output.status, output: text })
}

/// Makes the kernel answer `io_uring_setup` with EPERM for the calling process: all its threads,
/// those to come, and its children, for good. This is what Docker's default profile does.
///
/// # Errors
///
/// What the kernel said, if it has no seccomp or a thread has a filter of its own.
pub fn deny_io_uring() -> io::Result<()> {
    const WITHOUT_NEW_PRIVILEGES: libc::c_ulong = 1;
    // SAFETY: sets a flag of this process; takes no pointers.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, WITHOUT_NEW_PRIVILEGES, 0, 0, 0) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let setup = libc::SYS_io_uring_setup as u32;
    // `seccomp_data` starts with the number of the system call.
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        // Equal: go on with the next statement; otherwise skip it.
        libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, setup)
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // seccomp(2) rather than prctl: only it can put the filter on threads that already run.
    // SAFETY: `program` and the filter it points to outlive the call; the kernel copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &program,
        )
    };
    match result {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        thread => Err(io::Error::other(format!("thread {thread} has another seccomp filter"))),
    }
}

/// Limits the memory that the calling process may lock, and makes it an ordinary user (65534) if it
/// was root: root is above that limit. For good, so in a child process only.
///
/// # Errors
///
/// What the kernel said.
pub fn become_ordinary_user(memlock_bytes: u64) -> io::Result<()> {
    const NOBODY: libc::uid_t = 65_534;
    let check = |result| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    let limit = libc::rlimit { rlim_cur: memlock_bytes, rlim_max: memlock_bytes };
    // SAFETY: `limit` outlives the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) })?;
    // SAFETY: takes no pointers.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(());
    }
    // SAFETY: no groups are read.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::setgid(NOBODY) })?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::setuid(NOBODY) })
}

fn statement(code: u32, argument: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k: argument }
}
