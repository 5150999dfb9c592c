//! A schema's text as a tree: its types, and how rkyv lays their archives out.
//!
//! 1. [`TypeTree::parse`] reads a text that may come from a disk: whatever is wrong with it is an error.
//! 2. Each type has a [`Layout`] where rkyv's own rules give one. Types that are archived by hand
//!    ([`TypeKind::Foreign`]) have none, nor has what contains them by value.
//!
//! rkyv's rules, for version 0.8 with little-endian numbers, natural alignment and 32-bit offsets:
//!
//! ```text
//! integers, floats, bool, char   their size and alignment
//! String                         8 bytes, aligned to 4
//! Vec, BTreeMap, BTreeSet        offset i32, length u32         HashMap, HashSet   offset i32, length u32, buckets u32
//! Box                            offset i32
//! Option                         as an enum of nothing and the value: tag u8
//! tuples, structs                repr(C)                        enums              repr(u8)
//! ```
//!
//! **Invariants**
//! - Children of a type are types of the same tree; only named types are referred to twice.
//! - A type that contains itself by value is refused, so layouts are finite.

use std::fmt;

/// A type's number in its tree.
pub(super) type TypeId = u32;

/// How deep types may be nested in a text.
const NESTING_MAX: usize = 64;
/// How many types a text may have.
const TYPES_MAX: usize = 1 << 14;
/// The greatest size of a type by value that is given a layout.
const SIZE_MAX: usize = 1 << 30;

/// The types of a text.
#[derive(Clone, Debug)]
pub(super) struct TypeTree {
    text: Box<str>,
    types: Vec<Type>,
    /// By the numbers that `Name^n` refers to.
    named: Vec<TypeId>,
    root: TypeId,
}

#[derive(Clone, Debug)]
pub(super) struct Type {
    pub(super) kind: TypeKind,
    /// Where it stands in the text.
    start: usize,
    end: usize,
    pub(super) layout: Option<Layout>,
}

/// Size and alignment of an archived value, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) size: usize,
    pub(super) alignment: usize,
}

impl Layout {
    pub(super) const EMPTY: Layout = Layout { size: 0, alignment: 1 };
    const OFFSET: Layout = Layout { size: 4, alignment: 4 };
    const SLICE: Layout = Layout { size: 8, alignment: 4 };
    const TABLE: Layout = Layout { size: 12, alignment: 4 };

    /// This and then the next part, as in a struct; says where that lies.
    fn then(self, part: Layout) -> Option<(Layout, usize)> {
        let at = self.size.checked_next_multiple_of(part.alignment)?;
        let size = at.checked_add(part.size).filter(|size| *size <= SIZE_MAX)?;
        Some((Layout { size, alignment: self.alignment.max(part.alignment) }, at))
    }

    /// With the padding behind it.
    fn padded(self) -> Layout {
        Layout { size: self.size.next_multiple_of(self.alignment), ..self }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TypeKind {
    Number(Number),
    Bool,
    Char,
    Text,
    /// `PhantomData`.
    Marker,
    Tuple(Vec<TypeId>),
    Array(TypeId, usize),
    List(TypeId),
    Option(TypeId),
    Boxed(TypeId),
    Map {
        is_hashed: bool,
        key: TypeId,
        value: TypeId,
    },
    Set {
        is_hashed: bool,
        element: TypeId,
    },
    Struct(Named),
    Enum(Named),
    /// Archived by hand, or a kind of state.
    Foreign {
        name: Box<str>,
        arguments: Vec<TypeId>,
    },
}

/// A struct, whose one variant has no name, or an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: Box<str>,
    /// What `Name^n` refers to it by.
    pub(super) number: usize,
    pub(super) variants: Vec<Variant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) name: Box<str>,
    pub(super) fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Box<str>,
    pub(super) ty: TypeId,
}

/// A number's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Unsigned(u32),
    Signed(u32),
    Float(u32),
}

impl Number {
    fn bytes(self) -> usize {
        let (Number::Unsigned(bits) | Number::Signed(bits) | Number::Float(bits)) = self;
        bits as usize / 8
    }

    /// Whether each value of this type is one of the other, which is wider.
    pub(super) fn widens_to(self, other: Number) -> bool {
        match (self, other) {
            (Number::Unsigned(from), Number::Unsigned(to) | Number::Signed(to))
            | (Number::Signed(from), Number::Signed(to))
            | (Number::Float(from), Number::Float(to)) => from < to,
            _ => false,
        }
    }
}

/// A text that describes no types.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the description of a type is not understood at byte {at}: expected {expected}")]
pub struct MalformedSchema {
    at: usize,
    expected: &'static str,
}

impl TypeTree {
    /// The types that a text describes.
    pub(super) fn parse(text: &str) -> Result<Self, MalformedSchema> {
        let tree = TypeTree { text: text.into(), types: Vec::new(), named: Vec::new(), root: 0 };
        let mut parser = Parser { tree, at: 0 };
        let text = parser.tree.text.clone();
        let root = parser.ty(&text, 0)?;
        if parser.at != text.len() {
            return Err(parser.expected("the end"));
        }
        let mut tree = parser.tree;
        tree.root = root;
        tree.lay_out()?;
        Ok(tree)
    }

    pub(super) fn root(&self) -> TypeId {
        self.root
    }

    pub(super) fn kind(&self, ty: TypeId) -> &TypeKind {
        &self.types[ty as usize].kind
    }

    pub(super) fn layout(&self, ty: TypeId) -> Option<Layout> {
        self.types[ty as usize].layout
    }

    /// The type as the text has it.
    pub(super) fn text_of(&self, ty: TypeId) -> &str {
        let Type { start, end, .. } = self.types[ty as usize];
        self.text.get(start..end).unwrap_or_default()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where each field of a variant lies behind the variant's begin; `None` without a layout.
    pub(super) fn offset_of(&self, is_enum: bool, fields: &[Field], field: usize) -> Option<usize> {
        let mut laid = if is_enum { Layout { size: 1, alignment: 1 } } else { Layout::EMPTY };
        for (index, part) in fields.iter().enumerate() {
            let (next, at) = laid.then(self.layout(part.ty)?)?;
            if index == field {
                return Some(at);
            }
            laid = next;
        }
        None
    }

    /// Where a part of a tuple lies.
    pub(super) fn tuple_offset(&self, parts: &[TypeId], part: usize) -> Option<usize> {
        let mut laid = Layout::EMPTY;
        for (index, ty) in parts.iter().enumerate() {
            let (next, at) = laid.then(self.layout(*ty)?)?;
            if index == part {
                return Some(at);
            }
            laid = next;
        }
        None
    }

    /// Whether rkyv may archive the type as it lies in memory: no padding, nothing elsewhere. Of
    /// structs and tuples that also depends on the order that the compiler has chosen.
    pub(super) fn may_be_copied(&self, ty: TypeId) -> bool {
        let is_full = |parts: &mut dyn Iterator<Item = TypeId>| {
            let mut sum = 0_usize;
            let mut all = true;
            for part in parts {
                sum = sum.saturating_add(self.layout(part).map_or(0, |layout| layout.size));
                all &= self.may_be_copied(part);
            }
            all && self.layout(ty).is_some_and(|layout| layout.size == sum)
        };
        match self.kind(ty) {
            TypeKind::Number(_) | TypeKind::Bool | TypeKind::Char | TypeKind::Marker => true,
            TypeKind::Tuple(parts) => is_full(&mut parts.iter().copied()),
            TypeKind::Array(element, _) => self.may_be_copied(*element),
            TypeKind::Struct(Named { variants, .. }) => {
                let fields = variants.iter().flat_map(|variant| &variant.fields);
                is_full(&mut fields.map(|field| field.ty))
            }
            _ => false,
        }
    }

    /// Gives each type its layout.
    fn lay_out(&mut self) -> Result<(), MalformedSchema> {
        let mut states = vec![State::New; self.types.len()];
        (0..self.types.len() as TypeId).try_for_each(|ty| self.lay_out_type(ty, &mut states, 0))
    }

    fn lay_out_type(
        &mut self,
        ty: TypeId,
        states: &mut [State],
        depth: usize,
    ) -> Result<(), MalformedSchema> {
        match states[ty as usize] {
            State::Done => return Ok(()),
            State::New if depth <= 4 * NESTING_MAX => {}
            State::New | State::Open => {
                let (at, expected) =
                    (self.types[ty as usize].start, "a type that does not contain itself by value");
                return Err(MalformedSchema { at, expected });
            }
        }
        states[ty as usize] = State::Open;
        for part in self.parts_by_value(ty) {
            self.lay_out_type(part, states, depth + 1)?;
        }
        self.types[ty as usize].layout = self.computed_layout(ty);
        states[ty as usize] = State::Done;
        Ok(())
    }

    fn parts_by_value(&self, ty: TypeId) -> Vec<TypeId> {
        match self.kind(ty) {
            TypeKind::Tuple(parts) => parts.clone(),
            TypeKind::Array(part, _) | TypeKind::Option(part) => vec![*part],
            TypeKind::Struct(named) | TypeKind::Enum(named) => {
                let fields = named.variants.iter().flat_map(|variant| &variant.fields);
                fields.map(|field| field.ty).collect()
            }
            _ => Vec::new(),
        }
    }

    fn computed_layout(&self, ty: TypeId) -> Option<Layout> {
        let of_scalar = |size: usize| Layout { size, alignment: size };
        let of_parts = |first: Layout, parts: &mut dyn Iterator<Item = TypeId>| {
            let mut laid = first;
            for part in parts {
                laid = laid.then(self.layout(part)?)?.0;
            }
            Some(laid)
        };
        const TAG: Layout = Layout { size: 1, alignment: 1 };
        Some(match self.kind(ty) {
            TypeKind::Number(number) => of_scalar(number.bytes()),
            TypeKind::Bool => of_scalar(1),
            TypeKind::Char => of_scalar(4),
            TypeKind::Marker => Layout::EMPTY,
            TypeKind::Text | TypeKind::List(_) => Layout::SLICE,
            TypeKind::Map { is_hashed, .. } | TypeKind::Set { is_hashed, .. } => match is_hashed {
                true => Layout::TABLE,
                false => Layout::SLICE,
            },
            TypeKind::Boxed(_) => Layout::OFFSET,
            TypeKind::Tuple(parts) => of_parts(Layout::EMPTY, &mut parts.iter().copied())?.padded(),
            TypeKind::Array(element, length) => {
                let Layout { size, alignment } = self.layout(*element)?;
                let size = size.checked_mul(*length).filter(|size| *size <= SIZE_MAX)?;
                Layout { size, alignment }
            }
            TypeKind::Option(part) => of_parts(TAG, &mut [*part].into_iter())?.padded(),
            TypeKind::Struct(Named { variants, .. }) => {
                let fields = variants.iter().flat_map(|variant| &variant.fields);
                of_parts(Layout::EMPTY, &mut fields.map(|field| field.ty))?.padded()
            }
            TypeKind::Enum(Named { variants, .. }) => {
                if variants.len() > 1 + usize::from(u8::MAX) {
                    return None;
                }
                let mut largest = TAG;
                for variant in variants {
                    let laid = of_parts(TAG, &mut variant.fields.iter().map(|field| field.ty))?;
                    largest.size = largest.size.max(laid.size);
                    largest.alignment = largest.alignment.max(laid.alignment);
                }
                largest.padded()
            }
            TypeKind::Foreign { .. } => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

struct Parser {
    tree: TypeTree,
    at: usize,
}

impl Parser {
    fn expected(&self, expected: &'static str) -> MalformedSchema {
        MalformedSchema { at: self.at, expected }
    }

    fn takes(&mut self, text: &str, sign: char) -> bool {
        let found = text.get(self.at..).is_some_and(|rest| rest.starts_with(sign));
        self.at += if found { sign.len_utf8() } else { 0 };
        found
    }

    fn need(&mut self, text: &str, sign: char, name: &'static str) -> Result<(), MalformedSchema> {
        if self.takes(text, sign) { Ok(()) } else { Err(self.expected(name)) }
    }

    /// All up to the next sign.
    fn name<'t>(&mut self, text: &'t str) -> Result<&'t str, MalformedSchema> {
        let rest = text.get(self.at..).unwrap_or_default();
        let length = rest.find(|sign| "{}[]()<>,;:^".contains(sign)).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.expected("a name"));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn number(&mut self, text: &str) -> Result<usize, MalformedSchema> {
        let at = self.at;
        let number = self.name(text)?.parse();
        number.map_err(|_| MalformedSchema { at, expected: "a number" })
    }

    fn push(&mut self, kind: TypeKind, start: usize) -> Result<TypeId, MalformedSchema> {
        if self.tree.types.len() >= TYPES_MAX {
            return Err(self.expected("fewer types"));
        }
        self.tree.types.push(Type { kind, start, end: self.at, layout: None });
        Ok(self.tree.types.len() as TypeId - 1)
    }

    fn list(
        &mut self,
        text: &str,
        close: char,
        depth: usize,
    ) -> Result<Vec<TypeId>, MalformedSchema> {
        let mut parts = Vec::new();
        while !self.takes(text, close) {
            if !parts.is_empty() {
                self.need(text, ',', "a comma")?;
            }
            parts.push(self.ty(text, depth)?);
        }
        Ok(parts)
    }

    fn ty(&mut self, text: &str, depth: usize) -> Result<TypeId, MalformedSchema> {
        if depth > NESTING_MAX {
            return Err(self.expected("types that are nested less deeply"));
        }
        let (start, depth) = (self.at, depth + 1);
        if self.takes(text, '(') {
            let parts = self.list(text, ')', depth)?;
            return self.push(TypeKind::Tuple(parts), start);
        }
        if self.takes(text, '[') {
            let element = self.ty(text, depth)?;
            self.need(text, ';', "the length of an array")?;
            let length = self.number(text)?;
            self.need(text, ']', "the end of an array")?;
            return self.push(TypeKind::Array(element, length), start);
        }
        let name = self.name(text)?;
        if self.takes(text, '^') {
            let number = self.number(text)?;
            let found = self.tree.named.get(number).copied();
            return found.ok_or_else(|| self.expected("the number of a type that came before"));
        }
        if self.takes(text, '<') {
            let arguments = self.list(text, '>', depth)?;
            return self.push(container(name, arguments), start);
        }
        let (is_struct, is_enum) = (self.takes(text, '{'), self.takes(text, '['));
        if !is_struct && !is_enum {
            return self.push(primitive(name), start);
        }
        let number = self.tree.named.len();
        // Known before its fields, which may refer to it.
        let ty = self.push(TypeKind::Marker, start)?;
        self.tree.named.push(ty);
        let variants = match is_struct {
            true => vec![Variant { name: "".into(), fields: self.fields(text, depth)? }],
            false => self.variants(text, depth)?,
        };
        let named = Named { name: name.into(), number, variants };
        let kind = if is_struct { TypeKind::Struct(named) } else { TypeKind::Enum(named) };
        let end = self.at;
        let found = &mut self.tree.types[ty as usize];
        (found.kind, found.end) = (kind, end);
        Ok(ty)
    }

    fn fields(&mut self, text: &str, depth: usize) -> Result<Vec<Field>, MalformedSchema> {
        let mut fields: Vec<Field> = Vec::new();
        while !self.takes(text, '}') {
            if !fields.is_empty() {
                self.need(text, ',', "a comma")?;
            }
            let name = self.name(text)?;
            if fields.iter().any(|field| *field.name == *name) {
                return Err(self.expected("fields of different names"));
            }
            self.need(text, ':', "the type of a field")?;
            fields.push(Field { name: name.into(), ty: self.ty(text, depth)? });
        }
        Ok(fields)
    }

    fn variants(&mut self, text: &str, depth: usize) -> Result<Vec<Variant>, MalformedSchema> {
        let mut variants: Vec<Variant> = Vec::new();
        while !self.takes(text, ']') {
            if !variants.is_empty() {
                self.need(text, ',', "a comma")?;
            }
            let name = self.name(text)?;
            if variants.iter().any(|variant| *variant.name == *name) {
                return Err(self.expected("variants of different names"));
            }
            let fields = match self.takes(text, '{') {
                true => self.fields(text, depth)?,
                false => Vec::new(),
            };
            variants.push(Variant { name: name.into(), fields });
        }
        Ok(variants)
    }
}

fn primitive(name: &str) -> TypeKind {
    match name {
        "u8" => TypeKind::Number(Number::Unsigned(8)),
        "u16" => TypeKind::Number(Number::Unsigned(16)),
        "u32" => TypeKind::Number(Number::Unsigned(32)),
        "u64" => TypeKind::Number(Number::Unsigned(64)),
        "u128" => TypeKind::Number(Number::Unsigned(128)),
        "i8" => TypeKind::Number(Number::Signed(8)),
        "i16" => TypeKind::Number(Number::Signed(16)),
        "i32" => TypeKind::Number(Number::Signed(32)),
        "i64" => TypeKind::Number(Number::Signed(64)),
        "i128" => TypeKind::Number(Number::Signed(128)),
        "f32" => TypeKind::Number(Number::Float(32)),
        "f64" => TypeKind::Number(Number::Float(64)),
        "bool" => TypeKind::Bool,
        "char" => TypeKind::Char,
        "String" => TypeKind::Text,
        "PhantomData" => TypeKind::Marker,
        other => TypeKind::Foreign { name: other.into(), arguments: Vec::new() },
    }
}

fn container(name: &str, arguments: Vec<TypeId>) -> TypeKind {
    match (name, arguments.as_slice()) {
        ("Vec", [element]) => TypeKind::List(*element),
        ("Option", [part]) => TypeKind::Option(*part),
        ("Box", [part]) => TypeKind::Boxed(*part),
        ("HashMap" | "BTreeMap", [key, value]) => {
            TypeKind::Map { is_hashed: name == "HashMap", key: *key, value: *value }
        }
        ("HashSet" | "BTreeSet", [element]) => {
            TypeKind::Set { is_hashed: name == "HashSet", element: *element }
        }
        _ => TypeKind::Foreign { name: name.into(), arguments },
    }
}

impl fmt::Display for TypeTree {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
