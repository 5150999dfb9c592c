//! Random input: items out of order, with watermarks among them.

use crate::Random;
use crate::metamorphic::Item;

/// Do items come behind their watermarks?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lateness {
    None,
    Some,
}

/// Random items; `key_of` makes an input's keys of small numbers.
pub(super) fn items(
    random: &mut Random,
    lateness: Lateness,
    key_of: impl Fn(u32) -> u32,
) -> Vec<Item> {
    let (count, keys) = (random.between(40, 160), random.between(1, 8) as u64);
    let disorder_ms = random.between(0, 15);
    let mut now_ms = random.between(-60, 20);
    let mut items: Vec<Item> = (0..count)
        .map(|_| {
            now_ms += random.between(0, 5);
            let at = now_ms - random.between(0, disorder_ms);
            Item {
                key: key_of(random.below(keys) as u32),
                at,
                v: random.between(-9, 99),
                mark: None,
            }
        })
        .collect();
    match lateness {
        Lateness::None => mark_safely(random, &mut items),
        Lateness::Some => mark_boldly(random, &mut items),
    }
    items
}

/// Watermarks that no later item is behind, or next to.
fn mark_safely(random: &mut Random, items: &mut [Item]) {
    let mut earliest_ms = i64::MAX;
    for item in items.iter_mut().rev() {
        if earliest_ms != i64::MAX && random.once_in(4) {
            item.mark = Some(earliest_ms - 2 - random.between(0, 3));
        }
        earliest_ms = earliest_ms.min(item.at);
    }
}

/// Watermarks around the time of their items, now and then ahead of it.
fn mark_boldly(random: &mut Random, items: &mut [Item]) {
    for item in items {
        if random.once_in(4) {
            item.mark = Some(item.at + random.between(-8, 6));
        }
    }
}
