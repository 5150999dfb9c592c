//! Faults that are planted on purpose, to see whether tests find them.
//!
//! A suite that stays green when a sync is left out proves nothing. So the code that such a suite watches asks [`planted`]
//! at some twenty places whether it is to do the wrong thing there. In every build but one made with
//! `RUSTFLAGS="--cfg planted"` the answer is the constant `false`, and nothing of it is left. In such a build one fault at a
//! time is armed: by [`arm_planted`], or for a child process by the environment variable [`PLANTED_VARIABLE`].
//!
//! `simulate --plant N` (package `thalweg-tests`) must fail for each of them, and be green with none.
//!
//! Faults without an exact counterpart in this design, and what is planted for them:
//!
//! | fault | here |
//! |---|---|
//! | 6, reference counts kept across a restart | they are rebuilt from manifests; planted: what a crash left is taken for referenced |
//! | 11, a key's buffer reused in a registration | keys are rows; planted: the row of the registration before |
//! | 17, the head of a queue stored with `Relaxed` | the ring is rtrb's; planted: what was sent before a barrier is seen behind it |
//! | 19, a sweep that uses the first write | nothing sweeps; planted: writes do not move the expiry of what has not expired |
//!
//! **Invariant**: with none armed a planted build does what any other does.

/// The environment variable with the number of the fault that is armed.
pub const PLANTED_VARIABLE: &str = "THALWEG_PLANT";

macro_rules! faults {
    ($($number:literal $name:ident $words:literal,)*) => {
        /// What can be planted; the numbers are those of `simulate --plant`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Fault {
            $(#[doc = $words] $name = $number,)*
        }

        impl Fault {
            /// All of them, by number.
            pub const ALL: &[Fault] = &[$(Fault::$name),*];

            /// The words for it.
            pub const fn words(self) -> &'static str {
                match self {
                    $(Fault::$name => $words,)*
                }
            }
        }
    };
}

faults! {
    1 NoDataSync "the data of a file are not synced before it is referred to",
    2 NoDirectorySync "directories are not synced after a rename",
    3 ManifestInPlace "a manifest that is started anew is written over the old one, in its place",
    4 EarlyCompletion "a checkpoint is complete when one task has still to deliver",
    5 AbortRemovesShared "an aborted checkpoint takes files with it that others share",
    6 ReferencesKept "references to files outlive the process: what a crash left behind is never removed",
    7 TimersNotRestored "timers are not restored",
    8 WatermarkNotRestored "watermarks are not restored",
    9 IdleHolds "an idle input still holds the minimum",
    10 WindowEndInclusive "a window has its end, too",
    11 TimerKeyReused "a timer is registered for the key before, as if its buffer was used again",
    12 RemovalInOtherGroup "a timer is removed under the wrong key group",
    13 CommitOnBarrier "a sink commits on the barrier, not on completion",
    14 TransactionReused "a name of a transaction is used again, and what was left open is not fenced",
    15 ChecksumIgnored "checksums are not checked when blocks are read",
    16 SyncRetried "a failed sync is tried again, and its success believed",
    17 BarrierOvertakes "a barrier is seen before records that were sent before it (for a head stored with `Relaxed`: the ring is rtrb's)",
    18 NoFinalCheckpoint "the last checkpoint is skipped at the end of input",
    19 FirstWriteExpires "state expires by its first, not its last write",
    20 ShortWriteIgnored "a write that stopped short counts as complete",
}

impl Fault {
    /// The fault of a number.
    pub fn of_number(number: u8) -> Option<Fault> {
        Fault::ALL.iter().copied().find(|fault| fault.number() == number)
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// Is this fault armed? The constant `false`, unless the build has `--cfg planted`.
///
/// # Examples
///
/// ```
/// use thalweg_io::{Fault, planted};
///
/// assert!(!planted(Fault::NoDataSync));
/// ```
#[cfg(not(planted))]
#[inline(always)]
pub const fn planted(fault: Fault) -> bool {
    let _ = fault;
    false
}

#[cfg(planted)]
pub use armed::{arm_planted, planted};

#[cfg(planted)]
mod armed {
    use super::{Fault, PLANTED_VARIABLE};
    use std::sync::atomic::{AtomicU8, Ordering};

    /// Nobody has looked into the environment yet.
    const UNKNOWN: u8 = u8::MAX;
    static ARMED: AtomicU8 = AtomicU8::new(UNKNOWN);

    /// Is this fault armed?
    pub fn planted(fault: Fault) -> bool {
        let armed = match ARMED.load(Ordering::Relaxed) {
            UNKNOWN => of_environment(),
            armed => armed,
        };
        armed == fault.number()
    }

    /// Arms a fault in the whole process, or none.
    pub fn arm_planted(fault: Option<Fault>) {
        ARMED.store(fault.map_or(0, Fault::number), Ordering::Relaxed);
    }

    #[cold]
    fn of_environment() -> u8 {
        let number = std::env::var(PLANTED_VARIABLE).ok().and_then(|number| number.parse().ok());
        let armed = number.filter(|number| Fault::of_number(*number).is_some()).unwrap_or(0);
        ARMED.store(armed, Ordering::Relaxed);
        armed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_numbered_from_one() {
        let numbers: Vec<u8> = Fault::ALL.iter().map(|fault| fault.number()).collect();
        assert_eq!(numbers, (1..=20).collect::<Vec<u8>>());
        assert_eq!(Fault::of_number(20), Some(Fault::ShortWriteIgnored));
        assert_eq!(Fault::of_number(21), None);
        assert!(Fault::ALL.iter().all(|fault| !fault.words().is_empty()));
    }
}
