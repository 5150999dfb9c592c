//! Sources that wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use thalweg::config::ShellKind;
use thalweg::prelude::*;
use thalweg::testing::TestDriver;

const END_MS: i64 = 200_000;
const DRIFT_MS: i64 = 3_000;
/// What the fast source reads in a poll: a record each millisecond.
const FAST_BATCH: i64 = 512;
/// Between two records of the slow source, which reads one in a poll.
const SLOW_STEP_MS: i64 = 100;

/// How far the sources have come.
#[derive(Default)]
struct Progress {
    slow_ms: AtomicI64,
    fast_ms: AtomicI64,
    ahead_ms_max: AtomicI64,
}

struct Slow {
    progress: Arc<Progress>,
    next_ms: i64,
}

impl SourceReader for Slow {
    type Out = i64;
    type Split = NoSplit;
    fn poll_batch(
        &mut self,
        _: usize,
        out: &mut SourceCollector<'_, i64>,
    ) -> thalweg::Result<InputStatus> {
        // What it emitted before has been said by now.
        self.progress.slow_ms.store(self.next_ms, Ordering::Relaxed);
        self.next_ms += SLOW_STEP_MS;
        out.collect(self.next_ms);
        let is_end = self.next_ms >= END_MS;
        Ok(if is_end { InputStatus::EndOfInput } else { InputStatus::MoreAvailable })
    }
}

struct Fast {
    progress: Arc<Progress>,
    next_ms: i64,
}

impl SourceReader for Fast {
    type Out = i64;
    type Split = NoSplit;
    fn poll_batch(
        &mut self,
        _: usize,
        out: &mut SourceCollector<'_, i64>,
    ) -> thalweg::Result<InputStatus> {
        let slow_ms = self.progress.slow_ms.load(Ordering::Relaxed);
        if slow_ms == 0 {
            return Ok(InputStatus::NothingAvailable);
        }
        let end = (self.next_ms + FAST_BATCH).min(END_MS);
        (self.next_ms..end).for_each(|ms| out.collect(ms));
        self.next_ms = end;
        self.progress.fast_ms.store(end, Ordering::Relaxed);
        self.progress.ahead_ms_max.fetch_max(end - slow_ms, Ordering::Relaxed);
        Ok(if end == END_MS { InputStatus::EndOfInput } else { InputStatus::MoreAvailable })
    }
}

/// Writes a fast and a slow source; their records are counted.
fn write(env: &StreamExecutionEnvironment, aligned: bool) -> (Arc<Progress>, Collected<i64>) {
    let progress = Arc::new(Progress::default());
    let strategy = || {
        let strategy = WatermarkStrategy::monotonous().with_timestamp(|at: &i64| *at);
        match aligned {
            true => strategy.with_alignment("both", milliseconds(DRIFT_MS as u64)),
            false => strategy,
        }
    };
    let of_slow = progress.clone();
    let slow = source::ReaderSource::new(move |_: &ReaderContext| {
        Ok(Slow { progress: of_slow.clone(), next_ms: 0 })
    });
    let of_fast = progress.clone();
    let fast = source::ReaderSource::new(move |_: &ReaderContext| {
        Ok(Fast { progress: of_fast.clone(), next_ms: 0 })
    });
    let slow = env.from_source_with(slow.non_parallel(), strategy(), "slow");
    let fast = env.from_source_with(fast.non_parallel(), strategy(), "fast");
    let fast = fast.slot_sharing_group("another core");
    let all = slow.union(fast).filter(|ms| ms % 1_000 == 0).collect();
    (progress, all)
}

fn farthest_ahead(builder: thalweg::testing::TestDriverBuilder, aligned: bool) -> i64 {
    let mut written = None;
    let driver = builder.build(|env| written = Some(write(env, aligned))).expect("a sound plan");
    let (progress, all) = written.expect("written by `build`");
    assert!(driver.is_finished(), "{:?}", driver.failure());
    assert_eq!(all.take().len() as i64, 2 * END_MS / 1_000);
    progress.ahead_ms_max.load(Ordering::Relaxed)
}

/// One batch may be read after the last look, and what the slow one has said counts, not what it has read.
const AHEAD_MS_MAX: i64 = DRIFT_MS + FAST_BATCH + 2 * SLOW_STEP_MS;

#[test]
fn the_fast_source_is_ahead_by_the_drift_and_a_batch_at_most() {
    for seed in 0..5 {
        let ahead = farthest_ahead(TestDriver::builder().seed(seed), true);
        assert!(ahead <= AHEAD_MS_MAX, "{ahead} with seed {seed}");
        assert!(ahead > DRIFT_MS / 2, "it does run ahead: {ahead}");
    }
    let alone = farthest_ahead(TestDriver::builder(), false);
    assert!(alone > 10 * AHEAD_MS_MAX, "without alignment: {alone}");
}

#[test]
fn sources_on_several_cores_wait_for_each_other() {
    for shell in [ShellKind::Threads, ShellKind::Glommio] {
        let env = StreamExecutionEnvironment::new();
        env.configure(|c| c.shell(shell).parallelism(1));
        let (progress, all) = write(&env, true);
        env.execute("aligned").unwrap();
        assert_eq!(all.take().len() as i64, 2 * END_MS / 1_000);
        let ahead = progress.ahead_ms_max.load(Ordering::Relaxed);
        assert!(ahead <= AHEAD_MS_MAX, "{ahead} on {shell:?}");
    }
}

#[test]
fn every_subtask_of_a_group_counts_and_those_that_have_ended_do_not() {
    let env = StreamExecutionEnvironment::new();
    env.configure(|c| c.shell(ShellKind::Threads).parallelism(4));
    let strategy = || {
        let strategy = WatermarkStrategy::monotonous().with_timestamp(|at: &i64| *at);
        strategy.with_alignment_every("all", milliseconds(5), milliseconds(2))
    };
    let short = source::DataGeneratorSource::new(|n| n as i64).count(1_000);
    let long = source::DataGeneratorSource::new(|n| n as i64).count(100_000);
    let short = env.from_source_with(short, strategy(), "short");
    let long = env.from_source_with(long, strategy(), "long");
    let all = short.union(long).collect();
    env.execute("all").unwrap();
    assert_eq!(all.take().len(), 101_000);
}

#[test]
fn an_idle_source_holds_nobody_and_a_waiting_one_is_not_idle() {
    let builder = TestDriver::builder().configure(|c| c.auto_watermark_interval(seconds(1)));
    let mut driver = builder
        .build(|env| {
            let strategy = || {
                let strategy = WatermarkStrategy::monotonous().with_idleness(milliseconds(2_500));
                strategy.with_alignment("both", milliseconds(10))
            };
            let input = thalweg::testing::input::<i64>;
            let ahead = env.from_source_with(input(), strategy(), "ahead");
            let behind = env.from_source_with(input(), strategy(), "behind");
            ahead.union(behind).sink_to(thalweg::testing::output()).name("out");
        })
        .unwrap();
    driver.pipe_at("behind", [(100, 1_i64)]);
    driver.pipe_at("ahead", [(500, 2_i64)]);
    assert_eq!(driver.outputs::<i64>("out"), [1, 2]);
    driver.advance_clock(seconds(1));
    driver.pipe_at("ahead", [(600, 3_i64)]);
    assert!(driver.outputs::<i64>("out").is_empty(), "it waits");
    for _ in 0..4 {
        driver.pipe_at("behind", [(101, 4_i64)]);
        driver.advance_clock(seconds(1));
        assert_eq!(driver.outputs::<i64>("out"), [4]);
    }
    for _ in 0..4 {
        driver.advance_clock(seconds(1));
    }
    assert_eq!(driver.outputs::<i64>("out"), [3], "the one behind is idle");
    driver.end("behind");
    driver.pipe_at("ahead", [(10_000, 5_i64), (20_000, 6)]);
    driver.advance_clock(seconds(1));
    assert_eq!(driver.outputs::<i64>("out"), [5, 6]);
}
