//! The whole conformance corpus, and more random cases, in every combination of shell, parallelism and evaluation of
//! windows, with state in memory and in an LSM store that keeps next to nothing in memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::sink;
use thalweg::config::{ShellKind, StateBackend};
use thalweg_tests::conformance::{
    Report, Restarts, Setup, Shell, Verdict, case_files, corpus, more, run_files,
};

/// What is not built yet.
const NOT_BUILT: [&str; 2] = ["cep", "sql"];
/// Cases that cannot be restarted before each step.
const TIMEOUTS: usize = 6;
/// Cases of the kinds that are.
const CASES_MIN: usize = 300;

#[track_caller]
fn corpus_passes(setup: Setup) {
    let files = case_files(&[corpus(), more()]).unwrap();
    let report = run_files(&files, setup, |_, _| {}, &mut sink()).unwrap();
    let failures: Vec<_> =
        report.failures.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert!(report.is_success(), "{setup:?}: {report}\n{}", failures.join("\n"));
    let mut skipped: BTreeMap<_, _> = report.skipped.clone();
    if setup.restarts == Restarts::BeforeEachStep {
        assert_eq!(skipped.remove("timeouts"), Some(TIMEOUTS), "{report}");
    }
    assert!(skipped.into_keys().eq(NOT_BUILT), "{report}");
    assert!(report.passed >= CASES_MIN, "{report}");
}

const THREADS: Shell = Shell::Production(ShellKind::Threads);
const GLOMMIO: Shell = Shell::Production(ShellKind::Glommio);

macro_rules! combinations {
    ($($name:ident: $shell:expr, $parallelism:literal, $is_per_pane:literal, $backend:ident, $restarts:ident;)*) => {
        $(#[test]
        fn $name() {
            corpus_passes(Setup {
                shell: $shell,
                parallelism: $parallelism,
                is_per_pane: $is_per_pane,
                backend: StateBackend::$backend,
                restarts: Restarts::$restarts,
                seed: 1,
            });
        })*
    };
}

combinations! {
    seeded_1_sliced: Shell::Seeded, 1, false, Memory, AsTheCaseSays;
    seeded_1_pane: Shell::Seeded, 1, true, Memory, AsTheCaseSays;
    seeded_4_sliced: Shell::Seeded, 4, false, Memory, AsTheCaseSays;
    seeded_4_pane: Shell::Seeded, 4, true, Memory, AsTheCaseSays;
    threads_1_sliced: THREADS, 1, false, Memory, AsTheCaseSays;
    threads_1_pane: THREADS, 1, true, Memory, AsTheCaseSays;
    threads_4_sliced: THREADS, 4, false, Memory, AsTheCaseSays;
    threads_4_pane: THREADS, 4, true, Memory, AsTheCaseSays;
    glommio_1_sliced: GLOMMIO, 1, false, Memory, AsTheCaseSays;
    glommio_1_pane: GLOMMIO, 1, true, Memory, AsTheCaseSays;
    glommio_4_sliced: GLOMMIO, 4, false, Memory, AsTheCaseSays;
    glommio_4_pane: GLOMMIO, 4, true, Memory, AsTheCaseSays;
    seeded_1_sliced_lsm: Shell::Seeded, 1, false, Lsm, AsTheCaseSays;
    seeded_1_pane_lsm: Shell::Seeded, 1, true, Lsm, AsTheCaseSays;
    seeded_4_sliced_lsm: Shell::Seeded, 4, false, Lsm, AsTheCaseSays;
    seeded_4_pane_lsm: Shell::Seeded, 4, true, Lsm, AsTheCaseSays;
    threads_4_pane_lsm: THREADS, 4, true, Lsm, AsTheCaseSays;
    glommio_1_pane_lsm: GLOMMIO, 1, true, Lsm, AsTheCaseSays;
    glommio_4_pane_lsm: GLOMMIO, 4, true, Lsm, AsTheCaseSays;
    seeded_1_sliced_restarted: Shell::Seeded, 1, false, Memory, BeforeEachStep;
    seeded_1_pane_restarted_lsm: Shell::Seeded, 1, true, Lsm, BeforeEachStep;
    seeded_4_pane_restarted: Shell::Seeded, 4, true, Memory, BeforeEachStep;
    seeded_4_sliced_restarted_lsm: Shell::Seeded, 4, false, Lsm, BeforeEachStep;
    threads_4_sliced_restarted_lsm: THREADS, 4, false, Lsm, BeforeEachStep;
    glommio_4_sliced_restarted_lsm: GLOMMIO, 4, false, Lsm, BeforeEachStep;
}

/// Writes `text` as a case and runs it.
fn report_of(text: &str) -> (Report, Vec<Verdict>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("case.json");
    std::fs::write(&file, text).unwrap();
    let setup = Setup::default();
    let mut verdicts = Vec::new();
    let tell = |_: &str, verdict: &Verdict| verdicts.push(verdict.clone());
    let report = run_files(&[file], setup, tell, &mut sink()).unwrap();
    (report, verdicts)
}

/// A rolling sum of 1 and 2.
fn case(second: i64, quirk: &str) -> String {
    format!(
        r#"{{"name": "x", "area": "x", "kind": "rolling", "description": "", "job": {{"op": "sum"}}, "ordered": true, {quirk}
        "input": [{{"event": {{"key": "a", "v": 1}}}}, {{"event": {{"key": "a", "v": 2}}}}],
        "expected": [{{"at": 0, "out": "main", "ts": null, "value": {{"key": "a", "v": 1, "s": null, "u": 0}}}},
                     {{"at": 1, "out": "main", "ts": null, "value": {{"key": "a", "v": {second}, "s": null, "u": 0}}}}]}}"#
    )
}

#[test]
fn a_wrong_answer_is_told() {
    assert_eq!(report_of(&case(3, "")).1, [Verdict::Passed]);
    let (report, verdicts) = report_of(&case(4, ""));
    assert_eq!(report.to_string(), "0 passed, 1 failed, 0 skipped");
    let Verdict::Failed(why) = &verdicts[0] else { panic!("{verdicts:?}") };
    assert_eq!(
        why,
        "out main row 1: expected @1 {\"key\":\"a\",\"s\":null,\"u\":0,\"v\":4} ts none \
         | got @1 {\"key\":\"a\",\"s\":null,\"u\":0,\"v\":3} ts none"
    );
}

#[test]
fn quirks_are_counted_apart() {
    let (report, verdicts) = report_of(&case(4, r#""quirk": "a wart","#));
    assert!(report.is_success());
    assert_eq!(report.to_string(), "0 passed, 0 failed, 0 skipped (1 differ from a quirk)");
    assert!(matches!(verdicts[..], [Verdict::DiffersFromQuirk(_)]));
}

#[test]
fn a_file_that_is_no_case_fails() {
    let (report, verdicts) = report_of(&case(3, r#""colour": 1,"#));
    assert_eq!(report.failures.len(), 1);
    let Verdict::Failed(why) = &verdicts[0] else { panic!("{verdicts:?}") };
    assert!(
        why.contains("case.json: line 1, column ") && why.contains("unknown field `colour`"),
        "{why}"
    );
}

#[test]
fn a_job_that_fails_is_a_failed_case() {
    let timer = r#"["et_reg_rel", 5]"#;
    let text = format!(
        r#"{{"name": "x", "area": "x", "kind": "process", "description": "", "job": {{}}, "ordered": true, "expected": [],
        "input": [{{"event": {{"key": "a", "cmds": [{timer}]}}}}]}}"#
    );
    let (_, verdicts) = report_of(&text);
    let Verdict::Failed(why) = &verdicts[0] else { panic!("{verdicts:?}") };
    assert!(why.contains("the job fails at step 0"), "{why}");
    assert!(why.contains("et_reg_rel in an event without a timestamp"), "{why}");
}
