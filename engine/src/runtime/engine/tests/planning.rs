//! What is refused before anything runs, and what explain shows.

use super::super::test_jobs::{Numbers, Seen};
use super::*;
use crate::graph::PlanErrorCause;

#[test]
fn a_parallelism_above_the_slots_names_both() {
    let env = threads(8);
    env.configure(|c| c.slots(4));
    env.from_source(Numbers(Some(1)), "numbers").for_each(|_| ());
    let expected = "parallelism 8 needs 8 slots, the engine has 4; \
                    lower the parallelism or give the engine more slots";
    assert_eq!(env.explain(ExplainFormat::Text).unwrap_err().to_string(), expected);
    assert_eq!(env.execute("wide").unwrap_err().to_string(), expected);

    let engine = engine(1);
    let refused = engine.submit("wide", |env| {
        env.set_parallelism(2);
        env.from_source(Numbers(Some(1)), "numbers").for_each(|_| ());
    });
    assert!(matches!(refused, Err(Error::Slots(_))));
}

#[test]
fn all_mistakes_of_a_plan_come_at_once() {
    let env = threads(1);
    let used = env.from_source(Numbers(Some(1)), "used").uid("same").boxed();
    used.clone().map(|n| n).uid("same").for_each(|_| ());
    let _unconnected = used.map(|n| n).name("unconnected");
    env.from_source(Numbers(Some(1)), "none").set_parallelism(0).for_each(|_| ());
    env.set_parallelism(0);
    let Error::Plan(errors) = env.execute("wrong").unwrap_err() else { panic!("a plan error") };
    let has = |cause: fn(&PlanErrorCause) -> bool| errors.0.iter().any(|error| cause(&error.cause));
    assert!(has(|c| matches!(c, PlanErrorCause::ParallelismZero)), "{errors}");
    assert!(has(|c| matches!(c, PlanErrorCause::RecordsGoNowhere)), "{errors}");
    assert!(has(|c| matches!(c, PlanErrorCause::DuplicateUid { .. })), "{errors}");
    let text = errors.to_string();
    assert!(text.contains("environment: parallelism is 0") && text.contains("'none'"), "{text}");
    // The environment is empty again, and a parallelism that is right replaces the wrong one.
    env.set_parallelism(1);
    let empty = env.execute("empty").unwrap_err().to_string();
    assert!(empty.contains("it is empty; add a source and a sink"), "{empty}");
}

#[test]
fn mistakes_noted_while_writing_join_the_plans_own() {
    use crate::api::plan_builder::Mistake;
    let env = threads(1);
    env.from_source(Numbers(Some(1)), "numbers").set_parallelism(0).for_each(|_| ());
    let (node, message) = (Some(crate::graph::NodeId(0)), "it is odd; make it even".to_owned());
    let location = std::panic::Location::caller();
    env.plan.with(|plan| plan.mistakes.push(Mistake { node, message, location }));
    let text = env.execute("wrong").unwrap_err().to_string();
    assert!(text.contains("parallelism is 0"), "{text}");
    assert!(text.contains("'numbers'") && text.contains("it is odd; make it even"), "{text}");
}

#[test]
fn a_sink_that_is_still_being_named_is_a_mistake() {
    let env = threads(1);
    let sink = env.from_source(Numbers(Some(1)), "numbers").for_each(|_| ());
    let text = env.execute("early").unwrap_err().to_string();
    assert!(text.contains("the stream has not ended yet"), "{text}");
    std::mem::forget(sink);
}

#[test]
fn options_of_the_engine_are_refused_in_its_jobs() {
    let engine = engine(1);
    let refused = engine.submit("greedy", |env| {
        env.configure(|c| c.slots(64));
        env.from_source(Numbers(Some(1)), "numbers").for_each(|_| ());
    });
    let text = refused.unwrap_err().to_string();
    assert!(text.starts_with("'slots' (code at ") && text.contains("Engine::builder()"), "{text}");
}

#[test]
fn wrong_settings_are_all_told() {
    let env = StreamExecutionEnvironment::new();
    env.configure(|c| c.page_bytes(3).pages_in_flight(0));
    env.from_source(Numbers(Some(1)), "numbers").for_each(|_| ());
    let text = env.execute("wrong").unwrap_err().to_string();
    assert!(text.contains("page_bytes") && text.contains("pages_in_flight"), "{text}");
}

#[test]
fn explain_shows_all_graphs_in_three_formats() {
    let (env, seen) = (threads(2), Seen::default());
    let numbers = env.from_source(Numbers(Some(10)), "numbers").set_parallelism(1);
    numbers.rebalance().sink_to(seen.clone()).name("seen");
    let text = env.explain(ExplainFormat::Text).unwrap();
    assert!(text.contains("numbers") && text.contains("seen") && text.contains("core"), "{text}");
    let dot = env.explain(ExplainFormat::Dot).unwrap();
    assert_eq!(dot.matches("digraph").count(), 4, "{dot}");
    let json = env.explain(ExplainFormat::Json).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json.is_object());
    // Nothing has run, and the plan is still there.
    assert_eq!(seen.both().0, 0);
    let job = env.execute_async("explained").unwrap();
    job.wait().unwrap();
    assert_eq!(seen.both(), (10, 45));
    let text = job.explain(ExplainFormat::Text);
    assert!(text.contains("explained") && text.contains("FINISHED"), "{text}");

    let engine = engine(1);
    let env = engine.environment();
    env.from_source(Numbers(Some(10)), "numbers").for_each(|_| ());
    assert!(env.explain(ExplainFormat::Text).unwrap().contains("numbers"));
}

#[test]
fn settings_resolve_layer_by_layer_down_to_the_operator() {
    let mut builder = ConfigurationBuilder::new();
    builder.read_file(std::path::Path::new("job.toml"), "parallelism = 2\nseed = 5");
    builder.read_environment([("THALWEG_PARALLELISM", "3"), ("THALWEG_SEED", "6")]);
    let declared = crate::config::DeclaredArguments::new("");
    builder.read_command_line(["job", "-p", "4"], &declared).unwrap();
    let env = StreamExecutionEnvironment::with_configuration(builder.build().unwrap());
    let settings = env.configuration().unwrap();
    assert_eq!((settings.parallelism(), settings.seed()), (4, 6));
    env.set_parallelism(5).set_max_parallelism(64).set_profile(Profile::Latency);
    let settings = env.configuration().unwrap();
    assert_eq!((settings.parallelism(), settings.profile()), (5, Profile::Latency));
    env.from_source(Numbers(Some(1)), "numbers").set_parallelism(1).for_each(|_| ());
    let submission = env.explain(ExplainFormat::Json).unwrap();
    let widths = |width: usize| submission.matches(&format!("\"parallelism\":{width}")).count();
    assert!(widths(1) > 0 && widths(5) > 0, "{submission}");
}

#[test]
fn a_configuration_file_is_read_as_text() {
    use crate::api::environment::read_file;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("job.toml");
    std::fs::write(&path, "seed = 3\n").unwrap();
    assert_eq!(read_file(&path).unwrap(), "seed = 3\n");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(read_file(&path).is_err());
    std::fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(read_file(&path).unwrap_err().to_string().contains("at most 1 MiB"));
    assert!(read_file(&directory.path().join("absent.toml")).is_err());
}
