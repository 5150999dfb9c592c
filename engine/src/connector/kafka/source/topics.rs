//! Which topics are read.

use std::fmt;

use regex_lite::Regex;

use crate::connector::kafka::error::{KafkaError, KafkaErrorKind};

/// Topics by name, or all whose names match.
#[derive(Clone, Debug)]
pub(super) enum Topics {
    Named(Vec<String>),
    Pattern(Regex),
}

impl Topics {
    /// Those whose whole name matches.
    pub(super) fn matching(pattern: &str) -> Result<Self, KafkaError> {
        let whole = Regex::new(&format!("^(?:{pattern})$"));
        whole.map(Topics::Pattern).map_err(|error| {
            let text = format!("the topic pattern '{pattern}' is no regular expression: {error}");
            KafkaError::new(KafkaErrorKind::Setting, text)
                .remedy_is("correct the pattern; the syntax is that of the crate `regex`")
        })
    }

    /// Refuses names that cannot be.
    pub(super) fn check(&self) -> Result<(), KafkaError> {
        let Topics::Named(names) = self else { return Ok(()) };
        if names.is_empty() {
            let error = KafkaError::new(KafkaErrorKind::Setting, "the source has no topic");
            return Err(error.remedy_is("call `topics` or `topic_pattern`"));
        }
        let is_name = |name: &String| {
            let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            (1..=249).contains(&name.len()) && name.chars().all(is_letter)
        };
        match names.iter().find(|name| !is_name(name)) {
            None => Ok(()),
            Some(name) => {
                let text = format!("'{name}' is no name of a topic");
                let error = KafkaError::new(KafkaErrorKind::Setting, text);
                Err(error.remedy_is(
                    "names have 1 to 249 ASCII letters, digits, '.', '_' and '-'; patterns go to `topic_pattern`",
                ))
            }
        }
    }
}

impl fmt::Display for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topics::Named(names) => f.write_str(&names.join(", ")),
            Topics::Pattern(pattern) => write!(f, "the pattern '{pattern}'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        let Ok(Topics::Pattern(pattern)) = Topics::matching("orders-(eu|us)|paid") else {
            panic!("it is a pattern")
        };
        for (name, is_match) in
            [("orders-eu", true), ("orders-eu-2", false), ("my-paid", false), ("paid", true)]
        {
            assert_eq!(pattern.is_match(name), is_match, "{name}");
        }
        let error = Topics::matching("orders-(").unwrap_err().to_string();
        assert!(error.contains("'orders-(' is no regular expression"), "{error}");
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let check = |names: &[&str]| {
            let names = Topics::Named(names.iter().map(|name| (*name).to_owned()).collect());
            names.check().map_err(|error| error.to_string())
        };
        assert_eq!(check(&["a", "A.b_c-9"]), Ok(()));
        assert!(check(&[]).unwrap_err().contains("has no topic; call `topics`"));
        assert!(check(&["a", "b c"]).unwrap_err().contains("'b c' is no name"));
        assert!(check(&[""]).is_err() && check(&[&"x".repeat(250)]).is_err());
    }
}
