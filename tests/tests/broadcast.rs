//! Broadcast process functions, with and without keys, step by step on every shell.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use thalweg::Error;
use thalweg::prelude::*;
use thalweg::state::StateError;
use thalweg::testing::{self, OutputEvent, TestDriver, TestDriverBuilder};
use thalweg_tests::{On, matrix};

matrix![
    rules_are_seen_from_then_on,
    timers_read_rules_and_wait_for_both_watermarks,
    all_keys_are_visited_once_and_may_be_cleared,
    every_subtask_sees_every_rule_in_order,
    unkeyed_records_meet_rules,
    keyed_state_without_a_key_is_refused,
    failures_of_the_broadcast_side_name_it,
];

/// Key, value, and when to report by timer (0 for never).
type Event = (String, i64, i64);

#[thalweg::record]
#[derive(Clone, Debug)]
enum Rule {
    Put(String, i64),
    Remove(String),
    Count,
    Forget(String),
}

/// Says which thresholds a value exceeds; timers say all rules.
#[derive(Clone, Default)]
struct Thresholds {
    rules: BroadcastState<String, i64>,
    removals: BroadcastState<String, u64>,
    seen: ValueState<u64>,
    values: ListState<i64>,
}

impl KeyedBroadcastProcessFunction for Thresholds {
    type Key = String;
    type In = Event;
    type Broadcast = Rule;
    type Out = String;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.rules = context.broadcast_state(MapStateDescriptor::new("rules"))?;
        self.removals = context.broadcast_state(MapStateDescriptor::new("removals"))?;
        self.seen = context.value_state(ValueStateDescriptor::new("seen"))?;
        self.values = context.list_state(ListStateDescriptor::new("values"))?;
        Ok(())
    }
    fn process_element(
        &mut self,
        (key, value, timer): Event,
        context: &mut KeyedReadOnlyContext<'_, String>,
        out: &mut Collector<'_, String>,
    ) -> thalweg::Result<()> {
        assert_eq!(context.current_key(), &key);
        self.seen.modify(context, |n| *n += 1)?;
        self.values.add(context, value)?;
        if timer > 0 {
            context.timer_service().register_event_time_timer(timer);
            context.timer_service().register_processing_time_timer(timer);
        }
        self.rules.for_each(context, |name, threshold| {
            if value > *threshold {
                out.collect(format!("{key}: {value} > {name} {threshold}"));
            }
        })?;
        Ok(())
    }
    fn process_broadcast_element(
        &mut self,
        rule: Rule,
        context: &mut KeyedBroadcastContext<'_, String>,
        out: &mut Collector<'_, String>,
    ) -> thalweg::Result<()> {
        match rule {
            Rule::Put(name, threshold) => self.rules.put(context, name, threshold)?,
            Rule::Remove(name) => {
                self.rules.remove(context, &name)?;
                self.removals.modify(context, &name, |n| *n += 1)?;
            }
            Rule::Count => context.apply_to_keyed_state(&self.seen, |key, row| {
                let sum: i64 = self.values.get(row)?.iter().sum();
                out.collect(format!("{key}: {} of {sum}", self.seen.value(row)?.unwrap_or(0)));
                Ok(())
            })?,
            Rule::Forget(prefix) => context.apply_to_keyed_state(&self.seen, |key, row| {
                if key.starts_with(&prefix) {
                    self.seen.clear(row)?;
                    self.values.clear(row)?;
                }
                Ok(())
            })?,
        }
        Ok(())
    }
    fn on_timer(
        &mut self,
        at: i64,
        context: &mut OnTimerReadOnlyContext<'_, String>,
        out: &mut Collector<'_, String>,
    ) -> thalweg::Result<()> {
        assert_eq!(context.timestamp(), Some(at));
        let rules = self.rules.entries(context)?;
        let (key, domain) = (context.current_key(), context.time_domain());
        let (watermark, now) = (context.current_watermark(), context.current_processing_time());
        out.collect(format!("{key} at {at} by {domain:?} of {watermark}, {now}: {rules:?}"));
        Ok(())
    }
}

fn driver(on: On) -> TestDriverBuilder {
    TestDriver::builder().shell(on.shell).parallelism(on.parallelism)
}

fn keyed(on: On) -> TestDriver {
    let build = |env: &StreamExecutionEnvironment| {
        let events = env.from_source(testing::input::<Event>(), "events");
        let rules = env.from_source(testing::input::<Rule>(), "rules").set_parallelism(1);
        events
            .key_by_ref(|event| &event.0)
            .connect_broadcast(rules.broadcast())
            .process(Thresholds::default())
            .sink_to(testing::output())
            .name("told");
    };
    driver(on).build(build).unwrap()
}

fn event(key: &str, value: i64) -> Event {
    (key.to_owned(), value, 0)
}

fn put(name: &str, threshold: i64) -> Rule {
    Rule::Put(name.to_owned(), threshold)
}

fn told(test: &mut TestDriver) -> Vec<String> {
    assert!(test.failure().is_none(), "{:?}", test.failure());
    test.outputs::<String>("told")
}

fn rules_are_seen_from_then_on(on: On) {
    let mut test = keyed(on);
    test.pipe_at("events", [(1, event("a", 5))]);
    test.pipe_at("rules", [(1, put("r2", 4)), (1, put("r1", 3))]);
    assert!(told(&mut test).is_empty());
    test.pipe_at("events", [(2, event("a", 5)), (3, event("b", 4))]);
    // In the order in which the rules were first put.
    assert_eq!(told(&mut test), ["a: 5 > r2 4", "a: 5 > r1 3", "b: 4 > r1 3"]);
    test.pipe("rules", [Rule::Remove("r2".to_owned()), put("r1", 9), put("r2", 1)]);
    test.pipe_at("events", [(7, event("b", 10))]);
    let row = |value: &str| OutputEvent::Record { value: value.to_owned(), timestamp_ms: Some(7) };
    let events = test.events::<String>("told");
    assert_eq!(events, [row("b: 10 > r1 9"), row("b: 10 > r2 1")]);
}

fn timers_read_rules_and_wait_for_both_watermarks(on: On) {
    let mut test = keyed(on);
    test.pipe("rules", [put("r1", 3)]);
    test.pipe_at("events", [(1, ("a".to_owned(), 1_i64, 10_i64))]);
    test.watermark("events", 20);
    test.pipe("rules", [put("r2", 7)]);
    test.watermark("rules", 9);
    assert!(told(&mut test).is_empty());
    test.watermark("rules", 10);
    let both = r#"[("r1", 3), ("r2", 7)]"#;
    assert_eq!(told(&mut test), [format!("a at 10 by EventTime of 10, 0: {both}")]);
    test.set_clock_ms(15);
    let fired = test.events::<String>("told");
    let value = format!("a at 10 by ProcessingTime of 10, 15: {both}");
    let records = fired.into_iter().filter(|event| matches!(event, OutputEvent::Record { .. }));
    let records: Vec<_> = records.collect();
    assert_eq!(records, [OutputEvent::Record { value, timestamp_ms: None }]);
}

fn all_keys_are_visited_once_and_may_be_cleared(on: On) {
    let mut test = keyed(on);
    let keys: Vec<String> = (0..50).map(|n| format!("{}{n}", ["a", "b"][n % 2])).collect();
    test.pipe("events", keys.iter().flat_map(|key| [event(key, 2), event(key, 3)]));
    test.pipe("rules", [Rule::Count]);
    let count = |test: &mut TestDriver| {
        let rows = told(test);
        let set: BTreeSet<String> = rows.iter().cloned().collect();
        assert_eq!(set.len(), rows.len(), "each key is visited once");
        set
    };
    let all: BTreeSet<_> = keys.iter().map(|key| format!("{key}: 2 of 5")).collect();
    assert_eq!(count(&mut test), all);
    test.pipe("rules", [Rule::Forget("a".to_owned()), Rule::Count]);
    let only_b: BTreeSet<_> = all.iter().filter(|row| row.starts_with('b')).cloned().collect();
    assert_eq!(count(&mut test), only_b);
    // What was forgotten begins anew.
    test.pipe("events", [event("a0", 7)]);
    test.pipe("rules", [Rule::Count]);
    let mut again = only_b;
    again.insert("a0: 1 of 7".to_owned());
    assert_eq!(count(&mut test), again);
}

/// Tells its subtask, and what it has, at each record and at each broadcast one; odd numbers go to the side output.
#[derive(Clone)]
struct Copies {
    subtask: usize,
    numbers: BroadcastState<i64, i64>,
    seen: OperatorListState<i64>,
    odd: OutputTag<(usize, i64)>,
}

impl Copies {
    fn new(odd: &OutputTag<(usize, i64)>) -> Self {
        let (numbers, seen) = (BroadcastState::default(), OperatorListState::default());
        Copies { subtask: 0, numbers, seen, odd: odd.clone() }
    }
}

impl BroadcastProcessFunction for Copies {
    type In = i64;
    type Broadcast = i64;
    type Out = (usize, Vec<i64>);
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.subtask = context.subtask_index();
        self.numbers = context.broadcast_state(MapStateDescriptor::new("numbers"))?;
        self.seen = context.operator_list_state(ListStateDescriptor::new("seen"))?;
        Ok(())
    }
    fn process_element(
        &mut self,
        n: i64,
        context: &mut ReadOnlyContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> thalweg::Result<()> {
        let copy = self.numbers.keys(context)?;
        assert_eq!(copy, self.seen.get(context)?);
        if n % 2 == 0 {
            out.collect((self.subtask, copy));
        } else {
            context.output(&self.odd, (self.subtask, n));
        }
        Ok(())
    }
    fn process_broadcast_element(
        &mut self,
        n: i64,
        context: &mut ProcessContext<'_>,
        _: &mut Collector<'_, Self::Out>,
    ) -> thalweg::Result<()> {
        self.numbers.put(context, n, context.timestamp().unwrap_or(-1))?;
        self.seen.add(context, n)?;
        Ok(())
    }
}

/// With a parallelism of the operator's own, too: the exchange in front of it follows.
fn every_subtask_sees_every_rule_in_order(on: On) {
    for parallelism in 1..=4 {
        let odd = OutputTag::new("odd");
        let mut test = driver(on)
            .build(|env| {
                let events = env.from_source(testing::input::<i64>(), "events").set_parallelism(1);
                let rules = env.from_source(testing::input::<i64>(), "rules").set_parallelism(1);
                let copies = events
                    .connect_broadcast(rules.broadcast())
                    .process(Copies::new(&odd))
                    .set_parallelism(parallelism);
                copies.side_output(&odd).sink_to(testing::output()).name("odd");
                copies.sink_to(testing::output()).name("copies");
            })
            .unwrap();
        let rules: Vec<i64> = (0..100).map(|n| n * 7919 % 101).collect();
        test.pipe("rules", rules.clone());
        test.pipe("events", [0_i64; 8]);
        test.pipe("events", [1_i64; 8]);
        assert!(test.failure().is_none(), "{:?}", test.failure());
        let copies = test.outputs::<(usize, Vec<i64>)>("copies");
        assert!(copies.iter().all(|(_, copy)| *copy == rules));
        // Events are dealt out in turn, so all subtasks have answered.
        let subtasks: BTreeSet<usize> = copies.iter().map(|(subtask, _)| *subtask).collect();
        assert_eq!((copies.len(), subtasks), (8, (0..parallelism).collect()));
        assert_eq!(test.outputs::<(usize, i64)>("odd").len(), 8);
    }
}

fn unkeyed_records_meet_rules(on: On) {
    // The same without steps: with all rules there before the first event, as a channel makes sure.
    let env = on.env();
    let (input, events) = source::channel(16);
    let (rule_input, rules) = source::channel(16);
    let (sink, mut output) = sink::channel(64);
    let odd = OutputTag::new("odd");
    let rules = env.from_source(rules, "rules").broadcast();
    env.from_source(events, "events")
        .connect_broadcast(rules)
        .process(Copies::new(&odd))
        .sink_to(sink);
    let job = env.execute_async("meet").unwrap();
    (0..10).for_each(|n| rule_input.blocking_send(n).unwrap());
    drop(rule_input);
    let mut complete = 0;
    while complete < 10 {
        input.blocking_send(0).unwrap();
        let (_, copy) = output.blocking_recv().unwrap();
        // Whatever part has come is a beginning of the whole.
        assert!(copy.iter().copied().eq(0..copy.len() as i64), "{copy:?}");
        complete += usize::from(copy.len() == 10);
    }
    drop(input);
    job.wait().unwrap();
}

/// What a function does wrong with the broadcast side.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    ReadsKeyed,
    WritesKeyed,
    SetsTimer,
    VisitsUnopened,
    VisitFails,
    Panics,
}

#[derive(Clone)]
struct Misuse {
    wrong: Wrong,
    count: ValueState<u64>,
}

impl KeyedBroadcastProcessFunction for Misuse {
    type Key = i64;
    type In = i64;
    type Broadcast = i64;
    type Out = i64;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.count = context.value_state(ValueStateDescriptor::new("count"))?;
        Ok(())
    }
    fn process_element(
        &mut self,
        _: i64,
        context: &mut KeyedReadOnlyContext<'_, i64>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        self.count.update(context, 1)?;
        Ok(())
    }
    fn process_broadcast_element(
        &mut self,
        n: i64,
        context: &mut KeyedBroadcastContext<'_, i64>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        if n < 2 {
            return Ok(());
        }
        match self.wrong {
            Wrong::ReadsKeyed => drop(self.count.value(context)?),
            Wrong::WritesKeyed => self.count.update(context, 1)?,
            Wrong::SetsTimer => context.timer_service().register_event_time_timer(1)?,
            Wrong::VisitsUnopened => {
                context.apply_to_keyed_state(&ListState::<u64>::default(), |_, _| Ok(()))?;
            }
            Wrong::VisitFails => {
                context.apply_to_keyed_state(&self.count, |key, _| {
                    Err(format!("no more of {key}").into())
                })?;
            }
            Wrong::Panics => panic!("enough"),
        }
        Ok(())
    }
}

fn misuse(on: On, wrong: Wrong) -> thalweg::JobFailure {
    let build = |env: &StreamExecutionEnvironment| {
        let events = env.from_source(testing::input::<i64>(), "events");
        let rules = env.from_source(testing::input::<i64>(), "rules").set_parallelism(1);
        let streams = events.key_by(|n| *n).connect_broadcast(rules.broadcast());
        let function = Misuse { wrong, count: ValueState::default() };
        streams.process(function).name("wrong").sink_to(testing::output()).name("out");
    };
    let mut test = driver(on).build(build).unwrap();
    test.pipe("events", 0..20_i64);
    test.pipe("rules", [1_i64, 1, 2]);
    test.failure().expect("misuse fails the job")
}

fn keyed_state_without_a_key_is_refused(on: On) {
    for wrong in [Wrong::ReadsKeyed, Wrong::WritesKeyed] {
        let failure = misuse(on, wrong);
        assert_eq!(failure.operator, "wrong");
        let cause = failure.cause.as_deref().unwrap().downcast_ref::<StateError>().unwrap();
        let StateError::NoKeyContext { state, operator } = cause else { panic!("{cause}") };
        assert_eq!((&**state, &**operator), ("count", "wrong"));
    }
    let failure = misuse(on, Wrong::SetsTimer);
    let cause = failure.cause.as_deref().unwrap().downcast_ref::<ContextError>();
    assert!(matches!(cause, Some(ContextError::TimerWithoutKey { .. })), "{failure}");
    let failure = misuse(on, Wrong::VisitsUnopened);
    let cause = failure.cause.as_deref().unwrap().downcast_ref::<StateError>();
    assert!(matches!(cause, Some(StateError::HandleNotOpened { .. })), "{failure}");
}

fn failures_of_the_broadcast_side_name_it(on: On) {
    for (wrong, said, panicked) in
        [(Wrong::VisitFails, "no more of ", false), (Wrong::Panics, "enough", true)]
    {
        let failure = misuse(on, wrong);
        assert_eq!((failure.operator.as_str(), failure.panicked), ("wrong", panicked));
        assert_eq!(failure.parallelism, on.parallelism);
        // The third broadcast record, behind what the subtask had of the twenty events.
        assert!((3..=23).contains(&failure.record), "{failure}");
        assert!(failure.message.contains(said), "{failure}");
    }
}

/// The order in which keys are visited is the same in every run, and so is all else.
#[test]
fn runs_are_equal() {
    let run = |seed| {
        let build = |env: &StreamExecutionEnvironment| {
            let events = env.from_source(testing::input::<Event>(), "events");
            let rules = env.from_source(testing::input::<Rule>(), "rules").set_parallelism(1);
            events
                .key_by_ref(|event| &event.0)
                .connect_broadcast(rules.broadcast())
                .process(Thresholds::default())
                .sink_to(testing::output())
                .name("told");
        };
        let mut test = TestDriver::builder().parallelism(3).seed(seed).build(build).unwrap();
        test.pipe("events", (0..200).map(|n| event(&format!("k{}", n % 37), n)));
        test.pipe("rules", [Rule::Count, put("x", 150), Rule::Forget("k1".into()), Rule::Count]);
        test.pipe("events", (0..200).map(|n| event(&format!("k{}", n % 41), n)));
        told(&mut test)
    };
    let first = run(1);
    assert_eq!(first.len(), 37 + 26 + 49);
    assert_eq!(first, run(1));
    // Another seed may change the order between subtasks, not that within one: compare by key.
    let by_key = |rows: Vec<String>| {
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in rows {
            let key = row.split(':').next().unwrap().to_owned();
            keys.entry(key).or_default().push(row);
        }
        keys
    };
    assert_eq!(by_key(first), by_key(run(2)));
}

#[test]
fn a_second_stream_that_is_not_broadcast_is_a_mistake() {
    let env = StreamExecutionEnvironment::new();
    let rules = || env.from_elements([1i64]);
    let odd = OutputTag::new("odd");
    let first = env.from_elements([1i64]).connect_broadcast(rules().name("rules"));
    let _ = first.process(Copies::new(&odd)).collect();
    let late = env.from_elements([1i64]).connect_broadcast(rules().broadcast().map(|n| n));
    let _ = late.process(Copies::new(&odd)).collect();
    let right = env.from_elements([1i64]).connect_broadcast(rules().broadcast());
    right.map(|n| n, |n| n).print();
    let Err(Error::Plan(mistakes)) = env.execute("mistakes") else { panic!("refused") };
    let said = mistakes.to_string();
    assert_eq!(said.matches("is not broadcast: each subtask would see a part of it").count(), 2);
    assert!(said.contains("takes 'rules' as its second stream"), "{said}");
    assert!(said.contains("call broadcast() on it, after all other operators"), "{said}");
    assert!(said.contains("broadcast.rs:"), "names the line: {said}");
}

/// One broadcast stream for two operators has one parallelism; two of them are refused instead of dealing rules out.
#[test]
fn operators_that_share_a_broadcast_stream_share_its_parallelism() {
    let run = |first: usize, second: usize| {
        let env = StreamExecutionEnvironment::new();
        env.configure(|c| c.parallelism(2));
        let rules = env.from_elements([1i64, 2, 3]).broadcast();
        let odd = OutputTag::new("odd");
        let mut sinks = Vec::new();
        for (rules, parallelism) in [(rules.clone(), first), (rules, second)] {
            let streams = env.from_elements([0i64]).connect_broadcast(rules);
            let copies = streams.process(Copies::new(&odd)).set_parallelism(parallelism);
            sinks.push(copies.collect());
        }
        env.execute("shared")
            .map(|_| sinks.iter().map(|sink| sink.take().len()).collect::<Vec<_>>())
    };
    assert_eq!(run(3, 3).unwrap(), [1, 1]);
    let Err(Error::Plan(mistakes)) = run(3, 4) else { panic!("refused") };
    let said = mistakes.to_string();
    assert!(said.contains("forward from 'broadcast' needs equal parallelism"), "{said}");
}

/// Operator lists in functions with one input, with and without keys.
#[derive(Clone, Default)]
struct Buffer {
    buffered: OperatorListState<i64>,
    all: OperatorListState<i64>,
}

impl Buffer {
    fn register(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.buffered = context.operator_list_state(ListStateDescriptor::new("buffered"))?;
        self.all = context.union_list_state(ListStateDescriptor::new("all"))?;
        Ok(())
    }
}

impl ProcessFunction for Buffer {
    type In = i64;
    type Out = Vec<i64>;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.register(context)
    }
    fn process_element(
        &mut self,
        n: i64,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Vec<i64>>,
    ) -> thalweg::Result<()> {
        self.buffered.add(context, n)?;
        self.all.add(context, n)?;
        if self.buffered.len(context)? == 3 {
            out.collect(self.buffered.take(context)?);
            out.collect(self.all.get(context)?);
        }
        Ok(())
    }
}

impl KeyedProcessFunction for Buffer {
    type Key = i64;
    type In = i64;
    type Out = Vec<i64>;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.register(context)
    }
    fn process_element(
        &mut self,
        n: i64,
        context: &mut Context<'_, i64>,
        _: &mut Collector<'_, Vec<i64>>,
    ) -> thalweg::Result<()> {
        self.buffered.add(context, n)?;
        context.timer_service().register_event_time_timer(100);
        Ok(())
    }
    fn on_timer(
        &mut self,
        _: i64,
        context: &mut OnTimerContext<'_, i64>,
        out: &mut Collector<'_, Vec<i64>>,
    ) -> thalweg::Result<()> {
        let buffered = self.buffered.take(context)?;
        if !buffered.is_empty() {
            out.collect(buffered);
        }
        Ok(())
    }
}

#[test]
fn process_functions_keep_lists_of_their_operator() {
    fn unkeyed(numbers: DataStream<i64, impl Chain<i64>>) -> DataStream<Vec<i64>> {
        numbers.process(Buffer::default()).boxed()
    }
    let mut test = TestDriver::new(|env| {
        let numbers = env.from_source(testing::input::<i64>(), "numbers").boxed();
        unkeyed(numbers.clone()).sink_to(testing::output()).name("threes");
        let keyed = numbers.key_by(|n| n % 2);
        KeyedStream::process(keyed, Buffer::default()).sink_to(testing::output()).name("keyed");
    });
    test.pipe("numbers", 1..=7_i64);
    let threes = test.outputs::<Vec<i64>>("threes");
    assert_eq!(threes, [vec![1, 2, 3], vec![1, 2, 3], vec![4, 5, 6], vec![1, 2, 3, 4, 5, 6]]);
    test.watermark("numbers", 100);
    // The list is the operator's: the timer of either key finds that of both.
    assert_eq!(test.outputs::<Vec<i64>>("keyed"), [vec![1, 2, 3, 4, 5, 6, 7]]);
}
