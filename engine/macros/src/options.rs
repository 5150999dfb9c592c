//! What stands in the parentheses of `#[record(..)]`.

use syn::parse::{Parse, ParseStream};
use syn::{Path, Result, Token, parse_quote};

/// The options of one use of the attribute.
pub(crate) struct Options {
    /// Where `rkyv` and `state` are found.
    pub(crate) krate: Path,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut krate = None;
        while !input.is_empty() {
            if !input.peek(Token![crate]) {
                return Err(input.error("unknown option; `record` takes `crate = path` only"));
            }
            let name = input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            if krate.replace(input.call(Path::parse_mod_style)?).is_some() {
                return Err(syn::Error::new(name.span, "`crate` is given twice"));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(Options { krate: krate.unwrap_or_else(|| parse_quote!(::thalweg)) })
    }
}
