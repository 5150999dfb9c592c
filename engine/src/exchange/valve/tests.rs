use super::*;
use crate::record::StreamStatus;
use Control::{Barrier, End, Status, Watermark};
use StreamStatus::{Active, Idle};

mod model;

fn barrier(number: u64) -> Control {
    Barrier(crate::record::Barrier::periodic(crate::record::CheckpointId(number)))
}

fn run(mut valve: Valve, script: &[(usize, Control)], expected: &[Control]) {
    let mut seen = Vec::new();
    for &(input, control) in script {
        valve.on(input, control, |c| seen.push(c));
    }
    assert_eq!(seen, expected);
}

fn check(inputs: usize, script: &[(usize, Control)], expected: &[Control]) {
    run(Valve::new(inputs), script, expected);
}

/// One input on each side.
fn check_connect(script: &[(usize, Control)], expected: &[Control]) {
    run(Valve::of_two_sides(1, 1), script, expected);
}

#[test]
fn the_minimum_goes_on_and_never_falls() {
    check(1, &[(0, Watermark(5)), (0, Watermark(5)), (0, Watermark(3))], &[Watermark(5)]);
    check(
        2,
        &[(0, Watermark(5)), (1, Watermark(3)), (1, Watermark(9))],
        &[Watermark(3), Watermark(5)],
    );
}

#[test]
fn what_stands_is_what_was_let_through() {
    for valve in [Valve::new(2), Valve::of_two_sides(1, 1)] {
        let mut valve = valve;
        let mut expect = |script: &[(usize, Control)], expected: &[Control]| {
            script.iter().for_each(|&(input, control)| valve.on(input, control, |_| ()));
            let mut other = Valve::over(2, Merge::One(MergedInputs::new(2)));
            if let Merge::Two(_) = valve.merge {
                other = Valve::of_two_sides(1, 1);
            }
            other.restore(&[valve.snapshot()], Some(0));
            for valve in [&valve, &other] {
                assert_eq!(valve.standing().collect::<Vec<_>>(), expected);
            }
        };
        expect(&[], &[]);
        expect(&[(0, Watermark(5))], &[]);
        expect(&[(1, Watermark(3))], &[Watermark(3)]);
        expect(&[(1, Status(Idle))], &[Watermark(5)]);
        expect(&[(0, Status(Idle))], &[Watermark(5), Status(Idle)]);
        expect(&[(1, Status(Active)), (1, Watermark(7))], &[Watermark(7)]);
    }
}

#[test]
fn an_idle_input_leaves_the_minimum() {
    check(2, &[(0, Watermark(5)), (1, Status(Idle))], &[Watermark(5)]);
    check(
        2,
        &[(0, Watermark(5)), (1, Watermark(7)), (0, Status(Idle)), (1, Status(Idle))],
        &[Watermark(5), Watermark(7), Status(Idle)],
    );
}

#[test]
fn watermarks_of_an_idle_input_are_ignored() {
    check(
        2,
        &[(1, Status(Idle)), (1, Watermark(9)), (0, Watermark(4)), (1, Status(Active))],
        &[Watermark(4)],
    );
    check(1, &[(0, Status(Idle)), (0, Watermark(i64::MAX))], &[Status(Idle)]);
}

#[test]
fn the_last_to_go_idle_flushes_the_maximum() {
    check(
        2,
        &[(0, Watermark(9)), (0, Status(Idle)), (1, Watermark(4)), (1, Status(Idle))],
        &[Watermark(4), Watermark(9), Status(Idle)],
    );
}

#[test]
fn the_last_to_go_idle_flushes_nothing_if_it_was_behind_the_output() {
    // Flink 2.3 flushes only when the last active input held the output.
    check(
        3,
        &[
            (2, Watermark(20)),
            (1, Watermark(4)),
            (0, Watermark(3)),
            (2, Status(Idle)),
            (1, Status(Idle)),
            (0, Watermark(10)),
            (1, Status(Active)),
            (0, Status(Idle)),
            (1, Status(Idle)),
        ],
        &[Watermark(3), Watermark(10), Status(Idle)],
    );
}

#[test]
fn an_input_that_comes_back_behind_stays_out_until_it_catches_up() {
    check(
        2,
        &[
            (0, Watermark(1)),
            (0, Status(Idle)),
            (1, Watermark(10)),
            (0, Status(Active)),
            (1, Watermark(12)),
            (0, Watermark(11)),
            (0, Watermark(13)),
            (1, Watermark(20)),
        ],
        &[Watermark(10), Watermark(12), Watermark(13)],
    );
}

#[test]
fn the_first_to_come_back_says_active() {
    check(
        2,
        &[(0, Status(Idle)), (1, Status(Idle)), (1, Status(Active)), (0, Status(Active))],
        &[Status(Idle), Status(Active)],
    );
}

#[test]
fn the_end_of_one_input_is_the_highest_watermark() {
    check(
        2,
        &[(0, Watermark(5)), (1, Watermark(i64::MAX)), (1, End), (0, Watermark(7))],
        &[Watermark(5), Watermark(7)],
    );
    // Flink's wart: what has ended is not idle, and so alone determines the time when the rest is.
    check(
        2,
        &[(0, Watermark(5)), (1, Watermark(i64::MAX)), (1, End), (0, Status(Idle))],
        &[Watermark(5), Watermark(i64::MAX)],
    );
}

#[test]
fn a_connect_takes_the_minimum_of_its_sides() {
    check_connect(
        &[(0, Watermark(5)), (1, Watermark(3)), (1, Watermark(9)), (0, Watermark(4))],
        &[Watermark(3), Watermark(5)],
    );
}

#[test]
fn an_idle_side_of_a_connect_leaves_the_minimum() {
    check_connect(
        &[
            (0, Watermark(5)),
            (1, Watermark(3)),
            (1, Status(Idle)),
            (0, Watermark(7)),
            (0, Status(Idle)),
            (0, Status(Active)),
            (0, Watermark(8)),
            (1, Status(Active)),
            (1, Watermark(9)),
        ],
        &[Watermark(3), Watermark(5), Watermark(7), Status(Idle), Status(Active), Watermark(8)],
    );
}

#[test]
fn a_side_of_a_connect_that_comes_back_behind_holds_the_time() {
    let script = [
        (0, Watermark(10)),
        (1, Status(Idle)),
        (1, Status(Active)),
        (1, Watermark(4)),
        (0, Watermark(12)),
        (1, Watermark(11)),
        (0, Watermark(14)),
        (1, Watermark(13)),
    ];
    check_connect(&script, &[Watermark(10), Watermark(11), Watermark(13)]);
    // A union goes on without it.
    check(2, &script, &[Watermark(10), Watermark(12), Watermark(14)]);
}

#[test]
fn the_second_side_to_go_idle_flushes_the_maximum() {
    check_connect(
        &[(0, Watermark(9)), (0, Status(Idle)), (1, Watermark(4)), (1, Status(Idle))],
        &[Watermark(4), Watermark(9), Status(Idle)],
    );
}

#[test]
fn a_side_without_inputs_does_not_hold_the_other() {
    run(Valve::of_two_sides(1, 0), &[(0, Watermark(5)), (0, End)], &[Watermark(5), End]);
}

#[test]
fn unions_on_the_sides_of_a_connect_merge_first() {
    // (0 u 1) connect (2 u 3)
    run(
        Valve::of_two_sides(2, 2),
        &[
            (0, Watermark(5)),
            (1, Watermark(8)),
            (2, Watermark(6)),
            (3, Status(Idle)),
            (0, Status(Idle)),
            (1, Status(Idle)),
            (2, Watermark(20)),
            (0, Status(Active)),
            (0, Watermark(9)),
            (2, Status(Idle)),
            (3, Status(Active)),
        ],
        // 5; side 0 is 8 after its first input went idle, side 1 is 6; side 0 idle; 20; then side 0 is back at 8.
        &[Watermark(5), Watermark(6), Watermark(20)],
    );
}

#[test]
fn barriers_align_and_newer_ones_win() {
    let (b1, b2) = (barrier(1), barrier(2));
    check(2, &[(0, b1), (1, b1)], &[b1]);
    check(2, &[(0, b1), (1, b2), (0, b2), (1, b1)], &[b2]);
    check(2, &[(0, b1), (1, End), (0, End)], &[b1, End]);
    check_connect(&[(1, b1), (0, b1), (0, End), (1, End)], &[b1, End]);
    let mut valve = Valve::new(2);
    valve.on(0, b1, |_| panic!("not complete"));
    assert!(valve.is_held(0) && !valve.is_held(1));
    valve.on(1, b1, |_| {});
    assert!(!valve.is_held(0) && !valve.is_held(1));
}

#[test]
fn without_alignment_no_input_waits() {
    let (b1, b2) = (barrier(1), barrier(2));
    let mut valve = Valve::new(2);
    valve.never_hold();
    let mut seen = Vec::new();
    for (input, control) in [(0, b1), (0, Watermark(1)), (0, b2), (1, b1), (1, b2)] {
        valve.on(input, control, |c| seen.push(c));
        assert!(!valve.is_held(0) && !valve.is_held(1));
    }
    assert_eq!(seen, [b2], "a newer one gives the older one up");
}

#[test]
fn the_end_comes_once_when_all_have_ended() {
    check(3, &[(1, End), (0, End), (2, End)], &[End]);
    check_connect(&[(1, End), (0, End)], &[End]);
}
