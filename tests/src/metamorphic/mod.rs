//! Random jobs whose output must not depend on how they are run.
//!
//! 1. [`Job::random`] draws a job from a seed: a chain of operators, perhaps over two inputs, and its input with watermarks.
//! 2. [`Job::run`] runs it to its end on the seeded shell under a [`Variant`]: parallelism, batch and ring sizes, windows in slices or
//!    one by one, the turns of the tasks.
//! 3. The output is a multiset of values and timestamps for each output and key; it must be equal for all variants.
//!
//! Not every job has such an output: what depends on the interleaving of subtasks is not drawn. The rules are with
//! `plan::Knowledge`, which says what is known of a stream's order at each point of the chain.
//!
//! **Invariant**: a seed names a job and its input for good; nothing else is random.

mod build;
mod input;
mod operator;
mod plan;
mod run;

pub use plan::Job;
pub use run::{Fault, Rows, Variant};

/// What all jobs work on.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Its key.
    pub key: u32,
    /// Its time in the input; what operators emit is dated by them.
    pub at: i64,
    /// Its value.
    pub v: i64,
    /// The watermark behind it.
    pub mark: Option<i64>,
}
