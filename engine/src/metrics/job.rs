//! [`JobMetrics`]: every metric of a job, registered at deploy, read by anyone who wants to know.
//!
//! 1. The job's control thread registers each subtask and each edge as it deploys them.
//! 2. Slots count into what they were given; nothing here is on their way.
//! 3. [`JobMetrics::snapshot`] reads all of it into plain structs, with the sums over subtasks.
//!
//! **Invariants**
//! - A subtask deployed again starts from zero, with `restarts` one higher; the numbers of the earlier attempt are no
//!   longer read, because its thread may still be writing them.
//! - Only registering and reading lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cell::Counter;
use super::group::{MetricGroup, UserMetrics};
use super::snapshot::{EdgeSnapshot, JobSnapshot, SubtaskSnapshot, VertexSnapshot};
use super::subtask::{EdgeMetrics, SubtaskMetrics};

/// The metrics of one job; share it in an [`Arc`].
///
/// ```
/// use thalweg::metrics::JobMetrics;
/// let job = JobMetrics::new("hot items");
/// job.register_subtask("count", 0).subtask().records_in.add(2);
/// job.register_subtask("count", 1).subtask().records_in.add(3);
/// assert_eq!(job.snapshot().vertices[0].total.records_in, 5);
/// ```
#[derive(Debug)]
pub struct JobMetrics {
    name: String,
    /// Written by the job's control thread; read by anyone; publishes nothing.
    restarts: Counter,
    registered: Mutex<Registered>,
}

#[derive(Debug, Default)]
struct Registered {
    /// In order of first registration, which is the plan's.
    vertices: Vec<Vertex>,
    edges: BTreeMap<EdgeLabel, Arc<EdgeMetrics>>,
}

#[derive(Debug)]
struct Vertex {
    name: String,
    subtasks: BTreeMap<usize, Subtask>,
}

#[derive(Debug)]
struct Subtask {
    metrics: Arc<SubtaskMetrics>,
    user: Arc<UserMetrics>,
}

/// Names one edge between two subtasks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeLabel {
    /// The producing vertex.
    pub from: Arc<str>,
    /// Its subtask.
    pub from_subtask: usize,
    /// The consuming vertex.
    pub to: Arc<str>,
    /// Its subtask.
    pub to_subtask: usize,
    /// Tells apart several edges between the same two vertices: the consumer's input, counted from zero.
    pub input: usize,
}

impl JobMetrics {
    /// Nothing registered yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), restarts: Counter::new(), registered: Mutex::default() }
    }

    /// How often the job was restarted; for its control thread to count.
    pub fn restarts(&self) -> &Counter {
        &self.restarts
    }

    /// Registers a subtask of a vertex and gives it fresh metrics; once an attempt, from the job's control thread.
    ///
    /// The group is that of an operator named as the vertex; [`MetricGroup::for_operator`] gives those of the chain.
    pub fn register_subtask(&self, vertex: &str, subtask: usize) -> MetricGroup {
        let mut registered = self.lock();
        let vertices = &mut registered.vertices;
        let index = vertices.iter().position(|known| known.name == vertex).unwrap_or_else(|| {
            vertices.push(Vertex { name: vertex.to_owned(), subtasks: BTreeMap::new() });
            vertices.len() - 1
        });
        let metrics = Arc::new(SubtaskMetrics::default());
        let user = Arc::new(UserMetrics::default());
        let fresh = Subtask { metrics: metrics.clone(), user: user.clone() };
        if let Some(before) = vertices[index].subtasks.insert(subtask, fresh) {
            metrics.control.restarts.add(before.metrics.control.restarts.get() + 1);
        }
        MetricGroup::new(vertex, metrics, user)
    }

    /// Registers an edge and gives it fresh metrics; once an attempt, from the job's control thread.
    pub fn register_edge(&self, label: EdgeLabel, ring_capacity: usize) -> Arc<EdgeMetrics> {
        let metrics = Arc::new(EdgeMetrics::new(ring_capacity));
        self.lock().edges.insert(label, metrics.clone());
        metrics
    }

    /// Forgets the subtasks of a vertex from `parallelism` on and every edge that touches it; before it is deployed with
    /// another parallelism, which registers its edges again.
    pub fn rescale(&self, vertex: &str, parallelism: usize) {
        let mut registered = self.lock();
        for known in registered.vertices.iter_mut().filter(|known| known.name == vertex) {
            known.subtasks.retain(|subtask, _| *subtask < parallelism);
        }
        registered.edges.retain(|label, _| *label.from != *vertex && *label.to != *vertex);
    }

    /// All values now, each by itself: the slots go on counting while they are read.
    pub fn snapshot(&self) -> JobSnapshot {
        let registered = self.lock();
        JobSnapshot {
            job: self.name.clone(),
            restarts: self.restarts.get(),
            vertices: registered.vertices.iter().map(Vertex::snapshot).collect(),
            edges: registered.edges.iter().map(|(label, edge)| snapshot_of(label, edge)).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registered> {
        // Every change under the lock is one insertion, so a panic leaves nothing half done.
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vertex {
    fn snapshot(&self) -> VertexSnapshot {
        let subtasks = self.subtasks.iter().map(|(index, subtask)| {
            let values = subtask.metrics.values();
            (SubtaskSnapshot { subtask: *index, values, operators: Vec::new() }, &*subtask.user)
        });
        VertexSnapshot::of(&self.name, subtasks)
    }
}

fn snapshot_of(label: &EdgeLabel, edge: &EdgeMetrics) -> EdgeSnapshot {
    EdgeSnapshot {
        from: label.from.to_string(),
        from_subtask: label.from_subtask,
        to: label.to.to_string(),
        to_subtask: label.to_subtask,
        input: label.input,
        ring_capacity: edge.ring_capacity(),
        ring_fill: edge.producer.ring_fill.get(),
        pages_sent: edge.producer.pages_sent.get(),
        pages_received: edge.consumer.pages_received.get(),
        spilled_pages: edge.producer.spilled_pages.get(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from_subtask: usize, to_subtask: usize) -> EdgeLabel {
        EdgeLabel { from: "map".into(), from_subtask, to: "sink".into(), to_subtask, input: 0 }
    }

    #[test]
    fn a_snapshot_has_every_subtask_and_the_sums() {
        let job = JobMetrics::new("job");
        for subtask in [1, 0] {
            let group = job.register_subtask("map", subtask);
            group.subtask().records_in.add(10 + subtask as u64);
            group.subtask().current_input_watermark_ms.set(100 * subtask as i64);
            let parse = group.for_operator("parse");
            parse.counter("parsed").add(2);
            parse.gauge("held").set(3);
            parse.histogram("size").record_many(50 * subtask as u64, 4);
        }
        job.register_subtask("sink", 0);
        let snapshot = job.snapshot();
        let names: Vec<_> = snapshot.vertices.iter().map(|vertex| vertex.vertex.as_str()).collect();
        assert_eq!(names, ["map", "sink"]);
        let map = &snapshot.vertices[0];
        assert_eq!(map.subtasks.iter().map(|s| s.subtask).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((map.total.records_in, map.total.current_input_watermark_ms), (21, Some(0)));
        let [parse] = &map.operators[..] else { panic!("{:?}", map.operators) };
        assert_eq!((parse.counters["parsed"], parse.gauges["held"]), (4, 6));
        let size = parse.histograms["size"];
        assert_eq!((size.count, size.min, size.p50, size.max), (8, 0, 0, 50));
        assert_eq!(map.subtasks[1].operators[0].histograms["size"].min, 50);
        assert_eq!(snapshot.vertices[1].total, Default::default());
    }

    #[test]
    fn a_restarted_subtask_counts_from_zero_and_says_so() {
        let job = JobMetrics::new("job");
        let first = job.register_subtask("map", 0);
        first.subtask().records_in.add(5);
        first.counter("n").add(5);
        for _ in 0..2 {
            job.register_subtask("map", 0);
        }
        first.subtask().records_in.add(5);
        let subtask = &job.snapshot().vertices[0].subtasks[0];
        assert_eq!((subtask.values.records_in, subtask.values.restarts), (0, 2));
        assert!(subtask.operators.is_empty());
    }

    #[test]
    fn edges_are_read_from_both_ends() {
        let job = JobMetrics::new("job");
        let metrics = job.register_edge(edge(0, 1), 8);
        metrics.producer.pages_sent.add(7);
        metrics.producer.ring_fill.set(3);
        metrics.producer.spilled_pages.add(1);
        metrics.consumer.pages_received.add(4);
        job.register_edge(edge(0, 0), 8);
        let edges = job.snapshot().edges;
        assert_eq!(edges.iter().map(|edge| edge.to_subtask).collect::<Vec<_>>(), [0, 1]);
        let read = &edges[1];
        assert_eq!((read.ring_capacity, read.ring_fill, read.spilled_pages), (8, 3, 1));
        assert_eq!((read.pages_sent, read.pages_received), (7, 4));
    }

    #[test]
    fn rescaling_forgets_what_is_gone() {
        let job = JobMetrics::new("job");
        (0..4).for_each(|subtask| _ = job.register_subtask("map", subtask));
        job.register_edge(edge(0, 0), 8);
        job.rescale("map", 2);
        let snapshot = job.snapshot();
        assert_eq!((snapshot.vertices[0].subtasks.len(), snapshot.edges.len()), (2, 0));
    }

    #[test]
    fn snapshots_travel_as_json() {
        let job = JobMetrics::new("job");
        job.register_subtask("map", 0).histogram("size").record(u64::MAX);
        job.register_edge(edge(0, 0), 8);
        job.restarts().increment();
        let snapshot = job.snapshot();
        let text = serde_json::to_string(&snapshot).unwrap();
        assert!(text.starts_with(r#"{"job":"job","restarts":1,"vertices":[{"vertex":"map","#));
        assert_eq!(serde_json::from_str::<JobSnapshot>(&text).unwrap(), snapshot);
    }

    #[test]
    fn slots_count_while_others_read() {
        let job = JobMetrics::new("job");
        std::thread::scope(|scope| {
            for subtask in 0..3 {
                let group = job.register_subtask("map", subtask);
                scope.spawn(move || {
                    let counter = group.counter("n");
                    for _ in 0..5_000 {
                        group.subtask().records_in.increment();
                        counter.increment();
                    }
                });
            }
            while job.snapshot().vertices[0].total.records_in < 15_000 {
                std::hint::spin_loop();
            }
        });
        assert_eq!(job.snapshot().vertices[0].operators[0].counters["n"], 15_000);
    }
}
