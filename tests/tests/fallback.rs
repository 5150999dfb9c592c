//! A kernel or a container without io_uring: jobs run on plain threads, one warning says so, and who asks for glommio by
//! name gets an error.
//!
//! What is denied is denied for good, so each test is a process of its own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use thalweg::Error;
use thalweg::config::ShellKind;
use thalweg::prelude::*;
use thalweg::runtime::ExecutorError;
use thalweg_io::testing;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Keeps what is logged at `WARN` and above.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Text(String);
impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Warnings {
    fn install() -> Self {
        let warnings = Warnings::default();
        tracing::subscriber::set_global_default(warnings.clone()).unwrap();
        warnings
    }
    fn told(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Runs the calling test in a child; false in the parent, which is done then.
fn in_child(test: &str) -> bool {
    if !testing::is_child() {
        testing::run_as_child(test, &[]).unwrap().assert_success();
    }
    testing::is_child()
}

fn sum_of_a_job(shell: ShellKind) -> Result<i64, Error> {
    let env = StreamExecutionEnvironment::new();
    env.configure(|c| c.shell(shell).parallelism(2));
    let sums = env
        .from_sequence(1..=1_000)
        .rebalance()
        .key_by(|_| 0u8)
        .scan(0i64, |sum, n| {
            *sum += n;
            *sum
        })
        .collect();
    env.execute("sum")?;
    Ok(sums.take().into_iter().max().unwrap())
}

/// What must hold where io_uring is refused.
fn jobs_fall_back(warnings: &Warnings, reason: &str) {
    for _ in 0..3 {
        assert_eq!(sum_of_a_job(ShellKind::Auto).unwrap(), 500_500);
    }
    let engine = Engine::builder().build().unwrap();
    engine
        .submit("embedded", |env| drop(env.from_sequence(1..=9).for_each(|_| ())))
        .unwrap()
        .wait()
        .unwrap();
    let told = warnings.told();
    assert_eq!(told.len(), 1, "{told:?}");
    for part in ["plain threads", "same results", "io_uring", reason] {
        assert!(told[0].contains(part), "{part} is missing: {}", told[0]);
    }
    // By name there is no falling back; the other shell needs no io_uring and says nothing.
    let Err(Error::Executor(error)) = sum_of_a_job(ShellKind::Glommio) else {
        panic!("no io_uring")
    };
    assert!(matches!(error, ExecutorError::UringRefused { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(reason) && text.contains("`auto` or `threads`"), "{text}");
    assert_eq!(sum_of_a_job(ShellKind::Threads).unwrap(), 500_500);
    assert_eq!(warnings.told().len(), 1);
}

#[test]
fn jobs_run_on_threads_where_io_uring_is_denied() {
    if in_child("jobs_run_on_threads_where_io_uring_is_denied") {
        testing::deny_io_uring().unwrap();
        jobs_fall_back(&Warnings::install(), "a seccomp filter denies io_uring_setup");
    }
}

#[test]
fn jobs_run_on_threads_where_locked_memory_is_scarce() {
    if !in_child("jobs_run_on_threads_where_locked_memory_is_scarce") {
        return;
    }
    let limit = libc::rlimit { rlim_cur: 64 << 10, rlim_max: 64 << 10 };
    // SAFETY: the kernel reads the struct, which lives through the call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    jobs_fall_back(&Warnings::install(), "MEMLOCK");
}

#[test]
fn nothing_is_said_where_io_uring_is_allowed() {
    if in_child("nothing_is_said_where_io_uring_is_allowed") {
        let warnings = Warnings::install();
        let allowed = thalweg_io::ring::probe().is_supported();
        assert_eq!(sum_of_a_job(ShellKind::Auto).unwrap(), 500_500);
        assert_eq!(warnings.told().is_empty(), allowed, "{:?}", warnings.told());
    }
}
