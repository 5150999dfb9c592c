//! A cursor over an archive that was written with an older schema, driven by that schema.
//!
//! ```text
//! OldType: a type of the old tree        OldValue: such a type, and where its archive lies
//! ```
//! What rkyv would find by its types at compile time is found here by the layouts of [`TypeTree`](super::tree).
//!
//! **Invariants**
//! - Every byte is looked at through a checked range: damaged archives are errors.
//! - A whole archive is read once at most: what is referred to is charged to the length of the archive, so references that go in
//!   circles, or share parts, come to an end. They are followed 256 deep at most.

use std::any::TypeId as RustType;
use std::any::type_name;
use std::cell::Cell;

use super::Schema;
use super::evolution::{Evolution, find_field, unboxed};
use super::tree::{Field, Layout, Number, TypeId, TypeKind};
use crate::StateError;

/// How deep values may be nested.
const DEPTH_MAX: u16 = 256;
/// How many values without bytes a collection may have.
const EMPTY_VALUES_MAX: usize = 1 << 20;
/// The entries of a node of rkyv's B-trees.
const NODE_ENTRIES: usize = 5;

/// Why a value that was written with an older schema is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvolutionError {
    /// The bytes are not what the old schema says.
    #[error("the archive of {ty} is damaged at byte {at}: {what}")]
    Damaged {
        /// The type that it was written as.
        ty: Box<str>,
        /// Where.
        at: usize,
        /// What does not fit.
        what: &'static str,
    },
    /// The types do not fit, which is found before values are read, unless a type describes itself wrongly.
    #[error("{was} cannot be read as {is}")]
    Mismatch {
        /// The type that it was written as.
        was: Box<str>,
        /// The type that it is read as.
        is: &'static str,
    },
    /// The function that migrates a type has refused a value.
    #[error(
        "a value cannot be migrated to {is}: {reason}; let the function accept it, or restore with the old program"
    )]
    Migration {
        /// The type that it was to become.
        is: &'static str,
        /// What the function said.
        reason: Box<str>,
    },
    /// A part that is archived by hand.
    #[error(transparent)]
    Part(#[from] Box<StateError>),
}

impl EvolutionError {
    /// That the type which values were written as cannot be read as `T`.
    pub fn mismatch<T: ?Sized>(was: OldType<'_>) -> Self {
        EvolutionError::Mismatch { was: was.text().into(), is: type_name::<T>() }
    }

    /// That a function refuses a value.
    pub fn migration<T: ?Sized>(reason: &dyn std::fmt::Display) -> Self {
        EvolutionError::Migration { is: type_name::<T>(), reason: reason.to_string().into() }
    }
}

/// What a function that migrates may return: the value, or a `Result` with it.
pub trait Migrated<T> {
    /// The value.
    ///
    /// # Errors
    ///
    /// [`EvolutionError::Migration`] with what the function said.
    fn migrated(self) -> Result<T, EvolutionError>;
}

impl<T> Migrated<T> for T {
    fn migrated(self) -> Result<T, EvolutionError> {
        Ok(self)
    }
}

impl<T, E: std::fmt::Display> Migrated<T> for Result<T, E> {
    fn migrated(self) -> Result<T, EvolutionError> {
        self.map_err(|reason| EvolutionError::migration::<T>(&reason))
    }
}

/// A type that values were written as.
#[derive(Clone, Copy, Debug)]
pub struct OldType<'a> {
    pub(super) evolution: &'a Evolution,
    pub(super) ty: TypeId,
}

impl<'a> OldType<'a> {
    fn with(self, ty: TypeId) -> Self {
        OldType { ty, ..self }
    }

    /// Names, types and order, as the [text](crate::SchemaDescription::text) of a schema has them.
    pub fn text(self) -> &'a str {
        self.evolution.tree.text_of(self.ty)
    }

    /// The argument of a container that is archived by hand, and of a kind of state.
    pub fn argument(self, index: usize) -> Option<OldType<'a>> {
        match self.kind() {
            TypeKind::Foreign { arguments, .. } => arguments.get(index).map(|ty| self.with(*ty)),
            _ => None,
        }
    }

    /// The name of a type that is archived by hand, or of a kind of state.
    pub(crate) fn foreign_name(self) -> Option<&'a str> {
        match self.kind() {
            TypeKind::Foreign { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The elements of a list, set, array, or option; the values of a map.
    pub fn element(self) -> Option<OldType<'a>> {
        match self.kind() {
            TypeKind::List(ty)
            | TypeKind::Array(ty, _)
            | TypeKind::Option(ty)
            | TypeKind::Set { element: ty, .. }
            | TypeKind::Map { value: ty, .. } => Some(self.with(*ty)),
            _ => None,
        }
    }

    /// A part of a tuple.
    pub fn part(self, index: usize) -> Option<OldType<'a>> {
        match self.kind() {
            TypeKind::Tuple(parts) => parts.get(index).map(|ty| self.with(*ty)),
            _ => None,
        }
    }

    fn kind(self) -> &'a TypeKind {
        self.evolution.tree.kind(self.ty)
    }

    fn layout(self) -> Option<Layout> {
        self.evolution.tree.layout(self.ty)
    }

    fn damaged(self, at: usize, what: &'static str) -> EvolutionError {
        EvolutionError::Damaged { ty: self.text().into(), at, what }
    }

    /// Calls `read` with the value whose archive these bytes are.
    pub(crate) fn read<T>(
        self,
        bytes: &[u8],
        read: impl FnOnce(OldValue<'_>) -> Result<T, EvolutionError>,
    ) -> Result<T, EvolutionError> {
        let layout = self.layout().ok_or_else(|| EvolutionError::mismatch::<T>(self))?;
        let at = bytes.len().checked_sub(layout.size);
        let at = at.ok_or_else(|| self.damaged(0, "it is too short"))?;
        let unread = Cell::new(bytes.len());
        read(OldValue { ty: self, bytes, at, depth: 0, unread: &unread })
    }

    /// Calls `read` with each of several values, as
    /// [`StateValue::archive_all_into`](crate::StateValue::archive_all_into) writes them.
    pub(crate) fn read_all(
        self,
        bytes: &[u8],
        mut read: impl FnMut(OldValue<'_>) -> Result<(), EvolutionError>,
    ) -> Result<(), EvolutionError> {
        let layout = self.layout().ok_or_else(|| EvolutionError::mismatch::<()>(self))?;
        let unread = Cell::new(bytes.len());
        let value = |at| OldValue { ty: self, bytes, at, depth: 0, unread: &unread };
        if self.are_copies(layout.size, bytes) {
            return (0..bytes.len() / layout.size)
                .try_for_each(|index| read(value(index * layout.size)));
        }
        let at = bytes.len().checked_sub(SLICE_BYTES);
        let at = at.ok_or_else(|| self.damaged(0, "it is too short"))?;
        let Slice { at, size, length } = value(at).slice(layout.size)?;
        (0..length).try_for_each(|index| read(value(at + index * size)))
    }

    /// Whether values lie one behind the other, and not as a list. Structs and tuples that have no padding may be archived
    /// in either form, as the compiler has ordered their fields; then the list's own end tells.
    fn are_copies(self, size: usize, bytes: &[u8]) -> bool {
        if size == 0 || !self.evolution.tree.may_be_copied(self.ty) {
            return false;
        }
        if !bytes.len().is_multiple_of(size) {
            return false;
        }
        let is_one = |mut ty: TypeId| {
            while let TypeKind::Array(element, _) = self.evolution.tree.kind(ty) {
                ty = *element;
            }
            !matches!(self.evolution.tree.kind(ty), TypeKind::Tuple(_) | TypeKind::Struct(_))
        };
        if is_one(self.ty) {
            return true;
        }
        let Some(at) = bytes.len().checked_sub(SLICE_BYTES) else { return true };
        let word = |at: usize| {
            let word = bytes.get(at..at + 4).and_then(|word| word.first_chunk::<4>());
            word.map(|word| u32::from_le_bytes(*word))
        };
        let (offset, count) = (word(at).map(|word| word as i32), word(at + 4));
        let values = count.map(|count| count as usize * size);
        // All that a list of values without references is: the values, up to 3 bytes of padding, offset and length.
        let is_list = values.is_some_and(|values| {
            values.next_multiple_of(4) == at && offset == Some(-(at as i64) as i32)
        });
        !is_list
    }
}

/// Offset and length.
const SLICE_BYTES: usize = 8;

/// A value as it was archived with an older schema.
///
/// [`Schema::evolve`] makes a value of today's type of it.
#[derive(Clone, Copy, Debug)]
pub struct OldValue<'a> {
    ty: OldType<'a>,
    bytes: &'a [u8],
    at: usize,
    depth: u16,
    /// How many bytes may still be referred to.
    unread: &'a Cell<usize>,
}

/// A number of any type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum OldNumber {
    Unsigned(u128),
    Signed(i128),
    Float32(f32),
    Float64(f64),
}

impl<'a> OldValue<'a> {
    /// The type that it was written as.
    pub fn old_type(&self) -> OldType<'a> {
        self.ty
    }

    /// The archive that the value is in; of a whole value, its own.
    pub fn archive(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the value is to be read as what `T` declares that it migrates from.
    pub fn is_migrated<T: 'static>(&self) -> bool {
        let ty = unboxed(&self.ty.evolution.tree, self.ty.ty);
        self.ty.evolution.migrating.contains(&(ty, RustType::of::<T>()))
    }

    /// The fields of a struct.
    ///
    /// # Errors
    ///
    /// If it is none, or damaged.
    pub fn fields<T: ?Sized>(self) -> Result<OldFields<'a>, EvolutionError> {
        let value = self.unboxed()?;
        match value.ty.kind() {
            TypeKind::Struct(named) => {
                let variant = named.variants.first();
                let fields = variant.map_or(&[][..], |variant| &variant.fields);
                Ok(OldFields { value, fields, is_enum: false })
            }
            _ => Err(EvolutionError::mismatch::<T>(value.ty)),
        }
    }

    /// The variant of an enum, by name, with its fields.
    ///
    /// # Errors
    ///
    /// If it is none, or damaged.
    pub fn variant<T: ?Sized>(self) -> Result<(&'a str, OldFields<'a>), EvolutionError> {
        let value = self.unboxed()?;
        let TypeKind::Enum(named) = value.ty.kind() else {
            return Err(EvolutionError::mismatch::<T>(value.ty));
        };
        let [tag] = value.array()?;
        let variant = named.variants.get(usize::from(tag));
        let variant = variant.ok_or_else(|| value.damaged("there is no such variant"))?;
        Ok((&variant.name, OldFields { value, fields: &variant.fields, is_enum: true }))
    }

    /// The part of a tuple of so many parts.
    ///
    /// # Errors
    ///
    /// If it is none, or damaged.
    pub(super) fn tuple_part<T: ?Sized>(
        self,
        index: usize,
        count: usize,
    ) -> Result<OldValue<'a>, EvolutionError> {
        let value = self.unboxed()?;
        let tree = &value.ty.evolution.tree;
        match value.ty.kind() {
            TypeKind::Tuple(parts) if parts.len() == count => {
                let mismatch = || EvolutionError::mismatch::<T>(value.ty);
                let ty = *parts.get(index).ok_or_else(mismatch)?;
                let offset = tree.tuple_offset(parts, index).ok_or_else(mismatch)?;
                value.child(ty, value.at + offset)
            }
            _ => Err(EvolutionError::mismatch::<T>(value.ty)),
        }
    }

    pub(super) fn number<T: ?Sized>(self) -> Result<OldNumber, EvolutionError> {
        let value = self.unboxed()?;
        let TypeKind::Number(number) = value.ty.kind() else {
            return Err(EvolutionError::mismatch::<T>(value.ty));
        };
        Ok(match number {
            Number::Unsigned(8) => OldNumber::Unsigned(u8::from_le_bytes(value.array()?).into()),
            Number::Unsigned(16) => OldNumber::Unsigned(u16::from_le_bytes(value.array()?).into()),
            Number::Unsigned(32) => OldNumber::Unsigned(u32::from_le_bytes(value.array()?).into()),
            Number::Unsigned(64) => OldNumber::Unsigned(u64::from_le_bytes(value.array()?).into()),
            Number::Unsigned(_) => OldNumber::Unsigned(u128::from_le_bytes(value.array()?)),
            Number::Signed(8) => OldNumber::Signed(i8::from_le_bytes(value.array()?).into()),
            Number::Signed(16) => OldNumber::Signed(i16::from_le_bytes(value.array()?).into()),
            Number::Signed(32) => OldNumber::Signed(i32::from_le_bytes(value.array()?).into()),
            Number::Signed(64) => OldNumber::Signed(i64::from_le_bytes(value.array()?).into()),
            Number::Signed(_) => OldNumber::Signed(i128::from_le_bytes(value.array()?)),
            Number::Float(32) => OldNumber::Float32(f32::from_le_bytes(value.array()?)),
            Number::Float(_) => OldNumber::Float64(f64::from_le_bytes(value.array()?)),
        })
    }

    pub(super) fn boolean(self) -> Result<bool, EvolutionError> {
        let value = self.unboxed()?;
        match (value.ty.kind(), value.array()?) {
            (TypeKind::Bool, [0]) => Ok(false),
            (TypeKind::Bool, [1]) => Ok(true),
            (TypeKind::Bool, _) => Err(value.damaged("it is neither true nor false")),
            _ => Err(EvolutionError::mismatch::<bool>(value.ty)),
        }
    }

    pub(super) fn character(self) -> Result<char, EvolutionError> {
        let value = self.unboxed()?;
        match value.ty.kind() {
            TypeKind::Char => char::from_u32(u32::from_le_bytes(value.array()?))
                .ok_or_else(|| value.damaged("it is no character")),
            _ => Err(EvolutionError::mismatch::<char>(value.ty)),
        }
    }

    pub(super) fn marker<T: ?Sized>(self) -> Result<(), EvolutionError> {
        let value = self.unboxed()?;
        match value.ty.kind() {
            TypeKind::Marker => Ok(()),
            _ => Err(EvolutionError::mismatch::<T>(value.ty)),
        }
    }

    /// A text: inline, or elsewhere, as rkyv's strings say in the top bits of the first byte.
    pub(super) fn text(self) -> Result<&'a str, EvolutionError> {
        let value = self.unboxed()?;
        let TypeKind::Text = value.ty.kind() else {
            return Err(EvolutionError::mismatch::<String>(value.ty));
        };
        let inline: [u8; 8] = value.array()?;
        let text = if inline[0] & 0xC0 == 0x80 {
            let word = u32::from_le_bytes([inline[0], inline[1], inline[2], inline[3]]);
            let length = ((word & 0x3F) | ((word & !0xFF) >> 2)) as usize;
            let at = value.target(value.at, value.at + 4)?;
            value.charge(length)?;
            value.range(at, length)?
        } else {
            let length = inline.iter().position(|byte| *byte == 0xFF).unwrap_or(inline.len());
            value.range(value.at, length)?
        };
        std::str::from_utf8(text).map_err(|_| value.damaged("it is no text"))
    }

    /// What an option holds; a value that was none is what the option now holds.
    pub(super) fn option(self) -> Result<Option<OldValue<'a>>, EvolutionError> {
        let value = self.unboxed()?;
        let TypeKind::Option(part) = value.ty.kind() else { return Ok(Some(value)) };
        let alignment = value.ty.with(*part).layout().map_or(1, |layout| layout.alignment);
        match value.array()? {
            [0] => Ok(None),
            [1] => Ok(Some(value.child(*part, value.at + alignment)?)),
            _ => Err(value.damaged("it is neither nothing nor something")),
        }
    }

    /// The elements of a list or an array.
    pub(super) fn elements<T: ?Sized>(
        self,
    ) -> Result<impl ExactSizeIterator<Item = Result<OldValue<'a>, EvolutionError>>, EvolutionError>
    {
        let value = self.unboxed()?;
        let (element, Slice { at, size, length }) = match value.ty.kind() {
            TypeKind::List(element) => {
                let size = value.size_of(*element)?;
                (*element, value.slice(size)?)
            }
            TypeKind::Array(element, length) => {
                let (at, size, length) = (value.at, value.size_of(*element)?, *length);
                value.limit_empty(length, size)?;
                value.range(at, length * size)?;
                (*element, Slice { at, size, length })
            }
            _ => return Err(EvolutionError::mismatch::<T>(value.ty)),
        };
        Ok((0..length).map(move |index| value.child(element, at + index * size)))
    }

    /// The entries of a map.
    pub(super) fn entries<T: ?Sized>(
        self,
    ) -> Result<Vec<(OldValue<'a>, OldValue<'a>)>, EvolutionError> {
        let value = self.unboxed()?;
        let TypeKind::Map { is_hashed, key, value: content } = *value.ty.kind() else {
            return Err(EvolutionError::mismatch::<T>(value.ty));
        };
        let layouts = (value.layout_of(key)?, value.layout_of(content)?);
        let places = value.table(is_hashed, layouts)?.into_iter();
        places
            .map(|(key_at, content_at)| {
                Ok((value.child(key, key_at)?, value.child(content, content_at)?))
            })
            .collect()
    }

    /// The elements of a set, which rkyv archives as a map to nothing.
    pub(super) fn set_elements<T: ?Sized>(self) -> Result<Vec<OldValue<'a>>, EvolutionError> {
        let value = self.unboxed()?;
        let TypeKind::Set { is_hashed, element } = *value.ty.kind() else {
            return Err(EvolutionError::mismatch::<T>(value.ty));
        };
        let places = value.table(is_hashed, (value.layout_of(element)?, Layout::EMPTY))?;
        places.into_iter().map(|(at, _)| value.child(element, at)).collect()
    }

    /// Where keys and contents of a map lie.
    fn table(
        &self,
        is_hashed: bool,
        (key, content): (Layout, Layout),
    ) -> Result<Vec<(usize, usize)>, EvolutionError> {
        let alignment = key.alignment.max(content.alignment);
        let content_at = key.size.next_multiple_of(content.alignment);
        let size = (content_at + content.size).next_multiple_of(alignment);
        if !is_hashed {
            return self.tree_entries(key, content);
        }
        let (length, buckets) =
            (self.word(self.at + 4)? as usize, self.word(self.at + 8)? as usize);
        if length == 0 {
            return Ok(Vec::new());
        }
        self.charge(buckets)?;
        self.charge(length.saturating_mul(size))?;
        self.limit_empty(length, size)?;
        let controls_at = self.target(self.at, self.at)?;
        let controls = self.range(controls_at, buckets)?;
        let mut places = Vec::new();
        for (bucket, _) in controls.iter().enumerate().filter(|(_, control)| **control & 0x80 == 0)
        {
            let at = (bucket + 1).checked_mul(size).and_then(|back| controls_at.checked_sub(back));
            let at = at.ok_or_else(|| self.damaged("a bucket lies before the archive"))?;
            places.push((at, at + content_at));
        }
        match places.len() == length {
            true => Ok(places),
            false => Err(self.damaged("a table has other entries than it says")),
        }
    }

    /// Where keys and contents of rkyv's B-tree lie, in order.
    fn tree_entries(
        &self,
        key: Layout,
        content: Layout,
    ) -> Result<Vec<(usize, usize)>, EvolutionError> {
        let length = self.word(self.at + 4)? as usize;
        let mut places = Vec::new();
        if length == 0 {
            return Ok(places);
        }
        let keys_at = 1_usize.next_multiple_of(key.alignment);
        let contents_at = (keys_at + NODE_ENTRIES * key.size).next_multiple_of(content.alignment);
        let alignment = key.alignment.max(content.alignment);
        let node = (contents_at + NODE_ENTRIES * content.size).next_multiple_of(alignment);
        let shape = NodeShape { keys_at, contents_at, node, key: key.size, content: content.size };
        let root = self.target(self.at, self.at)?;
        self.visit_node(root, &shape, 0, &mut places)?;
        match places.len() == length {
            true => Ok(places),
            false => Err(self.damaged("a tree has other entries than it says")),
        }
    }

    fn visit_node(
        &self,
        at: usize,
        shape: &NodeShape,
        depth: usize,
        places: &mut Vec<(usize, usize)>,
    ) -> Result<(), EvolutionError> {
        /// Of a tree with 32-bit numbers of entries, six a node.
        const TREE_DEPTH_MAX: usize = 16;
        if depth > TREE_DEPTH_MAX {
            return Err(self.damaged("a tree is too deep"));
        }
        self.charge(shape.node.max(1))?;
        self.range(at, shape.node)?;
        let place = |entry: usize| {
            (at + shape.keys_at + entry * shape.key, at + shape.contents_at + entry * shape.content)
        };
        // Behind the node itself, aligned: the count of a leaf, the references of an inner node.
        let behind = at + shape.node.next_multiple_of(4);
        match self.range(at, 1)?.first() {
            Some(0) => {
                let count = self.word(behind)? as usize;
                if count > NODE_ENTRIES {
                    return Err(self.damaged("a leaf has more entries than it has room for"));
                }
                places.extend((0..count).map(place));
                Ok(())
            }
            Some(1) => {
                for entry in 0..=NODE_ENTRIES {
                    /// What a reference to nothing has for an offset.
                    const NOWHERE: u32 = 1;
                    let reference = behind + 4 * entry;
                    if self.word(reference)? != NOWHERE {
                        let below = self.target(reference, reference)?;
                        self.visit_node(below, shape, depth + 1, places)?;
                    }
                    if entry < NODE_ENTRIES {
                        places.push(place(entry));
                    }
                }
                Ok(())
            }
            _ => Err(self.damaged("a node of a tree is neither leaf nor inner")),
        }
    }

    /// The value itself, or what lies in boxes, which is charged.
    pub(super) fn unboxed(self) -> Result<Self, EvolutionError> {
        let mut value = self;
        while let TypeKind::Boxed(part) = value.ty.kind() {
            let size = value.size_of(*part)?;
            value.charge(size.max(1))?;
            let at = value.target(value.at, value.at)?;
            value = value.child(*part, at)?;
        }
        Ok(value)
    }

    /// A value of a type of the same tree in the same archive; all of it lies there.
    fn child(&self, ty: TypeId, at: usize) -> Result<OldValue<'a>, EvolutionError> {
        let child = OldValue { ty: self.ty.with(ty), at, depth: self.depth + 1, ..*self };
        if child.depth > DEPTH_MAX {
            return Err(self.damaged("values are nested too deeply"));
        }
        child.range(at, self.size_of(ty)?)?;
        Ok(child)
    }

    fn layout_of(&self, ty: TypeId) -> Result<Layout, EvolutionError> {
        let part = self.ty.with(ty);
        part.layout().ok_or_else(|| EvolutionError::mismatch::<()>(part))
    }

    fn size_of(&self, ty: TypeId) -> Result<usize, EvolutionError> {
        self.layout_of(ty).map(|layout| layout.size)
    }

    /// Where the elements of a list lie.
    fn slice(&self, size: usize) -> Result<Slice, EvolutionError> {
        let length = self.word(self.at + 4)? as usize;
        if length == 0 {
            return Ok(Slice { at: self.at, size, length });
        }
        let bytes = length.checked_mul(size);
        let bytes = bytes.ok_or_else(|| self.damaged("a list is too long"))?;
        self.limit_empty(length, size)?;
        self.charge(bytes)?;
        let at = self.target(self.at, self.at)?;
        self.range(at, bytes)?;
        Ok(Slice { at, size, length })
    }

    /// Refuses numbers of values that no bytes account for.
    fn limit_empty(&self, length: usize, size: usize) -> Result<(), EvolutionError> {
        match size == 0 && length > EMPTY_VALUES_MAX {
            true => Err(self.damaged("it has too many values without bytes")),
            false => Ok(()),
        }
    }

    /// Counts bytes that are referred to.
    fn charge(&self, bytes: usize) -> Result<(), EvolutionError> {
        let left = self.unread.get().checked_sub(bytes);
        self.unread.set(left.ok_or_else(|| self.damaged("it refers to more than there is"))?);
        Ok(())
    }

    /// Where an offset leads, which lies at `offset_at` and counts from `base`.
    fn target(&self, base: usize, offset_at: usize) -> Result<usize, EvolutionError> {
        let offset = self.word(offset_at)? as i32;
        let target = base.checked_add_signed(offset as isize);
        target.ok_or_else(|| self.damaged("an offset leads out of the archive"))
    }

    fn word(&self, at: usize) -> Result<u32, EvolutionError> {
        let word = self.range(at, 4)?.first_chunk();
        word.map(|word| u32::from_le_bytes(*word)).ok_or_else(|| self.damaged("it is cut"))
    }

    fn array<const N: usize>(&self) -> Result<[u8; N], EvolutionError> {
        let bytes = self.range(self.at, N)?.first_chunk();
        bytes.copied().ok_or_else(|| self.damaged("it is cut"))
    }

    fn range(&self, at: usize, length: usize) -> Result<&'a [u8], EvolutionError> {
        let end = at.checked_add(length);
        let range = end.and_then(|end| self.bytes.get(at..end));
        range.ok_or_else(|| self.damaged("it lies out of the archive"))
    }

    fn damaged(&self, what: &'static str) -> EvolutionError {
        self.ty.damaged(self.at, what)
    }

    /// That a collection has two equal values.
    pub(super) fn doubled(&self) -> EvolutionError {
        self.damaged("it has two entries of one key, maybe made equal by a migration")
    }
}

/// Elements that lie one behind the other.
struct Slice {
    at: usize,
    size: usize,
    length: usize,
}

/// Sizes and places in a node of a B-tree.
struct NodeShape {
    keys_at: usize,
    contents_at: usize,
    node: usize,
    key: usize,
    content: usize,
}

/// The fields of a struct or a variant as it was.
#[derive(Clone, Copy, Debug)]
pub struct OldFields<'a> {
    value: OldValue<'a>,
    fields: &'a [Field],
    is_enum: bool,
}

impl OldFields<'_> {
    /// The field of this name, or else of the first of its former names that there is.
    ///
    /// # Errors
    ///
    /// If there is none, or it is damaged.
    pub fn field<T: Schema>(&self, name: &str, former: &[&str]) -> Result<T, EvolutionError> {
        match self.find(name, former)? {
            Some(value) => T::evolve(value),
            None => Err(EvolutionError::mismatch::<T>(self.value.ty)),
        }
    }

    /// The same, or a default if there is none.
    ///
    /// # Errors
    ///
    /// If it is damaged.
    pub fn field_or<T: Schema>(
        &self,
        name: &str,
        former: &[&str],
        default: impl FnOnce() -> T,
    ) -> Result<T, EvolutionError> {
        match self.find(name, former)? {
            Some(value) => T::evolve(value),
            None => Ok(default()),
        }
    }

    /// That today's type has no variant of this name.
    pub fn unknown<T: ?Sized>(&self) -> EvolutionError {
        EvolutionError::mismatch::<T>(self.value.ty)
    }

    fn find(&self, name: &str, former: &[&str]) -> Result<Option<OldValue<'_>>, EvolutionError> {
        let Some(index) = find_field(self.fields, name, former) else { return Ok(None) };
        let tree = &self.value.ty.evolution.tree;
        let offset = tree.offset_of(self.is_enum, self.fields, index);
        let offset = offset.ok_or_else(|| EvolutionError::mismatch::<()>(self.value.ty))?;
        self.value.child(self.fields[index].ty, self.value.at + offset).map(Some)
    }
}
