//! Writes the text of a schema, one call of [`Schema::describe`] deep at a time.

use std::any::TypeId;

use super::{Schema, SchemaDescription};

/// Collects the structure of a type; see the module for the text it writes.
#[derive(Debug, Default)]
pub struct SchemaBuilder {
    text: String,
    /// The named types written so far, in order; a type's index is what `Name^n` refers to.
    named: Vec<TypeId>,
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
        if self.begin_named::<T>(name) {
            self.text.push('{');
            fields(&mut FieldsBuilder { out: self, first: true });
            self.text.push('}');
        }
    }

    /// Writes an enum with its variants.
    pub fn enumeration<T: 'static>(
        &mut self,
        name: &str,
        variants: impl FnOnce(&mut VariantsBuilder),
    ) {
        if self.begin_named::<T>(name) {
            self.text.push('[');
            variants(&mut VariantsBuilder { out: self, first: true });
            self.text.push(']');
        }
    }

    /// The description written so far.
    pub fn finish(self) -> SchemaDescription {
        SchemaDescription::of_text(self.text)
    }

    /// Writes the name; true if the type's parts are to follow, false if it was written before.
    fn begin_named<T: 'static>(&mut self, name: &str) -> bool {
        self.text.push_str(name);
        let id = TypeId::of::<T>();
        if let Some(index) = self.named.iter().position(|named| *named == id) {
            self.text.push_str(&format!("^{index}"));
            return false;
        }
        self.named.push(id);
        true
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
}

/// Writes the fields of a struct or of a variant, in declaration order.
#[derive(Debug)]
pub struct FieldsBuilder<'a> {
    out: &'a mut SchemaBuilder,
    first: bool,
}

impl FieldsBuilder<'_> {
    /// Writes one field; fields of tuple structs are named by their position.
    pub fn field<T: Schema>(&mut self, name: &str) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.text.push(',');
        }
        self.out.text.push_str(name);
        self.out.text.push(':');
        T::describe(self.out);
    }
}

/// Writes the variants of an enum, in declaration order.
#[derive(Debug)]
pub struct VariantsBuilder<'a> {
    out: &'a mut SchemaBuilder,
    first: bool,
}

impl VariantsBuilder<'_> {
    /// Writes a variant without fields.
    pub fn unit(&mut self, name: &str) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.text.push(',');
        }
        self.out.text.push_str(name);
    }

    /// Writes a variant with fields.
    pub fn variant(&mut self, name: &str, fields: impl FnOnce(&mut FieldsBuilder)) {
        self.unit(name);
        self.out.text.push('{');
        fields(&mut FieldsBuilder { out: self.out, first: true });
        self.out.text.push('}');
    }
}
