use super::*;
use crate::test_random::SplitMix64;

fn timer(timestamp_ms: i64, row: u32) -> Timer {
    Timer { timestamp_ms, row: RowId::for_test(row) }
}

fn drain(queue: &mut TimerQueue, up_to_ms: i64) -> Vec<(i64, u32)> {
    std::iter::from_fn(|| queue.pop_due(up_to_ms))
        .map(|timer| (timer.timestamp_ms, timer.row.as_u32()))
        .collect()
}

#[test]
fn pops_in_order_of_time_then_row() {
    let mut queue = TimerQueue::new();
    for (at, row) in [(5, 2), (5, 1), (-3, 9), (1_000_000, 0), (64, 7), (63, 7)] {
        assert!(queue.register(timer(at, row)));
    }
    assert!(!queue.register(timer(5, 1)));
    assert_eq!(queue.len(), 6);
    assert_eq!(drain(&mut queue, 63), [(-3, 9), (5, 1), (5, 2), (63, 7)]);
    assert_eq!(queue.next_ms(), Some(64));
    assert_eq!(drain(&mut queue, i64::MAX), [(64, 7), (1_000_000, 0)]);
    assert_eq!(queue.next_ms(), None);
}

#[test]
fn the_ends_of_time_are_ordinary_timestamps() {
    let mut queue = TimerQueue::new();
    let ends = [i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1, 0, -1];
    ends.iter().for_each(|at| assert!(queue.register(timer(*at, 1))));
    assert_eq!(queue.next_ms(), Some(i64::MIN));
    assert_eq!(drain(&mut queue, i64::MIN), [(i64::MIN, 1)]);
    assert_eq!(drain(&mut queue, -1), [(i64::MIN + 1, 1), (-1, 1)]);
    assert_eq!(drain(&mut queue, i64::MAX), [(0, 1), (i64::MAX - 1, 1), (i64::MAX, 1)]);
    assert!(queue.register(timer(i64::MAX, 1)) && queue.register(timer(i64::MIN, 1)));
    assert_eq!(drain(&mut queue, i64::MAX), [(i64::MIN, 1), (i64::MAX, 1)]);
}

#[test]
fn timers_registered_while_popping_come_up_in_order() {
    let mut queue = TimerQueue::new();
    for row in [2, 4, 6] {
        queue.register(timer(100, row));
    }
    assert_eq!(queue.pop_due(100), Some(timer(100, 2)));
    assert!(queue.register(timer(100, 5)), "the time being popped");
    assert!(queue.register(timer(100, 2)), "the timer just popped");
    assert!(queue.register(timer(40, 9)), "before it");
    assert!(!queue.register(timer(100, 4)), "still registered");
    assert_eq!(drain(&mut queue, 100), [(40, 9), (100, 2), (100, 4), (100, 5), (100, 6)]);
}

#[test]
fn a_timer_deleted_and_registered_again_fires_once() {
    let mut queue = TimerQueue::new();
    queue.register(timer(100, 1));
    queue.register(timer(100, 2));
    for _ in 0..3 {
        assert!(queue.delete(timer(100, 2)));
        assert!(!queue.delete(timer(100, 2)));
        assert!(queue.register(timer(100, 2)));
    }
    assert_eq!(queue.pop_due(100), Some(timer(100, 1)));
    assert!(queue.delete(timer(100, 2)), "while its millisecond is popped");
    assert!(queue.register(timer(100, 2)));
    assert_eq!(drain(&mut queue, 100), [(100, 2)]);
    assert!(queue.is_empty());
}

#[test]
fn stale_entries_are_bounded() {
    let mut queue = TimerQueue::new();
    for step in 0..200_000 {
        queue.register(timer(1_000_000 + step, 1));
        queue.delete(timer(1_000_000 + step, 1));
    }
    assert!(queue.stale_count <= STALE_ALLOWED + 1, "{}", queue.stale_count);
    queue.register(timer(3, 3));
    assert_eq!(drain(&mut queue, i64::MAX), [(3, 3)]);
}

/// Random operations against a BTreeSet; the range of timestamps sets how many levels are in use.
fn check_model(seed: u64, range_ms: u64, start_ms: i64) {
    let mut random = SplitMix64::new(seed);
    let (mut queue, mut model) = (TimerQueue::new(), BTreeSet::new());
    let mut now_ms = start_ms;
    for step in 0..40_000 {
        let at = now_ms.wrapping_add((random.below(range_ms) as i64) - (range_ms / 8) as i64);
        let timer = timer(at, random.below(4) as u32);
        match random.below(8) {
            0..4 => assert_eq!(queue.register(timer), model.insert(timer), "seed {seed} {step}"),
            4 => assert_eq!(queue.delete(timer), model.remove(&timer), "seed {seed} {step}"),
            5 if let Some(first) = model.first().copied() => {
                assert!(queue.delete(first) && model.remove(&first), "seed {seed} {step}");
            }
            6 => {
                let first = model.first().map(|timer| timer.timestamp_ms);
                assert_eq!(queue.next_ms(), first, "seed {seed} step {step}");
            }
            _ => {
                now_ms = now_ms.saturating_add(random.below(range_ms / 2 + 1) as i64);
                for _ in 0..random.below(6) {
                    let due = model.first().copied().filter(|first| first.timestamp_ms <= now_ms);
                    model.remove(&due.unwrap_or(timer_of_none()));
                    assert_eq!(queue.pop_due(now_ms), due, "seed {seed} step {step}");
                }
            }
        }
        assert_eq!(queue.len(), model.len(), "seed {seed} step {step}");
    }
    assert_eq!(queue.iter().collect::<BTreeSet<_>>(), model);
    let rest: Vec<_> = std::iter::from_fn(|| queue.pop_due(i64::MAX)).collect();
    assert_eq!(rest, model.into_iter().collect::<Vec<_>>(), "seed {seed}");
}

/// A timer that no test registers.
fn timer_of_none() -> Timer {
    timer(i64::MIN, u32::MAX)
}

#[test]
fn behaves_like_an_ordered_set() {
    for seed in 0..6 {
        check_model(seed, 8, 0);
        check_model(seed, 200, -500);
        check_model(seed, 100_000, 1_700_000_000_000);
        check_model(seed, 1 << 50, -(1 << 55));
        check_model(seed, 1 << 62, i64::MIN / 2);
    }
}
