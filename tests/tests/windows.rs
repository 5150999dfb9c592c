//! Event-time windows against a plain model, and against themselves: kept in slices or one by one, at any parallelism and
//! with any sizes of pages and batches, the answers are the same.
//!
//! Watermarks are records of the input (`punctuated`), so a run depends on the seed alone.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use thalweg::api::Evaluation;
use thalweg::prelude::*;
use thalweg_tests::{On, Random, matrix};

matrix![
    aggregates_answer_as_the_model,
    aggregates_that_keep_order_answer_as_the_model,
    late_records_go_to_the_side_and_are_counted,
    window_functions_see_key_window_and_watermark,
    an_offset_shifts_all_windows,
    bounded_disorder_drops_what_is_later,
];

/// A record, and the watermark behind it, if any.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    key: u32,
    at: i64,
    value: i64,
    watermark: Option<i64>,
}

/// What a test run is about.
#[derive(Clone, Debug)]
struct Case {
    steps: Vec<Step>,
    size: i64,
    slide: i64,
    offset: i64,
    lateness: i64,
}

impl Case {
    fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (size, slide) = match random.below(4) {
            0 => {
                let size = random.between(1, 60);
                (size, size)
            }
            1 => {
                let slide = random.between(1, 12);
                (slide * random.between(2, 6), slide)
            }
            2 => (random.between(2, 60), random.between(1, 60)), // any, also not dividing
            _ => {
                let size = random.between(1, 20);
                (size, size + random.between(1, 30))
            } // gaps
        };
        let offset = random.between(1 - slide, slide - 1);
        let lateness = if random.once_in(2) { 0 } else { random.between(1, 80) };
        let steps = Self::steps(&mut random);
        Case { steps, size, slide, offset, lateness }
    }

    /// Time goes on by fits and starts, from below zero; records lag behind it, some far.
    fn steps(random: &mut Random) -> Vec<Step> {
        let (count, keys) = (random.between(50, 400), random.between(1, 12) as u64);
        let mut now = random.between(-500, 100);
        let mut step = |value| {
            now += match random.below(20) {
                0 => random.between(50, 200),
                _ => random.between(0, 4),
            };
            let lag = match random.below(10) {
                0 => random.between(0, 150),
                _ => random.between(0, 20),
            };
            let watermark = random.once_in(6).then(|| now - random.between(0, 30));
            Step { key: random.below(keys) as u32, at: now - lag, value, watermark }
        };
        (0..count).map(&mut step).collect()
    }
}

/// A row: key, start and end of the window, what it holds.
type Row<A> = (u32, i64, i64, A);

/// What windows should give: rows, and the records that come too late.
fn model<A: Clone + Ord>(
    case: &Case,
    empty: A,
    add: impl Fn(&mut A, &Step),
) -> (Vec<Row<A>>, Vec<Step>) {
    let Case { steps, size, slide, offset, lateness } = case;
    let mut open: BTreeMap<(i64, u32), A> = BTreeMap::new(); // by start and key
    let (mut rows, mut late, mut watermark) = (Vec::new(), Vec::new(), i64::MIN);
    for step in steps {
        let starts: Vec<i64> = (-size / slide - 2..2)
            .map(|k| (step.at.div_euclid(*slide) + k) * slide + offset % slide)
            .filter(|start| *start <= step.at && step.at < start + size)
            .collect();
        let over = |start: &i64| start + size - 1 + lateness <= watermark;
        // Of an element in a gap between windows, Flink looks at the timestamp.
        let is_late = match starts.is_empty() {
            true => step.at + lateness <= watermark,
            false => starts.iter().all(over),
        };
        if is_late {
            late.push(*step);
        }
        for start in starts.into_iter().filter(|start| !over(start)) {
            let accumulator = open.entry((start, step.key)).or_insert_with(|| empty.clone());
            add(accumulator, step);
            if start + size - 1 <= watermark {
                rows.push((step.key, start, start + size, accumulator.clone()));
            }
        }
        let next = step.watermark.map_or(watermark, |new| new.max(watermark));
        for ((start, key), accumulator) in &open {
            let end = start + size;
            if end - 1 > watermark && end - 1 <= next {
                rows.push((*key, *start, end, accumulator.clone()));
            }
        }
        watermark = next;
    }
    for ((start, key), accumulator) in open {
        if start + size - 1 > watermark {
            rows.push((key, start, start + size, accumulator));
        }
    }
    rows.sort();
    late.sort();
    (rows, late)
}

/// Count, sum, and largest value: the same whatever the split.
#[derive(Clone)]
struct Summary;
impl AggregateFunction<Step> for Summary {
    const SLICEABLE: bool = true;
    type Accumulator = (u64, i64, i64);
    type Result = (u64, i64, i64);
    fn create_accumulator(&self) -> (u64, i64, i64) {
        (0, 0, i64::MIN)
    }
    fn add(&self, accumulator: &mut (u64, i64, i64), step: &Step) {
        accumulator.0 += 1;
        accumulator.1 += step.value;
        accumulator.2 = accumulator.2.max(step.value);
    }
    fn result(&self, accumulator: &(u64, i64, i64)) -> (u64, i64, i64) {
        *accumulator
    }
    fn merge(&self, into: &mut (u64, i64, i64), other: &(u64, i64, i64)) {
        *into = (into.0 + other.0, into.1 + other.1, into.2.max(other.2));
    }
}

/// All values in order: heap data, and not sliceable.
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
        accumulator.clone()
    }
    fn merge(&self, into: &mut Vec<i64>, other: &Vec<i64>) {
        into.extend(other);
    }
}

fn keyed_steps(
    env: &StreamExecutionEnvironment,
    case: &Case,
) -> KeyedStream<Step, impl KeySelector<Step, Key = u32> + use<>> {
    let strategy = WatermarkStrategy::punctuated(|step: &Step, _| step.watermark);
    env.from_elements(case.steps.clone())
        .assign_timestamps_and_watermarks(strategy.with_timestamp(|step: &Step| step.at))
        .key_by(|step| step.key)
}

/// How windows are to be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kept {
    Automatic,
    PerPane,
    /// By the operator that serves all windows, which an explicit trigger asks for.
    General,
}

/// The rows, the late records, and how many the metrics say were late.
fn run<A>(
    env: &StreamExecutionEnvironment,
    case: &Case,
    aggregate: A,
    kept: Kept,
) -> Answer<A::Result>
where
    A: AggregateFunction<Step, Result: Ord + Send + 'static>,
{
    let (size, slide) = (milliseconds(case.size as u64), milliseconds(case.slide as u64));
    let tumbling = TumblingEventTimeWindows::of(size).offset_ms(case.offset);
    let sliding = SlidingEventTimeWindows::of(size, slide).offset_ms(case.offset);
    match case.size == case.slide {
        true => run_windows(env, case, tumbling, aggregate, kept),
        false => run_windows(env, case, sliding, aggregate, kept),
    }
}

fn run_windows<A, W>(
    env: &StreamExecutionEnvironment,
    case: &Case,
    assigner: W,
    aggregate: A,
    kept: Kept,
) -> Answer<A::Result>
where
    A: AggregateFunction<Step, Result: Ord + Send + 'static>,
    W: WindowAssigner<Step, Window = TimeWindow>,
{
    let tag = OutputTag::new("late");
    let windowed = keyed_steps(env, case)
        .window(assigner)
        .allowed_lateness_ms(case.lateness)
        .side_output_late_data(&tag);
    let row = |key: &u32, window: TimeWindow, result, out: &mut Collector<'_, Row<A::Result>>| {
        out.collect((*key, window.start(), window.end(), result));
    };
    let (late, rows) = match kept {
        Kept::General => {
            let results = windowed.trigger(EventTimeTrigger).aggregate_with(aggregate, row);
            (results.side_output(&tag).collect(), results.collect())
        }
        _ => {
            let evaluation = match kept {
                Kept::PerPane => Evaluation::PerPane,
                _ => Evaluation::Automatic,
            };
            let results = windowed.evaluation(evaluation).aggregate_with(aggregate, row);
            (results.side_output(&tag).collect(), results.collect())
        }
    };
    let job = env.execute("windows").unwrap();
    let operators = job.metrics.vertices.iter().flat_map(|vertex| &vertex.operators);
    let late_by = operators.filter_map(|operator| operator.histograms.get("late_by_ms"));
    let counted = late_by.map(|histogram| histogram.count).sum();
    assert_eq!(dropped(&job), 0, "what goes to the side is not dropped");
    Answer { rows: rows.take_sorted(), late: late.take_sorted(), counted }
}

fn dropped(job: &thalweg::JobResult) -> u64 {
    job.metrics.vertices.iter().map(|vertex| vertex.total.late_records_dropped).sum()
}

#[derive(Debug, PartialEq)]
struct Answer<A> {
    rows: Vec<Row<A>>,
    late: Vec<Step>,
    counted: u64,
}

/// Fails with what only one of them has.
#[track_caller]
fn check<A: Ord + Clone + std::fmt::Debug>(answer: &Answer<A>, expected: &Answer<A>, about: &str) {
    if answer == expected {
        return;
    }
    let only = |here: &[Row<A>], there: &[Row<A>]| {
        let mut there = there.to_vec();
        let mut only = here.to_vec();
        only.retain(|row| {
            there.iter().position(|other| other == row).map(|at| there.remove(at)).is_none()
        });
        only
    };
    let (more, less) = (only(&answer.rows, &expected.rows), only(&expected.rows, &answer.rows));
    panic!(
        "{about}\nnot expected: {more:?}\nmissing: {less:?}\nlate: {:?}\nexpected: {:?}\ncounted {} not {}",
        answer.late, expected.late, answer.counted, expected.counted
    );
}

fn expected<A: Clone + Ord>(case: &Case, empty: A, add: impl Fn(&mut A, &Step)) -> Answer<A> {
    let (rows, late) = model(case, empty, add);
    let counted = late.len() as u64;
    Answer { rows, late, counted }
}

fn summaries(case: &Case) -> Answer<(u64, i64, i64)> {
    let add = |sum: &mut (u64, i64, i64), step: &Step| Summary.add(sum, step);
    expected(case, EMPTY, add)
}

const EMPTY: (u64, i64, i64) = (0, 0, i64::MIN);

fn aggregates_answer_as_the_model(on: On) {
    for seed in 0..20 {
        let case = Case::random(seed);
        let expected = summaries(&case);
        for kept in [Kept::Automatic, Kept::PerPane, Kept::General] {
            let answer = run(&on.env(), &case, Summary, kept);
            check(&answer, &expected, &format!("seed {seed}, {kept:?}, {}", describe(&case)));
        }
    }
}

fn describe(case: &Case) -> String {
    let Case { size, slide, offset, lateness, .. } = case;
    format!("size {size}, slide {slide}, offset {offset}, lateness {lateness}")
}

fn aggregates_that_keep_order_answer_as_the_model(on: On) {
    for seed in 100..110 {
        let case = Case::random(seed);
        let expected = expected(&case, Vec::new(), |values, step| values.push(step.value));
        for kept in [Kept::Automatic, Kept::General] {
            let answer = run(&on.env(), &case, Values, kept);
            check(&answer, &expected, &format!("seed {seed}, {kept:?}, {}", describe(&case)));
        }
    }
}

#[test]
fn evaluation_parallelism_and_buffers_change_no_answer() {
    use thalweg::config::ShellKind::Threads;
    for seed in 1_000..1_060 {
        let (case, mut random) = (Case::random(seed), Random::new(!seed));
        let reference = run(&On::new(Threads, 1).env(), &case, Summary, Kept::PerPane);
        for parallelism in [1, 2, 4] {
            let env = On::new(Threads, parallelism).env();
            let page_bytes = 4_096u64 << random.below(6);
            let pages = 2 + random.below(8);
            let (batch, budget) = (1 + random.below(300), 1 + random.below(300));
            env.configure(|c| {
                c.set("page_bytes", page_bytes).set("pages_in_flight", pages);
                c.set("batch_records", batch).set("drain_budget_records", budget)
            });
            let answer = run(&env, &case, Summary, Kept::Automatic);
            let about = format!(
                "seed {seed}, p={parallelism}, page_bytes {page_bytes}, pages_in_flight {pages}, batch {batch}, \
                 budget {budget}, {}",
                describe(&case)
            );
            check(&answer, &reference, &about);
        }
    }
}

fn late_records_go_to_the_side_and_are_counted(on: On) {
    let step = |at, value, watermark| Step { key: 1, at, value, watermark };
    let steps = vec![
        step(5, 1, None),
        step(12, 2, Some(9)),    // fires [0, 10)
        step(7, 4, None),        // late but allowed: fires it again
        step(8, 8, Some(14)),    // and again; then the window is over (9 + 5 <= 14)
        step(9, 16, None),       // too late
        step(13, 32, Some(200)), // in time for [10, 20)
        step(14, 64, None),      // too late
        step(300, 128, None),
    ];
    let case = Case { steps: steps.clone(), size: 10, slide: 10, offset: 0, lateness: 5 };
    let answer = run(&on.env(), &case, Summary, Kept::Automatic);
    let sums: Vec<_> = answer.rows.iter().map(|row| (row.1, row.3.1)).collect();
    assert_eq!(sums, [(0, 1), (0, 5), (0, 13), (10, 34), (300, 128)]);
    assert_eq!((answer.late, answer.counted), (vec![steps[4], steps[6]], 2));
    // Without a side output they are counted all the same.
    let env = on.env();
    let _sums = keyed_steps(&env, &case)
        .window(TumblingEventTimeWindows::of(milliseconds(10)))
        .aggregate(Summary)
        .collect();
    let job = env.execute("dropped").unwrap();
    assert_eq!(dropped(&job), 4);
}

/// Tells all it is told.
#[derive(Clone)]
struct Tell {
    opened: bool,
}
impl ProcessWindowFunction for Tell {
    type Key = u32;
    type In = (u64, i64, i64);
    type Out = (u32, i64, i64, bool, i64);
    type Window = TimeWindow;
    fn open(&mut self, _: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.opened = true;
        Ok(())
    }
    fn process(
        &mut self,
        key: &u32,
        context: &mut WindowContext<'_, TimeWindow>,
        results: &[(u64, i64, i64)],
        out: &mut Collector<'_, Self::Out>,
    ) -> thalweg::Result<()> {
        assert!(self.opened);
        let (window, watermark) = (context.window(), context.current_watermark());
        assert_eq!(window.max_timestamp(), window.end() - 1);
        let fired = watermark >= window.max_timestamp();
        out.collect((*key, window.start(), watermark, fired, results[0].1));
        Ok(())
    }
}

fn window_functions_see_key_window_and_watermark(on: On) {
    let step = |key, at, watermark| Step { key, at, value: at, watermark };
    let steps =
        vec![step(1, 1, None), step(2, 2, Some(12)), step(1, 21, Some(30)), step(2, 41, None)];
    let case = Case { steps, size: 10, slide: 10, offset: 0, lateness: 0 };
    let env = on.env();
    let out = keyed_steps(&env, &case)
        .window(TumblingEventTimeWindows::of(milliseconds(10)))
        .aggregate_process(Summary, Tell { opened: false })
        // A result carries its window's last instant as its timestamp.
        .key_by(|row| row.0)
        .window(TumblingEventTimeWindows::of(milliseconds(20)))
        .aggregate_with(Rows, |key, window, rows, out| out.collect((*key, window.start(), rows)))
        .collect();
    env.execute("told").unwrap();
    let rows = out.take_sorted();
    assert_eq!(
        rows,
        [
            (1, 0, vec![(1, 0, 12, true, 1)]),
            (1, 20, vec![(1, 20, 30, true, 21)]),
            (2, 0, vec![(2, 0, 12, true, 2)]),
            (2, 40, vec![(2, 40, i64::MAX, true, 41)]),
        ]
    );
}

/// What [`Tell`] says.
type Told = (u32, i64, i64, bool, i64);

#[derive(Clone)]
struct Rows;
impl AggregateFunction<Told> for Rows {
    type Accumulator = Vec<Told>;
    type Result = Vec<Told>;
    fn create_accumulator(&self) -> Vec<Told> {
        Vec::new()
    }
    fn add(&self, accumulator: &mut Vec<Told>, row: &Told) {
        accumulator.push(*row);
    }
    fn result(&self, accumulator: &Vec<Told>) -> Vec<Told> {
        accumulator.clone()
    }
    fn merge(&self, into: &mut Vec<Told>, other: &Vec<Told>) {
        into.extend(other);
    }
}

fn an_offset_shifts_all_windows(on: On) {
    let steps = (-50..50).map(|at| Step { key: 0, at, value: 1, watermark: None }).collect();
    let case = Case { steps, size: 24, slide: 24, offset: 7, lateness: 0 };
    let answer = run(&on.env(), &case, Summary, Kept::Automatic);
    let windows: Vec<_> = answer.rows.iter().map(|row| (row.1, row.2, row.3.0)).collect();
    assert_eq!(windows, [(-65, -41, 9), (-41, -17, 24), (-17, 7, 24), (7, 31, 24), (31, 55, 19)]);
}

fn bounded_disorder_drops_what_is_later(on: On) {
    let env = on.env();
    env.configure(|c| c.batch_records(1));
    // Each batch is one record, and a watermark follows each: 10 ms behind the largest timestamp.
    let times = [100, 95, 91, 150, 138, 200, 100];
    let out = env
        .from_elements(times.map(|at| (0u32, at)))
        .assign_timestamps_and_watermarks(
            WatermarkStrategy::bounded_out_of_orderness(milliseconds(10))
                .with_timestamp(|event: &(u32, i64)| event.1),
        )
        .key_by(|event| event.0)
        .window(TumblingEventTimeWindows::of(milliseconds(10)))
        .aggregate_with(Count, |_, window, count, out| out.collect((window.start(), count)))
        .collect();
    let job = env.execute("bounded").unwrap();
    assert_eq!(out.take_sorted(), [(90, 2), (100, 1), (150, 1), (200, 1)]);
    assert_eq!(dropped(&job), 2);
}
