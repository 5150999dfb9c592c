use super::*;
use crate::graph::stream_graph::StreamGraph;
use crate::graph::test_plan::{linear, with_parallelism};
use ExecutionState::*;

/// Two vertices of two subtasks each.
fn graph() -> ExecutionGraph {
    let stream_graph = StreamGraph::new(&linear().build(), &with_parallelism(2)).unwrap();
    ExecutionGraph::new(&JobGraph::new(&stream_graph))
}

fn ids(graph: &ExecutionGraph) -> Vec<ExecutionId> {
    graph.executions().map(|(id, _)| id).collect()
}

fn walk(graph: &mut ExecutionGraph, id: ExecutionId, steps: &[ExecutionState]) {
    for step in steps {
        graph.transition(id, *step).unwrap();
    }
}

fn running() -> ExecutionGraph {
    let mut graph = graph();
    graph.run().unwrap();
    for id in ids(&graph) {
        walk(&mut graph, id, &[Scheduled, Deploying, Initializing, Running]);
    }
    graph
}

#[test]
fn begins_created_with_edges_between_vertices() {
    let graph = graph();
    assert_eq!(
        (graph.status(), graph.live_count(), graph.count(Created)),
        (JobStatus::Created, 4, 4)
    );
    let patterns: Vec<DistributionPattern> =
        graph.edges().iter().map(|edge| edge.pattern).collect();
    assert_eq!(patterns, [DistributionPattern::AllToAll]);
    assert_eq!(graph.to_cancel().count(), 0);
}

#[test]
fn finishes_with_its_last_subtask() {
    let mut graph = running();
    let ids = ids(&graph);
    for id in &ids[..3] {
        assert_eq!(graph.transition(*id, Finished).unwrap(), None);
    }
    assert_eq!(graph.transition(ids[3], Finished).unwrap(), Some(JobStatus::Finished));
    assert!(graph.cancel().is_err() && graph.suspend().is_err());
}

#[test]
fn fails_restarts_and_fails_for_good() {
    let mut graph = running();
    let ids = ids(&graph);
    graph.transition(ids[1], Finished).unwrap();
    assert_eq!(graph.transition(ids[0], Failed).unwrap(), Some(JobStatus::Failing));
    let to_cancel: Vec<ExecutionId> = graph.to_cancel().collect();
    assert_eq!(to_cancel, [ids[2], ids[3]]);
    assert_eq!(graph.restart(), Err(TransitionError::StillLive { live: 2 }));
    for id in to_cancel {
        walk(&mut graph, id, &[Canceling, Canceled]);
    }
    assert_eq!(graph.status(), JobStatus::Failing, "someone has to decide");
    graph.restart().unwrap();
    assert_eq!(graph.status(), JobStatus::Restarting);
    graph.recreate().unwrap();
    assert_eq!((graph.status(), graph.count(Created)), (JobStatus::Created, 4));
    assert!(graph.executions().all(|(_, execution)| execution.attempt == 1));
    graph.run().unwrap();
    for id in &ids {
        graph.transition(*id, Failed).unwrap();
    }
    graph.give_up().unwrap();
    assert_eq!(graph.status(), JobStatus::Failed);
    assert!(graph.recreate().is_err() && graph.restart().is_err());
}

#[test]
fn cancels() {
    let mut graph = running();
    assert_eq!(graph.cancel().unwrap(), JobStatus::Cancelling);
    let all: Vec<ExecutionId> = graph.to_cancel().collect();
    assert_eq!(all.len(), 4);
    graph.transition(all[0], Finished).unwrap();
    graph.transition(all[1], Failed).unwrap();
    assert_eq!(graph.status(), JobStatus::Cancelling, "a failure changes nothing any more");
    walk(&mut graph, all[2], &[Canceling, Canceled]);
    walk(&mut graph, all[3], &[Canceling]);
    assert_eq!(graph.to_cancel().count(), 0);
    assert_eq!(graph.transition(all[3], Canceled).unwrap(), Some(JobStatus::Canceled));
}

#[test]
fn cancels_at_once_while_it_waits_to_restart() {
    let mut graph = running();
    for id in ids(&graph) {
        graph.transition(id, Failed).unwrap();
    }
    graph.restart().unwrap();
    assert_eq!(graph.cancel().unwrap(), JobStatus::Canceled);
}

#[test]
fn a_job_that_was_never_run_can_be_cancelled_or_fail() {
    let mut graph = graph();
    let first = ids(&graph)[0];
    graph.cancel().unwrap();
    for id in graph.to_cancel().collect::<Vec<_>>() {
        graph.transition(id, Canceled).unwrap();
    }
    assert_eq!(graph.status(), JobStatus::Canceled);
    let mut graph = self::graph();
    assert_eq!(graph.transition(first, Failed).unwrap(), Some(JobStatus::Failing));
}

#[test]
fn suspended_job_stops_its_subtasks_and_stays_suspended() {
    let mut graph = running();
    graph.suspend().unwrap();
    for id in graph.to_cancel().collect::<Vec<_>>() {
        walk(&mut graph, id, &[Canceling, Canceled]);
    }
    assert_eq!((graph.status(), graph.live_count()), (JobStatus::Suspended, 0));
}

#[test]
fn refused_steps_change_nothing() {
    let mut graph = graph();
    let id = ids(&graph)[0];
    let not_now = |to, status| TransitionError::NotNow { execution: id, to, status };
    assert_eq!(graph.transition(id, Scheduled), Err(not_now(Scheduled, JobStatus::Created)));
    graph.run().unwrap();
    assert_eq!(graph.transition(id, Canceled), Err(not_now(Canceled, JobStatus::Running)));
    let illegal = graph.transition(id, Running).unwrap_err();
    assert!(matches!(illegal, TransitionError::Execution { .. }), "{illegal}");
    let unknown = ExecutionId { vertex: VertexIndex(0), subtask: 2 };
    assert_eq!(graph.transition(unknown, Failed), Err(TransitionError::UnknownExecution(unknown)));
    assert_eq!(graph.count(Created), 4);
    assert!(graph.run().is_err() && graph.give_up().is_err());
    assert_eq!(graph.status(), JobStatus::Running);
}
