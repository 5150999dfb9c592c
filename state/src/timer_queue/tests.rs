use std::collections::BTreeMap;

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
fn pops_in_order_of_time_then_registration() {
    let mut queue = TimerQueue::new();
    for (at, row) in [(5, 2), (5, 1), (-3, 9), (1_000_000, 0), (64, 7), (63, 7)] {
        assert!(queue.register(timer(at, row)));
    }
    assert!(!queue.register(timer(5, 1)));
    assert_eq!(queue.len(), 6);
    assert_eq!(drain(&mut queue, 63), [(-3, 9), (5, 2), (5, 1), (63, 7)]);
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
    assert_eq!(drain(&mut queue, 100), [(40, 9), (100, 4), (100, 6), (100, 5), (100, 2)]);
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

/// A queue that goes on after so many registrations that the lower bits overflow soon.
fn before_overflow() -> TimerQueue {
    TimerQueue { registered_count: (5 << 32) - 500, ..TimerQueue::new() }
}

#[test]
fn ties_keep_their_order_where_the_lower_bits_overflow() {
    let mut queue = before_overflow();
    let rows: Vec<u32> = (0..1_000).map(|n| n * 7 % 1_000).collect();
    rows.iter().for_each(|row| assert!(queue.register(timer(50, *row))));
    assert_eq!(queue.pop_due(50), Some(timer(50, 0)));
    rows.iter().skip(1).for_each(|row| assert!(queue.delete(timer(50, *row))));
    // From now on the time is before what the wheel holds.
    queue.registered_count = (6 << 32) - 500;
    rows.iter().for_each(|row| assert!(queue.register(timer(50, *row))));
    let expected: Vec<_> = rows.iter().map(|row| (50, *row)).collect();
    assert_eq!(drain(&mut queue, 50), expected);
}

/// Random operations against a map; the range of timestamps sets how many levels are in use.
fn check_model(seed: u64, range_ms: u64, start_ms: i64) {
    let mut random = SplitMix64::new(seed);
    let (mut queue, mut model) = (before_overflow(), BTreeMap::<Timer, u64>::new());
    let first_of = |model: &BTreeMap<Timer, u64>| {
        let first = model.iter().min_by_key(|(timer, number)| (timer.timestamp_ms, **number));
        first.map(|(timer, _)| *timer)
    };
    let mut now_ms = start_ms;
    for step in 0..20_000_u64 {
        let at = now_ms.wrapping_add((random.below(range_ms) as i64) - (range_ms / 8) as i64);
        let timer = timer(at, random.below(4) as u32);
        match random.below(8) {
            0..4 => {
                let is_new = *model.entry(timer).or_insert(step) == step;
                assert_eq!(queue.register(timer), is_new, "seed {seed} {step}");
            }
            4 => {
                let is_there = model.remove(&timer).is_some();
                assert_eq!(queue.delete(timer), is_there, "seed {seed} {step}");
            }
            5 if let Some(first) = first_of(&model) => {
                assert!(
                    queue.delete(first) && model.remove(&first).is_some(),
                    "seed {seed} {step}"
                );
            }
            6 => {
                let first = first_of(&model).map(|timer| timer.timestamp_ms);
                assert_eq!(queue.next_ms(), first, "seed {seed} step {step}");
            }
            _ => {
                now_ms = now_ms.saturating_add(random.below(range_ms / 2 + 1) as i64);
                for _ in 0..random.below(6) {
                    let due = first_of(&model).filter(|first| first.timestamp_ms <= now_ms);
                    model.remove(&due.unwrap_or(timer_of_none()));
                    assert_eq!(queue.pop_due(now_ms), due, "seed {seed} step {step}");
                }
            }
        }
        assert_eq!(queue.len(), model.len(), "seed {seed} step {step}");
    }
    assert_eq!(queue.iter().collect::<BTreeSet<_>>(), model.keys().copied().collect());
    let mut expected: Vec<_> = model.into_iter().collect();
    expected.sort_by_key(|(timer, number)| (timer.timestamp_ms, *number));
    let expected: Vec<_> = expected.into_iter().map(|(timer, _)| timer).collect();
    let rest: Vec<_> = std::iter::from_fn(|| queue.pop_due(i64::MAX)).collect();
    assert_eq!(rest, expected, "seed {seed}");
}

/// A timer that no test registers.
fn timer_of_none() -> Timer {
    timer(i64::MIN, u32::MAX)
}

#[test]
fn behaves_like_an_ordered_map() {
    for seed in 0..6 {
        check_model(seed, 8, 0);
        check_model(seed, 200, -500);
        check_model(seed, 100_000, 1_700_000_000_000);
        check_model(seed, 1 << 50, -(1 << 55));
        check_model(seed, 1 << 62, i64::MIN / 2);
    }
}
