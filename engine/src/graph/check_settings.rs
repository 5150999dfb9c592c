//! Checks what the user said about the operators of a plan, given what it resolves to.
//!
//! **Invariants**
//! - A mistake is reported where it was made: a value inherited from the environment is reported for the environment
//!   alone, not once for each operator that inherits it.

use super::check_shape::known_inputs;
use super::plan_error::{PlanError, PlanErrorCause as Cause, PlanSite};
use super::resolve::{Resolved, fused_producer};
use super::settings::{MAX_PARALLELISM_BOUND, PlanSettings};
use super::transformation::{BROADCAST_EXCHANGE, NodeKind, Plan, Ship, Transformation};
use std::collections::HashMap;

/// Reports everything wrong with the settings of the environment.
pub(crate) fn check_environment(settings: &PlanSettings, errors: &mut Vec<PlanError>) {
    let mut report = |cause| errors.push(PlanError { site: PlanSite::Environment, cause });
    check_range(Some(settings.parallelism), settings.max_parallelism, &mut report);
    if let Some(max_parallelism) = settings.max_parallelism
        && settings.parallelism > max_parallelism
        && max_parallelism > 0
        && settings.parallelism <= MAX_PARALLELISM_BOUND
    {
        report(Cause::ParallelismAboveMax { parallelism: settings.parallelism, max_parallelism });
    }
}

/// Reports everything wrong with the settings of the operators.
pub(crate) fn check_operators(plan: &Plan, resolved: &Resolved, errors: &mut Vec<PlanError>) {
    let mut sites_by_uid = HashMap::new();
    for (index, transformation) in plan.transformations.iter().enumerate() {
        let site = PlanSite::operator(index, transformation);
        let mut report = |cause| errors.push(PlanError { site: site.clone(), cause });
        check_parallelism(index, transformation, resolved, &mut report);
        if let Some(uid) = &transformation.uid
            && let Some(first) = sites_by_uid.get(uid)
        {
            report(Cause::DuplicateUid { uid: uid.clone(), first: PlanSite::clone(first) });
        }
        check_ships(plan, index, resolved, &mut report);
        check_fused(plan, index, resolved, &mut report);
        if let Some(uid) = &transformation.uid {
            sites_by_uid.entry(uid).or_insert(site);
        }
    }
}

/// A transaction must live until its checkpoint is complete: it is begun at the barrier before.
pub(crate) fn check_transactions(
    plan: &Plan,
    settings: &PlanSettings,
    errors: &mut Vec<PlanError>,
) {
    let Some(checkpoints) = settings.checkpoints else { return };
    let needed = checkpoints.interval.saturating_add(checkpoints.timeout);
    for (index, transformation) in plan.transformations.iter().enumerate() {
        if let NodeKind::Sink(promise) = transformation.kind
            && let Some(timeout) = promise.transaction_timeout
            && timeout < needed
        {
            let cause = Cause::TransactionTimeout {
                transaction_timeout_ms: timeout.as_millis(),
                needed_ms: needed.as_millis(),
                interval_ms: checkpoints.interval.as_millis(),
                checkpoint_timeout_ms: checkpoints.timeout.as_millis(),
            };
            errors.push(PlanError { site: PlanSite::operator(index, transformation), cause });
        }
    }
}

fn check_range(
    parallelism: Option<usize>,
    max_parallelism: Option<usize>,
    report: &mut impl FnMut(Cause),
) {
    match parallelism {
        Some(0) => report(Cause::ParallelismZero),
        Some(parallelism) if parallelism > MAX_PARALLELISM_BOUND => {
            report(Cause::ParallelismTooLarge { parallelism });
        }
        _ => {}
    }
    if let Some(max_parallelism) = max_parallelism
        && !(1..=MAX_PARALLELISM_BOUND).contains(&max_parallelism)
    {
        report(Cause::MaxParallelismOutOfRange { max_parallelism });
    }
}

fn check_parallelism(
    index: usize,
    transformation: &Transformation,
    resolved: &Resolved,
    report: &mut impl FnMut(Cause),
) {
    let (said, said_max) = (transformation.parallelism, transformation.max_parallelism);
    check_range(said, said_max, report);
    let in_range = said.is_none_or(|said| said <= MAX_PARALLELISM_BOUND)
        && said_max.is_none_or(|said_max| said_max > 0);
    let (parallelism, max_parallelism) =
        (resolved.parallelism[index], resolved.max_parallelism[index]);
    let was_said = said.is_some() || said_max.is_some();
    if was_said && in_range && parallelism > max_parallelism {
        report(Cause::ParallelismAboveMax { parallelism, max_parallelism });
    }
    if matches!(transformation.kind, NodeKind::Source { non_parallel: true, .. })
        && let Some(parallelism) = said
        && parallelism > 1
    {
        report(Cause::NonParallelSource { parallelism });
    }
}

/// Forward needs equal parallelism; keyed state needs hashed inputs, and may have a broadcast one beside them.
fn check_ships(plan: &Plan, index: usize, resolved: &Resolved, report: &mut impl FnMut(Cause)) {
    let transformation = &plan.transformations[index];
    let ships = || {
        known_inputs(plan, transformation)
            .map(|(from, input)| (from, input, resolved.ship(input, from, index)))
    };
    let has_hash = ships().any(|(_, _, ship)| ship == Ship::Hash);
    for (from, input, ship) in ships() {
        let producer = plan.transformations[from].display_name().to_owned();
        let (producers, consumers) = (resolved.parallelism[from], resolved.parallelism[index]);
        let is_broadcast =
            ship == Ship::Broadcast || ship == Ship::Forward && is_broadcast_exchange(plan, from);
        if transformation.keyed && ship != Ship::Hash && !(has_hash && is_broadcast) {
            report(Cause::KeyedInputNotHashed { producer, ship });
        } else if ship == Ship::Forward && input.edge.is_some() && producers != consumers {
            report(Cause::ForwardUnequal { producer, producers, consumers });
        }
    }
}

/// Does every subtask of the node see all records, and pass them on as they are?
fn is_broadcast_exchange(plan: &Plan, node: usize) -> bool {
    let transformation = &plan.transformations[node];
    transformation.operator == BROADCAST_EXCHANGE
        && transformation.inputs.iter().all(|input| input.ship == Ship::Broadcast)
}

/// Fused nodes are one compiled chain: they can't differ in where or how often they run.
fn check_fused(plan: &Plan, index: usize, resolved: &Resolved, report: &mut impl FnMut(Cause)) {
    let transformation = &plan.transformations[index];
    let Some(from) = fused_producer(plan, transformation) else { return };
    let producer = || plan.transformations[from].display_name().to_owned();
    let (producers, consumers) = (resolved.parallelism[from], resolved.parallelism[index]);
    if producers != consumers {
        report(Cause::FusedParallelism { producer: producer(), producers, consumers });
    }
    let (producer_group, group) =
        (&resolved.slot_sharing_group[from], &resolved.slot_sharing_group[index]);
    if producer_group != group {
        report(Cause::FusedSlotSharingGroup {
            producer: producer(),
            producer_group: producer_group.clone(),
            group: group.clone(),
        });
    }
    let fused_inputs = known_inputs(plan, transformation).filter(|(_, input)| input.edge.is_none());
    for (_, input) in fused_inputs {
        if !matches!(input.ship, Ship::Forward | Ship::Auto) {
            report(Cause::FusedShip { producer: producer(), ship: input.ship });
        }
    }
}
