//! Layered configuration: every setting of the engine, from default to code.
//!
//! 1. An option is declared once, in the table behind [`options`]: key, variable, flag, kind, bounds, default, unit and
//!    description. Readers, help text and reference page are all driven by it.
//! 2. The layers are read into a [`ConfigurationBuilder`], later wins: defaults < TOML file < environment variables <
//!    command line < code on the environment. (Code on an operator is the plan's business.)
//! 3. [`ConfigurationBuilder::build`] gives a [`Configuration`] with a typed getter for each option and the
//!    [`Origin`] of each value, or all errors of all layers at once.
//!
//! ```text
//! job.toml            parallelism = 4        profile = "latency"
//! environment         THALWEG_PARALLELISM=8
//! command line        -p 16  --parallelism=16  --set parallelism=16
//! code                env.configure(|c| c.parallelism(16))
//! ```
//!
//! A job's own arguments (`--csv FILE`) are declared in a [`DeclaredArguments`] and come back as [`Arguments`].
//!
//! **Invariants**
//! - Nothing here touches a file, the process's environment or its arguments: the caller passes in a reader, an iterator
//!   of variables and an iterator of words. The one question put to the system is how many cores there are.
//! - Unknown names are refused in every layer, by name and place and with the nearest known name.
//! - A secret's value is shown by no `Display`, no `Debug` and no error.
//! - No input panics.

mod arguments;
mod builder;
mod choice;
mod command_line;
mod configuration;
mod cores;
mod environment;
mod error;
mod file;
mod help;
mod load;
mod nearest;
mod option;
mod origin;
mod quantity;
mod value;

pub use arguments::{Argument, ArgumentError, Arguments, DeclaredArguments};
pub use builder::ConfigurationBuilder;
pub use choice::{
    CheckpointMode, OnCancel, Profile, RestartKind, Restore, ShellKind, StateBackend,
    UnknownChoice, WhenSlotsAreTaken,
};
pub use configuration::Configuration;
pub use cores::{CORE_MAX, CoreList, CoreListError};
pub use error::{ConfigError, ConfigErrors, HelpRequested, LoadError};
pub use help::reference_markdown;
pub use load::load;
pub use option::{ConfigOption, DefaultValue, OptionKind, Scope, keys, options};
pub use origin::Origin;
pub use quantity::Unit;
pub use value::{ConfigValue, Secret};
