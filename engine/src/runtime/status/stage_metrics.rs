//! Metrics by vertex, from what stages count and what cores measure.
//!
//! A stage counts for itself: its gate what comes in, its routers and sinks what goes out. A vertex may be several
//! stages chained; then what comes in is what comes into its first stage, and what goes out is what leaves stages that
//! feed no other stage of the vertex. Time is measured by task, and a step of a task is a step of each vertex in it:
//! so each of them shows the task's times.
//!
//! **Invariant**: names of vertices, and of stages, are unique within the job, whatever users call their operators.

use std::collections::HashSet;
use std::sync::Arc;

use crate::graph::{JobGraph, Stage, StageIndex, VertexIndex};
use crate::metrics::{JobSnapshot, SubtaskSnapshot, SubtaskValues, VertexSnapshot};
use crate::runtime::deployment_times::TaskTimes;
use crate::time::{Clock, SystemClock};

/// The time of one task, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct TaskClock {
    pub(crate) vertices: Vec<VertexIndex>,
    pub(crate) subtask: usize,
    pub(crate) times: Arc<TaskTimes>,
}

/// Under which names stages are registered with the job's metrics.
#[derive(Debug)]
pub(crate) struct StageNames {
    vertices: Vec<Arc<str>>,
    stages: Vec<StageName>,
}

#[derive(Debug)]
struct StageName {
    /// That of the vertex for its first stage.
    name: String,
    vertex: VertexIndex,
    /// Feeds no other stage of its vertex.
    is_last: bool,
}

impl StageNames {
    pub(crate) fn new(job: &JobGraph) -> Self {
        let mut taken = HashSet::new();
        let vertices: Vec<Arc<str>> =
            job.vertices().iter().map(|vertex| unique(&vertex.name, &mut taken).into()).collect();
        let name_of = |stage: &Stage| {
            let vertex = job.vertex(stage.vertex);
            let vertex_name = &vertices[stage.vertex.0 as usize];
            let is_first = vertex.operators.first() == Some(&stage.head);
            let name = if is_first {
                vertex_name.to_string()
            } else {
                unique(&format!("{vertex_name} [stage {}]", stage.index), &mut taken)
            };
            StageName { name, vertex: stage.vertex, is_last: is_last(job, stage) }
        };
        let stages = job.stages().iter().map(name_of).collect();
        Self { vertices, stages }
    }

    /// The name of a vertex.
    pub(crate) fn vertex(&self, vertex: VertexIndex) -> Arc<str> {
        self.vertices[vertex.0 as usize].clone()
    }

    /// The name a stage counts under.
    pub(crate) fn stage(&self, stage: StageIndex) -> &str {
        &self.stages[stage.0 as usize].name
    }

    /// Turns a snapshot of stages into one of vertices.
    pub(crate) fn fold(&self, snapshot: &mut JobSnapshot, clocks: &[TaskClock]) {
        let stages = std::mem::take(&mut snapshot.vertices);
        for (index, name) in self.vertices.iter().enumerate() {
            let vertex = VertexIndex(u32::try_from(index).unwrap_or(u32::MAX));
            let of_vertex: Vec<(&StageName, &VertexSnapshot)> = self
                .stages
                .iter()
                .filter(|stage| stage.vertex == vertex)
                .filter_map(|stage| {
                    Some((stage, stages.iter().find(|known| known.vertex == stage.name)?))
                })
                .collect();
            snapshot.vertices.extend(vertex_snapshot(name, &of_vertex));
        }
        let now_ns = SystemClock::new().monotonic_ns();
        for clock in clocks {
            let reading = clock.times.read(now_ns);
            for vertex in &clock.vertices {
                let name = &self.vertices[vertex.0 as usize];
                let vertex = snapshot.vertices.iter_mut().find(|known| known.vertex == **name);
                let subtasks = vertex.into_iter().flat_map(|vertex| &mut vertex.subtasks);
                for subtask in subtasks.filter(|subtask| subtask.subtask == clock.subtask) {
                    subtask.values.busy_ns = reading.busy_ns;
                    subtask.values.backpressured_ns = reading.backpressured_ns;
                    subtask.values.idle_ns = reading.idle_ns;
                }
            }
        }
        for vertex in &mut snapshot.vertices {
            let values = vertex.subtasks.iter().map(|subtask| &subtask.values);
            vertex.total = SubtaskValues::total(values);
        }
    }
}

/// `name`, or with a number behind it if that is taken.
fn unique(name: &str, taken: &mut HashSet<String>) -> String {
    let mut candidate = name.to_owned();
    let mut number = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name} #{number}");
        number += 1;
    }
    candidate
}

fn is_last(job: &JobGraph, stage: &Stage) -> bool {
    let mut fed = job.edge_plans().iter().filter(|edge| stage.nodes.contains(&edge.from));
    !fed.any(|edge| job.stage_of(edge.to).vertex == stage.vertex)
}

/// The stages of one vertex put together; `None` before they are registered.
fn vertex_snapshot(name: &str, stages: &[(&StageName, &VertexSnapshot)]) -> Option<VertexSnapshot> {
    let (_, first) = stages.first()?;
    let mut vertex = VertexSnapshot { vertex: name.to_owned(), ..(*first).clone() };
    if stages.len() == 1 {
        return Some(vertex);
    }
    vertex.operators = stages.iter().flat_map(|(_, stage)| stage.operators.clone()).collect();
    for subtask in &mut vertex.subtasks {
        let of_stages = stages.iter().filter_map(|(stage, snapshot)| {
            let mut subtasks = snapshot.subtasks.iter();
            Some((*stage, subtasks.find(|known| known.subtask == subtask.subtask)?))
        });
        *subtask = combine(&of_stages.collect::<Vec<_>>(), subtask);
    }
    Some(vertex)
}

fn combine(stages: &[(&StageName, &SubtaskSnapshot)], first: &SubtaskSnapshot) -> SubtaskSnapshot {
    let mut values = SubtaskValues::total(stages.iter().map(|(_, subtask)| &subtask.values));
    let last = stages.iter().filter(|(stage, _)| stage.is_last);
    let out = SubtaskValues::total(last.map(|(_, subtask)| &subtask.values));
    values.records_in = first.values.records_in;
    values.bytes_in = first.values.bytes_in;
    values.current_input_watermark_ms = first.values.current_input_watermark_ms;
    values.records_out = out.records_out;
    values.bytes_out = out.bytes_out;
    values.current_output_watermark_ms = out.current_output_watermark_ms;
    values.restarts = first.values.restarts;
    let operators = stages.iter().flat_map(|(_, subtask)| subtask.operators.clone()).collect();
    SubtaskSnapshot { subtask: first.subtask, values, operators }
}
