//! [`Configuration`]: every option resolved, with where its value came from.
//!
//! **Invariants**
//! - `settings[i]` belongs to `options[i]`, and every option has one.
//! - Values are those their option accepted; a getter therefore cannot fail.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::builder::ConfigurationBuilder;
use super::choice::{
    CheckpointMode, OnCancel, Profile, RestartKind, Restore, ShellKind, StateBackend,
    WhenSlotsAreTaken,
};
use super::cores::CoreList;
use super::option::{ConfigOption, keys};
use super::origin::Origin;
use super::value::ConfigValue;

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) value: ConfigValue,
    pub(super) origin: Origin,
}

/// The settings of an engine or a job.
///
/// Two configurations are equal if a job runs the same under both: origins do not count. `Display` lists every key with
/// value and origin, secrets masked.
///
/// ```
/// use thalweg::config::{ConfigurationBuilder, Origin};
/// let configuration = ConfigurationBuilder::new().build()?;
/// assert_eq!(configuration.pages_in_flight(), 8);
/// assert_eq!(configuration.origin("pages_in_flight"), Some(&Origin::Default));
/// # Ok::<(), thalweg::config::ConfigErrors>(())
/// ```
#[derive(Clone, Debug)]
pub struct Configuration {
    options: &'static [ConfigOption],
    settings: Vec<Setting>,
    available_cores: usize,
}

impl PartialEq for Configuration {
    fn eq(&self, other: &Self) -> bool {
        self.options == other.options
            && self.settings.iter().map(|s| &s.value).eq(other.settings.iter().map(|s| &s.value))
    }
}

impl Eq for Configuration {}

/// The defaults alone; asks the system how many cores there are.
impl Default for Configuration {
    fn default() -> Self {
        ConfigurationBuilder::new().resolve()
    }
}

impl Configuration {
    pub(super) fn resolved(
        options: &'static [ConfigOption],
        settings: Vec<Setting>,
        available_cores: usize,
    ) -> Self {
        debug_assert_eq!(options.len(), settings.len());
        Self { options, settings, available_cores }
    }

    /// A builder that goes on from here, for the layers above: what was set stays set and keeps its origin, defaults
    /// stay defaults.
    #[must_use]
    pub fn into_builder(self) -> ConfigurationBuilder {
        let explicit = |setting: Setting| (setting.origin != Origin::Default).then_some(setting);
        let settings = self.settings.into_iter().map(explicit).collect();
        ConfigurationBuilder::resume(self.options, settings, self.available_cores)
    }

    /// The value of a key, `None` if no option has it.
    pub fn value(&self, key: &str) -> Option<&ConfigValue> {
        self.setting(key).map(|setting| &setting.value)
    }

    /// Where the value of a key came from, `None` if no option has it.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.setting(key).map(|setting| &setting.origin)
    }

    /// Every option with its value and origin, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (&'static ConfigOption, &ConfigValue, &Origin)> {
        self.options.iter().zip(&self.settings).map(|(option, s)| (option, &s.value, &s.origin))
    }

    /// Subtasks of each operator that does not say otherwise.
    pub fn parallelism(&self) -> usize {
        self.count(keys::PARALLELISM)
    }

    /// Key groups of keyed state; `None` derives them from the parallelism.
    pub fn max_parallelism(&self) -> Option<usize> {
        self.number(keys::MAX_PARALLELISM).map(narrow)
    }

    /// Task slots; `None` is as many as the job needs.
    pub fn slots(&self) -> Option<usize> {
        self.number(keys::SLOTS).map(narrow)
    }

    /// Cores of the slots in order; `None` is every core the process may use.
    pub fn cores(&self) -> Option<&CoreList> {
        match self.value(keys::CORES) {
            Some(ConfigValue::Cores(cores)) => Some(cores),
            _ => None,
        }
    }

    /// What submitting does while the slots are taken.
    pub fn when_slots_are_taken(&self) -> WhenSlotsAreTaken {
        self.choice(keys::WHEN_SLOTS_ARE_TAKEN)
    }

    /// Memory a slot's state may take before it goes to disk; `None` keeps all of it in memory.
    pub fn slot_memory_bytes(&self) -> Option<u64> {
        self.number(keys::SLOT_MEMORY_MIB).map(|mib| mib << 20)
    }

    /// Where keyed state lives.
    pub fn state_backend(&self) -> StateBackend {
        self.choice(keys::STATE_BACKEND)
    }

    /// Where state goes that is not in memory; `None` is a directory of the job's own in the system's temporary
    /// directory.
    pub fn state_directory(&self) -> Option<&Path> {
        self.directory(keys::STATE_DIRECTORY)
    }

    /// What drives the tasks.
    pub fn shell(&self) -> ShellKind {
        self.choice(keys::SHELL)
    }

    /// What an idle slot does.
    pub fn profile(&self) -> Profile {
        self.choice(keys::PROFILE)
    }

    /// How long an idle slot of the balanced profile polls before it parks.
    pub fn spin(&self) -> Duration {
        Duration::from_micros(self.required(keys::SPIN_US))
    }

    /// Whether neighbouring operators may be fused.
    pub fn chaining(&self) -> bool {
        self.value(keys::CHAINING) == Some(&ConfigValue::Boolean(true))
    }

    /// Size of exchange pages; a power of two.
    pub fn page_bytes(&self) -> usize {
        self.count(keys::PAGE_BYTES)
    }

    /// Pages an edge holds before its producer must wait.
    pub fn pages_in_flight(&self) -> usize {
        self.count(keys::PAGES_IN_FLIGHT)
    }

    /// Most records a source hands over at once.
    pub fn batch_records(&self) -> usize {
        self.count(keys::BATCH_RECORDS)
    }

    /// Records a task handles before the others of its core get their turn.
    pub fn drain_budget_records(&self) -> usize {
        self.count(keys::DRAIN_BUDGET_RECORDS)
    }

    /// How often a strategy is asked for its watermark; zero asks after each batch.
    pub fn auto_watermark_interval(&self) -> Duration {
        Duration::from_millis(self.required(keys::AUTO_WATERMARK_INTERVAL_MS))
    }

    /// How often a checkpoint is begun; `None` where there are none.
    pub fn checkpoint_interval(&self) -> Option<Duration> {
        self.number(keys::CHECKPOINT_INTERVAL_MS).map(Duration::from_millis)
    }

    /// Where checkpoints are kept; `None` for memory.
    pub fn checkpoint_directory(&self) -> Option<&Path> {
        self.directory(keys::CHECKPOINT_DIRECTORY)
    }

    /// What a restart may repeat.
    pub fn checkpoint_mode(&self) -> CheckpointMode {
        self.choice(keys::CHECKPOINT_MODE)
    }

    /// How long a checkpoint may take.
    pub fn checkpoint_timeout(&self) -> Duration {
        Duration::from_millis(self.required(keys::CHECKPOINT_TIMEOUT_MS))
    }

    /// Least time between the end of a checkpoint and the beginning of the next.
    pub fn checkpoint_min_pause(&self) -> Duration {
        Duration::from_millis(self.required(keys::CHECKPOINT_MIN_PAUSE_MS))
    }

    /// How many checkpoints in a row may fail before the job does; `None` for any number.
    pub fn checkpoint_tolerated_failures(&self) -> Option<u32> {
        self.number(keys::CHECKPOINT_TOLERATED_FAILURES).map(narrow_u32)
    }

    /// How many complete checkpoints are kept; at least 1.
    pub fn checkpoints_retained(&self) -> usize {
        self.count(keys::CHECKPOINTS_RETAINED)
    }

    /// Memory that checkpoints may take where there is no directory.
    pub fn checkpoint_memory_bytes(&self) -> u64 {
        self.required(keys::CHECKPOINT_MEMORY_MIB) << 20
    }

    /// What becomes of a job's checkpoints when it is cancelled.
    pub fn checkpoints_on_cancel(&self) -> OnCancel {
        self.choice(keys::CHECKPOINTS_ON_CANCEL)
    }

    /// What a job begins with.
    pub fn restore(&self) -> Restore {
        self.choice(keys::RESTORE)
    }

    /// The savepoint that a job begins with.
    pub fn savepoint(&self) -> Option<&Path> {
        self.directory(keys::SAVEPOINT)
    }

    /// The name of the job whose savepoint it is; `None` for the job's own.
    pub fn savepoint_job(&self) -> Option<&str> {
        match self.value(keys::SAVEPOINT_JOB) {
            Some(ConfigValue::Text(name)) => Some(name),
            _ => None,
        }
    }

    /// Is a savepoint's state given up that no operator of the job takes?
    pub fn allow_non_restored_state(&self) -> bool {
        self.value(keys::ALLOW_NON_RESTORED_STATE) == Some(&ConfigValue::Boolean(true))
    }

    /// May a job go on from an older checkpoint than its sinks have committed?
    pub fn allow_repeated_commits(&self) -> bool {
        self.value(keys::ALLOW_REPEATED_COMMITS) == Some(&ConfigValue::Boolean(true))
    }

    /// When a job that failed is tried again; `None` leaves it to whether there are checkpoints.
    pub fn restart_strategy(&self) -> Option<RestartKind> {
        match self.value(keys::RESTART_STRATEGY) {
            Some(ConfigValue::Choice(word)) => word.parse().ok(),
            _ => None,
        }
    }

    /// How often the strategy fixed-delay restarts.
    pub fn restart_attempts(&self) -> u32 {
        narrow_u32(self.required(keys::RESTART_ATTEMPTS))
    }

    /// How long a restart waits, by exponential-delay the first.
    pub fn restart_delay(&self) -> Duration {
        Duration::from_millis(self.required(keys::RESTART_DELAY_MS))
    }

    /// Longest wait of exponential-delay.
    pub fn restart_delay_max(&self) -> Duration {
        Duration::from_millis(self.required(keys::RESTART_DELAY_MAX_MS))
    }

    /// How much longer each wait of exponential-delay is.
    pub fn restart_backoff_multiplier(&self) -> u32 {
        narrow_u32(self.required(keys::RESTART_BACKOFF_MULTIPLIER))
    }

    /// After how long without failure exponential-delay begins anew.
    pub fn restart_reset_after(&self) -> Duration {
        Duration::from_millis(self.required(keys::RESTART_RESET_AFTER_MS))
    }

    /// How many failures within an interval failure-rate bears.
    pub fn restart_failures_max(&self) -> u32 {
        narrow_u32(self.required(keys::RESTART_FAILURES_MAX))
    }

    /// The interval of failure-rate.
    pub fn restart_failure_interval(&self) -> Duration {
        Duration::from_millis(self.required(keys::RESTART_FAILURE_INTERVAL_MS))
    }

    /// How long a graceful stop may take.
    pub fn stop_timeout(&self) -> Duration {
        Duration::from_millis(self.required(keys::STOP_TIMEOUT_MS))
    }

    /// Seed of everything the job draws at random.
    pub fn seed(&self) -> u64 {
        self.required(keys::SEED)
    }

    fn setting(&self, key: &str) -> Option<&Setting> {
        self.options.iter().position(|option| option.key == key).map(|index| &self.settings[index])
    }

    fn directory(&self, key: &str) -> Option<&Path> {
        match self.value(key) {
            Some(ConfigValue::Text(directory)) => Some(Path::new(directory)),
            _ => None,
        }
    }

    fn number(&self, key: &str) -> Option<u64> {
        match self.value(key) {
            Some(ConfigValue::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn required(&self, key: &str) -> u64 {
        self.number(key).expect("the table makes this key a number with a default")
    }

    fn count(&self, key: &str) -> usize {
        narrow(self.required(key))
    }

    fn choice<T: std::str::FromStr>(&self, key: &str) -> T {
        let word = match self.value(key) {
            Some(ConfigValue::Choice(word)) => word.parse().ok(),
            _ => None,
        };
        word.expect("the table makes this key a choice of this type with a default")
    }
}

/// The table bounds every count far below the address space.
fn narrow(number: u64) -> usize {
    usize::try_from(number).expect("the table bounds counts and page sizes by 1 MiB")
}

/// The table bounds what is read by this.
fn narrow_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.options.iter().map(|option| option.key.len()).max().unwrap_or_default();
        for (index, (option, value, origin)) in self.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{:width$} = {value} ({origin})", option.key)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::option::options;
    use super::*;
    use std::path::Path;

    #[test]
    fn every_getter_has_its_default() {
        let c = ConfigurationBuilder::new().with_available_cores(3).build().unwrap();
        assert_eq!((c.parallelism(), c.max_parallelism(), c.slots()), (3, None, None));
        assert_eq!((c.cores(), c.slot_memory_bytes()), (None, None));
        assert_eq!((c.shell(), c.profile()), (ShellKind::Auto, Profile::Balanced));
        assert_eq!(c.when_slots_are_taken(), WhenSlotsAreTaken::Wait);
        assert_eq!(c.spin(), Duration::from_micros(100));
        assert!(c.chaining());
        assert_eq!((c.page_bytes(), c.pages_in_flight()), (16_384, 8));
        assert_eq!((c.batch_records(), c.drain_budget_records()), (512, 2048));
        assert_eq!(c.auto_watermark_interval(), Duration::ZERO);
        assert_eq!(c.seed(), 0);
        assert!(c.iter().all(|(_, _, origin)| *origin == Origin::Default));
        assert_eq!((c.value("nothing"), c.origin("nothing")), (None, None));
    }

    #[test]
    fn display_lists_keys_values_and_origins() {
        let mut builder = ConfigurationBuilder::new();
        builder.read_file(Path::new("job.toml"), "\nseed = 7");
        builder.read_environment([("THALWEG_CORES", "0-2")]);
        let text = builder.build().unwrap().to_string();
        assert_eq!(text.lines().count(), options().len());
        let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(line("seed").ends_with(" = 7 (job.toml:2)"), "{text}");
        assert!(line("cores").ends_with(" = 0-2 (environment variable THALWEG_CORES)"));
        assert!(line("slots").ends_with(" = none (default)"));
    }

    #[test]
    fn equality_is_of_values() {
        let file = |text: &str| {
            let mut builder = ConfigurationBuilder::new();
            builder.read_file(Path::new("job.toml"), text);
            builder.build().unwrap()
        };
        assert_eq!(file("seed = 0"), Configuration::default());
        assert_ne!(file("seed = 1"), file("seed = 2"));
    }

    #[test]
    fn a_builder_goes_on_from_what_was_set() {
        let mut builder = ConfigurationBuilder::new();
        builder.with_available_cores(8).read_environment([("THALWEG_SEED", "5")]);
        let mut builder = builder.build().unwrap().into_builder();
        builder.read_file(Path::new("late.toml"), "seed = 6").cores([4, 5]);
        let configuration = builder.build().unwrap();
        assert_eq!((configuration.seed(), configuration.parallelism()), (5, 2));
    }
}
