//! What can go wrong in state: one typed enum whose messages say what, where and what to do.

use rkyv::rancor;

use crate::backend::StoreError;

/// An error of registering, reading or writing state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The name is taken by a state of another kind or type.
    #[error(
        "state '{state}' was registered as {registered} by operator '{operator}' and asked for as {requested}; use another name"
    )]
    RegisteredAsOther {
        /// The name both want.
        state: Box<str>,
        /// The operator that owns the name.
        operator: Box<str>,
        /// Kind and types of the first registration.
        registered: Box<str>,
        /// Kind and types of the refused one.
        requested: Box<str>,
    },
    /// A state without a name.
    #[error(
        "operator '{operator}' registers a {requested} without a name; give every state a name"
    )]
    EmptyName {
        /// The registering operator.
        operator: Box<str>,
        /// Kind and types of the refused state.
        requested: Box<str>,
    },
    /// A time to live of less than a millisecond.
    #[error(
        "state '{state}' of operator '{operator}' has a TTL of {ttl_ms} ms; give at least 1 ms, or no TTL"
    )]
    TtlTooSmall {
        /// The refused state.
        state: Box<str>,
        /// The registering operator.
        operator: Box<str>,
        /// What was given.
        ttl_ms: i64,
    },
    /// Operator state cannot expire.
    #[error(
        "state '{state}' of operator '{operator}' is asked for as {requested} with a TTL; only keyed state has one: leave with_ttl out"
    )]
    TtlOfOperatorState {
        /// The refused state.
        state: Box<str>,
        /// The registering operator.
        operator: Box<str>,
        /// Its type.
        requested: Box<str>,
    },
    /// A checkpoint has the state with another kind, or a type whose values it does not take.
    #[error("state '{state}' of operator '{operator}' {change}")]
    OperatorStateChanged {
        /// The refused state.
        state: Box<str>,
        /// The registering operator.
        operator: Box<str>,
        /// What has changed.
        change: Box<OperatorStateChange>,
    },
    /// Bytes that are no operator state.
    #[error(
        "the operator state of '{operator}' (subtask {}) cannot be read: expected {expected} at byte {offset}, found {found}; the checkpoint is damaged, or of a newer version", subtask + 1
    )]
    MalformedOperatorState {
        /// The operator.
        operator: Box<str>,
        /// Which subtask's it was, from 0.
        subtask: usize,
        /// Where.
        offset: usize,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: Box<str>,
    },
    /// More states than presence bits in a row.
    #[error(
        "state '{state}' is one more than the {limit} states an operator may register (operator '{operator}'); put several values into one record or into a map state"
    )]
    TooManyStates {
        /// The refused state.
        state: Box<str>,
        /// The registering operator.
        operator: Box<str>,
        /// The greatest number of states.
        limit: usize,
    },
    /// A key or value type whose alignment rows do not offer.
    #[error(
        "{what} of operator '{operator}' needs an alignment of {alignment_bytes} bytes and rows offer {limit_bytes}; put it into a Box"
    )]
    AlignmentTooLarge {
        /// The key or the state, with its type.
        what: Box<str>,
        /// The registering operator.
        operator: Box<str>,
        /// What the type asks for.
        alignment_bytes: usize,
        /// What rows offer at most.
        limit_bytes: usize,
    },
    /// Inline values that make a row too wide.
    #[error(
        "{what} makes a row of operator '{operator}' {row_bytes} bytes wide and {limit_bytes} is the most; put large values into a Box"
    )]
    RowTooWide {
        /// The key or the state, with its type.
        what: Box<str>,
        /// The registering operator.
        operator: Box<str>,
        /// The width that would result.
        row_bytes: usize,
        /// The widest row.
        limit_bytes: usize,
    },
    /// The registrar was made for keys of another type.
    #[error(
        "operator '{operator}' registered its states for keys of type {registered} and opens them for keys of type {requested}; name one key type"
    )]
    OtherKeyType {
        /// The operator.
        operator: Box<str>,
        /// The key type of the registrar.
        registered: &'static str,
        /// The key type of the store.
        requested: &'static str,
    },
    /// A default handle that no registrar made.
    #[error("{handle} is used before it was opened; assign it from its descriptor in open()")]
    HandleNotOpened {
        /// Kind and types of the handle.
        handle: Box<str>,
    },
    /// Keyed state has no meaning where no key is set.
    #[error(
        "state '{state}' of operator '{operator}' is used where no key is set; use keyed state only while an element or a timer of a key is processed"
    )]
    NoKeyContext {
        /// The state's name.
        state: Box<str>,
        /// The operator that owns it.
        operator: Box<str>,
    },
    /// A handle that came from another operator, or from another subtask.
    #[error(
        "state '{state}' belongs to operator '{operator}' and is used in operator '{used_in}' or in another subtask of it; register it in open() of the function that uses it"
    )]
    OtherOperator {
        /// The state's name.
        state: Box<str>,
        /// The operator that registered it.
        operator: Box<str>,
        /// The operator whose context was passed.
        used_in: Box<str>,
    },
    /// Row numbers are exhausted.
    #[error(
        "operator '{operator}' holds {limit} keys in one subtask, the most; raise its parallelism"
    )]
    TooManyKeys {
        /// The operator.
        operator: Box<str>,
        /// The greatest number of keys.
        limit: u32,
    },
    /// A row that was never used, or was given back.
    #[error(
        "row {row} of operator '{operator}' holds no key; keep a row that is still referred to pinned"
    )]
    NoSuchRow {
        /// The row's number.
        row: u32,
        /// The operator.
        operator: Box<str>,
    },
    /// A change was not written, so what is written is not whole.
    #[error(
        "a change of operator '{operator}' could not be written before, so none of its checkpoints can be completed any more; restart it from the last completed one"
    )]
    ChangeNotWritten {
        /// The operator.
        operator: Box<str>,
    },
    /// rkyv refused to archive a value.
    #[error("a value of type {type_name} cannot be archived")]
    Archive {
        /// The value's type.
        type_name: &'static str,
        /// rkyv's reason.
        source: rancor::Error,
    },
    /// Bytes that are not an archived value of the type.
    #[error(
        "{length_bytes} bytes are not an archived value of type {type_name}; they are damaged or of another schema"
    )]
    Unarchive {
        /// The expected type.
        type_name: &'static str,
        /// How many bytes were given.
        length_bytes: usize,
        /// rkyv's reason.
        source: rancor::Error,
    },
    /// A value that was written with an older schema cannot be read as one of now.
    #[error("a stored value cannot become a {type_name}: {source}")]
    Evolve {
        /// The value's type.
        type_name: &'static str,
        /// Why.
        source: Box<crate::EvolutionError>,
    },
    /// Parallelism, maximum parallelism and subtask do not fit together.
    #[error(
        "subtask {subtask} of parallelism {parallelism} with maximum parallelism {max_parallelism} does not exist; keep subtask < parallelism <= maximum parallelism <= 32768"
    )]
    InvalidParallelism {
        /// The subtask asked for.
        subtask: u16,
        /// How many subtasks there are.
        parallelism: u16,
        /// How many key groups there are.
        max_parallelism: u16,
    },
    /// The store on files below failed.
    #[error(transparent)]
    Store(Box<StoreError>),
}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        StateError::Store(Box::new(error))
    }
}

/// Operator state that is not what it was, and cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorStateChange {
    /// Kind, types and fingerprint in the checkpoint.
    pub expected: Box<str>,
    /// What was asked for.
    pub found: Box<str>,
    /// What part of it does not fit, and what to do.
    pub remedy: Box<str>,
}

impl std::fmt::Display for OperatorStateChange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let OperatorStateChange { expected, found, remedy } = self;
        write!(formatter, "was written as {expected} and is asked for as {found}: {remedy}")
    }
}
