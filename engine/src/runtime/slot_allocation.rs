//! Which of the free slots a job gets: a pure choice.
//!
//! 1. Subtask after subtask: subtask i needs one slot in each slot sharing group that is at least i + 1 wide.
//! 2. It goes to the core that has free slots for all of them, so that its groups hand records over by value; where no
//!    core has so many, to several.
//! 3. Among those the core with the fewest slots of this job, then the one with the fewest slots in use, then the first.
//!
//! **Invariants**
//! - All or nothing: a job gets every slot it needs or none.

use crate::graph::{Allocation, CoreIndex, Slot, SlotDemand};
use std::collections::BTreeMap;

/// One core while a choice is made.
#[derive(Default)]
struct Core {
    /// Free slots, the one to take next last.
    free: Vec<Slot>,
    /// Slots that other jobs use.
    used_count: usize,
    /// Slots that this job was given so far.
    given_count: usize,
}

/// Chooses slots for a job, or `None` if there are not enough. `used` are the slots of other jobs.
///
/// ```
/// use thalweg::graph::{CoreIndex, Slot, SlotDemand, SlotId};
/// use thalweg::runtime::slot_allocation::choose_slots;
/// let slot = |id, core| Slot { id: SlotId(id), core: CoreIndex(core), memory_bytes: 0 };
/// let free = [slot(0, 0), slot(1, 0), slot(2, 1), slot(3, 1)];
/// let allocation = choose_slots(&SlotDemand::of([("default", 2)]), &free, &[]).unwrap();
/// let cores: Vec<usize> = allocation.slots().map(|slot| slot.core.0).collect();
/// assert_eq!(cores, [0, 1]);
/// ```
pub fn choose_slots(demand: &SlotDemand, free: &[Slot], used: &[Slot]) -> Option<Allocation> {
    if demand.slot_count() > free.len() {
        return None;
    }
    let mut cores = cores_of(free, used);
    let mut groups: Vec<(String, Vec<Slot>)> =
        demand.groups.iter().map(|(group, _)| (group.clone(), Vec::new())).collect();
    for subtask in 0..demand.parallelism_max() {
        let widths = demand.groups.iter().map(|(_, width)| *width);
        let takers: Vec<usize> =
            widths.enumerate().filter(|(_, width)| *width > subtask).map(|(at, _)| at).collect();
        let mut open = takers.as_slice();
        while !open.is_empty() {
            let core = best_core(&mut cores, open.len())?;
            let (now, later) = open.split_at(open.len().min(core.free.len()));
            for group in now {
                groups[*group].1.extend(core.free.pop());
                core.given_count += 1;
            }
            open = later;
        }
    }
    Some(Allocation { groups })
}

fn cores_of(free: &[Slot], used: &[Slot]) -> BTreeMap<CoreIndex, Core> {
    let mut cores: BTreeMap<CoreIndex, Core> = BTreeMap::new();
    for slot in free {
        cores.entry(slot.core).or_default().free.push(*slot);
    }
    for slot in used {
        cores.entry(slot.core).or_default().used_count += 1;
    }
    for core in cores.values_mut() {
        core.free.sort_by_key(|slot| std::cmp::Reverse(slot.id));
    }
    cores
}

/// The core for a subtask that needs `needed` slots; `None` only if no slot is free at all.
fn best_core(cores: &mut BTreeMap<CoreIndex, Core>, needed: usize) -> Option<&mut Core> {
    let with_room = cores.values_mut().filter(|core| !core.free.is_empty());
    with_room.min_by_key(|core| (core.free.len() < needed, core.given_count, core.used_count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::SlotId;

    /// Slots numbered in the order of the cores named.
    fn slots(cores: &[usize]) -> Vec<Slot> {
        let slot = |(id, core): (u32, &usize)| Slot {
            id: SlotId(id),
            core: CoreIndex(*core),
            memory_bytes: 1,
        };
        (0..).zip(cores).map(slot).collect()
    }

    /// The cores of each group, `-` between groups.
    fn check(demand: &[(&str, usize)], free: &[usize], used: &[usize], expected: &str) {
        let demand = SlotDemand::of(demand.iter().copied());
        let chosen = choose_slots(&demand, &slots(free), &slots(used)).map(|allocation| {
            let mut ids: Vec<SlotId> = allocation.slots().map(|slot| slot.id).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), demand.slot_count(), "no slot twice");
            let cores = |slots: &Vec<Slot>| slots.iter().map(|s| s.core.0.to_string()).collect();
            let groups: Vec<String> = allocation.groups.iter().map(|(_, s)| cores(s)).collect();
            groups.join("-")
        });
        assert_eq!(chosen.unwrap_or("none".into()), expected, "{demand:?} of {free:?}, {used:?}");
    }

    #[test]
    fn spreads_over_cores() {
        check(&[("a", 1)], &[0, 0, 1, 1], &[], "0");
        check(&[("a", 2)], &[0, 0, 1, 1], &[], "01");
        check(&[("a", 4)], &[0, 0, 1, 1], &[], "0101");
        check(&[("a", 3)], &[0, 0, 0, 1], &[], "010");
        check(&[("a", 4)], &[0, 1, 2], &[], "none");
        check(&[], &[0], &[], "");
    }

    #[test]
    fn least_loaded_core_first() {
        check(&[("a", 1)], &[0, 1], &[0], "1");
        check(&[("a", 2)], &[0, 1, 1], &[0, 0], "10");
        check(&[("a", 3)], &[0, 1, 1], &[0, 0], "101");
    }

    #[test]
    fn groups_of_one_subtask_share_a_core() {
        check(&[("a", 2), ("b", 2)], &[0, 0, 1, 1], &[], "01-01");
        check(&[("a", 2), ("b", 1)], &[0, 1, 1], &[], "10-1");
        check(&[("a", 1), ("b", 3)], &[0, 0, 1, 1], &[], "0-011");
        check(&[("a", 1), ("b", 1), ("c", 1)], &[0, 0, 1], &[], "0-0-1");
        check(&[("a", 2), ("b", 2)], &[0, 1, 2, 3], &[], "02-13");
    }
}
