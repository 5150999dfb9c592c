use super::*;
use crate::{
    AggregateFunction, AggregatingStateDescriptor, Key, ListStateDescriptor, MapStateDescriptor,
    ReducingStateDescriptor, RowCursor, RowStore, StateError, StateRegistrar, StateTtl, TtlUpdate,
    TtlVisibility, ValueStateDescriptor,
};

/// A context as an engine has it; handles take `ctx: &mut Context` for reads too.
struct Context<'a> {
    cursor: RowCursor<'a>,
}

impl KeyedContext for Context<'_> {
    fn cursor(&self) -> &RowCursor<'_> {
        &self.cursor
    }

    fn cursor_mut(&mut self) -> RowCursor<'_> {
        self.cursor.reborrow()
    }
}

#[derive(Clone, Default)]
struct Handles {
    value: ValueState<String>,
    list: ListState<u64>,
    map: MapState<String, u64>,
    reducing: ReducingState<u64>,
    aggregating: AggregatingState<u64, (u64, u64), u64>,
}

/// Sum divided by count.
#[derive(Clone)]
struct Mean;

impl AggregateFunction<u64> for Mean {
    type Accumulator = (u64, u64);
    type Result = u64;
    fn create_accumulator(&self) -> (u64, u64) {
        (0, 0)
    }
    fn add(&self, accumulator: &mut (u64, u64), value: &u64) {
        accumulator.0 += value;
        accumulator.1 += 1;
    }
    fn result(&self, accumulator: &(u64, u64)) -> u64 {
        accumulator.0 / accumulator.1
    }
    fn merge(&self, into: &mut (u64, u64), other: &(u64, u64)) {
        into.0 += other.0;
        into.1 += other.1;
    }
}

fn sum(name: &'static str) -> ReducingStateDescriptor<u64> {
    ReducingStateDescriptor::new(name, |sum: &mut u64, value| *sum += value)
}

fn open(operator: &str) -> (Handles, RowStore<u64>) {
    let mut registrar = StateRegistrar::new::<u64>(operator);
    let handles = Handles {
        value: registrar.register_value(&ValueStateDescriptor::new("value")).unwrap(),
        list: registrar.register_list(&ListStateDescriptor::new("list")).unwrap(),
        map: registrar.register_map(&MapStateDescriptor::new("map")).unwrap(),
        reducing: registrar.register_reducing(&sum("reducing")).unwrap(),
        aggregating: registrar
            .register_aggregating(&AggregatingStateDescriptor::new("aggregating", Mean))
            .unwrap(),
    };
    (handles, RowStore::new(registrar).unwrap())
}

/// As `open`, with a TTL on all states.
fn open_expiring(ttl: StateTtl) -> (Handles, RowStore<u64>) {
    let mut registrar = StateRegistrar::new::<u64>("op");
    let value = ValueStateDescriptor::new("value").with_ttl(ttl);
    let list = ListStateDescriptor::new("list").with_ttl(ttl);
    let map = MapStateDescriptor::new("map").with_ttl(ttl);
    let aggregating = AggregatingStateDescriptor::new("aggregating", Mean).with_ttl(ttl);
    let handles = Handles {
        value: registrar.register_value(&value).unwrap(),
        list: registrar.register_list(&list).unwrap(),
        map: registrar.register_map(&map).unwrap(),
        reducing: registrar.register_reducing(&sum("reducing").with_ttl(ttl)).unwrap(),
        aggregating: registrar.register_aggregating(&aggregating).unwrap(),
    };
    (handles, RowStore::new(registrar).unwrap())
}

/// Runs `body` in the context of a key, and gives the row back as an engine does.
fn with_key<R>(rows: &mut RowStore<u64>, key: u64, body: impl FnOnce(&mut Context<'_>) -> R) -> R {
    let (cursor, stored) = rows.enter(key.key_hash(), &key).unwrap();
    assert_eq!(*stored, key);
    let row = cursor.row_id().unwrap();
    let result = body(&mut Context { cursor });
    rows.release(row);
    result
}

#[test]
fn value_verbs() {
    let (handles, mut rows) = open("op");
    let value = &handles.value;
    with_key(&mut rows, 1, |ctx| {
        assert_eq!(value.value(ctx).unwrap(), None);
        assert!(value.with_ref(ctx, |text| text.is_none()).unwrap());
        value.modify(ctx, |text| text.push('x')).unwrap();
        value.modify(ctx, |text| text.push('y')).unwrap();
        assert_eq!(value.value(ctx).unwrap().as_deref(), Some("xy"));
        value.update(ctx, "z".into()).unwrap();
        assert_eq!(value.with_ref(ctx, |text| text.map(String::len)).unwrap(), Some(1));
        assert_eq!(value.take(ctx).unwrap().as_deref(), Some("z"));
        value.clear(ctx).unwrap();
    });
    assert!(rows.is_empty());
}

#[test]
fn list_verbs() {
    let (handles, mut rows) = open("op");
    let list = &handles.list;
    with_key(&mut rows, 1, |ctx| {
        assert!(list.is_empty(ctx).unwrap());
        assert_eq!(list.iter(ctx, |values| values.count()).unwrap(), 0);
        list.add(ctx, 1).unwrap();
        list.add_all(ctx, [2, 3]).unwrap();
        assert_eq!(list.get(ctx).unwrap(), [1, 2, 3]);
        assert_eq!(list.iter(ctx, |values| values.sum::<u64>()).unwrap(), 6);
        list.update(ctx, vec![9]).unwrap();
        assert_eq!(list.len(ctx).unwrap(), 1);
        list.update(ctx, vec![]).unwrap();
        list.add_all(ctx, []).unwrap();
        assert!(list.get(ctx).unwrap().is_empty());
    });
    assert!(rows.is_empty(), "an emptied list is no state");
}

#[test]
fn map_verbs() {
    let (handles, mut rows) = open("op");
    let map = &handles.map;
    let key = |text: &str| text.to_string();
    with_key(&mut rows, 1, |ctx| {
        map.put_all(ctx, []).unwrap();
        assert!(map.is_empty(ctx).unwrap());
        map.put(ctx, key("a"), 1).unwrap();
        map.put_all(ctx, [(key("b"), 2), (key("a"), 3)]).unwrap();
        map.modify(ctx, &key("c"), |value| *value += 7).unwrap();
        assert_eq!(map.get(ctx, &key("a")).unwrap(), Some(3));
        assert!(map.contains(ctx, &key("b")).unwrap() && !map.contains(ctx, &key("x")).unwrap());
        assert_eq!(map.len(ctx).unwrap(), 3);
        let (mut keys, mut values) = (map.keys(ctx).unwrap(), map.values(ctx).unwrap());
        keys.sort();
        values.sort();
        assert_eq!((keys.join(""), values), ("abc".to_string(), vec![2, 3, 7]));
        let mut sum = 0;
        map.for_each(ctx, |_, value| sum += value).unwrap();
        assert_eq!(sum, 12);
        map.retain(ctx, |key, value| {
            *value += 1;
            key != "c"
        })
        .unwrap();
        let mut entries = map.entries(ctx).unwrap();
        entries.sort();
        assert_eq!(entries, [(key("a"), 4), (key("b"), 3)]);
        assert_eq!(map.remove(ctx, &key("a")).unwrap(), Some(4));
        assert_eq!(map.remove(ctx, &key("a")).unwrap(), None);
        assert_eq!(map.remove(ctx, &key("b")).unwrap(), Some(3));
    });
    assert!(rows.is_empty(), "a map whose last entry is removed is no state");
    with_key(&mut rows, 1, |ctx| {
        map.put(ctx, key("a"), 1).unwrap();
        map.retain(ctx, |_, _| false).unwrap();
    });
    assert!(rows.is_empty(), "so is one that retains nothing");
}

#[test]
fn folding_verbs() {
    let (Handles { reducing, aggregating, .. }, mut rows) = open("op");
    with_key(&mut rows, 1, |ctx| {
        assert_eq!((reducing.get(ctx).unwrap(), aggregating.get(ctx).unwrap()), (None, None));
        for value in [5, 7] {
            reducing.add(ctx, value).unwrap();
            aggregating.add(ctx, value).unwrap();
        }
        assert_eq!(
            (reducing.get(ctx).unwrap(), aggregating.get(ctx).unwrap()),
            (Some(12), Some(6))
        );
        reducing.clear(ctx).unwrap();
        aggregating.clear(ctx).unwrap();
        assert!(reducing.with_ref(ctx, |sum| sum.is_none()).unwrap());
    });
    assert!(rows.is_empty());
}

#[test]
fn entries_are_changed_in_place() {
    let (Handles { map, .. }, mut rows) = open("op");
    with_key(&mut rows, 1, |ctx| {
        map.for_each_mut(ctx, |_, _| unreachable!("an empty map has no entry")).unwrap();
        map.put_all(ctx, [("a".to_string(), 1), ("b".to_string(), 2)]).unwrap();
        map.for_each_mut(ctx, |_, value| *value += 10).unwrap();
        let mut values = map.values(ctx).unwrap();
        values.sort_unstable();
        assert_eq!(values, [11, 12]);
    });
}

#[test]
fn a_read_that_removes_leaves_borrowed_values_alone() {
    let ttl = StateTtl::after_ms(10).visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp);
    let (Handles { value, list, map, .. }, mut rows) = open_expiring(ttl);
    with_key(&mut rows, 1, |ctx| {
        value.update(ctx, "a long enough text to lie on the heap".into()).unwrap();
        list.add_all(ctx, [1, 2, 3]).unwrap();
        map.put(ctx, "k".into(), 1).unwrap();
    });
    rows.set_now_ms(10);
    with_key(&mut rows, 1, |ctx| {
        let inner = value.with_ref(ctx, |outer| {
            let again = value.value(ctx).unwrap();
            (outer.map(String::len), again)
        });
        assert_eq!(inner.unwrap(), (Some(37), None), "given once, and alive while it is looked at");
        let lists = list.iter(ctx, |mut values| (values.next().copied(), list.get(ctx).unwrap()));
        assert_eq!(lists.unwrap(), (Some(1), vec![1, 2, 3]));
        assert!(list.get(ctx).unwrap().is_empty());
        map.iter(ctx, |mut entries| {
            assert!(entries.len() == 1 && entries.next().is_some() && map.is_empty(ctx).unwrap());
        })
        .unwrap();
        map.put(ctx, "k".into(), 2).unwrap();
        assert_eq!(map.get(ctx, &"k".into()).unwrap(), Some(2));
    });
    assert_eq!(rows.len(), 1, "the entry that was put again is kept");
    rows.set_now_ms(20);
    with_key(&mut rows, 1, |ctx| assert_eq!(map.len(ctx).unwrap(), 1));
    assert!(rows.is_empty(), "and given back after it was given a last time");
}

/// As Flink does it: see the docs of the handles.
#[test]
fn partly_expired_lists_and_maps() {
    let expired = StateTtl::after_ms(100).visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp);
    for (ttl, reads) in [
        (StateTtl::after_ms(100), [vec![2], vec![2]]),
        (expired, [vec![1, 2], vec![1, 2]]),
        (expired.update(TtlUpdate::OnReadAndWrite), [vec![1, 2], vec![2]]),
    ] {
        let (Handles { list, map, .. }, mut rows) = open_expiring(ttl);
        with_key(&mut rows, 1, |ctx| {
            list.add(ctx, 1).unwrap();
            map.put(ctx, "x".into(), 1).unwrap();
        });
        rows.set_now_ms(50);
        with_key(&mut rows, 1, |ctx| list.add(ctx, 2).unwrap());
        rows.set_now_ms(120);
        with_key(&mut rows, 1, |ctx| {
            assert!(!map.is_empty(ctx).unwrap(), "expired and not read yet");
            for read in reads {
                assert_eq!(list.get(ctx).unwrap(), read, "{ttl}");
            }
        });
    }
}

#[test]
fn disabled_ttls_cost_and_do_nothing() {
    let (handles, mut rows) = open_expiring(StateTtl::after_ms(5).update(TtlUpdate::Disabled));
    assert!(!rows.has_ttl());
    with_key(&mut rows, 1, |ctx| handles.list.add(ctx, 1).unwrap());
    rows.set_now_ms(i64::MAX);
    with_key(&mut rows, 1, |ctx| assert_eq!(handles.list.get(ctx).unwrap(), [1]));
}

#[test]
fn expiring_handles_without_a_key_or_of_other_operators_are_refused() {
    let (handles, _rows) = open_expiring(StateTtl::after_ms(5));
    let (_, mut others) = open("other");
    let mut detached = RowCursor::detached();
    let error = handles.reducing.add(&mut detached, 1).unwrap_err();
    assert!(matches!(error, StateError::NoKeyContext { .. }), "{error}");
    with_key(&mut others, 1, |ctx| {
        let error = handles.map.is_empty(ctx).unwrap_err();
        assert!(matches!(error, StateError::OtherOperator { .. }), "{error}");
        assert!(handles.list.add_all(ctx, []).is_err() && handles.value.take(ctx).is_err());
    });
    assert_eq!(handles.aggregating.name(), Some("aggregating"));
    assert_eq!(format!("{:?}", handles.value), "ValueState { place: value }");
}

#[test]
fn unopened_handles_say_so() {
    let (_, mut rows) = open("op");
    let handles = Handles::default();
    with_key(&mut rows, 1, |ctx| {
        let error = handles.value.update(ctx, "x".into()).unwrap_err().to_string();
        assert_eq!(
            error,
            "ValueState<String> is used before it was opened; assign it from its descriptor in open()"
        );
        let error = handles.map.get(ctx, &"a".into()).unwrap_err().to_string();
        assert!(error.starts_with("MapState<String, u64> is used before"), "{error}");
        assert!(handles.list.add_all(ctx, []).is_err());
        assert!(handles.map.put_all(ctx, []).is_err());
        let error = handles.reducing.add(ctx, 1).unwrap_err().to_string();
        assert!(error.starts_with("ReducingState<u64> is used before"), "{error}");
        let error = handles.aggregating.add(ctx, 1).unwrap_err().to_string();
        assert!(error.starts_with("AggregatingState<u64, (u64, u64), u64> is used"), "{error}");
        assert!(handles.aggregating.get(ctx).is_err() && handles.reducing.get(ctx).is_err());
    });
    let mut detached = RowCursor::detached();
    let error = handles.list.add(&mut detached, 1).unwrap_err();
    assert!(matches!(error, StateError::HandleNotOpened { .. }));
}

#[test]
fn handles_of_other_operators_and_without_a_key_are_refused() {
    let (first, _rows_of_first) = open("first");
    let (_, mut rows_of_second) = open("second");
    with_key(&mut rows_of_second, 1, |ctx| {
        let error = first.value.value(ctx).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "state 'value' belongs to operator 'first' and is used in operator 'second'"
            ),
            "{error}"
        );
        assert!(first.list.add(ctx, 1).is_err() && first.map.clear(ctx).is_err());
    });
    let mut ctx = Context { cursor: RowCursor::detached() };
    let error = first.value.clear(&mut ctx).unwrap_err();
    assert!(matches!(error, StateError::NoKeyContext { .. }), "{error}");
    ctx.cursor.pin();
    ctx.cursor.unpin();
    assert_eq!(ctx.cursor.row_id(), None);
}

/// A handle outlives its store without becoming valid for the next one, whatever the allocator
/// does.
#[test]
fn handles_of_dropped_stores_stay_invalid() {
    for _ in 0..50 {
        let (stale, rows) = open("op");
        drop(rows);
        let (_, mut rows) = open("op");
        with_key(&mut rows, 1, |ctx| {
            assert!(matches!(stale.value.value(ctx), Err(StateError::OtherOperator { .. })));
        });
    }
}

#[test]
fn handles_and_errors_cross_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Handles>();
    check::<ValueStateDescriptor<u64>>();
    check::<StateError>();
}

#[test]
fn a_panic_in_modify_leaves_what_the_closure_left() {
    let (handles, mut rows) = open("op");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        with_key(&mut rows, 1, |ctx| {
            handles.value.modify(ctx, |text| {
                text.push_str("half");
                panic!("user code");
            })
        })
    }));
    assert!(panicked.is_err());
    with_key(&mut rows, 1, |ctx| {
        assert_eq!(handles.value.value(ctx).unwrap().as_deref(), Some("half"));
    });
}
