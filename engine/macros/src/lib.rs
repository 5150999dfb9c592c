//! The `#[thalweg::record]` attribute: all that a type needs to travel between cores, to be kept in
//! state and to be a key.
//!
//! 1. `options` reads what stands in the attribute's parentheses.
//! 2. `past` reads and takes out what `#[thalweg(..)]` says of the item's past.
//! 3. `shape` turns the item into fields and variants, and refuses what cannot be a record.
//! 4. `expand` writes rkyv's derives in front of the item and the `Schema` impl behind it.
//!
//! **Invariants**
//! - The item itself is passed on unchanged but for `#[thalweg(..)]`; only attributes are added.
//! - Field names, types and order of the schema are those of the declaration, and so are the words
//!   of the key hash; a variant's index is its position, not its discriminant.

mod expand;
mod options;
mod past;
mod shape;

use proc_macro::TokenStream;

/// Makes a struct or an enum a record: derives rkyv's `Archive`, `Serialize` and `Deserialize` and
/// implements `Schema` (structural fingerprint and key hash).
///
/// Every field must itself be a record or one of the types that have a schema: integers of a fixed
/// width, floats, `bool`, `char`, `String`, `Vec`, `Option`, `Box`, arrays, tuples, std's maps and
/// sets. Type parameters get a `Schema` bound. A record owns its data, so lifetimes are refused. To
/// be a key it also derives `PartialEq, Eq, Clone`.
///
/// A type that contains itself needs rkyv's `#[rkyv(omit_bounds)]` on the recursive field and its
/// bounds on the type, as rkyv's documentation shows; they can stand below this attribute.
///
/// `#[record(crate = path)]` names another path than `::thalweg` under which `rkyv` and `state` are
/// found.
///
/// # When the type changes
///
/// State that was stored with an older declaration is read with the new one, if these attributes, **below** this one, say how;
/// otherwise the job is refused before it runs, with the name of the field. They have to stay as long as state of the older
/// declaration may be restored.
///
/// | change | what to write |
/// |---|---|
/// | a field is added | `#[thalweg(default)]` or `#[thalweg(default = path::to::function)]` on the field |
/// | a field is removed | `#[thalweg(removed(old_a, old_b))]` on the struct or variant |
/// | a field or variant is renamed | `#[thalweg(renamed_from = "old")]` on it, once for each name that it had |
/// | the type is renamed | `#[thalweg(renamed_from = "Old")]` on the type |
/// | a number gets wider (`u8` to `u32` or `i16`, `f32` to `f64`) | nothing |
/// | `T` becomes `Option<T>`, or goes into or out of a `Box` | nothing |
/// | a variant is added; fields or variants change their order | nothing |
/// | anything else | `#[thalweg(migrate_from = OldType, with = path::to::function)]` on the type |
///
/// A migration's function takes an `OldType`, another record whose declaration is (or can read) the stored one, whatever its
/// name, and returns the type or a `Result` with it. It is tried before all other rules. What a value contains may change
/// likewise: nested records, `Option`, `Vec`, arrays, tuples, the keys and values of maps and sets. Positions are the names of
/// fields of tuple structs. The types of keys, and of the user keys of map state, never change.
///
/// # Examples
///
/// ```
/// # mod thalweg {
/// #     pub use thalweg_macros::record;
/// #     pub use thalweg_state as state;
/// #     pub use thalweg_state::rkyv;
/// # }
/// #[thalweg::record(crate = crate::thalweg)]
/// #[derive(Debug, Clone, PartialEq, Eq)]
/// struct Click {
///     user: String,
///     at_ms: i64,
/// }
///
/// fn main() {
///     let schema = thalweg::state::SchemaDescription::of::<Click>();
///     assert_eq!(schema.text(), "Click{user:String,at_ms:i64}");
/// }
/// ```
#[proc_macro_attribute]
pub fn record(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::record(options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
