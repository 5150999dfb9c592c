//! Copies of metadata files in a store in memory that fails when told to; each `Process` is one life of a job.

use super::index::{self, IndexName};
use super::test_objects::TestObjects;
use super::*;
use crate::checkpoint::metadata::{CheckpointMetadata, StoredOperator, StoredPiece};
use crate::checkpoint::store::CheckpointStore;
use crate::config::Restore;
use crate::record::CheckpointId;
use crate::time::ManualClock;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thalweg_io::storage::{MemoryStorage, Storage};

const PART_BYTES: usize = 700;
const DIRECTORY: &str = "/local";

/// What a job is like.
#[derive(Clone)]
struct Job {
    name: &'static str,
    commits: bool,
    commits_wait: bool,
    restore: Restore,
    allows_repeats: bool,
    retained: usize,
}

const PLAIN: Job = Job {
    name: "job",
    commits: false,
    commits_wait: false,
    restore: Restore::Latest,
    allows_repeats: false,
    retained: 2,
};
const COMMITTING: Job = Job { commits: true, ..PLAIN };
const WAITING: Job = Job { commits_wait: true, ..COMMITTING };

struct Process {
    job: Job,
    copy: RemoteCopy,
    store: CheckpointStore,
    statistics: StatisticsCell,
}

fn machine() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::new())
}

impl Process {
    /// Goes on from the latest local checkpoint, as the control plane does.
    fn start(
        job: Job,
        machine: &Arc<dyn Storage>,
        objects: &Arc<TestObjects>,
    ) -> Result<(Self, Option<u64>), String> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // By the process before, when it ended.
        objects.state().is_cut_short = false;
        let statistics = StatisticsCell::default();
        let settings = RemoteSettings {
            url: "test".to_owned(),
            endpoint: None,
            region: None,
            access_key: None,
            secret_key: None,
            part_bytes: PART_BYTES,
            parallelism: 2,
            timeout: Duration::from_secs(1),
            retained: job.retained,
            commits_wait: job.commits_wait,
        };
        let remote = RemoteJob {
            settings,
            name: job.name.to_owned(),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            directory: DIRECTORY.into(),
            storage: machine.clone(),
            restore: job.restore,
            allow_repeated_commits: job.allows_repeats,
            clock: Arc::new(ManualClock::at_ms(1_000)),
            statistics: statistics.clone(),
            interrupt: Interrupt::default(),
            is_inline: true,
        };
        let copy = RemoteCopy::open_at(remote, objects.clone()).map_err(|e| e.to_string())?;
        let store = CheckpointStore::open(machine.clone(), Path::new(DIRECTORY)).unwrap();
        let found = match job.restore {
            Restore::Nothing => {
                store.clear().unwrap();
                None
            }
            _ => store.latest(job.name, job.allows_repeats, None).unwrap(),
        };
        let found = found.map(|(metadata, _)| metadata);
        if let Some(metadata) = &found {
            copy.resume(&store, metadata).map_err(|error| error.to_string())?;
        }
        let began_at = found.map(|metadata| metadata.checkpoint);
        Ok((Process { job, copy, store, statistics }, began_at))
    }

    /// A checkpoint whose file is this often a part long, and told apart from others by its number.
    fn metadata(&self, checkpoint: u64, parts: usize) -> CheckpointMetadata {
        let noise = (0..parts * PART_BYTES).map(|at| ((at * at) >> 8) as u8 ^ checkpoint as u8);
        let piece = StoredPiece {
            name: "rows".to_owned(),
            subtask: 0,
            bytes: noise.collect::<Vec<u8>>().into(),
        };
        CheckpointMetadata {
            job_name: self.job.name.to_owned(),
            checkpoint,
            taken_at_ms: 5,
            is_final: false,
            commits: self.job.commits,
            is_savepoint: false,
            origin: None,
            operators: vec![StoredOperator {
                id: (0, 1),
                name: "operator".to_owned(),
                uid: None,
                parallelism: 1,
                max_parallelism: 128,
                pieces: vec![piece],
            }],
        }
    }

    fn checkpoint(&self, checkpoint: u64) -> Result<(), String> {
        let metadata = self.metadata(checkpoint, 4);
        self.store.save(&metadata).unwrap();
        self.copy.saved(&self.store, &metadata)
    }

    fn statistics(&self) -> RemoteStatistics {
        self.statistics.get().unwrap()
    }
}

/// The checkpoints that have an index, oldest first.
fn copies(objects: &TestObjects) -> Vec<u64> {
    let names = objects.names(index::FOLDER);
    names.iter().map(|name| IndexName::of_object(name).unwrap().checkpoint.0).collect()
}

fn start(
    job: &Job,
    machine: &Arc<dyn Storage>,
    objects: &Arc<TestObjects>,
) -> (Process, Option<u64>) {
    Process::start(job.clone(), machine, objects).unwrap()
}

/// A store with copies of checkpoints 1 to 3.
fn filled(job: &Job) -> Arc<TestObjects> {
    let objects = Arc::new(TestObjects::default());
    let (process, began_at) = start(job, &machine(), &objects);
    assert_eq!(began_at, None);
    (1..=3).for_each(|id| process.checkpoint(id).unwrap());
    assert_eq!(copies(&objects), [2, 3][2 - job.retained..]);
    objects
}

#[test]
fn an_empty_machine_goes_on_from_the_newest_copy() {
    let objects = filled(&PLAIN);
    let other = machine();
    let (process, began_at) = start(&PLAIN, &other, &objects);
    assert_eq!(began_at, Some(3));
    let statistics = process.statistics();
    assert_eq!(
        (statistics.fetched, statistics.latest),
        (Some(CheckpointId(3)), Some(CheckpointId(3)))
    );
    assert!(statistics.fetched_bytes > 4 * PART_BYTES as u64);
    assert_eq!((statistics.completed, statistics.sent_parts), (0, 0), "it is there already");
    assert_eq!(process.store.load(CheckpointId(3)).unwrap(), process.metadata(3, 4));
    process.checkpoint(4).unwrap();
    assert_eq!(copies(&objects), [3, 4]);
    drop(process);
    // The same machine goes on locally, and fetches nothing.
    let (process, began_at) = start(&PLAIN, &other, &objects);
    assert_eq!((began_at, process.statistics().fetched), (Some(4), None));
}

#[test]
fn what_was_sent_before_a_failure_is_not_sent_again() {
    let (objects, machine) = (Arc::new(TestObjects::default()), machine());
    let (process, _) = start(&PLAIN, &machine, &objects);
    objects.state().writes_left = Some(3);
    process.checkpoint(1).unwrap();
    let statistics = process.statistics();
    assert_eq!((statistics.failed, statistics.completed), (1, 0));
    assert!(statistics.latest_failure.unwrap().contains("on purpose"));
    assert_eq!((objects.names("parts").len(), copies(&objects)), (3, vec![]));
    drop(process);
    objects.state().writes_left = None;
    let other = self::machine();
    assert_eq!(start(&PLAIN, &other, &objects).1, None, "half a copy is none");

    // That one has claimed the place: the first machine is not of its history, and then its directory is the one to go on.
    let error = Process::start(PLAIN, &machine, &objects).err().unwrap();
    assert!(error.contains("not of one history") && error.contains("restore"), "{error}");
    objects.state().objects.retain(|name, _| !name.starts_with("owners"));
    let (process, began_at) = start(&PLAIN, &machine, &objects);
    assert_eq!((began_at, copies(&objects)), (Some(1), vec![1]), "the start goes on with the copy");
    let statistics = process.statistics();
    assert!(statistics.reused_parts >= 2, "{statistics:?}");
    let written = objects.state().written.clone();
    let parts: Vec<_> = written.iter().filter(|name| name.starts_with("parts")).collect();
    let once: BTreeSet<_> = parts.iter().collect();
    assert_eq!(parts.len(), once.len(), "each part was sent once: {parts:?}");
}

#[test]
fn parts_that_no_kept_copy_needs_are_removed() {
    let objects = filled(&Job { retained: 1, ..PLAIN });
    objects.state().objects.insert(format!("parts/{}", "0".repeat(64)), vec![0]);
    let (process, _) = start(&Job { retained: 1, ..PLAIN }, &machine(), &objects);
    process.checkpoint(4).unwrap();
    assert_eq!(copies(&objects), [4]);
    let (_, index) = read_index(&objects);
    let needed: BTreeSet<_> = index.parts().map(|part| part.object()).collect();
    assert_eq!(objects.names("parts").into_iter().collect::<BTreeSet<_>>(), needed);
    assert_eq!(objects.names("owners").len(), 1);
    assert!(process.statistics().removed_objects > needed.len() as u64);
    process.copy.finish(Ending::Remove);
    assert_eq!(objects.names("parts").len() + objects.names("indexes").len(), 0);
}

/// The newest index.
fn read_index(objects: &TestObjects) -> (IndexName, index::Index) {
    let name = IndexName::of_object(objects.names(index::FOLDER).last().unwrap()).unwrap();
    let bytes = objects.state().objects[&name.object()].clone();
    (name, index::Index::decode("test", name, &bytes).unwrap())
}

#[test]
fn damage_is_named_and_an_older_copy_is_taken_only_where_nothing_was_committed() {
    type Spoil = fn(&TestObjects) -> String;
    let last_part = |objects: &TestObjects| {
        let (_, index) = read_index(objects);
        index.files.last().unwrap().parts.last().unwrap().hash.object()
    };
    let spoils: [Spoil; 4] = [
        |objects| {
            let (name, _) = read_index(objects);
            objects.state().objects.get_mut(&name.object()).unwrap()[9] ^= 1;
            name.object()
        },
        |objects| {
            let (name, _) = read_index(objects);
            objects.state().objects.get_mut(&name.object()).unwrap().pop();
            name.object()
        },
        |objects| {
            let (_, index) = read_index(objects);
            let name = index.files.last().unwrap().parts[1].hash.object();
            objects.state().objects.get_mut(&name).unwrap()[0] ^= 0x80;
            name
        },
        |objects| {
            let (_, index) = read_index(objects);
            let name = index.files.last().unwrap().parts[2].hash.object();
            objects.state().objects.remove(&name).unwrap();
            name
        },
    ];
    for spoil in spoils {
        let objects = filled(&PLAIN);
        spoil(&objects);
        assert_eq!(start(&PLAIN, &machine(), &objects).1, Some(2));

        let objects = filled(&WAITING);
        let name = spoil(&objects);
        let error = Process::start(WAITING, &machine(), &objects).err().unwrap();
        assert!(error.contains(&name) && error.contains("test:"), "{error}");
        let allowing = Job { allows_repeats: true, ..WAITING };
        assert_eq!(start(&allowing, &machine(), &objects).1, Some(2));
    }
    // If none is left there is an error, not a beginning.
    let objects = filled(&Job { retained: 1, ..PLAIN });
    objects.state().objects.retain(|name, _| !name.starts_with("parts"));
    let error = Process::start(PLAIN, &machine(), &objects).err().unwrap();
    assert!(error.contains("is not there"), "{error}");
    let objects = filled(&PLAIN);
    let name = last_part(&objects);
    objects.state().objects.insert(name, Vec::new());
    assert_eq!(start(&PLAIN, &machine(), &objects).1, Some(2), "cut to nothing");
}

#[test]
fn a_copy_that_commits_may_have_gone_past_is_refused() {
    let objects = filled(&COMMITTING);
    let error = Process::start(COMMITTING, &machine(), &objects).err().unwrap();
    assert!(
        error.contains("`allow_repeated_commits`") && error.contains("checkpoint 3"),
        "{error}"
    );
    assert!(error.contains("`commits_wait_for_upload`"), "{error}");
    let allowing = Job { allows_repeats: true, ..COMMITTING };
    assert_eq!(start(&allowing, &machine(), &objects).1, Some(3));
    // Commits that wait cannot have; nor can those of a job that has finished.
    assert_eq!(start(&WAITING, &machine(), &filled(&WAITING)).1, Some(3));
    let objects = Arc::new(TestObjects::default());
    let (process, _) = start(&COMMITTING, &machine(), &objects);
    let last = CheckpointMetadata { is_final: true, ..process.metadata(7, 1) };
    process.store.save(&last).unwrap();
    process.copy.saved(&process.store, &last).unwrap();
    assert_eq!(start(&COMMITTING, &machine(), &objects).1, Some(7));
}

#[test]
fn what_is_not_copied_is_not_committed_if_commits_wait() {
    let (objects, machine) = (Arc::new(TestObjects::default()), machine());
    let (process, _) = start(&WAITING, &machine, &objects);
    process.checkpoint(1).unwrap();
    objects.state().is_away = true;
    let error = process.checkpoint(2).unwrap_err();
    assert!(error.contains("checkpoint_remote_timeout_ms"), "{error}");
    assert_eq!(process.store.list().unwrap(), [CheckpointId(1)], "it is given up here, too");
    drop(process);
    // A start would commit what its checkpoint has: it must be copied first.
    let error = Process::start(WAITING, &machine, &objects).err().unwrap();
    assert!(error.contains("on purpose"), "{error}");
    objects.state().is_away = false;
    let (process, began_at) = start(&WAITING, &machine, &objects);
    assert_eq!(began_at, Some(1));
    process.checkpoint(2).unwrap();
    assert_eq!(copies(&objects), [1, 2]);
}

#[test]
fn a_store_that_is_away_holds_up_nobody_who_can_go_on() {
    let (objects, machine) = (Arc::new(TestObjects::default()), machine());
    objects.state().is_away = true;
    let error = Process::start(COMMITTING, &machine, &objects).err().unwrap();
    assert!(error.contains("on purpose"), "nobody knows what is there: {error}");
    objects.state().is_away = false;
    let (process, _) = start(&COMMITTING, &machine, &objects);
    process.checkpoint(1).unwrap();
    objects.state().is_away = true;
    process.checkpoint(2).unwrap();
    assert_eq!(process.statistics().failed, 1);
    drop(process);
    let (process, began_at) = start(&COMMITTING, &machine, &objects);
    assert_eq!((began_at, process.statistics().failed), (Some(2), 2), "claim and copy");
    objects.state().is_away = false;
    process.checkpoint(3).unwrap();
    assert_eq!((copies(&objects), process.statistics().latest_failure), (vec![1, 3], None));
}

#[test]
fn a_place_has_one_owner() {
    let objects = filled(&WAITING);
    let other = Job { name: "other", ..WAITING };
    let error = Process::start(other, &machine(), &objects).err().unwrap();
    assert!(error.contains("'job'") && error.contains("'other'"), "{error}");

    let (first_machine, second_machine) = (machine(), machine());
    let (first, _) = start(&WAITING, &first_machine, &objects);
    first.checkpoint(4).unwrap();
    let (second, began_at) = start(&WAITING, &second_machine, &objects);
    assert_eq!(began_at, Some(4));
    let error = first.checkpoint(5).unwrap_err();
    assert!(error.contains("claimed by another process"), "{error}");
    assert_eq!(first.store.list().unwrap().last(), Some(&CheckpointId(4)), "nobody commits it");
    let error = first.checkpoint(6).unwrap_err();
    assert!(error.contains("claimed by another process"), "for good: {error}");
    second.checkpoint(5).unwrap();
    drop((first, second));
    // The copy that the first wrote after it had lost the place is not the newest, whatever its number.
    let (_, began_at) = start(&WAITING, &machine(), &objects);
    assert_eq!(began_at, Some(5));
    let error = Process::start(WAITING, &second_machine, &objects).err().unwrap();
    assert!(error.contains("not of one history"), "{error}");
}

#[test]
fn whoever_is_overtaken_before_the_index_is_confirmed_commits_nothing() {
    let (objects, machine) = (Arc::new(TestObjects::default()), machine());
    let (process, _) = start(&WAITING, &machine, &objects);
    process.checkpoint(1).unwrap();
    let before = objects.state().written.len();
    process.checkpoint(2).unwrap();
    let writes = objects.state().written.len() - before;
    // Another process claims the place just before the index of the next one is written.
    let claim = super::owner::Owner::new("job", 2, 0, "other".to_owned()).encode();
    objects.state().intrusion = Some((writes - 1, super::owner::object_of(2), claim));
    let error = process.checkpoint(3).unwrap_err();
    assert!(error.contains("claimed by another process (epoch 2, ours was 1)"), "{error}");
    assert_eq!(process.store.list().unwrap().last(), Some(&CheckpointId(2)));
}

#[test]
fn beginning_anew_gives_up_the_copies() {
    let objects = filled(&PLAIN);
    let anew = Job { restore: Restore::Nothing, ..PLAIN };
    let machine = machine();
    let (process, began_at) = start(&anew, &machine, &objects);
    assert_eq!((began_at, copies(&objects)), (None, vec![]));
    drop(process);
    assert_eq!(start(&PLAIN, &self::machine(), &objects).1, None);
}

#[test]
fn a_fetch_that_was_cut_short_leaves_no_checkpoint() {
    let objects = filled(&PLAIN);
    let machine = machine();
    // As if it had died with all files but the last.
    for folder in ["files", "manifests", "checkpoints"] {
        machine.create_dir_all(&Path::new(DIRECTORY).join(folder)).unwrap();
    }
    let stray = Path::new(DIRECTORY).join("files/00000000000000ff.sst");
    machine.create(&stray).unwrap().append(b"half").unwrap();
    let half = Path::new(DIRECTORY).join("checkpoints/00000000000000000003.chk.inprogress");
    machine.create(&half).unwrap().append(b"half").unwrap();
    let (process, began_at) = start(&PLAIN, &machine, &objects);
    assert_eq!(began_at, Some(3));
    assert!(machine.metadata(&stray).is_err() && machine.metadata(&half).is_err());
    drop(process);
}
