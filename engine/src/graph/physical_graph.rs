//! Where everything runs: tasks in slots on cores, and what lies between each pair of subtasks.
//!
//! 1. A task is a root stage and one subtask index; it holds that subtask of every stage nested below the root.
//! 2. Its slot is the one its slot sharing group has for that index.
//! 3. A link is *nested* where the producer's task drives the consumer (only from i to i), *local* where both lie on
//!    one core, a *ring* elsewhere.
//!
//! **Invariants**
//! - Every subtask of every stage is in one task; the tasks of a job are numbered by root stage, then by subtask.
//! - The links of an edge are the pairs that [`EdgePlan::connects`] names and, if it is nested, all (i, i): a nested
//!   consumer gets watermarks, barriers and the end of input from its own producer even where no record comes that way
//!   (`global`, all subtasks but the first).

use super::job_graph::{EdgePlan, JobGraph, Stage, StageIndex, VertexIndex};
use super::slot::{Allocation, CoreIndex, Slot};
use super::transformation::{EdgeId, NodeId};
use std::fmt;

/// Names a task of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u32);

impl fmt::Display for TaskId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// One subtask of a root stage and of all stages nested below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhysicalTask {
    /// Its name.
    pub id: TaskId,
    /// The stage that drives it.
    pub root: StageIndex,
    /// Which subtask of each of its stages, from 0.
    pub subtask: usize,
    /// Its slot.
    pub slot: Slot,
    /// Its stages, the root first.
    pub stages: Vec<StageIndex>,
    /// The vertices its stages belong to, each once; a step of the task is a step of each.
    pub vertices: Vec<VertexIndex>,
}

/// What lies between two subtasks of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// The producer's task owns and drives the consumer; records go by value.
    Nested,
    /// Two tasks on one core; records go by value through a queue without atomics.
    Local,
    /// Two cores; records go in pages through a ring.
    Ring,
}

impl LinkKind {
    /// The word for it in plans.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nested => "nested",
            Self::Local => "local",
            Self::Ring => "ring",
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// One connected pair of subtasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Subtask of the producer.
    pub producer: usize,
    /// Subtask of the consumer.
    pub consumer: usize,
    /// What lies between them.
    pub kind: LinkKind,
}

/// How many links of each kind an edge has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LinkCounts {
    /// [`LinkKind::Nested`].
    pub nested: usize,
    /// [`LinkKind::Local`].
    pub local: usize,
    /// [`LinkKind::Ring`].
    pub ring: usize,
}

/// The links of one edge; worked out on demand, since a wide edge has very many.
#[derive(Clone, Debug)]
pub struct EdgeLinks {
    plan: EdgePlan,
    producer_cores: Vec<CoreIndex>,
    consumer_cores: Vec<CoreIndex>,
}

impl EdgeLinks {
    /// How the edge is wired.
    pub fn plan(&self) -> &EdgePlan {
        &self.plan
    }

    /// What lies between two subtasks; `None` if they are not connected.
    pub fn kind(&self, producer: usize, consumer: usize) -> Option<LinkKind> {
        let producer_core = self.producer_cores.get(producer)?;
        let consumer_core = self.consumer_cores.get(consumer)?;
        if self.plan.nested && producer == consumer {
            return Some(LinkKind::Nested);
        }
        let kind = if producer_core == consumer_core { LinkKind::Local } else { LinkKind::Ring };
        self.plan.connects(producer, consumer).then_some(kind)
    }

    /// All links, by producer, then by consumer.
    pub fn iter(&self) -> impl Iterator<Item = Link> {
        (0..self.plan.producers).flat_map(move |producer| {
            (0..self.plan.consumers).filter_map(move |consumer| {
                let kind = self.kind(producer, consumer)?;
                Some(Link { producer, consumer, kind })
            })
        })
    }

    /// How many links of each kind.
    pub fn counts(&self) -> LinkCounts {
        let mut counts = LinkCounts::default();
        for link in self.iter() {
            match link.kind {
                LinkKind::Nested => counts.nested += 1,
                LinkKind::Local => counts.local += 1,
                LinkKind::Ring => counts.ring += 1,
            }
        }
        counts
    }
}

/// An allocation that does not fit the job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "slot sharing group '{group}' needs {needed} slots but the allocation has {given}; \
     allocate by the job graph's slot demand"
)]
pub struct PlacementError {
    /// The group.
    pub group: String,
    /// Its widest vertex.
    pub needed: usize,
    /// What it was given.
    pub given: usize,
}

/// Tasks in slots on cores.
#[derive(Clone, Debug)]
pub struct PhysicalGraph {
    tasks: Vec<PhysicalTask>,
    /// By edge id.
    edges: Vec<EdgeLinks>,
    /// First task of the root of each stage, by stage index; the subtask index is added to it.
    first_task: Vec<u32>,
}

impl PhysicalGraph {
    /// Places every task of the job.
    ///
    /// # Errors
    /// If a slot sharing group has fewer slots than subtasks.
    pub fn new(job: &JobGraph, allocation: &Allocation) -> Result<Self, PlacementError> {
        for (group, needed) in job.slot_demand().groups {
            let given = allocation.slots_of(&group).map_or(0, <[Slot]>::len);
            if given < needed {
                return Err(PlacementError { group, needed, given });
            }
        }
        let mut tasks = Vec::new();
        let mut first_task = vec![0; job.stages().len()];
        for root in job.task_roots() {
            let group = &job.vertex(root.vertex).slot_sharing_group;
            let slots = allocation.slots_of(group).unwrap_or_default();
            let first = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
            let stages = stages_below(job, root);
            for stage in &stages {
                first_task[stage.0 as usize] = first;
            }
            tasks.extend(tasks_of(job, root, &stages, slots, first));
        }
        let edges = job.edge_plans().iter().map(|plan| edge_links(job, plan, allocation)).collect();
        Ok(Self { tasks, edges, first_task })
    }

    /// All tasks, by id.
    pub fn tasks(&self) -> &[PhysicalTask] {
        &self.tasks
    }

    /// The links of all edges, by edge id.
    pub fn edges(&self) -> &[EdgeLinks] {
        &self.edges
    }

    /// The links of one edge, if the plan has it.
    pub fn edge(&self, id: EdgeId) -> Option<&EdgeLinks> {
        let index = self.edges.binary_search_by_key(&id, |links| links.plan.id).ok()?;
        Some(&self.edges[index])
    }

    /// The task that holds a subtask of a stage, if there is one.
    pub fn task_of(&self, stage: &Stage, subtask: usize) -> Option<&PhysicalTask> {
        if subtask >= stage.parallelism {
            return None;
        }
        let first = *self.first_task.get(stage.index.0 as usize)? as usize;
        self.tasks.get(first + subtask)
    }

    /// The slots that hold tasks, each once, by core, then by slot.
    pub fn slots(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.tasks.iter().map(|task| task.slot).collect();
        slots.sort_by_key(|slot| (slot.core, slot.id));
        slots.dedup();
        slots
    }
}

/// The root and all stages nested below it, in the order of their indices.
fn stages_below(job: &JobGraph, root: &Stage) -> Vec<StageIndex> {
    let same_root = job.stages().iter().filter(|stage| stage.root == root.index);
    same_root.map(|stage| stage.index).collect()
}

fn tasks_of<'slot>(
    job: &JobGraph,
    root: &Stage,
    stages: &[StageIndex],
    slots: &'slot [Slot],
    first: u32,
) -> impl Iterator<Item = PhysicalTask> + use<'slot> {
    let mut vertices: Vec<VertexIndex> =
        stages.iter().map(|stage| job.stage(*stage).vertex).collect();
    vertices.sort();
    vertices.dedup();
    let (root_index, stages) = (root.index, stages.to_vec());
    (first..).zip(slots.iter().take(root.parallelism).enumerate()).map(
        move |(id, (subtask, slot))| PhysicalTask {
            id: TaskId(id),
            root: root_index,
            subtask,
            slot: *slot,
            stages: stages.clone(),
            vertices: vertices.clone(),
        },
    )
}

fn edge_links(job: &JobGraph, plan: &EdgePlan, allocation: &Allocation) -> EdgeLinks {
    let cores = |node: NodeId| -> Vec<CoreIndex> {
        let stage = job.stage_of(node);
        let group = &job.vertex(stage.vertex).slot_sharing_group;
        let slots = allocation.slots_of(group).unwrap_or_default();
        slots.iter().take(stage.parallelism).map(|slot| slot.core).collect()
    };
    EdgeLinks {
        plan: plan.clone(),
        producer_cores: cores(plan.from),
        consumer_cores: cores(plan.to),
    }
}

#[cfg(test)]
mod tests;
