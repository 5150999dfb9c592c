//! Every subtask of every vertex with its state, and the job's status that follows from them.
//!
//! 1. The control plane reports each step of a subtask with [`ExecutionGraph::transition`].
//! 2. A failed subtask makes a job FAILING; when no subtask is alive any more, a RUNNING job is FINISHED and a
//!    CANCELLING one CANCELED.
//! 3. A FAILING job whose subtasks have all stopped waits for a decision, which is not made here:
//!    [`restart`](ExecutionGraph::restart) or [`give_up`](ExecutionGraph::give_up).
//!
//! **Invariants**
//! - A subtask is scheduled only while the job is RUNNING, and stopped only while the job
//!   [stops its subtasks](JobStatus::stops_subtasks); so a RUNNING job whose subtasks are all terminal has finished.
//! - `counts[s]` is the number of executions in state `s`.

use super::distribution::DistributionPattern;
use super::execution_state::{ExecutionState, IllegalTransition, JobStatus};
use super::job_graph::{JobGraph, VertexIndex};
use super::transformation::EdgeId;
use std::fmt;

/// One subtask of one vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionId {
    /// The vertex.
    pub vertex: VertexIndex,
    /// Which of its subtasks, from 0.
    pub subtask: usize,
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "subtask {} of vertex {}", self.subtask, self.vertex)
    }
}

/// The current attempt of one subtask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Execution {
    /// How far it has come.
    pub state: ExecutionState,
    /// 0 for the first attempt, one more after each restart.
    pub attempt: u32,
}

/// All subtasks of one vertex.
#[derive(Clone, Debug)]
pub struct ExecutionJobVertex {
    /// The vertex in the job graph.
    pub vertex: VertexIndex,
    /// Its name.
    pub name: String,
    /// Its subtasks; as many as its parallelism.
    pub executions: Vec<Execution>,
}

/// An edge between two vertices and its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionEdge {
    /// The edge.
    pub edge: EdgeId,
    /// Producing vertex.
    pub from: VertexIndex,
    /// Consuming vertex.
    pub to: VertexIndex,
    /// Which subtasks are connected to which.
    pub pattern: DistributionPattern,
}

/// Why a step was refused; nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// Not a subtask of this job.
    #[error("{0} is not of this job; ask the execution graph of the job it belongs to")]
    UnknownExecution(ExecutionId),
    /// No such step in the diagram.
    #[error("{execution}: {source}")]
    Execution {
        /// Whose step.
        execution: ExecutionId,
        /// What was refused.
        source: IllegalTransition,
    },
    /// The subtask may not do that while the job is in this state.
    #[error(
        "{execution} can't become {to} while the job is {status}; change the job's status first"
    )]
    NotNow {
        /// Whose step.
        execution: ExecutionId,
        /// The state it was to take.
        to: ExecutionState,
        /// The job's status.
        status: JobStatus,
    },
    /// No such step of the job.
    #[error(transparent)]
    Job(#[from] IllegalTransition),
    /// The job's subtasks have not all stopped.
    #[error("{live} subtasks have not stopped yet; wait until they have")]
    StillLive {
        /// How many.
        live: usize,
    },
}

/// Vertices × subtasks of a job, and its status.
#[derive(Clone, Debug)]
pub struct ExecutionGraph {
    job_name: String,
    status: JobStatus,
    vertices: Vec<ExecutionJobVertex>,
    edges: Vec<ExecutionEdge>,
    counts: [usize; ExecutionState::ALL.len()],
}

impl ExecutionGraph {
    /// All subtasks CREATED, and so the job.
    pub fn new(job: &JobGraph) -> Self {
        let vertices: Vec<ExecutionJobVertex> = job
            .vertices()
            .iter()
            .map(|vertex| ExecutionJobVertex {
                vertex: vertex.index,
                name: vertex.name.clone(),
                executions: vec![Execution::default(); vertex.parallelism],
            })
            .collect();
        let plan_of = |edge: EdgeId| job.edge_plan(edge).map(|plan| plan.pattern());
        let edges = job
            .edges()
            .iter()
            .filter_map(|edge| {
                let pattern = plan_of(edge.edge)?;
                Some(ExecutionEdge { edge: edge.edge, from: edge.from, to: edge.to, pattern })
            })
            .collect();
        let mut counts = [0; ExecutionState::ALL.len()];
        counts[ExecutionState::Created as usize] =
            vertices.iter().map(|vertex| vertex.executions.len()).sum();
        let status = JobStatus::Created;
        Self { job_name: job.job_name().to_owned(), status, vertices, edges, counts }
    }

    /// The job's name.
    pub fn job_name(&self) -> &str {
        &self.job_name
    }

    /// How far the job has come.
    pub fn status(&self) -> JobStatus {
        self.status
    }

    /// All vertices, by index.
    pub fn vertices(&self) -> &[ExecutionJobVertex] {
        &self.vertices
    }

    /// The edges between different vertices.
    pub fn edges(&self) -> &[ExecutionEdge] {
        &self.edges
    }

    /// How many subtasks are in a state.
    pub fn count(&self, state: ExecutionState) -> usize {
        self.counts[state as usize]
    }

    /// How many subtasks have not come to an end.
    pub fn live_count(&self) -> usize {
        let live = ExecutionState::ALL.into_iter().filter(|state| !state.is_terminal());
        live.map(|state| self.count(state)).sum()
    }

    /// One subtask.
    pub fn execution(&self, id: ExecutionId) -> Option<Execution> {
        let vertex = self.vertices.get(id.vertex.0 as usize)?;
        vertex.executions.get(id.subtask).copied()
    }

    /// All subtasks with their names.
    pub fn executions(&self) -> impl Iterator<Item = (ExecutionId, Execution)> {
        self.vertices.iter().flat_map(|vertex| {
            let id = |subtask| ExecutionId { vertex: vertex.vertex, subtask };
            vertex.executions.iter().enumerate().map(move |(at, execution)| (id(at), *execution))
        })
    }

    /// The subtasks that are to be stopped now: alive and not yet told. Empty unless the job stops its subtasks.
    pub fn to_cancel(&self) -> impl Iterator<Item = ExecutionId> {
        let stops = self.status.stops_subtasks();
        self.executions()
            .filter(move |(_, execution)| {
                stops
                    && !execution.state.is_terminal()
                    && execution.state != ExecutionState::Canceling
            })
            .map(|(id, _)| id)
    }

    /// A subtask took a step; gives the job's status if that changed with it.
    ///
    /// # Errors
    /// If the step is not in the diagram or not possible in the job's status. Nothing has changed then.
    pub fn transition(
        &mut self,
        id: ExecutionId,
        to: ExecutionState,
    ) -> Result<Option<JobStatus>, TransitionError> {
        let status = self.status;
        let vertex = self.vertices.get_mut(id.vertex.0 as usize);
        let execution = vertex
            .and_then(|vertex| vertex.executions.get_mut(id.subtask))
            .ok_or(TransitionError::UnknownExecution(id))?;
        let from = execution.state;
        let next = from
            .try_transition(to)
            .map_err(|source| TransitionError::Execution { execution: id, source })?;
        if !is_possible(status, to) {
            return Err(TransitionError::NotNow { execution: id, to, status });
        }
        execution.state = next;
        self.counts[from as usize] -= 1;
        self.counts[next as usize] += 1;
        self.follow(next)?;
        Ok((self.status != status).then_some(self.status))
    }

    /// The job begins to run.
    ///
    /// # Errors
    /// Unless it is CREATED.
    pub fn run(&mut self) -> Result<(), TransitionError> {
        self.become_status(JobStatus::Running)
    }

    /// The job fails for a reason outside its subtasks.
    ///
    /// # Errors
    /// Unless it is CREATED or RUNNING.
    pub fn fail(&mut self) -> Result<(), TransitionError> {
        self.become_status(JobStatus::Failing)
    }

    /// The job is told to stop; it is CANCELED at once if no subtask is alive.
    ///
    /// # Errors
    /// If it has come to an end or is being cancelled.
    pub fn cancel(&mut self) -> Result<JobStatus, TransitionError> {
        self.become_status(JobStatus::Cancelling)?;
        if self.live_count() == 0 {
            self.become_status(JobStatus::Canceled)?;
        }
        Ok(self.status)
    }

    /// The engine goes down and leaves the job as it is.
    ///
    /// # Errors
    /// If it has come to an end.
    pub fn suspend(&mut self) -> Result<(), TransitionError> {
        self.become_status(JobStatus::Suspended)
    }

    /// A failed job will not be tried again.
    ///
    /// # Errors
    /// Unless it is FAILING or RESTARTING and all its subtasks have stopped.
    pub fn give_up(&mut self) -> Result<(), TransitionError> {
        self.require_settled()?;
        self.become_status(JobStatus::Failed)
    }

    /// A failed job will be tried again.
    ///
    /// # Errors
    /// Unless it is FAILING and all its subtasks have stopped.
    pub fn restart(&mut self) -> Result<(), TransitionError> {
        self.require_settled()?;
        self.become_status(JobStatus::Restarting)
    }

    /// The delay of a restart is over: all subtasks are CREATED once more, each with its next attempt.
    ///
    /// # Errors
    /// Unless the job is RESTARTING.
    pub fn recreate(&mut self) -> Result<(), TransitionError> {
        self.become_status(JobStatus::Created)?;
        for execution in self.vertices.iter_mut().flat_map(|vertex| &mut vertex.executions) {
            let attempt = execution.attempt.saturating_add(1);
            *execution = Execution { state: ExecutionState::Created, attempt };
        }
        let total = self.counts.iter().sum();
        self.counts = [0; ExecutionState::ALL.len()];
        self.counts[ExecutionState::Created as usize] = total;
        Ok(())
    }

    /// What a subtask's step means for the job.
    fn follow(&mut self, state: ExecutionState) -> Result<(), TransitionError> {
        let fails = matches!(self.status, JobStatus::Created | JobStatus::Running);
        if state == ExecutionState::Failed && fails {
            return self.become_status(JobStatus::Failing);
        }
        if !state.is_terminal() || self.live_count() > 0 {
            return Ok(());
        }
        match self.status {
            JobStatus::Running => self.become_status(JobStatus::Finished),
            JobStatus::Cancelling => self.become_status(JobStatus::Canceled),
            _ => Ok(()),
        }
    }

    fn require_settled(&self) -> Result<(), TransitionError> {
        match self.live_count() {
            0 => Ok(()),
            live => Err(TransitionError::StillLive { live }),
        }
    }

    fn become_status(&mut self, to: JobStatus) -> Result<(), TransitionError> {
        self.status = self.status.try_transition(to)?;
        Ok(())
    }
}

/// May a subtask take this state while the job has that status?
fn is_possible(status: JobStatus, to: ExecutionState) -> bool {
    match to {
        ExecutionState::Scheduled => status == JobStatus::Running,
        ExecutionState::Canceling | ExecutionState::Canceled => status.stops_subtasks(),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
