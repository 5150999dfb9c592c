//! Writes the code of a record.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Generics, Index, Item, Member, Path, Result, parse_quote};

use crate::options::Options;
use crate::past::{self, FieldDefault, FieldPast, ItemPast, VariantPast};
use crate::shape::{Data, Field, Shape, Variant, plain_name};

/// The item with rkyv's derives, and its `Schema` impl.
pub(crate) fn record(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let Options { krate } = syn::parse2(options)?;
    let mut item: Item = syn::parse2(item)?;
    let past = past::take(&mut item)?;
    let schema = schema_impl(&Shape::of(&item)?, &past, &krate);
    Ok(quote! {
        #[derive(#krate::rkyv::Archive, #krate::rkyv::Serialize, #krate::rkyv::Deserialize)]
        #[rkyv(crate = #krate::rkyv)]
        #item
        #schema
    })
}

fn schema_impl(shape: &Shape, past: &ItemPast, krate: &Path) -> TokenStream {
    let generics = with_schema_bounds(shape.generics.clone(), krate);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let ident = &shape.ident;
    let name = plain_name(ident);
    let of_type = describe_type(past);
    let none = VariantPast::default();
    let of_variant = |index: usize| past.variants.get(index).unwrap_or(&none);
    let (describe, hash_key, evolve) = match &shape.data {
        Data::Struct(fields) => (
            {
                let (of_type, fields) = (of_type("fields"), describe_fields(fields, of_variant(0)));
                quote!(out.structure::<Self>(#name, |fields| { #of_type #fields });)
            },
            hash_struct(fields, krate),
            {
                let fields = evolve_fields(fields, of_variant(0));
                quote! {
                    let old = old.fields::<Self>()?;
                    ::core::result::Result::Ok(Self { #fields })
                }
            },
        ),
        Data::Enum(variants) => {
            let pasts: Vec<_> = (0..variants.len()).map(of_variant).collect();
            let described = describe_variants(variants, &pasts);
            let of_type = of_type("variants");
            (
                quote!(out.enumeration::<Self>(#name, |variants| { #of_type #described });),
                hash_enum(variants, krate),
                evolve_enum(variants, &pasts),
            )
        }
    };
    let migrate = past.migration.as_ref().map(|migration| {
        let (from, with) = (&migration.from, &migration.with);
        quote! {
            if old.is_migrated::<Self>() {
                let old = <#from as #krate::state::Schema>::evolve(old)?;
                return #krate::state::Migrated::<Self>::migrated(#with(old));
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics #krate::state::Schema for #ident #type_generics #where_clause {
            #[allow(unused_variables, reason = "a record without fields describes none")]
            fn describe(out: &mut #krate::state::SchemaBuilder) {
                #describe
            }

            #[inline]
            #[allow(unused_variables, reason = "a record without fields hashes none")]
            fn hash_key(&self, hasher: &mut #krate::state::KeyHasher) {
                #hash_key
            }

            #[allow(unused_variables, reason = "a record without fields reads none")]
            #[allow(unreachable_patterns, reason = "a former name may be a present one of another variant")]
            fn evolve(
                old: #krate::state::OldValue<'_>,
            ) -> ::core::result::Result<Self, #krate::state::EvolutionError> {
                #migrate
                #evolve
            }
        }
    }
}

/// What the item declares of itself, said to `fields` or `variants`.
fn describe_type(past: &ItemPast) -> impl Fn(&str) -> TokenStream + '_ {
    move |receiver| {
        let receiver = format_ident!("{receiver}");
        let names = &past.renamed_from;
        let renamed =
            (!names.is_empty()).then(|| quote!(#receiver.type_renamed_from(&[#(#names),*]);));
        let migrates = past.migration.as_ref().map(|migration| {
            let from = &migration.from;
            quote!(#receiver.migrates_from::<#from>();)
        });
        quote!(#renamed #migrates)
    }
}

/// `T: Schema` for each type parameter, as std's derives do; a bound on each field would not hold
/// for recursive types.
fn with_schema_bounds(mut generics: Generics, krate: &Path) -> Generics {
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#krate::state::Schema));
    }
    generics
}

fn describe_fields(fields: &[Field], past: &VariantPast) -> TokenStream {
    let none = FieldPast::default();
    let calls = fields.iter().enumerate().map(|(index, field)| {
        let (name, ty) = (field.name(), &field.ty);
        let past = past.fields.get(index).unwrap_or(&none);
        let field = match &past.archived_with {
            None => quote!(fields.field::<#ty>(#name);),
            Some(how) => quote!(fields.field_archived_with::<#ty>(#name, #how);),
        };
        let default = past.default.as_ref().map(|_| quote!(fields.has_default();));
        let names = &past.renamed_from;
        let renamed = (!names.is_empty()).then(|| quote!(fields.renamed_from(&[#(#names),*]);));
        quote!(#field #default #renamed)
    });
    let removed = &past.removed;
    let removed = (!removed.is_empty()).then(|| quote!(fields.removed(&[#(#removed),*]);));
    quote!(#(#calls)* #removed)
}

fn describe_variants(variants: &[Variant], pasts: &[&VariantPast]) -> TokenStream {
    let calls = variants.iter().zip(pasts).map(|(variant, past)| {
        let name = plain_name(&variant.ident);
        let names = &past.renamed_from;
        let renamed = (!names.is_empty()).then(|| quote!(variants.renamed_from(&[#(#names),*]);));
        if variant.fields.is_empty() {
            let removed = &past.removed;
            let removed =
                (!removed.is_empty()).then(|| quote!(variants.removed(&[#(#removed),*]);));
            return quote!(variants.unit(#name); #removed #renamed);
        }
        let fields = describe_fields(&variant.fields, past);
        quote!(variants.variant(#name, |fields| { #fields }); #renamed)
    });
    quote!(#(#calls)*)
}

/// The fields of a struct or variant, each read from `old`.
fn evolve_fields(fields: &[Field], past: &VariantPast) -> TokenStream {
    let none = FieldPast::default();
    let values = fields.iter().enumerate().map(|(index, field)| {
        let (name, member, ty) = (field.name(), &field.member, &field.ty);
        let FieldPast { renamed_from, default, .. } = past.fields.get(index).unwrap_or(&none);
        match default {
            None => quote!(#member: old.field::<#ty>(#name, &[#(#renamed_from),*])?),
            Some(default) => {
                let default = match default {
                    FieldDefault::Trait => quote!(<#ty as ::core::default::Default>::default),
                    FieldDefault::Function(path) => quote!(#path),
                };
                quote!(#member: old.field_or::<#ty>(#name, &[#(#renamed_from),*], #default)?)
            }
        }
    });
    quote!(#(#values),*)
}

fn evolve_enum(variants: &[Variant], pasts: &[&VariantPast]) -> TokenStream {
    let values: Vec<_> = variants
        .iter()
        .zip(pasts)
        .map(|(variant, past)| {
            let (ident, fields) = (&variant.ident, evolve_fields(&variant.fields, past));
            quote!(::core::result::Result::Ok(Self::#ident { #fields }))
        })
        .collect();
    let present = variants.iter().map(|variant| plain_name(&variant.ident));
    let former = pasts.iter().zip(&values).filter(|(past, _)| !past.renamed_from.is_empty()).map(
        |(past, value)| {
            let names = &past.renamed_from;
            quote!(#(#names)|* => #value,)
        },
    );
    quote! {
        let (name, old) = old.variant::<Self>()?;
        match name {
            #(#present => #values,)*
            #(#former)*
            _ => ::core::result::Result::Err(old.unknown::<Self>()),
        }
    }
}

fn hash_struct(fields: &[Field], krate: &Path) -> TokenStream {
    let members = fields.iter().map(|field| &field.member);
    quote!(#(#krate::state::Schema::hash_key(&self.#members, hasher);)*)
}

fn hash_enum(variants: &[Variant], krate: &Path) -> TokenStream {
    let arms = variants.iter().enumerate().map(|(index, variant)| {
        let (ident, index) = (&variant.ident, index as u32);
        let bindings: Vec<_> =
            (0..variant.fields.len()).map(|position| format_ident!("field_{position}")).collect();
        let members =
            variant.fields.iter().enumerate().map(|(position, field)| match &field.member {
                Member::Named(ident) => quote!(#ident),
                Member::Unnamed(_) => {
                    let position = Index::from(position);
                    quote!(#position)
                }
            });
        quote! {
            Self::#ident { #(#members: #bindings),* } => {
                hasher.write_u32(#index);
                #(#krate::state::Schema::hash_key(#bindings, hasher);)*
            }
        }
    });
    quote!(match self { #(#arms)* })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: TokenStream, item: TokenStream) -> String {
        record(options, item).expect_err("must be refused").to_string()
    }

    fn expanded(options: TokenStream, item: TokenStream) -> String {
        record(options, item).expect("expands").to_string()
    }

    #[test]
    fn what_cannot_be_a_record_is_refused() {
        let none = TokenStream::new;
        for (item, message) in [
            (quote!(union Bits { a: u32, b: f32 }), "a union cannot be a record"),
            (
                quote!(
                    struct View<'a> {
                        text: &'a str,
                    }
                ),
                "cannot have",
            ),
            (
                quote!(
                    struct View<'a>(std::borrow::Cow<'a, str>);
                ),
                "cannot have lifetimes",
            ),
            (
                quote!(
                    struct Name {
                        text: &'static str,
                    }
                ),
                "cannot have references",
            ),
            (
                quote!(
                    enum Never {}
                ),
                "without variants",
            ),
            (
                quote!(
                    fn main() {}
                ),
                "only structs and enums",
            ),
            (
                quote!(
                    type Alias = u64;
                ),
                "only structs and enums",
            ),
        ] {
            let error = refused(none(), item);
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn options_are_checked() {
        let item = || {
            quote!(
                struct One(u64);
            )
        };
        assert!(refused(quote!(skip), item()).contains("takes `crate = path` only"));
        assert!(refused(quote!(crate = a, crate = b), item()).contains("given twice"));
        assert!(refused(quote!(crate), item()).contains('='));
        assert!(expanded(quote!(), item()).contains(":: thalweg :: rkyv :: Archive"));
        assert!(expanded(quote!(crate = crate::shim,), item()).contains("crate :: shim :: state"));
    }

    /// A struct with an attribute of its own and one of its field.
    fn past(of_type: TokenStream, of_field: TokenStream) -> TokenStream {
        quote! {
            #[thalweg(#of_type)]
            struct One {
                #[thalweg(#of_field)]
                field: u64,
            }
        }
    }

    #[test]
    fn what_is_said_of_the_past_is_checked() {
        let none = TokenStream::new;
        for (of_type, of_field, message) in [
            (none(), quote!(defaults), "on a field, `thalweg` takes `default`"),
            (none(), quote!(removed(old)), "on a field, `thalweg` takes"),
            (none(), quote!(default, default = f), "`default` is given twice"),
            (none(), quote!(renamed_from = "field"), "cannot be renamed from its own name"),
            (none(), quote!(renamed_from = "a,b"), "a former name is a plain name"),
            (none(), quote!(renamed_from = old), "expected string literal"),
            (quote!(default), none(), "on a struct, `thalweg` takes `renamed_from"),
            (quote!(removed(field)), none(), "is declared as removed, and is there"),
            (quote!(removed()), none(), "name the removed fields"),
            (quote!(migrate_from = Old), none(), "needs the function that migrates"),
            (quote!(with = f), none(), "`with` belongs to a migration"),
            (
                quote!(migrate_from = Old, with = f, migrate_from = Older),
                none(),
                "`migrate_from` is given twice",
            ),
        ] {
            let error = refused(none(), past(of_type, of_field));
            assert!(error.contains(message), "{message}: {error}");
        }
        let gone = quote! {
            #[thalweg(removed(Gone))]
            enum Kind {
                Here,
            }
        };
        assert!(refused(none(), gone).contains("a variant cannot be removed"));
        let of_variant = quote! {
            enum Kind {
                #[thalweg(default)]
                Here,
            }
        };
        assert!(refused(none(), of_variant).contains("on a variant, `thalweg` takes"));
        let code = expanded(none(), past(quote!(removed(old)), quote!(default)));
        assert!(!code.contains("# [thalweg"), "{code}");
    }

    #[test]
    fn the_item_is_passed_on_with_its_attributes() {
        let code = expanded(
            quote!(),
            quote!(
                /** docs */
                #[derive(Debug)]
                pub struct One(pub u64);
            ),
        );
        assert!(code.contains("# [derive (Debug)] pub struct One (pub u64) ;"), "{code}");
    }
}
