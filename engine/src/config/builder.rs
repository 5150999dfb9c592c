//! [`ConfigurationBuilder`]: collects what the layers say, and resolves it.
//!
//! A value is kept with its [`Origin`]; one of a higher layer replaces one of a lower layer whichever was read first, so
//! the layers may be read in any order. Within a layer the later one wins. Errors are collected and come from
//! [`build`](ConfigurationBuilder::build), all at once: a value that a higher layer overrides must still be right.
//!
//! **Invariant**: `settings[i]` belongs to `options[i]`.

use std::ffi::OsString;
use std::fmt::Display;
use std::panic::Location;
use std::path::Path;
use std::time::Duration;

use super::arguments::{Arguments, DeclaredArguments};
use super::choice::{
    CheckpointMode, OnCancel, Profile, RestartKind, Restore, ShellKind, StateBackend,
    WhenSlotsAreTaken,
};
use super::configuration::{Configuration, Setting};
use super::error::{ConfigError, ConfigErrors, HelpRequested};
use super::nearest::nearest;
use super::option::{ConfigOption, DefaultValue, Scope, keys, options};
use super::origin::Origin;
use super::value::ConfigValue;
use super::{command_line, environment, file};

/// Collects the layers of a configuration.
///
/// ```
/// use thalweg::config::{ConfigurationBuilder, Profile};
/// let mut builder = ConfigurationBuilder::new();
/// builder.read_environment([("THALWEG_PARALLELISM", "2")]);
/// builder.profile(Profile::Latency).set("page_bytes", "64KiB");
/// let configuration = builder.build()?;
/// assert_eq!(configuration.parallelism(), 2);
/// assert_eq!(configuration.page_bytes(), 65_536);
/// # Ok::<(), thalweg::config::ConfigErrors>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConfigurationBuilder {
    options: &'static [ConfigOption],
    settings: Vec<Option<Setting>>,
    errors: Vec<ConfigError>,
    available_cores: Option<usize>,
}

impl Default for ConfigurationBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ConfigurationBuilder {
    /// Nothing set: reads no file, no variable, no argument.
    pub fn new() -> Self {
        Self::over(options())
    }

    /// Nothing set, over another table.
    pub(super) fn over(options: &'static [ConfigOption]) -> Self {
        Self {
            options,
            settings: vec![None; options.len()],
            errors: Vec::new(),
            available_cores: None,
        }
    }

    /// Continues from resolved values; `None` where the default was in force.
    pub(super) fn resume(
        options: &'static [ConfigOption],
        settings: Vec<Option<Setting>>,
        available_cores: usize,
    ) -> Self {
        Self { options, settings, errors: Vec::new(), available_cores: Some(available_cores) }
    }

    /// How many cores the process may use, for the default of `parallelism`. Default: asks the system, which counts
    /// the affinity mask and the quota of a container.
    pub fn with_available_cores(&mut self, count: usize) -> &mut Self {
        self.available_cores = Some(count.max(1));
        self
    }

    /// Reads a configuration file's text; `path` is for messages alone.
    pub fn read_file(&mut self, path: &Path, text: &str) -> &mut Self {
        file::read(self, path, text);
        self
    }

    /// Reads the engine's variables of an environment (`std::env::vars_os()`) and ignores the others.
    pub fn read_environment<K, V>(
        &mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        environment::read(self, variables);
        self
    }

    /// Reads a command line (`std::env::args_os()`, the program's name first) and gives back the job's own arguments.
    ///
    /// # Errors
    /// Only the wish for help; what is wrong comes from [`Self::build`].
    pub fn read_command_line<W: Into<OsString>>(
        &mut self,
        words: impl IntoIterator<Item = W>,
        declared: &DeclaredArguments,
    ) -> Result<Arguments, HelpRequested> {
        command_line::read(self, words.into_iter().map(Into::into), declared)
    }

    /// The configuration file that the environment or the command line names, and which of them does.
    pub fn config_file(&self) -> Option<(&Path, &Origin)> {
        let setting = self.settings[self.find_key(keys::CONFIG)?].as_ref()?;
        match &setting.value {
            ConfigValue::Text(path) => Some((Path::new(path), &setting.origin)),
            _ => None,
        }
    }

    /// Sets an option in code, by key and in any form its text may have: `set("spin_us", "1ms")`.
    #[track_caller]
    pub fn set(&mut self, key: &str, value: impl Display) -> &mut Self {
        let origin = Origin::Code { location: Location::caller() };
        self.assign_key(key, &value.to_string(), origin);
        self
    }

    /// Resolves every option.
    ///
    /// # Errors
    /// Everything that was wrong in any layer, and values that exclude each other.
    pub fn build(&self) -> Result<Configuration, ConfigErrors> {
        let mut errors = self.errors.clone();
        errors.extend(self.parallelism_above_maximum());
        ConfigErrors::check(errors)?;
        Ok(self.resolve())
    }

    /// What is set, and defaults for the rest.
    pub(super) fn resolve(&self) -> Configuration {
        let available_cores = self.available_cores.unwrap_or_else(system_cores);
        let resolve = |(option, setting): (&ConfigOption, &Option<Setting>)| match setting {
            Some(setting) => setting.clone(),
            None => {
                let value = self.default_of(option, available_cores);
                Setting { value, origin: Origin::Default }
            }
        };
        let settings = self.options.iter().zip(&self.settings).map(resolve).collect();
        Configuration::resolved(self.options, settings, available_cores)
    }

    fn parallelism_above_maximum(&self) -> Option<ConfigError> {
        let (value, origin) = self.number(keys::PARALLELISM)?;
        let (bound, bound_origin) = self.number(keys::MAX_PARALLELISM)?;
        (value > bound).then(|| ConfigError::AboveBound {
            key: keys::PARALLELISM,
            value,
            origin: origin.clone(),
            bound_key: keys::MAX_PARALLELISM,
            bound,
            bound_origin: bound_origin.clone(),
        })
    }

    fn default_of(&self, option: &ConfigOption, available_cores: usize) -> ConfigValue {
        match option.default {
            DefaultValue::Unset(_) => ConfigValue::Unset,
            DefaultValue::Text(text) => {
                option.parse(text).expect("a test reads every default of the table")
            }
            DefaultValue::AvailableCores => {
                let cores = match self.setting(keys::CORES).map(|setting| &setting.value) {
                    Some(ConfigValue::Cores(cores)) => cores.count(),
                    _ => available_cores,
                };
                let bound = self.number(keys::MAX_PARALLELISM).map_or(u64::MAX, |(bound, _)| bound);
                ConfigValue::Number((cores as u64).min(bound))
            }
        }
    }

    fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings[self.find_key(key)?].as_ref()
    }

    fn number(&self, key: &str) -> Option<(u64, &Origin)> {
        match self.setting(key)? {
            Setting { value: ConfigValue::Number(number), origin } => Some((*number, origin)),
            _ => None,
        }
    }
}

/// What the layers' readers use.
impl ConfigurationBuilder {
    pub(super) fn options(&self) -> &'static [ConfigOption] {
        self.options
    }

    pub(super) fn find_key(&self, key: &str) -> Option<usize> {
        self.options.iter().position(|option| option.key == key)
    }

    pub(super) fn report(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    pub(super) fn unknown_key(&self, key: &str, origin: Origin) -> ConfigError {
        let nearest = nearest(key, self.options.iter().map(|option| option.key));
        ConfigError::UnknownKey { key: key.to_owned(), origin, nearest }
    }

    pub(super) fn assign_key(&mut self, key: &str, text: &str, origin: Origin) {
        let start = |index: usize| self.options[index].scope == Scope::Start;
        match self.find_key(key) {
            Some(index) if start(index) => self.report_too_late(index, origin),
            Some(index) => self.assign(index, text, origin),
            None => self.report(self.unknown_key(key, origin)),
        }
    }

    /// Reads a text as the option's value, unless a higher layer has set it; reports it if it is wrong either way.
    pub(super) fn assign(&mut self, index: usize, text: &str, origin: Origin) {
        let option = &self.options[index];
        let layer_is_late = matches!(origin, Origin::File { .. } | Origin::Code { .. });
        if option.scope == Scope::Start && layer_is_late {
            return self.report_too_late(index, origin);
        }
        match option.parse(text) {
            Ok(value) => {
                let held = self.settings[index].as_ref().map_or(0, |setting| setting.origin.rank());
                if origin.rank() >= held {
                    self.settings[index] = Some(Setting { value, origin });
                }
            }
            Err(expected) => {
                self.report_invalid(option, option.shown(text).to_owned(), expected, origin);
            }
        }
    }

    pub(super) fn report_invalid(
        &mut self,
        option: &ConfigOption,
        value: String,
        expected: String,
        origin: Origin,
    ) {
        self.report(ConfigError::InvalidValue { key: option.key, value, expected, origin });
    }

    fn report_too_late(&mut self, index: usize, origin: Origin) {
        let option = &self.options[index];
        let remedy = format!("{} or --{}", option.env, option.flag);
        self.report(ConfigError::TooLate { key: option.key, origin, remedy });
    }
}

macro_rules! setters {
    ($($(#[$meta:meta])* $name:ident($value:ident: $kind:ty) => $key:ident = $text:expr;)+) => {
        /// Typed setters of the code layer; each overrides file, environment and command line.
        impl ConfigurationBuilder {
            $(
                $(#[$meta])*
                #[track_caller]
                pub fn $name(&mut self, $value: $kind) -> &mut Self {
                    self.set(keys::$key, $text)
                }
            )+
        }
    };
}

setters! {
    /// Subtasks of each operator that does not say otherwise. Default: one for each core the process may use.
    parallelism(count: usize) => PARALLELISM = count;
    /// Key groups of keyed state, which bound rescaling. Default: derived from the parallelism.
    max_parallelism(count: usize) => MAX_PARALLELISM = count;
    /// Task slots of the engine. Default: as many as the job needs.
    slots(count: usize) => SLOTS = count;
    /// What submitting does while the slots are taken. Default: wait.
    when_slots_are_taken(choice: WhenSlotsAreTaken) => WHEN_SLOTS_ARE_TAKEN = choice;
    /// Memory a slot's state may take, in MiB, before the LSM backend moves it to disk; 0 keeps as little as can be.
    /// Default: all state stays in memory.
    slot_memory_mib(size_mib: u64) => SLOT_MEMORY_MIB = size_mib;
    /// Where keyed state lives. Default: in memory, and beyond `slot_memory_mib` in the files of an LSM store.
    state_backend(backend: StateBackend) => STATE_BACKEND = backend;
    /// What drives the tasks. Default: auto.
    shell(shell: ShellKind) => SHELL = shell;
    /// What an idle slot does. Default: balanced.
    profile(profile: Profile) => PROFILE = profile;
    /// How long an idle slot of the balanced profile polls before it parks; whole microseconds. Default: 100 us.
    spin(duration: Duration) => SPIN_US = in_nanoseconds(duration);
    /// Whether neighbouring operators may be fused into one task. Default: yes.
    chaining(on: bool) => CHAINING = on;
    /// Size of exchange pages, in bytes; a power of two from 4 KiB to 1 MiB. Default: 16 KiB.
    page_bytes(size_bytes: usize) => PAGE_BYTES = size_bytes;
    /// Pages an edge holds before its producer must wait. Default: 8.
    pages_in_flight(count: usize) => PAGES_IN_FLIGHT = count;
    /// Most records a source hands over at once. Default: 512.
    batch_records(count: usize) => BATCH_RECORDS = count;
    /// Records a task handles before the others of its core get their turn. Default: 512.
    drain_budget_records(count: usize) => DRAIN_BUDGET_RECORDS = count;
    /// How often a strategy is asked for its watermark; whole milliseconds, zero asks after each
    /// batch, which costs next to nothing here. Default: 0 (Flink's is 200 ms).
    auto_watermark_interval(duration: Duration) => AUTO_WATERMARK_INTERVAL_MS = in_nanoseconds(duration);
    /// How often a checkpoint is begun; whole milliseconds. Default: there are no checkpoints.
    checkpoint_interval(duration: Duration) => CHECKPOINT_INTERVAL_MS = in_nanoseconds(duration);
    /// What a restart may repeat. Default: exactly once.
    checkpoint_mode(mode: CheckpointMode) => CHECKPOINT_MODE = mode;
    /// How long a checkpoint may take. Default: 10 minutes.
    checkpoint_timeout(duration: Duration) => CHECKPOINT_TIMEOUT_MS = in_nanoseconds(duration);
    /// Least time between the end of a checkpoint and the beginning of the next. Default: 0.
    checkpoint_min_pause(duration: Duration) => CHECKPOINT_MIN_PAUSE_MS = in_nanoseconds(duration);
    /// How many checkpoints in a row may fail before the job does. Default: any number.
    checkpoint_tolerated_failures(count: u32) => CHECKPOINT_TOLERATED_FAILURES = count;
    /// How many complete checkpoints are kept. Default: 2.
    checkpoints_retained(count: usize) => CHECKPOINTS_RETAINED = count;
    /// Memory that checkpoints may take where there is no directory, in MiB. Default: 256.
    checkpoint_memory_mib(size_mib: u64) => CHECKPOINT_MEMORY_MIB = size_mib;
    /// What becomes of a job's checkpoints when it is cancelled. Default: they stay.
    checkpoints_on_cancel(choice: OnCancel) => CHECKPOINTS_ON_CANCEL = choice;
    /// What the job begins with. Default: the latest checkpoint in its directory.
    restore(choice: Restore) => RESTORE = choice;
    /// Is a savepoint's state given up that no operator of the job takes, as its operators are matched by uid? Default: no,
    /// the job is refused.
    allow_non_restored_state(yes: bool) => ALLOW_NON_RESTORED_STATE = yes;
    /// May the job go on from an older checkpoint than its sinks have committed, and so emit twice? Default: no.
    allow_repeated_commits(yes: bool) => ALLOW_REPEATED_COMMITS = yes;
    /// When a job that failed is tried again. Default: with checkpoints exponential-delay, else never.
    restart_strategy(kind: RestartKind) => RESTART_STRATEGY = kind;
    /// How often the strategy fixed-delay restarts. Default: 3.
    restart_attempts(count: u32) => RESTART_ATTEMPTS = count;
    /// How long a restart waits, by exponential-delay the first. Default: 1 s.
    restart_delay(duration: Duration) => RESTART_DELAY_MS = in_nanoseconds(duration);
    /// Longest wait of exponential-delay. Default: 1 min.
    restart_delay_max(duration: Duration) => RESTART_DELAY_MAX_MS = in_nanoseconds(duration);
    /// How much longer each wait of exponential-delay is than the one before. Default: 2 times.
    restart_backoff_multiplier(factor: u32) => RESTART_BACKOFF_MULTIPLIER = factor;
    /// After how long without failure exponential-delay begins with the first delay again. Default: 1 h.
    restart_reset_after(duration: Duration) => RESTART_RESET_AFTER_MS = in_nanoseconds(duration);
    /// How many failures within an interval failure-rate bears. Default: 1.
    restart_failures_max(count: u32) => RESTART_FAILURES_MAX = count;
    /// The interval of failure-rate. Default: 1 min.
    restart_failure_interval(duration: Duration) => RESTART_FAILURE_INTERVAL_MS = in_nanoseconds(duration);
    /// How long a graceful stop may take. Default: 30 s.
    stop_timeout(duration: Duration) => STOP_TIMEOUT_MS = in_nanoseconds(duration);
    /// Seed of everything the job draws at random. Default: 0.
    seed(seed: u64) => SEED = seed;
}

impl ConfigurationBuilder {
    /// Where the LSM backend keeps state that is not in memory. Default: a directory of the job's own in the system's
    /// temporary directory.
    #[track_caller]
    pub fn state_directory(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.set(keys::STATE_DIRECTORY, directory.as_ref().to_string_lossy())
    }

    /// Where checkpoints are kept. Default: in the memory of the process.
    #[track_caller]
    pub fn checkpoint_directory(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.set(keys::CHECKPOINT_DIRECTORY, directory.as_ref().to_string_lossy())
    }

    /// The savepoint that the job begins with. Once it has checkpoints that come from it, it goes on from these, so the option may
    /// stay as long as the job has the same directory for its checkpoints. Default: none.
    #[track_caller]
    pub fn savepoint(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.set(keys::SAVEPOINT, directory.as_ref().to_string_lossy())
    }

    /// The name of the job whose savepoint it is, where that is another than this one. Default: this one.
    #[track_caller]
    pub fn savepoint_job(&mut self, name: impl Into<String>) -> &mut Self {
        self.set(keys::SAVEPOINT_JOB, name.into())
    }

    /// Cores the slots are placed on, in this order. Default: every core the process may use.
    #[track_caller]
    pub fn cores(&mut self, cores: impl IntoIterator<Item = usize>) -> &mut Self {
        let cores: Vec<_> = cores.into_iter().map(|core| core.to_string()).collect();
        self.set(keys::CORES, cores.join(","))
    }
}

/// Exact, so that a duration which is no whole number of the option's unit is refused like one from a file.
fn in_nanoseconds(duration: Duration) -> String {
    format!("{}ns", duration.as_nanos())
}

fn system_cores() -> usize {
    // A system that cannot say has at least the core this runs on.
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests;
