//! What a type looks like: names, types and order, as a text and as a fingerprint of it.
//!
//! rkyv's archives carry no schema, so the fingerprint is kept with every state and file and
//! compared at restore; the text names field and types when they differ. The same trait feeds a
//! key's canonical words to the hasher, since both follow the declaration. `#[thalweg::record]`
//! writes both.
//!
//! **The text.** Primitives by name (`u64`), containers with arguments (`Vec<u64>`), tuples
//! `(u8,String)`, arrays `[u8;4]`, structs `Click{user:String,at:i64}`, enums
//! `Shape[Point,Circle{0:f64}]`. A named type is written out once; where it comes again, or
//! contains itself, it is `Name^n`, the n-th named type of the text.
//!
//! **Invariants**
//! - The text is injective: two types with equal texts have equal archived layouts field by field.
//! - The fingerprint is FNV-1a (64 bits) of the text; both are a part of the state format.
//! - `usize` and `isize` have no schema on purpose: rkyv archives them in 32 bits and cuts larger
//!   values off in silence. Write `u64` or `u32`.
//!
//! **Evolution.** Values that were written with another schema are read by it: its text is parsed into a [`tree`] with the
//! layouts of archives, [`evolution`] compares that with the schema of now and with what the types have [`declared`] of their
//! past, and [`OldValue`] is a cursor over the old bytes of which [`Schema::evolve`] makes a value of now.

mod builder;
mod declared;
mod evolution;
mod impls;
mod old_value;
mod tree;

pub use builder::{FieldsBuilder, SchemaBuilder, VariantsBuilder};
pub use evolution::{Evolution, SchemaRefused};
pub use old_value::{EvolutionError, Migrated, OldFields, OldType, OldValue};
pub use tree::MalformedSchema;

use std::fmt;
use std::sync::Arc;

use self::declared::Declared;

use crate::{KeyHash, KeyHasher};

/// The structure of a type, and its canonical words as a key.
///
/// Written by `#[thalweg::record]`; implemented here for integers, `bool`, `char`, floats,
/// `String`, `Vec`, `Option`, `Box`, arrays, tuples up to 12 and std's maps and sets.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no schema, so it cannot be kept in state or keyed by",
    label = "no schema",
    note = "write `#[thalweg::record]` on `{Self}`; for `usize` and `isize` use a width that is the same everywhere, such as `u64`"
)]
pub trait Schema: 'static {
    /// Writes the structure of the type.
    fn describe(out: &mut SchemaBuilder);

    /// Feeds the canonical words of the value; equal values must feed equal words.
    fn hash_key(&self, hasher: &mut KeyHasher);

    /// The hash that decides the key group, given the value's own; another one only for a key in a
    /// namespace, which moves with the key.
    #[inline]
    fn group_hash(&self, hash: KeyHash) -> KeyHash {
        hash
    }

    /// A value of a value that was written with an older schema, which [`Evolution`] has found to fit.
    ///
    /// Types that do not say how take no older values.
    ///
    /// # Errors
    ///
    /// [`EvolutionError`] if the archive is damaged, or a migration refuses the value.
    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError>
    where
        Self: Sized,
    {
        Err(EvolutionError::mismatch::<Self>(old.old_type()))
    }
}

/// A 64-bit fingerprint of a type's structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaFingerprint(pub u64);

impl fmt::Display for SchemaFingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl SchemaFingerprint {
    /// That of a schema with this [text](SchemaDescription::text).
    pub fn of_text(text: &str) -> Self {
        SchemaFingerprint(fnv_1a(text.as_bytes()))
    }
}

/// The structure of a type as a text for people, and its fingerprint.
///
/// # Examples
///
/// ```
/// use thalweg_state::SchemaDescription;
/// let schema = SchemaDescription::of::<Vec<(u64, Option<String>)>>();
/// assert_eq!(schema.text(), "Vec<(u64,Option<String>)>");
/// assert_ne!(schema.fingerprint(), SchemaDescription::of::<Vec<(u64, String)>>().fingerprint());
/// ```
#[derive(Clone, Debug)]
pub struct SchemaDescription {
    text: Box<str>,
    fingerprint: SchemaFingerprint,
    /// Of the named types, by the numbers that `Name^n` refers to.
    declared: Arc<[Declared]>,
}

/// What types declare of their past is no part of what they are.
impl PartialEq for SchemaDescription {
    fn eq(&self, other: &Self) -> bool {
        (self.fingerprint, &self.text) == (other.fingerprint, &other.text)
    }
}

impl Eq for SchemaDescription {}

impl SchemaDescription {
    /// The description of a type.
    pub fn of<T: Schema + ?Sized>() -> Self {
        let mut builder = SchemaBuilder::new();
        T::describe(&mut builder);
        builder.finish()
    }

    fn of_text(text: String, declared: Vec<Declared>) -> Self {
        let fingerprint = SchemaFingerprint::of_text(&text);
        SchemaDescription { text: text.into(), fingerprint, declared: declared.into() }
    }

    fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// Names, types and order.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fingerprint of the text.
    pub fn fingerprint(&self) -> SchemaFingerprint {
        self.fingerprint
    }
}

fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests;
