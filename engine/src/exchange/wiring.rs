//! Which subtask is linked to which, and how: made once from the physical graph, read by every subtask while it is built.
//!
//! Cross-core channels are made by whichever side comes first and deposited for the other; links within a core are made
//! the same way, in a registry that never leaves the core.
//!
//! **Invariants**
//! - Each half of a channel is taken exactly once.
//! - Both sides name the same record type, because an edge has one (the downcast proves it).

use crate::exchange::channel::{self, ChannelOptions, Reader, RingReader, RingWriter, Writer};
use crate::graph::{EdgeId, NodeId, Ship, connects};
use crate::metrics::{EdgeLabel, EdgeMetrics, JobMetrics};
use crate::record::Codec;
use crate::runtime::wake::CoreWaker;
use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

/// One edge between two stages, with its subtasks placed.
#[derive(Debug)]
pub(crate) struct EdgeWiring {
    /// Head of the consuming stage.
    pub(crate) to: NodeId,
    pub(crate) ship: Ship,
    /// The consumer of the same subtask index hangs below the producer.
    pub(crate) nested: bool,
    /// Core of each producer subtask.
    pub(crate) producer_cores: Vec<usize>,
    /// Core of each consumer subtask.
    pub(crate) consumer_cores: Vec<usize>,
    /// Key groups of the consumer.
    pub(crate) key_groups: u16,
    /// Names of both ends, for metrics.
    pub(crate) label: (Arc<str>, Arc<str>),
    pub(crate) input: usize,
}

impl EdgeWiring {
    pub(crate) fn producers(&self) -> usize {
        self.producer_cores.len()
    }

    pub(crate) fn consumers(&self) -> usize {
        self.consumer_cores.len()
    }

    /// Does producer `from` feed consumer `to` through a channel?
    pub(crate) fn has_channel(&self, from: usize, to: usize) -> bool {
        !(self.nested && from == to)
            && connects(self.ship, from, to, self.producers(), self.consumers())
    }

    /// The consumers that producer `from` feeds, nested or not.
    pub(crate) fn consumers_of(&self, from: usize) -> Vec<usize> {
        let all = 0..self.consumers();
        all.filter(|to| connects(self.ship, from, *to, self.producers(), self.consumers()))
            .collect()
    }
}

type LinkKey = (EdgeId, usize, usize);

/// The wiring of a job.
pub(crate) struct Wiring {
    /// By [`EdgeId`]; `None` for ids that the plan does not use.
    pub(crate) edges: Vec<Option<EdgeWiring>>,
    pub(crate) options: ChannelOptions,
    pub(crate) metrics: Arc<JobMetrics>,
    /// By core index.
    pub(crate) wakers: HashMap<usize, Arc<CoreWaker>>,
    /// Halves of cross-core channels that wait for their side.
    deposit: Mutex<HashMap<(LinkKey, Side), Box<dyn Any + Send>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Side {
    Writer,
    Reader,
}

/// Halves of links within a core that wait for their side. One a job and core.
#[derive(Default)]
pub(crate) struct LocalLinks {
    deposit: RefCell<HashMap<(LinkKey, Side), Box<dyn Any>>>,
}

impl Wiring {
    pub(crate) fn new(
        edges: Vec<Option<EdgeWiring>>,
        options: ChannelOptions,
        metrics: Arc<JobMetrics>,
        wakers: HashMap<usize, Arc<CoreWaker>>,
    ) -> Self {
        Wiring { edges, options, metrics, wakers, deposit: Mutex::new(HashMap::new()) }
    }

    pub(crate) fn edge(&self, id: EdgeId) -> &EdgeWiring {
        self.edges[id.0 as usize].as_ref().expect("an edge that is opened is part of the plan")
    }

    fn link_metrics(&self, (id, from_subtask, to_subtask): LinkKey) -> Arc<EdgeMetrics> {
        let edge = self.edge(id);
        let ((from, to), input) = (edge.label.clone(), edge.input);
        let label = EdgeLabel { from, from_subtask, to, to_subtask, input };
        self.metrics.register_edge(label, self.options.pages_in_flight)
    }

    fn waker(&self, core: usize) -> Arc<CoreWaker> {
        self.wakers.get(&core).expect("every core of a job has a waker").clone()
    }

    /// Opens the producer's half of (edge, from, to) on its core.
    pub(crate) fn writer<T: Send + 'static>(
        &self,
        locals: &Rc<LocalLinks>,
        (id, from, to): LinkKey,
        codec: Option<Codec<T>>,
    ) -> Writer<T> {
        let edge = self.edge(id);
        if edge.producer_cores[from] == edge.consumer_cores[to] {
            return locals.take::<T, Writer<T>>(self, (id, from, to), Side::Writer);
        }
        let half: RingWriter<T> = self.take_ring::<T, _>((id, from, to), Side::Writer);
        let consumer = self.waker(edge.consumer_cores[to]);
        half.open(codec, self.options, consumer, self.link_metrics((id, from, to)))
    }

    /// Opens the consumer's half of (edge, from, to) on its core.
    pub(crate) fn reader<T: Send + 'static>(
        &self,
        locals: &Rc<LocalLinks>,
        (id, from, to): LinkKey,
    ) -> Reader<T> {
        let edge = self.edge(id);
        if edge.producer_cores[from] == edge.consumer_cores[to] {
            return locals.take::<T, Reader<T>>(self, (id, from, to), Side::Reader);
        }
        let half: RingReader<T> = self.take_ring::<T, _>((id, from, to), Side::Reader);
        half.open(self.waker(edge.producer_cores[from]))
    }

    fn take_ring<T: Send + 'static, H: Send + 'static>(&self, key: LinkKey, side: Side) -> H {
        let mut deposit = self.deposit.lock().unwrap_or_else(PoisonError::into_inner);
        if !deposit.contains_key(&(key, side)) {
            let (writer, reader) = channel::ring::<T>(self.options);
            deposit.insert((key, Side::Writer), Box::new(writer));
            deposit.insert((key, Side::Reader), Box::new(reader));
        }
        let half = deposit.remove(&(key, side)).expect("each half is taken once");
        *half.downcast::<H>().expect("both sides of an edge name the same type")
    }
}

impl LocalLinks {
    fn take<T: Send + 'static, H: 'static>(&self, wiring: &Wiring, key: LinkKey, side: Side) -> H {
        let mut deposit = self.deposit.borrow_mut();
        if !deposit.contains_key(&(key, side)) {
            let metrics = wiring.link_metrics(key);
            let (writer, reader) = channel::local::<T>(wiring.options, metrics);
            deposit.insert((key, Side::Writer), Box::new(writer));
            deposit.insert((key, Side::Reader), Box::new(reader));
        }
        let half = deposit.remove(&(key, side)).expect("each half is taken once");
        *half.downcast::<H>().expect("both sides of an edge name the same type")
    }
}
