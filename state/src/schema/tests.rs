use super::*;
use std::collections::{BTreeMap, HashMap, HashSet};

fn check<T: Schema>(expected: &str) {
    assert_eq!(SchemaDescription::of::<T>().text(), expected);
}

#[expect(dead_code, reason = "only its schema is looked at")]
struct Tree {
    value: u64,
    children: Vec<Tree>,
}

impl Schema for Tree {
    fn describe(out: &mut SchemaBuilder) {
        out.structure::<Tree>("Tree", |fields| {
            fields.field::<u64>("value");
            fields.field::<Vec<Tree>>("children");
        });
    }

    fn hash_key(&self, hasher: &mut KeyHasher) {
        self.value.hash_key(hasher);
    }
}

struct Shape;

impl Schema for Shape {
    fn describe(out: &mut SchemaBuilder) {
        out.enumeration::<Shape>("Shape", |variants| {
            variants.unit("Point");
            variants.variant("Circle", |fields| fields.field::<f64>("0"));
        });
    }

    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_u32(0);
    }
}

#[test]
fn texts_name_types_and_order() {
    check::<u8>("u8");
    check::<char>("char");
    check::<()>("()");
    check::<(u64,)>("(u64)");
    check::<[Option<i128>; 3]>("[Option<i128>;3]");
    check::<HashMap<String, Vec<Box<f32>>>>("HashMap<String,Vec<Box<f32>>>");
    check::<BTreeMap<bool, HashSet<i8>>>("BTreeMap<bool,HashSet<i8>>");
    check::<Shape>("Shape[Point,Circle{0:f64}]");
}

#[test]
fn recursive_and_repeated_types_are_written_once() {
    check::<Tree>("Tree{value:u64,children:Vec<Tree^0>}");
    check::<(Tree, Shape, Shape)>(
        "(Tree{value:u64,children:Vec<Tree^0>},Shape[Point,Circle{0:f64}],Shape^1)",
    );
}

#[test]
fn fingerprints_are_stable_and_tell_types_apart() {
    let fingerprint = SchemaDescription::of::<(u64, String)>().fingerprint();
    assert_eq!(fingerprint.to_string(), "2e6672e6e6fe0e40");
    assert_ne!(fingerprint, SchemaDescription::of::<(String, u64)>().fingerprint());
    assert_ne!(fingerprint, SchemaDescription::of::<(i64, String)>().fingerprint());
}
