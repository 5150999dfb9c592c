//! [`ConfigValue`], and how an option reads one from text.
//!
//! Every layer comes down to text and is read here, so a value means the same wherever it was set.

use std::fmt;

use super::cores::CoreList;
use super::option::{ConfigOption, DefaultValue, OptionKind};
use super::quantity::Unit;

/// What an option is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigValue {
    /// To nothing; what that means is the option's [`DefaultValue::Unset`].
    Unset,
    /// A number in the option's unit.
    Number(u64),
    /// A switch.
    Boolean(bool),
    /// One of the option's words.
    Choice(&'static str),
    /// Cores in order.
    Cores(CoreList),
    /// A text.
    Text(String),
    /// A text that is not shown.
    Secret(Secret),
}

/// A text that neither `Display` nor `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What is shown in place of a secret.
pub(super) const MASK: &str = "***";

impl Secret {
    /// The text itself. What is done with it must not reach a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => f.write_str("none"),
            Self::Number(number) => number.fmt(f),
            Self::Boolean(on) => on.fmt(f),
            Self::Choice(word) => word.fmt(f),
            Self::Cores(cores) => cores.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Secret(secret) => secret.fmt(f),
        }
    }
}

impl ConfigOption {
    /// Reads a value from text.
    ///
    /// # Errors
    /// What would have been accepted.
    pub(super) fn parse(&self, text: &str) -> Result<ConfigValue, String> {
        // Only a text may mean its blanks.
        let whole = text;
        let text = text.trim();
        if text == "none" && matches!(self.default, DefaultValue::Unset(_)) {
            return Ok(ConfigValue::Unset);
        }
        let value = match self.kind {
            OptionKind::Number { min, max } => self.parse_number(text, min, max, false),
            OptionKind::PowerOfTwo { min, max } => self.parse_number(text, min, max, true),
            OptionKind::Boolean => text.parse().ok().map(ConfigValue::Boolean),
            OptionKind::Choice(words) => {
                words.iter().find(|word| **word == text).map(|word| ConfigValue::Choice(word))
            }
            OptionKind::Cores => match text.parse() {
                Ok(cores) => Some(ConfigValue::Cores(cores)),
                Err(error) => return Err(format!("{} ({error})", self.expected())),
            },
            OptionKind::Text(_) => (!text.is_empty()).then(|| ConfigValue::Text(whole.to_owned())),
            OptionKind::Secret(_) => {
                (!text.is_empty()).then(|| ConfigValue::Secret(Secret(whole.to_owned())))
            }
        };
        value.ok_or_else(|| self.expected())
    }

    fn parse_number(&self, text: &str, min: u64, max: u64, power: bool) -> Option<ConfigValue> {
        let number = self.unit.parse(text)?;
        let fits = (min..=max).contains(&number) && (!power || number.is_power_of_two());
        fits.then_some(ConfigValue::Number(number))
    }

    /// What the option accepts, for an error or a reference.
    pub(super) fn expected(&self) -> String {
        let expected = match self.kind {
            OptionKind::Number { min, max } => self.expected_number("", min, max),
            OptionKind::PowerOfTwo { min, max } => {
                self.expected_number(" that is a power of two", min, max)
            }
            OptionKind::Boolean => "true or false".to_owned(),
            OptionKind::Choice(words) => format!("one of {}", words.join(", ")),
            OptionKind::Cores => "a list of cores such as 0-3,6".to_owned(),
            OptionKind::Text(_) | OptionKind::Secret(_) => "a text that is not empty".to_owned(),
        };
        match self.default {
            DefaultValue::Unset(_) => format!("{expected}, or none"),
            DefaultValue::Text(_) | DefaultValue::AvailableCores => expected,
        }
    }

    fn expected_number(&self, constraint: &str, min: u64, max: u64) -> String {
        let unit = self.unit.name();
        match self.unit {
            Unit::Count(_) => format!("a whole number from {min} to {max}{constraint}"),
            Unit::Microseconds | Unit::Milliseconds => format!(
                "a duration{constraint} from {min} to {max} {unit}, in whole {unit} or with one of the units {}",
                self.suffixes()
            ),
            Unit::Bytes | Unit::Mebibytes => format!(
                "a size{constraint} from {min} to {max} {unit}, in whole {unit} or with one of the units {}",
                self.suffixes()
            ),
        }
    }

    fn suffixes(&self) -> String {
        let names: Vec<_> = self.unit.suffixes().iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// The word that stands for the value in help text.
    pub(super) fn placeholder(&self) -> String {
        match self.kind {
            OptionKind::Number { .. } | OptionKind::PowerOfTwo { .. } => match self.unit {
                Unit::Count(_) => "N".to_owned(),
                Unit::Microseconds | Unit::Milliseconds => "DURATION".to_owned(),
                Unit::Bytes | Unit::Mebibytes => "SIZE".to_owned(),
            },
            OptionKind::Boolean => "true|false".to_owned(),
            OptionKind::Choice(words) => words.join("|"),
            OptionKind::Cores => "LIST".to_owned(),
            OptionKind::Text(word) | OptionKind::Secret(word) => word.to_owned(),
        }
    }

    /// The value as an error may show it.
    pub(super) fn shown<'a>(&self, text: &'a str) -> &'a str {
        if matches!(self.kind, OptionKind::Secret(_)) { MASK } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::super::option::{keys, options};
    use super::*;

    fn option(key: &str) -> &'static ConfigOption {
        options().iter().find(|option| option.key == key).unwrap()
    }

    #[track_caller]
    fn check(key: &str, text: &str, expected: &str) {
        let read = match option(key).parse(text) {
            Ok(value) => value.to_string(),
            Err(wanted) => format!("expected {wanted}"),
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn numbers_are_bounded() {
        check(keys::PARALLELISM, " 16 ", "16");
        check(keys::PARALLELISM, "0", "expected a whole number from 1 to 32768");
        check(keys::PARALLELISM, "-1", "expected a whole number from 1 to 32768");
        check(keys::PARALLELISM, "none", "expected a whole number from 1 to 32768");
        check(keys::SLOTS, "none", "none");
        check(keys::SLOTS, "40000", "expected a whole number from 1 to 32768, or none");
        check(keys::SEED, "18446744073709551615", "18446744073709551615");
    }

    #[test]
    fn sizes_and_durations_end_in_the_unit_of_the_key() {
        check(keys::PAGE_BYTES, "64 KiB", "65536");
        check(keys::SLOT_MEMORY_MIB, "2GiB", "2048");
        check(keys::AUTO_WATERMARK_INTERVAL_MS, "1s", "1000");
        check(keys::SPIN_US, "50", "50");
        let wanted = "expected a size that is a power of two from 4096 to 1048576 B, \
                      in whole B or with one of the units B, KiB, MiB, GiB, TiB";
        check(keys::PAGE_BYTES, "12KiB", wanted);
        check(keys::PAGE_BYTES, "2MiB", wanted);
    }

    #[test]
    fn words_switches_and_cores() {
        check(keys::CHAINING, "false", "false");
        check(keys::CHAINING, "yes", "expected true or false");
        check(keys::PROFILE, "lazy", "expected one of latency, balanced, efficient");
        check(keys::CORES, "0-1,4", "0-1,4");
        check(
            keys::CORES,
            "1,1",
            "expected a list of cores such as 0-3,6, or none (core 1 is named twice)",
        );
    }
}
