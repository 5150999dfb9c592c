//! Hot destinations: every 5 minutes the top 3 of the last hour, over three months of departures from New York.
//!
//! ```sh
//! cargo run --release --example hot_items                   # the first and last windows
//! cargo run --release --example hot_items -- --all -p 4     # all 22,123, on four subtasks
//! cargo run --release --example hot_items -- --csv hot.csv  # and every row into a file
//! ```
//!
//! ```text
//! flights ─► event time ─► by destination: count per window ─► by window: TopN ─► all: InOrder ─► table, CSV
//! ```
//!
//! The rows are the same at every parallelism, in the same order.

use std::collections::VecDeque;
use std::io::{self, Write};
use thalweg::config::{Argument, DeclaredArguments};
use thalweg::prelude::*;
use thalweg::sink::FileSink;

/// Found from anywhere: cargo runs the example in whatever directory the user is in.
const FLIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/flights.csv.gz");

/// The columns of the file that the job needs.
#[thalweg::record]
#[derive(Clone, Debug, serde::Deserialize)]
struct Flight {
    departed_at_ms: i64,
    dest: String,
}

/// How many flights left for a destination in a window.
#[thalweg::record]
#[derive(Clone, Debug)]
struct Departures {
    window_end_ms: i64,
    dest: String,
    count: u64,
}

/// The destinations with the most departures in a window, the largest first.
#[thalweg::record]
#[derive(Clone, Debug)]
struct HotWindow {
    window_end_ms: i64,
    top: Vec<(String, u64)>,
}

/// A row of the CSV.
#[derive(Debug, serde::Serialize)]
struct Row {
    window_end_ms: i64,
    rank: usize,
    dest: String,
    count: u64,
}

/// The job: hot windows in the order of time.
fn hot_items(env: &StreamExecutionEnvironment) -> DataStream<HotWindow> {
    env.from_source(FileSource::csv::<Flight>(FLIGHTS), "flights")
        .assign_timestamps_and_watermarks(
            WatermarkStrategy::bounded_out_of_orderness(minutes(1))
                .with_timestamp(|flight: &Flight| flight.departed_at_ms),
        )
        .key_by_ref(|flight| &flight.dest)
        .window(SlidingEventTimeWindows::of(hours(1), minutes(5)))
        .aggregate_with(Count, |dest, window, count, out| {
            out.collect(Departures { window_end_ms: window.end(), dest: dest.clone(), count });
        })
        .key_by(|departures| departures.window_end_ms)
        .process(TopN { n: 3, top: ValueState::default() })
        .name("top 3")
        .key_by(|_| ()) // one key, so one subtask gets every window, and so do the operators chained to it
        .process(InOrder::default())
        .name("in order")
        .boxed()
}

/// Keeps the largest `n` counts of a window, and emits them once the watermark says that no more are to come.
#[derive(Clone)]
struct TopN {
    n: usize,
    top: ValueState<Vec<(String, u64)>>,
}

impl KeyedProcessFunction for TopN {
    type Key = i64;
    type In = Departures;
    type Out = HotWindow;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.top = context.value_state(ValueStateDescriptor::new("top"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        Departures { window_end_ms, dest, count }: Departures,
        context: &mut Context<'_, i64>,
        _: &mut Collector<'_, HotWindow>,
    ) -> thalweg::Result<()> {
        self.top.modify(context, |top| {
            // Ties go to the smaller code.
            let place = top.partition_point(|(d, c)| (*c, &dest) > (count, d));
            top.insert(place, (dest, count));
            top.truncate(self.n);
        })?;
        // Every subtask's counts of this window come before its watermark reaches the window's end.
        context.timer_service().register_event_time_timer(window_end_ms);
        Ok(())
    }

    fn on_timer(
        &mut self,
        window_end_ms: i64,
        context: &mut OnTimerContext<'_, i64>,
        out: &mut Collector<'_, HotWindow>,
    ) -> thalweg::Result<()> {
        let top = self.top.take(context)?.unwrap_or_default();
        out.collect(HotWindow { window_end_ms, top });
        Ok(())
    }
}

/// Puts the windows of all subtasks into the order of time: each waits for the watermark of all of them. This needs no
/// end of the stream, and holds only the few windows that some subtask is ahead by.
#[derive(Clone, Default)]
struct InOrder {
    waiting: MapState<i64, HotWindow>,
}

impl KeyedProcessFunction for InOrder {
    type Key = ();
    type In = HotWindow;
    type Out = HotWindow;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.waiting = context.map_state(MapStateDescriptor::new("waiting"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        window: HotWindow,
        context: &mut Context<'_, ()>,
        _: &mut Collector<'_, HotWindow>,
    ) -> thalweg::Result<()> {
        context.timer_service().register_event_time_timer(window.window_end_ms);
        self.waiting.put(context, window.window_end_ms, window)?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        window_end_ms: i64,
        context: &mut OnTimerContext<'_, ()>,
        out: &mut Collector<'_, HotWindow>,
    ) -> thalweg::Result<()> {
        if let Some(window) = self.waiting.remove(context, &window_end_ms)? {
            out.collect(window);
        }
        Ok(())
    }
}

/// One row a rank.
fn rows(window: HotWindow) -> impl Iterator<Item = Row> {
    let HotWindow { window_end_ms, top } = window;
    let ranked = (1..).zip(top);
    ranked.map(move |(rank, (dest, count))| Row { window_end_ms, rank, dest, count })
}

/// Prints a line a window: all of them, or the first and the last few.
#[derive(Clone)]
struct Table {
    edge: usize,
    count: usize,
    last: VecDeque<HotWindow>,
}

impl Table {
    fn new(all: bool) -> Self {
        Table { edge: if all { usize::MAX } else { 10 }, count: 0, last: VecDeque::new() }
    }

    /// `println!` would panic where the reader of a pipe has gone; an error ends the job with a message.
    fn print(HotWindow { window_end_ms, top }: &HotWindow) -> io::Result<()> {
        let ranked = top.iter().map(|(dest, count)| format!("{dest} {count:>2}"));
        let ranked = ranked.collect::<Vec<_>>().join("   ");
        writeln!(io::stdout(), "{}   {ranked}", utc(*window_end_ms))
    }
}

impl Sink<HotWindow> for Table {
    fn write(&mut self, window: HotWindow, _: i64) -> thalweg::Result<()> {
        if self.count == 0 {
            writeln!(io::stdout(), "hour until (UTC)   1.       2.       3.")?;
        }
        self.count += 1;
        if self.count <= self.edge {
            Table::print(&window)?;
        } else {
            self.last.push_back(window);
            self.last.drain(..self.last.len().saturating_sub(self.edge));
        }
        Ok(())
    }

    fn finish(&mut self) -> thalweg::Result<SinkStatus> {
        let shown = self.edge.saturating_add(self.last.len());
        if self.count > shown {
            writeln!(io::stdout(), ".. {} more, which --all shows ..", self.count - shown)?;
        }
        self.last.drain(..).try_for_each(|window| Table::print(&window))?;
        Ok(SinkStatus::Ready)
    }
}

/// `2013-01-01 11:20`: the civil calendar in years that begin in March, so that the leap day comes last.
fn utc(time_ms: i64) -> String {
    let (days, minute) = (time_ms.div_euclid(86_400_000), time_ms.rem_euclid(86_400_000) / 60_000);
    let since_0000 = days + 719_468; // from 0000-03-01 to 1970-01-01
    let (era, day) = (since_0000.div_euclid(146_097), since_0000.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    let year = year + 400 * era;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minute / 60, minute % 60)
}

fn main() -> thalweg::Result<()> {
    let declared =
        DeclaredArguments::new("Every 5 minutes the top 3 destinations of the last hour.")
            .with(Argument::option("csv", "FILE").help("writes every row to FILE, too"))
            .with(
                Argument::flag("all").help("prints every window, not just the first and last 10"),
            );
    let (env, arguments) = StreamExecutionEnvironment::from_args_or_exit(&declared);

    let windows = hot_items(&env);
    if let Some(file) = arguments.get("csv") {
        // One subtask, because it is one file.
        windows.clone().flat_map(rows).sink_to(FileSink::csv_file(file)).set_parallelism(1);
    }
    windows.sink_to(Table::new(arguments.is_given("all")));

    let result = env.execute("hot destinations")?;
    let vertices = &result.metrics.vertices;
    let flights = vertices.first().map_or(0, |source| source.total.records_out);
    let late: u64 = vertices.iter().map(|vertex| vertex.total.late_records_dropped).sum();
    let in_order = vertices.iter().find(|vertex| vertex.vertex.starts_with("in order"));
    let windows = in_order.map_or(0, |vertex| vertex.total.records_in);
    println!("{flights} flights, {late} too late; {windows} windows; {:.1?}", result.runtime);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn expected() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/hot_items_expected.csv.gz");
        let mut text = String::new();
        let file = std::fs::File::open(path).unwrap();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        text
    }

    fn check(parallelism: usize) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hot.csv");
        let env = StreamExecutionEnvironment::new();
        env.set_parallelism(parallelism);
        hot_items(&env).flat_map(rows).sink_to(FileSink::csv_file(&file)).set_parallelism(1);
        env.execute("hot destinations").unwrap();
        let (written, expected) = (std::fs::read_to_string(&file).unwrap(), expected());
        let difference = written.lines().zip(expected.lines()).find(|(left, right)| left != right);
        assert_eq!(difference, None, "written, expected");
        assert_eq!(written.len(), expected.len());
    }

    #[test]
    fn one_subtask_gives_the_expected_rows() {
        check(1);
    }

    #[test]
    fn two_subtasks_give_the_expected_rows() {
        check(2);
    }

    #[test]
    fn four_subtasks_give_the_expected_rows() {
        check(4);
    }

    #[test]
    fn times_are_civil() {
        assert_eq!(utc(0), "1970-01-01 00:00");
        assert_eq!(utc(1_357_035_600_000), "2013-01-01 10:20");
        assert_eq!(utc(951_782_400_000 + 3_600_000), "2000-02-29 01:00");
        assert_eq!(utc(-60_000), "1969-12-31 23:59");
    }
}
