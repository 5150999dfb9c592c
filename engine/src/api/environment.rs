//! [`StreamExecutionEnvironment`]: where a job is written and started.

use crate::api::chain::{Chain, FromSource, Plan};
use crate::api::plan_builder::NewNode;
use crate::api::stream::DataStream;
use crate::function::{Boundedness, Source};
use crate::graph::NodeKind;
use crate::runtime::coordinator::SourceCoordinatorFactory;
use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

/// Where a job is written: sources begin streams here, `execute` runs what was written.
///
/// [`new`](Self::new) reads nothing; `from_args` reads the command line, the environment and a configuration file.
pub struct StreamExecutionEnvironment {
    pub(crate) plan: Plan,
}

impl Default for StreamExecutionEnvironment {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamExecutionEnvironment {
    /// An environment with the defaults.
    pub fn new() -> Self {
        StreamExecutionEnvironment { plan: Plan(Rc::new(RefCell::default())) }
    }

    /// Begins a stream at `source`.
    #[track_caller]
    pub fn from_source<S: Source>(
        &self,
        source: S,
        name: impl Into<String>,
    ) -> DataStream<S::Out, impl Chain<S::Out>> {
        let stream = self.add_source(source, "source", Location::caller());
        stream.name(name)
    }

    pub(crate) fn add_source<S: Source>(
        &self,
        source: S,
        operator: &'static str,
        location: &'static Location<'static>,
    ) -> DataStream<S::Out, FromSource<S>> {
        let source = Arc::new(source);
        let kind = NodeKind::Source {
            bounded: source.boundedness() == Boundedness::Bounded,
            non_parallel: source.is_non_parallel(),
        };
        let node = self.plan.with(|plan| {
            let inputs = Vec::new();
            let node = plan.add_node(NewNode { kind, operator, inputs, keyed: false, location });
            let coordinator = SourceCoordinatorFactory::new(node, source.clone());
            plan.coordinators.insert(node, coordinator);
            node
        });
        DataStream::new(self.plan.clone(), node, FromSource { source, node })
    }
}
