//! What can be wrong with a configuration, and the list in which all of it is reported at once.
//!
//! **Invariants**
//! - A [`ConfigErrors`] holds at least one error.
//! - No error carries the value of a secret option, nor a line of a file's text (which might hold one).

use std::fmt;
use std::path::PathBuf;

use super::Origin;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key that no option has.
    #[error("unknown key '{}' in {origin}{}", Shown(key), Hint(nearest, "key"))]
    UnknownKey {
        /// As written.
        key: String,
        /// Where.
        origin: Origin,
        /// The known key it is probably meant to be.
        nearest: Option<&'static str>,
    },
    /// An environment variable in the engine's namespace that it does not know.
    #[error("unknown environment variable '{}'{}", Shown(variable), Hint(nearest, "variable"))]
    UnknownVariable {
        /// As written.
        variable: String,
        /// The known variable it is probably meant to be.
        nearest: Option<&'static str>,
    },
    /// A flag of neither the engine nor the job.
    #[error("unknown flag '{}' on the command line{}", Shown(flag), Hint(nearest, "flag"))]
    UnknownFlag {
        /// As written, with its dashes.
        flag: String,
        /// The known flag it is probably meant to be, with its dashes.
        nearest: Option<String>,
    },
    /// A table in the file; the engine's keys are flat.
    #[error(
        "unknown section '[{}]' in {origin}; keys belong to no section, write {} above it",
        Shown(section), if keys.is_empty() { "them".to_owned() } else { keys.join(", ") }
    )]
    UnknownSection {
        /// The table's name.
        section: String,
        /// Where it begins.
        origin: Origin,
        /// The known keys found in it.
        keys: Vec<&'static str>,
    },
    /// A value of the wrong type or out of range.
    #[error("invalid value '{}' for '{key}' in {origin}: expected {expected}", Shown(value))]
    InvalidValue {
        /// The option.
        key: &'static str,
        /// As written; masked for a secret.
        value: String,
        /// What would be accepted.
        expected: String,
        /// Where.
        origin: Origin,
    },
    /// A key that decides how configuration is read, set where it comes too late.
    #[error("'{key}' cannot be set in {origin}; use {remedy}")]
    TooLate {
        /// The option.
        key: &'static str,
        /// Where.
        origin: Origin,
        /// The layers that may set it.
        remedy: String,
    },
    /// Two values that exclude each other.
    #[error(
        "{key} = {value} ({origin}) is above {bound_key} = {bound} ({bound_origin}); lower the first or raise the second"
    )]
    AboveBound {
        /// The option that is too large.
        key: &'static str,
        /// Its value.
        value: u64,
        /// Where it was set.
        origin: Origin,
        /// The option that bounds it.
        bound_key: &'static str,
        /// That option's value.
        bound: u64,
        /// Where that one was set.
        bound_origin: Origin,
    },
    /// The file could not be read.
    #[error("cannot read the configuration file {} (named by {named_by}): {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What named it.
        named_by: Origin,
        /// What the reader said.
        reason: String,
    },
    /// The file is no TOML.
    #[error("{}:{line} is not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// A word or variable that is not Unicode.
    #[error("{what} is not valid Unicode: '{}'", Shown(lossy))]
    NotUnicode {
        /// `argument 3`, `environment variable THALWEG_X`.
        what: String,
        /// With the broken bytes replaced.
        lossy: String,
    },
    /// A flag without the value it needs.
    #[error(
        "{flag} needs a value: {flag} {placeholder} (or {flag}={placeholder} if it begins with a dash)"
    )]
    MissingValue {
        /// As written, with its dashes.
        flag: String,
        /// What to put there.
        placeholder: String,
    },
    /// A value after a flag that takes none.
    #[error("{flag} takes no value, and was given '{}'", Shown(value))]
    NeedlessValue {
        /// With its dashes.
        flag: String,
        /// As written.
        value: String,
    },
    /// `--set` with something else than `key=value`.
    #[error("--set needs key=value, and was given '{}'", Shown(given))]
    MalformedSet {
        /// Only the part that cannot be a secret: the word, which has no `=`.
        given: String,
    },
    /// One positional argument more than the job declared.
    #[error("unexpected argument '{}'; --help shows what this job takes", Shown(word))]
    UnexpectedArgument {
        /// As written.
        word: String,
    },
    /// A required argument of the job is absent.
    #[error("the argument {usage} is missing")]
    MissingArgument {
        /// How it is written: `--csv FILE`, `<input>`.
        usage: String,
    },
    /// The job declares an argument in a way that cannot be told from another one.
    #[error("the job cannot declare the argument '{}': {reason}", Shown(name))]
    BadDeclaration {
        /// Its name.
        name: String,
        /// Why not.
        reason: String,
    },
}

/// Everything that is wrong, of all layers, in the order it was met.
///
/// `Debug` writes the same text as `Display`, because that is what `main` prints for an error it returns.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `Ok` if there are none.
    pub(super) fn check(errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// The errors; at least one.
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }
}

impl IntoIterator for ConfigErrors {
    type Item = ConfigError;
    type IntoIter = std::vec::IntoIter<ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.as_slice() {
            return only.fmt(f);
        }
        write!(f, "{} errors in the configuration:", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n- {error}"))
    }
}

impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `--help` was on the command line; carries the text. Print it to standard output and end with success.
///
/// `Debug` writes the text, because that is what `main` prints for an error it returns.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HelpRequested(pub String);

impl fmt::Debug for HelpRequested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why [`load`](super::load) gave no configuration.
///
/// `Debug` writes the same text as `Display`, because that is what `main` prints for an error it returns.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The user asked for help.
    #[error(transparent)]
    Help(#[from] HelpRequested),
    /// Something is wrong.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
}

impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a user wrote, made fit for one line: control characters escaped, long texts cut.
pub(super) struct Shown<'a>(pub(super) &'a str);

/// Longer texts say nothing more in an error.
const SHOWN_CHARS_MAX: usize = 120;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, c) in self.0.chars().enumerate() {
            if index == SHOWN_CHARS_MAX {
                return f.write_str("..");
            }
            if c.is_control() { write!(f, "{}", c.escape_default()) } else { write!(f, "{c}") }?;
        }
        Ok(())
    }
}

struct Hint<'a, T>(&'a Option<T>, &'static str);

impl<T: AsRef<str>> fmt::Display for Hint<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(nearest) => write!(f, "; did you mean '{}'?", nearest.as_ref()),
            None => write!(f, "; --help lists every {}", self.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_wrote_stays_on_one_line() {
        assert_eq!(Shown("a\nb\u{1b}[31m").to_string(), "a\\nb\\u{1b}[31m");
        assert_eq!(Shown(&"x".repeat(500)).to_string().len(), SHOWN_CHARS_MAX + 2);
    }

    #[test]
    fn one_error_is_a_sentence_and_several_are_a_list() {
        let error = |word: &str| ConfigError::UnexpectedArgument { word: word.into() };
        let one = ConfigErrors::check(vec![error("a")]).unwrap_err();
        assert_eq!(one.to_string(), "unexpected argument 'a'; --help shows what this job takes");
        let two = ConfigErrors::check(vec![error("a"), error("b")]).unwrap_err();
        let text = format!("{two:?}");
        assert!(text.starts_with("2 errors in the configuration:\n- unexpected argument 'a'"));
        assert_eq!(text.lines().count(), 3);
        assert_eq!(ConfigErrors::check(Vec::new()), Ok(()));
    }
}
