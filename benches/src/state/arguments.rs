//! The command line of the binary `state`.

use std::path::PathBuf;
use std::str::FromStr;

use thalweg::Result;
use thalweg::config::{Argument, Arguments, DeclaredArguments};

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bench {
    /// Read, modify and write a value a key.
    Rmw,
    /// Append to lists, then drain them.
    List,
    /// Put, get and scan maps.
    Map,
    /// Checkpoints after shares of the keys have changed.
    Snapshot,
    /// Opening a checkpoint and reading from it.
    Restore,
    /// Pop a timer and register another, with so many standing.
    Timers,
}

/// Where our side keeps its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Rows in memory alone.
    Memory,
    /// Rows in memory, changes on files.
    Lsm,
}

/// How values lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In rows, behind an index.
    Rows,
    /// In the buckets of the table, next to their keys.
    Flat,
}

/// How files are written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageKind {
    /// Through io_uring, by a thread of its own.
    Uring,
    /// By system calls.
    Posix,
}

/// Another store to run the same work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// The LSM tree that Flink keeps state in, from a shared library of the system.
    RocksDb,
    /// An LSM tree in Rust.
    Fjall,
    /// A copy-on-write B-tree in Rust.
    Redb,
}

/// A run, as the command line asks for it.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is run.
    pub bench: Bench,
    /// Number of keys.
    pub keys: u64,
    /// Width of a value: 8 or 100.
    pub value_bytes: usize,
    /// Exponent of the Zipf distribution of keys; `None` spreads them evenly.
    pub zipf: Option<f64>,
    /// How long throughput is measured, both sides together.
    pub seconds: f64,
    /// Operations of a slice, after which the other side has its turn.
    pub slice: usize,
    /// Records of a batch: what is hashed and hinted together.
    pub batch: usize,
    /// How many records ahead index buckets are hinted, rows half as far; `None` for what is best.
    pub ahead: Option<usize>,
    /// How often growth to all keys is repeated, to tell long calls from noise.
    pub growths: usize,
    /// Where our side keeps its state.
    pub backend: Backend,
    /// Operations between two barriers; `None` for none.
    pub barrier_every: Option<u64>,
    /// Barriers that are made at least, however long it takes.
    pub barriers: u64,
    /// Memory that state may take, in MiB; `None` for as much as it needs.
    pub budget_mib: Option<u64>,
    /// Another store to run the same work on, alone, after ours.
    pub rival: Option<Rival>,
    /// How values lie in memory.
    pub layout: Layout,
    /// How files are written and read.
    pub storage: StorageKind,
    /// Where files are made, and removed when the run ends.
    pub directory: PathBuf,
}

/// The arguments that [`Options`] are read from.
pub fn declared() -> DeclaredArguments {
    let option = |name, placeholder, help| Argument::option(name, placeholder).help(help);
    DeclaredArguments::new("Measures the keyed-state store beside plain hashbrown.")
        .with(
            Argument::positional("bench")
                .required()
                .help("rmw, list, map, timers, snapshot or restore"),
        )
        .with(option("keys", "N", "number of keys, or of timers").default(1_000_000))
        .with(option("value-bytes", "8|100", "width of a value").default(8))
        .with(option("zipf", "S", "exponent of skewed keys; without it keys are spread evenly"))
        .with(option("seconds", "S", "how long throughput is measured").default(10))
        .with(option("slice", "N", "operations between two turns").default(4_000_000))
        .with(option("batch", "N", "records hinted together").default(256))
        .with(option("ahead", "N", "how far ahead hints are given; what the layout asks for"))
        .with(option("growths", "N", "how often growth is repeated").default(3))
        .with(option("backend", "B", "lsm or memory").default("lsm"))
        .with(option("layout", "L", "rows or flat").default("rows"))
        .with(option("storage", "S", "uring or posix").default("uring"))
        .with(option("barrier-every", "N", "operations between two checkpoints; none without it"))
        .with(option("barriers", "N", "goes on until there were so many barriers").default(0))
        .with(option("budget-mib", "M", "memory that state may take"))
        .with(option("rival", "R", "also rocksdb, fjall or redb (feature `rivals`)"))
        .with(
            option("directory", "D", "where files are made").default(default_directory().display()),
        )
}

fn default_directory() -> PathBuf {
    std::env::temp_dir().join("thalweg-state")
}

impl Options {
    /// Reads the options.
    ///
    /// # Errors
    ///
    /// What the arguments say against it: an unknown bench, a number out of range.
    pub fn read(arguments: &Arguments) -> Result<Self> {
        let bench: Bench = arguments.parse("bench")?;
        let options = Options {
            bench,
            keys: arguments.parse("keys")?,
            value_bytes: arguments.parse("value-bytes")?,
            zipf: arguments.parse_optional("zipf")?,
            seconds: arguments.parse("seconds")?,
            slice: arguments.parse("slice")?,
            batch: arguments.parse("batch")?,
            ahead: arguments.parse_optional("ahead")?,
            growths: arguments.parse("growths")?,
            backend: arguments.parse("backend")?,
            barrier_every: arguments.parse_optional("barrier-every")?,
            barriers: arguments.parse("barriers")?,
            budget_mib: arguments.parse_optional("budget-mib")?,
            rival: arguments.parse_optional("rival")?,
            layout: arguments.parse("layout")?,
            storage: arguments.parse("storage")?,
            directory: arguments.parse("directory")?,
        };
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<()> {
        let problem = if self.keys == 0 || self.keys > u64::from(u32::MAX) {
            format!("--keys {} is not within 1 to {}", self.keys, u32::MAX)
        } else if ![8, 100].contains(&self.value_bytes) {
            format!("--value-bytes {} is neither 8 nor 100", self.value_bytes)
        } else if self.barrier_every == Some(0) {
            "--barrier-every is at least 1".to_owned()
        } else if self.barriers > 0
            && (self.barrier_every.is_none() || self.backend == Backend::Memory)
        {
            "--barriers needs --barrier-every and --backend lsm".to_owned()
        } else if self.slice == 0 || self.batch == 0 || self.growths == 0 {
            "--slice, --batch and --growths are at least 1".to_owned()
        } else if self.seconds.is_nan()
            || self.seconds < 0.0
            || self.zipf.is_some_and(|exponent| exponent.is_nan() || exponent <= 0.0)
        {
            "--seconds is not below 0, and --zipf above it".to_owned()
        } else {
            return Ok(());
        };
        Err(problem.into())
    }

    /// The budget in bytes.
    pub(super) fn budget_bytes(&self) -> Option<usize> {
        self.budget_mib.map(|mib| (mib << 20) as usize)
    }

    /// The distribution of keys, for people.
    pub(super) fn keys_are(&self) -> String {
        self.zipf.map_or("even".to_owned(), |exponent| format!("zipf-{exponent}"))
    }
}

impl FromStr for Bench {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "rmw" => Ok(Bench::Rmw),
            "list" => Ok(Bench::List),
            "map" => Ok(Bench::Map),
            "snapshot" => Ok(Bench::Snapshot),
            "restore" => Ok(Bench::Restore),
            "timers" => Ok(Bench::Timers),
            _ => Err("there are rmw, list, map, timers, snapshot and restore".to_owned()),
        }
    }
}

impl Backend {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Memory => "memory",
            Backend::Lsm => "lsm",
        }
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "memory" => Ok(Backend::Memory),
            "lsm" => Ok(Backend::Lsm),
            _ => Err("there are lsm and memory".to_owned()),
        }
    }
}

impl Rival {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Rival::RocksDb => "rocksdb",
            Rival::Fjall => "fjall",
            Rival::Redb => "redb",
        }
    }
}

impl Layout {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Rows => "rows",
            Layout::Flat => "flat",
        }
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "rows" => Ok(Layout::Rows),
            "flat" => Ok(Layout::Flat),
            _ => Err("there are rows and flat".to_owned()),
        }
    }
}

impl FromStr for StorageKind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "uring" => Ok(StorageKind::Uring),
            "posix" => Ok(StorageKind::Posix),
            _ => Err("there are uring and posix".to_owned()),
        }
    }
}

impl FromStr for Rival {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            _ if !cfg!(feature = "rivals") => {
                Err("this build has none; build it with --features rivals".to_owned())
            }
            "rocksdb" => Ok(Rival::RocksDb),
            "fjall" => Ok(Rival::Fjall),
            "redb" => Ok(Rival::Redb),
            _ => Err("there are rocksdb, fjall and redb".to_owned()),
        }
    }
}
