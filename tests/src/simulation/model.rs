//! What the branches must write, from the semantics of their operators and the input alone.

use super::Row;
use super::branch::{
    GAP_MS, JOIN_MS, LATE_MS, SLIDING_MS, TRIGGER_COUNT, TUMBLING_MS, id, says_watermark,
};
use super::functions::PERIOD_MS;
use super::input::{Deadline, Event, Input};
use std::collections::{BTreeMap, BTreeSet};

/// Rows must be these, in any order.
///
/// # Errors
/// What is lost, and what is too much.
pub(super) fn same(rows: &[Row], mut expected: Vec<Row>) -> Result<(), String> {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    expected.sort_unstable();
    if rows == expected {
        return Ok(());
    }
    let lost = without(&expected, &rows);
    let more = without(&rows, &expected);
    Err(format!(
        "{} of {} rows are lost ({:?}), {} are wrong or too many ({:?})",
        lost.len(),
        expected.len(),
        &lost[..lost.len().min(4)],
        more.len(),
        &more[..more.len().min(4)]
    ))
}

/// Sorted rows of `rows` that are not in `others`, as often as they are there.
fn without(rows: &[Row], others: &[Row]) -> Vec<Row> {
    let mut counts: BTreeMap<&Row, i64> = BTreeMap::new();
    others.iter().for_each(|row| *counts.entry(row).or_default() += 1);
    let mut rest = Vec::new();
    for row in rows {
        let count = counts.entry(row).or_default();
        *count -= 1;
        if *count < 0 {
            rest.push(*row);
        }
    }
    rest
}

/// All of `expected` must be there, and nothing else; any of it may be there more than once.
pub(super) fn contains(rows: &[Row], expected: &[Row]) -> Result<(), String> {
    let (found, expected): (BTreeSet<_>, BTreeSet<_>) =
        (rows.iter().collect(), expected.iter().collect());
    match (expected.difference(&found).next(), found.difference(&expected).next()) {
        (None, None) => Ok(()),
        (lost, more) => Err(format!("lost: {lost:?}, wrong: {more:?}")),
    }
}

/// Records of a split and key come in their order.
pub(super) fn ascends(rows: &[Row]) -> Result<(), String> {
    let mut last: BTreeMap<(i64, i64), (i64, i64)> = BTreeMap::new();
    for (_, split, number, copy, key) in rows {
        let before = last.insert((*split, *key), (*number, *copy));
        if before.is_some_and(|before| before >= (*number, *copy)) {
            return Err(format!("record {number} of split {split} is behind {before:?}"));
        }
    }
    Ok(())
}

/// Running counts and sums of each key: counts rise one by one, sums by the values of the key, each taken once.
pub(super) fn accumulates(rows: &[Row], input: &Input) -> Result<(), String> {
    let mut found: BTreeMap<i64, (i64, i64, Vec<i64>)> = BTreeMap::new();
    for (_, key, count, sum, _) in rows {
        let (count_before, sum_before, steps) = found.entry(*key).or_default();
        if *count != *count_before + 1 {
            return Err(format!("key {key}: count {count} comes after {count_before}"));
        }
        steps.push(sum - *sum_before);
        (*count_before, *sum_before) = (*count, *sum);
    }
    for (key, events) in input.by_key() {
        let mut expected: Vec<i64> = events.iter().map(|event| event.value).collect();
        let mut steps = found.remove(&key).unwrap_or_default().2;
        expected.sort_unstable();
        steps.sort_unstable();
        if steps != expected {
            let (found, expected) = (steps.len(), expected.len());
            return Err(format!(
                "key {key}: {found} values were added, {expected} are there, or others"
            ));
        }
    }
    found.into_keys().next().map_or(Ok(()), |key| Err(format!("key {key} was never there")))
}

/// With repetitions: no key's last count and sum are below those of the input.
pub(super) fn reaches(rows: &[Row], input: &Input) -> Result<(), String> {
    let mut highest: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (_, key, count, sum, _) in rows {
        let known = highest.entry(*key).or_default();
        *known = (known.0.max(*count), known.1.max(*sum));
    }
    for (key, events) in input.by_key() {
        let expected: (i64, i64) =
            (events.len() as i64, events.iter().map(|event| event.value).sum());
        let found = highest.get(&key).copied().unwrap_or_default();
        if found.0 < expected.0 || found.1 < expected.1 {
            return Err(format!("key {key}: {found:?} is less than {expected:?}"));
        }
    }
    Ok(())
}

/// With repetitions: each window is there, and has counted all its records.
pub(super) fn counts_at_least(rows: &[Row], expected: &[Row]) -> Result<(), String> {
    for (_, key, start, end, count) in expected {
        let is_it = |row: &&Row| (row.1, row.2, row.3) == (*key, *start, *end);
        match rows.iter().filter(is_it).map(|row| row.4).max() {
            Some(found) if found >= *count => {}
            found => return Err(format!("window to {end} of key {key}: {found:?} of {count}")),
        }
    }
    Ok(())
}

/// State with a TTL was there when it had to be, and no key was left out.
pub(super) fn expires(rows: &[Row], input: &Input) -> Result<(), String> {
    if let Some((_, key, count, wrong, _)) = rows.iter().find(|row| row.3 != 0) {
        return Err(format!("key {key}, write {count}: expired early or late ({wrong})"));
    }
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    for (_, key, count, ..) in rows {
        let before = counts.insert(*key, *count).unwrap_or(0);
        if *count != before + 1 {
            return Err(format!("key {key}: write {count} comes after {before}"));
        }
    }
    let expected: BTreeMap<i64, i64> =
        input.by_key().into_iter().map(|(key, events)| (key, events.len() as i64)).collect();
    if counts == expected { Ok(()) } else { Err(format!("{counts:?} writes, not {expected:?}")) }
}

pub(super) fn stateless(input: &Input, branch: i64) -> Vec<Row> {
    let copies = |event: &Event| {
        let Event { split, number, key, value, .. } = *event;
        (0..value % 3).map(move |copy| (branch, split, number, copy, key))
    };
    input.events().flat_map(copies).collect()
}

pub(super) fn each(input: &Input, branch: i64) -> Vec<Row> {
    input.events().map(|e| (branch, e.split, e.number, e.value, e.key)).collect()
}

/// Counts by key and window, of those windows `[start, start + size)` that begin at multiples of `slide`.
fn aligned(input: &Input, branch: i64, (size_ms, slide_ms): (i64, i64)) -> Vec<Row> {
    let mut counts: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for event in input.events() {
        let mut start_ms = event.at_ms - event.at_ms % slide_ms;
        while start_ms > event.at_ms - size_ms {
            *counts.entry((event.key, start_ms)).or_default() += 1;
            start_ms -= slide_ms;
        }
    }
    let row = |((key, start_ms), count)| (branch, key, start_ms, start_ms + size_ms, count);
    counts.into_iter().map(row).collect()
}

pub(super) fn tumbling(input: &Input, branch: i64) -> Vec<Row> {
    aligned(input, branch, (TUMBLING_MS, TUMBLING_MS))
}

pub(super) fn sliding(input: &Input, branch: i64) -> Vec<Row> {
    aligned(input, branch, SLIDING_MS)
}

pub(super) fn sessions(input: &Input, branch: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, mut events) in input.by_key() {
        events.sort_by_key(|event| event.at_ms);
        // Windows of two records merge when they touch, also where one ends as the other begins.
        for session in events.chunk_by(|one, next| next.at_ms - one.at_ms <= GAP_MS) {
            let (first, last) = (session[0].at_ms, session[session.len() - 1].at_ms);
            rows.push((branch, key, first, last + GAP_MS, session.len() as i64));
        }
    }
    rows
}

/// All pairs of an even and an odd value of a key that `matches`.
fn pairs(input: &Input, branch: i64, matches: impl Fn(&Event, &Event) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, events) in input.by_key() {
        let (left, right): (Vec<Event>, Vec<Event>) =
            events.into_iter().partition(|event| event.value % 2 == 0);
        for one in &left {
            let others = right.iter().filter(|other| matches(one, other));
            rows.extend(others.map(|other| (branch, key, id(one), id(other), 0)));
        }
    }
    rows
}

pub(super) fn interval_join(input: &Input, branch: i64) -> Vec<Row> {
    let (lower_ms, upper_ms) = JOIN_MS;
    pairs(input, branch, |left, right| {
        (left.at_ms + lower_ms..=left.at_ms + upper_ms).contains(&right.at_ms)
    })
}

pub(super) fn window_join(input: &Input, branch: i64) -> Vec<Row> {
    pairs(input, branch, |left, right| left.at_ms / TUMBLING_MS == right.at_ms / TUMBLING_MS)
}

pub(super) fn timers(input: &Input, branch: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, events) in input.by_key() {
        let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
        let mut deadlines = BTreeSet::new();
        for event in &events {
            *counts.entry((event.at_ms / PERIOD_MS + 1) * PERIOD_MS).or_default() += 1;
            match event.deadline {
                Deadline::None => {}
                Deadline::Set(at_ms) => _ = deadlines.insert(at_ms),
                Deadline::Cancel(at_ms) => _ = deadlines.remove(&at_ms),
            }
        }
        // Once more behind each that had something to report.
        for at_ms in counts.keys().copied().collect::<Vec<_>>() {
            counts.entry(at_ms + PERIOD_MS).or_default();
        }
        rows.extend(counts.into_iter().map(|(at_ms, count)| (branch, key, at_ms, count, 0)));
        rows.extend(deadlines.into_iter().map(|at_ms| (branch, key, at_ms, -1, 0)));
    }
    rows
}

/// Each rule is told by every subtask; events are counted by key.
pub(super) fn rules(input: &Input, branch: i64, parallelism: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut sum = 0;
    for rule in &input.rules {
        sum += rule.value;
        let row = (branch, 0, rule.number, rule.number + 1, sum);
        rows.extend(std::iter::repeat_n(row, parallelism));
    }
    for (key, events) in input.by_key() {
        rows.extend((1..=events.len() as i64).map(|count| (branch, 1, key, count, 0)));
    }
    rows
}

/// A key's window fires each time that so many records have come; `told` of them are left in it then.
pub(super) fn triggers(input: &Input, branch: i64, told: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, events) in input.by_key() {
        let firings = events.len() as i64 / TRIGGER_COUNT;
        rows.extend((0..firings).map(|_| (branch, key, told, 0, 0)));
    }
    rows
}

/// One record after the other: a watermark comes behind some of them, and what is behind it in a window that is over is late.
pub(super) fn late(input: &Input, branch: i64) -> Vec<Row> {
    let mut watermark_ms = i64::MIN;
    let mut counts: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    let mut rows = Vec::new();
    for event in &input.late {
        let end_ms = (event.at_ms / LATE_MS + 1) * LATE_MS;
        match end_ms - 1 <= watermark_ms {
            true => rows.push((branch, event.key, -1, id(event), 0)),
            false => *counts.entry((event.key, end_ms)).or_default() += 1,
        }
        if says_watermark(event) {
            watermark_ms = watermark_ms.max(event.at_ms);
        }
    }
    rows.extend(counts.into_iter().map(|((key, end), count)| (branch, key, end, count, 0)));
    rows
}
