//! [`Origin`]: where a value was set, precisely enough to go there and change it.

use std::fmt;
use std::panic::Location;
use std::path::PathBuf;

/// Which layer gave a value, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// As it was named.
        path: PathBuf,
        /// Counted from one.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The command line.
    CommandLine {
        /// As it was written: `-p`, `--parallelism`, `--set`.
        flag: String,
    },
    /// A setter called in the job's code.
    Code {
        /// The call.
        location: &'static Location<'static>,
    },
}

impl Origin {
    /// Rank of the layer; a value yields to one of the same or a higher rank.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Environment { .. } => 2,
            Self::CommandLine { .. } => 3,
            Self::Code { .. } => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::CommandLine { flag } => write!(f, "command line flag {flag}"),
            Self::Code { location } => {
                write!(f, "code at {}:{}", location.file(), location.line())
            }
        }
    }
}
