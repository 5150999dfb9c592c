//! w2: counts of each key in windows of a second.

use super::{IntegerMap, ShardOperator};
use crate::events::Event;
use std::collections::VecDeque;

const SIZE_MS: u64 = 1_000;

/// A map for each open window, by its end; emptied ones are used again.
#[derive(Clone, Default)]
pub(crate) struct Tumbling {
    /// Ends and counts, in order.
    open: VecDeque<(u64, IntegerMap<u64>)>,
    spare: Vec<IntegerMap<u64>>,
}

impl Tumbling {
    #[cold]
    fn open(&mut self, end: u64) -> usize {
        let place = self.open.iter().position(|window| window.0 > end).unwrap_or(self.open.len());
        self.open.insert(place, (end, self.spare.pop().unwrap_or_default()));
        place
    }
}

impl ShardOperator for Tumbling {
    type In = Event;
    type Out = (u64, u64, u64);

    #[inline(always)]
    fn record(&mut self, event: Event, _: &mut impl FnMut((u64, u64, u64))) {
        let end = event.ts / SIZE_MS * SIZE_MS + SIZE_MS;
        let place = match self.open.iter().rposition(|window| window.0 == end) {
            Some(place) => place,
            None => self.open(end),
        };
        *self.open[place].1.entry(event.key).or_insert(0) += 1;
    }

    fn watermark(&mut self, watermark: u64, out: &mut impl FnMut((u64, u64, u64))) {
        while self.open.front().is_some_and(|window| window.0 - 1 <= watermark) {
            let Some((end, mut counts)) = self.open.pop_front() else { break };
            for (key, count) in counts.drain() {
                out((key, end, count));
            }
            self.spare.push(counts);
        }
    }
}
