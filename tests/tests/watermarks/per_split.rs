//! Watermarks made in the source, for each split by itself.

use std::collections::VecDeque;
use thalweg::config::ShellKind;
use thalweg::prelude::*;
use thalweg::testing::{self, OutputEvent, TestDriver};

/// Partitions that one reader reads in turns, one ten times as far at a time as the other.
struct Partitions {
    records: i64,
    /// Does the reader name the partitions?
    named: bool,
}

#[thalweg::record]
#[derive(Clone, Debug)]
struct Partition {
    id: u64,
    next: i64,
}

impl SourceSplit for Partition {
    fn split_id(&self) -> String {
        format!("partition {}", self.id)
    }
}

struct AllAtOnce(usize);

impl SplitEnumerator<Partition> for AllAtOnce {
    fn discover(&mut self, context: &mut EnumeratorContext<Partition>) -> thalweg::Result<()> {
        (0..self.0).for_each(|id| context.assign_split(id, Partition { id: id as u64, next: 0 }));
        (0..context.parallelism()).for_each(|subtask| context.signal_no_more_splits(subtask));
        Ok(())
    }
    fn handle_split_request(
        &mut self,
        _: usize,
        _: &mut EnumeratorContext<Partition>,
    ) -> thalweg::Result<()> {
        Ok(())
    }
    fn add_splits_back(&mut self, _: Vec<Partition>, _: usize) {}
}

struct Reader {
    open: VecDeque<Partition>,
    no_more: bool,
    records: i64,
    named: bool,
}

impl Source for Partitions {
    type Out = i64;
    type Split = Partition;
    type Reader = Reader;
    fn create_enumerator(&self) -> thalweg::Result<Option<Box<dyn SplitEnumerator<Partition>>>> {
        Ok(Some(Box::new(AllAtOnce(4))))
    }
    fn create_reader(&self, _: &ReaderContext) -> thalweg::Result<Reader> {
        let Partitions { records, named } = *self;
        Ok(Reader { open: VecDeque::new(), no_more: false, records, named })
    }
}

impl SourceReader for Reader {
    type Out = i64;
    type Split = Partition;
    fn poll_batch(
        &mut self,
        _: usize,
        out: &mut SourceCollector<'_, i64>,
    ) -> thalweg::Result<InputStatus> {
        let Some(mut partition) = self.open.pop_front() else {
            let ended = self.no_more;
            return Ok(if ended { InputStatus::EndOfInput } else { InputStatus::NothingAvailable });
        };
        let id = partition.split_id();
        if self.named {
            out.begin_split(&id);
        }
        let count = if partition.id % 2 == 0 { 50 } else { 5 };
        let end = (partition.next + count).min(self.records);
        (partition.next..end).for_each(|n| out.collect(n * 10));
        partition.next = end;
        if end < self.records {
            self.open.push_back(partition);
        } else if self.named {
            out.end_split(&id);
        }
        Ok(InputStatus::MoreAvailable)
    }
    fn add_splits(&mut self, splits: Vec<Partition>) {
        self.open.extend(splits);
    }
    fn no_more_splits(&mut self) {
        self.no_more = true;
    }
}

/// How many records the windows of a second have counted, of 4 times `records`.
fn counted(on: ShellKind, parallelism: usize, named: bool) -> u64 {
    let records = 2_000;
    let env = StreamExecutionEnvironment::new();
    env.configure(|c| c.shell(on).parallelism(parallelism));
    let strategy = WatermarkStrategy::monotonous().with_timestamp(|at: &i64| *at);
    let windows = env
        .from_source_with(Partitions { records, named }, strategy, "partitions")
        .key_by(|_| 0_u8)
        .window(TumblingEventTimeWindows::of(seconds(1)))
        .aggregate(Count)
        .collect();
    env.execute("windows").expect("it runs");
    windows.take().iter().sum()
}

#[test]
fn a_split_that_is_read_faster_makes_no_other_late() {
    for parallelism in [1, 2, 4] {
        assert_eq!(counted(ShellKind::Threads, parallelism, true), 8_000, "p = {parallelism}");
    }
    let alone = counted(ShellKind::Threads, 1, false);
    assert!(alone < 8_000, "one generator for all of them makes the slow ones late: {alone}");
}

#[test]
fn files_are_splits() {
    // Both are open, since they are followed; the first is far behind the second.
    let directory = tempfile::tempdir().unwrap();
    let lines =
        |from: i64| (from..from + 50).map(|n| format!("{}\n", n * 1_000)).collect::<String>();
    std::fs::write(directory.path().join("a"), lines(0)).unwrap();
    std::fs::write(directory.path().join("b"), lines(1_000)).unwrap();
    let mut driver = TestDriver::new(|env| {
        let files = FileSource::lines(directory.path()).follow();
        let strategy = WatermarkStrategy::monotonous()
            .with_timestamp(|line: &String| line.parse().unwrap())
            .with_idleness(seconds(10));
        env.from_source_with(files, strategy, "files").sink_to(testing::output()).name("out");
    });
    let watermarks = |driver: &mut TestDriver| -> Vec<i64> {
        let events = driver.events::<String>("out").into_iter();
        events
            .filter_map(|event| match event {
                OutputEvent::Watermark(watermark) => Some(watermark),
                _ => None,
            })
            .collect()
    };
    driver.advance_clock(seconds(1));
    driver.settle();
    assert_eq!(watermarks(&mut driver).last(), Some(&48_999), "the slower file holds");
    driver.advance_clock(seconds(11));
    assert_eq!(watermarks(&mut driver).last(), Some(&1_048_999), "both idle: the maximum");
}

#[test]
fn a_source_without_splits_has_one_generator_and_drops_its_own_watermarks() {
    let builder = TestDriver::builder().configure(|c| c.auto_watermark_interval(seconds(1)));
    let mut driver = builder
        .build(|env| {
            let strategy = WatermarkStrategy::monotonous();
            env.from_source_with(testing::input::<char>(), strategy, "in")
                .sink_to(testing::output())
                .name("out");
        })
        .unwrap();
    let record = |value, at| OutputEvent::Record { value, timestamp_ms: Some(at) };
    driver.pipe_at("in", [(100, 'a'), (50, 'b')]);
    driver.watermark("in", 70);
    driver.idle("in");
    assert_eq!(driver.events("out"), [record('a', 100), record('b', 50)]);
    driver.advance_clock(seconds(1));
    assert_eq!(driver.events::<char>("out"), [OutputEvent::Watermark(99)]);
    driver.end("in");
    assert_eq!(driver.events::<char>("out"), [OutputEvent::Watermark(i64::MAX)]);
    assert!(driver.is_finished() && driver.failure().is_none());
}

#[test]
fn the_source_may_have_settings_of_its_own() {
    let env = StreamExecutionEnvironment::new();
    env.configure(|c| c.shell(ShellKind::Threads).parallelism(2));
    let strategy = WatermarkStrategy::monotonous().with_timestamp(|at: &i64| *at);
    let numbers = env
        .from_source_with(Partitions { records: 100, named: true }, strategy, "partitions")
        .set_parallelism(1)
        .disable_chaining()
        .uid("partitions")
        .map(|n| n + 1)
        .collect();
    env.execute("numbers").unwrap();
    assert_eq!(numbers.take().len(), 400);
}

#[test]
fn a_channel_that_carries_watermarks_alone_does_not_stall_its_producer() {
    // All records are of one key, so one of the two subtasks gets nothing but a watermark for each poll.
    let env = StreamExecutionEnvironment::new();
    env.configure(|c| c.shell(ShellKind::Threads).parallelism(2));
    let strategy = WatermarkStrategy::monotonous().with_timestamp(|at: &i64| *at);
    let counts = env
        .from_source(Partitions { records: 2_000, named: true }, "partitions")
        .assign_timestamps_and_watermarks(strategy)
        .key_by(|_| 0_u8)
        .scan(0, |count, _| {
            *count += 1;
            *count
        })
        .collect();
    env.execute("one key").unwrap();
    assert_eq!(counts.take().len(), 8_000);
}
