//! Stores below keyed operators: other parallelism, names and files, failures, threads.

use crate::api::StreamExecutionEnvironment;
use crate::config::StateBackend;
use crate::operator::keyed_store::stores_of;
use crate::operator::restart_tests::BACKENDS;
use crate::record::CheckpointId;
use crate::runtime::TaskOrder;
use crate::testing;
use crate::testing::attempts::{Attempt, Attempts};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use thalweg_io::storage::{
    ArmedFault, FaultKind, FaultProfile, FaultStorage, PosixStorage, Storage,
};

const KEYS: u64 = 40;

fn sums(env: &StreamExecutionEnvironment) {
    let numbers = env.from_source(testing::input_once::<(u64, u64)>(), "in");
    let sums = numbers.set_parallelism(1).key_by(|(key, _)| *key).scan(0, |sum, (key, n)| {
        *sum += n;
        (key, *sum)
    });
    sums.sink_to(testing::output()).name("out");
}

/// Gives each key a number, and checks the sums.
fn add(attempt: &mut Attempt, model: &mut BTreeMap<u64, u64>, n: u64) {
    for key in 0..KEYS {
        *model.entry(key).or_default() += n * key;
        attempt.pipe(("in", 0), (key, n * key), 0);
        assert_eq!(attempt.outputs::<(u64, u64)>("out"), [(key, model[&key])]);
    }
}

fn names<W: Fn(&StreamExecutionEnvironment)>(attempts: &Attempts<W>) -> BTreeSet<String> {
    let stores = attempts.root().stores().unwrap();
    stores.into_iter().map(|summary| summary.store.into_string()).collect()
}

#[test]
fn keyed_state_goes_to_any_parallelism() {
    for backend in BACKENDS {
        let mut attempts = Attempts::new(3, backend, sums);
        let (mut model, mut restored) = (BTreeMap::new(), None);
        for (id, parallelism) in (1..).zip([3, 1, 4, 2, 2, 5, 3]) {
            attempts.set_parallelism(parallelism);
            let mut attempt = attempts.begin(restored.as_ref(), 0);
            add(&mut attempt, &mut model, id);
            let state = attempt.checkpoint(id);
            let mut lost = model.clone();
            add(&mut attempt, &mut lost, 1_000);
            drop(attempt);
            attempts.retain(&state);
            assert_eq!(stores_of(&state).unwrap().len(), parallelism);
            restored = Some(state);
        }
        // What the last checkpoint does not need is removed when the next attempt begins.
        let expected = stores_of(restored.as_ref().unwrap()).unwrap();
        drop(attempts.begin(restored.as_ref(), 0));
        assert_eq!(names(&attempts), expected, "{backend:?}");
    }
}

#[test]
fn attempts_without_a_checkpoint_leave_nothing() {
    for backend in BACKENDS {
        let attempts = Attempts::new(2, backend, sums);
        for _ in 0..3 {
            let mut attempt = attempts.begin(None, 0);
            add(&mut attempt, &mut BTreeMap::new(), 1);
            attempt.try_checkpoint(1).unwrap();
            drop(attempt);
            assert_eq!(names(&attempts).len(), 2);
        }
    }
}

#[test]
fn released_and_aborted_checkpoints_are_released_in_stores() {
    for backend in BACKENDS {
        let attempts = Attempts::new(2, backend, sums);
        let (mut attempt, mut model) = (attempts.begin(None, 0), BTreeMap::new());
        for id in 1..5 {
            add(&mut attempt, &mut model, id);
            attempt.try_checkpoint(id).unwrap();
        }
        attempt.order(TaskOrder::Aborted(CheckpointId(2)));
        attempt.order(TaskOrder::Released(CheckpointId(1)));
        // A barrier that is given up before the stores have written what it ends.
        add(&mut attempt, &mut model, 5);
        attempt.order_two(
            TaskOrder::Barrier(crate::record::Barrier::periodic(CheckpointId(5))),
            TaskOrder::Aborted(CheckpointId(5)),
        );
        for summary in attempts.root().stores().unwrap() {
            let ids: Vec<u64> = summary.checkpoints.iter().map(|one| one.id.0).collect();
            assert_eq!(ids, [3, 4], "{backend:?}");
        }
    }
}

/// A checkpoint that the disk does not take is declined by name, and the job goes on; the next one has all of it.
#[test]
fn a_failing_disk_declines_checkpoints() {
    for backend in BACKENDS {
        let storage = FaultStorage::new(7, FaultProfile::none());
        let mut attempts = Attempts::on(Arc::new(storage.clone()), 2, backend, sums);
        let (mut attempt, mut model) = (attempts.begin(None, 0), BTreeMap::new());
        add(&mut attempt, &mut model, 1);
        attempt.checkpoint(1);
        add(&mut attempt, &mut model, 2);
        storage.arm(ArmedFault::next(FaultKind::Sync).of(".delta"));
        assert!(attempt.try_checkpoint(2).is_none(), "{backend:?}");
        let declined = &attempt.declined[0];
        assert_eq!(declined.checkpoint, CheckpointId(2));
        let cause = declined.cause.to_string();
        assert!(cause.contains("sync") && cause.contains(".delta"), "{cause}");
        attempt.order(TaskOrder::Aborted(CheckpointId(2)));
        add(&mut attempt, &mut model, 3);
        let state = attempt.checkpoint(3);
        drop(attempt);
        attempts.retain(&state);
        add(&mut attempts.begin(Some(&state), 0), &mut model, 4);
    }
}

/// With threads, as in production: names and locks are free when the next attempt begins.
#[test]
fn stores_with_threads_are_gone_with_their_attempt() {
    let directory = std::env::temp_dir().join(format!("thalweg-ops-{}", std::process::id()));
    for backend in BACKENDS {
        let storage: Arc<dyn Storage> = Arc::new(PosixStorage::new());
        let mut attempts =
            Attempts::at(&directory, storage.clone(), 2, backend, sums).with_threads();
        let (mut model, mut restored) = (BTreeMap::new(), None);
        for id in 1..6 {
            let mut attempt = attempts.begin(restored.as_ref(), 0);
            add(&mut attempt, &mut model, id);
            let state = attempt.checkpoint(id);
            let mut lost = model.clone();
            add(&mut attempt, &mut lost, 1_000);
            // Under way when the attempt ends.
            attempt.order(TaskOrder::Barrier(crate::record::Barrier::periodic(CheckpointId(90))));
            drop(attempt);
            attempts.retain(&state);
            restored = Some(state);
        }
        drop(attempts);
        thalweg_io::storage::remove_tree(&*storage, &directory).unwrap();
    }
}

/// Damaged and foreign pieces are typed errors that name operator, piece and what to do.
#[test]
fn pieces_that_cannot_be_used_are_refused() {
    let attempts = Attempts::new(1, StateBackend::Lsm, sums);
    let mut attempt = attempts.begin(None, 0);
    let state = attempt.checkpoint(1);
    drop(attempt);
    let damage = |change: fn(&mut Vec<u8>)| {
        let mut pieces = state.pieces.clone();
        let of_operators = pieces.values_mut().filter_map(|of| of.get_mut("keyed state"));
        for piece in of_operators.flatten() {
            let mut bytes = piece.bytes.to_vec();
            change(&mut bytes);
            piece.bytes = bytes.into();
        }
        let (checkpoint, parallelism) = (state.checkpoint, state.parallelism.clone());
        let state = crate::checkpoint::snapshot::RestoredState { checkpoint, parallelism, pieces };
        attempts.try_begin_unchecked(&Arc::new(state)).err().unwrap().to_string()
    };
    let short = damage(|bytes| bytes.truncate(3));
    assert!(short.contains("'keyed state'") && short.contains("damaged"), "{short}");
    let newer = damage(|bytes| bytes[0] = 9);
    assert!(newer.contains("version 9"), "{newer}");
    let damaged = damage(|bytes| bytes[8] ^= 1);
    assert!(damaged.contains("damaged"), "{damaged}");
    let other = damage(|bytes| *bytes = crate::operator::pieces::to_bytes(&7_u64).unwrap());
    assert!(other.contains("is now (String,u16,u16), and was u64"), "{other}");
}

/// State of another type than the checkpoint has is refused, and names operator, state and both types.
#[test]
fn changed_keyed_state_is_refused() {
    for backend in BACKENDS {
        let is_changed = Arc::new(AtomicBool::new(false));
        let of_job = is_changed.clone();
        let mut attempts = Attempts::new(1, backend, move |env: &StreamExecutionEnvironment| {
            let numbers = env.from_source(testing::input_once::<(u64, u64)>(), "in");
            let keyed = numbers.key_by(|(key, _)| *key);
            let is_changed = of_job.load(Ordering::Relaxed);
            let texts = match is_changed {
                false => keyed
                    .scan(0_u64, |sum, (_, n)| {
                        *sum += n;
                        sum.to_string()
                    })
                    .boxed(),
                true => keyed
                    .scan(String::new(), |text, (_, n)| {
                        *text += &n.to_string();
                        text.clone()
                    })
                    .boxed(),
            };
            texts.uid("sums").name("sums").sink_to(testing::output()).name("out");
        });
        let mut attempt = attempts.begin(None, 0);
        attempt.pipe(("in", 0), (1_u64, 5_u64), 0);
        let state = attempt.checkpoint(1);
        drop(attempt);
        attempts.retain(&state);
        is_changed.store(true, Ordering::Relaxed);
        let failure = attempts.try_begin(Some(&state), 0).err().unwrap().to_string();
        for part in ["operator 'sums' (subtask 1)", "'value'", "u64", "String"] {
            assert!(failure.contains(part), "{part} in: {failure}");
        }
    }
}
