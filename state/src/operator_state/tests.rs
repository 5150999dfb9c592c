use super::*;
use crate::test_random::SplitMix64;
use crate::{ListStateDescriptor, MapStateDescriptor, StateError, StateTtl};

fn rules() -> MapStateDescriptor<u64, u64> {
    MapStateDescriptor::new("rules")
}

/// The simplest map with the order of insertion.
#[derive(Default)]
struct Model(Vec<(u64, u64)>);

impl Model {
    fn put(&mut self, key: u64, value: u64) {
        match self.0.iter_mut().find(|entry| entry.0 == key) {
            Some(entry) => entry.1 = value,
            None => self.0.push((key, value)),
        }
    }

    fn remove(&mut self, key: u64) -> Option<u64> {
        let index = self.0.iter().position(|entry| entry.0 == key)?;
        Some(self.0.remove(index).1)
    }
}

#[test]
fn broadcast_maps_behave_like_an_insertion_ordered_map() {
    let mut states = OperatorStateStore::new("op");
    let state = states.register_broadcast(&rules()).unwrap();
    let (mut model, mut random) = (Model::default(), SplitMix64::new(17));
    for step in 0..30_000_u64 {
        let (key, wide) = (random.below(40), step / 5_000 % 2 == 0);
        match random.below(if wide { 12 } else { 6 }) {
            0 => assert_eq!(state.remove(&mut states, &key).unwrap(), model.remove(key)),
            1 => {
                let keep = random.below(4);
                state
                    .retain(&mut states, |key, value| {
                        *value += 1;
                        key % 4 != keep
                    })
                    .unwrap();
                model.0.retain_mut(|entry| {
                    entry.1 += 1;
                    entry.0 % 4 != keep
                });
            }
            2 if random.below(100) == 0 => {
                state.clear(&mut states).unwrap();
                model.0.clear();
            }
            3 => {
                state.modify(&mut states, &key, |value| *value += step).unwrap();
                let old = model.0.iter().find(|entry| entry.0 == key).map_or(0, |entry| entry.1);
                model.put(key, old + step);
            }
            _ => {
                state.put(&mut states, key, step).unwrap();
                model.put(key, step);
            }
        }
        assert_eq!(state.entries(&states).unwrap(), model.0, "step {step}");
        assert_eq!(state.len(&states).unwrap(), model.0.len());
        let expected = model.0.iter().find(|entry| entry.0 == key).map(|entry| entry.1);
        assert_eq!(state.get(&states, &key).unwrap(), expected);
    }
}

#[test]
fn broadcast_verbs() {
    let mut states = OperatorStateStore::new("op");
    let state = states.register_broadcast(&rules()).unwrap();
    state.put_all(&mut states, [(3, 30), (1, 10), (3, 31)]).unwrap();
    state.for_each_mut(&mut states, |key, value| *value += key).unwrap();
    assert_eq!(state.keys(&states).unwrap(), [3, 1]);
    assert_eq!(state.values(&states).unwrap(), [34, 11]);
    assert!(state.contains(&states, &1).unwrap() && !state.is_empty(&states).unwrap());
    assert_eq!(state.iter(&states, |entries| entries.len()).unwrap(), 2);
    let again = states.register_broadcast(&rules()).unwrap();
    assert_eq!(again.get(&states, &1).unwrap(), Some(11), "the same name is the same state");
    assert_eq!((states.states().len(), again.name()), (1, Some("rules")));
}

#[test]
fn clashes_name_both() {
    let mut states = OperatorStateStore::new("op");
    let offsets = ListStateDescriptor::<u64>::new("offsets");
    states.register_list(&offsets, Redistribution::Split).unwrap();
    let union = states.register_list(&offsets, Redistribution::Union).unwrap_err();
    assert_eq!(
        union.to_string(),
        "state 'offsets' was registered as OperatorListState<u64> (split) by operator 'op' and \
         asked for as OperatorListState<u64> (union); use another name"
    );
    let map = states.register_broadcast(&MapStateDescriptor::<u64, u64>::new("offsets"));
    assert!(map.unwrap_err().to_string().contains("BroadcastState<u64, u64>"));
    let expiring = rules().with_ttl(StateTtl::after_ms(5));
    let error = states.register_broadcast(&expiring).unwrap_err();
    assert!(matches!(error, StateError::TtlOfOperatorState { .. }), "{error}");
    let nameless =
        states.register_list(&ListStateDescriptor::<u64>::new(""), Redistribution::Split);
    assert!(matches!(nameless, Err(StateError::EmptyName { .. })));
    let info = states.states().next().unwrap();
    assert_eq!(info.kind(), OperatorStateKind::List(Redistribution::Split));
    assert_eq!((info.name(), info.schema().text()), ("offsets", "OperatorListState<u64>"));
}

#[test]
fn handles_of_other_stores_and_unopened_ones_are_refused() {
    let (mut first, mut second) =
        (OperatorStateStore::new("first"), OperatorStateStore::new("second"));
    let state = first.register_broadcast(&rules()).unwrap();
    second.register_broadcast(&rules()).unwrap();
    let error = state.put(&mut second, 1, 1).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "state 'rules' belongs to operator 'first' and is used in operator 'second'"
        ),
        "{error}"
    );
    let error = OperatorListState::<u64>::default().add(&mut first, 1).unwrap_err().to_string();
    assert!(error.starts_with("OperatorListState<u64> is used before it was opened"), "{error}");
    assert!(BroadcastState::<u64, u64>::default().get(&first, &1).is_err());
}

#[test]
fn handles_cross_threads() {
    fn check<T: Send + Sync + Clone + Default + 'static>() {}
    check::<BroadcastState<String, u64>>();
    check::<OperatorListState<String>>();
}

fn list() -> ListStateDescriptor<String> {
    ListStateDescriptor::new("list")
}

/// The lists of so many subtasks, and what they have as snapshots: subtask `s` has elements `s.0`, `s.1`, ..
fn lists(counts: &[usize], redistribution: Redistribution) -> (Vec<Vec<String>>, Vec<Vec<u8>>) {
    let of_subtask = |(subtask, count): (usize, &usize)| {
        let mut states = OperatorStateStore::new("op");
        let state = states.register_list(&list(), redistribution).unwrap();
        let values: Vec<_> = (0..*count).map(|n| format!("{subtask}.{n}")).collect();
        state.add_all(&mut states, values.clone()).unwrap();
        (values, states.snapshot().unwrap())
    };
    counts.iter().enumerate().map(of_subtask).unzip()
}

fn restored(snapshots: &[Vec<u8>], subtask: usize, parallelism: usize) -> OperatorStateStore {
    let snapshots: Vec<_> = snapshots.iter().map(Vec::as_slice).collect();
    OperatorStateStore::restored("op", &snapshots, subtask, parallelism).unwrap()
}

#[test]
fn lists_are_dealt_out() {
    for counts in [&[3, 0, 5][..], &[1], &[0, 0], &[7, 7, 7, 7], &[2, 1]] {
        for redistribution in [Redistribution::Split, Redistribution::Union] {
            let (values, snapshots) = lists(counts, redistribution);
            let all = values.concat();
            for parallelism in 1..9 {
                let mut shares = Vec::new();
                for subtask in 0..parallelism {
                    let mut states = restored(&snapshots, subtask, parallelism);
                    assert!(states.is_restored());
                    let state = states.register_list(&list(), redistribution).unwrap();
                    shares.push(state.get(&states).unwrap());
                }
                match redistribution {
                    Redistribution::Union => assert!(shares.iter().all(|share| *share == all)),
                    Redistribution::Split if parallelism == counts.len() => {
                        assert_eq!(shares, values);
                    }
                    Redistribution::Split => {
                        assert_eq!(shares.concat(), all);
                        let lengths = || shares.iter().map(Vec::len);
                        assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1);
                        assert!(lengths().is_sorted_by(|one, next| one >= next));
                    }
                }
            }
        }
    }
}

#[test]
fn broadcast_maps_keep_their_order_and_go_to_everybody() {
    let mut states = OperatorStateStore::new("op");
    let state = states.register_broadcast(&rules()).unwrap();
    for (key, value) in [(7, 1), (3, 2), (5, 3), (7, 4)] {
        state.put(&mut states, key, value).unwrap();
    }
    state.remove(&mut states, &3).unwrap();
    let snapshots = vec![states.snapshot().unwrap(); 2];
    for (subtask, parallelism) in [(0, 1), (0, 2), (1, 2), (4, 5)] {
        let mut states = restored(&snapshots, subtask, parallelism);
        let state = states.register_broadcast(&rules()).unwrap();
        assert_eq!(state.entries(&states).unwrap(), [(7, 4), (5, 3)]);
    }
}

#[test]
fn what_is_not_registered_stays_in_checkpoints() {
    let (_, snapshots) = lists(&[2], Redistribution::Split);
    let mut states = restored(&snapshots, 0, 1);
    let rules = states.register_broadcast(&rules()).unwrap();
    rules.put(&mut states, 1, 2).unwrap();
    let mut states = restored(&[states.snapshot().unwrap()], 0, 1);
    let state = states.register_list(&list(), Redistribution::Split).unwrap();
    assert_eq!(state.get(&states).unwrap(), ["0.0", "0.1"]);
    assert!(!OperatorStateStore::restored("op", &[], 0, 1).unwrap().is_restored());
}

#[test]
fn changed_states_are_refused() {
    let (_, snapshots) = lists(&[2], Redistribution::Split);
    let mut states = restored(&snapshots, 0, 1);
    let other = ListStateDescriptor::<u64>::new("list");
    let error = states.register_list(&other, Redistribution::Split).unwrap_err();
    let written = "OperatorListState<String> (split) (fingerprint ";
    let text = error.to_string();
    assert!(text.starts_with("state 'list' of operator 'op' was written as "), "{text}");
    assert!(text.contains(written) && text.contains("OperatorListState<u64> (split)"), "{text}");
    let error = states.register_list(&list(), Redistribution::Union).unwrap_err();
    assert!(error.to_string().contains("OperatorListState<String> (union)"), "{error}");
    // A refused one is not lost.
    let state = states.register_list(&list(), Redistribution::Split).unwrap();
    assert_eq!(state.len(&states).unwrap(), 2);
}

#[test]
fn damaged_snapshots_are_errors() {
    let mut states = OperatorStateStore::new("op");
    let rules = states.register_broadcast(&rules()).unwrap();
    rules.put(&mut states, 1, 2).unwrap();
    let state = states.register_list(&list(), Redistribution::Union).unwrap();
    state.add(&mut states, "text".to_owned()).unwrap();
    let snapshot = states.snapshot().unwrap();
    for length in 0..snapshot.len() {
        let cut = OperatorStateStore::restored("op", &[&snapshot[..length]], 0, 1);
        assert!(matches!(cut, Err(StateError::MalformedOperatorState { .. })), "{length}");
    }
    for at in 0..snapshot.len() {
        for mask in [1, 0x80, 0xFF] {
            let mut damaged = snapshot.clone();
            damaged[at] ^= mask;
            // Names and values may be others; nothing may panic, nor take memory for what is not there.
            if let Ok(mut states) = OperatorStateStore::restored("op", &[&damaged], 0, 1) {
                let _ = states.register_list(&list(), Redistribution::Union);
            }
        }
    }
    let newer = [&[2], &snapshot[1..]].concat();
    let error = OperatorStateStore::restored("op", &[&newer], 0, 1).unwrap_err();
    assert!(error.to_string().contains("expected version 1 at byte 1, found version 2"), "{error}");
}
