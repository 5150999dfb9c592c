//! Our side's files: checkpoints in the background while records go on, and what they cost.
//!
//! 1. Every so many operations a barrier ends the epoch; how long it holds the records up is its
//!    stall.
//! 2. After each batch a beat writes some of the changed rows down, until the epoch is finished.
//! 3. The store's own thread makes it durable; how long that took since the barrier is told when the
//!    batch loop sees it.
//! 4. With a budget there is a beat after every batch. When it asks for it the epoch is ended, or no
//!    record is taken until there is room: the time that takes counts as the batch's.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thalweg::Result;
use thalweg::state::{
    CheckpointId, FlatStore, Key, KeyGroupRange, LsmOptions, LsmStore, MemoryPressure, Progress,
    RowStore, StateError, StateValue, StoreError, StoreEvent,
};
use thalweg_io::Spawner;
use thalweg_io::storage::{PosixStorage, Storage, UringOptions, UringStorage};

use super::process::thread_waited_ns;
use super::report::Line;
use super::scratch::Scratch;
use super::stopwatch::{Latencies, Ticks, ticks};
use super::{Backend, Options, StorageKind};
use crate::now_ns;

/// Rows that a beat writes for each record of the batch before it: the epoch is finished by the time
/// that half as many records have come as changed rows.
const BEAT_SHARE: usize = 2;
/// Rows of a beat while nothing else is to be done.
const SETTLE_ROWS: usize = 4096;
/// Between two looks at what the background has done.
const POLL_PAUSE: Duration = Duration::from_micros(50);
/// Key groups of the slot.
const KEY_GROUPS: u16 = 128;

/// Plain threads for the store.
#[derive(Debug)]
struct Threads;

impl Spawner for Threads {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
    }
}

/// A resident table of the store, as checkpoints and reads see it.
pub(super) trait Table {
    /// Ends the epoch.
    fn barrier(&mut self) -> Result<(), StateError>;
    /// Writes changed rows of ended epochs down, and makes room where memory is limited.
    fn beat(&mut self, rows_max: usize) -> Result<Progress, StateError>;
    /// Reads key groups that are not resident; whether there are more.
    fn restore_step(&mut self) -> Result<bool, StateError>;
}

impl<K: Key> Table for RowStore<K> {
    fn barrier(&mut self) -> Result<(), StateError> {
        RowStore::barrier(self).map(drop)
    }

    fn beat(&mut self, rows_max: usize) -> Result<Progress, StateError> {
        RowStore::beat(self, rows_max)
    }

    fn restore_step(&mut self) -> Result<bool, StateError> {
        RowStore::restore_step(self)
    }
}

impl<K: Key, S: StateValue> Table for FlatStore<K, S> {
    fn barrier(&mut self) -> Result<(), StateError> {
        FlatStore::barrier(self);
        Ok(())
    }

    fn beat(&mut self, rows_max: usize) -> Result<Progress, StateError> {
        FlatStore::beat(self, rows_max)
    }

    fn restore_step(&mut self) -> Result<bool, StateError> {
        FlatStore::restore_step(self)
    }
}

/// A store on files and its checkpoints.
pub(super) struct Files {
    store: LsmStore,
    barrier_every: u64,
    beat_rows: usize,
    since_barrier: u64,
    next_checkpoint: u64,
    /// Checkpoints that are not durable yet, and when their barriers were.
    in_flight: VecDeque<(CheckpointId, u64)>,
    /// Whether ended epochs are still to be written down.
    has_beats: bool,
    /// Whether memory is limited: then there is a beat after every batch, to make room.
    has_budget: bool,
    /// Epochs ended for memory's sake that are not readable yet.
    spills_in_flight: usize,
    /// By phase of the run.
    figures: Vec<Figures>,
    phase: usize,
    ticks: Ticks,
}

/// What checkpoints cost.
pub(super) struct Figures {
    pub(super) stalls: Latencies,
    /// Stalls without the time that the thread was ready and had no processor.
    running_stalls: Latencies,
    /// How many levels had files, after each spill.
    level_counts: Vec<usize>,
    pub(super) beats: Latencies,
    pub(super) durable: Latencies,
    pub(super) bytes_written: u64,
    /// How often no record was taken because there was no room, and for how long.
    pub(super) waits: Latencies,
    pub(super) wait_ns: u64,
    /// Epochs ended for memory's sake.
    pub(super) spills: u64,
    /// Checkpoints that the store refused because the disk was behind.
    pub(super) refused: u64,
    /// Time of waiting for the background, which no slice counts.
    pub(super) settle_ns: u64,
}

/// What one checkpoint cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) stall_ns: u64,
    pub(super) durable_ns: u64,
    pub(super) bytes_written: u64,
}

impl Files {
    /// An empty store in an empty directory.
    pub(super) fn create(options: &Options, ticks: Ticks, directory: &Path) -> Result<Self> {
        let storage = storage(options, directory)?;
        let store = LsmStore::create(directory, lsm_options(options), storage, Some(&Threads))?;
        Ok(Files::new(options, ticks, store))
    }

    /// The store that a directory has, at its latest checkpoint.
    pub(super) fn open(options: &Options, ticks: Ticks, directory: &Path) -> Result<Self> {
        let storage = storage(options, directory)?;
        let store = LsmStore::open(directory, lsm_options(options), storage, Some(&Threads))?;
        Ok(Files::new(options, ticks, store))
    }

    fn new(options: &Options, ticks: Ticks, store: LsmStore) -> Self {
        let next_checkpoint = store.restored_checkpoint().map_or(1, |id| id.0 + 1);
        Files {
            store,
            barrier_every: options.barrier_every.unwrap_or(u64::MAX),
            beat_rows: options.batch * BEAT_SHARE,
            // The first barrier comes in the middle of a slice, so that its beats are in the slice.
            since_barrier: options.barrier_every.map_or(0, |every| every / 2),
            next_checkpoint,
            in_flight: VecDeque::new(),
            has_beats: false,
            has_budget: options.budget_mib.is_some(),
            spills_in_flight: 0,
            figures: vec![Figures::new(ticks)],
            phase: 0,
            ticks,
        }
    }

    pub(super) fn store(&self) -> &LsmStore {
        &self.store
    }

    /// Figures of the phase that runs, or was the last to run.
    pub(super) fn figures(&self) -> &Figures {
        &self.figures[self.phase]
    }

    /// Figures of a phase that has run.
    pub(super) fn figures_of(&self, phase: usize) -> &Figures {
        &self.figures[phase]
    }

    /// What happens from now on counts for this phase. Nothing may be in flight.
    pub(super) fn begin_phase(&mut self, phase: usize) {
        let ticks = self.ticks;
        self.figures.resize_with(self.figures.len().max(phase + 1), || Figures::new(ticks));
        self.phase = phase;
    }

    /// Barriers of all phases.
    pub(super) fn barrier_count(&self) -> u64 {
        self.figures.iter().map(|figures| figures.stalls.count()).sum()
    }

    /// What is done after a batch of so many records.
    #[inline]
    pub(super) fn after_batch(
        &mut self,
        table: &mut (impl Table + ?Sized),
        records: usize,
    ) -> Result<()> {
        self.since_barrier += records as u64;
        if self.since_barrier >= self.barrier_every {
            self.since_barrier = 0;
            self.barrier(table)?;
        }
        if self.has_beats || self.has_budget {
            let (figures, beat_rows) = (&mut self.figures[self.phase], self.beat_rows);
            let progress = figures.beats.time(|| table.beat(beat_rows))?;
            self.has_beats = !progress.is_done();
            self.relieve(table, progress.memory)?;
        }
        // With a budget rows are read meanwhile: from the files that there are now.
        if !self.in_flight.is_empty() || self.has_budget {
            self.poll()?;
        }
        Ok(())
    }

    /// Does what a beat asks for when memory is short: ends the epoch so that its rows can leave,
    /// and takes no record until there is room.
    #[inline]
    fn relieve(
        &mut self,
        table: &mut (impl Table + ?Sized),
        mut memory: MemoryPressure,
    ) -> Result<()> {
        let begin_ns = if memory.is_over { now_ns() } else { 0 };
        loop {
            if memory.wants_spill {
                self.spill(table)?;
            }
            if !memory.is_over {
                break;
            }
            self.poll()?;
            let progress = table.beat(SETTLE_ROWS)?;
            memory = progress.memory;
            self.has_beats = !progress.is_done();
            if memory.is_over && !self.has_beats {
                std::thread::park_timeout(POLL_PAUSE);
            }
        }
        if begin_ns > 0 {
            let waited_ns = now_ns() - begin_ns;
            let figures = &mut self.figures[self.phase];
            figures.waits.record_ns(waited_ns);
            figures.wait_ns += waited_ns;
        }
        Ok(())
    }

    /// Ends the epoch without a checkpoint.
    fn spill(&mut self, table: &mut (impl Table + ?Sized)) -> Result<()> {
        let ended = self.end_epoch(table, |store| store.begin_spill().map(drop));
        match ended {
            Ok(()) => {
                self.spills_in_flight += 1;
                self.figures[self.phase].spills += 1;
                self.has_beats = true;
                Ok(())
            }
            Err(StateError::Store(error)) if matches!(*error, StoreError::Congested { .. }) => {
                self.figures[self.phase].refused += 1;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the epoch, and counts how long that holds records up.
    fn end_epoch(
        &mut self,
        table: &mut (impl Table + ?Sized),
        begin: impl FnOnce(&LsmStore) -> Result<(), StoreError>,
    ) -> Result<(), StateError> {
        let waited_ns = thread_waited_ns();
        let began = ticks();
        let ended = begin(&self.store).map_err(StateError::from).and_then(|()| table.barrier());
        let stall_ns = self.ticks.to_ns(ticks().saturating_sub(began));
        let waited_ns = thread_waited_ns().saturating_sub(waited_ns);
        let figures = &mut self.figures[self.phase];
        figures.stalls.record_ns(stall_ns);
        figures.running_stalls.record_ns(stall_ns.saturating_sub(waited_ns));
        ended
    }

    /// Ends the epoch with a checkpoint; false if the store refuses it.
    pub(super) fn barrier(&mut self, table: &mut (impl Table + ?Sized)) -> Result<bool> {
        let id = CheckpointId(self.next_checkpoint);
        let begin_ns = now_ns();
        let ended = self.end_epoch(table, |store| store.begin_checkpoint(id).map(drop));
        match ended {
            Ok(_) => {
                self.next_checkpoint += 1;
                self.in_flight.push_back((id, begin_ns));
                self.has_beats = true;
                Ok(true)
            }
            Err(StateError::Store(error)) if matches!(*error, StoreError::Congested { .. }) => {
                self.figures[self.phase].refused += 1;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The checkpoint of all that was loaded, which counts for nothing.
    pub(super) fn first_checkpoint(&mut self, table: &mut (impl Table + ?Sized)) -> Result<()> {
        self.barrier(table)?;
        self.settle(table)?;
        self.figures[self.phase] = Figures::new(self.ticks);
        Ok(())
    }

    /// A checkpoint of what has changed, with nothing else going on; what it cost.
    pub(super) fn checkpoint(&mut self, table: &mut (impl Table + ?Sized)) -> Result<Cost> {
        self.figures[self.phase] = Figures::new(self.ticks);
        self.barrier(table)?;
        self.settle(table)?;
        let Figures { stalls, durable, bytes_written, .. } = self.figures();
        let (stall_ns, durable_ns) = (stalls.longest_ns(), durable.longest_ns());
        Ok(Cost { stall_ns, durable_ns, bytes_written: *bytes_written })
    }

    fn poll(&mut self) -> Result<()> {
        let figures = &mut self.figures[self.phase];
        for event in self.store.poll() {
            match event {
                StoreEvent::CheckpointComplete { id, bytes_written, .. } => {
                    figures.bytes_written += bytes_written;
                    while let Some((first, begin_ns)) = self.in_flight.pop_front() {
                        figures.durable.record_ns(now_ns() - begin_ns);
                        if first == id {
                            break;
                        }
                    }
                }
                StoreEvent::SpillComplete { bytes_written, .. } => {
                    figures.bytes_written += bytes_written;
                    self.spills_in_flight = self.spills_in_flight.saturating_sub(1);
                    let levels = self.store.statistics().levels;
                    figures
                        .level_counts
                        .push(levels.iter().filter(|level| level.file_count > 0).count());
                }
                other => return Err(format!("in the background: {other:?}").into()),
            }
        }
        Ok(())
    }

    /// Writes down what ended epochs still owe, and waits until all checkpoints are durable.
    pub(super) fn settle(&mut self, table: &mut (impl Table + ?Sized)) -> Result<()> {
        let begin_ns = now_ns();
        while self.has_beats {
            self.has_beats = !table.beat(SETTLE_ROWS)?.is_done();
        }
        while !self.in_flight.is_empty() || self.spills_in_flight > 0 {
            self.poll()?;
            // Not a busy wait: the store's threads may need this processor.
            std::thread::park_timeout(POLL_PAUSE);
        }
        self.figures[self.phase].settle_ns += now_ns() - begin_ns;
        Ok(())
    }
}

impl Figures {
    fn new(ticks: Ticks) -> Self {
        let [stalls, running_stalls, beats, durable, waits] =
            std::array::from_fn(|_| Latencies::new(ticks));
        Figures {
            stalls,
            running_stalls,
            level_counts: Vec::new(),
            beats,
            durable,
            bytes_written: 0,
            waits,
            wait_ns: 0,
            spills: 0,
            refused: 0,
            settle_ns: 0,
        }
    }

    /// How many levels had files: the median over all spills, and the most.
    pub(super) fn levels(&self) -> (usize, usize) {
        let mut counts = self.level_counts.clone();
        counts.sort_unstable();
        let median = counts.get(counts.len() / 2).copied().unwrap_or(0);
        (median, counts.last().copied().unwrap_or(0))
    }

    /// The fields of a line.
    pub(super) fn add_to(&self, line: Line) -> Line {
        let ms = |ns: u64| ns as f64 / 1e6;
        let checkpoint_bytes = self.bytes_written / self.durable.count().max(1);
        line.field("barriers", self.stalls.count())
            .field("checkpoints", self.durable.count())
            .field("refused", self.refused)
            .field("spills", self.spills)
            .field("waits", self.waits.count())
            .us("wait_longest_us", self.waits.longest_ns())
            .number("wait_s", self.wait_ns as f64 / 1e9, 2)
            .us("stall_p50_us", self.stalls.quantile_ns(0.5))
            .us("stall_p999_us", self.stalls.quantile_ns(0.999))
            .us("stall_max_us", self.stalls.longest_ns())
            .us("stall_running_p999_us", self.running_stalls.quantile_ns(0.999))
            .us("stall_running_max_us", self.running_stalls.longest_ns())
            .us("beat_p999_us", self.beats.quantile_ns(0.999))
            .us("beat_max_us", self.beats.longest_ns())
            .number("durable_p50_ms", ms(self.durable.quantile_ns(0.5)), 1)
            .number("durable_max_ms", ms(self.durable.longest_ns()), 1)
            .mib("checkpoints_mib", self.bytes_written)
            .mib("mib/checkpoint", checkpoint_bytes)
            .number("settle_ms", ms(self.settle_ns), 0)
    }
}

/// The directories of a run's stores, one after the other, and the files in them if the run has any.
pub(super) struct Runs<'a> {
    options: &'a Options,
    ticks: Ticks,
    scratch: Scratch,
    count: usize,
}

impl<'a> Runs<'a> {
    pub(super) fn new(options: &'a Options, ticks: Ticks, name: &str) -> Result<Self> {
        let scratch = Scratch::new(&options.directory, name)?;
        Ok(Runs { options, ticks, scratch, count: 0 })
    }

    /// Files of another store, if state is on files.
    pub(super) fn next_files(&mut self) -> Result<Option<Files>> {
        self.count += 1;
        let directory = self.scratch.path().join(self.count.to_string());
        match self.options.backend {
            Backend::Memory => Ok(None),
            Backend::Lsm => Files::create(self.options, self.ticks, &directory).map(Some),
        }
    }
}

fn lsm_options(options: &Options) -> LsmOptions {
    let groups = KeyGroupRange { start: 0, end: KEY_GROUPS };
    LsmOptions::new(groups, KEY_GROUPS)
        .memory_budget_bytes(options.budget_bytes().map(|bytes| bytes as u64))
}

/// The storage of a run, with a place for files that are given up.
fn storage(options: &Options, directory: &Path) -> Result<Arc<dyn Storage>> {
    Ok(match options.storage {
        StorageKind::Posix => Arc::new(PosixStorage::new()),
        StorageKind::Uring => {
            let spares = directory.with_extension("spares");
            let uring = UringOptions::new().spare_directory(spares);
            Arc::new(UringStorage::new(uring, &Threads)?)
        }
    })
}
