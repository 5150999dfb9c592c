//! The environment layer: `THALWEG_` and the key in capitals.
//!
//! **Invariant**: the prefix is the engine's own. A variable that has it and names no option is refused, because it is
//! more likely a slip than something for another program.

use std::ffi::OsString;

use super::builder::ConfigurationBuilder;
use super::error::ConfigError;
use super::nearest::nearest;
use super::origin::Origin;

/// What every variable of the engine begins with.
pub(super) const PREFIX: &str = "THALWEG_";

/// Reads the engine's variables of an environment into the builder and ignores the others.
pub(super) fn read(
    builder: &mut ConfigurationBuilder,
    variables: impl Iterator<Item = (OsString, OsString)>,
) {
    let ours = |name: &OsString| name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
    let mut variables: Vec<_> = variables.filter(|(name, _)| ours(name)).collect();
    // The system gives no order; errors should come in one.
    variables.sort();
    for (name, value) in variables {
        read_variable(builder, &name.to_string_lossy(), value);
    }
}

fn read_variable(builder: &mut ConfigurationBuilder, name: &str, value: OsString) {
    let options = builder.options();
    let Some(index) = options.iter().position(|option| option.env == name) else {
        let nearest = nearest(name, options.iter().map(|option| option.env));
        builder.report(ConfigError::UnknownVariable { variable: name.to_owned(), nearest });
        return;
    };
    match value.into_string() {
        Ok(text) => {
            builder.assign(index, &text, Origin::Environment { variable: name.to_owned() });
        }
        Err(broken) => builder.report(ConfigError::NotUnicode {
            what: format!("environment variable {name}"),
            lossy: options[index].shown(&broken.to_string_lossy()).to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn build(variables: &[(&str, &str)]) -> Result<String, String> {
        let mut builder = ConfigurationBuilder::new();
        builder.read_environment(variables.iter().copied());
        builder.build().map(|c| c.parallelism().to_string()).map_err(|errors| errors.to_string())
    }

    #[test]
    fn known_variables_are_read_and_foreign_ones_ignored() {
        let read = build(&[("PATH", "/bin"), ("THALWEG_PARALLELISM", "3"), ("THALWEGS", "x")]);
        assert_eq!(read, Ok("3".to_owned()));
    }

    #[test]
    fn unknown_variables_are_refused() {
        let error = build(&[("THALWEG_PARALELISM", "3")]).unwrap_err();
        assert_eq!(
            error,
            "unknown environment variable 'THALWEG_PARALELISM'; did you mean 'THALWEG_PARALLELISM'?"
        );
    }

    #[test]
    fn wrong_values_name_the_variable() {
        let error = build(&[("THALWEG_SLOTS", "")]).unwrap_err();
        assert_eq!(
            error,
            "invalid value '' for 'slots' in environment variable THALWEG_SLOTS: \
             expected a whole number from 1 to 32768, or none"
        );
    }

    #[test]
    fn broken_unicode_is_an_error_only_in_our_own_variables() {
        let broken = || OsString::from_vec(vec![b'a', 0xff]);
        let mut builder = ConfigurationBuilder::new();
        builder.read_environment([(OsString::from("LANG"), broken())]);
        assert!(builder.build().is_ok());
        builder.read_environment([(OsString::from("THALWEG_SEED"), broken())]);
        let error = builder.build().unwrap_err().to_string();
        assert!(
            error.starts_with("environment variable THALWEG_SEED is not valid Unicode"),
            "{error}"
        );
    }
}
