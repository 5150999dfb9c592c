//! Where a test runs: the shell and the parallelism.

use thalweg::config::ShellKind;
use thalweg::prelude::*;
use thalweg::{Error, JobFailure};

/// One cell of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct On {
    /// What drives the tasks.
    pub shell: ShellKind,
    /// Of every operator that does not say otherwise.
    pub parallelism: usize,
}

impl On {
    /// A cell.
    pub const fn new(shell: ShellKind, parallelism: usize) -> Self {
        On { shell, parallelism }
    }

    /// An environment whose jobs run in this cell.
    pub fn env(self) -> StreamExecutionEnvironment {
        let env = StreamExecutionEnvironment::new();
        env.configure(|c| c.shell(self.shell).parallelism(self.parallelism));
        env
    }
}

/// Runs what was written in `env`, which must fail by user code.
///
/// # Panics
/// If the job succeeds or fails otherwise.
#[track_caller]
pub fn failure_of(env: &StreamExecutionEnvironment) -> JobFailure {
    match env.execute("failing") {
        Err(Error::Job(failure)) => failure,
        Err(other) => panic!("not a failure of the job: {other}"),
        Ok(_) => panic!("the job should have failed"),
    }
}

/// Makes a test of each named function for each shell and parallelism: `matrix![maps, filters]`.
#[macro_export]
macro_rules! matrix {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            $crate::matrix!(@cell $name, threads_1, Threads, 1);
            $crate::matrix!(@cell $name, threads_2, Threads, 2);
            $crate::matrix!(@cell $name, threads_4, Threads, 4);
            $crate::matrix!(@cell $name, glommio_1, Glommio, 1);
            $crate::matrix!(@cell $name, glommio_2, Glommio, 2);
            $crate::matrix!(@cell $name, glommio_4, Glommio, 4);
        })*
    };
    (@cell $name:ident, $cell:ident, $shell:ident, $parallelism:literal) => {
        #[test]
        fn $cell() {
            super::$name($crate::On::new(thalweg::config::ShellKind::$shell, $parallelism));
        }
    };
}
