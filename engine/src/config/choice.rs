//! Settings that are one of a few words.
//!
//! **Invariant**: the words of `NAMES` are exactly those that `FromStr` reads and `Display` writes; the option table
//! quotes `NAMES`, so help text and reader cannot drift apart.

use std::fmt;
use std::str::FromStr;

/// A word that names no variant of the enum it was read as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is not a {what}; expected one of {}", expected.join(", "))]
pub struct UnknownChoice {
    /// What was given.
    pub word: String,
    /// What it was read as: `profile`, `shell`, ..
    pub what: &'static str,
    /// The words that are known.
    pub expected: &'static [&'static str],
}

macro_rules! choice {
    (
        $(#[$meta:meta])* $name:ident as $what:literal
        { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// The words of all variants, in order.
            pub const NAMES: &'static [&'static str] = &[$($word),+];

            /// The word of this variant, as configuration writes it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = UnknownChoice;

            fn from_str(word: &str) -> Result<Self, UnknownChoice> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownChoice {
                        word: word.to_owned(),
                        what: $what,
                        expected: Self::NAMES,
                    }),
                }
            }
        }
    };
}

choice! {
    /// What a slot does when it has nothing to do: processor time against wake-up latency.
    ///
    /// ```
    /// use thalweg::config::Profile;
    /// assert_eq!("latency".parse::<Profile>()?, Profile::Latency);
    /// # Ok::<(), thalweg::config::UnknownChoice>(())
    /// ```
    Profile as "profile" {
        /// Never parks: a core per slot is always busy, a record is seen within microseconds.
        Latency = "latency",
        /// Polls for the spin budget (`spin_us`), then parks.
        #[default]
        Balanced = "balanced",
        /// Parks at once: no processor time without records, tens of microseconds to wake.
        Efficient = "efficient",
    }
}

choice! {
    /// Which shell drives the tasks.
    ShellKind as "shell" {
        /// glommio where the kernel offers io_uring, plain threads elsewhere.
        #[default]
        Auto = "auto",
        /// One pinned glommio executor for each core; an error where the kernel has no io_uring.
        Glommio = "glommio",
        /// One plain thread for each core.
        Threads = "threads",
    }
}

choice! {
    /// Where keyed state lives.
    ///
    /// Both backends keep the state at hand as typed values in memory; they differ in what lies below.
    StateBackend as "state backend" {
        /// In memory alone: nothing is tracked, nothing is written, and `slot_memory_mib` limits nothing.
        Memory = "memory",
        /// In memory, and below it in the files of an LSM store: state may exceed the memory a slot is given
        /// (`slot_memory_mib`). Without such a limit there are no files, and the two backends are one.
        #[default]
        Lsm = "lsm",
    }
}

choice! {
    /// What submitting a job does while other jobs hold the slots it needs.
    WhenSlotsAreTaken as "way to handle taken slots" {
        /// The job waits until enough slots are free.
        #[default]
        Wait = "wait",
        /// Submitting fails at once and says how many slots are missing.
        Refuse = "refuse",
    }
}

choice! {
    /// What a restart may repeat.
    CheckpointMode as "checkpoint mode" {
        /// State counts each record exactly once: an input whose barrier has come waits for the others.
        #[default]
        ExactlyOnce = "exactly-once",
        /// Records that came behind an early barrier may count twice; no input waits.
        AtLeastOnce = "at-least-once",
    }
}

choice! {
    /// What becomes of a job's checkpoints when it is cancelled.
    OnCancel as "way to handle checkpoints" {
        /// They stay: the job can go on from them.
        #[default]
        Retain = "retain",
        /// They are removed.
        Delete = "delete",
    }
}

choice! {
    /// What a job begins with.
    Restore as "beginning" {
        /// The latest checkpoint in its directory, if there is one.
        #[default]
        Latest = "latest",
        /// Nothing; checkpoints in its directory are removed.
        Nothing = "nothing",
    }
}

choice! {
    /// When a job that failed is tried again.
    RestartKind as "restart strategy" {
        /// Never.
        #[default]
        Never = "never",
        /// A number of times, after the same delay.
        FixedDelay = "fixed-delay",
        /// Always, after delays that grow.
        ExponentialDelay = "exponential-delay",
        /// Unless there are too many failures within an interval.
        FailureRate = "failure-rate",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in Profile::NAMES {
            assert_eq!(name.parse::<Profile>().unwrap().to_string(), *name);
        }
        for name in ShellKind::NAMES {
            assert_eq!(name.parse::<ShellKind>().unwrap().to_string(), *name);
        }
        for name in StateBackend::NAMES {
            assert_eq!(name.parse::<StateBackend>().unwrap().to_string(), *name);
        }
        for name in WhenSlotsAreTaken::NAMES {
            assert_eq!(name.parse::<WhenSlotsAreTaken>().unwrap().to_string(), *name);
        }
    }

    #[test]
    fn an_unknown_word_says_what_is_known() {
        let error = "lazy".parse::<Profile>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "'lazy' is not a profile; expected one of latency, balanced, efficient"
        );
    }
}
