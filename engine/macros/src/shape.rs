//! The fields and variants of an item, and the refusal of items that cannot be records.

use proc_macro2::Span;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Error, Fields, Generics, Ident, Item, ItemEnum, Member, Result, Type};

/// An item that can be a record.
pub(crate) struct Shape {
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) data: Data,
}

pub(crate) enum Data {
    Struct(Vec<Field>),
    Enum(Vec<Variant>),
}

pub(crate) struct Variant {
    pub(crate) ident: Ident,
    pub(crate) fields: Vec<Field>,
}

pub(crate) struct Field {
    pub(crate) member: Member,
    pub(crate) ty: Type,
}

impl Field {
    /// The field's name in the schema: `user`, or `0` in a tuple struct.
    pub(crate) fn name(&self) -> String {
        match &self.member {
            Member::Named(ident) => plain_name(ident),
            Member::Unnamed(index) => index.index.to_string(),
        }
    }
}

/// The name without the marker of raw identifiers: `type` for `r#type`.
pub(crate) fn plain_name(ident: &Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map(str::to_string).unwrap_or(name)
}

impl Shape {
    pub(crate) fn of(item: &Item) -> Result<Self> {
        let (ident, generics, data) = match item {
            Item::Struct(item) => {
                (&item.ident, &item.generics, Data::Struct(fields(&item.fields)?))
            }
            Item::Enum(item) => (&item.ident, &item.generics, Data::Enum(variants(item)?)),
            Item::Union(item) => {
                return Err(refusal(
                    item.union_token.span,
                    "a union cannot be a record: nothing tells which field is valid; use an enum",
                ));
            }
            other => {
                return Err(refusal(first_span(other), "only structs and enums can be records"));
            }
        };
        if let Some(lifetime) = generics.lifetimes().next() {
            return Err(refusal(
                lifetime.span(),
                "a record owns its data and cannot have lifetimes; use `String` for `&str`, `Vec<T>` for `&[T]`",
            ));
        }
        Ok(Shape { ident: ident.clone(), generics: generics.clone(), data })
    }
}

fn variants(item: &ItemEnum) -> Result<Vec<Variant>> {
    if item.variants.is_empty() {
        return Err(refusal(item.ident.span(), "an enum without variants cannot be a record"));
    }
    item.variants
        .iter()
        .map(|variant| {
            Ok(Variant { ident: variant.ident.clone(), fields: fields(&variant.fields)? })
        })
        .collect()
}

fn fields(fields: &Fields) -> Result<Vec<Field>> {
    fields
        .members()
        .zip(fields)
        .map(|(member, field)| match &field.ty {
            Type::Reference(reference) => Err(refusal(
                reference.span(),
                "a record owns its data and cannot have references; use `String` for `&str`, `Vec<T>` for `&[T]`",
            )),
            ty => Ok(Field { member, ty: ty.clone() }),
        })
        .collect()
}

/// The span of an item's first token: the whole item's is too long to point at.
fn first_span(item: &Item) -> Span {
    item.to_token_stream().into_iter().next().map_or_else(Span::call_site, |token| token.span())
}

fn refusal(span: Span, message: &str) -> Error {
    Error::new(span, message)
}
