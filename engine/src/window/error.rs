//! What can be wrong with windows.

/// Why windows cannot be made, or an element cannot be put into one.
///
/// The first group is reported by `execute`, together with the plan's other mistakes; the second fails the job at the
/// record that caused it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// A size, slide, gap or interval of less than a millisecond.
    #[error("the {what} is {value_ms} ms; give at least 1 ms")]
    TooSmall {
        /// `size of a window`, `slide of a window`, `gap of a session`, …
        what: &'static str,
        /// What was given.
        value_ms: i64,
    },
    /// A number of elements of less than one.
    #[error("the {what} is 0; give at least 1")]
    NoElements {
        /// What the number is for.
        what: &'static str,
    },
    /// Windows are shifted by a whole slide or more.
    #[error(
        "the offset of a window is {offset_ms} ms, which is not less than its {what}, {limit_ms} ms; \
         give the remainder of their division"
    )]
    OffsetOutOfRange {
        /// What was given.
        offset_ms: i64,
        /// `size` or `slide`.
        what: &'static str,
        /// The size or slide.
        limit_ms: i64,
    },
    /// Each element would belong to more windows than can be kept.
    #[error(
        "an element would belong to {count} sliding windows, more than {limit}; give a larger slide or a smaller size"
    )]
    TooManyWindows {
        /// Size by slide.
        count: i64,
        /// The most there can be.
        limit: i64,
    },
    /// An allowed lateness below zero.
    #[error("the allowed lateness is {lateness_ms} ms; give 0 or more")]
    NegativeLateness {
        /// What was given.
        lateness_ms: i64,
    },
    /// A threshold that nothing can be compared with.
    #[error("the threshold is not a number; give one")]
    ThresholdNotANumber,
    /// Windows that merge need a trigger that can.
    #[error(
        "windows of this assigner merge, but the trigger '{trigger}' cannot; use another trigger, or implement \
         can_merge and on_merge"
    )]
    TriggerCannotMerge {
        /// The trigger's type.
        trigger: &'static str,
    },

    /// A record without timestamp came to event-time windows.
    #[error(
        "the record has no timestamp; put assign_timestamps_and_watermarks before event-time windows"
    )]
    NoTimestamp,
    /// A record's windows would begin before the first instant that 64 bits can tell, or end after the last.
    #[error(
        "the timestamp {timestamp} is too near the end of time for its windows; give the record another timestamp \
         (results of global windows carry {max})", max = i64::MAX
    )]
    TimestampOutOfRange {
        /// The record's.
        timestamp: i64,
    },
    /// A function gave a session a gap of zero or less.
    #[error("the dynamic gap of the record's session is {gap_ms} ms; give at least 1 ms")]
    GapNotPositive {
        /// What the function gave.
        gap_ms: i64,
    },
    /// An assigner merged windows into one that is already over.
    #[error(
        "windows were merged into {window}, whose last instant and allowed lateness lie before the current time \
         {now_ms}; merge into a window that ends later"
    )]
    MergedIntoThePast {
        /// The window.
        window: String,
        /// Watermark or clock.
        now_ms: i64,
    },
    /// A function asked for state of a window, but windows merge.
    #[error(
        "state of a window was asked for, but windows of this assigner merge; keep the state in the accumulator, or \
         per key"
    )]
    StateOfMergingWindow,
    /// State of a window was asked for where there is none.
    #[error(
        "operator '{operator}' has no windows, so it has no state of a window; ask for state of the key"
    )]
    NotAWindowFunction {
        /// The operator.
        operator: String,
    },
}
