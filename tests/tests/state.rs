//! Keyed state of all kinds in a job, its time to live under a clock that the test moves, and what is said of wrong uses.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use thalweg::prelude::*;
use thalweg::testing::{self, TestDriver};

/// What to do to a state, or to ask it.
#[thalweg::record]
#[derive(Clone, Debug)]
enum Ask {
    SetValue(u64),
    Value,
    AddToList(u64),
    UpdateList(Vec<u64>),
    List,
    Put(String, u64),
    Get(String),
    Contains(String),
    IncrementAll(u64),
    RemoveGreater(u64),
    IsEmpty,
    Entries,
    Reduce(u64),
    Reduced,
    Aggregate(u64),
    Aggregated,
}

use Ask::*;

/// Accumulates count and sum, and gives both.
#[derive(Clone)]
struct CountAndSum;

impl AggregateFunction<u64> for CountAndSum {
    type Accumulator = (u64, u64);
    type Result = (u64, u64);
    fn create_accumulator(&self) -> (u64, u64) {
        (0, 0)
    }
    fn add(&self, accumulator: &mut (u64, u64), value: &u64) {
        accumulator.0 += 1;
        accumulator.1 += value;
    }
    fn result(&self, accumulator: &(u64, u64)) -> (u64, u64) {
        *accumulator
    }
    fn merge(&self, into: &mut (u64, u64), other: &(u64, u64)) {
        into.0 += other.0;
        into.1 += other.1;
    }
}

/// Does what it is asked, and tells what it is asked for.
#[derive(Clone, Default)]
struct Answer {
    ttl: Option<StateTtl>,
    value: ValueState<u64>,
    list: ListState<u64>,
    map: MapState<String, u64>,
    reducing: ReducingState<u64>,
    aggregating: AggregatingState<u64, (u64, u64), (u64, u64)>,
}

/// A descriptor with the function's TTL.
macro_rules! expiring {
    ($ttl:expr, $descriptor:expr) => {
        match $ttl {
            Some(ttl) => $descriptor.with_ttl(ttl),
            None => $descriptor,
        }
    };
}

impl KeyedProcessFunction for Answer {
    type Key = String;
    type In = (String, Ask);
    type Out = String;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        let ttl = self.ttl;
        self.value = context.value_state(expiring!(ttl, ValueStateDescriptor::new("value")))?;
        self.list = context.list_state(expiring!(ttl, ListStateDescriptor::new("list")))?;
        self.map = context.map_state(expiring!(ttl, MapStateDescriptor::new("map")))?;
        let sum = ReducingStateDescriptor::new("sum", |sum: &mut u64, value| *sum += value);
        self.reducing = context.reducing_state(expiring!(ttl, sum))?;
        let mean = AggregatingStateDescriptor::new("count and sum", CountAndSum);
        self.aggregating = context.aggregating_state(expiring!(ttl, mean))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        (_, ask): (String, Ask),
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, String>,
    ) -> thalweg::Result<()> {
        let answer = match ask {
            SetValue(value) => return Ok(self.value.update(context, value)?),
            AddToList(value) => return Ok(self.list.add(context, value)?),
            UpdateList(values) => return Ok(self.list.update(context, values)?),
            Put(key, value) => return Ok(self.map.put(context, key, value)?),
            IncrementAll(by) => {
                return Ok(self.map.for_each_mut(context, |_, value| *value += by)?);
            }
            RemoveGreater(than) => {
                return Ok(self.map.retain(context, |_, value| *value <= than)?);
            }
            Reduce(value) => return Ok(self.reducing.add(context, value)?),
            Aggregate(value) => return Ok(self.aggregating.add(context, value)?),
            Value => format!("{:?}", self.value.value(context)?),
            List => format!("{:?}", self.list.get(context)?),
            Get(key) => format!("{:?}", self.map.get(context, &key)?),
            Contains(key) => format!("{:?}", self.map.contains(context, &key)?),
            IsEmpty => format!("{:?}", self.map.is_empty(context)?),
            Entries => {
                let mut entries = self.map.entries(context)?;
                entries.sort();
                format!("{entries:?}")
            }
            Reduced => format!("{:?}", self.reducing.get(context)?),
            Aggregated => format!("{:?}", self.aggregating.get(context)?),
        };
        out.collect(answer);
        Ok(())
    }
}

/// A moment and what is asked then.
type Moment = (i64, Vec<Ask>);

/// Asks key `a` at each moment, and tells the answers by moment.
fn ask(ttl: Option<StateTtl>, moments: Vec<Moment>) -> Vec<Vec<String>> {
    let mut test = TestDriver::new(|env| {
        env.from_source(testing::input::<(String, Ask)>(), "in")
            .key_by(|(key, _)| key.clone())
            .process(Answer { ttl, ..Answer::default() })
            .sink_to(testing::output())
            .name("answers");
    });
    let mut answers = Vec::new();
    for (now_ms, asked) in moments {
        test.set_clock_ms(now_ms);
        test.pipe("in", asked.into_iter().map(|ask| ("a".to_owned(), ask)));
        answers.push(test.outputs::<String>("answers"));
    }
    assert!(test.failure().is_none(), "{:?}", test.failure());
    answers
}

/// Checks the answers of all moments that have some.
#[track_caller]
fn check(ttl: Option<StateTtl>, moments: Vec<Moment>, expected: &[&[&str]]) {
    let answers = ask(ttl, moments);
    let answers: Vec<_> = answers.iter().filter(|answers| !answers.is_empty()).collect();
    assert_eq!(answers, expected);
}

#[test]
fn states_of_all_kinds() {
    let x = || "x".to_owned();
    let moments = vec![
        (0, vec![Value, List, IsEmpty, Get(x()), Reduced, Aggregated]),
        (1, vec![SetValue(3), AddToList(1), AddToList(2), Put(x(), 5), Put("y".into(), 50)]),
        (2, vec![Reduce(5), Reduce(7), Aggregate(5), Aggregate(7), IncrementAll(1)]),
        (3, vec![Value, List, Entries, Reduced, Aggregated, RemoveGreater(50), Entries, IsEmpty]),
        (4, vec![UpdateList(vec![]), List, RemoveGreater(0), IsEmpty]),
    ];
    let full = r#"[("x", 6), ("y", 51)]"#;
    let expected: [&[&str]; 3] = [
        &["None", "[]", "true", "None", "None", "None"],
        &["Some(3)", "[1, 2]", full, "Some(12)", "Some((2, 12))", r#"[("x", 6)]"#, "false"],
        &["[]", "true"],
    ];
    check(None, moments, &expected);
}

#[test]
fn values_expire_at_the_very_millisecond() {
    let ttl = StateTtl::after(milliseconds(100));
    let moments = |times: [i64; 4]| {
        let reads = times.into_iter().map(|at| (at, vec![Value]));
        [(0, vec![SetValue(1)])].into_iter().chain(reads).collect::<Vec<_>>()
    };
    check(
        Some(ttl),
        moments([50, 99, 100, 101]),
        &[&["Some(1)"], &["Some(1)"], &["None"], &["None"]],
    );
    let on_read = ttl.update(TtlUpdate::OnReadAndWrite);
    let expected: [&[&str]; 4] = [&["Some(1)"], &["Some(1)"], &["Some(1)"], &["None"]];
    check(Some(on_read), moments([90, 189, 288, 388]), &expected);
    let once = ttl.visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp);
    let moments = vec![(0, vec![SetValue(1)]), (500, vec![Value, Value])];
    check(Some(once), moments, &[&["Some(1)", "None"]]);
}

#[test]
fn elements_and_entries_expire_one_by_one() {
    let ttl = StateTtl::after(milliseconds(100));
    let (x, y) = ("x".to_owned(), "y".to_owned());
    let moments = vec![
        (0, vec![AddToList(1), Put(x.clone(), 1)]),
        (50, vec![AddToList(2), Put(y, 2)]),
        (120, vec![List, Get(x.clone()), Contains(x), Entries]),
        (150, vec![IsEmpty, Entries, IsEmpty, List]),
    ];
    let expected: [&[&str]; 2] =
        [&["[2]", "None", "false", r#"[("y", 2)]"#], &["false", "[]", "true", "[]"]];
    check(Some(ttl), moments, &expected);
}

#[test]
fn folds_begin_anew_or_go_on_from_what_expired() {
    let ttl = StateTtl::after(milliseconds(100));
    let once = ttl.visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp);
    for (ttl, reduced, aggregated) in
        [(ttl, "Some(1)", "Some((1, 1))"), (once, "Some(6)", "Some((2, 6))")]
    {
        let moments = vec![
            (0, vec![Reduce(5), Aggregate(5)]),
            (100, vec![Reduce(1), Aggregate(1), Reduced, Aggregated]),
        ];
        check(Some(ttl), moments, &[&[reduced, aggregated]]);
    }
}

/// What `open` says, as a function of an operator on a keyed stream.
fn open_error(open: fn(&mut RuntimeContext<'_>) -> thalweg::Result<()>) -> String {
    #[derive(Clone)]
    struct Open(fn(&mut RuntimeContext<'_>) -> thalweg::Result<()>);
    impl KeyedProcessFunction for Open {
        type Key = u64;
        type In = u64;
        type Out = u64;
        fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
            (self.0)(context)
        }
        fn process_element(
            &mut self,
            _: u64,
            _: &mut Context<'_, u64>,
            _: &mut Collector<'_, u64>,
        ) -> thalweg::Result<()> {
            Ok(())
        }
    }
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(1);
    let _ = env.from_elements([1]).key_by(|n| *n).process(Open(open)).name("opener").collect();
    env.execute("open").unwrap_err().to_string()
}

#[test]
fn wrong_descriptors_fail_the_job_by_name() {
    let error = open_error(|context| {
        let ttl = StateTtl::after(milliseconds(0));
        context.value_state(ValueStateDescriptor::<u64>::new("last").with_ttl(ttl))?;
        Ok(())
    });
    assert!(error.contains("state 'last' of operator 'opener' has a TTL of 0 ms"), "{error}");
    let error = open_error(|context| {
        context.list_state(ListStateDescriptor::<u64>::new("last"))?;
        context.reducing_state(ReducingStateDescriptor::<u64>::new("last", |a, b| *a += b))?;
        Ok(())
    });
    let both =
        "registered as ListState<u64> by operator 'opener' and asked for as ReducingState<u64>";
    assert!(error.contains(both), "{error}");
}

/// A map has no keys.
#[derive(Clone)]
struct Unkeyed;

impl MapFunction for Unkeyed {
    type In = u64;
    type Out = u64;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        context.reducing_state(ReducingStateDescriptor::<u64>::new("sum", |a, b| *a += b))?;
        Ok(())
    }
    fn map(&mut self, n: u64) -> thalweg::Result<u64> {
        Ok(n)
    }
}

/// A sink has no context to use operator state with.
#[derive(Clone)]
struct Stateful;

impl Sink<u64> for Stateful {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        context.broadcast_state(MapStateDescriptor::<u64, u64>::new("rules"))?;
        Ok(())
    }
    fn write(&mut self, _: u64, _: i64) -> thalweg::Result<()> {
        Ok(())
    }
}

#[test]
fn state_where_there_is_none_fails_the_job_by_name() {
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(1);
    let _ = env.from_elements([1]).map_with(Unkeyed).name("stateful").collect();
    let error = env.execute("keyed state").unwrap_err().to_string();
    let expected =
        "state 'sum' was asked for by operator 'stateful', which is not on a keyed stream";
    assert!(error.contains(expected), "{error}");
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(1);
    env.from_elements([1]).sink_to(Stateful).name("stateful");
    let error = env.execute("operator state").unwrap_err().to_string();
    let expected = "operator state 'rules' was asked for by operator 'stateful', whose function is given no context";
    assert!(error.contains(expected), "{error}");
}
