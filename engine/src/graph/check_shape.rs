//! Checks what a plan is made of: ids, inputs, cycles, ends. Knows nothing of parallelism.
//!
//! **Invariants**
//! - [`topological_order`] names every node once, also in a plan with cycles, so that later checks can go on and
//!   report their errors beside the cycle's.

use super::plan_error::{PlanError, PlanErrorCause as Cause, PlanSite};
use super::transformation::{NodeKind, Plan, PlanInput, Transformation};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The inputs of a node whose producer exists, with the producer's index.
pub(crate) fn known_inputs<'plan>(
    plan: &'plan Plan,
    transformation: &'plan Transformation,
) -> impl Iterator<Item = (usize, &'plan PlanInput)> {
    let node_count = plan.transformations.len();
    transformation
        .inputs
        .iter()
        .map(|input| (input.from.0 as usize, input))
        .filter(move |(from, _)| *from < node_count)
}

/// Reports everything wrong with the shape of the plan, cycles excepted.
pub(crate) fn check_shape(plan: &Plan, errors: &mut Vec<PlanError>) {
    check_ends(plan, errors);
    let mut edge_sites: Vec<Option<PlanSite>> = Vec::new();
    for (index, transformation) in plan.transformations.iter().enumerate() {
        let site = PlanSite::operator(index, transformation);
        let mut report = |cause| errors.push(PlanError { site: site.clone(), cause });
        if transformation.id.0 as usize != index {
            report(Cause::Misnumbered { id: transformation.id, index });
        }
        check_inputs(plan, transformation, &mut report);
        check_edges(plan, transformation, &site, &mut edge_sites, &mut report);
    }
    check_nowhere(plan, errors);
}

/// A plan needs something to read and something to write.
fn check_ends(plan: &Plan, errors: &mut Vec<PlanError>) {
    let mut report = |cause| errors.push(PlanError { site: PlanSite::Plan, cause });
    let kinds = || plan.transformations.iter().map(|transformation| transformation.kind);
    if plan.transformations.is_empty() {
        return report(Cause::EmptyPlan);
    }
    if !kinds().any(|kind| matches!(kind, NodeKind::Source { .. })) {
        report(Cause::NoSource);
    }
    if !kinds().any(|kind| matches!(kind, NodeKind::Sink(_))) {
        report(Cause::NoSink);
    }
}

fn check_inputs(plan: &Plan, transformation: &Transformation, report: &mut impl FnMut(Cause)) {
    let is_source = matches!(transformation.kind, NodeKind::Source { .. });
    match (is_source, transformation.inputs.is_empty()) {
        (true, false) => report(Cause::SourceWithInput),
        (false, true) => report(Cause::MissingInput),
        _ => {}
    }
    let node_count = plan.transformations.len();
    for (input, named) in transformation.inputs.iter().enumerate() {
        match plan.transformations.get(named.from.0 as usize) {
            None => report(Cause::UnknownInput { input, from: named.from, node_count }),
            Some(producer) if matches!(producer.kind, NodeKind::Sink(_)) => {
                report(Cause::ReadsFromSink { sink: producer.display_name().to_owned() });
            }
            Some(_) => {}
        }
    }
}

/// Edge ids are dense and unique; a fused input is the only one.
fn check_edges(
    plan: &Plan,
    transformation: &Transformation,
    site: &PlanSite,
    edge_sites: &mut Vec<Option<PlanSite>>,
    report: &mut impl FnMut(Cause),
) {
    let inputs = &transformation.inputs;
    if inputs.len() > 1 && inputs.iter().any(|input| input.edge.is_none()) {
        report(Cause::FusedNotAlone { inputs: inputs.len() });
    }
    for edge in inputs.iter().filter_map(|input| input.edge) {
        if edge.0 >= plan.edge_count {
            report(Cause::EdgeOutOfRange { edge, edge_count: plan.edge_count });
            continue;
        }
        let index = edge.0 as usize;
        if edge_sites.len() <= index {
            edge_sites.resize(index + 1, None);
        }
        match &edge_sites[index] {
            Some(first) => report(Cause::EdgeUsedTwice { edge, first: first.clone() }),
            None => edge_sites[index] = Some(site.clone()),
        }
    }
}

/// Every node but a sink is read by somebody; which of its outputs is not asked, since a function may well write to
/// side outputs alone.
fn check_nowhere(plan: &Plan, errors: &mut Vec<PlanError>) {
    let mut is_read = vec![false; plan.transformations.len()];
    for transformation in &plan.transformations {
        for (from, _) in known_inputs(plan, transformation) {
            is_read[from] = true;
        }
    }
    for (index, transformation) in plan.transformations.iter().enumerate() {
        if !is_read[index] && !matches!(transformation.kind, NodeKind::Sink(_)) {
            let site = PlanSite::operator(index, transformation);
            errors.push(PlanError { site, cause: Cause::RecordsGoNowhere });
        }
    }
}

/// Producers before consumers, the smaller index first where both could come; reports cycles.
///
/// Kahn's algorithm. Where it is stuck every node left has a predecessor that is left too, so walking back from any of
/// them must close a circle: that one is reported and counted as done, and the algorithm goes on.
pub(crate) fn topological_order(plan: &Plan, errors: &mut Vec<PlanError>) -> Vec<usize> {
    let nodes = &plan.transformations;
    let mut consumers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut open_inputs = vec![0_usize; nodes.len()];
    for (index, transformation) in nodes.iter().enumerate() {
        for (from, _) in known_inputs(plan, transformation) {
            consumers[from].push(index);
            open_inputs[index] += 1;
        }
    }
    let mut is_done = vec![false; nodes.len()];
    let mut order = Vec::with_capacity(nodes.len());
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..nodes.len()).filter(|index| open_inputs[*index] == 0).map(Reverse).collect();
    let mut first_open = 0;
    loop {
        while let Some(Reverse(index)) = ready.pop() {
            if is_done[index] {
                continue;
            }
            is_done[index] = true;
            order.push(index);
            for consumer in &consumers[index] {
                open_inputs[*consumer] -= 1;
                if open_inputs[*consumer] == 0 {
                    ready.push(Reverse(*consumer));
                }
            }
        }
        while first_open < nodes.len() && is_done[first_open] {
            first_open += 1;
        }
        if first_open == nodes.len() {
            return order;
        }
        let cycle = find_cycle(plan, first_open, &is_done);
        errors.push(cycle_error(plan, &cycle));
        ready.extend(cycle.into_iter().map(Reverse));
    }
}

/// Walks back from an open node over open predecessors until it meets itself; in the direction records would flow.
fn find_cycle(plan: &Plan, start: usize, is_done: &[bool]) -> Vec<usize> {
    let mut step_of = vec![None; is_done.len()];
    let mut path = Vec::new();
    let mut index = start;
    loop {
        if let Some(step) = step_of[index] {
            let mut cycle = path.split_off(step);
            cycle.reverse();
            return cycle;
        }
        step_of[index] = Some(path.len());
        path.push(index);
        let open = known_inputs(plan, &plan.transformations[index])
            .map(|(from, _)| from)
            .find(|from| !is_done[*from]);
        match open {
            Some(from) => index = from,
            // Not reached: Kahn's algorithm was stuck, so an open node has an open predecessor.
            None => return path,
        }
    }
}

fn cycle_error(plan: &Plan, cycle: &[usize]) -> PlanError {
    // Named from its smallest index, which is where the user met it first.
    let first = cycle.iter().enumerate().min_by_key(|(_, index)| **index).map_or(0, |(at, _)| at);
    let rotated: Vec<usize> =
        (0..=cycle.len()).map(|step| cycle[(first + step) % cycle.len()]).collect();
    let name = |index: &usize| plan.transformations[*index].display_name().to_owned();
    PlanError {
        site: PlanSite::operator(rotated[0], &plan.transformations[rotated[0]]),
        cause: Cause::Cycle { path: rotated.iter().map(name).collect() },
    }
}
