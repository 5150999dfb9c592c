//! Records whose declaration has changed: what is read as what, and what is refused.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::marker::PhantomData;

use thalweg_macros::record;
use thalweg_state::rkyv::util::AlignedVec;
use thalweg_state::{Evolution, SchemaDescription, StateError, StateValue};

mod shim {
    pub(crate) use thalweg_state as state;
    pub(crate) use thalweg_state::rkyv;
}

fn text_of<T: StateValue>() -> String {
    SchemaDescription::of::<T>().text().to_owned()
}

fn between<Old: StateValue, New: StateValue>() -> Evolution {
    Evolution::between(&text_of::<Old>(), &SchemaDescription::of::<New>())
        .unwrap_or_else(|refused| panic!("{refused}"))
}

/// What becomes of a value, alone and among others.
fn try_evolve<Old: StateValue, New: StateValue>(old: &Old) -> Result<New, StateError> {
    let evolution = between::<Old, New>();
    New::from_old(evolution.old_type(), &old.to_archived().expect("archives"))
}

fn check<Old: StateValue + Clone, New: StateValue + PartialEq + Debug>(old: Old, expected: New) {
    assert_eq!(try_evolve::<Old, New>(&old).expect("evolves"), expected);
    let evolution = between::<Old, New>();
    for count in [0, 1, 2, 3, 7] {
        let values = vec![old.clone(); count];
        let mut bytes = AlignedVec::new();
        Old::archive_all_into(values.iter(), &mut bytes).expect("archives");
        let mut read = Vec::new();
        New::from_old_all(evolution.old_type(), &bytes, &mut read).expect("evolves");
        assert_eq!(read.len(), count, "{}", text_of::<Old>());
        assert!(read.iter().all(|value| *value == expected));
    }
}

/// A value is read by its own schema: the layouts are rkyv's.
fn check_layout<T: StateValue + Clone + PartialEq + Debug>(value: T) {
    check::<T, T>(value.clone(), value);
}

fn refused<Old: StateValue, New: StateValue>() -> String {
    let between = Evolution::between(&text_of::<Old>(), &SchemaDescription::of::<New>());
    between.expect_err("must be refused").to_string()
}

#[record(crate = crate::shim)]
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Nothing,
    Small(u8),
    Wide { at: u128, name: String },
    Listed(Vec<Shape2>, Option<char>),
}

#[record(crate = crate::shim)]
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Shape2 {
    One,
    Two(i64, bool),
}

#[record(crate = crate::shim)]
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unit;

#[record(crate = crate::shim)]
#[derive(Debug, Clone, PartialEq)]
struct Everything {
    flag: bool,
    wide: u128,
    letter: char,
    unit: Unit,
    inline: String,
    elsewhere: String,
    nested: Option<Option<u8>>,
    maybe: Option<i128>,
    boxed: Box<(u8, String)>,
    array: [(u16, String); 3],
    marker: PhantomData<String>,
    nothing: (),
    shapes: Vec<Shape>,
    ratio: f32,
    precise: f64,
    last: i16,
}

fn everything() -> Everything {
    let text =
        |length: usize| "äbcdefghijklmnopqrstuvwxyz".repeat(9).chars().take(length).collect();
    Everything {
        flag: true,
        wide: u128::MAX - 5,
        letter: 'ß',
        unit: Unit,
        inline: text(5),
        elsewhere: text(200),
        nested: Some(None),
        maybe: Some(-7),
        boxed: Box::new((3, text(64))),
        array: [(1, text(0)), (2, text(8)), (3, text(30))],
        marker: PhantomData,
        nothing: (),
        shapes: vec![
            Shape::Nothing,
            Shape::Small(9),
            Shape::Wide { at: 1 << 100, name: text(20) },
            Shape::Listed(vec![Shape2::Two(-3, true), Shape2::One], Some('x')),
        ],
        ratio: 0.5,
        precise: -1e300,
        last: -2,
    }
}

#[record(crate = crate::shim)]
#[rkyv(serialize_bounds(
    __S: thalweg_state::rkyv::ser::Writer + thalweg_state::rkyv::ser::Allocator,
    __S::Error: thalweg_state::rkyv::rancor::Source,
))]
#[rkyv(deserialize_bounds(__D::Error: thalweg_state::rkyv::rancor::Source))]
#[rkyv(bytecheck(bounds(
    __C: thalweg_state::rkyv::validation::ArchiveContext,
    __C::Error: thalweg_state::rkyv::rancor::Source,
)))]
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tree {
    value: u64,
    #[rkyv(omit_bounds)]
    children: Vec<Tree>,
}

#[test]
fn layouts_are_those_of_rkyv() {
    check_layout(everything());
    check_layout(7_u8);
    check_layout(-7_i64);
    check_layout(u128::MAX);
    check_layout(());
    check_layout(Unit);
    check_layout(true);
    check_layout("a".to_owned());
    check_layout((1_u8, 2_u64, 3_u8, "four".to_owned(), 5_u128, 6_u8, 7_u8, 8_u8, 9_u16, 10_u8));
    check_layout((1_u32, 2_u32));
    check_layout([(1_u64, 2_u64), (3, 4)]);
    check_layout([1_u8; 7]);
    check_layout('ß');
    check_layout(['a', 'b']);
    check_layout([true, false, true]);
    check_layout((true, 'x'));
    check_layout((1_u8, true));
    check_layout(0.5_f32);
    check_layout([-0.5_f64; 3]);
    check_layout(i128::MIN);
    check_layout([(1_u16, 2_u8); 2]);
    check_layout(PhantomData::<u8>);
    check_layout(renamed::Two { a: 1, b: 2 });
    check_layout([renamed::Two { a: 8, b: 1 }, renamed::Two { a: u32::MAX - 15, b: 2 }]);
    check_layout(Shape::Wide { at: 5, name: "n".to_owned() });
    check_layout(vec![vec![vec![1_u8]], vec![], vec![vec![], vec![2, 3]]]);
    let leaf = |value| Tree { value, children: vec![] };
    check_layout(Tree {
        value: 1,
        children: vec![leaf(2), Tree { value: 3, children: vec![leaf(4)] }],
    });
}

#[test]
fn maps_and_sets_of_any_size_are_read() {
    let name = |number: u32| "n".repeat(number as usize % 12) + &number.to_string();
    for length in (0..40).chain([100, 215, 216, 217, 1000, 1296]) {
        check_layout((0..length).map(|n| (n, u64::from(n) * 3)).collect::<BTreeMap<u32, u64>>());
        check_layout((0..length).map(|n| (name(n), n as u8)).collect::<BTreeMap<String, u8>>());
        check_layout((0..length).map(|n| n as u128).collect::<BTreeSet<u128>>());
        check_layout((0..length).map(|n| (n as u8, ())).collect::<BTreeMap<u8, ()>>());
        check_layout((0..length).map(|n| (n, name(n))).collect::<HashMap<u32, String>>());
        check_layout((0..length).map(|n| (n as u8, u128::from(n))).collect::<HashMap<u8, u128>>());
        check_layout((0..length).map(name).collect::<HashSet<String>>());
    }
}

mod v1 {
    use super::*;

    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    pub(super) struct Address {
        pub(super) street: String,
        pub(super) zip: u16,
    }

    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    pub(super) enum Contact {
        Mail(String),
        Phone { number: u32 },
        Nobody,
    }

    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    pub(super) struct User {
        pub(super) name: String,
        pub(super) age: u8,
        pub(super) secret: String,
        pub(super) homes: Vec<Address>,
        pub(super) contacts: BTreeMap<u16, (Contact, f32)>,
        pub(super) score: i32,
    }
}

mod v2 {
    use super::*;

    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    pub(super) struct Address {
        pub(super) zip: u32,
        pub(super) street: Option<String>,
        #[thalweg(default = country)]
        pub(super) country: String,
    }

    fn country() -> String {
        "Ruritania".to_owned()
    }

    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    #[thalweg(renamed_from = "Contact")]
    pub(super) enum Reach {
        Nobody,
        Pigeon {
            name: String,
        },
        #[thalweg(renamed_from = "Phone")]
        Call {
            number: u64,
            #[thalweg(default)]
            prefix: u16,
        },
        Mail(String),
    }

    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    #[thalweg(removed(secret, never_was))]
    pub(super) struct User {
        #[thalweg(default)]
        pub(super) id: u64,
        #[thalweg(renamed_from = "nick", renamed_from = "name")]
        pub(super) display: String,
        pub(super) age: i16,
        #[expect(clippy::vec_box, reason = "what was there may go into boxes")]
        pub(super) homes: Vec<Box<Address>>,
        pub(super) contacts: BTreeMap<u32, (Reach, f64)>,
        pub(super) score: i32,
    }
}

fn old_user() -> v1::User {
    let address = |zip| v1::Address { street: "a street that is long enough".to_owned(), zip };
    v1::User {
        name: "ann".to_owned(),
        age: 200,
        secret: "given up, wherever it lies".to_owned(),
        homes: vec![address(1), address(2)],
        contacts: BTreeMap::from([
            (1, (v1::Contact::Nobody, 0.5)),
            (2, (v1::Contact::Phone { number: 5 }, 1.5)),
            (3, (v1::Contact::Mail("ann@example.org".to_owned()), 2.5)),
        ]),
        score: -1,
    }
}

fn new_user() -> v2::User {
    let address = |zip| {
        Box::new(v2::Address {
            zip,
            street: Some("a street that is long enough".to_owned()),
            country: "Ruritania".to_owned(),
        })
    };
    v2::User {
        id: 0,
        display: "ann".to_owned(),
        age: 200,
        homes: vec![address(1), address(2)],
        contacts: BTreeMap::from([
            (1, (v2::Reach::Nobody, 0.5)),
            (2, (v2::Reach::Call { number: 5, prefix: 0 }, 1.5)),
            (3, (v2::Reach::Mail("ann@example.org".to_owned()), 2.5)),
        ]),
        score: -1,
    }
}

#[test]
fn declared_changes_are_carried_out_however_deep() {
    check(old_user(), new_user());
    check(vec![Some(old_user())], vec![Some(new_user())]);
    check((1_u8, old_user()), (1_i64, Box::new(Some(new_user()))));
    // The declarations say how, and are no part of what the type is.
    assert!(
        text_of::<v2::Reach>().starts_with("Reach[Nobody,Pigeon{name:String},Call{number:u64,")
    );
    check(new_user(), new_user());
}

#[test]
fn numbers_become_wider_ones() {
    check(255_u8, 255_u16);
    check(255_u8, 255_i16);
    check(u64::MAX, u128::MAX >> 64);
    check(u64::MAX, i128::from(u64::MAX));
    check(-1_i8, -1_i128);
    check(0.1_f32, f64::from(0.1_f32));
    check([1_u32, 2], [1_u64, 2]);
    let narrower =
        "the value was u16 and is u8, which does not hold all of its values; change it back";
    assert!(refused::<u16, u8>().starts_with(narrower), "{}", refused::<u16, u8>());
    for refused in [
        refused::<u16, i16>(),
        refused::<i8, u16>(),
        refused::<f64, f32>(),
        refused::<u8, f64>(),
        refused::<u8, bool>(),
        refused::<char, u32>(),
        refused::<String, Vec<u8>>(),
        refused::<[u8; 3], [u8; 4]>(),
        refused::<(u8, u8), (u8, u8, u8)>(),
        refused::<Option<u8>, u8>(),
        refused::<BTreeMap<u8, u8>, HashMap<u8, u8>>(),
        refused::<BTreeSet<u8>, Vec<u8>>(),
    ] {
        assert!(refused.starts_with("the value was "), "{refused}");
    }
}

mod renamed {
    use super::*;

    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    pub(super) struct Two {
        pub(super) a: u32,
        pub(super) b: u32,
    }

    pub(super) mod without_b {
        use super::*;
        #[record(crate = crate::shim)]
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) struct Two {
            a: u32,
        }
    }

    pub(super) mod with_c {
        use super::*;
        #[record(crate = crate::shim)]
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) struct Two {
            a: u32,
            b: u32,
            c: Vec<String>,
        }
    }

    pub(super) mod both {
        use super::*;
        #[record(crate = crate::shim)]
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) struct Two {
            a: u32,
            b: u32,
            #[thalweg(renamed_from = "b")]
            c: u32,
        }
    }

    pub(super) mod narrow {
        use super::*;
        #[record(crate = crate::shim)]
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) struct Two {
            a: u32,
            b: u16,
        }
    }

    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    pub(super) struct Other {
        a: u32,
        b: u32,
    }

    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    pub(super) struct Holder {
        pub(super) inner: Vec<Two>,
    }

    pub(super) mod holder {
        use super::*;
        #[record(crate = crate::shim)]
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) struct Holder {
            inner: Vec<without_b::Two>,
        }
    }
}

#[test]
fn what_is_not_declared_is_refused_with_the_field_and_the_remedy() {
    use renamed::{Holder, Other, Two, both, holder, narrow, with_c, without_b};
    assert_eq!(
        refused::<Two, without_b::Two>(),
        "field 'b' was u32 and is there no more; say that its values are given up with \
         `#[thalweg(removed(b))]` on Two, or what it is called now with `#[thalweg(renamed_from = \"b\")]`"
    );
    assert!(
        refused::<Two, with_c::Two>().starts_with(
            "field 'c' is new, of type Vec<String>; say what old values have there with `#[thalweg(default)]`"
        )
    );
    assert!(
        refused::<Two, narrow::Two>().starts_with("field 'b' was u32 and is u16, which does not")
    );
    let both = refused::<Two, both::Two>();
    assert!(both.starts_with("field 'c' and field 'b' are both what was field 'b'"), "{both}");
    let other = refused::<Two, Other>();
    assert!(
        other.starts_with("the value was of type Two and is of type Other; if that is the same"),
        "{other}"
    );
    let deep = refused::<Holder, holder::Holder>();
    assert!(deep.starts_with("field 'inner[].b' was u32 and is there no more"), "{deep}");
    let variant = refused::<v1::Contact, Option<v1::Address>>();
    assert!(variant.starts_with("the value was Contact["), "{variant}");
    let gone = refused::<v2::Reach, v1::Contact>();
    assert!(gone.contains("Reach") || gone.contains("variant"), "{gone}");
    let key = refused::<BTreeMap<u32, Two>, BTreeMap<u16, Two>>();
    assert!(key.starts_with("field '[key]' was u32 and is u16"), "{key}");
}

mod migrated {
    use super::*;

    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    pub(super) struct Reading {
        pub(super) celsius: f32,
        pub(super) at: String,
    }

    /// The first declaration under another name, as a program of today has it.
    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    pub(super) struct ReadingV1 {
        celsius: f64,
        at: String,
    }

    pub(super) mod second {
        use super::*;

        #[record(crate = crate::shim)]
        #[derive(Debug, Clone, PartialEq)]
        #[thalweg(migrate_from = ReadingV1, with = of_v1)]
        pub(crate) struct Reading {
            pub(crate) kelvin: f64,
            pub(crate) at_ms: i64,
        }

        fn of_v1(old: ReadingV1) -> Result<Reading, String> {
            let at_ms = old.at.parse().map_err(|error| format!("'{}': {error}", old.at))?;
            Ok(Reading { kelvin: old.celsius + 273.0, at_ms })
        }
    }

    pub(super) mod third {
        use super::*;

        #[record(crate = crate::shim)]
        #[derive(Debug, Clone, PartialEq)]
        #[thalweg(migrate_from = second::Reading, with = of_second)]
        pub(crate) enum Reading {
            Cold,
            Warm(i64),
        }

        fn of_second(old: second::Reading) -> Reading {
            if old.kelvin < 280.0 { Reading::Cold } else { Reading::Warm(old.at_ms) }
        }
    }
}

#[test]
fn functions_migrate_what_no_rule_does() {
    use migrated::{Reading, second, third};
    let old = |celsius, at: &str| Reading { celsius, at: at.to_owned() };
    check(old(1.5, "7"), second::Reading { kelvin: 274.5, at_ms: 7 });
    check(second::Reading { kelvin: 274.5, at_ms: 7 }, second::Reading { kelvin: 274.5, at_ms: 7 });
    check(vec![old(1.5, "7"), old(20.0, "8")], vec![third::Reading::Cold, third::Reading::Warm(8)]);
    check(second::Reading { kelvin: 300.0, at_ms: 9 }, third::Reading::Warm(9));
    let error = try_evolve::<Reading, second::Reading>(&old(1.0, "noon")).unwrap_err();
    assert!(matches!(error, StateError::Evolve { .. }), "{error}");
    assert!(error.to_string().contains("'noon': invalid digit"), "{error}");
    let refused = refused::<(u8, renamed::Two), (u8, second::Reading)>();
    assert!(refused.starts_with("field '1' was of type Two and is of type Reading"), "{refused}");
    assert!(
        refused.contains("and cannot be migrated, since field '1.celsius' is new"),
        "{refused}"
    );
}

#[test]
fn migrated_keys_that_become_equal_are_refused() {
    let old = BTreeMap::from([(KeyV1 { number: 1 }, 1_u8), (KeyV1 { number: 2 }, 2)]);
    let error = try_evolve::<BTreeMap<KeyV1, u8>, BTreeMap<Key, u8>>(&old).unwrap_err();
    assert!(matches!(error, StateError::Unarchive { .. }), "{error}");
}

#[record(crate = crate::shim)]
#[rkyv(derive(PartialEq, Eq, PartialOrd, Ord))]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct KeyV1 {
    number: u32,
}

#[record(crate = crate::shim)]
#[rkyv(derive(PartialEq, Eq, PartialOrd, Ord))]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[thalweg(migrate_from = KeyV1, with = halved)]
struct Key {
    half: u32,
}

fn halved(_: KeyV1) -> Key {
    Key { half: 1 }
}

#[record(crate = crate::shim)]
#[derive(Debug, Clone, PartialEq)]
struct Odd {
    #[rkyv(with = thalweg_state::rkyv::with::Niche)]
    boxed: Option<Box<u64>>,
    plain: u8,
}

mod odd {
    use super::*;

    #[record(crate = crate::shim)]
    #[derive(Debug, Clone, PartialEq)]
    pub(super) struct Odd {
        #[rkyv(with = thalweg_state::rkyv::with::Niche)]
        boxed: Option<Box<u64>>,
        plain: u16,
    }
}

#[test]
fn what_rkyv_is_told_to_archive_otherwise_is_not_guessed() {
    let refused = refused::<Odd, odd::Odd>();
    assert!(refused.contains("a type that is archived in its own way"), "{refused}");
}

#[test]
fn damaged_values_are_errors() {
    let evolution = between::<Everything, Everything>();
    let bytes = everything().to_archived().expect("archives");
    for length in 0..bytes.len() {
        drop(Everything::from_old(evolution.old_type(), &bytes[..length]));
    }
    for at in 0..bytes.len() {
        for flip in [1, 0x0F, 0x80, 0xFF] {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= flip;
            drop(Everything::from_old(evolution.old_type(), &damaged));
        }
    }
    // A tree that is its own child.
    let tree = Tree { value: 1, children: vec![Tree { value: 2, children: vec![] }] };
    let mut bytes = tree.to_archived().expect("archives").to_vec();
    let end = bytes.len();
    bytes[end - 8..end - 4].copy_from_slice(&(-8_i32).to_le_bytes());
    let evolution = between::<Tree, Tree>();
    let error = Tree::from_old(evolution.old_type(), &bytes).unwrap_err();
    assert!(matches!(error, StateError::Unarchive { .. }), "{error}");
}

#[test]
fn schemas_that_nobody_wrote_are_refused() {
    let now = SchemaDescription::of::<u64>();
    let deep = format!("{}u8{}", "Vec<".repeat(5000), ">".repeat(5000));
    for text in [
        "",
        "Vec<",
        "Vec<u8",
        "u8>",
        "A{",
        "A{a}",
        "A{a:u8",
        "A{a:u8,a:u8}",
        "A{a:A^0}",
        "A^0",
        "A{a:[A^0;0]}",
        "A{a:Option<A^0>}",
        "[u8;x]",
        "[u8]",
        "A[B,B]",
        "A[B{a:u8]",
        "(u8",
        ",",
        &deep,
        "A^99999999999999999999",
    ] {
        let refused = Evolution::between(text, &now).unwrap_err().to_string();
        assert!(refused.starts_with("the schema that was stored"), "{text}: {refused}");
    }
    let huge = "[[[u64;1000000000];1000000000];1000000000]";
    assert!(Evolution::between(huge, &now).is_err());
}
