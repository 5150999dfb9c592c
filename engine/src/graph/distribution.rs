//! Which subtasks of a producer are connected to which subtasks of a consumer.
//!
//! **Invariants**
//! - [`connects`] is about records. Watermarks, barriers and the end of input follow the same connections, and besides
//!   go down a nested edge from i to i (see `job_graph`), so a consumer without any connection (all but the first
//!   behind `global`) is either nested or has no input at all and ends at once.

use super::transformation::Ship;
use std::fmt;
use std::ops::Range;

/// Flink's two shapes of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DistributionPattern {
    /// Each producer to a few consumers next to it.
    Pointwise,
    /// Each producer to every consumer.
    AllToAll,
}

impl DistributionPattern {
    /// Flink's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pointwise => "POINTWISE",
            Self::AllToAll => "ALL_TO_ALL",
        }
    }
}

impl fmt::Display for DistributionPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The shape of an edge with this ship strategy.
pub fn distribution_pattern(ship: Ship) -> DistributionPattern {
    match ship {
        Ship::Forward | Ship::Rescale => DistributionPattern::Pointwise,
        Ship::Auto
        | Ship::Hash
        | Ship::Rebalance
        | Ship::Shuffle
        | Ship::Broadcast
        | Ship::Global
        | Ship::Custom => DistributionPattern::AllToAll,
    }
}

/// May records of this producer subtask reach that consumer subtask? `false` for subtasks that do not exist.
///
/// ```
/// use thalweg::graph::{Ship, connects};
/// assert!(connects(Ship::Hash, 0, 3, 2, 4));
/// assert!(!connects(Ship::Forward, 0, 3, 4, 4));
/// // Two producers, four consumers: the first producer has the first two.
/// assert!(connects(Ship::Rescale, 0, 1, 2, 4) && !connects(Ship::Rescale, 0, 2, 2, 4));
/// ```
pub fn connects(
    ship: Ship,
    producer_index: usize,
    consumer_index: usize,
    producers: usize,
    consumers: usize,
) -> bool {
    if producer_index >= producers || consumer_index >= consumers {
        return false;
    }
    match ship {
        Ship::Forward => producer_index == consumer_index,
        Ship::Rescale => {
            rescale_consumers(producer_index, producers, consumers).contains(&consumer_index)
        }
        Ship::Global => consumer_index == 0,
        Ship::Auto
        | Ship::Hash
        | Ship::Rebalance
        | Ship::Shuffle
        | Ship::Broadcast
        | Ship::Custom => true,
    }
}

/// The consumers that a producer serves under `rescale`: Flink's blocks (`EdgeManagerBuildUtil`).
///
/// With more producers than consumers, consumer c reads producers `c*P/C .. (c+1)*P/C`. With more consumers, producer p
/// serves consumers `ceil(p*C/P) .. ceil((p+1)*C/P)`. Never empty for a producer that exists.
/// Counts are at most [`MAX_PARALLELISM_BOUND`](super::settings::MAX_PARALLELISM_BOUND), as in every valid plan.
pub fn rescale_consumers(
    producer_index: usize,
    producers: usize,
    consumers: usize,
) -> Range<usize> {
    if producer_index >= producers || consumers == 0 {
        return 0..0;
    }
    if producers <= consumers {
        let start = (producer_index * consumers).div_ceil(producers);
        let end = ((producer_index + 1) * consumers).div_ceil(producers);
        return start..end;
    }
    // The consumer c with c*P/C <= p < (c+1)*P/C, all divisions rounded down: c is the largest with c*P < (p+1)*C.
    let consumer = ((producer_index + 1) * consumers - 1) / producers;
    consumer..consumer + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The consumers of each producer, as text: `0:01 1:23`.
    fn pairs(ship: Ship, producers: usize, consumers: usize) -> String {
        let of = |producer: usize| -> String {
            (0..consumers + 1)
                .filter(|consumer| connects(ship, producer, *consumer, producers, consumers))
                .map(|consumer| consumer.to_string())
                .collect()
        };
        let all: Vec<String> =
            (0..producers).map(|producer| format!("{producer}:{}", of(producer))).collect();
        all.join(" ")
    }

    #[test]
    fn pointwise_and_global() {
        let cases = [
            (Ship::Forward, 3, 3, "0:0 1:1 2:2"),
            (Ship::Rescale, 1, 1, "0:0"),
            (Ship::Rescale, 3, 3, "0:0 1:1 2:2"),
            (Ship::Rescale, 2, 4, "0:01 1:23"),
            (Ship::Rescale, 2, 5, "0:012 1:34"),
            (Ship::Rescale, 3, 4, "0:01 1:2 2:3"),
            (Ship::Rescale, 1, 3, "0:012"),
            (Ship::Rescale, 4, 2, "0:0 1:0 2:1 3:1"),
            (Ship::Rescale, 5, 2, "0:0 1:0 2:1 3:1 4:1"),
            (Ship::Rescale, 4, 3, "0:0 1:1 2:2 3:2"),
            (Ship::Rescale, 3, 1, "0:0 1:0 2:0"),
            (Ship::Global, 2, 3, "0:0 1:0"),
        ];
        for (ship, producers, consumers, expected) in cases {
            assert_eq!(
                pairs(ship, producers, consumers),
                expected,
                "{ship} {producers}x{consumers}"
            );
        }
    }

    #[test]
    fn others_connect_all() {
        for ship in [Ship::Hash, Ship::Rebalance, Ship::Shuffle, Ship::Broadcast, Ship::Custom] {
            assert_eq!(pairs(ship, 2, 3), "0:012 1:012", "{ship}");
            assert_eq!(distribution_pattern(ship), DistributionPattern::AllToAll);
        }
    }

    /// Flink's own formulas, written down a second time.
    #[test]
    fn rescale_blocks_equal_flinks() {
        let flinks = |producer: usize, consumer: usize, producers: usize, consumers: usize| {
            if producers >= consumers {
                let start = consumer * producers / consumers;
                let end = (consumer + 1) * producers / consumers;
                return (start..end).contains(&producer);
            }
            let start = (producer * consumers).div_ceil(producers);
            let end = ((producer + 1) * consumers).div_ceil(producers);
            (start..end).contains(&consumer)
        };
        for producers in 1..24 {
            for consumers in 1..24 {
                for producer in 0..producers {
                    let block = rescale_consumers(producer, producers, consumers);
                    let expected = (0..consumers)
                        .filter(|consumer| flinks(producer, *consumer, producers, consumers));
                    assert!(!block.is_empty());
                    assert!(block.eq(expected), "{producer} of {producers}x{consumers}");
                }
            }
        }
    }

    #[test]
    fn subtasks_that_do_not_exist_are_not_connected() {
        for ship in [Ship::Forward, Ship::Rescale, Ship::Global, Ship::Hash] {
            assert!(!connects(ship, 2, 0, 2, 3));
            assert!(!connects(ship, 0, 3, 2, 3));
            assert!(!connects(ship, 0, 0, 0, 1) && !connects(ship, 0, 0, 1, 0));
        }
    }
}
