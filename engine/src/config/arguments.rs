//! The arguments of a job beside the engine's: declared by the job, read with them, refused when unknown.
//!
//! 1. The job lists its arguments in a [`DeclaredArguments`].
//! 2. [`load`](super::load) reads the command line against both tables.
//! 3. The job asks the [`Arguments`] by name and gets text or a parsed value.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use super::error::Shown;
use super::nearest::nearest;

/// One argument a job takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub(super) name: String,
    pub(super) short: Option<char>,
    pub(super) form: ArgumentForm,
    pub(super) help: String,
    pub(super) default: Option<String>,
    pub(super) required: bool,
}

/// How an argument is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ArgumentForm {
    /// `--name VALUE`; the text stands for the value.
    Option(String),
    /// `--name`.
    Flag,
    /// A word at its place.
    Positional,
    /// All words that are left.
    Rest,
}

impl Argument {
    /// `--name VALUE` or `--name=VALUE`; `placeholder` stands for the value in the help text.
    pub fn option(name: &str, placeholder: &str) -> Self {
        Self::new(name, ArgumentForm::Option(placeholder.to_owned()))
    }

    /// `--name`, without a value.
    pub fn flag(name: &str) -> Self {
        Self::new(name, ArgumentForm::Flag)
    }

    /// A word without a dash; the first declared takes the first word, and so on.
    pub fn positional(name: &str) -> Self {
        Self::new(name, ArgumentForm::Positional)
    }

    /// All words that no positional argument took.
    pub fn rest(name: &str) -> Self {
        Self::new(name, ArgumentForm::Rest)
    }

    fn new(name: &str, form: ArgumentForm) -> Self {
        Self {
            name: name.to_owned(),
            short: None,
            form,
            help: String::new(),
            default: None,
            required: false,
        }
    }

    /// Also as one letter: `-c VALUE`. Default: no letter.
    #[must_use]
    pub fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// What `--help` says about it. Default: nothing.
    #[must_use]
    pub fn help(mut self, text: &str) -> Self {
        self.help = text.to_owned();
        self
    }

    /// The value when it is not given. Default: none.
    #[must_use]
    pub fn default(mut self, value: impl Display) -> Self {
        self.default = Some(value.to_string());
        self
    }

    /// Refuses a command line without it. Default: it may be left out.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// How it is written on the command line.
    pub(super) fn usage(&self) -> String {
        match &self.form {
            ArgumentForm::Option(placeholder) => format!("--{} {placeholder}", self.name),
            ArgumentForm::Flag => format!("--{}", self.name),
            ArgumentForm::Positional => format!("<{}>", self.name),
            ArgumentForm::Rest => format!("<{}>..", self.name),
        }
    }

    pub(super) fn is_dashed(&self) -> bool {
        matches!(self.form, ArgumentForm::Option(_) | ArgumentForm::Flag)
    }
}

/// The arguments a job takes, and what it says about itself in `--help`.
///
/// ```
/// use thalweg::config::{Argument, DeclaredArguments};
/// let declared = DeclaredArguments::new("counts the words of a file")
///     .with(Argument::option("top", "N").help("how many words to print").default(10))
///     .with(Argument::positional("input").help("the text").required());
/// # let _ = declared;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredArguments {
    pub(super) about: String,
    pub(super) list: Vec<Argument>,
}

impl DeclaredArguments {
    /// No arguments yet; `about` opens the help text.
    pub fn new(about: &str) -> Self {
        Self { about: about.to_owned(), list: Vec::new() }
    }

    /// Adds one. A name that clashes with another one, or with a flag of the engine, is an error of reading.
    #[must_use]
    pub fn with(mut self, argument: Argument) -> Self {
        self.list.push(argument);
        self
    }
}

/// What the command line gave for the arguments a job declared.
///
/// ```
/// use thalweg::config::{Argument, ConfigurationBuilder, DeclaredArguments};
/// let declared = DeclaredArguments::new("").with(Argument::option("csv", "FILE"));
/// let words = ["job", "--csv=flights.csv", "-p", "4"];
/// let arguments = ConfigurationBuilder::new().read_command_line(words, &declared)?;
/// assert_eq!(arguments.get("csv"), Some("flights.csv"));
/// # Ok::<(), thalweg::config::HelpRequested>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Every declared name; the values in the order given, or the default alone.
    values: BTreeMap<String, Values>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Values {
    given: Vec<String>,
    default: Option<String>,
    usage: String,
}

/// Why an argument gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentError {
    /// It was not given and has no default.
    #[error("the argument {usage} is missing")]
    Missing {
        /// How it is written.
        usage: String,
    },
    /// The job never declared it.
    #[error("the job declares no argument '{name}'{}", hint(nearest.as_deref()))]
    Undeclared {
        /// What was asked for.
        name: String,
        /// The declared name it is probably meant to be.
        nearest: Option<String>,
    },
    /// It cannot be read as the type asked for.
    #[error("invalid value '{}' for {usage}: {reason}", Shown(value))]
    Invalid {
        /// How the argument is written.
        usage: String,
        /// As given.
        value: String,
        /// What the type's parser said.
        reason: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean '{nearest}'?"),
        None => "; add it to the DeclaredArguments".to_owned(),
    }
}

impl Arguments {
    /// No values yet for these arguments.
    pub(super) fn declared(declared: &DeclaredArguments) -> Self {
        let values = declared.list.iter().map(|argument| {
            let (default, usage) = (argument.default.clone(), argument.usage());
            (argument.name.clone(), Values { given: Vec::new(), default, usage })
        });
        Self { values: values.collect() }
    }

    /// Adds a value to a declared argument.
    pub(super) fn give(&mut self, name: &str, value: String) {
        if let Some(values) = self.values.get_mut(name) {
            values.given.push(value);
        }
    }

    /// The value given last, or the default. `None` also for a name that was never declared; [`Self::parse`] tells
    /// the two apart.
    pub fn get(&self, name: &str) -> Option<&str> {
        let values = self.values.get(name)?;
        values.given.last().or(values.default.as_ref()).map(String::as_str)
    }

    /// All values in the order given (`--csv a --csv b`, or the words of a [`Argument::rest`]); the default if none was.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.values.get(name);
        let given = values.map_or(&[][..], |values| &values.given[..]);
        let default = values.and_then(|values| values.default.as_ref());
        given.iter().chain(default.filter(|_| given.is_empty())).map(String::as_str)
    }

    /// Whether the command line had it; how a flag is asked.
    pub fn is_given(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|values| !values.given.is_empty())
    }

    /// The value as a type.
    ///
    /// # Errors
    /// If it was not given and has no default, is not of that type, or was never declared.
    pub fn parse<T>(&self, name: &str) -> Result<T, ArgumentError>
    where
        T: FromStr<Err: Display>,
    {
        self.parse_optional(name)?.ok_or_else(|| {
            let usage = self.values.get(name).map(|values| values.usage.clone());
            ArgumentError::Missing { usage: usage.unwrap_or_else(|| name.to_owned()) }
        })
    }

    /// The value as a type, `None` if it was not given and has no default.
    ///
    /// # Errors
    /// If it is not of that type, or was never declared.
    pub fn parse_optional<T>(&self, name: &str) -> Result<Option<T>, ArgumentError>
    where
        T: FromStr<Err: Display>,
    {
        let Some(values) = self.values.get(name) else {
            let nearest = nearest(name, self.values.keys().map(String::as_str)).map(str::to_owned);
            return Err(ArgumentError::Undeclared { name: name.to_owned(), nearest });
        };
        let Some(value) = self.get(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|error: T::Err| ArgumentError::Invalid {
            usage: values.usage.clone(),
            value: value.to_owned(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> Arguments {
        let declared = DeclaredArguments::new("")
            .with(Argument::option("csv", "FILE"))
            .with(Argument::option("n", "COUNT").default(5))
            .with(Argument::flag("verbose"));
        Arguments::declared(&declared)
    }

    #[test]
    fn the_last_value_wins_and_all_are_kept() {
        let mut arguments = arguments();
        assert_eq!(arguments.get("csv"), None);
        arguments.give("csv", "a".into());
        arguments.give("csv", "b".into());
        assert_eq!(arguments.get("csv"), Some("b"));
        assert_eq!(arguments.all("csv").collect::<Vec<_>>(), ["a", "b"]);
        assert!(arguments.is_given("csv"));
    }

    #[test]
    fn defaults_are_values_that_were_not_given() {
        let arguments = arguments();
        assert_eq!(arguments.parse::<u64>("n"), Ok(5));
        assert_eq!(arguments.all("n").collect::<Vec<_>>(), ["5"]);
        assert!(!arguments.is_given("n") && !arguments.is_given("verbose"));
        assert_eq!(arguments.parse_optional::<u64>("csv"), Ok(None));
        assert_eq!(arguments.all("nothing").count(), 0);
    }

    #[test]
    fn errors_name_the_argument() {
        let mut arguments = arguments();
        let check = |arguments: &Arguments, name: &str, expected: &str| {
            assert_eq!(arguments.parse::<u64>(name).unwrap_err().to_string(), expected);
        };
        check(&arguments, "csv", "the argument --csv FILE is missing");
        check(&arguments, "cvs", "the job declares no argument 'cvs'; did you mean 'csv'?");
        arguments.give("n", "many".into());
        check(&arguments, "n", "invalid value 'many' for --n COUNT: invalid digit found in string");
    }
}
