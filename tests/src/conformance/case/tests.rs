#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use serde_json::json;

/// A case of `kind` with one event.
fn text(kind: &str, job: &Value) -> String {
    with_input(kind, job, &json!([{"event": {"key": "a", "ts": 1, "v": 2}}]))
}

fn with_input(kind: &str, job: &Value, input: &Value) -> String {
    let case = json!({
        "name": "a/b", "area": "a", "kind": kind, "description": "", "job": job, "ordered": true,
        "input": input, "expected": [],
    });
    case.to_string()
}

fn load_text(text: &str) -> Result<Loaded, CaseError> {
    load(Path::new("dir/case.json"), text)
}

#[track_caller]
fn refused(text: &str) -> String {
    match load_text(text) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it should be refused: {text}"),
    }
}

#[track_caller]
fn check_refused(text: &str, message: &str) {
    let refused = refused(text);
    assert!(refused.contains(message), "{refused}\ndoes not say: {message}");
    assert!(refused.starts_with("dir/case.json: "), "{refused}");
}

#[test]
fn a_case_is_read() {
    let Loaded::Case(case) = load_text(&text("rolling", &json!({"op": "sum"}))).unwrap() else {
        panic!("skipped");
    };
    let event = Event { key: "a".into(), v: 2, s: None, u: 0, commands: Vec::new() };
    assert_eq!(case.steps, [Step::Event { input: 0, timestamp_ms: Some(1), event }]);
    assert_eq!((case.order, case.common), (Order::Exact, Common::default()));
}

#[test]
fn kinds_not_built_are_skipped() {
    for kind in ["cep", "sql"] {
        let Loaded::Skipped { reason, .. } = load_text(&text(kind, &json!({"x": 1}))).unwrap()
        else {
            panic!("not skipped");
        };
        assert_eq!(reason, kind);
    }
}

#[test]
fn restores_are_steps() {
    let load = |step| {
        load_text(&with_input("rolling", &json!({"op": "sum"}), &json!([step])))
            .map(|loaded| matches!(loaded, Loaded::Case(case) if case.steps == [Step::Restore]))
    };
    assert!(load(json!({"restore": true})).unwrap());
    assert!(load(json!({"restore": false})).unwrap_err().what.contains("a restore that is false"));
    let of_input = load(json!({"restore": true, "input": 0})).unwrap_err().what;
    assert!(of_input.contains("nor restore belongs to an input"), "{of_input}");
}

#[test]
fn malformed_files_name_the_place() {
    check_refused("{\n  \"name\": 1}", "line 2, column 11: invalid type: integer `1`");
    check_refused("{\n\n\"name\"", "line 3");
    let unknown = text("rolling", &json!({"op": "sum"})).replace("\"ordered\"", "\"sorted\"");
    check_refused(&unknown, "unknown field `sorted`");
}

#[test]
fn jobs_are_read_strictly() {
    check_refused(&text("rolling", &json!({"op": "sum", "size": 1})), "job: unknown field `size`");
    check_refused(&text("rolling", &json!({"op": "median"})), "job: unknown variant `median`");
    check_refused(&text("rolling", &json!({"op": "sum", "tie": "last"})), "job: tie");
    check_refused(&text("nothing", &json!({})), "job: unknown kind 'nothing'");
    check_refused(&text("side", &json!({"sum_of_side": "x"})), "window_ms");
    let job = json!({"on_timer": {"event": [["emit", 1], ["jump"]]}});
    check_refused(&text("process", &job), "on_timer.event[1]: unknown command 'jump'");
    check_refused(&text("connect", &json!({"mode": "co_map", "v": 1})), "unknown field `v`");
    let job = json!({"mode": "union", "inputs": 2, "strategies": [{"type": "monotonous"}]});
    check_refused(&text("watermark", &job), "1 strategies for 2 inputs");
    let job = json!({"op": "sum", "record_watermarks": 1});
    check_refused(&text("rolling", &job), "job: record_watermarks: invalid type");
}

#[test]
fn windows_are_read_strictly() {
    let window = |window: Value| text("window", &json!({"window": window, "function": "sum"}));
    check_refused(&window(json!({"type": "tumbling", "size_ms": 1, "slide_ms": 1})), "slide_ms");
    check_refused(&window(json!({"type": "tumbling"})), "size_ms");
    check_refused(&window(json!({"type": "hopping"})), "unknown variant `hopping`");
    let with = |field: &str, value: Value| {
        let window = json!({"type": "tumbling", "size_ms": 10});
        text("window", &json!({"window": window, "function": "sum", field: value}))
    };
    check_refused(&with("trigger", json!({"type": "count", "n": 1, "m": 1})), "unknown field `m`");
    check_refused(&with("trigger", json!({"type": "event_time", "n": 1})), "unknown field `n`");
    check_refused(&with("evictor", json!({"type": "count"})), "missing field `n`");
    check_refused(&with("function", json!("median")), "unknown variant `median`");
    check_refused(&with("lateness", json!(1)), "unknown field `lateness`");
}

#[test]
fn steps_are_read_strictly() {
    let input = |step: Value| with_input("rolling", &json!({"op": "sum"}), &json!([step]));
    check_refused(&input(json!({"evnt": {}})), "unknown field `evnt`");
    check_refused(&input(json!({"event": {"key": "a", "w": 1}})), "unknown field `w`");
    check_refused(
        &input(json!({"watermark": 1, "input": 1})),
        "input[0]: input 1 of a job that has 1",
    );
    check_refused(&input(json!({})), "input[0]: a step that does nothing");
    check_refused(&input(json!({"watermark": 1, "end": true})), "input[0]: two steps in one");
    check_refused(&input(json!({"results": [], "end": true})), "input[0]: results without");
    let event = json!({"event": {"key": "a", "cmds": [["emit", 1]]}});
    check_refused(&input(event), "input[0]: commands in an event");
}

#[test]
fn commands_are_read_strictly() {
    let command = |command: Value| {
        let event = json!([{"event": {"key": "a", "cmds": [["ctx"], command]}}]);
        with_input("process", &json!({}), &event)
    };
    check_refused(&command(json!(["et_reg"])), "input[0]: cmds[1]: et_reg wants a number");
    check_refused(&command(json!(["et_reg", 1, 2])), "et_reg takes no argument 2");
    check_refused(&command(json!(["map_put", 1, 2])), "map_put wants a string");
    check_refused(&command(json!(["value_jump"])), "unknown command 'value_jump'");
    check_refused(&command(json!("ctx")), "a command is a list");
    assert!(load_text(&command(json!(["pt_reg_rel", 5, null]))).is_ok());
    assert!(load_text(&command(json!(["map_put_all", {"x": 1}]))).is_ok());
}

#[test]
fn every_case_of_the_corpus_is_read_or_skipped() {
    let files = crate::conformance::case_files(&[crate::conformance::corpus()]).unwrap();
    let mut read = 0;
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        match load(file, &text) {
            Ok(Loaded::Case(case)) => {
                read += 1;
                // What is expected survives the way through the model.
                let document: Value = serde_json::from_str(&text).unwrap();
                let rows: Vec<_> = case.expected.iter().map(Row::to_json).collect();
                assert_eq!(document["expected"], json!(rows), "{}", file.display());
            }
            Ok(Loaded::Skipped { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(read > 150, "only {read} of {} files", files.len());
}
