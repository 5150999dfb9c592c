//! Before a subtask sends anything: what earlier attempts have left is taken over, and what the checkpoint has is committed.
//!
//! 1. The transactional ids of every old subtask that this one takes over are taken, its own among them: that fences whoever
//!    has them, and aborts what they have left open. From then on markers stand still.
//! 2. Epochs in the checkpoint are compared with the old subtask's marker. What is not committed is sent again, epoch by
//!    epoch, each in a transaction with its marker.
//! 3. Ids of subtasks that neither the checkpoint nor this attempt has (an attempt with more of them came to nothing) are
//!    looked for by their markers, and taken as well; the search ends behind two that have none.
//! 4. The subtask's own marker is written anew: from now on one is due.
//!
//! A crash anywhere repeats all of it, which changes nothing: an epoch that was sent again has its marker.
//!
//! **Invariant**: no checkpoint is answered for before this is done, so that a checkpoint has epochs of its own subtasks alone.

use super::bridge::{Bridge, LANES, Step};
use super::crash_points;
use super::lane::LanePlan;
use super::marker::{Marker, MarkerGroup, Resolution, check_not_behind, resolve};
use super::producer::Producer;
use super::stored::{Identity, StoredEpoch, StoredEpochs};
use thalweg_io::crash_point;

/// Subtasks without markers behind which nobody is looked for.
const MISSING_MAX: usize = 2;

/// What a subtask takes over.
#[derive(Debug, Default)]
pub(super) struct Restored {
    /// The checkpoint that the job goes on from; 0 if it begins anew.
    pub(super) checkpoint: u64,
    /// Of old subtasks, with the state of each.
    pub(super) taken_over: Vec<(usize, StoredEpochs)>,
    /// How many subtasks the checkpoint has.
    pub(super) old_parallelism: usize,
}

/// Does it all, and gives the subtask's own producers, ready to begin.
pub(super) fn recover(
    bridge: &Bridge,
    plan: &LanePlan,
    restored: &Restored,
) -> Step<Vec<Producer>> {
    let own = take_over(bridge, plan, &plan.identity, plan.subtask)?;
    for (subtask, state) in &restored.taken_over {
        let is_own = *subtask == plan.subtask && state.identity.prefix == plan.identity.prefix;
        let others = match is_own {
            true => None,
            false => Some(take_over(bridge, plan, &state.identity, *subtask)?),
        };
        let producers = others.as_ref().unwrap_or(&own);
        recover_subtask(bridge, plan, restored.checkpoint, (*subtask, state), producers)?;
    }
    take_over_unknown(bridge, plan, restored)?;
    let group = MarkerGroup::new(plan, &plan.identity, plan.subtask)?;
    let marker = Marker { checkpoint: restored.checkpoint, run: plan.identity.run };
    let producer = &own[0];
    producer.begin_transaction()?;
    let place = (&group.offsets(marker)?, &group.metadata()?);
    producer.commit(bridge, place, plan.delivery_timeout)?;
    crash_point(crash_points::RECOVERED);
    Ok(own)
}

/// Takes all transactional ids of a subtask.
fn take_over(
    bridge: &Bridge,
    plan: &LanePlan,
    identity: &Identity,
    subtask: usize,
) -> Step<Vec<Producer>> {
    let mut producers = Vec::new();
    for lane in 0..LANES {
        let producer = plan.transactional_producer(identity, subtask, lane)?;
        if lane == 0 {
            // Says more clearly what is wrong than a transaction would.
            producer.check_topic(bridge, &identity.topic, plan.startup_timeout)?;
        }
        producer.init_transactions(bridge, plan.delivery_timeout)?;
        producers.push(producer);
    }
    crash_point(crash_points::FENCED);
    Ok(producers)
}

fn recover_subtask(
    bridge: &Bridge,
    plan: &LanePlan,
    restored: u64,
    (subtask, state): (usize, &StoredEpochs),
    producers: &[Producer],
) -> Step {
    let StoredEpochs { identity, epochs } = state;
    let group = MarkerGroup::new(plan, identity, subtask)?;
    let marker = group.read(bridge, plan.delivery_timeout)?;
    crash_point(crash_points::MARKER_READ);
    check_not_behind(group.name(), (restored, identity.run), marker)?;
    for epoch in epochs {
        let StoredEpoch { checkpoint, records, .. } = epoch;
        let place = (group.name(), *checkpoint, identity.run);
        let resolution = resolve(place.0, place.1, place.2, marker, plan.missing_marker)?;
        let group_name = group.name();
        tracing::info!(
            group = group_name,
            checkpoint,
            records,
            ?resolution,
            "an epoch is recovered"
        );
        if resolution == Resolution::Resend {
            let marker = Marker { checkpoint: *checkpoint, run: identity.run };
            let place = (&group.offsets(marker)?, &group.metadata()?);
            let producer = &producers[0];
            producer.begin_transaction()?;
            producer.send_all(bridge, &identity.topic, &epoch.bytes)?;
            producer.flush(bridge)?;
            crash_point(crash_points::RESENT);
            producer.commit(bridge, place, plan.delivery_timeout)?;
        }
    }
    Ok(())
}

/// Ends transactions of subtasks that nobody knows any more.
fn take_over_unknown(bridge: &Bridge, plan: &LanePlan, restored: &Restored) -> Step {
    let known = restored.old_parallelism.max(plan.parallelism);
    let mine = (plan.subtask..).step_by(plan.parallelism).skip_while(|subtask| *subtask < known);
    let mut missing = 0;
    for subtask in mine {
        let group = MarkerGroup::new(plan, &plan.identity, subtask)?;
        if group.read(bridge, plan.delivery_timeout)?.is_some() {
            missing = 0;
            let group = group.name();
            tracing::info!(group, "transactions of an earlier subtask are ended");
            take_over(bridge, plan, &plan.identity, subtask)?;
            continue;
        }
        missing += 1;
        if missing == MISSING_MAX {
            break;
        }
    }
    Ok(())
}
