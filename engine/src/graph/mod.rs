//! From the plan as written to slots and cores; plans, never runs.
//!
//! ```text
//! Plan ──► StreamGraph ──► JobGraph ──► ExecutionGraph        what runs, and how far it has come
//! (calls)  (resolved)      (chained)└─► PhysicalGraph         where it runs: task ─► slot ─► core
//!                                         ▲ Allocation (from the resource manager)
//! ```
//!
//! 1. [`Plan`]: one [`Transformation`] a call, with what the user said and nothing more.
//! 2. [`StreamGraph`]: every setting resolved; the only step that refuses, with all errors at once ([`PlanErrors`]).
//! 3. [`JobGraph`]: operators chained into vertices; each edge wired ([`EdgePlan`]); stages and task roots.
//! 4. [`ExecutionGraph`]: vertices × subtasks, with the states of subtasks and job.
//! 5. [`PhysicalGraph`]: tasks in slots on cores, and for each pair of subtasks the kind of link.
//! 6. [`Explain`] prints all four as text, DOT or JSON.
//!
//! **Invariants**
//! - Everything here is data and pure functions: no thread, no clock, no file, no randomness. The same plan and
//!   settings give the same graphs.
//! - What a later step relies on (acyclic, dense ids, equal parallelism of fused nodes) is checked in step 2, so steps
//!   3 and 4 can't fail; step 5 fails only on an allocation that does not fit the job.
//!
//! # Examples
//! ```
//! use std::panic::Location;
//! use thalweg::graph::*;
//!
//! let node = |id, kind, operator, inputs| Transformation {
//!     id: NodeId(id), kind, operator, inputs, name: None, uid: None, parallelism: None, max_parallelism: None,
//!     slot_sharing_group: None, chaining: Chaining::Always, keyed: false, details: None,
//!     location: Location::caller(),
//! };
//! let source = NodeKind::Source { bounded: true, non_parallel: false, is_replayable: true };
//! let input = PlanInput {
//!     from: NodeId(0), side_output: None, port: 0, ship: Ship::Auto, edge: Some(EdgeId(0)),
//! };
//! let plan = Plan {
//!     transformations: vec![node(0, source, "lines", vec![]), node(1, NodeKind::Sink(Default::default()), "print", vec![input])],
//!     edge_count: 1,
//! };
//! let stream_graph = StreamGraph::new(&plan, &PlanSettings { parallelism: 2, ..Default::default() })?;
//! let explain = Explain::new(stream_graph, None)?;
//! assert_eq!(explain.job_graph.vertices()[0].name, "Source: lines -> Sink: print");
//! assert_eq!(explain.job_graph.slot_demand().slot_count(), 2);
//! println!("{}", explain.render(ExplainFormat::Text));
//!
//! let refused = StreamGraph::new(&plan, &PlanSettings { parallelism: 0, ..Default::default() });
//! assert_eq!(
//!     refused.unwrap_err().to_string(),
//!     "the plan can't run: environment: parallelism is 0; say at least 1"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chaining;
mod check_settings;
mod check_shape;
pub mod delivery;
pub mod distribution;
pub mod execution_graph;
pub mod execution_state;
pub mod explain;
pub mod job_graph;
pub mod operator_id;
pub mod physical_graph;
pub mod plan_error;
mod resolve;
pub mod settings;
pub mod slot;
pub mod stream_graph;
pub mod transformation;

#[cfg(test)]
mod random_plan_tests;
#[cfg(test)]
pub(crate) mod test_plan;

pub use delivery::*;
pub use distribution::*;
pub use execution_graph::*;
pub use execution_state::*;
pub use explain::{Explain, ExplainFormat, ExplainPart};
pub use job_graph::*;
pub use operator_id::OperatorId;
pub use physical_graph::*;
pub use plan_error::*;
pub use settings::*;
pub use slot::*;
pub use stream_graph::*;
pub use transformation::*;
