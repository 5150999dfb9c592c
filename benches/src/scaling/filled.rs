//! A running sum whose keys are all there before the clock starts, for as long as is asked for.
//!
//! 1. The sources emit each key once; the last one to be through takes the memory that the process has, and starts the clock.
//! 2. They emit events at full speed until the time is over. As in w1, event `i` is made of `splitmix64(i)`.
//! 3. The sink adds up a digest that does not depend on the order of events (see the latency module's `sums`).

use crate::digest::splitmix64;
use crate::latency::contribution;
use crate::{now_ns, resident_mib};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use thalweg::prelude::*;

/// What the job gave.
#[derive(Clone, Debug, Default)]
pub(super) struct Filled {
    /// Events of each source subtask, without those that filled.
    pub(super) counts: Vec<u64>,
    /// From the clock's start to the last row.
    pub(super) seconds: f64,
    pub(super) digest: u64,
    /// Memory that filling has taken.
    pub(super) resident_mib: f64,
}

impl Filled {
    pub(super) fn events(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn rate(&self) -> f64 {
        self.events() as f64 / self.seconds
    }
}

#[derive(Default)]
struct Track {
    begin_ns: AtomicU64,
    filled: AtomicUsize,
    totals: Mutex<Totals>,
}

#[derive(Default)]
struct Totals {
    emitted: Vec<(u64, u64)>,
    rows: u64,
    digest: u64,
    finished_ns: u64,
    resident_mib: f64,
}

impl Track {
    fn with<R>(&self, code: impl FnOnce(&mut Totals) -> R) -> R {
        code(&mut self.totals.lock().expect("nothing panics while it holds the lock"))
    }
}

/// Runs it.
///
/// # Errors
/// Those of the job, and rows that are missing. The digest is for the caller to compare.
pub(super) fn run(
    env: &StreamExecutionEnvironment,
    keys: u64,
    seconds: u64,
) -> thalweg::Result<Filled> {
    let resident_before = resident_mib();
    let track = Arc::new(Track::default());
    let source = FillThenRun { keys, run_ns: seconds * 1_000_000_000, track: track.clone() };
    env.from_source(source, "events")
        .key_by(|(key, _): &(u64, u64)| *key)
        .scan(0_u64, |sum, (key, value)| {
            *sum += value;
            (key, value, *sum)
        })
        .sink_to(Sums { rows: 0, digest: 0, track: track.clone() });
    env.execute("filled")?;
    let mut totals = track.with(std::mem::take);
    totals.emitted.sort_unstable();
    let counts: Vec<u64> = totals.emitted.iter().map(|(_, count)| *count).collect();
    let rows = keys + counts.iter().sum::<u64>();
    if totals.rows != rows {
        return Err(format!("{rows} events went in, {} rows came out", totals.rows).into());
    }
    let ns = totals.finished_ns.saturating_sub(track.begin_ns.load(Ordering::Acquire));
    Ok(Filled {
        counts,
        seconds: ns as f64 / 1e9,
        digest: totals.digest,
        resident_mib: totals.resident_mib - resident_before,
    })
}

struct FillThenRun {
    keys: u64,
    run_ns: u64,
    track: Arc<Track>,
}

impl Source for FillThenRun {
    type Out = (u64, u64);
    type Split = NoSplit;
    type Reader = FillingReader;
    fn create_reader(&self, context: &ReaderContext) -> thalweg::Result<FillingReader> {
        Ok(FillingReader {
            keys: self.keys,
            run_ns: self.run_ns,
            subtask: context.subtask_index as u64,
            step: context.parallelism as u64,
            next_key: context.subtask_index as u64,
            has_filled: false,
            end_ns: 0,
            emitted: 0,
            polls: 0,
            track: self.track.clone(),
        })
    }
}

struct FillingReader {
    keys: u64,
    run_ns: u64,
    subtask: u64,
    step: u64,
    next_key: u64,
    has_filled: bool,
    /// 0 as long as it is not known.
    end_ns: u64,
    emitted: u64,
    polls: u32,
    track: Arc<Track>,
}

impl FillingReader {
    #[cold]
    fn fill(&mut self, max: usize, out: &mut SourceCollector<'_, (u64, u64)>) -> InputStatus {
        let end = self.keys.min(self.next_key.saturating_add(max as u64 * self.step));
        while self.next_key < end {
            out.collect((self.next_key, 0));
            self.next_key += self.step;
        }
        if self.next_key < self.keys {
            return InputStatus::MoreAvailable;
        }
        if !self.has_filled {
            self.has_filled = true;
            // In the next poll all that this source has emitted is where it belongs, or in a buffer.
            return InputStatus::MoreAvailable;
        }
        if self.next_key != u64::MAX {
            self.next_key = u64::MAX;
            if self.track.filled.fetch_add(1, Ordering::AcqRel) + 1 == self.step as usize {
                let resident_mib = resident_mib();
                self.track.with(|totals| totals.resident_mib = resident_mib);
                self.track.begin_ns.store(now_ns(), Ordering::Release);
            }
        }
        match self.track.begin_ns.load(Ordering::Acquire) {
            0 => {
                out.poll_again_in_ns(1_000_000);
                InputStatus::NothingAvailable
            }
            begin_ns => {
                self.end_ns = begin_ns + self.run_ns;
                InputStatus::MoreAvailable
            }
        }
    }
}

impl SourceReader for FillingReader {
    type Out = (u64, u64);
    type Split = NoSplit;

    #[inline(always)]
    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, (u64, u64)>,
    ) -> thalweg::Result<InputStatus> {
        if self.end_ns == 0 {
            return Ok(self.fill(max, out));
        }
        let (keys, step) = (self.keys, self.step);
        let mut i = self.subtask + self.emitted * step;
        for _ in 0..max {
            let r = splitmix64(i);
            out.collect((r % keys, r >> 48));
            i += step;
        }
        self.emitted += max as u64;
        self.polls = self.polls.wrapping_add(1);
        // As in w1: the clock is read every 32 batches.
        if self.polls.is_multiple_of(32) && now_ns() >= self.end_ns {
            self.track.with(|totals| totals.emitted.push((self.subtask, self.emitted)));
            return Ok(InputStatus::EndOfInput);
        }
        Ok(InputStatus::MoreAvailable)
    }
}

#[derive(Clone)]
struct Sums {
    rows: u64,
    digest: u64,
    track: Arc<Track>,
}

impl Sink<(u64, u64, u64)> for Sums {
    #[inline(always)]
    fn write(&mut self, (key, value, sum): (u64, u64, u64), _: i64) -> thalweg::Result<()> {
        self.rows += 1;
        self.digest = self.digest.wrapping_add(contribution(key, value, sum));
        Ok(())
    }

    fn finish(&mut self) -> thalweg::Result<SinkStatus> {
        let now = now_ns();
        let (rows, digest) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.digest));
        self.track.with(|totals| {
            totals.rows += rows;
            totals.digest = totals.digest.wrapping_add(digest);
            totals.finished_ns = totals.finished_ns.max(now);
        });
        Ok(SinkStatus::Ready)
    }
}
