#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::conformance::row::Body;
use serde_json::{Value, json};

const EXACT: Rule =
    Rule { order: Order::Exact, is_process: false, per_key: false, any_step: false };
const STEP: Rule = Rule { order: Order::Step, ..EXACT };
const TIMESTAMP: Rule = Rule { order: Order::StepAndTimestamp, ..EXACT };

fn row(at: usize, out: &str, timestamp_ms: i64, value: Value) -> Row {
    let body = Body::Record { timestamp_ms: Some(timestamp_ms), value };
    Row { at, out: out.into(), body }
}

fn a(at: usize, timestamp_ms: i64, v: i64) -> Row {
    row(at, "main", timestamp_ms, json!({"key": "a", "v": v}))
}

fn b(at: usize, timestamp_ms: i64, v: i64) -> Row {
    row(at, "main", timestamp_ms, json!({"key": "b", "v": v}))
}

fn watermark(at: usize, watermark_ms: i64) -> Row {
    Row { at, out: "main".into(), body: Body::Watermark(watermark_ms) }
}

/// For each rule: are these the same?
#[track_caller]
fn check(expected: &[Row], got: &[Row], [exact, step, timestamp]: [bool; 3]) {
    for (rule, same) in [(EXACT, exact), (STEP, step), (TIMESTAMP, timestamp)] {
        let found = difference(rule, expected, got);
        assert_eq!(found.is_none(), same, "{:?}: {found:?}", rule.order);
        assert_eq!(difference(rule, got, expected).is_none(), same, "{:?} turned", rule.order);
    }
}

#[test]
fn equal_rows_are_equal() {
    check(&[], &[], [true; 3]);
    check(&[a(0, 1, 1), b(1, 2, 2)], &[a(0, 1, 1), b(1, 2, 2)], [true; 3]);
}

#[test]
fn order_within_a_step_and_timestamp() {
    check(&[a(3, 9, 1), b(3, 9, 2)], &[b(3, 9, 2), a(3, 9, 1)], [false, true, true]);
    // Of another timestamp.
    check(&[a(3, 9, 1), b(3, 19, 2)], &[b(3, 19, 2), a(3, 9, 1)], [false, true, false]);
    // Of another step.
    check(&[a(3, 9, 1), b(4, 9, 2)], &[b(4, 9, 2), a(3, 9, 1)], [false, true, false]);
    // Groups keep the order of their first rows, wherever the rest of them is.
    let expected = [a(3, 9, 1), a(3, 19, 1), b(3, 9, 2)];
    check(&expected, &[b(3, 9, 2), a(3, 9, 1), a(3, 19, 1)], [false, true, true]);
    check(&expected, &[a(3, 19, 1), a(3, 9, 1), b(3, 9, 2)], [false, true, false]);
}

#[test]
fn timers_of_two_clocks_may_meet_in_a_step() {
    let (expected, got) = ([a(3, 9, 1), b(3, 19, 2)], [b(3, 19, 2), a(3, 9, 1)]);
    assert!(difference(Rule { is_process: true, ..TIMESTAMP }, &expected, &got).is_none());
}

#[test]
fn step_timestamp_value_and_output_count() {
    for other in [a(4, 9, 1), a(3, 8, 1), a(3, 9, 2), b(3, 9, 1)] {
        check(&[a(3, 9, 1)], &[other], [false; 3]);
    }
    let side = row(3, "late", 9, json!({"key": "a", "v": 1}));
    check(&[a(3, 9, 1)], &[side], [false; 3]);
    let mut without = a(3, 9, 1);
    without.body = Body::Record { timestamp_ms: None, value: json!({"key": "a", "v": 1}) };
    check(&[a(3, 9, 1)], &[without], [false; 3]);
}

#[test]
fn missing_and_additional_rows_are_found() {
    check(&[a(3, 9, 1)], &[], [false; 3]);
    check(&[a(3, 9, 1)], &[a(3, 9, 1), a(3, 9, 1)], [false; 3]);
    check(&[a(3, 9, 1), a(3, 9, 1), b(3, 9, 1)], &[a(3, 9, 1), b(3, 9, 1), b(3, 9, 1)], [false; 3]);
}

#[test]
fn fields_have_no_order_and_numbers_no_type() {
    let got: Value = serde_json::from_str(r#"{"v": 1, "key": "a"}"#).unwrap();
    check(&[a(0, 1, 1)], &[row(0, "main", 1, got)], [true; 3]);
    check(&[a(0, 1, 1)], &[row(0, "main", 1, json!({"key": "a", "v": "1"}))], [false; 3]);
}

#[test]
fn order_across_outputs_is_free() {
    let late = row(0, "late", 1, json!({"key": "a"}));
    check(&[a(0, 1, 1), late.clone()], &[late, a(0, 1, 1)], [true; 3]);
}

#[test]
fn watermarks_are_in_sequence_with_records() {
    let idle = Row { at: 1, out: "main".into(), body: Body::Status { idle: true } };
    check(&[a(1, 1, 1), watermark(1, 5)], &[watermark(1, 5), a(1, 1, 1)], [false, true, false]);
    check(&[watermark(1, 5)], &[watermark(1, 6)], [false; 3]);
    let idle = [idle];
    check(&[watermark(1, 5)], &idle, [false; 3]);
    check(&idle, &idle, [true; 3]);
}

#[test]
fn keys_may_interleave_at_greater_parallelism() {
    let per_key = |rule| Rule { per_key: true, ..rule };
    let expected = [a(3, 9, 1), b(3, 9, 2), a(3, 19, 3), b(3, 19, 4)];
    let interleaved = [b(3, 9, 2), b(3, 19, 4), a(3, 9, 1), a(3, 19, 3)];
    assert!(difference(EXACT, &expected, &interleaved).is_some());
    assert!(difference(per_key(EXACT), &expected, &interleaved).is_none());
    assert!(difference(per_key(TIMESTAMP), &expected, &interleaved).is_none());
    // Not those of one key, and not across steps.
    let swapped = [a(3, 19, 3), b(3, 9, 2), a(3, 9, 1), b(3, 19, 4)];
    assert!(difference(per_key(EXACT), &expected, &swapped).is_some());
    assert!(difference(per_key(EXACT), &expected, &interleaved[..3]).is_some());
    let later = [a(4, 9, 1), b(3, 9, 2), a(4, 19, 3), b(3, 19, 4)];
    assert!(difference(per_key(EXACT), &expected, &later).is_some());
    assert!(difference(Rule { any_step: true, ..per_key(EXACT) }, &expected, &later).is_none());
    // Watermarks have an order of their own.
    let expected = [watermark(1, 5), a(1, 1, 1), watermark(2, 6)];
    let got = [a(1, 1, 1), watermark(1, 5), watermark(2, 6)];
    assert!(difference(per_key(EXACT), &expected, &got).is_none());
    let got = [a(1, 1, 1), watermark(2, 6), watermark(1, 5)];
    assert!(difference(per_key(EXACT), &expected, &got).is_some());
}

#[test]
fn rows_without_a_key_keep_their_order_at_greater_parallelism() {
    let plain = |v: i64| row(3, "main", 9, json!({"v": v}));
    let rule = Rule { per_key: true, ..EXACT };
    assert!(difference(rule, &[plain(1), plain(2)], &[plain(2), plain(1)]).is_some());
    let ranking = |end: i64| row(3, "main", end + 1, json!({"end": end, "top": []}));
    assert!(difference(rule, &[ranking(1), ranking(2)], &[ranking(2), ranking(1)]).is_none());
}

#[test]
fn a_difference_says_where_and_what() {
    let found = difference(EXACT, &[a(0, 1, 1), a(1, 2, 2)], &[a(0, 1, 1)]).unwrap();
    assert_eq!(
        found.to_string(),
        r#"out main row 1: expected @1 {"key":"a","v":2} ts 2 | got nothing"#
    );
}
