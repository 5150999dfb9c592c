//! w3: counts of each key in windows of an hour every five minutes, then the three most frequent of each.
//!
//! A shard counts in panes of five minutes and keeps the sum of the last twelve; when a pane is complete it emits its own three
//! best of the window that ends with it. [`BestOfShards`] merges those of all shards.

use super::{IntegerMap, ShardOperator};
use crate::events::Event;
use std::collections::{BTreeMap, VecDeque};

const SLIDE_MS: u64 = 300_000;
const PANES: u64 = 12;

/// The three best: counts and keys, the largest count first, among equals the smaller key. A count of 0 is none.
pub(crate) type Best = [(u64, u64); 3];

const NONE: Best = [(0, u64::MAX); 3];

fn is_better(one: (u64, u64), other: (u64, u64)) -> bool {
    one.0 > other.0 || (one.0 == other.0 && one.1 < other.1)
}

#[inline]
fn offer(best: &mut Best, entry: (u64, u64)) {
    if !is_better(entry, best[2]) {
        return;
    }
    best[2] = entry;
    if is_better(best[2], best[1]) {
        best.swap(1, 2);
        if is_better(best[1], best[0]) {
            best.swap(0, 1);
        }
    }
}

/// One shard of the windows.
#[derive(Clone, Default)]
pub(crate) struct Sliding {
    /// Panes that are not complete, by their number.
    open: VecDeque<(u64, IntegerMap<u64>)>,
    /// The complete ones that windows to come still have.
    complete: VecDeque<(u64, IntegerMap<u64>)>,
    /// The sum of those.
    total: IntegerMap<u64>,
    /// The pane to be completed next; none before the first.
    next: Option<u64>,
}

impl Sliding {
    #[cold]
    fn open(&mut self, pane: u64) -> usize {
        let place = self.open.iter().position(|open| open.0 > pane).unwrap_or(self.open.len());
        self.open.insert(place, (pane, IntegerMap::default()));
        place
    }

    /// Takes a pane in, and the one that lies an hour back out; the best of what is then the window.
    fn complete(&mut self, pane: u64) -> Option<Best> {
        if self.open.front().is_some_and(|open| open.0 == pane) {
            let (_, counts) = self.open.pop_front()?;
            for (key, count) in &counts {
                *self.total.entry(*key).or_insert(0) += count;
            }
            self.complete.push_back((pane, counts));
        }
        if self.complete.front().is_some_and(|complete| complete.0 + PANES <= pane) {
            let (_, counts) = self.complete.pop_front()?;
            for (key, count) in counts {
                let total = self.total.get_mut(&key).expect("it was added when the pane came in");
                *total -= count;
                if *total == 0 {
                    self.total.remove(&key);
                }
            }
        }
        let mut best = NONE;
        for (key, count) in &self.total {
            offer(&mut best, (*count, *key));
        }
        (best[0].0 > 0).then_some(best)
    }
}

impl ShardOperator for Sliding {
    type In = Event;
    type Out = (u64, Best);

    #[inline(always)]
    fn record(&mut self, event: Event, _: &mut impl FnMut((u64, Best))) {
        let pane = event.ts / SLIDE_MS;
        let place = match self.open.iter().rposition(|open| open.0 == pane) {
            Some(place) => place,
            None => self.open(pane),
        };
        *self.open[place].1.entry(event.key).or_insert(0) += 1;
    }

    fn watermark(&mut self, watermark: u64, out: &mut impl FnMut((u64, Best))) {
        while let Some(pane) = self.next.or(self.open.front().map(|open| open.0)) {
            let end = (pane + 1) * SLIDE_MS;
            if end - 1 > watermark || (self.open.is_empty() && self.complete.is_empty()) {
                break;
            }
            if let Some(best) = self.complete(pane) {
                out((end, best));
            }
            self.next = Some(pane + 1);
        }
    }
}

/// Merges what shards have emitted for the same end.
#[derive(Clone, Default)]
pub(crate) struct BestOfShards {
    open: BTreeMap<u64, Best>,
}

impl ShardOperator for BestOfShards {
    type In = (u64, Best);
    type Out = (u64, u64, u64);

    fn record(&mut self, (end, best): (u64, Best), _: &mut impl FnMut((u64, u64, u64))) {
        let all = self.open.entry(end).or_insert(NONE);
        for entry in best {
            offer(all, entry);
        }
    }

    fn watermark(&mut self, watermark: u64, out: &mut impl FnMut((u64, u64, u64))) {
        while let Some(first) = self.open.first_entry() {
            if first.key() - 1 > watermark {
                break;
            }
            let (end, best) = first.remove_entry();
            for (count, key) in best.into_iter().filter(|entry| entry.0 > 0) {
                out((key, end, count));
            }
        }
    }
}
