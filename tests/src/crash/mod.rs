//! Kill -9 of a real job on the real disk: the job, what it must have written, and the audit.
//!
//! ```text
//! parent (kills.rs)                       child: the same binary (child.rs)
//!  for each job, until all input is through:
//!    start ─────────────────────────────► goes on from the directory, runs the job (job.rs)
//!    kill after a random time, or arm a crash point
//!  audit (audit.rs): what is committed, against what the script (event.rs, model.rs) says
//! ```
//!
//! 1. Four source subtasks replay a [`Script`]: records that a seed decides, of (source, n, key, time, value).
//! 2. Three branches: the running sum of each key, each record a row, into an exactly-once [`FileSink`]; sliding windows of
//!    each key into a two-phase sink of files ([`FileTransactions`]); a timer for each key and slot of time into another.
//!    A job that is rescaled has another parallelism in each process, and some processes end with a savepoint, with which the
//!    next begins in a directory of its own.
//! 3. The audit reads the files. Every record must be there once, in order, with the sum that its
//!    predecessor says; each window and each timer once with the model's count.
//!
//! With a remote store the parent removes the checkpoint directory between two lives; sinks' files stay, as they are a foreign
//! system's.
//!
//! With `--sink kafka` the sums go to a topic of a real broker, which is killed and frozen as well.
//!
//! Records, model and verdict know nothing of processes and files, so that other tests can use them.
//!
//! [`FileSink`]: thalweg::sink::FileSink
//!
//! **Invariants**
//! - The parent's judgement rests on files alone: nothing that a child says is believed, but that it has finished.
//! - A child that ends in any other way than by the parent's will is a failure.

mod audit;
mod child;
mod event;
mod job;
#[cfg(feature = "kafka")]
mod kafka;
mod kills;
mod model;
mod pieces;
mod transactions;
mod verdict;

pub use child::{CHILD_ARGUMENT, ChildEnd, run_child};
pub use event::{Event, Script};
pub use job::{Place, RemotePlace, Topic, write_job};
pub use kills::{KillPlan, KillReport, SinkKind, run_kills};
pub use model::Model;
pub use transactions::FileTransactions;
pub use verdict::{Committed, SumRow, TimerRow, Verdict, WindowRow};
