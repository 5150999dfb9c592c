//! Named places at which a crash test can end the process.
//!
//! Code on a durable path calls [`crash_point`] with a constant name between any two steps whose
//! order matters. A normal build compiles the call to nothing. With the cargo feature
//! `crash-points` the process aborts (no destructors, no flushes: as a kill would) at the point
//! that the environment variable [`CRASH_POINT_VARIABLE`] names: `manifest.rename` when it comes
//! there first, `manifest.rename:3` when it comes there for the third time.
//!
//! Each layer lists its own names as constants; this crate's are in
//! [`file::crash_points`](crate::file::crash_points).

/// The environment variable that names the armed crash point.
pub const CRASH_POINT_VARIABLE: &str = "THALWEG_CRASH_POINT";

/// Aborts the process if this build has crash points and the environment arms `name`, when it is
/// called as often as the environment says.
///
/// # Examples
///
/// ```
/// thalweg_io::crash_point("manifest.rename");
/// ```
#[cfg(feature = "crash-points")]
pub fn crash_point(name: &'static str) {
    hook::pass(name);
    if let Some(armed) = armed::point()
        && armed.name == name
        && armed.is_last_pass()
    {
        // Whoever waits for the process can tell this end from others that abort.
        eprintln!("crash point {name}");
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

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The point that the environment armed when the process came to its first point.
    pub(super) struct Armed {
        pub(super) name: String,
        /// Passes until the one that ends the process; counted down by whoever passes.
        left: AtomicU64,
    }

    impl Armed {
        pub(super) fn is_last_pass(&self) -> bool {
            self.left.fetch_sub(1, Ordering::Relaxed) == 1
        }
    }

    pub(super) fn point() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        ARMED.get_or_init(|| std::env::var(super::CRASH_POINT_VARIABLE).ok().map(parse)).as_ref()
    }

    /// `NAME` or `NAME:COUNT`.
    fn parse(text: String) -> Armed {
        let counted = text
            .rsplit_once(':')
            .and_then(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
        let (name, count) = counted.unwrap_or((text, 1));
        Armed { name, left: AtomicU64::new(count) }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn check(text: &str, name: &str, passes: u64) {
            let armed = parse(text.to_owned());
            assert_eq!(armed.name, name);
            let last = (1..=5).filter(|_| armed.is_last_pass()).count() as u64;
            assert_eq!(last, u64::from((1..=5).contains(&passes)), "{text}");
            let armed = parse(text.to_owned());
            assert_eq!((1..=5).find(|_| armed.is_last_pass()), Some(passes), "{text}");
        }

        #[test]
        fn a_name_may_have_a_count() {
            check("manifest.rename", "manifest.rename", 1);
            check("manifest.rename:3", "manifest.rename", 3);
            check("manifest.rename:x", "manifest.rename:x", 1);
        }
    }
}

/// What is called at each crash point of a thread, with its name.
pub type CrashHook = std::rc::Rc<dyn Fn(&'static str)>;

/// Has `hook` called at each crash point that the calling thread passes, or nothing more; gives back what was called before.
/// A simulator takes the image of its disk there, as if the process had ended. In a build without crash points nothing is
/// ever called.
#[cfg(feature = "crash-points")]
pub fn set_crash_hook(hook: Option<CrashHook>) -> Option<CrashHook> {
    hook::set(hook)
}

/// Does nothing: this build has no crash points (cargo feature `crash-points`).
#[cfg(not(feature = "crash-points"))]
pub fn set_crash_hook(hook: Option<CrashHook>) -> Option<CrashHook> {
    drop(hook);
    None
}

#[cfg(feature = "crash-points")]
mod hook {
    use super::CrashHook;
    use std::cell::RefCell;

    thread_local! {
        static HOOK: RefCell<Option<CrashHook>> = const { RefCell::new(None) };
    }

    pub(super) fn set(hook: Option<CrashHook>) -> Option<CrashHook> {
        HOOK.replace(hook)
    }

    pub(super) fn pass(name: &'static str) {
        // Not borrowed during the call, which may pass points itself.
        if let Some(hook) = HOOK.with_borrow(Clone::clone) {
            hook(name);
        }
    }
}
