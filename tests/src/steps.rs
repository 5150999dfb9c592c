//! Tests that go step by step: where they run.

use thalweg::config::ShellKind;
use thalweg::testing::{TestDriver, TestDriverBuilder};

/// Where a test that goes step by step runs.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// `None` for the seeded one.
    pub shell: Option<ShellKind>,
    /// Of every operator that does not say otherwise.
    pub parallelism: usize,
}

impl Steps {
    /// A driver for this place.
    pub fn driver(self) -> TestDriverBuilder {
        let builder = TestDriver::builder().parallelism(self.parallelism);
        match self.shell {
            Some(shell) => builder.shell(shell),
            None => builder,
        }
    }
}

/// Makes a test of each named function of a [`Steps`], seeded and on threads: `stepped![bounds, lateness]`.
#[macro_export]
macro_rules! stepped {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            $crate::stepped!(@cell $name, seeded_1, None, 1);
            $crate::stepped!(@cell $name, seeded_4, None, 4);
            $crate::stepped!(@cell $name, threads_1, Some(thalweg::config::ShellKind::Threads), 1);
            $crate::stepped!(@cell $name, threads_2, Some(thalweg::config::ShellKind::Threads), 2);
        })*
    };
    (@cell $name:ident, $cell:ident, $shell:expr, $parallelism:literal) => {
        #[test]
        fn $cell() {
            super::$name($crate::Steps { shell: $shell, parallelism: $parallelism });
        }
    };
}
