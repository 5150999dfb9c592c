//! Writes the text of a schema, one call of [`Schema::describe`] deep at a time.

use std::any::TypeId;

use super::declared::Declared;
use super::{Schema, SchemaDescription};

/// Collects the structure of a type; see the module for the text it writes.
#[derive(Debug, Default)]
pub struct SchemaBuilder {
    text: String,
    /// The named types written so far, in order, with what they declare; a type's index is what `Name^n` refers to.
    named: Vec<Declared>,
}

impl SchemaBuilder {
    /// An empty description.
    pub fn new() -> Self {
        SchemaBuilder::default()
    }

    /// Writes a type without parts.
    pub fn primitive(&mut self, name: &str) {
        self.text.push_str(name);
    }

    /// Writes a type with arguments: `Vec<u64>`, `HashMap<String,u64>`.
    pub fn container(&mut self, name: &str, arguments: &[fn(&mut SchemaBuilder)]) {
        self.text.push_str(name);
        self.list('<', '>', arguments);
    }

    /// Writes a tuple: `(u8,String)`.
    pub fn tuple(&mut self, elements: &[fn(&mut SchemaBuilder)]) {
        self.list('(', ')', elements);
    }

    /// Writes an array: `[u8;4]`.
    pub fn array<T: Schema>(&mut self, length: usize) {
        self.text.push('[');
        T::describe(self);
        self.text.push_str(&format!(";{length}]"));
    }

    /// Writes a struct with its fields.
    pub fn structure<T: 'static>(&mut self, name: &str, fields: impl FnOnce(&mut FieldsBuilder)) {
        if let Some(ty) = self.begin_named::<T>(name) {
            self.text.push('{');
            fields(&mut FieldsBuilder { out: self, ty, variant: 0, count: 0 });
            self.text.push('}');
        }
    }

    /// Writes an enum with its variants.
    pub fn enumeration<T: 'static>(
        &mut self,
        name: &str,
        variants: impl FnOnce(&mut VariantsBuilder),
    ) {
        if let Some(ty) = self.begin_named::<T>(name) {
            self.text.push('[');
            variants(&mut VariantsBuilder { out: self, ty, count: 0 });
            self.text.push(']');
        }
    }

    /// The description written so far.
    pub fn finish(self) -> SchemaDescription {
        SchemaDescription::of_text(self.text, self.named)
    }

    /// Writes the name; the type's number if its parts are to follow, `None` if it was written before.
    fn begin_named<T: 'static>(&mut self, name: &str) -> Option<usize> {
        self.text.push_str(name);
        let id = TypeId::of::<T>();
        if let Some(index) = self.named.iter().position(|named| named.rust_type == id) {
            self.text.push_str(&format!("^{index}"));
            return None;
        }
        self.named.push(Declared::new(id));
        Some(self.named.len() - 1)
    }

    fn list(&mut self, open: char, close: char, parts: &[fn(&mut SchemaBuilder)]) {
        self.text.push(open);
        for (index, describe) in parts.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            describe(self);
        }
        self.text.push(close);
    }

    fn comma_before(&mut self, index: usize) {
        if index > 0 {
            self.text.push(',');
        }
    }

    fn renamed_from(&mut self, ty: usize, names: &[&str]) {
        self.named[ty].former_names.extend(names.iter().map(|name| Box::from(*name)));
    }
}

/// Writes the fields of a struct or of a variant, in declaration order, and what they declare of their past.
#[derive(Debug)]
pub struct FieldsBuilder<'a> {
    out: &'a mut SchemaBuilder,
    ty: usize,
    variant: usize,
    count: usize,
}

impl FieldsBuilder<'_> {
    /// Writes one field; fields of tuple structs are named by their position.
    pub fn field<T: Schema>(&mut self, name: &str) {
        self.out.comma_before(self.count);
        self.count += 1;
        self.out.text.push_str(name);
        self.out.text.push(':');
        T::describe(self.out);
    }

    /// Writes a field that is archived in another way than its type is, by rkyv's attributes: `name:archived_<hash><type>`. What
    /// contains it has no layout that is known here.
    pub fn field_archived_with<T: Schema>(&mut self, name: &str, how: &str) {
        self.out.comma_before(self.count);
        self.count += 1;
        let hash = super::fnv_1a(how.as_bytes());
        self.out.text.push_str(&format!("{name}:archived_{hash:016x}<"));
        T::describe(self.out);
        self.out.text.push('>');
    }

    /// Says that values without the last field get a default.
    pub fn has_default(&mut self) {
        if let Some(field) = self.count.checked_sub(1) {
            self.out.named[self.ty].part_mut(self.variant, Some(field)).has_default = true;
        }
    }

    /// Says what the last field was called before, the latest name first.
    pub fn renamed_from(&mut self, names: &[&str]) {
        if let Some(field) = self.count.checked_sub(1) {
            let part = self.out.named[self.ty].part_mut(self.variant, Some(field));
            part.former_names.extend(names.iter().map(|name| Box::from(*name)));
        }
    }

    /// Says that fields of these names were there, and that their values are given up.
    pub fn removed(&mut self, names: &[&str]) {
        let variant = self.variant;
        let removed = names.iter().map(|name| (variant, Box::from(*name)));
        self.out.named[self.ty].removed.extend(removed);
    }

    /// Says what the type was called before.
    pub fn type_renamed_from(&mut self, names: &[&str]) {
        self.out.renamed_from(self.ty, names);
    }

    /// Says that a function turns values of type `T` into values of this one.
    pub fn migrates_from<T: Schema>(&mut self) {
        self.out.named[self.ty].migrates_from = Some(SchemaDescription::of::<T>);
    }
}

/// Writes the variants of an enum, in declaration order, and what they declare of their past.
#[derive(Debug)]
pub struct VariantsBuilder<'a> {
    out: &'a mut SchemaBuilder,
    ty: usize,
    count: usize,
}

impl VariantsBuilder<'_> {
    /// Writes a variant without fields.
    pub fn unit(&mut self, name: &str) {
        self.out.comma_before(self.count);
        self.count += 1;
        self.out.text.push_str(name);
    }

    /// Writes a variant with fields.
    pub fn variant(&mut self, name: &str, fields: impl FnOnce(&mut FieldsBuilder)) {
        let (ty, variant) = (self.ty, self.count);
        self.unit(name);
        self.out.text.push('{');
        fields(&mut FieldsBuilder { out: self.out, ty, variant, count: 0 });
        self.out.text.push('}');
    }

    /// Says what the last variant was called before, the latest name first.
    pub fn renamed_from(&mut self, names: &[&str]) {
        if let Some(variant) = self.count.checked_sub(1) {
            let part = self.out.named[self.ty].part_mut(variant, None);
            part.former_names.extend(names.iter().map(|name| Box::from(*name)));
        }
    }

    /// Says that fields of these names were in the last variant, and that their values are given up.
    pub fn removed(&mut self, names: &[&str]) {
        if let Some(variant) = self.count.checked_sub(1) {
            let removed = names.iter().map(|name| (variant, Box::from(*name)));
            self.out.named[self.ty].removed.extend(removed);
        }
    }

    /// Says what the type was called before.
    pub fn type_renamed_from(&mut self, names: &[&str]) {
        self.out.renamed_from(self.ty, names);
    }

    /// Says that a function turns values of type `T` into values of this one.
    pub fn migrates_from<T: Schema>(&mut self) {
        self.out.named[self.ty].migrates_from = Some(SchemaDescription::of::<T>);
    }
}
