//! The owner's half of a store: which epochs are complete, what was sent, which files are read.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use thalweg_io::Spawner;
use thalweg_io::memory::PageSupply;

use super::statistics::{LevelStatistics, StoreStatistics};
use super::table_registry::{Registered, TableRegistry, TableRequest};
use super::{
    DeltaBlock, Epoch, LsmOptions, OlderCheckpoints, PartitionLayout, Replacement, RowAddress,
    RowVisitor, ScanVisitor, StoreError, Tier,
};
use crate::codec::{Record, TableId};
use crate::delta::{DeltaCache, DeltaReader};
use crate::manifest::{Contents, FileMeta, FilePart, ManifestLog, Version};
use crate::read::SortedReader;
use crate::snapshot::{
    CheckpointId, Command, DataFile, EpochEnd, Gauges, Notice, Outbox, Progress, StateRoot,
    StoreEvent, StoreFiles, StoreName, Worker, WorkerSettings,
};
use crate::{KeyGroup, KeyGroupRange, KeyHash, StateError};

/// Rows that are read together: the blocks of deltas that they need are in memory at a time.
const BATCH_ROWS: usize = 256;

/// How much a worker without a thread does in one poll.
const INLINE_BYTES: usize = 1 << 20;

/// See [`LsmStore`](super::LsmStore).
///
/// # Invariants
///
/// - `epochs` are the ones that some table has not finished, in order; the last one is current.
/// - Files of `version`, and no others, are open; the worker knows its number.
/// - With a memory budget tables are shown an epoch when its delta is sorted. Until then they keep
///   its rows, and remember what it removed: so nothing that they ask for is in such a delta, and
///   none is in `shown`. What was there when the store was opened is.
#[derive(Debug)]
pub(super) struct LsmTier {
    page_supply: Option<PageSupply>,
    options: LsmOptions,
    root: Arc<StateRoot>,
    layout: PartitionLayout,
    restored: Option<CheckpointId>,
    /// Those that the manifest had when the store was opened, the oldest first.
    opened_with: Box<[CheckpointId]>,
    registry: TableRegistry,
    tables: Vec<OpenTable>,
    epochs: VecDeque<OpenEpoch>,
    version: Arc<Version>,
    /// What rows are read from.
    shown: Arc<Version>,
    readable: Epoch,
    /// The deltas that were there when the store was opened.
    restored_deltas: BTreeSet<FilePart>,
    deltas: DeltaCache,
    sorted: SortedReader,
    rows_read: u64,
    now_ms: i64,
    /// Whether the latest poll found nothing to do.
    is_idle: bool,
    link: WorkerLink,
    /// Taken last: the worker is gone by then.
    _name: StoreName,
}

#[derive(Debug)]
struct OpenTable {
    id: TableId,
    /// All epochs up to this one are finished.
    finished: Epoch,
    /// What its resident rows took when it last told.
    used_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct OpenEpoch {
    epoch: Epoch,
    /// Whether barriers may end it, and what it is then.
    begun: Option<Option<CheckpointId>>,
    /// Whether it or one soon has all rows, so that older files are not needed.
    replacement: Option<Replacement>,
}

impl OpenEpoch {
    fn current(epoch: Epoch) -> Self {
        OpenEpoch { epoch, begun: None, replacement: None }
    }
}

/// What a store starts from.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) name: StoreName,
    pub(super) root: Arc<StateRoot>,
    pub(super) contents: Contents,
    /// The files that the manifest refers to until then.
    pub(super) before: BTreeSet<DataFile>,
    pub(super) checkpoint: Option<CheckpointId>,
}

/// The worker, wherever it runs.
#[derive(Debug)]
struct WorkerLink {
    /// `None` once the worker was told to end.
    commands: Option<Sender<Command>>,
    notices: Receiver<Notice>,
    gauges: Arc<Gauges>,
    place: WorkerPlace,
}

#[derive(Debug)]
enum WorkerPlace {
    Inline(Box<Worker>),
    /// Disconnected when the thread has ended.
    Thread(Receiver<Infallible>),
}

impl LsmTier {
    /// Writes the manifest of a store with these contents and starts its worker. `before` are the
    /// files that the store's manifest refers to until then.
    pub(super) fn start(
        start: Start,
        options: LsmOptions,
        spawner: Option<&dyn Spawner>,
    ) -> Result<Self, StoreError> {
        let Start { name, root, contents, before, checkpoint } = start;
        let store: &str = &options.store;
        let files = root.files().of_store(store);
        check_files(&files, &contents)?;
        let registry = TableRegistry::new(store, contents.tables.clone(), &contents.live);
        let opened_with = contents.checkpoints.keys().copied().collect();
        let manifest = ManifestLog::new(files.clone(), root.manifest_path(store), contents);
        let layout = PartitionLayout::new(options.key_groups, options.max_parallelism);
        let gauges = Arc::new(Gauges::new());
        let deltas = DeltaCache::new(files.clone(), options.cache_bytes() / 2);
        let sorted = SortedReader::new(files.clone(), options.cache_bytes() / 2);
        let (commands, inbox) = mpsc::channel();
        let (sender, notices) = mpsc::channel();
        let settings = WorkerSettings {
            root: Arc::clone(&root),
            files,
            layout,
            retained_checkpoints: options.retained_checkpoints,
            compaction: options.compaction(),
            is_full: options.full_checkpoints,
            commands: inbox,
            outbox: Outbox::new(sender, options.waker.clone()),
            gauges: Arc::clone(&gauges),
        };
        let worker = Worker::start(settings, manifest, &before);
        let worker = worker.map_err(|error| StoreError::io(store, error))?;
        let version = worker.version();
        gauges.set_reader_version(version.number);
        let place = place_worker(store, worker, spawner, &commands)?;
        let link = WorkerLink { commands: Some(commands), notices, gauges, place };
        let current = version.epoch.map_or(Epoch::FIRST, Epoch::next);
        let epochs = VecDeque::from([OpenEpoch::current(current)]);
        let readable = version.epoch.unwrap_or(Epoch(0));
        Ok(LsmTier {
            // Without it memory comes in small pages.
            page_supply: spawner.and_then(|spawner| PageSupply::start(spawner).ok()),
            shown: Arc::clone(&version),
            readable,
            restored_deltas: version.deltas.iter().map(|file| file.part()).collect(),
            options,
            root,
            layout,
            restored: checkpoint,
            opened_with,
            registry,
            tables: Vec::new(),
            epochs,
            version,
            deltas,
            sorted,
            rows_read: 0,
            now_ms: i64::MIN,
            is_idle: false,
            link,
            _name: name,
        })
    }

    pub(super) fn restored_checkpoint(&self) -> Option<CheckpointId> {
        self.restored
    }

    pub(super) fn opened_with(&self) -> &[CheckpointId] {
        &self.opened_with
    }

    pub(super) fn options(&self) -> &LsmOptions {
        &self.options
    }

    pub(super) fn layout(&self) -> PartitionLayout {
        self.layout
    }

    pub(super) fn current_epoch(&self) -> Epoch {
        self.epochs.back().expect("there is a current epoch").epoch
    }

    pub(super) fn waiting_bytes(&self) -> u64 {
        self.link.gauges.waiting_bytes()
    }

    /// Opens a table, which takes part from the current epoch on.
    pub(super) fn open_table(
        &mut self,
        request: &TableRequest<'_>,
    ) -> Result<(TableId, Epoch, Registered), StoreError> {
        let id = self.root.table_id(&self.options.store, request.name)?;
        let epoch = self.current_epoch();
        let mut registered = self.registry.open(id, request, epoch)?;
        let new_records = std::mem::take(&mut registered.new_records);
        if !new_records.is_empty() {
            self.link.send(Command::Describe(new_records));
        }
        self.tables.push(OpenTable { id, finished: Epoch(epoch.0 - 1), used_bytes: 0 });
        Ok((id, epoch, registered))
    }

    /// Names the current epoch and begins the next one.
    pub(super) fn begin_epoch(
        &mut self,
        checkpoint: Option<CheckpointId>,
    ) -> Result<Epoch, StoreError> {
        let is_latest = |open: &&OpenEpoch| checkpoint.is_some() && open.begun == Some(checkpoint);
        if let Some(open) = self.epochs.iter().find(is_latest) {
            return Ok(open.epoch);
        }
        let (waiting_bytes, limit_bytes) = (self.waiting_bytes(), self.options.waiting_bytes_max);
        let store = || self.options.store.clone();
        if waiting_bytes > limit_bytes {
            return Err(StoreError::Congested { store: store(), waiting_bytes, limit_bytes });
        }
        if self.link.is_ended() {
            return Err(StoreError::WorkerEnded { store: store() });
        }
        let epoch = self.begin(checkpoint);
        self.send_complete();
        Ok(epoch)
    }

    fn begin(&mut self, checkpoint: Option<CheckpointId>) -> Epoch {
        let current = self.epochs.back_mut().expect("there is a current epoch");
        current.begun = Some(checkpoint);
        let epoch = current.epoch;
        self.epochs.push_back(OpenEpoch::current(epoch.next()));
        epoch
    }

    /// Sends the ends of the epochs that all tables have finished.
    fn send_complete(&mut self) {
        let finished = self.tables.iter().map(|table| table.finished).min();
        while let Some(OpenEpoch { epoch, begun: Some(checkpoint), replacement }) =
            self.epochs.front().copied()
        {
            if finished.is_some_and(|finished| finished < epoch) {
                return;
            }
            self.epochs.pop_front();
            self.link.send(Command::End(EpochEnd { epoch, checkpoint, replacement }));
        }
    }

    pub(super) fn release_checkpoint(&mut self, id: CheckpointId) {
        self.link.send(Command::Release(id));
    }

    /// Takes notices and gives events.
    pub(super) fn poll(&mut self) -> Vec<StoreEvent> {
        self.is_idle = !self.link.run_inline();
        let mut events = Vec::new();
        while let Ok(notice) = self.link.notices.try_recv() {
            match notice {
                Notice::Event(event) => events.push(event),
                Notice::Version(version) => self.use_version(version),
            }
        }
        events
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_idle
    }

    fn use_version(&mut self, version: Arc<Version>) {
        self.version = version;
        (self.shown, self.readable) = self.shown_of(&self.version);
        self.deltas.retain(&self.shown);
        self.sorted.retain(&self.shown);
        self.link.gauges.set_reader_version(self.version.number);
    }

    /// What of a version tables are shown, and up to which epoch that is.
    fn shown_of(&self, version: &Arc<Version>) -> (Arc<Version>, Epoch) {
        let all = version.epoch.unwrap_or(Epoch(0));
        if !self.options.compaction().sorts_deltas {
            return (Arc::clone(version), all);
        }
        let is_shown = |file: &&Arc<FileMeta>| self.restored_deltas.contains(&file.part());
        let hidden = version.deltas.iter().filter(|file| !is_shown(file));
        let Some(oldest) = hidden.map(|file| file.first_epoch).min() else {
            return (Arc::clone(version), all);
        };
        let deltas = version.deltas.iter().filter(is_shown).cloned().collect();
        let shown = Version { deltas, ..Version::clone(version) };
        (Arc::new(shown), Epoch(oldest.0 - 1))
    }

    pub(super) fn statistics(&self) -> StoreStatistics {
        let counts = self.link.gauges.counts();
        let (deltas, sorted) = (self.deltas.counters(), self.sorted.counters());
        StoreStatistics {
            readable_epoch: self.readable_epoch().0,
            waiting_bytes: self.waiting_bytes(),
            levels: level_statistics(&self.version),
            garbage_files: counts.garbage_files,
            flushed_files: counts.flushed_files,
            flushed_bytes: counts.flushed_bytes,
            compacted_files: counts.compacted_files,
            compacted_bytes: counts.compacted_bytes,
            removed_files: counts.removed_files,
            rows_read: self.rows_read,
            deltas_indexed: deltas.partition_loads,
            files_probed: sorted.files_probed,
            filter_negatives: sorted.filter_negatives,
            block_hits: sorted.cache_hits + deltas.block_hits,
            blocks_read: sorted.blocks_read + deltas.blocks_read,
            bytes_read: sorted.bytes_read + deltas.bytes_read,
            read_rounds: sorted.rounds_read,
            cache_bytes: (self.deltas.memory_bytes() + self.sorted.memory_bytes()) as u64,
        }
    }
}

/// Starts the worker's threads, or keeps it.
fn place_worker(
    store: &str,
    mut worker: Worker,
    spawner: Option<&dyn Spawner>,
    commands: &Sender<Command>,
) -> Result<WorkerPlace, StoreError> {
    let Some(spawner) = spawner else { return Ok(WorkerPlace::Inline(Box::new(worker))) };
    let no_thread = |source| StoreError::NoThread { store: store.into(), source };
    worker.start_background(spawner, commands.clone()).map_err(no_thread)?;
    let (alive, ended) = mpsc::channel();
    let body = move || {
        // Declared first, dropped last: the owner waits for it.
        let _alive: Sender<Infallible> = alive;
        worker.run_until_abandoned();
    };
    let name = format!("state-{store}");
    spawner.spawn(&name, Box::new(body)).map_err(no_thread)?;
    Ok(WorkerPlace::Thread(ended))
}

/// Fails if a live file is not there, is too short, or a delta's footer is damaged; names the
/// checkpoints that can be opened instead.
fn check_files(files: &StoreFiles, contents: &Contents) -> Result<(), StoreError> {
    let checked = contents.live.files().try_for_each(|file| check_file(files, file));
    checked.map_err(|error| error.with_older(usable_checkpoints(files, contents)))
}

/// The checkpoints whose files are all there, the latest first.
pub(super) fn usable_checkpoints(files: &StoreFiles, contents: &Contents) -> Vec<CheckpointId> {
    let is_usable = |version: &Version| version.files().all(|file| check_file(files, file).is_ok());
    let checkpoints = contents.checkpoints.iter().rev();
    let usable = checkpoints.filter(|(_, checkpoint)| is_usable(&checkpoint.version));
    usable.map(|(id, _)| *id).collect()
}

fn check_file(files: &StoreFiles, file: &FileMeta) -> Result<(), StoreError> {
    let checked = match file.is_delta() {
        true => DeltaReader::open(files, file).map(drop),
        false => files.check_length(file),
    };
    match checked {
        // The manifest names it: what is gone is as bad as what is damaged.
        Err(StoreError::Io { store, source }) if source.is_not_found() => {
            Err(StoreError::Damaged { store, source, older: OlderCheckpoints::default() })
        }
        other => other,
    }
}

fn level_statistics(version: &Version) -> Vec<LevelStatistics> {
    let count = version.levels.len() as u8;
    (0..=count)
        .map(|level| {
            let files = version.level(level);
            LevelStatistics {
                level,
                file_count: files.len(),
                length_bytes: files.iter().map(|file| file.length_bytes()).sum(),
                row_count: files.iter().map(|file| file.row_count).sum(),
            }
        })
        .collect()
}

impl WorkerLink {
    /// Sends a command. A worker that has ended is noticed when the next epoch begins.
    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }

    /// Runs a worker that has no thread; says whether there may be more to do.
    fn run_inline(&mut self) -> bool {
        match &mut self.place {
            WorkerPlace::Inline(worker) => worker.run(INLINE_BYTES) == Progress::Worked,
            WorkerPlace::Thread(_) => false,
        }
    }

    /// Whether the worker's thread has ended, though it was not told to.
    fn is_ended(&self) -> bool {
        match &self.place {
            WorkerPlace::Inline(_) => false,
            WorkerPlace::Thread(ended) => ended.try_recv() == Err(mpsc::TryRecvError::Disconnected),
        }
    }
}

impl Drop for WorkerLink {
    fn drop(&mut self) {
        if let Some(commands) = self.commands.take() {
            // A worker that has ended needs not be told.
            let _ = commands.send(Command::Close);
        }
        if let WorkerPlace::Thread(ended) = &self.place {
            // At most the steps that it and its background are at: a beat, or a sync.
            let _ = ended.recv();
        }
    }
}

impl Tier for LsmTier {
    fn append(&mut self, block: DeltaBlock) -> Result<(), StateError> {
        self.link.gauges.add_waiting(block.bytes.len());
        self.link.send(Command::Block(block));
        Ok(())
    }

    fn finish(&mut self, table: TableId, epoch: Epoch) -> Result<(), StateError> {
        // A table may pass a barrier that nobody announced: it ends an epoch without a checkpoint.
        while self.current_epoch() <= epoch {
            self.begin(None);
        }
        let open = self.tables.iter_mut().find(|open| open.id == table);
        open.expect("tables are opened before they finish epochs").finished = epoch;
        self.send_complete();
        Ok(())
    }

    fn readable_epoch(&self) -> Epoch {
        self.readable
    }

    fn page_supply(&self) -> Option<PageSupply> {
        self.page_supply.clone()
    }

    fn is_full(&self) -> bool {
        self.options.full_checkpoints
    }

    /// Not with a memory budget, where rows leave memory only once a level has them.
    fn replace_all(&mut self, table: TableId, epoch: Epoch, replacement: Replacement) -> bool {
        let has_others = |file: &Arc<FileMeta>| file.tables.iter().any(|other| *other != table);
        if self.tables.len() > 1
            || self.options.compaction().sorts_deltas
            || self.version.files().any(has_others)
        {
            return false;
        }
        match self.epochs.iter_mut().find(|open| open.epoch == epoch) {
            Some(open) => {
                open.replacement = Some(replacement);
                true
            }
            None => false,
        }
    }

    /// Tables share what caches leave of the budget in proportion to what they use, so that all of
    /// them shrink by the same part.
    fn share_of_budget(&mut self, table: TableId, used_bytes: u64) -> Option<u64> {
        let rows_bytes = self.options.rows_budget_bytes(self.sorted.open_bytes() as u64)?;
        let open = self.tables.iter_mut().find(|open| open.id == table)?;
        open.used_bytes = used_bytes;
        let all: u64 = self.tables.iter().map(|open| open.used_bytes).sum();
        let share = u128::from(rows_bytes) * u128::from(used_bytes) / u128::from(all.max(1));
        // A table that has nothing yet may have all that is left.
        Some((share as u64).max(rows_bytes.saturating_sub(all)))
    }

    fn has_rows(&self, table: TableId) -> bool {
        self.version.has_rows(table)
    }

    fn may_hold(&self, table: TableId, group: KeyGroup, hash: KeyHash) -> bool {
        self.deltas.may_hold(&self.shown, table, group, hash)
            || self.sorted.may_hold(&self.shown, table, group, hash)
    }

    fn read_rows(
        &mut self,
        table: TableId,
        rows: &[RowAddress<'_>],
        visit: RowVisitor<'_>,
    ) -> Result<(), StateError> {
        self.rows_read += rows.len() as u64;
        for (batch, rows) in rows.chunks(BATCH_ROWS).enumerate() {
            self.deltas.load(&self.shown, table, rows)?;
            let (version, deltas) = (&self.shown, &self.deltas);
            let visit =
                &mut |row: usize, record: &Record<'_>| visit(batch * BATCH_ROWS + row, record);
            self.sorted.read_rows(version, deltas, table, rows, self.now_ms, visit)?;
        }
        Ok(())
    }

    fn scan(
        &mut self,
        table: TableId,
        range: KeyGroupRange,
        visit: ScanVisitor<'_>,
    ) -> Result<(), StateError> {
        let groups = range.intersection(self.layout.groups());
        self.sorted.scan(&self.shown, table, groups, self.now_ms, visit)
    }

    fn set_now_ms(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.link.gauges.set_now_ms(now_ms);
    }
}
