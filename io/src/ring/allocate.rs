//! Blocks for a file, taken before they are written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;

/// Gives a file blocks for `bytes`; a shorter file grows to their end and reads as zeros there.
///
/// # Errors
///
/// What `fallocate` says: EOPNOTSUPP where the file system has none, ENOSPC on a full disk.
pub(crate) fn allocate(file: &File, bytes: Range<u64>) -> io::Result<()> {
    let too_large = |_| io::Error::from_raw_os_error(libc::EFBIG);
    let start = libc::off_t::try_from(bytes.start).map_err(too_large)?;
    let length = libc::off_t::try_from(bytes.end - bytes.start).map_err(too_large)?;
    loop {
        // SAFETY: takes no pointers, and the descriptor is open.
        let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, start, length) };
        let error = io::Error::last_os_error();
        match result {
            0 => return Ok(()),
            _ if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}
