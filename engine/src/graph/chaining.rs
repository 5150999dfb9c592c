//! Which neighbours run together: Flink's chaining rules, and which edges a producer may drive its consumer through.
//!
//! | | joined when |
//! |---|---|
//! | stage | fused by construction (`edge == None`) |
//! | vertex | fused, or chainable: forward, the consumer's only input, equal parallelism, same slot sharing group, both chaining strategies and the global flag allow it |
//! | task | fused, or nested: chainable, or any other ship strategy with equal parallelism, same group, the consumer's only input |
//!
//! So stages lie within vertices and vertices within tasks. Chaining strategies bear on forward edges alone: they say
//! whether two operators are one vertex, which is what a user sees. That a hash edge is nested can't be seen but in
//! speed: subtask i of both ends shares a slot anyway (same group, same index), and what stays in the slot goes on by
//! value without a queue. Nothing on the producer's side speaks against it; it may nest several consumers.

use super::stream_graph::{StreamEdge, StreamGraph};
use super::transformation::{Chaining, Ship};

/// Flink's `isChainable`: may both ends be one job vertex?
pub(crate) fn is_chainable(graph: &StreamGraph, edge: &StreamEdge) -> bool {
    let (producer, consumer) = (graph.node(edge.from), graph.node(edge.to));
    edge.ship == Ship::Forward
        && graph.chaining_enabled()
        && producer.chaining != Chaining::Never
        && consumer.chaining == Chaining::Always
        && shares_slots(graph, edge)
}

/// May the producer's task own and drive the consumer?
pub(crate) fn is_nested(graph: &StreamGraph, edge: &StreamEdge) -> bool {
    match edge.ship {
        Ship::Forward => is_chainable(graph, edge),
        _ => shares_slots(graph, edge),
    }
}

/// Subtask i of both ends is in the same slot, and the consumer waits for nobody else.
fn shares_slots(graph: &StreamGraph, edge: &StreamEdge) -> bool {
    let (producer, consumer) = (graph.node(edge.from), graph.node(edge.to));
    graph.inputs(edge.to).len() == 1
        && producer.parallelism == consumer.parallelism
        && producer.slot_sharing_group == consumer.slot_sharing_group
}
