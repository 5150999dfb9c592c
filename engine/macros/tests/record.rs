//! Records as users write them, over a shim that stands for the engine's re-exports.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;

use thalweg_macros::record;
use thalweg_state::{
    Key, KeyHash, KeyHasher, MapStateDescriptor, RowStore, Schema, SchemaDescription,
    StateRegistrar, StateValue, ValueStateDescriptor,
};

mod shim {
    pub(crate) use thalweg_state as state;
    pub(crate) use thalweg_state::rkyv;
}

#[record(crate = crate::shim)]
#[derive(Debug, Clone, PartialEq, Eq)]
struct Click {
    user: String,
    at_ms: i64,
    r#type: Option<Kind>,
}

#[record(crate = crate::shim)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Left,
    Other(u8, u16),
    Drag { from: [i32; 2] },
}

#[record(crate = crate::shim)]
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pair<A, B>(A, Vec<B>)
where
    A: Clone;

#[record(crate = crate::shim)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Grid<const N: usize, T: Default = ()> {
    cells: BTreeMap<u8, u64>,
    marker: PhantomData<T>,
}

#[record(crate = crate::shim)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unit;

#[record(crate = crate::shim)]
#[derive(Debug, Clone, PartialEq)]
struct Reading {
    temperature: f64,
    by_sensor: HashMap<String, f32>,
}

/// A recursive record: rkyv's own attributes stand below ours.
#[record(crate = crate::shim)]
#[rkyv(serialize_bounds(
    __S: thalweg_state::rkyv::ser::Writer + thalweg_state::rkyv::ser::Allocator,
    __S::Error: thalweg_state::rkyv::rancor::Source,
))]
#[rkyv(deserialize_bounds(__D::Error: thalweg_state::rkyv::rancor::Source))]
#[rkyv(bytecheck(bounds(__C: thalweg_state::rkyv::validation::ArchiveContext)))]
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tree {
    Leaf(u64),
    Node(#[rkyv(omit_bounds)] Vec<Tree>),
}

fn check<T: StateValue + PartialEq + std::fmt::Debug>(value: &T, schema: &str) {
    assert_eq!(SchemaDescription::of::<T>().text(), schema);
    let bytes = value.to_archived().expect("archives");
    assert_eq!(T::from_archived(&bytes).expect("unarchives"), *value);
}

#[test]
fn records_round_trip_and_describe_themselves() {
    let kind = "Kind[Left,Other{0:u8,1:u16},Drag{from:[i32;2]}]";
    let click = Click { user: "ann".into(), at_ms: -5, r#type: Some(Kind::Other(1, 2)) };
    check(&click, &format!("Click{{user:String,at_ms:i64,type:Option<{kind}>}}"));
    check(&Kind::Drag { from: [3, -4] }, kind);
    check(&Pair(1_u8, vec![Kind::Left]), &format!("Pair{{0:u8,1:Vec<{kind}>}}"));
    let grid = Grid::<3> { cells: BTreeMap::from([(1, 2)]), marker: PhantomData };
    check(&grid, "Grid{cells:BTreeMap<u8,u64>,marker:PhantomData}");
    check(&Unit, "Unit{}");
    let reading = Reading { temperature: 0.5, by_sensor: HashMap::from([("a".into(), 1.0)]) };
    check(&reading, "Reading{temperature:f64,by_sensor:HashMap<String,f32>}");
    let tree = Tree::Node(vec![Tree::Leaf(1), Tree::Node(vec![])]);
    check(&tree, "Tree[Leaf{0:u64},Node{0:Vec<Tree^0>}]");
}

#[test]
fn key_words_are_variant_index_and_fields_in_order() {
    let check = |key: KeyHash, words: &[u64]| {
        let mut hasher = KeyHasher::new();
        words.iter().for_each(|word| hasher.write_u64(*word));
        assert_eq!(key, hasher.finish());
    };
    check(Kind::Left.key_hash(), &[0]);
    check(Kind::Other(7, 9).key_hash(), &[1, 7, 9]);
    check(Kind::Drag { from: [1, -1] }.key_hash(), &[2, 1, 0xFFFF_FFFF]);
    check(Pair(1_u8, vec![2_u64, 3]).key_hash(), &[1, 2, 2, 3]);
    check(Unit.key_hash(), &[]);
}

#[test]
fn records_are_keys_and_values_of_state() {
    let mut registrar = StateRegistrar::new::<Kind>("clicks");
    let last = registrar.register_value(&ValueStateDescriptor::<Click>::new("last")).unwrap();
    let pairs = MapStateDescriptor::<Pair<u8, u8>, Reading>::new("pairs");
    let pairs = registrar.register_map(&pairs).unwrap();
    let mut rows = RowStore::<Kind>::new(registrar).unwrap();
    let key = Kind::Other(1, 1);
    let (mut ctx, _) = rows.enter(key.key_hash(), &key).unwrap();
    let click = Click { user: "bob".into(), at_ms: 1, r#type: None };
    last.update(&mut ctx, click.clone()).unwrap();
    let reading = Reading { temperature: 2.0, by_sensor: HashMap::new() };
    pairs.put(&mut ctx, Pair(1, vec![2]), reading.clone()).unwrap();
    assert_eq!(last.value(&ctx).unwrap(), Some(click));
    assert_eq!(pairs.get(&ctx, &Pair(1, vec![2])).unwrap(), Some(reading));
}

#[test]
fn generic_parameters_change_the_fingerprint() {
    fn fingerprint<T: Schema>() -> thalweg_state::SchemaFingerprint {
        SchemaDescription::of::<T>().fingerprint()
    }
    assert_ne!(fingerprint::<Pair<u8, u64>>(), fingerprint::<Pair<u8, i64>>());
    assert_eq!(fingerprint::<Pair<u8, u64>>(), fingerprint::<Pair<u8, u64>>());
}
