//! The partitioners: how the records of an edge find their consumer.

use crate::exchange::router::Route;
use crate::graph::NodeId;
use crate::operator::{StageContext, UserCall};
use std::rc::Rc;

/// Always the same lane: forward (the own index) and global (0).
pub(crate) struct Fixed(pub(crate) usize);

impl<T: 'static> Route<T> for Fixed {
    #[inline(always)]
    fn route(&mut self, _: &T) -> (usize, u32) {
        (self.0, 0)
    }
}

/// Round robin over `lanes` (rebalance: all; rescale: the near ones). Begins elsewhere in each subtask.
pub(crate) struct RoundRobin {
    lanes: Vec<usize>,
    next: usize,
}

impl RoundRobin {
    pub(crate) fn new(lanes: Vec<usize>, subtask: usize) -> Self {
        assert!(!lanes.is_empty(), "a producer of an edge feeds at least one consumer");
        RoundRobin { next: subtask % lanes.len(), lanes }
    }
}

impl<T: 'static> Route<T> for RoundRobin {
    #[inline(always)]
    fn route(&mut self, _: &T) -> (usize, u32) {
        let lane = self.lanes[self.next];
        self.next = if self.next + 1 == self.lanes.len() { 0 } else { self.next + 1 };
        (lane, 0)
    }
}

/// Random lanes from the job's seed: the same run gives the same lanes.
pub(crate) struct Shuffle {
    state: u64,
    lanes: u64,
}

impl Shuffle {
    pub(crate) fn new(seed: u64, subtask: usize, lanes: usize) -> Self {
        let state = seed ^ (subtask as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Shuffle { state, lanes: lanes as u64 }
    }
}

impl<T: 'static> Route<T> for Shuffle {
    #[inline(always)]
    fn route(&mut self, _: &T) -> (usize, u32) {
        // splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let random = z ^ (z >> 31);
        (((random as u128 * self.lanes as u128) >> 64) as usize, 0)
    }
}

/// As the user's function says: (record, number of consumers) to index.
pub(crate) struct Custom<F> {
    pub(crate) function: F,
    pub(crate) lanes: usize,
    pub(crate) stage: Rc<StageContext>,
    pub(crate) node: NodeId,
}

impl<T: 'static, F: FnMut(&T, usize) -> usize + 'static> Route<T> for Custom<F> {
    #[inline(always)]
    fn route(&mut self, record: &T) -> (usize, u32) {
        let Custom { function, lanes, stage, node } = self;
        let call = UserCall::begin(stage, node);
        let lane = function(record, *lanes);
        call.end();
        if lane >= *lanes {
            let message = format!(
                "the partitioner chose consumer {lane} of {lanes}; give an index below {lanes}"
            );
            stage.fail(*node, message.into());
            return (usize::MAX, 0);
        }
        (lane, 0)
    }
}
