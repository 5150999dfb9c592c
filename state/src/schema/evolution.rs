//! Whether values of one schema can become values of another: decided before a value is read.
//!
//! The rules, for each type that was and the one in its place:
//!
//! 1. A type that migrates from another takes all values that the other takes, by its function.
//! 2. Numbers become wider ones of their kind, or wider signed ones if they were unsigned; a value may become an `Option` of
//!    it; a `Box` is as what it holds.
//! 3. Fields and variants are told by name: the present one, or else a former one, each taken once. A field that is new needs
//!    a default; one that is gone needs to be declared as removed; a variant must not be gone. Order is of no matter.
//! 4. Everything else stays what it is, keys included; what it is made of follows these rules.
//!
//! **Invariants**
//! - What is accepted here does not fail for its types when it is read; only damage and migrations do.
//! - Which types migrate is decided here, once; reading looks it up.

use std::any::TypeId as RustType;
use std::collections::BTreeSet;
use std::fmt;

use super::SchemaDescription;
use super::declared::Declared;
use super::old_value::OldType;
use super::tree::{Field, MalformedSchema, Named, TypeId, TypeKind, TypeTree, Variant};

/// How many migrations one behind the other are looked at.
const MIGRATIONS_MAX: usize = 32;
/// How deep types may lie in each other.
const DEPTH_MAX: usize = 128;

/// The types that values were written as, all of which can be read as those of now.
///
/// # Examples
///
/// ```
/// use thalweg_state::{Evolution, SchemaDescription, StateValue};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bytes = vec![1_u32, 2].to_archived()?;
/// let evolution = Evolution::between("Vec<u32>", &SchemaDescription::of::<Vec<u64>>())?;
/// assert_eq!(Vec::<u64>::from_old(evolution.old_type(), &bytes)?, [1, 2]);
///
/// let refused = Evolution::between("Vec<u32>", &SchemaDescription::of::<Vec<u8>>()).unwrap_err();
/// assert!(refused.to_string().starts_with("each element was u32 and is u8"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Evolution {
    pub(super) tree: TypeTree,
    /// The types of now that migrate where this type was.
    pub(super) migrating: BTreeSet<(TypeId, RustType)>,
}

impl Evolution {
    /// From the schema with this text to one of now.
    ///
    /// # Errors
    ///
    /// [`SchemaRefused`] for the first part that cannot become what it is now.
    pub fn between(old: &str, now: &SchemaDescription) -> Result<Self, SchemaRefused> {
        let tree = TypeTree::parse(old).map_err(SchemaRefused::malformed)?;
        let new = TypeTree::parse(now.text()).map_err(SchemaRefused::malformed)?;
        let mut check = Check {
            old: &tree,
            new: &new,
            declared: now.declared(),
            compared: BTreeSet::new(),
            migrating: BTreeSet::new(),
            migrations: 0,
            depth: 0,
            is_named_root: true,
        };
        check.compare(tree.root(), new.root(), &Place::Root)?;
        let migrating = check.migrating;
        Ok(Evolution { tree, migrating })
    }

    /// The type of whole values.
    pub fn old_type(&self) -> OldType<'_> {
        OldType { evolution: self, ty: self.tree.root() }
    }

    /// The text of the schema that values were written with.
    pub fn old_text(&self) -> &str {
        self.tree.text()
    }
}

/// A schema cannot become another: where, what was and is, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaRefused {
    place: Box<str>,
    what: Box<str>,
    remedy: Box<str>,
}

impl SchemaRefused {
    /// The field, by the path to it; "the value" for all of it.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn malformed(source: MalformedSchema) -> Self {
        SchemaRefused {
            place: "the schema that was stored".into(),
            what: source.to_string().into(),
            remedy: "read it with the program version that wrote it".into(),
        }
    }
}

impl fmt::Display for SchemaRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}; {}", self.place, self.what, self.remedy)
    }
}

impl std::error::Error for SchemaRefused {}

/// The way to a part of a value.
enum Place<'p> {
    Root,
    Field(&'p Place<'p>, &'p str),
    Variant(&'p Place<'p>, &'p str),
    Element(&'p Place<'p>),
    Key(&'p Place<'p>),
}

impl Place<'_> {
    fn path(&self) -> String {
        match self {
            Place::Root => String::new(),
            Place::Field(of, name) | Place::Variant(of, name) => match of.path() {
                path if path.is_empty() => (*name).to_owned(),
                path => format!("{path}.{name}"),
            },
            Place::Element(of) => format!("{}[]", of.path()),
            Place::Key(of) => format!("{}[key]", of.path()),
        }
    }

    fn refuse(&self, what: impl Into<Box<str>>, remedy: impl Into<Box<str>>) -> SchemaRefused {
        let place = match (self, self.path()) {
            (Place::Root, _) => "the value".to_owned(),
            (Place::Variant(..), path) => format!("variant '{path}'"),
            (_, path) if path == "[]" => "each element".to_owned(),
            (_, path) => format!("field '{path}'"),
        };
        SchemaRefused { place: place.into(), what: what.into(), remedy: remedy.into() }
    }
}

const MIGRATE: &str = "change it back, or declare a migration with `#[thalweg(migrate_from = OldType, with = function)]` on the \
                       type that contains it";

/// A comparison of an old tree with a new one.
struct Check<'c> {
    old: &'c TypeTree,
    new: &'c TypeTree,
    declared: &'c [Declared],
    /// Pairs that are compared, or are being so.
    compared: BTreeSet<(TypeId, TypeId)>,
    migrating: BTreeSet<(TypeId, RustType)>,
    migrations: usize,
    depth: usize,
    /// Whether the name of the root's type is to be the same: not of one that is migrated from.
    is_named_root: bool,
}

impl Check<'_> {
    fn compare(&mut self, was: TypeId, is: TypeId, place: &Place<'_>) -> Result<(), SchemaRefused> {
        let (was, is) = (unboxed(self.old, was), unboxed(self.new, is));
        if !self.compared.insert((was, is)) {
            return Ok(());
        }
        if self.depth >= DEPTH_MAX {
            let what = format!("lies more than {DEPTH_MAX} types deep");
            return Err(place.refuse(what, MIGRATE));
        }
        self.depth += 1;
        let compared = self.compare_unboxed(was, is, place);
        self.depth -= 1;
        compared
    }

    fn compare_unboxed(
        &mut self,
        was: TypeId,
        is: TypeId,
        place: &Place<'_>,
    ) -> Result<(), SchemaRefused> {
        let declared = match self.new.kind(is) {
            TypeKind::Struct(named) | TypeKind::Enum(named) => self.declared.get(named.number),
            _ => None,
        };
        let mut other = String::new();
        if let Some((declared, migrates_from)) =
            declared.and_then(|declared| Some((declared, declared.migrates_from?)))
        {
            match self.migrates(was, &migrates_from(), place) {
                Ok(()) => {
                    self.migrating.insert((was, declared.rust_type));
                    return Ok(());
                }
                Err(refused) => other = format!(" (and cannot be migrated, since {refused})"),
            }
        }
        self.compare_kinds(was, is, place).map_err(|refused| {
            let what = format!("{}{other}", refused.what);
            SchemaRefused { what: what.into(), ..refused }
        })
    }

    /// Whether what was can be read as the type that is migrated from.
    fn migrates(
        &mut self,
        was: TypeId,
        from: &SchemaDescription,
        place: &Place<'_>,
    ) -> Result<(), SchemaRefused> {
        let new = TypeTree::parse(from.text()).map_err(SchemaRefused::malformed)?;
        if self.migrations >= MIGRATIONS_MAX {
            let what = format!("is migrated more than {MIGRATIONS_MAX} times in a row");
            return Err(place.refuse(what, "let the functions of older types lead further"));
        }
        let mut check = Check {
            old: self.old,
            new: &new,
            declared: from.declared(),
            compared: BTreeSet::new(),
            migrating: BTreeSet::new(),
            migrations: self.migrations + 1,
            depth: self.depth,
            is_named_root: false,
        };
        check.compare(was, new.root(), place)?;
        self.migrating.extend(check.migrating);
        Ok(())
    }

    fn compare_kinds(
        &mut self,
        was: TypeId,
        is: TypeId,
        place: &Place<'_>,
    ) -> Result<(), SchemaRefused> {
        let (old, new) = (self.old, self.new);
        let is_foreign = matches!(old.kind(was), TypeKind::Foreign { .. });
        if !is_foreign && old.layout(was).is_none() {
            let what =
                format!("contains a type that is archived in its own way: {}", old.text_of(was));
            return Err(place.refuse(what, "keep the type of the whole state as it is"));
        }
        match (old.kind(was), new.kind(is)) {
            (TypeKind::Number(from), TypeKind::Number(to)) if from == to || from.widens_to(*to) => {
                Ok(())
            }
            (TypeKind::Bool, TypeKind::Bool)
            | (TypeKind::Char, TypeKind::Char)
            | (TypeKind::Text, TypeKind::Text)
            | (TypeKind::Marker, TypeKind::Marker) => Ok(()),
            (TypeKind::Option(from), TypeKind::Option(to)) => self.compare_part(*from, *to, place),
            (_, TypeKind::Option(to)) => self.compare(was, *to, place),
            (TypeKind::List(from), TypeKind::List(to)) => {
                self.compare_part(*from, *to, &Place::Element(place))
            }
            (TypeKind::Array(from, before), TypeKind::Array(to, now)) if before == now => {
                self.compare_part(*from, *to, &Place::Element(place))
            }
            (TypeKind::Tuple(from), TypeKind::Tuple(to)) if from.len() == to.len() => {
                from.iter().zip(to).enumerate().try_for_each(|(index, (from, to))| {
                    self.compare_part(*from, *to, &Place::Field(place, &index.to_string()))
                })
            }
            (
                TypeKind::Map { is_hashed: before, key: from_key, value: from },
                TypeKind::Map { is_hashed: now, key: to_key, value: to },
            ) if before == now => {
                self.compare_part(*from_key, *to_key, &Place::Key(place))?;
                self.compare_part(*from, *to, &Place::Element(place))
            }
            (
                TypeKind::Set { is_hashed: before, element: from },
                TypeKind::Set { is_hashed: now, element: to },
            ) if before == now => self.compare_part(*from, *to, &Place::Element(place)),
            (TypeKind::Struct(from), TypeKind::Struct(to)) => {
                self.compare_structs(from, to, is, place)
            }
            (TypeKind::Enum(from), TypeKind::Enum(to)) => self.compare_enums(from, to, is, place),
            (
                TypeKind::Foreign { name: from, arguments: before },
                TypeKind::Foreign { name: to, arguments: now },
            ) if from == to && before.len() == now.len() => {
                self.compare_arguments(to, before, now, place)
            }
            _ => Err(self.changed(was, is, place)),
        }
    }

    /// A part of something that rkyv lays out; what is archived by hand cannot be read there.
    fn compare_part(
        &mut self,
        was: TypeId,
        is: TypeId,
        place: &Place<'_>,
    ) -> Result<(), SchemaRefused> {
        if self.old.layout(was).is_none() {
            let was = self.old.text_of(was);
            let what = format!("is of a type that is archived in its own way: {was}");
            return Err(place.refuse(what, "keep the type of the whole state as it is"));
        }
        self.compare(was, is, place)
    }

    fn changed(&self, was: TypeId, is: TypeId, place: &Place<'_>) -> SchemaRefused {
        let (was, is) = (self.old.text_of(was), self.new.text_of(is));
        place.refuse(
            format!("was {was} and is {is}, which does not hold all of its values"),
            MIGRATE,
        )
    }

    /// Kinds of state, and types that are archived by hand: part by part.
    fn compare_arguments(
        &mut self,
        name: &str,
        before: &[TypeId],
        now: &[TypeId],
        place: &Place<'_>,
    ) -> Result<(), SchemaRefused> {
        for (index, (was, is)) in before.iter().zip(now).enumerate() {
            let has_key = matches!(name, "MapState" | "BroadcastState" | "Namespaced");
            let (was_text, is_text) = (self.old.text_of(*was), self.new.text_of(*is));
            if has_key && index == 0 && was_text != is_text {
                let what = format!("has keys of type {is_text} that were {was_text}");
                let remedy =
                    "the type of keys is fixed: change it back, or give the state another name";
                return Err(place.refuse(what, remedy));
            }
            self.compare(*was, *is, place)?;
        }
        Ok(())
    }

    fn check_name(
        &self,
        from: &Named,
        to: &Named,
        is: TypeId,
        place: &Place<'_>,
    ) -> Result<(), SchemaRefused> {
        let is_former = self
            .declared
            .get(to.number)
            .is_some_and(|declared| declared.former_names.contains(&from.name));
        let is_free_root = !self.is_named_root && is == unboxed(self.new, self.new.root());
        if from.name == to.name || is_former || is_free_root {
            return Ok(());
        }
        let what = format!("was of type {} and is of type {}", from.name, to.name);
        let remedy = format!(
            "if that is the same type with another name, write `#[thalweg(renamed_from = \"{}\")]` on {}",
            from.name, to.name
        );
        Err(place.refuse(what, remedy))
    }

    fn compare_structs(
        &mut self,
        from: &Named,
        to: &Named,
        is: TypeId,
        place: &Place<'_>,
    ) -> Result<(), SchemaRefused> {
        self.check_name(from, to, is, place)?;
        let (Some(before), Some(now)) = (from.variants.first(), to.variants.first()) else {
            return Ok(());
        };
        self.compare_fields(&before.fields, now, (to, 0), place)
    }

    fn compare_enums(
        &mut self,
        from: &Named,
        to: &Named,
        is: TypeId,
        place: &Place<'_>,
    ) -> Result<(), SchemaRefused> {
        self.check_name(from, to, is, place)?;
        let declared = self.declared.get(to.number);
        let mut taken = vec![None; to.variants.len()];
        for before in &from.variants {
            let place = Place::Variant(place, &before.name);
            let by_name = to.variants.iter().position(|now| now.name == before.name);
            let found = by_name.or_else(|| {
                (0..to.variants.len()).find(|index| {
                    declared.is_some_and(|declared| {
                        declared.former_names(*index, None).contains(&before.name)
                    })
                })
            });
            let Some(found) = found else {
                let remedy = "keep it, name the variant that it is now with `#[thalweg(renamed_from = \"..\")]`, or declare a \
                              migration with `#[thalweg(migrate_from = OldType, with = function)]` on the enum";
                return Err(place.refuse("is there no more", remedy));
            };
            let now = &to.variants[found];
            if let Some(other) = taken[found].replace(&before.name) {
                let what = format!("and variant '{other}' are both variant '{}' now", now.name);
                return Err(place.refuse(what, MIGRATE));
            }
            self.compare_fields(&before.fields, now, (to, found), &place)?;
        }
        Ok(())
    }

    fn compare_fields(
        &mut self,
        before: &[Field],
        now: &Variant,
        (to, variant): (&Named, usize),
        place: &Place<'_>,
    ) -> Result<(), SchemaRefused> {
        let declared = self.declared.get(to.number);
        let mut taken: Vec<Option<&str>> = vec![None; before.len()];
        for (index, field) in now.fields.iter().enumerate() {
            let place = Place::Field(place, &field.name);
            let former = declared.map_or(&[][..], |of| of.former_names(variant, Some(index)));
            let Some(found) = find_field(before, &field.name, former) else {
                if declared.is_some_and(|declared| declared.has_default(variant, index)) {
                    continue;
                }
                let what = format!("is new, of type {}", self.new.text_of(field.ty));
                let remedy = "say what old values have there with `#[thalweg(default)]` or `#[thalweg(default = path::to::function)]`, \
                              or under which name it was with `#[thalweg(renamed_from = \"..\")]`";
                return Err(place.refuse(what, remedy));
            };
            if let Some(other) = taken[found].replace(&field.name) {
                let was = &before[found].name;
                let what = format!("and field '{other}' are both what was field '{was}'");
                return Err(place.refuse(what, MIGRATE));
            }
            self.compare_part(before[found].ty, field.ty, &place)?;
        }
        for (field, taken) in before.iter().zip(taken) {
            if taken.is_some() || declared.is_some_and(|of| of.is_removed(variant, &field.name)) {
                continue;
            }
            let what = format!("was {} and is there no more", self.old.text_of(field.ty));
            let remedy = format!(
                "say that its values are given up with `#[thalweg(removed({0}))]` on {1}, or what it is called now with \
                 `#[thalweg(renamed_from = \"{0}\")]`",
                field.name,
                if now.name.is_empty() { &to.name } else { &now.name }
            );
            return Err(Place::Field(place, &field.name).refuse(what, remedy));
        }
        Ok(())
    }
}

/// The field of this name, or else of the first of its former names that there is.
pub(super) fn find_field<N: AsRef<str>>(
    fields: &[Field],
    name: &str,
    former: &[N],
) -> Option<usize> {
    let find = |name: &str| fields.iter().position(|field| *field.name == *name);
    find(name).or_else(|| former.iter().find_map(|former| find(former.as_ref())))
}

/// What lies in boxes.
pub(super) fn unboxed(tree: &TypeTree, mut ty: TypeId) -> TypeId {
    // A box may hold itself by name in a text that nobody wrote.
    for _ in 0..64 {
        match tree.kind(ty) {
            TypeKind::Boxed(part) => ty = *part,
            _ => break,
        }
    }
    ty
}
