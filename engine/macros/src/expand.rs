//! Writes the code of a record.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Generics, Index, Item, Member, Path, Result, parse_quote};

use crate::options::Options;
use crate::shape::{Data, Field, Shape, Variant, plain_name};

/// The item with rkyv's derives, and its `Schema` impl.
pub(crate) fn record(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let Options { krate } = syn::parse2(options)?;
    let item: Item = syn::parse2(item)?;
    let schema = schema_impl(&Shape::of(&item)?, &krate);
    Ok(quote! {
        #[derive(#krate::rkyv::Archive, #krate::rkyv::Serialize, #krate::rkyv::Deserialize)]
        #[rkyv(crate = #krate::rkyv)]
        #item
        #schema
    })
}

fn schema_impl(shape: &Shape, krate: &Path) -> TokenStream {
    let generics = with_schema_bounds(shape.generics.clone(), krate);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let ident = &shape.ident;
    let name = plain_name(ident);
    let (describe, hash_key) = match &shape.data {
        Data::Struct(fields) => (
            {
                let fields = describe_fields(fields);
                quote!(out.structure::<Self>(#name, |fields| { #fields });)
            },
            hash_struct(fields, krate),
        ),
        Data::Enum(variants) => (describe_enum(&name, variants), hash_enum(variants, krate)),
    };
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
        }
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

fn describe_fields(fields: &[Field]) -> TokenStream {
    let calls = fields.iter().map(|field| {
        let (name, ty) = (field.name(), &field.ty);
        quote!(fields.field::<#ty>(#name);)
    });
    quote!(#(#calls)*)
}

fn describe_enum(name: &str, variants: &[Variant]) -> TokenStream {
    let calls = variants.iter().map(|variant| {
        let name = plain_name(&variant.ident);
        if variant.fields.is_empty() {
            return quote!(variants.unit(#name););
        }
        let fields = describe_fields(&variant.fields);
        quote!(variants.variant(#name, |fields| { #fields });)
    });
    quote!(out.enumeration::<Self>(#name, |variants| { #(#calls)* });)
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
