//! What is fixed for the life of a store.

use super::*;

fn open_with(storage: &Arc<dyn Storage>, options: LsmOptions) -> Result<LsmStore, String> {
    let opened = LsmStore::open(ROOT, options, Arc::clone(storage), None);
    opened.map_err(|error| error.to_string())
}

#[test]
fn key_groups_and_maximum_parallelism_are_fixed() {
    let storage = memory();
    drop(create(&storage));
    let other = LsmOptions::new(KeyGroupRange { start: 0, end: 64 }, MAX_PARALLELISM);
    assert_eq!(
        open_with(&storage, other).unwrap_err(),
        "store 'slot' was written with key groups 0..128 and is opened with 0..64; restore it into \
         a new store of the other key groups"
    );
    let other = LsmOptions::new(ALL_GROUPS, 256);
    assert_eq!(
        open_with(&storage, other).unwrap_err(),
        "store 'slot' was written with maximum parallelism 128 and is opened with 256; it is fixed \
         for the life of the state: use the old value"
    );
    let again = LsmStore::create(ROOT, options(), Arc::clone(&storage), None).unwrap_err();
    assert!(matches!(again, StoreError::StoreExists { .. }));
}

#[test]
fn options_out_of_bounds_are_refused() {
    let refused = |options: LsmOptions| {
        let error = LsmStore::create(ROOT, options, memory(), None).unwrap_err();
        assert!(matches!(error, StoreError::InvalidOption { .. }), "{error}");
    };
    refused(LsmOptions::new(KeyGroupRange { start: 5, end: 5 }, 128));
    refused(LsmOptions::new(KeyGroupRange { start: 0, end: 129 }, 128));
    refused(LsmOptions::new(ALL_GROUPS, u16::MAX));
    refused(options().retained_checkpoints(Some(1)));
    for name in ["", "../up", "a/b", ".hidden", "sp ace", &"x".repeat(65)] {
        refused(options().store(name));
    }
}

fn request(
    store: &LsmStore,
    key: &SchemaDescription,
    states: &[(&str, &SchemaDescription)],
) -> Result<(TableStore, Vec<u8>), StoreError> {
    let states: Vec<StateRequest<'_>> =
        states.iter().map(|(name, schema)| StateRequest { name, schema }).collect();
    let opened = store.table(&TableRequest { name: "table", key, states: &states })?;
    Ok((opened.store, opened.states.to_vec()))
}

#[test]
fn states_keep_their_numbers_and_types() {
    let storage = memory();
    let (number, text) = (SchemaDescription::of::<u64>(), SchemaDescription::of::<String>());
    let store = create(&storage);
    let (mut table, states) = request(&store, &number, &[("a", &number), ("b", &text)]).unwrap();
    assert_eq!(states, [0, 1]);
    let again = request(&store, &number, &[]).unwrap_err();
    assert!(matches!(again, StoreError::TableInUse { .. }));
    put(&mut table, Epoch::FIRST, 1, 1);
    assert_eq!(completed(&checkpoint(&store, [&mut table], 1)), [1]);
    drop((table, store));

    let store = open(&storage);
    let changed = request(&store, &number, &[("b", &text), ("a", &text)]).unwrap_err();
    let expected = format!(
        "store 'slot': state 'a' of table 'table' was written as u64 (fingerprint {}) and is \
         registered as String (fingerprint {}): the value was u64 and is String, which does not hold \
         all of its values; change it back, or declare a migration with \
         `#[thalweg(migrate_from = OldType, with = function)]` on the type that contains it",
        number.fingerprint(),
        text.fingerprint()
    );
    assert_eq!(changed.to_string(), expected);
    let key = request(&store, &text, &[]).unwrap_err().to_string();
    assert!(key.starts_with("store 'slot': the key of table 'table' was written as u64"), "{key}");
    let states = [("new", &text), ("b", &text), ("a", &number)];
    assert_eq!(request(&store, &number, &states).unwrap().1, [2, 1, 0]);
    drop(store);

    // The new state's number was not part of a checkpoint.
    let store = open(&storage);
    assert_eq!(request(&store, &number, &[("c", &text), ("a", &number)]).unwrap().1, [2, 0]);
}
