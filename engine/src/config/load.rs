//! [`load`]: file, environment and command line in one call.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

use super::arguments::{Arguments, DeclaredArguments};
use super::builder::ConfigurationBuilder;
use super::configuration::Configuration;
use super::error::{ConfigError, LoadError};

/// Reads the command line and the environment, then the file they name (if they name one), and resolves.
///
/// `words` are `std::env::args_os()` with the program's name first, `variables` are `std::env::vars_os()`, and
/// `read_file` reads a local file: the one thing this module must not do itself.
///
/// ```
/// use thalweg::config::{Argument, DeclaredArguments, load};
/// let declared = DeclaredArguments::new("").with(Argument::option("csv", "FILE"));
/// let (configuration, arguments) = load(
///     &declared,
///     ["job", "--config", "job.toml", "--csv", "flights.csv"],
///     [("THALWEG_SEED", "7")],
///     |_path| Ok::<_, std::io::Error>("parallelism = 4\nseed = 1".to_owned()),
/// )?;
/// assert_eq!((configuration.parallelism(), configuration.seed()), (4, 7));
/// assert_eq!(arguments.get("csv"), Some("flights.csv"));
/// # Ok::<(), thalweg::config::LoadError>(())
/// ```
///
/// # Errors
/// The wish for help, or everything that is wrong in any layer.
pub fn load<W, K, V, E>(
    declared: &DeclaredArguments,
    words: impl IntoIterator<Item = W>,
    variables: impl IntoIterator<Item = (K, V)>,
    read_file: impl FnOnce(&Path) -> Result<String, E>,
) -> Result<(Configuration, Arguments), LoadError>
where
    W: Into<OsString>,
    K: Into<OsString>,
    V: Into<OsString>,
    E: Display,
{
    let mut builder = ConfigurationBuilder::new();
    let arguments = builder.read_command_line(words, declared)?;
    builder.read_environment(variables);
    let named = builder.config_file().map(|(path, origin)| (path.to_owned(), origin.clone()));
    if let Some((path, named_by)) = named {
        match read_file(&path) {
            Ok(text) => _ = builder.read_file(&path, &text),
            Err(error) => {
                let reason = error.to_string();
                builder.report(ConfigError::Unreadable { path, named_by, reason });
            }
        }
    }
    Ok((builder.build()?, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn load_words(
        words: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<(Configuration, Arguments), LoadError> {
        let words = std::iter::once("job").chain(words.iter().copied());
        let files = |path: &Path| match path.to_str() {
            Some("a.toml") => Ok("seed = 1\nslots = 1".to_owned()),
            Some("b.toml") => Ok("seed = 2\nslotz = 1".to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        load(&DeclaredArguments::new(""), words, variables.iter().copied(), files)
    }

    #[test]
    fn the_file_may_be_named_by_either() {
        assert_eq!(load_words(&["--config=a.toml"], &[]).unwrap().0.seed(), 1);
        assert_eq!(load_words(&[], &[("THALWEG_CONFIG", "a.toml")]).unwrap().0.seed(), 1);
        let both = load_words(&["--config", "a.toml"], &[("THALWEG_CONFIG", "b.toml")]).unwrap();
        assert_eq!(both.0.origin("seed").unwrap().to_string(), "a.toml:1");
        assert_eq!(load_words(&["--config", "none"], &[]).unwrap().0.seed(), 0);
    }

    #[test]
    fn an_unreadable_file_is_reported_with_the_rest() {
        let error = load_words(&["--config", "c.toml", "--seed", "x"], &[("THALWEG_X", "1")]);
        let LoadError::Invalid(errors) = error.unwrap_err() else { panic!("no help was asked") };
        assert_eq!(errors.as_slice().len(), 3);
        assert_eq!(
            errors.as_slice()[2].to_string(),
            "cannot read the configuration file c.toml (named by command line flag --config): \
             entity not found"
        );
    }

    #[test]
    fn errors_of_the_file_carry_its_name() {
        let error = load_words(&["--config", "b.toml"], &[]).unwrap_err();
        assert_eq!(format!("{error:?}"), "unknown key 'slotz' in b.toml:2; did you mean 'slots'?");
    }

    #[test]
    fn help_is_an_error_of_its_own_type() {
        let error = load_words(&["--config", "c.toml", "--help"], &[]).unwrap_err();
        let LoadError::Help(help) = error else { panic!("help was asked") };
        assert!(help.0.contains("usage: job"));
    }

    /// Texts made of pieces that mean something, put together by a fixed linear congruence.
    #[test]
    fn no_input_panics() {
        const PIECES: [&str; 32] = [
            "seed",
            "slots",
            "cores",
            "token",
            "page_bytes",
            "spin_us",
            "=",
            " = ",
            "\n",
            "\"",
            "'",
            "[",
            "]",
            "{",
            "}",
            ".",
            ",",
            "-",
            "--",
            "0x",
            "1",
            "99999999999999999999",
            "1e9",
            "true",
            "none",
            "KiB",
            "min",
            "µs",
            "\u{0}",
            "\\u0041",
            "#",
            "THALWEG_",
        ];
        let mut state = 7u64;
        let mut next = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % bound
        };
        for _ in 0..2_000 {
            let mut text = || (0..next(12)).map(|_| PIECES[next(PIECES.len())]).collect::<String>();
            let (word, other, variable, file) = (text(), text(), text(), text());
            let words = ["job".to_owned(), "--config=x".to_owned(), word, other.clone()];
            let variables = [(format!("THALWEG_{variable}"), other)];
            let read =
                load(&DeclaredArguments::new(""), words, variables, |_| Ok::<_, io::Error>(file));
            if let Err(error) = read {
                assert!(!error.to_string().is_empty());
            }
        }
    }
}
