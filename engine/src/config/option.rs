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

use super::choice::{Profile, ShellKind, StateBackend, WhenSlotsAreTaken};
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
