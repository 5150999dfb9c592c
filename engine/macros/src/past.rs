//! What `#[thalweg(..)]` says of a record's past: defaults, former names, removed fields, migrations.
//!
//! The attributes are read and taken out of the item, since only this macro knows them.

use proc_macro2::Span;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Fields, Ident, Item, LitInt, LitStr, Path, Result, Token, Type};

use crate::shape::plain_name;

/// Where an attribute stands, and so what it may say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Struct,
    Enum,
    Variant,
    Field,
}

/// What an item declares of itself.
#[derive(Default)]
pub(crate) struct ItemPast {
    pub(crate) renamed_from: Vec<String>,
    pub(crate) migration: Option<Migration>,
    /// One of a struct, one a variant of an enum.
    pub(crate) variants: Vec<VariantPast>,
}

/// Values of another type become values of this one by a function.
pub(crate) struct Migration {
    pub(crate) from: Type,
    pub(crate) with: Path,
}

/// What a variant declares, and a struct of its fields.
#[derive(Default)]
pub(crate) struct VariantPast {
    pub(crate) renamed_from: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) fields: Vec<FieldPast>,
}

#[derive(Default)]
pub(crate) struct FieldPast {
    pub(crate) renamed_from: Vec<String>,
    pub(crate) default: Option<FieldDefault>,
    /// What rkyv's attributes say of the archived form, if they change it.
    pub(crate) archived_with: Option<String>,
}

/// Where a field's default comes from.
pub(crate) enum FieldDefault {
    Trait,
    Function(Path),
}

/// All that one place says.
#[derive(Default)]
struct Said {
    renamed_from: Vec<String>,
    removed: Vec<String>,
    default: Option<FieldDefault>,
    from: Option<(Span, Type)>,
    with: Option<(Span, Path)>,
}

/// Reads the attributes of an item and takes them out of it.
pub(crate) fn take(item: &mut Item) -> Result<ItemPast> {
    let (attributes, place) = match item {
        Item::Struct(item) => (&mut item.attrs, Place::Struct),
        Item::Enum(item) => (&mut item.attrs, Place::Enum),
        _ => return Ok(ItemPast::default()),
    };
    let said = take_attributes(attributes, place)?;
    let migration = match (said.from, said.with) {
        (Some((_, from)), Some((_, with))) => Some(Migration { from, with }),
        (None, None) => None,
        (Some((span, _)), None) => {
            return Err(Error::new(
                span,
                "`migrate_from` needs the function that migrates: `migrate_from = OldType, with = path::to::function`",
            ));
        }
        (None, Some((span, _))) => {
            return Err(Error::new(
                span,
                "`with` belongs to a migration: `migrate_from = OldType, with = path::to::function`",
            ));
        }
    };
    let mut past = ItemPast { renamed_from: said.renamed_from, migration, variants: Vec::new() };
    match item {
        Item::Struct(item) => {
            let fields = take_fields(&mut item.fields, &said.removed, item.ident.span())?;
            past.variants.push(VariantPast { removed: said.removed, fields, ..Default::default() });
        }
        Item::Enum(item) => {
            for variant in &mut item.variants {
                let said = take_attributes(&mut variant.attrs, Place::Variant)?;
                let Said { renamed_from, removed, .. } = said;
                let fields = take_fields(&mut variant.fields, &removed, variant.ident.span())?;
                past.variants.push(VariantPast { renamed_from, removed, fields });
            }
        }
        _ => {}
    }
    Ok(past)
}

fn take_fields(fields: &mut Fields, removed: &[String], span: Span) -> Result<Vec<FieldPast>> {
    let mut names = Vec::new();
    let mut pasts = Vec::new();
    for (index, field) in fields.iter_mut().enumerate() {
        let said = take_attributes(&mut field.attrs, Place::Field)?;
        let name = field.ident.as_ref().map_or_else(|| index.to_string(), plain_name);
        if said.renamed_from.contains(&name) {
            let message = format!("field `{name}` cannot be renamed from its own name");
            return Err(Error::new_spanned(&*field, message));
        }
        names.push(name);
        pasts.push(FieldPast {
            renamed_from: said.renamed_from,
            default: said.default,
            archived_with: archived_with(&field.attrs),
        });
    }
    if let Some(present) = removed.iter().find(|removed| names.contains(removed)) {
        let message = format!("field `{present}` is declared as removed, and is there");
        return Err(Error::new(span, message));
    }
    Ok(pasts)
}

/// What rkyv's attributes of a field say beyond bounds and attributes of the archived one.
fn archived_with(attributes: &[Attribute]) -> Option<String> {
    let mut said = String::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("rkyv")) {
        let is_harmless = attribute
            .parse_args_with(Punctuated::<syn::Meta, Token![,]>::parse_terminated)
            .is_ok_and(|metas| {
                metas
                    .iter()
                    .all(|meta| meta.path().is_ident("omit_bounds") || meta.path().is_ident("attr"))
            });
        if !is_harmless {
            said.push_str(&attribute.meta.to_token_stream().to_string());
        }
    }
    (!said.is_empty()).then_some(said)
}

fn take_attributes(attributes: &mut Vec<Attribute>, place: Place) -> Result<Said> {
    let mut said = Said::default();
    let (ours, others) = std::mem::take(attributes)
        .into_iter()
        .partition(|attribute: &Attribute| attribute.path().is_ident("thalweg"));
    *attributes = others;
    for attribute in &ours {
        attribute.parse_args_with(|input: ParseStream<'_>| {
            while !input.is_empty() {
                one(input, place, &mut said)?;
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        })?;
    }
    Ok(said)
}

fn one(input: ParseStream<'_>, place: Place, said: &mut Said) -> Result<()> {
    let name = input.call(Ident::parse_any)?;
    let span = name.span();
    match (name.to_string().as_str(), place) {
        ("renamed_from", _) => {
            input.parse::<Token![=]>()?;
            let former = input.parse::<LitStr>()?;
            if former.value().is_empty()
                || former.value().contains(|sign| "{}[]()<>,;:^".contains(sign))
            {
                return Err(Error::new(
                    former.span(),
                    "a former name is a plain name, such as \"old\"",
                ));
            }
            said.renamed_from.push(former.value());
            Ok(())
        }
        ("removed", Place::Struct | Place::Variant) => {
            let list;
            syn::parenthesized!(list in input);
            let names = Punctuated::<FieldName, Token![,]>::parse_terminated(&list)?;
            if names.is_empty() {
                return Err(Error::new(span, "name the removed fields: `removed(old_a, old_b)`"));
            }
            said.removed.extend(names.into_iter().map(|name| name.0));
            Ok(())
        }
        ("default", Place::Field) => {
            let default = match input.peek(Token![=]) {
                true => {
                    input.parse::<Token![=]>()?;
                    FieldDefault::Function(input.call(Path::parse_mod_style)?)
                }
                false => FieldDefault::Trait,
            };
            match said.default.replace(default) {
                None => Ok(()),
                Some(_) => Err(Error::new(span, "`default` is given twice")),
            }
        }
        ("migrate_from", Place::Struct | Place::Enum) => {
            input.parse::<Token![=]>()?;
            match said.from.replace((span, input.parse()?)) {
                None => Ok(()),
                Some(_) => Err(Error::new(
                    span,
                    "`migrate_from` is given twice; let the older type migrate from the oldest",
                )),
            }
        }
        ("with", Place::Struct | Place::Enum) => {
            input.parse::<Token![=]>()?;
            match said.with.replace((span, input.call(Path::parse_mod_style)?)) {
                None => Ok(()),
                Some(_) => Err(Error::new(span, "`with` is given twice")),
            }
        }
        ("removed", Place::Enum) => Err(Error::new(
            span,
            "a variant cannot be removed, since values of it may be stored: keep it, or use `migrate_from = OldType, with = function`",
        )),
        (_, place) => Err(Error::new(span, place.allowed())),
    }
}

impl Place {
    fn allowed(self) -> &'static str {
        match self {
            Place::Struct => {
                "on a struct, `thalweg` takes `renamed_from = \"Old\"`, `removed(old_a, old_b)` and `migrate_from = OldType, with = function`"
            }
            Place::Enum => {
                "on an enum, `thalweg` takes `renamed_from = \"Old\"` and `migrate_from = OldType, with = function`"
            }
            Place::Variant => {
                "on a variant, `thalweg` takes `renamed_from = \"Old\"` and `removed(old_a, old_b)`"
            }
            Place::Field => {
                "on a field, `thalweg` takes `default`, `default = path::to::function` and `renamed_from = \"old\"`"
            }
        }
    }
}

/// A field's name, or its position in a tuple struct.
struct FieldName(String);

impl syn::parse::Parse for FieldName {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(LitInt) {
            return Ok(FieldName(input.parse::<LitInt>()?.base10_digits().to_owned()));
        }
        Ok(FieldName(plain_name(&input.call(Ident::parse_any)?)))
    }
}
