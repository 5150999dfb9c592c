//! How types are written in errors: without module paths, unless that makes two of them look alike.

use std::any::type_name;

/// The name of a handle's type.
#[derive(Clone, Copy)]
pub(crate) struct HandleName(&'static str);

impl HandleName {
    pub(crate) fn of<H>() -> Self {
        HandleName(type_name::<H>())
    }

    /// Without module paths: `ListState<Click>`.
    pub(crate) fn short(self) -> String {
        without_paths(self.0)
    }
}

/// The names of two handles that clash, each with what else tells it apart; with paths where they
/// would be equal without.
pub(crate) fn handle_names(
    registered: HandleName,
    requested: HandleName,
    suffixes: (&str, &str),
) -> (Box<str>, Box<str>) {
    let write = |name: &str, suffix: &str| format!("{name}{suffix}").into_boxed_str();
    let short = (write(&registered.short(), suffixes.0), write(&requested.short(), suffixes.1));
    if short.0 != short.1 {
        return short;
    }
    (write(registered.0, suffixes.0), write(requested.0, suffixes.1))
}

/// The name of a type without module paths: `Vec<String>`.
pub(crate) fn short_type<T>() -> String {
    without_paths(type_name::<T>())
}

fn without_paths(type_name: &str) -> String {
    let (mut short, mut segment_start) = (String::new(), 0);
    let mut rest = type_name;
    while let Some(character) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("::") {
            short.truncate(segment_start);
            rest = after;
            continue;
        }
        rest = &rest[character.len_utf8()..];
        short.push(character);
        if !character.is_alphanumeric() && character != '_' {
            segment_start = short.len();
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_left_out_of_names() {
        for (full, short) in [
            ("u64", "u64"),
            ("alloc::string::String", "String"),
            ("a::b::Value<(u8, alloc::vec::Vec<x::Y>)>", "Value<(u8, Vec<Y>)>"),
            ("[core::option::Option<i128>; 3]", "[Option<i128>; 3]"),
        ] {
            assert_eq!(without_paths(full), short);
        }
    }

    #[test]
    fn paths_are_kept_where_they_tell_types_apart() {
        let (a, b) = (HandleName("a::State"), HandleName("b::State"));
        let names = handle_names(a, b, ("", ""));
        assert_eq!((&*names.0, &*names.1), ("a::State", "b::State"));
        let names = handle_names(a, b, (" (split)", " (union)"));
        assert_eq!((&*names.0, &*names.1), ("State (split)", "State (union)"));
    }
}
