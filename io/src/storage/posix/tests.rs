use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;

use super::*;
use crate::testing;

/// A tmpfs of 1 MiB, unmounted on drop; `None` without the right to mount.
pub(in crate::storage) struct SmallDisk {
    pub(in crate::storage) directory: tempfile::TempDir,
}

impl SmallDisk {
    pub(in crate::storage) fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let target = CString::new(directory.path().as_os_str().as_bytes()).unwrap();
        // SAFETY: all pointers are to NUL-terminated strings that outlive the call.
        let result = unsafe {
            libc::mount(
                c"none".as_ptr(),
                target.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                c"size=1m".as_ptr().cast(),
            )
        };
        (result == 0).then_some(Self { directory })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let target = CString::new(self.directory.path().as_os_str().as_bytes()).unwrap();
        // SAFETY: a NUL-terminated string that outlives the call.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

#[test]
fn full_disk_is_no_space_and_says_how_much_is_in() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: mounting a tmpfs needs root");
        return;
    };
    let storage = PosixStorage::new();
    let path = disk.directory.path().join("data");
    let ballast = disk.directory.path().join("ballast");
    storage.create(&ballast).unwrap().append(&vec![0; 512 << 10]).unwrap();
    let mut file = storage.create(&path).unwrap();
    let bytes: Vec<u8> = (0..600_u32 << 10).map(|index| (index % 251) as u8).collect();

    let failure = file.append(&bytes).unwrap_err();
    assert!(failure.error.is_no_space(), "{failure}");
    assert!((1..bytes.len()).contains(&failure.appended_bytes), "{failure}");
    assert_eq!(file.length_bytes(), failure.appended_bytes as u64);
    assert_eq!(failure.error.site().offset, Some(failure.appended_bytes as u64));
    assert_eq!(storage.metadata(&path).unwrap().length_bytes, failure.appended_bytes as u64);

    storage.remove(&ballast).unwrap();
    file.append(&bytes[failure.appended_bytes..]).unwrap();
    file.sync().unwrap();
    let mut found = vec![0; bytes.len()];
    storage.open_read(&path).unwrap().read_exact_at(0, &mut found).unwrap();
    assert!(found == bytes, "each byte is in once, in order");
}

#[test]
fn device_without_space_is_no_space() {
    let mut file = PosixStorage::new().open_append(Path::new("/dev/full")).unwrap();
    let failure = file.append(b"12345").unwrap_err();
    assert!(failure.error.is_no_space(), "{failure}");
    assert_eq!((failure.appended_bytes, failure.given_bytes), (0, 5));
}

#[test]
fn file_size_limit_is_file_too_large() {
    const NAME: &str = "storage::posix::tests::file_size_limit_is_file_too_large";
    if !testing::is_child() {
        testing::run_as_child(NAME, &[]).unwrap().assert_success();
        return;
    }
    let limit = libc::rlimit { rlim_cur: 10_000, rlim_max: 10_000 };
    // SAFETY: `limit` outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let directory = tempfile::tempdir().unwrap();
    let mut file = PosixStorage::new().create(&directory.path().join("a")).unwrap();
    let failure = file.append(&[7; 12_000]).unwrap_err();
    assert!(matches!(failure.error, IoError::FileTooLarge { .. }), "{failure}");
    assert_eq!(failure.appended_bytes, 10_000);
    assert_eq!(file.length_bytes(), 10_000);
}

#[test]
fn failed_sync_is_final() {
    // A pipe takes bytes but cannot be synced: EINVAL.
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    let [_reader, writer] = ends.map(|descriptor| {
        use std::os::fd::FromRawFd as _;
        // SAFETY: the descriptor was just made and nobody else owns it.
        unsafe { File::from_raw_fd(descriptor) }
    });
    let mut file = PosixWriteFile::new(writer, Path::new("pipe"), 0);
    assert!(matches!(file.sync().unwrap_err(), IoError::Other { .. }));
    assert!(matches!(file.sync().unwrap_err(), IoError::SyncFailedBefore { .. }));
    let failure = file.append(b"x").unwrap_err();
    assert!(matches!(failure.error, IoError::SyncFailedBefore { .. }));
    assert_eq!(failure.appended_bytes, 0);
}

#[test]
fn pipes_are_refused_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: a NUL-terminated string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let storage = PosixStorage::new();
    for error in [storage.open_read(&path).unwrap_err(), storage.create(&path).unwrap_err()] {
        assert!(matches!(error, IoError::WrongKind { .. }), "{error}");
    }
    assert_eq!(storage.metadata(&path).unwrap().kind, FileKind::Other);
}

#[test]
fn write_protected_files_are_permission_denied() {
    use std::os::unix::fs::PermissionsExt as _;

    if !testing::is_child() {
        let name = "storage::posix::tests::write_protected_files_are_permission_denied";
        testing::run_as_child(name, &[]).unwrap().assert_success();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("a");
    fs::write(&path, "kept").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    // Root may write anything: become nobody, in this child only. Fails for others, harmlessly.
    // SAFETY: takes no pointers.
    unsafe { libc::seteuid(65_534) };
    let error = PosixStorage::new().create(&path).unwrap_err();
    // SAFETY: as above; back to who we were, so that the directory can be removed.
    unsafe { libc::seteuid(0) };
    assert!(matches!(error, IoError::PermissionDenied { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"kept");
}

#[test]
fn a_lock_refuses_another_process_and_names_the_holder() {
    const NAME: &str = "storage::posix::tests::a_lock_refuses_another_process_and_names_the_holder";
    const PATH_VARIABLE: &str = "THALWEG_TEST_LOCK";
    const HOLDER_VARIABLE: &str = "THALWEG_TEST_LOCK_HOLDER";
    let storage = PosixStorage::new();
    if !testing::is_child() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("LOCK");
        let held = storage.lock(&path).unwrap();
        let holder = std::process::id().to_string();
        let environment = [(PATH_VARIABLE, path.to_str().unwrap()), (HOLDER_VARIABLE, &holder)];
        testing::run_as_child(NAME, &environment).unwrap().assert_success();
        drop(held);
        // The number of a process that is gone does no harm.
        fs::write(&path, "4294967295 and more").unwrap();
        storage.lock(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{holder}\n"));
        return;
    }
    let path = PathBuf::from(std::env::var_os(PATH_VARIABLE).unwrap());
    let holder: u32 = std::env::var(HOLDER_VARIABLE).unwrap().parse().unwrap();
    let error = storage.lock(&path).unwrap_err();
    assert!(error.to_string().contains(&format!("process {holder} holds it")), "{error}");
    assert!(
        matches!(error, IoError::Locked { holder_process_id: Some(id), .. } if id == holder),
        "{error}"
    );
}
