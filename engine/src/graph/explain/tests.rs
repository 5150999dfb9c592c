use super::*;
use crate::graph::test_plan::{PlanBuilder, allocate_round_robin, linear, with_parallelism};
use crate::graph::transformation::NodeId;
use crate::graph::{PlanSettings, StreamGraph};
use serde_json::{Value, json};

fn explain(plan: &PlanBuilder, settings: &PlanSettings, cores: usize) -> Explain {
    let graph = StreamGraph::new(&plan.build(), settings).unwrap();
    let demand = JobGraph::new(&graph).slot_demand();
    Explain::new(graph, Some(&allocate_round_robin(&demand, cores))).unwrap()
}

fn named(parallelism: usize) -> PlanSettings {
    PlanSettings { job_name: "hot".to_owned(), ..with_parallelism(parallelism) }
}

/// The text without the lines' ends that name files and ids, which change with the code of the tests.
fn text(explain: &Explain, part: ExplainPart) -> String {
    let text = explain.render_part(part, ExplainFormat::Text);
    let cut = |line: &str| {
        let end = line.find(", at ").or(line.find(", id ")).unwrap_or(line.len());
        format!("{}\n", &line[..end])
    };
    text.lines().map(cut).collect()
}

#[test]
fn text_of_the_stream_graph() {
    let mut plan = linear();
    plan.node(NodeId(2)).uid = Some("counts".into());
    let late = plan.sink("late\nones", NodeId(2));
    plan.input(late, 0).side_output = Some("late".into());
    let expected = "\
stream graph of 'hot': 5 operators
  [0] Source: flights
      parallelism 2, max parallelism 128, slot sharing group 'default'
  [1] map
      parallelism 2, max parallelism 128, slot sharing group 'default'
      <- [0] Source: flights: FORWARD, fused
  [2] count
      parallelism 2, max parallelism 128, slot sharing group 'default', uid 'counts'
      <- [1] map: HASH
  [3] Sink: print
      parallelism 2, max parallelism 128, slot sharing group 'default'
      delivery: at-most-once: there are no checkpoints, so that after a failure nothing is read again
      <- [2] count: FORWARD
  [4] Sink: late ones
      parallelism 2, max parallelism 128, slot sharing group 'default'
      delivery: at-most-once: there are no checkpoints, so that after a failure nothing is read again
      <- [2] count (side output 'late'): FORWARD
";
    assert_eq!(text(&explain(&plan, &named(2), 2), ExplainPart::StreamGraph), expected);
}

#[test]
fn text_of_the_job_graph() {
    let expected = "\
job graph of 'hot': 2 vertices, needs 1 slot
  vertex 0: Source: flights -> map
      parallelism 1, max parallelism 128, slot sharing group 'default'
  vertex 1: count -> Sink: print
      parallelism 1, max parallelism 128, slot sharing group 'default'
      <- vertex 0, edge 0 from map: HASH over 128 key groups, 1 x 1, no exchange: chained across key_by
";
    assert_eq!(text(&explain(&linear(), &named(1), 1), ExplainPart::JobGraph), expected);
    let wide = text(&explain(&linear(), &named(4), 1), ExplainPart::JobGraph);
    assert!(wide.ends_with("HASH over 128 key groups, 4 x 4, own slot by value\n"), "{wide}");
}

#[test]
fn text_of_the_execution_graph() {
    let expected = "\
execution graph of 'hot': CREATED
  vertex 0: Source: flights -> map
      CREATED: subtask 0, 1
  vertex 1: count -> Sink: print
      CREATED: subtask 0, 1
      <- vertex 0, edge 0: ALL_TO_ALL
";
    assert_eq!(text(&explain(&linear(), &named(2), 2), ExplainPart::ExecutionGraph), expected);
}

#[test]
fn text_of_the_physical_graph() {
    let expected = "\
physical graph of 'hot': 3 tasks in 3 slots on 2 cores
  core 0
    slot 0, 64 MiB
      task 0, subtask 0 of 3: Source: flights -> map => count -> Sink: print
    slot 2, 64 MiB
      task 2, subtask 2 of 3: Source: flights -> map => count -> Sink: print
  core 1
    slot 1, 64 MiB
      task 1, subtask 1 of 3: Source: flights -> map => count -> Sink: print
  edge 0, map -> count: HASH, 3 nested + 2 local + 4 ring
  edge 1, count -> Sink: print: FORWARD, 3 nested, no exchange: chained
";
    assert_eq!(text(&explain(&linear(), &named(3), 2), ExplainPart::PhysicalGraph), expected);
    let alone = text(&explain(&linear(), &named(1), 1), ExplainPart::PhysicalGraph);
    assert!(alone.contains("HASH, 1 nested, no exchange: chained across key_by\n"), "{alone}");
}

#[test]
fn without_slots_there_is_no_physical_graph() {
    let graph = StreamGraph::new(&linear().build(), &named(2)).unwrap();
    let explain = Explain::new(graph, None).unwrap();
    assert!(explain.render(ExplainFormat::Text).ends_with("not placed, the job has no slots\n"));
    assert_eq!(explain.render_part(ExplainPart::PhysicalGraph, ExplainFormat::Json), "null");
    check_dot(&explain.render(ExplainFormat::Dot), 4);
}

fn parsed(explain: &Explain, part: ExplainPart) -> Value {
    serde_json::from_str(&explain.render_part(part, ExplainFormat::Json)).unwrap()
}

#[test]
fn json_of_the_stream_graph_is_flinks_plan() {
    let text =
        explain(&linear(), &named(2), 2).render_part(ExplainPart::StreamGraph, ExplainFormat::Json);
    let begin = concat!(
        r#"{"nodes":[{"id":0,"type":"Source: flights","pact":"Data Source","#,
        r#""contents":"Source: flights","parallelism":2,"max_parallelism":128,"#
    );
    assert!(text.starts_with(begin), "{text}");
    let plan: Value = serde_json::from_str(&text).unwrap();
    let count = &plan["nodes"][2];
    assert_eq!(count["pact"], "Operator");
    assert_eq!(
        count["predecessors"],
        json!([{"id": 1, "ship_strategy": "HASH", "side": "first", "fused": false, "side_output": null}])
    );
    assert_eq!(plan["nodes"][3]["pact"], "Data Sink");
    assert_eq!(plan["nodes"][0].get("predecessors"), None);
}

#[test]
fn json_names_the_second_side() {
    let mut plan = PlanBuilder::new();
    let (a, b) = (plan.source("a"), plan.source("b"));
    let both = plan.co_process(a, b);
    plan.sink("out", both);
    let graph = parsed(&explain(&plan, &named(1), 1), ExplainPart::StreamGraph);
    let sides: Vec<&Value> =
        graph["nodes"][2]["predecessors"].as_array().unwrap().iter().map(|p| &p["side"]).collect();
    assert_eq!(sides, ["first", "second"]);
}

#[test]
fn json_of_the_other_graphs() {
    let explain = explain(&linear(), &named(2), 2);
    let job = parsed(&explain, ExplainPart::JobGraph);
    assert_eq!(job["slots_needed"], 2);
    assert_eq!(job["vertices"][1]["operators"], json!([2, 3]));
    assert_eq!(
        job["stages"][1],
        json!({"index": 1, "head": 2, "nodes": [2], "vertex": 1, "root": 0, "nested_input": 0})
    );
    assert_eq!(
        job["edges"][0],
        json!({
            "id": 0, "from": 1, "to": 2, "from_vertex": 0, "to_vertex": 1, "port": 0,
            "side_output": null, "ship_strategy": "HASH", "producers": 2, "consumers": 2,
            "key_groups": 128, "nested": true, "exchange_free": false
        })
    );
    assert_eq!(
        parsed(&explain, ExplainPart::ExecutionGraph)["vertices"][0]["subtasks"][1],
        json!({"subtask": 1, "attempt": 0, "state": "CREATED"})
    );
    let physical = parsed(&explain, ExplainPart::PhysicalGraph);
    assert_eq!(
        physical["tasks"][1],
        json!({
            "task": 1, "root_stage": 0, "subtask": 1, "slot": 1, "core": 1,
            "stages": [0, 1, 2], "vertices": [0, 1]
        })
    );
    assert_eq!(physical["edges"][0]["links"].as_array().unwrap().len(), 4);
    let all: Value = serde_json::from_str(&explain.render(ExplainFormat::Json)).unwrap();
    assert_eq!(all["job"], "hot");
    assert_eq!(all["physical_graph"], physical);
    assert_eq!(all["job_graph"], job);
}

#[test]
fn dot_strings_are_escaped() {
    let cases = [
        ("plain", r#""plain""#),
        (r#"say "hi""#, r#""say \"hi\"""#),
        ("a\nb\r\nc\td", r#""a\nb\nc d""#),
        (r"back\slash\", r#""back\\slash\\""#),
        ("Vec<T> & {x|y}", r#""Vec&lt;T&gt; &amp; {x|y}""#),
    ];
    for (text, expected) in cases {
        assert_eq!(dot::quoted(text), expected);
    }
}

/// Reads DOT as its grammar has it, as far as quotes, braces and statements go.
fn check_dot(text: &str, graphs: usize) {
    let (mut depth, mut in_quotes, mut escaped, mut closed) = (0_i32, false, false, 0);
    for letter in text.chars() {
        assert!(!in_quotes || !letter.is_control(), "control character in a string: {text}");
        match (in_quotes, letter) {
            (true, _) if escaped => escaped = false,
            (true, '\\') => escaped = true,
            (_, '"') => in_quotes = !in_quotes,
            (true, '<' | '>') => panic!("angle bracket in a string: {text}"),
            (false, '{') => depth += 1,
            (false, '}') => {
                depth -= 1;
                closed += usize::from(depth == 0);
            }
            (false, letter) => assert!(
                letter.is_ascii_alphanumeric() || " \n_=;[],->".contains(letter),
                "{letter:?} outside of strings: {text}"
            ),
            _ => {}
        }
        assert!(depth >= 0);
    }
    assert_eq!((depth, in_quotes, closed), (0, false, graphs), "{text}");
}

#[test]
fn dot_survives_odd_names() {
    let mut plan = linear();
    for id in 0..4 {
        plan.node(NodeId(id)).name = Some("\"<b>\n\\\"} -> {\u{7}".into());
        plan.node(NodeId(id)).slot_sharing_group = Some("\"];".into());
    }
    let settings = PlanSettings { job_name: "\" { \\".into(), ..with_parallelism(3) };
    let explain = explain(&plan, &settings, 2);
    check_dot(&explain.render(ExplainFormat::Dot), 4);
    for part in ExplainPart::ALL {
        check_dot(&explain.render_part(part, ExplainFormat::Dot), 1);
    }
}

#[test]
fn dot_of_the_physical_graph_has_an_arrow_for_each_pair_of_tasks() {
    let dot = explain(&linear(), &named(2), 2)
        .render_part(ExplainPart::PhysicalGraph, ExplainFormat::Dot);
    assert!(dot.contains("t0 -> t1 [label=\"ring\"];"), "{dot}");
    assert!(dot.contains("subgraph cluster_slot1 { label=\"slot 1\";"), "{dot}");
    assert_eq!(dot.matches(" -> t").count(), 2, "{dot}");
}
