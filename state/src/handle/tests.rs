use super::*;
use crate::{
    Key, ListStateDescriptor, MapStateDescriptor, RowCursor, RowStore, StateError, StateRegistrar,
    ValueStateDescriptor,
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
}

fn open(operator: &str) -> (Handles, RowStore<u64>) {
    let mut registrar = StateRegistrar::new::<u64>(operator);
    let handles = Handles {
        value: registrar.register_value(&ValueStateDescriptor::new("value")).unwrap(),
        list: registrar.register_list(&ListStateDescriptor::new("list")).unwrap(),
        map: registrar.register_map(&MapStateDescriptor::new("map")).unwrap(),
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
