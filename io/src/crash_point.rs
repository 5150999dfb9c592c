//! Named places at which a crash test can end the process.
//!
//! Code on a durable path calls [`crash_point`] with a constant name between any two steps whose
//! order matters. A normal build compiles the call to nothing. With the cargo feature
//! `crash-points` the process aborts (no destructors, no flushes: as a kill would) at the point
//! that the environment variable [`CRASH_POINT_VARIABLE`] names.
//!
//! Each layer lists its own names as constants; this crate's are in
//! [`file::crash_points`](crate::file::crash_points).

/// The environment variable that names the armed crash point.
pub const CRASH_POINT_VARIABLE: &str = "THALWEG_CRASH_POINT";

/// Aborts the process if this build has crash points and the environment arms `name`.
///
/// # Examples
///
/// ```
/// thalweg_io::crash_point("manifest.rename");
/// ```
#[cfg(feature = "crash-points")]
pub fn crash_point(name: &'static str) {
    if std::env::var_os(CRASH_POINT_VARIABLE).is_some_and(|armed| armed == name) {
        std::process::abort();
    }
}

/// Does nothing: this build has no crash points (cargo feature `crash-points`).
///
/// # Examples
///
/// ```
/// thalweg_io::crash_point("manifest.rename");
/// ```
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn crash_point(name: &'static str) {
    let _ = name;
}
