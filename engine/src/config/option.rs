//! The option table: every setting of the engine, declared once.
//!
//! The file reader, the environment reader, the command line reader, the help text, the reference page and the typed
//! getters are all driven by [`options`]. To add an option: a name in [`keys`], an entry in the table, a getter on
//! [`Configuration`](super::Configuration); a setter on the builder where code should reach it by type.
//!
//! **Invariants** (tested below)
//! - Keys, variables and flags are unique; the variable is `THALWEG_` and the key in capitals, the flag is the key with
//!   dashes.
//! - A default that is a text is a text the option itself accepts.

use super::choice::{
    CheckpointMode, OnCancel, Profile, RestartKind, Restore, ShellKind, StateBackend,
    WhenSlotsAreTaken,
};
use super::quantity::Unit;

/// The keys of all options, as the file writes them.
pub mod keys {
    /// The configuration file.
    pub const CONFIG: &str = "config";
    /// Subtasks per operator.
    pub const PARALLELISM: &str = "parallelism";
    /// Key groups.
    pub const MAX_PARALLELISM: &str = "max_parallelism";
    /// Slots of the engine.
    pub const SLOTS: &str = "slots";
    /// Cores of the slots.
    pub const CORES: &str = "cores";
    /// What a job does while its slots are taken.
    pub const WHEN_SLOTS_ARE_TAKEN: &str = "when_slots_are_taken";
    /// State memory of a slot.
    pub const SLOT_MEMORY_MIB: &str = "slot_memory_mib";
    /// Where keyed state lives.
    pub const STATE_BACKEND: &str = "state_backend";
    /// Where state goes that is not in memory.
    pub const STATE_DIRECTORY: &str = "state_directory";
    /// What drives the tasks.
    pub const SHELL: &str = "shell";
    /// What an idle slot does.
    pub const PROFILE: &str = "profile";
    /// How long an idle slot polls.
    pub const SPIN_US: &str = "spin_us";
    /// Operator chaining.
    pub const CHAINING: &str = "chaining";
    /// Size of an exchange page.
    pub const PAGE_BYTES: &str = "page_bytes";
    /// Credit of an edge.
    pub const PAGES_IN_FLIGHT: &str = "pages_in_flight";
    /// Records of a batch.
    pub const BATCH_RECORDS: &str = "batch_records";
    /// Records of a task run.
    pub const DRAIN_BUDGET_RECORDS: &str = "drain_budget_records";
    /// Period of watermarks.
    pub const AUTO_WATERMARK_INTERVAL_MS: &str = "auto_watermark_interval_ms";
    /// How often a checkpoint is begun.
    pub const CHECKPOINT_INTERVAL_MS: &str = "checkpoint_interval_ms";
    /// Where checkpoints are kept.
    pub const CHECKPOINT_DIRECTORY: &str = "checkpoint_directory";
    /// What a restart may repeat.
    pub const CHECKPOINT_MODE: &str = "checkpoint_mode";
    /// When a checkpoint is given up.
    pub const CHECKPOINT_TIMEOUT_MS: &str = "checkpoint_timeout_ms";
    /// Pause between checkpoints.
    pub const CHECKPOINT_MIN_PAUSE_MS: &str = "checkpoint_min_pause_ms";
    /// Checkpoints that may fail.
    pub const CHECKPOINT_TOLERATED_FAILURES: &str = "checkpoint_tolerated_failures";
    /// Checkpoints that are kept.
    pub const CHECKPOINTS_RETAINED: &str = "checkpoints_retained";
    /// Bound of checkpoints in memory.
    pub const CHECKPOINT_MEMORY_MIB: &str = "checkpoint_memory_mib";
    /// What cancelling does to checkpoints.
    pub const CHECKPOINTS_ON_CANCEL: &str = "checkpoints_on_cancel";
    /// What a job begins with.
    pub const RESTORE: &str = "restore";
    /// The savepoint that a job begins with.
    pub const SAVEPOINT: &str = "savepoint";
    /// Whose savepoint it is.
    pub const SAVEPOINT_JOB: &str = "savepoint_job";
    /// State that no operator takes.
    pub const ALLOW_NON_RESTORED_STATE: &str = "allow_non_restored_state";
    /// Fallback behind a commit.
    pub const ALLOW_REPEATED_COMMITS: &str = "allow_repeated_commits";
    /// Restarts.
    pub const RESTART_STRATEGY: &str = "restart_strategy";
    /// Restarts at most.
    pub const RESTART_ATTEMPTS: &str = "restart_attempts";
    /// Delay of a restart.
    pub const RESTART_DELAY_MS: &str = "restart_delay_ms";
    /// Longest delay.
    pub const RESTART_DELAY_MAX_MS: &str = "restart_delay_max_ms";
    /// Growth of delays.
    pub const RESTART_BACKOFF_MULTIPLIER: &str = "restart_backoff_multiplier";
    /// When delays begin anew.
    pub const RESTART_RESET_AFTER_MS: &str = "restart_reset_after_ms";
    /// Failures an interval.
    pub const RESTART_FAILURES_MAX: &str = "restart_failures_max";
    /// The interval.
    pub const RESTART_FAILURE_INTERVAL_MS: &str = "restart_failure_interval_ms";
    /// Bound of a graceful stop.
    pub const STOP_TIMEOUT_MS: &str = "stop_timeout_ms";
    /// Seed of all randomness.
    pub const SEED: &str = "seed";
}

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionKind {
    /// A number within bounds, read by the option's unit.
    Number {
        /// Smallest, included.
        min: u64,
        /// Largest, included.
        max: u64,
    },
    /// A power of two within bounds, read by the option's unit.
    PowerOfTwo {
        /// Smallest, included.
        min: u64,
        /// Largest, included.
        max: u64,
    },
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of cores, `0-3,6`.
    Cores,
    /// Any text that is not empty; the word stands for it in the help text.
    Text(&'static str),
    /// A text that is never shown; the word stands for it in the help text.
    Secret(&'static str),
}

/// What an option is when nobody set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// Has no value; the text says what that means. Such an option may be set to `none`.
    Unset(&'static str),
    /// A text the option accepts.
    Text(&'static str),
    /// The number of cores the process may use: the option `cores` if set, else what the system allows, and no more
    /// than the option `max_parallelism`.
    AvailableCores,
}

/// Which layers may set an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Everywhere,
    /// The environment and the command line, because it decides how the rest is read.
    Start,
}

/// One setting of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigOption {
    /// In the file, in `--set` and in code.
    pub key: &'static str,
    /// In the environment.
    pub env: &'static str,
    /// On the command line, without its dashes.
    pub flag: &'static str,
    /// On the command line, as one letter.
    pub short: Option<char>,
    /// What values it takes.
    pub kind: OptionKind,
    /// What it is when nobody set it.
    pub default: DefaultValue,
    /// What its number counts.
    pub unit: Unit,
    /// Which layers may set it.
    pub scope: Scope,
    /// For help text and reference: one sentence without a full stop.
    pub description: &'static str,
}

/// Every option of the engine, in the order in which help text and reference show them.
pub fn options() -> &'static [ConfigOption] {
    OPTIONS
}

/// What most entries of the table agree on.
const BASE: ConfigOption = ConfigOption {
    key: "",
    env: "",
    flag: "",
    short: None,
    kind: OptionKind::Boolean,
    default: DefaultValue::Unset(""),
    unit: Unit::Count(""),
    scope: Scope::Everywhere,
    description: "",
};

/// Flink's bound on parallelism and on key groups; key groups are 16-bit here as there.
const PARALLELISM_MAX: u64 = 32_768;

const OPTIONS: &[ConfigOption] = &[
    ConfigOption {
        key: keys::CONFIG,
        env: "THALWEG_CONFIG",
        flag: "config",
        kind: OptionKind::Text("FILE"),
        default: DefaultValue::Unset("no file is read"),
        scope: Scope::Start,
        description: "the configuration file, in TOML, with the keys listed here",
        ..BASE
    },
    ConfigOption {
        key: keys::PARALLELISM,
        env: "THALWEG_PARALLELISM",
        flag: "parallelism",
        short: Some('p'),
        kind: OptionKind::Number { min: 1, max: PARALLELISM_MAX },
        default: DefaultValue::AvailableCores,
        unit: Unit::Count("subtasks"),
        description: "subtasks of each operator that does not say otherwise",
        ..BASE
    },
    ConfigOption {
        key: keys::MAX_PARALLELISM,
        env: "THALWEG_MAX_PARALLELISM",
        flag: "max-parallelism",
        kind: OptionKind::Number { min: 1, max: PARALLELISM_MAX },
        default: DefaultValue::Unset("derived from the parallelism"),
        unit: Unit::Count("key groups"),
        description: "key groups of keyed state, and so the largest parallelism it can be rescaled to",
        ..BASE
    },
    ConfigOption {
        key: keys::SLOTS,
        env: "THALWEG_SLOTS",
        flag: "slots",
        kind: OptionKind::Number { min: 1, max: PARALLELISM_MAX },
        default: DefaultValue::Unset("as many as the job needs"),
        unit: Unit::Count("slots"),
        description: "task slots of the engine",
        ..BASE
    },
    ConfigOption {
        key: keys::CORES,
        env: "THALWEG_CORES",
        flag: "cores",
        kind: OptionKind::Cores,
        default: DefaultValue::Unset("every core the process may use"),
        description: "cores the slots are placed on, in this order",
        ..BASE
    },
    ConfigOption {
        key: keys::WHEN_SLOTS_ARE_TAKEN,
        env: "THALWEG_WHEN_SLOTS_ARE_TAKEN",
        flag: "when-slots-are-taken",
        kind: OptionKind::Choice(WhenSlotsAreTaken::NAMES),
        default: DefaultValue::Text("wait"),
        description: "what submitting a job does while other jobs hold the slots it needs",
        ..BASE
    },
    ConfigOption {
        key: keys::SLOT_MEMORY_MIB,
        env: "THALWEG_SLOT_MEMORY_MIB",
        flag: "slot-memory-mib",
        kind: OptionKind::Number { min: 0, max: 1 << 24 },
        default: DefaultValue::Unset("all state stays in memory"),
        unit: Unit::Mebibytes,
        description: "memory a slot's state may take before the lsm backend moves it to disk; 0 keeps as little as can be",
        ..BASE
    },
    ConfigOption {
        key: keys::STATE_BACKEND,
        env: "THALWEG_STATE_BACKEND",
        flag: "state-backend",
        kind: OptionKind::Choice(StateBackend::NAMES),
        default: DefaultValue::Text("lsm"),
        description: "where keyed state lives: in memory alone, or in memory and the files of an LSM store",
        ..BASE
    },
    ConfigOption {
        key: keys::STATE_DIRECTORY,
        env: "THALWEG_STATE_DIRECTORY",
        flag: "state-directory",
        kind: OptionKind::Text("DIR"),
        default: DefaultValue::Unset("a directory of its own in the system's temporary directory"),
        description: "where the lsm backend keeps state that is not in memory; a job removes what it put there when it ends",
        ..BASE
    },
    ConfigOption {
        key: keys::SHELL,
        env: "THALWEG_SHELL",
        flag: "shell",
        kind: OptionKind::Choice(ShellKind::NAMES),
        default: DefaultValue::Text("auto"),
        description: "what drives the tasks; auto is glommio where the kernel offers io_uring",
        ..BASE
    },
    ConfigOption {
        key: keys::PROFILE,
        env: "THALWEG_PROFILE",
        flag: "profile",
        kind: OptionKind::Choice(Profile::NAMES),
        default: DefaultValue::Text("balanced"),
        description: "what an idle slot does: latency polls for ever, balanced polls then parks, efficient parks at once",
        ..BASE
    },
    ConfigOption {
        key: keys::SPIN_US,
        env: "THALWEG_SPIN_US",
        flag: "spin-us",
        kind: OptionKind::Number { min: 0, max: 1_000_000 },
        default: DefaultValue::Text("100"),
        unit: Unit::Microseconds,
        description: "how long an idle slot of the balanced profile polls before it parks",
        ..BASE
    },
    ConfigOption {
        key: keys::CHAINING,
        env: "THALWEG_CHAINING",
        flag: "chaining",
        kind: OptionKind::Boolean,
        default: DefaultValue::Text("true"),
        description: "whether neighbouring operators may be fused into one task",
        ..BASE
    },
    ConfigOption {
        key: keys::PAGE_BYTES,
        env: "THALWEG_PAGE_BYTES",
        flag: "page-bytes",
        kind: OptionKind::PowerOfTwo { min: 4 << 10, max: 1 << 20 },
        default: DefaultValue::Text("16384"),
        unit: Unit::Bytes,
        description: "size of the pages in which records cross from core to core",
        ..BASE
    },
    ConfigOption {
        key: keys::PAGES_IN_FLIGHT,
        env: "THALWEG_PAGES_IN_FLIGHT",
        flag: "pages-in-flight",
        kind: OptionKind::Number { min: 2, max: 1_024 },
        default: DefaultValue::Text("8"),
        unit: Unit::Count("pages"),
        description: "pages an edge between two subtasks holds before its producer must wait",
        ..BASE
    },
    ConfigOption {
        key: keys::BATCH_RECORDS,
        env: "THALWEG_BATCH_RECORDS",
        flag: "batch-records",
        kind: OptionKind::Number { min: 1, max: 65_536 },
        default: DefaultValue::Text("512"),
        unit: Unit::Count("records"),
        description: "most records a source hands over at once",
        ..BASE
    },
    ConfigOption {
        key: keys::DRAIN_BUDGET_RECORDS,
        env: "THALWEG_DRAIN_BUDGET_RECORDS",
        flag: "drain-budget-records",
        kind: OptionKind::Number { min: 1, max: 65_536 },
        default: DefaultValue::Text("2048"),
        unit: Unit::Count("records"),
        description: "records a task handles before the other tasks of its core get their turn",
        ..BASE
    },
    ConfigOption {
        key: keys::AUTO_WATERMARK_INTERVAL_MS,
        env: "THALWEG_AUTO_WATERMARK_INTERVAL_MS",
        flag: "auto-watermark-interval-ms",
        kind: OptionKind::Number { min: 0, max: 86_400_000 },
        default: DefaultValue::Text("0"),
        unit: Unit::Milliseconds,
        description: "how often a watermark strategy is asked for its watermark; 0 asks after each batch (Flink's default is 200)",
        ..BASE
    },
    ConfigOption {
        key: keys::CHECKPOINT_INTERVAL_MS,
        env: "THALWEG_CHECKPOINT_INTERVAL_MS",
        flag: "checkpoint-interval-ms",
        kind: OptionKind::Number { min: 1, max: 86_400_000 },
        default: DefaultValue::Unset("there are no checkpoints"),
        unit: Unit::Milliseconds,
        description: "how often a checkpoint is begun",
        ..BASE
    },
    ConfigOption {
        key: keys::CHECKPOINT_DIRECTORY,
        env: "THALWEG_CHECKPOINT_DIRECTORY",
        flag: "checkpoint-directory",
        kind: OptionKind::Text("DIR"),
        default: DefaultValue::Unset("in the memory of the process, where they do not outlive it"),
        description: "where checkpoints are kept; one job at a time uses it",
        ..BASE
    },
    ConfigOption {
        key: keys::CHECKPOINT_MODE,
        env: "THALWEG_CHECKPOINT_MODE",
        flag: "checkpoint-mode",
        kind: OptionKind::Choice(CheckpointMode::NAMES),
        default: DefaultValue::Text("exactly-once"),
        description: "whether state counts each record exactly once after a restart, or at least once with less waiting at barriers",
        ..BASE
    },
    ConfigOption {
        key: keys::CHECKPOINT_TIMEOUT_MS,
        env: "THALWEG_CHECKPOINT_TIMEOUT_MS",
        flag: "checkpoint-timeout-ms",
        kind: OptionKind::Number { min: 1, max: 86_400_000 },
        default: DefaultValue::Text("600000"),
        unit: Unit::Milliseconds,
        description: "how long a checkpoint may take before it is given up",
        ..BASE
    },
    ConfigOption {
        key: keys::CHECKPOINT_MIN_PAUSE_MS,
        env: "THALWEG_CHECKPOINT_MIN_PAUSE_MS",
        flag: "checkpoint-min-pause-ms",
        kind: OptionKind::Number { min: 0, max: 86_400_000 },
        default: DefaultValue::Text("0"),
        unit: Unit::Milliseconds,
        description: "least time between the end of a checkpoint and the beginning of the next",
        ..BASE
    },
    ConfigOption {
        key: keys::CHECKPOINT_TOLERATED_FAILURES,
        env: "THALWEG_CHECKPOINT_TOLERATED_FAILURES",
        flag: "checkpoint-tolerated-failures",
        kind: OptionKind::Number { min: 0, max: 1_000_000 },
        default: DefaultValue::Unset(
            "any number: the job goes on, and a restart begins at the last complete one",
        ),
        unit: Unit::Count("checkpoints"),
        description: "how many checkpoints in a row may fail before the job does",
        ..BASE
    },
    ConfigOption {
        key: keys::CHECKPOINTS_RETAINED,
        env: "THALWEG_CHECKPOINTS_RETAINED",
        flag: "checkpoints-retained",
        kind: OptionKind::Number { min: 1, max: 1_000 },
        default: DefaultValue::Text("2"),
        unit: Unit::Count("checkpoints"),
        description: "how many complete checkpoints are kept",
        ..BASE
    },
    ConfigOption {
        key: keys::CHECKPOINT_MEMORY_MIB,
        env: "THALWEG_CHECKPOINT_MEMORY_MIB",
        flag: "checkpoint-memory-mib",
        kind: OptionKind::Number { min: 1, max: 1 << 24 },
        default: DefaultValue::Text("256"),
        unit: Unit::Mebibytes,
        description: "memory that checkpoints may take where there is no directory; one that would exceed it fails",
        ..BASE
    },
    ConfigOption {
        key: keys::CHECKPOINTS_ON_CANCEL,
        env: "THALWEG_CHECKPOINTS_ON_CANCEL",
        flag: "checkpoints-on-cancel",
        kind: OptionKind::Choice(OnCancel::NAMES),
        default: DefaultValue::Text("retain"),
        description: "what becomes of a job's checkpoints when it is cancelled",
        ..BASE
    },
    ConfigOption {
        key: keys::RESTORE,
        env: "THALWEG_RESTORE",
        flag: "restore",
        kind: OptionKind::Choice(Restore::NAMES),
        default: DefaultValue::Text("latest"),
        description: "whether a job goes on from the latest checkpoint in its directory or begins anew and removes what is there",
        ..BASE
    },
    ConfigOption {
        key: keys::SAVEPOINT,
        env: "THALWEG_SAVEPOINT",
        flag: "savepoint",
        kind: OptionKind::Text("DIR"),
        default: DefaultValue::Unset("the job begins with its own checkpoints, or anew"),
        description: "the savepoint that a job begins with; once it has checkpoints that come from it, it goes on from these",
        ..BASE
    },
    ConfigOption {
        key: keys::SAVEPOINT_JOB,
        env: "THALWEG_SAVEPOINT_JOB",
        flag: "savepoint-job",
        kind: OptionKind::Text("NAME"),
        default: DefaultValue::Unset("the job itself"),
        description: "the name of the job whose savepoint it is, where that is another",
        ..BASE
    },
    ConfigOption {
        key: keys::ALLOW_NON_RESTORED_STATE,
        env: "THALWEG_ALLOW_NON_RESTORED_STATE",
        flag: "allow-non-restored-state",
        kind: OptionKind::Boolean,
        default: DefaultValue::Text("false"),
        description: "whether the state of a savepoint's operators that the job does not have is given up, or the job refused",
        ..BASE
    },
    ConfigOption {
        key: keys::ALLOW_REPEATED_COMMITS,
        env: "THALWEG_ALLOW_REPEATED_COMMITS",
        flag: "allow-repeated-commits",
        kind: OptionKind::Boolean,
        default: DefaultValue::Text("false"),
        description: "whether a job may go on from an older checkpoint than the one its sinks have committed, and so emit results twice",
        ..BASE
    },
    ConfigOption {
        key: keys::RESTART_STRATEGY,
        env: "THALWEG_RESTART_STRATEGY",
        flag: "restart-strategy",
        kind: OptionKind::Choice(RestartKind::NAMES),
        default: DefaultValue::Unset(
            "exponential-delay where there are checkpoints, never elsewhere",
        ),
        description: "when a job that failed is tried again",
        ..BASE
    },
    ConfigOption {
        key: keys::RESTART_ATTEMPTS,
        env: "THALWEG_RESTART_ATTEMPTS",
        flag: "restart-attempts",
        kind: OptionKind::Number { min: 0, max: 4_294_967_295 },
        default: DefaultValue::Text("3"),
        unit: Unit::Count("restarts"),
        description: "how often a job is restarted by the strategy fixed-delay",
        ..BASE
    },
    ConfigOption {
        key: keys::RESTART_DELAY_MS,
        env: "THALWEG_RESTART_DELAY_MS",
        flag: "restart-delay-ms",
        kind: OptionKind::Number { min: 0, max: 86_400_000 },
        default: DefaultValue::Text("1000"),
        unit: Unit::Milliseconds,
        description: "how long a restart waits; by exponential-delay the first of a series",
        ..BASE
    },
    ConfigOption {
        key: keys::RESTART_DELAY_MAX_MS,
        env: "THALWEG_RESTART_DELAY_MAX_MS",
        flag: "restart-delay-max-ms",
        kind: OptionKind::Number { min: 0, max: 86_400_000 },
        default: DefaultValue::Text("60000"),
        unit: Unit::Milliseconds,
        description: "longest wait by the strategy exponential-delay",
        ..BASE
    },
    ConfigOption {
        key: keys::RESTART_BACKOFF_MULTIPLIER,
        env: "THALWEG_RESTART_BACKOFF_MULTIPLIER",
        flag: "restart-backoff-multiplier",
        kind: OptionKind::Number { min: 1, max: 100 },
        default: DefaultValue::Text("2"),
        unit: Unit::Count("times"),
        description: "how much longer each wait is than the one before, by the strategy exponential-delay",
        ..BASE
    },
    ConfigOption {
        key: keys::RESTART_RESET_AFTER_MS,
        env: "THALWEG_RESTART_RESET_AFTER_MS",
        flag: "restart-reset-after-ms",
        kind: OptionKind::Number { min: 1, max: 2_592_000_000 },
        default: DefaultValue::Text("3600000"),
        unit: Unit::Milliseconds,
        description: "after how long without failure exponential-delay begins with the first delay again",
        ..BASE
    },
    ConfigOption {
        key: keys::RESTART_FAILURES_MAX,
        env: "THALWEG_RESTART_FAILURES_MAX",
        flag: "restart-failures-max",
        kind: OptionKind::Number { min: 0, max: 1_000_000 },
        default: DefaultValue::Text("1"),
        unit: Unit::Count("failures"),
        description: "how many failures within an interval the strategy failure-rate bears",
        ..BASE
    },
    ConfigOption {
        key: keys::RESTART_FAILURE_INTERVAL_MS,
        env: "THALWEG_RESTART_FAILURE_INTERVAL_MS",
        flag: "restart-failure-interval-ms",
        kind: OptionKind::Number { min: 1, max: 2_592_000_000 },
        default: DefaultValue::Text("60000"),
        unit: Unit::Milliseconds,
        description: "the interval of the strategy failure-rate",
        ..BASE
    },
    ConfigOption {
        key: keys::STOP_TIMEOUT_MS,
        env: "THALWEG_STOP_TIMEOUT_MS",
        flag: "stop-timeout-ms",
        kind: OptionKind::Number { min: 1, max: 86_400_000 },
        default: DefaultValue::Text("30000"),
        unit: Unit::Milliseconds,
        description: "how long a graceful stop may take for its last checkpoint before the job is cancelled",
        ..BASE
    },
    ConfigOption {
        key: keys::SEED,
        env: "THALWEG_SEED",
        flag: "seed",
        kind: OptionKind::Number { min: 0, max: u64::MAX },
        default: DefaultValue::Text("0"),
        description: "seed of everything the job draws at random, such as shuffle",
        ..BASE
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_follow_the_key_and_are_unique() {
        let mut names = HashSet::new();
        for option in options() {
            assert_eq!(option.env, format!("THALWEG_{}", option.key.to_uppercase()));
            assert_eq!(option.flag, option.key.replace('_', "-"));
            assert!(names.insert(option.key.to_owned()), "{} twice", option.key);
            if let Some(short) = option.short {
                assert!(names.insert(short.to_string()), "-{short} twice");
            }
            assert!(!option.description.is_empty() && !option.description.ends_with('.'));
        }
    }

    #[test]
    fn defaults_are_accepted_by_their_own_option() {
        for option in options() {
            if let DefaultValue::Text(text) = option.default {
                let value = option.parse(text).unwrap();
                assert_eq!(value.to_string(), text, "{}", option.key);
            }
        }
    }
}
