use super::*;
use crate::testing;

fn check(errno: i32, system: &System, reason_part: &str, remedy_part: &str) {
    let refusal = refuse_setup(&io::Error::from_raw_os_error(errno), system);
    assert_eq!(refusal.errno, Some(errno));
    assert!(refusal.reason.contains(reason_part), "{refusal}");
    assert!(refusal.remedy.contains(remedy_part), "{refusal}");
}

#[test]
fn refusals_say_why_and_what_helps() {
    let unknown = System::default();
    let filtered = System { disabled: Some(0), filtered: Some(true), ..System::default() };
    let switched_off = System { disabled: Some(2), filtered: Some(true), ..System::default() };
    let small = System { memlock_bytes: Some(64 << 10), ..System::default() };
    check(libc::EPERM, &unknown, "Docker's default profile", "--security-opt seccomp");
    check(libc::EPERM, &filtered, "a seccomp filter denies", "io_uring_register");
    check(libc::EPERM, &switched_off, "kernel.io_uring_disabled=2", "sysctl");
    check(libc::ENOSYS, &unknown, "has no io_uring", "5.8");
    check(libc::ENOMEM, &small, "RLIMIT_MEMLOCK is 64 KiB, needed are 512 KiB", "ulimit -l");
    check(libc::ENOMEM, &unknown, "unlimited", "ulimit -l");
    check(libc::EMFILE, &unknown, "file descriptor", "ulimit -n");
    check(libc::EINVAL, &unknown, "Invalid argument", "kernel's log");
}

#[test]
fn small_memlock_is_refused() {
    let refusal = check_memlock(Ok(Some(MEMLOCK_NEEDED_BYTES - 1))).unwrap_err();
    assert_eq!(refusal.errno, None);
    assert!(refusal.to_string().contains("is 511 KiB, needed are 512 KiB"), "{refusal}");
    assert_eq!(check_memlock(Ok(Some(MEMLOCK_NEEDED_BYTES))), Ok(Some(MEMLOCK_NEEDED_BYTES)));
    assert_eq!(check_memlock(Ok(None)), Ok(None));
}

#[test]
fn missing_operations_are_named() {
    let refusal =
        refuse_missing(&NEEDED_OPERATIONS, |code| code != opcode::Statx::CODE).unwrap_err();
    assert_eq!(refusal.reason, "this kernel's io_uring lacks STATX");
    assert_eq!(refuse_missing(&NEEDED_OPERATIONS, |_| true), Ok(()));
}

/// Either answer is right for the machine at hand, but it must agree with a ring set up by hand.
#[test]
fn agrees_with_the_kernel() {
    match probe() {
        UringSupport::Supported { memlock_bytes } => {
            assert!(IoUring::new(8).is_ok());
            assert!(memlock_bytes.is_none_or(|bytes| bytes >= MEMLOCK_NEEDED_BYTES));
        }
        UringSupport::Refused(refusal) => assert!(!refusal.reason.is_empty(), "{refusal}"),
    }
}

#[test]
fn is_refused_under_a_seccomp_filter() {
    if !testing::is_child() {
        let name = "ring::probe::tests::is_refused_under_a_seccomp_filter";
        testing::run_as_child(name, &[]).unwrap().assert_success();
        return;
    }
    // The filter must reach threads that were there before it.
    let (denied, wait_until_denied) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let earlier = scope.spawn(move || {
            let _ = wait_until_denied.recv();
            probe()
        });
        testing::deny_io_uring().unwrap();
        drop(denied);
        for answer in [probe(), earlier.join().unwrap()] {
            let UringSupport::Refused(refusal) = answer else { panic!("{answer:?}") };
            assert_eq!(refusal.errno, Some(libc::EPERM));
            let text = refusal.to_string();
            assert!(text.contains("seccomp") || text.contains("io_uring_disabled"), "{text}");
        }
    });
}

#[test]
fn is_refused_below_the_memlock_limit() {
    if !testing::is_child() {
        let name = "ring::probe::tests::is_refused_below_the_memlock_limit";
        testing::run_as_child(name, &[]).unwrap().assert_success();
        return;
    }
    let limit = libc::rlimit { rlim_cur: 64 << 10, rlim_max: 64 << 10 };
    // SAFETY: `limit` outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
    let UringSupport::Refused(refusal) = probe() else { panic!("64 KiB are not enough") };
    let denied = refusal.errno.is_some_and(|errno| errno != libc::ENOMEM);
    assert!(denied || refusal.reason.contains("64 KiB"), "{refusal}");
}
