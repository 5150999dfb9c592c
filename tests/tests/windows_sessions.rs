//! Sessions against a plain model, and the specialised operator against the general one: the same rows, the same late records,
//! the same number of them, at any parallelism.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use thalweg::prelude::*;
use thalweg_tests::{On, Random, matrix};

matrix![
    sessions_answer_as_the_model,
    sessions_with_functions_and_evictors_answer_as_the_model,
    dynamic_gaps_answer_as_the_model,
    a_gap_of_zero_fails_the_job_at_its_record,
];

/// A record, and the watermark behind it, if any.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    key: u32,
    at: i64,
    gap: i64,
    value: i64,
    watermark: Option<i64>,
}

#[derive(Clone, Debug)]
struct Case {
    steps: Vec<Step>,
    lateness: i64,
}

impl Case {
    /// Few keys, so that sessions meet; time goes on by fits and starts; records lag behind it, some far.
    fn random(seed: u64, is_dynamic: bool) -> Self {
        let mut random = Random::new(seed);
        let gap = random.between(1, 40);
        let (count, keys) = (random.between(50, 500), random.between(1, 8) as u64);
        let lateness = if random.once_in(2) { 0 } else { random.between(1, 80) };
        let mut now = random.between(-500, 100);
        let mut step = |value| {
            now += match random.below(25) {
                0 => random.between(50, 2_500),
                _ => random.between(0, 12),
            };
            let lag = match random.below(8) {
                0 => random.between(0, 200),
                _ => random.between(0, 25),
            };
            let watermark = random.once_in(6).then(|| now - random.between(0, 30));
            let gap = if is_dynamic { random.between(1, 40) } else { gap };
            Step { key: random.below(keys) as u32, at: now - lag, gap, value, watermark }
        };
        Case { steps: (0..count).map(&mut step).collect(), lateness }
    }

    fn gap(&self) -> i64 {
        self.steps[0].gap
    }
}

/// Key, start and end of the session, sorted values.
type Row = (u32, i64, i64, Vec<i64>);

#[derive(Clone)]
struct Open {
    key: u32,
    start: i64,
    end: i64,
    values: Vec<i64>,
}

impl Open {
    fn row(&self) -> Row {
        let mut values = self.values.clone();
        values.sort_unstable();
        (self.key, self.start, self.end, values)
    }
}

/// What sessions should give: rows, and the records that come too late.
fn model(case: &Case) -> (Vec<Row>, Vec<Step>) {
    let (mut open, mut rows, mut late) = (Vec::<Open>::new(), Vec::new(), Vec::new());
    let mut watermark = i64::MIN;
    for step in &case.steps {
        let (mut start, mut end, mut values) = (step.at, step.at + step.gap, vec![]);
        let mut touching = Vec::new();
        open.retain(|session| {
            let touches = session.key == step.key && session.start <= end && start <= session.end;
            if touches {
                touching.push(session.clone());
            }
            !touches
        });
        let is_alone = touching.is_empty();
        for session in touching {
            (start, end) = (start.min(session.start), end.max(session.end));
            values.extend(session.values);
        }
        if is_alone && end - 1 + case.lateness <= watermark {
            late.push(*step);
        } else {
            values.push(step.value);
            let session = Open { key: step.key, start, end, values };
            if end - 1 <= watermark {
                rows.push(session.row());
            }
            open.push(session);
        }
        let next = step.watermark.map_or(watermark, |new| new.max(watermark));
        let fires = |session: &&Open| session.end - 1 > watermark && session.end - 1 <= next;
        rows.extend(open.iter().filter(fires).map(Open::row));
        open.retain(|session| session.end - 1 + case.lateness > next);
        watermark = next;
    }
    rows.extend(open.iter().filter(|session| session.end - 1 > watermark).map(Open::row));
    rows.sort();
    late.sort();
    (rows, late)
}

/// All values, sorted.
#[derive(Clone)]
struct Values;
impl AggregateFunction<Step> for Values {
    type Accumulator = Vec<i64>;
    type Result = Vec<i64>;
    fn create_accumulator(&self) -> Vec<i64> {
        Vec::new()
    }
    fn add(&self, accumulator: &mut Vec<i64>, step: &Step) {
        accumulator.push(step.value);
    }
    fn result(&self, accumulator: &Vec<i64>) -> Vec<i64> {
        let mut values = accumulator.clone();
        values.sort_unstable();
        values
    }
    fn merge(&self, into: &mut Vec<i64>, other: &Vec<i64>) {
        into.extend(other);
    }
}

/// The same over all elements.
#[derive(Clone)]
struct AllValues;
impl ProcessWindowFunction for AllValues {
    type Key = u32;
    type In = Step;
    type Out = Row;
    type Window = TimeWindow;
    fn process(
        &mut self,
        key: &u32,
        context: &mut WindowContext<'_, TimeWindow>,
        elements: &[Step],
        out: &mut Collector<'_, Row>,
    ) -> thalweg::Result<()> {
        let mut values: Vec<i64> = elements.iter().map(|step| step.value).collect();
        values.sort_unstable();
        out.collect((*key, context.window().start(), context.window().end(), values));
        Ok(())
    }
}

fn keyed(
    env: &StreamExecutionEnvironment,
    case: &Case,
) -> KeyedStream<Step, impl KeySelector<Step, Key = u32> + use<>> {
    let strategy = WatermarkStrategy::punctuated(|step: &Step, _| step.watermark);
    env.from_elements(case.steps.clone())
        .assign_timestamps_and_watermarks(strategy.with_timestamp(|step: &Step| step.at))
        .key_by(|step| step.key)
}

/// Rows, late records, and how many the metrics say were late.
type Answer = (Vec<Row>, Vec<Step>, u64);

fn expected(case: &Case) -> Answer {
    let (rows, late) = model(case);
    let count = late.len() as u64;
    (rows, late, count)
}

/// Runs the job that `cut` makes of the keyed stream.
fn answer<C: Chain<Row>>(
    env: &StreamExecutionEnvironment,
    tag: &OutputTag<Step>,
    results: DataStream<Row, C>,
) -> Answer {
    let late = results.side_output(tag).collect();
    let rows = results.collect();
    let job = env.execute("sessions").unwrap();
    let operators = job.metrics.vertices.iter().flat_map(|vertex| &vertex.operators);
    let late_by = operators.filter_map(|operator| operator.histograms.get("late_by_ms"));
    let counted = late_by.map(|histogram| histogram.count).sum();
    (rows.take_sorted(), late.take_sorted(), counted)
}

fn sessions_answer_as_the_model(on: On) {
    let row = |key: &u32, window: TimeWindow, values, out: &mut Collector<'_, Row>| {
        out.collect((*key, window.start(), window.end(), values));
    };
    for seed in 0..25 {
        let case = Case::random(seed, false);
        let expected = expected(&case);
        let tag = OutputTag::new("late");
        let gap = EventTimeSessionWindows::with_gap(milliseconds(case.gap() as u64));
        let about = format!("seed {seed}, gap {}, lateness {}", case.gap(), case.lateness);
        let env = on.env();
        let specialised = keyed(&env, &case)
            .window(gap)
            .allowed_lateness_ms(case.lateness)
            .side_output_late_data(&tag)
            .aggregate_with(Values, row);
        assert_eq!(answer(&env, &tag, specialised), expected, "specialised, {about}");
        let env = on.env();
        let general = keyed(&env, &case)
            .window(gap)
            .trigger(EventTimeTrigger)
            .allowed_lateness_ms(case.lateness)
            .side_output_late_data(&tag)
            .aggregate_with(Values, row);
        assert_eq!(answer(&env, &tag, general), expected, "general, {about}");
    }
}

fn sessions_with_functions_and_evictors_answer_as_the_model(on: On) {
    for seed in 100..106 {
        let case = Case::random(seed, false);
        let expected = expected(&case);
        let tag = OutputTag::new("late");
        let gap = EventTimeSessionWindows::with_gap(milliseconds(case.gap() as u64));
        let env = on.env();
        let all = keyed(&env, &case)
            .window(gap)
            .allowed_lateness_ms(case.lateness)
            .side_output_late_data(&tag)
            .process(AllValues);
        assert_eq!(answer(&env, &tag, all), expected, "seed {seed}");
        let env = on.env();
        let evicting = keyed(&env, &case)
            .window(gap)
            .evictor(CountEvictor::of(1_000_000))
            .allowed_lateness_ms(case.lateness)
            .side_output_late_data(&tag)
            .process(AllValues);
        assert_eq!(answer(&env, &tag, evicting), expected, "seed {seed}");
    }
}

fn dynamic_gaps_answer_as_the_model(on: On) {
    for seed in 200..212 {
        let case = Case::random(seed, true);
        let tag = OutputTag::new("late");
        let env = on.env();
        let all = keyed(&env, &case)
            .window(EventTimeSessionWindows::with_dynamic_gap(|step: &Step| step.gap))
            .allowed_lateness_ms(case.lateness)
            .side_output_late_data(&tag)
            .process(AllValues);
        assert_eq!(answer(&env, &tag, all), expected(&case), "seed {seed}");
    }
}

fn a_gap_of_zero_fails_the_job_at_its_record(on: On) {
    let step = |at, gap| Step { key: 1, at, gap, value: 0, watermark: None };
    let case = Case { steps: vec![step(1, 5), step(2, 0), step(3, 5)], lateness: 0 };
    let env = on.env();
    let _rows = keyed(&env, &case)
        .window(EventTimeSessionWindows::with_dynamic_gap(|step: &Step| step.gap))
        .process(AllValues)
        .name("sessions")
        .collect();
    let error = env.execute("zero").unwrap_err().to_string();
    assert!(error.contains("'sessions'") && error.contains("at record 2 of its input"), "{error}");
    assert!(error.contains("the dynamic gap of the record's session is 0 ms"), "{error}");
}
