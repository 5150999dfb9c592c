//! The conformance corpus: cases whose results another engine of the same semantics produced, run through the public API.
//!
//! ```text
//!  case.rs  ── file to Case, strictly          kind/    ── one interpreter a kind: a job and its parameters to a plan
//!  event.rs ── records of all jobs             bench.rs ── what interpreters build on: inputs, outputs, the setup
//!  run.rs   ── Case to rows, step by step      row.rs, compare.rs ── rows, and when two outputs are the same
//!  report.rs── directories to verdicts
//! ```
//!
//! **Invariants**
//! - Nothing depends on a case's name, area or description: an interpreter sees the job and the events alone.
//! - Whatever a case says is used or refused; nothing is ignored.
//!
//! The corpus and its README, which has the schema, are in `data/conformance`.

mod bench;
mod case;
mod compare;
mod event;
mod kind;
mod report;
mod requests;
mod row;
mod run;

pub use case::{Case, CaseError, Common, Loaded, Order, Step, load};
pub use compare::{Difference, Rule, difference};
pub use event::{
    AddCommand, Clock, Command, Event, ListCommand, MapCommand, Output, TimerCommand, ValueCommand,
};
pub use report::{Report, Verdict, case_files, corpus, more, run_files};
pub use row::{Body, Row};
pub use run::{Restarts, RunError, Setup, Shell, run};
