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
