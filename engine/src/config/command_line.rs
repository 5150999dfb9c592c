//! The command line layer: the engine's flags and the job's own arguments in one pass.
//!
//! What is understood: `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, `--set key=value`, `--help`
//! and `-h`; `--` ends the flags. A value may be a negative number; any other value that begins with a dash must be
//! joined by `=`. A switch of the engine takes `true` or `false`, and is `true` if neither follows.
//!
//! **Invariants**
//! - Reading goes on after an error, so that all are reported; words after an unknown flag are not blamed.
//! - The last of several values for the same thing wins.

use std::collections::VecDeque;
use std::ffi::OsString;

use super::arguments::{Argument, ArgumentForm, Arguments, DeclaredArguments};
use super::builder::ConfigurationBuilder;
use super::error::{ConfigError, HelpRequested};
use super::help;
use super::nearest::nearest;
use super::option::OptionKind;
use super::origin::Origin;

/// Names the engine's command line has beside those of the option table.
const RESERVED: [&str; 3] = ["help", "set", "h"];

/// Reads the words of a command line, program name first, into the builder.
pub(super) fn read(
    builder: &mut ConfigurationBuilder,
    words: impl Iterator<Item = OsString>,
    declared: &DeclaredArguments,
) -> Result<Arguments, HelpRequested> {
    check_declared(builder, declared);
    let mut words = words.enumerate().filter_map(|(index, word)| unicode(builder, index, word));
    let program = words.next().unwrap_or_default();
    let words: VecDeque<String> = words.collect();
    let arguments = Arguments::declared(declared);
    let mut reader = Reader {
        builder,
        declared,
        words,
        arguments,
        positionals: Vec::new(),
        help: false,
        unknown_flag: false,
    };
    reader.read_words();
    if reader.help {
        return Err(HelpRequested(help::help_text(reader.builder.options(), &program, declared)));
    }
    reader.place_positionals();
    reader.check_required();
    Ok(reader.arguments)
}

fn unicode(builder: &mut ConfigurationBuilder, index: usize, word: OsString) -> Option<String> {
    match word.into_string() {
        Ok(word) => Some(word),
        // The program's own name is only for show.
        Err(broken) if index == 0 => Some(broken.to_string_lossy().into_owned()),
        Err(broken) => {
            // Only what stands before a value: the value may be a secret.
            let lossy = broken.to_string_lossy();
            let lossy = lossy.split('=').next().unwrap_or_default().to_owned();
            builder.report(ConfigError::NotUnicode { what: format!("argument {index}"), lossy });
            None
        }
    }
}

/// A declared name must be writable, and mean one thing.
fn check_declared(builder: &mut ConfigurationBuilder, declared: &DeclaredArguments) {
    let mut taken: Vec<String> = RESERVED.iter().map(|name| (*name).to_owned()).collect();
    for option in builder.options() {
        taken.push(option.flag.to_owned());
        taken.extend(option.short.map(String::from));
    }
    let engine_count = taken.len();
    let mut rest = None;
    for argument in &declared.list {
        let mut bad = |reason: String| {
            builder.report(ConfigError::BadDeclaration { name: argument.name.clone(), reason });
        };
        let names = [Some(argument.name.clone()), argument.short.map(String::from)];
        for name in names.into_iter().flatten() {
            match taken.iter().position(|other| *other == name) {
                Some(index) if index < engine_count => {
                    bad(format!("'{name}' is the engine's; choose another name"));
                }
                Some(_) => bad(format!("'{name}' is declared twice")),
                None if !is_name(&name) => {
                    bad("a name is of letters, digits, '-' and '_', and begins with a letter"
                        .into());
                }
                None => {}
            }
            taken.push(name);
        }
        match argument.form {
            ArgumentForm::Rest if rest.is_some() => {
                bad("only one argument can take the rest".into())
            }
            ArgumentForm::Rest => rest = Some(()),
            _ => {}
        }
    }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    name.starts_with(char::is_alphabetic) && name.chars().all(fits)
}

struct Reader<'a> {
    builder: &'a mut ConfigurationBuilder,
    declared: &'a DeclaredArguments,
    words: VecDeque<String>,
    arguments: Arguments,
    positionals: Vec<String>,
    help: bool,
    unknown_flag: bool,
}

/// What a flag names.
enum Target<'a> {
    Help,
    Set,
    Engine(usize),
    Job(&'a Argument),
}

impl<'a> Reader<'a> {
    fn read_words(&mut self) {
        while let Some(word) = self.words.pop_front() {
            if word == "--" {
                self.positionals.extend(self.words.drain(..));
            } else if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                self.read_flag(format!("--{name}"), self.find_long(name), value);
            } else if is_flag(&word) {
                self.read_short(&word[1..]);
            } else {
                self.positionals.push(word);
            }
        }
    }

    /// A letter and what is joined to it: `p`, `p4`, `p=4`.
    fn read_short(&mut self, text: &str) {
        let mut rest = text.chars();
        let Some(letter) = rest.next() else { return };
        let joined = rest.as_str();
        let value = joined.strip_prefix('=').unwrap_or(joined);
        let value = (!joined.is_empty()).then(|| value.to_owned());
        self.read_flag(format!("-{letter}"), self.find_short(letter), value);
    }

    fn find_long(&self, name: &str) -> Option<Target<'a>> {
        match name {
            "help" => return Some(Target::Help),
            "set" => return Some(Target::Set),
            _ => {}
        }
        let option = self.builder.options().iter().position(|option| option.flag == name);
        let mut declared = self.declared.list.iter();
        option
            .map(Target::Engine)
            .or_else(|| declared.find(|a| a.is_dashed() && a.name == name).map(Target::Job))
    }

    fn find_short(&self, letter: char) -> Option<Target<'a>> {
        if letter == 'h' {
            return Some(Target::Help);
        }
        let option = self.builder.options().iter().position(|o| o.short == Some(letter));
        let mut declared = self.declared.list.iter();
        option.map(Target::Engine).or_else(|| {
            declared.find(|a| a.is_dashed() && a.short == Some(letter)).map(Target::Job)
        })
    }

    fn read_flag(&mut self, flag: String, target: Option<Target<'a>>, value: Option<String>) {
        match target {
            None => self.report_unknown(flag),
            Some(Target::Help) => self.help = true,
            Some(Target::Set) => self.read_set(flag, value),
            Some(Target::Engine(index)) => self.read_option(index, flag, value),
            Some(Target::Job(argument)) => self.read_argument(argument, flag, value),
        }
    }

    fn report_unknown(&mut self, flag: String) {
        self.unknown_flag = true;
        let options = self.builder.options().iter().map(|option| option.flag);
        let declared = self.declared.list.iter().filter(|a| a.is_dashed()).map(|a| a.name.as_str());
        let known = options.chain(declared).chain(["help", "set"]);
        let nearest = flag.strip_prefix("--").and_then(|name| nearest(name, known));
        let nearest = nearest.map(|name| format!("--{name}"));
        self.builder.report(ConfigError::UnknownFlag { flag, nearest });
    }

    fn read_set(&mut self, flag: String, value: Option<String>) {
        let Some(given) = self.value(&flag, "KEY=VALUE", value) else { return };
        let origin = Origin::CommandLine { flag };
        match given.split_once('=') {
            Some((key, text)) => self.builder.assign_key(key.trim(), text, origin),
            None => self.builder.report(ConfigError::MalformedSet { given }),
        }
    }

    fn read_option(&mut self, index: usize, flag: String, value: Option<String>) {
        let option = &self.builder.options()[index];
        let text = match option.kind {
            OptionKind::Boolean if value.is_none() => {
                let follows =
                    matches!(self.words.front().map(String::as_str), Some("true" | "false"));
                let word = if follows { self.words.pop_front() } else { None };
                Some(word.unwrap_or_else(|| "true".to_owned()))
            }
            _ => self.value(&flag, &option.placeholder(), value),
        };
        if let Some(text) = text {
            self.builder.assign(index, &text, Origin::CommandLine { flag });
        }
    }

    fn read_argument(&mut self, argument: &Argument, flag: String, value: Option<String>) {
        match &argument.form {
            ArgumentForm::Option(placeholder) => {
                if let Some(text) = self.value(&flag, placeholder, value) {
                    self.arguments.give(&argument.name, text);
                }
            }
            _ => match value {
                None => self.arguments.give(&argument.name, "true".to_owned()),
                Some(value) => self.builder.report(ConfigError::NeedlessValue { flag, value }),
            },
        }
    }

    /// The joined value or else the next word, unless that is a flag.
    fn value(&mut self, flag: &str, placeholder: &str, joined: Option<String>) -> Option<String> {
        let next_is_value = self.words.front().is_some_and(|word| !is_flag(word));
        let value = joined.or_else(|| if next_is_value { self.words.pop_front() } else { None });
        if value.is_none() {
            let (flag, placeholder) = (flag.to_owned(), placeholder.to_owned());
            self.builder.report(ConfigError::MissingValue { flag, placeholder });
        }
        value
    }

    fn place_positionals(&mut self) {
        let mut words = std::mem::take(&mut self.positionals).into_iter();
        let declared = &self.declared.list;
        for argument in declared.iter().filter(|a| a.form == ArgumentForm::Positional) {
            if let Some(word) = words.next() {
                self.arguments.give(&argument.name, word);
            }
        }
        let rest = declared.iter().find(|a| a.form == ArgumentForm::Rest);
        for word in words {
            match rest {
                Some(rest) => self.arguments.give(&rest.name, word),
                // It may be the value of the unknown flag.
                None if self.unknown_flag => {}
                None => self.builder.report(ConfigError::UnexpectedArgument { word }),
            }
        }
    }

    fn check_required(&mut self) {
        for argument in self.declared.list.iter().filter(|argument| argument.required) {
            if self.arguments.get(&argument.name).is_none() {
                self.builder.report(ConfigError::MissingArgument { usage: argument.usage() });
            }
        }
    }
}

/// Whether a word begins a flag; a lone dash and a negative number do not.
fn is_flag(word: &str) -> bool {
    let Some(rest) = word.strip_prefix('-') else { return false };
    !rest.is_empty() && !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.')
}

#[cfg(test)]
mod tests;
