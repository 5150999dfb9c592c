//! What types declare of their past: defaults, former names, removed fields, migrations.
//!
//! No part of the text, and so of the fingerprint: it says how old values become new ones, not what values look like.

use std::any::TypeId;

use super::SchemaDescription;

/// What one named type declares.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) rust_type: TypeId,
    pub(super) former_names: Names,
    /// The schema of the type whose values a function turns into those of this one.
    pub(super) migrates_from: Option<fn() -> SchemaDescription>,
    pub(super) parts: Vec<DeclaredPart>,
    /// Names of fields that are gone, with the number of their variant; 0 in a struct.
    pub(super) removed: Vec<(usize, Box<str>)>,
}

/// Names that something had.
pub(super) type Names = Vec<Box<str>>;

/// What is declared of a variant or of a field.
#[derive(Clone, Debug)]
pub(super) struct DeclaredPart {
    pub(super) variant: usize,
    /// `None` for the variant itself.
    pub(super) field: Option<usize>,
    pub(super) has_default: bool,
    pub(super) former_names: Names,
}

impl Declared {
    pub(super) fn new(rust_type: TypeId) -> Self {
        Declared {
            rust_type,
            former_names: Names::new(),
            migrates_from: None,
            parts: Vec::new(),
            removed: Vec::new(),
        }
    }

    fn part(&self, variant: usize, field: Option<usize>) -> Option<&DeclaredPart> {
        self.parts.iter().find(|part| (part.variant, part.field) == (variant, field))
    }

    pub(super) fn part_mut(&mut self, variant: usize, field: Option<usize>) -> &mut DeclaredPart {
        let is_it = |part: &DeclaredPart| (part.variant, part.field) == (variant, field);
        let at = match self.parts.iter().position(is_it) {
            Some(at) => at,
            None => {
                let former_names = Names::new();
                self.parts.push(DeclaredPart { variant, field, has_default: false, former_names });
                self.parts.len() - 1
            }
        };
        &mut self.parts[at]
    }

    pub(super) fn has_default(&self, variant: usize, field: usize) -> bool {
        self.part(variant, Some(field)).is_some_and(|part| part.has_default)
    }

    /// The former names of a variant or a field, the latest first.
    pub(super) fn former_names(&self, variant: usize, field: Option<usize>) -> &[Box<str>] {
        self.part(variant, field).map_or(&[], |part| &part.former_names)
    }

    pub(super) fn is_removed(&self, variant: usize, name: &str) -> bool {
        self.removed.iter().any(|(of, removed)| *of == variant && **removed == *name)
    }
}
