//! The file layer: TOML with flat keys.
//!
//! **Invariants**
//! - Types are those of TOML: a number is not quoted (durations and sizes may be, for their unit), a switch is `true`
//!   or `false`. Cores may be a text or an array; `"none"` unsets what may be unset.
//! - After a syntax error nothing else of the file is looked at: what the parser recovered may not be what was meant.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::builder::ConfigurationBuilder;
use super::error::ConfigError;
use super::option::{ConfigOption, DefaultValue, OptionKind};
use super::origin::Origin;
use super::quantity::Unit;

/// One slip makes the parser stumble more than once; from a few on, they say nothing new.
const SYNTAX_ERRORS_MAX: usize = 8;

/// Reads a file's text into the builder.
pub(super) fn read(builder: &mut ConfigurationBuilder, path: &Path, text: &str) {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        report_syntax(builder, path, &lines, &errors);
        return;
    }
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let line = lines.line_of(key.span().start);
        let origin = Origin::File { path: path.to_owned(), line };
        read_entry(builder, key.get_ref(), value.get_ref(), origin);
    }
}

fn report_syntax(
    builder: &mut ConfigurationBuilder,
    path: &Path,
    lines: &Lines,
    errors: &[toml::de::Error],
) {
    let mut line_before = None;
    for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
        let line = lines.line_of(error.span().map_or(0, |span| span.start));
        if line_before.replace(line) != Some(line) {
            // The message alone: the error's `Display` quotes the line, and a line may hold a secret.
            let message = error.message().replace('\n', ", ");
            builder.report(ConfigError::Syntax { path: path.to_owned(), line, message });
        }
    }
}

fn read_entry(builder: &mut ConfigurationBuilder, key: &str, value: &DeValue<'_>, origin: Origin) {
    let Some(index) = builder.find_key(key) else {
        builder.report(match value {
            DeValue::Table(table) => unknown_section(builder.options(), key, table, origin),
            _ => builder.unknown_key(key, origin),
        });
        return;
    };
    let option = &builder.options()[index];
    match text_of(option, value) {
        Some(text) => builder.assign(index, &text, origin),
        None => {
            let shown = option.shown(&describe(value)).to_owned();
            builder.report_invalid(option, shown, option.expected(), origin);
        }
    }
}

fn unknown_section(
    options: &'static [ConfigOption],
    section: &str,
    table: &DeTable<'_>,
    origin: Origin,
) -> ConfigError {
    let known = options.iter().map(|option| option.key);
    let keys = known.filter(|key| table.keys().any(|written| written.get_ref() == key)).collect();
    ConfigError::UnknownSection { section: section.to_owned(), origin, keys }
}

/// The text the option reads, if the value has a TOML type the option takes.
fn text_of(option: &ConfigOption, value: &DeValue<'_>) -> Option<String> {
    let may_be_unset = matches!(option.default, DefaultValue::Unset(_));
    match (option.kind, value) {
        (_, DeValue::String(text)) if may_be_unset && text == "none" => Some(text.to_string()),
        (OptionKind::Number { .. } | OptionKind::PowerOfTwo { .. }, DeValue::Integer(number)) => {
            // Prefix and digits as written; octal and binary are not worth reading.
            Some(number.to_string())
        }
        (OptionKind::Number { .. } | OptionKind::PowerOfTwo { .. }, DeValue::String(text)) => {
            (!matches!(option.unit, Unit::Count(_))).then(|| text.to_string())
        }
        (OptionKind::Boolean, DeValue::Boolean(on)) => Some(on.to_string()),
        (OptionKind::Cores, DeValue::Integer(core)) => Some(core.to_string()),
        (OptionKind::Cores, DeValue::Array(cores)) => {
            let cores: Option<Vec<_>> = cores
                .iter()
                .map(|core| core.get_ref().as_integer().map(ToString::to_string))
                .collect();
            cores.map(|cores| cores.join(","))
        }
        (
            OptionKind::Choice(_) | OptionKind::Cores | OptionKind::Text(_) | OptionKind::Secret(_),
            DeValue::String(text),
        ) => Some(text.to_string()),
        _ => None,
    }
}

/// A value of the wrong type, as an error shows it.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(on) => on.to_string(),
        DeValue::Datetime(instant) => instant.to_string(),
        DeValue::Array(_) => "[..]".to_owned(),
        DeValue::Table(_) => "{..}".to_owned(),
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        let after_breaks =
            text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        Self(std::iter::once(0).chain(after_breaks).collect())
    }

    /// The line of a byte, counted from one.
    fn line_of(&self, byte: usize) -> usize {
        self.0.partition_point(|start| *start <= byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All errors of a file, one a line; empty if it is fine.
    fn errors(text: &str) -> Vec<String> {
        let mut builder = ConfigurationBuilder::new();
        builder.with_available_cores(4);
        builder.read_file(Path::new("job.toml"), text);
        match builder.build() {
            Ok(_) => Vec::new(),
            Err(errors) => errors.into_iter().map(|error| error.to_string()).collect(),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(errors(text), expected, "{text}");
    }

    #[test]
    fn every_type_is_read() {
        check(
            "parallelism = 1_6\nslots = \"none\"\ncores = [0, 1]\nprofile = 'latency'\nchaining = false\n\
             page_bytes = \"64KiB\"\nspin_us = 50\nauto_watermark_interval_ms = '1 s'\nseed = 0xff\n",
            &[],
        );
    }

    #[test]
    fn unknown_keys_are_named_with_line_and_neighbour() {
        check(
            "# comment\n\nparalelism = 3\nwhatever = 1",
            &[
                "unknown key 'paralelism' in job.toml:3; did you mean 'parallelism'?",
                "unknown key 'whatever' in job.toml:4; --help lists every key",
            ],
        );
    }

    #[test]
    fn wrong_types_and_ranges_name_everything() {
        check(
            "slots = 0\nparallelism = \"4\"\nchaining = 'true'\nseed = 1.5\ncores = [0, 'a']\nspin_us = '5 km'",
            &[
                "invalid value '0' for 'slots' in job.toml:1: expected a whole number from 1 to 32768, or none",
                "invalid value '\"4\"' for 'parallelism' in job.toml:2: expected a whole number from 1 to 32768",
                "invalid value '\"true\"' for 'chaining' in job.toml:3: expected true or false",
                "invalid value '1.5' for 'seed' in job.toml:4: expected a whole number from 0 to 18446744073709551615",
                "invalid value '[..]' for 'cores' in job.toml:5: expected a list of cores such as 0-3,6, or none",
                "invalid value '5 km' for 'spin_us' in job.toml:6: expected a duration from 0 to 1000000 us, \
                 in whole us or with one of the units ns, us, µs, ms, s, min, h, d",
            ],
        );
    }

    #[test]
    fn sections_are_refused_with_a_remedy() {
        check(
            "seed = 1\n[engine]\nslots = 4\nother = 2\n",
            &[
                "unknown section '[engine]' in job.toml:2; keys belong to no section, write slots above it",
            ],
        );
        check(
            "[x.y]",
            &[
                "unknown section '[x]' in job.toml:1; keys belong to no section, write them above it",
            ],
        );
        check(
            "[slots]\nn = 1",
            &[
                "invalid value '{..}' for 'slots' in job.toml:1: expected a whole number from 1 to 32768, or none",
            ],
        );
    }

    #[test]
    fn the_file_cannot_name_another_file() {
        check(
            "config = 'other.toml'",
            &["'config' cannot be set in job.toml:1; use THALWEG_CONFIG or --config"],
        );
    }

    #[test]
    fn syntax_errors_carry_their_line_and_not_the_text() {
        let found = errors("seed = 1\nslots = = hunter2\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("job.toml:2 is not valid TOML: "), "{found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
        for text in
            ["token = hunter2", "token = 'hunter2", "token = \"hunter2\\q\"", "hunter2 = = 1"]
        {
            let found = errors(text).join("\n");
            assert!(found.contains("not valid TOML") && !found.contains("hunter2"), "{found}");
        }
        let twice = errors("seed = 1\nseed = 2\n");
        assert!(twice[0].starts_with("job.toml:2 is not valid TOML: duplicate key"), "{twice:?}");
    }

    #[test]
    fn no_text_panics() {
        for text in ["\u{feff}seed = 1", "\0", "[[", "a.b.c.d = 1", "=", "'", "\r\n\r\nseed=1\r\n"]
        {
            errors(text);
        }
        errors(&"[".repeat(10_000));
        errors(&format!("seed = {}1{}", "[".repeat(10_000), "]".repeat(10_000)));
        assert!(errors(&"@\n".repeat(10_000)).len() <= SYNTAX_ERRORS_MAX);
    }
}
