//! Guide: changing the types of state that is stored.
//!
//! A checkpoint or savepoint has the schemas of all states as texts. When a job goes on from it with other declarations, each
//! old schema is compared with the new type, before any record flows: either all old values can become new ones, or the job is
//! refused with the operator, the state, the field, what it was and is, and what to write. Nothing is ever guessed, and no value
//! is reinterpreted.
//!
//! | change | what to write, below `#[thalweg::record]` |
//! |---|---|
//! | a field is added | `#[thalweg(default)]` or `#[thalweg(default = path::to::function)]` on the field |
//! | a field is removed | `#[thalweg(removed(old_a, old_b))]` on the struct, or on the variant |
//! | a field or a variant is renamed | `#[thalweg(renamed_from = "old")]` on it; again for each name before, the latest first |
//! | a type is renamed | `#[thalweg(renamed_from = "Old")]` on the type |
//! | a number gets wider: `u8` to `u64`, `u8` to `i16`, `i32` to `i64`, `f32` to `f64` | nothing |
//! | `T` becomes `Option<T>`; `T` goes into a `Box` or out of it | nothing |
//! | a variant is added; fields or variants change their order | nothing |
//! | anything else: units, splitting a field, narrowing, removing a variant | `#[thalweg(migrate_from = OldType, with = path::to::function)]` on the type |
//! | a key: of `key_by`, of map or broadcast state | refused: give the state another name, or begin without the checkpoint |
//! | the kind of a state, `ListState` to `MapState` | refused: give the state another name |
//!
//! The rules hold at any depth: in nested records, variants, `Option`, `Vec`, arrays, tuples, maps and sets; and wherever values
//! are stored: value, list, map, reducing and aggregating state, with a TTL or without, accumulators and elements of windows, the
//! buffers of joins, operator lists and broadcast maps, requests in flight, splits, handles of transactions. Both backends follow
//! them. Timers have no user types but the key.
//!
//! ```
//! # mod thalweg {
//! #     pub use thalweg_macros::record;
//! #     pub mod state {
//! #         pub use thalweg_state::*;
//! #     }
//! #     pub use thalweg_state::rkyv;
//! # }
//! /// What the checkpoint has: `Visits { page: String, count: u32, referrer: String }`.
//! #[thalweg::record(crate = crate::thalweg)]
//! #[thalweg(removed(referrer))]
//! struct Visits {
//!     #[thalweg(renamed_from = "page")]
//!     path: String,
//!     count: u64,
//!     #[thalweg(default = unknown)]
//!     country: String,
//! }
//!
//! fn unknown() -> String {
//!     "unknown".into()
//! }
//!
//! /// A migration: the old declaration gets a new name, and stays as long as it is needed.
//! #[thalweg::record(crate = crate::thalweg)]
//! struct ReadingV1 {
//!     celsius: f32,
//! }
//!
//! #[thalweg::record(crate = crate::thalweg)]
//! #[thalweg(migrate_from = ReadingV1, with = to_kelvin)]
//! struct Reading {
//!     kelvin: f64,
//! }
//!
//! fn to_kelvin(old: ReadingV1) -> Reading {
//!     Reading { kelvin: f64::from(old.celsius) + 273.15 }
//! }
//! # fn main() {}
//! ```
//!
//! # What happens when
//!
//! - **At the start** the schemas are compared. With the backend `lsm` nothing is rewritten: the state gets a further *version* in
//!   the store's manifest (at most 255), new values are written with it, and old ones are converted each time that they are read
//!   from files, until they change. With the backend `memory` all values are read, and so converted, at the start.
//! - **Declarations stay** as long as values of the old schema may be in the files: with `memory` until the first checkpoint is
//!   complete and those before it are not needed any more, with `lsm` until the last old value has changed and its file was merged,
//!   which `thalweg-inspect` shows. A later type that does not know an old schema is refused while its values are there.
//! - **Going back** to the old program is possible from the checkpoints that it has taken itself, whatever the new one did. From those
//!   of the new one its type would have to take the new values, by the same rules.
//! - **A migration may refuse a value** by returning an error: the job fails when it reads the value, and is not restarted. A
//!   migration is tried before all other rules, and takes whatever can be read as its old type, so old types may migrate from older
//!   ones.
//! - Values without changes are read as ever; a state of whose type nothing changed costs nothing.
//!
//! # Limits
//!
//! - Types whose schema is written by hand, and fields with rkyv's `with` or `niche`, have no layout that is known here: what
//!   contains them is refused when it changes.
//! - If both the present and a former name of a field are there, the present one is taken; the other one must be declared as removed
//!   or be a field of its own.
//! - Fields of tuple structs are named by their position.
