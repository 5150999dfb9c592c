//! A stateful stream processor for one machine: Flink's semantics inside one process.
//!
//! ```
//! use thalweg::prelude::*;
//!
//! let env = StreamExecutionEnvironment::new();
//! env.set_parallelism(1);
//! let counts = env
//!     .from_elements(["to", "be", "or", "not", "to", "be"].map(String::from))
//!     .key_by_ref(|word| word)
//!     .scan(0, |count, word| {
//!         *count += 1;
//!         (word, *count)
//!     })
//!     .collect();
//! env.execute("word count")?;
//! assert_eq!(counts.take().last(), Some(&("be".to_string(), 2)));
//! # Ok::<(), thalweg::Error>(())
//! ```
//!
//! # Where to find what
//!
//! - [`prelude`]: everything a job usually names.
//! - [`api`]: where jobs are written: [`StreamExecutionEnvironment`](api::StreamExecutionEnvironment),
//!   [`DataStream`](api::DataStream), [`KeyedStream`](api::KeyedStream), [`WindowedStream`](api::WindowedStream).
//! - [`function`]: the traits that users implement.
//! - [`source`], [`sink`]: connectors.
//! - [`time`], [`window`]: watermarks and windows.
//! - [`state`]: state handles and their descriptors; [`record`](macro@record): what makes a type of yours a record.
//! - [`Engine`], [`JobHandle`]: several jobs in a service; one job alone needs
//!   [`execute`](api::StreamExecutionEnvironment::execute) only.
//! - [`testing`]: jobs tested element by element, by a clock of their own.
//! - [`config`]: settings and where they come from. [`graph`]: plans and `explain`. [`metrics`]: what is counted.
//! - [`runtime`]: cores, slots and tasks, for those who want to know.
//!
//! # How a job runs
//!
//! 1. The calls on streams write a plan; nothing runs yet. Closures are composed by generics, so that what stands between
//!    two exchanges is one compiled function.
//! 2. `execute` checks the plan, reports all its mistakes at once, and asks for slots: shares of pinned cores.
//! 3. Each core builds its subtasks from the plan and runs them in one loop, batch by batch. Records that stay on a core
//!    go on by value; those that change cores go through bounded rings, page by page.
//! 4. The job ends when its sources do, when it is cancelled, or at the first error, which names operator, subtask and
//!    record.
//!
//! # What is not there yet
//!
//! Checkpoints and recovery, state beyond memory, CEP, SQL, connectors to foreign systems, a dashboard.
extern crate self as thalweg;

pub mod api;
pub(crate) mod checkpoint;
pub mod config;
pub mod connector;
pub mod error;
pub(crate) mod exchange;
pub mod function;
pub mod graph;
pub mod metrics;
pub(crate) mod operator;
pub mod prelude;
pub mod record;
pub mod runtime;
pub(crate) mod sync;
pub mod testing;
pub mod time;
pub mod window;

pub use connector::{sink, source};
pub use error::{BoxError, Error, JobFailure};
pub use runtime::{Engine, JobHandle, JobResult, Savepoint, SavepointError, SavepointHandle};
pub use thalweg_macros::record;
pub use thalweg_state as state;
pub use thalweg_state::rkyv;

/// Result of user code and of `main`: any error converts with `?`.
pub type Result<T = (), E = BoxError> = std::result::Result<T, E>;

/// The README's programs, compiled and run by `cargo test`.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeDoctests;
