//! Testing jobs: element by element, by a clock of the test's own, with the very tasks of production.
//!
//! ```
//! use thalweg::prelude::*;
//! use thalweg::testing::{self, TestDriver};
//!
//! let mut test = TestDriver::new(|env| {
//!     env.from_source(testing::input::<(String, i64)>(), "readings")
//!         .key_by(|(sensor, _)| sensor.clone())
//!         .scan(i64::MIN, |highest, (sensor, value)| {
//!             *highest = value.max(*highest);
//!             (sensor, *highest)
//!         })
//!         .sink_to(testing::output())
//!         .name("highest");
//! });
//! test.pipe("readings", [("a".to_owned(), 3_i64), ("a".to_owned(), 2)]);
//! assert_eq!(test.outputs::<(String, i64)>("highest"), [("a".to_owned(), 3), ("a".to_owned(), 3)]);
//! ```
//!
//! - [`TestDriver`] runs a job; [`input`] and [`output`] are its sources and sinks.
//! - [`OperatorHarness`] does the same for one operator, or a few.
//! - [`crash_points`] are the places at which a crash test can end the process.
//!
//! # How a test runs
//!
//! 1. The job is planned, deployed and opened as by `execute`. What is different is who runs it: by default all its cores
//!    are on the test's thread, and a seed decides whose turn it is; no thread is started. With
//!    [`shell`](TestDriverBuilder::shell) it runs on threads, as in production.
//! 2. Each verb is a step: an element of an input, a watermark, a status, a move of the clock. Before it returns the job
//!    has come to rest: all effects of the step are complete.
//! 3. Results are read by the sink's name at any time.
//!
//! The clock begins at 0 and moves only when the test moves it. Processing-time timers fire when it is moved, also when
//! it is moved to where it is: a timer for a time that has passed fires at the next move. In production it fires at
//! once.
//!
//! # Limits
//!
//! What is outside the job is outside the steps: threads of blocking sources, sockets, channels that the test itself fills.
//! Call [`settle`](TestDriver::settle) when they have brought something. A source that never runs dry (a generator
//! without end) never lets a job come to rest; after two minutes the driver panics and says so.
//!
//! **Invariants**
//! - Everything here is made of public traits and the runtime's own parts; there is no second implementation of anything.
//! - Misuse of the driver (names, types) panics at the caller's line. What goes wrong in the job never does: it is told by
//!   [`TestDriver::failure`].

#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod attempts;
mod clock;
pub mod crash_points;
mod driver;
mod harness;
mod hub;
mod input;
mod output;
pub mod sim;

pub use driver::{TestDriver, TestDriverBuilder};
pub use harness::{NoInput, OperatorHarness, OperatorHarnessBuilder};
pub use input::{TestInput, TestInputReader, input, input_once};
pub use output::{OutputEvent, TestOutput, output};
