//! The command line: words, and options that have a value.

use crate::Error;
use std::str::FromStr;

/// What has not been looked at yet.
pub(crate) struct Arguments {
    words: Vec<String>,
}

impl Arguments {
    pub(crate) fn new(words: impl Iterator<Item = String>) -> Self {
        Arguments { words: words.collect() }
    }

    /// The value of an option, if it is there.
    pub(crate) fn option<T>(&mut self, name: &str) -> Result<Option<T>, Error>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        let Some(place) = self.words.iter().position(|word| word == name) else { return Ok(None) };
        if place + 1 == self.words.len() {
            return Err(format!("{name} needs a value").into());
        }
        let value = self.words.remove(place + 1);
        self.words.remove(place);
        let parsed = value.parse::<T>();
        parsed.map(Some).map_err(|error| format!("{name} {value}: {error}").into())
    }

    /// The next word that belongs to no option; ask for options first.
    pub(crate) fn word<T>(&mut self, what: &str) -> Result<T, Error>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        if self.words.is_empty() {
            return Err(format!("the {what} is missing; `compare help` says what there is").into());
        }
        let word = self.words.remove(0);
        word.parse().map_err(|error| format!("{what} {word}: {error}").into())
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.words.first() {
            Some(word) => {
                Err(format!("unknown argument '{word}'; `compare help` says what there is").into())
            }
            None => Ok(()),
        }
    }
}
