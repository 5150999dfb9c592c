//! Slots, what a job needs of them, and what it was given.
//!
//! **Invariants**
//! - A slot lies on one core for good. Several slots may lie on one core; their subtasks then hand records over by
//!   value.
//! - An allocation has for each group of the demand as many slots as asked for, and no slot twice.

use std::collections::HashMap;
use std::fmt;

/// Names a slot of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub u32);

/// Names a core of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreIndex(pub usize);

impl fmt::Display for SlotId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for CoreIndex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A share of a core and of memory, where one subtask of each vertex of a slot sharing group runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub id: SlotId,
    /// The core it lies on.
    pub core: CoreIndex,
    /// Memory its subtasks may use for state, in bytes.
    pub memory_bytes: u64,
}

/// The slots a job needs.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SlotDemand {
    /// Each slot sharing group and how many slots it needs: the largest parallelism in it.
    pub groups: Vec<(String, usize)>,
}

impl SlotDemand {
    /// From the group and the parallelism of each vertex; groups stay in the order they are met.
    pub fn of<'name>(vertices: impl IntoIterator<Item = (&'name str, usize)>) -> Self {
        let mut groups: Vec<(String, usize)> = Vec::new();
        let mut index_of: HashMap<&str, usize> = HashMap::new();
        for (group, parallelism) in vertices {
            let index = *index_of.entry(group).or_insert_with(|| {
                groups.push((group.to_owned(), 0));
                groups.len() - 1
            });
            groups[index].1 = groups[index].1.max(parallelism);
        }
        Self { groups }
    }

    /// How many slots in all: the sum over the groups.
    pub fn slot_count(&self) -> usize {
        self.groups.iter().fold(0, |sum, (_, slots)| sum.saturating_add(*slots))
    }

    /// The widest group: the largest parallelism of the job.
    pub fn parallelism_max(&self) -> usize {
        self.groups.iter().map(|(_, slots)| *slots).max().unwrap_or(0)
    }
}

/// The slots a job was given.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Allocation {
    /// Each slot sharing group and its slots; slot i holds subtask i of every vertex in the group.
    pub groups: Vec<(String, Vec<Slot>)>,
}

impl Allocation {
    /// The slots of one group, by subtask.
    pub fn slots_of(&self, group: &str) -> Option<&[Slot]> {
        let found = self.groups.iter().find(|(name, _)| name == group);
        found.map(|(_, slots)| slots.as_slice())
    }

    /// All its slots.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.groups.iter().flat_map(|(_, slots)| slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_is_the_widest_vertex_of_each_group() {
        let demand = SlotDemand::of([("default", 2), ("wide", 4), ("default", 3), ("wide", 1)]);
        assert_eq!(demand.groups, [("default".to_owned(), 3), ("wide".to_owned(), 4)]);
        assert_eq!((demand.slot_count(), demand.parallelism_max()), (7, 4));
        assert_eq!(SlotDemand::default().slot_count(), 0);
    }
}
