//! [`WindowAssigner`]: which windows an element belongs to.

use crate::Result;
use crate::function::UserFunction;
use crate::window::{AlignedWindows, Trigger, Window, WindowError};

/// Assigns elements to windows. Implement it for windows that the engine does not have.
///
/// An assigner is cloned once a subtask. Cost: one call an element; each window of an element that is kept by the general
/// operator is one lookup and one entry.
///
/// # Examples
/// Windows that end at each full hour of a day, longer in the night:
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone)]
/// struct DayAndNight;
/// const HOUR: i64 = 3_600_000;
/// impl<T> WindowAssigner<T> for DayAndNight {
///     type Window = TimeWindow;
///     type DefaultTrigger = EventTimeTrigger;
///     fn assign_windows(
///         &mut self,
///         _: &T,
///         timestamp: i64,
///         _: &AssignerContext,
///         windows: &mut Vec<TimeWindow>,
///     ) -> thalweg::Result<()> {
///         let hour = timestamp.div_euclid(HOUR);
///         let night = hour.rem_euclid(24) < 6;
///         windows.push(match night {
///             true => TimeWindow::new(hour.div_euclid(24) * 24 * HOUR, (hour.div_euclid(24) * 24 + 6) * HOUR),
///             false => TimeWindow::new(hour * HOUR, (hour + 1) * HOUR),
///         });
///         Ok(())
///     }
///     fn default_trigger(&self) -> EventTimeTrigger {
///         EventTimeTrigger
///     }
///     fn is_event_time(&self) -> bool {
///         true
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let counts = env
///     .from_elements([HOUR, 5 * HOUR, 7 * HOUR, 8 * HOUR])
///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|t: &i64| *t))
///     .key_by(|_| 0u8)
///     .window(DayAndNight)
///     .aggregate_with(Count, |_, window, count, out| out.collect((window.start() / HOUR, count)))
///     .collect();
/// env.execute("day and night")?;
/// assert_eq!(counts.take(), [(0, 2), (7, 1), (8, 1)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a window assigner for records of type `{T}`"
)]
pub trait WindowAssigner<T>: UserFunction {
    /// The windows it makes.
    type Window: Window;
    /// When they fire, unless the job says otherwise.
    type DefaultTrigger: Trigger<T, Self::Window> + UserFunction;

    /// Adds the windows of `record` to `windows`, which is empty. `timestamp` is `i64::MIN` for a record without.
    ///
    /// # Errors
    /// Any error fails the job.
    fn assign_windows(
        &mut self,
        record: &T,
        timestamp: i64,
        context: &AssignerContext,
        windows: &mut Vec<Self::Window>,
    ) -> Result<()>;

    /// The trigger of these windows where the job names none.
    fn default_trigger(&self) -> Self::DefaultTrigger;

    /// Do watermarks end these windows? If not, they are given up when the clock reaches their last instant, and nothing is
    /// ever late for them.
    fn is_event_time(&self) -> bool;

    /// Can windows grow together? Then [`merge_windows`](Self::merge_windows) is asked whenever a key gets a new one.
    fn is_merging(&self) -> bool {
        false
    }

    /// Which of a key's open `windows` are to be merged: adds a group for each window that results.
    fn merge_windows(
        &self,
        _windows: &[Self::Window],
        _merged: &mut Vec<MergedWindows<Self::Window>>,
    ) {
    }

    /// Checks the settings; an error is reported by `execute`.
    ///
    /// # Errors
    /// What is wrong.
    fn validate(&self) -> Result<(), WindowError> {
        Ok(())
    }

    /// The windows are [`aligned`](Self::aligned) event-time windows.
    #[doc(hidden)]
    const IS_ALIGNED: bool = false;

    /// The bounds of all windows, if they are event-time windows of one size at regular instants.
    #[doc(hidden)]
    fn aligned(&self) -> Option<AlignedWindows> {
        None
    }

    /// The windows are event-time sessions of one [`gap`](Self::fixed_gap_ms).
    #[doc(hidden)]
    const IS_FIXED_SESSION: bool = false;

    /// The gap, if the windows are event-time sessions of one gap.
    #[doc(hidden)]
    fn fixed_gap_ms(&self) -> Option<i64> {
        None
    }
}

/// What an assigner may know besides the record.
#[derive(Clone, Copy, Debug)]
pub struct AssignerContext {
    pub(crate) now_ms: i64,
}

impl AssignerContext {
    /// Wall clock in milliseconds, as of this batch.
    pub fn current_processing_time(&self) -> i64 {
        self.now_ms
    }
}

/// Windows that become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedWindows<W> {
    /// The window they become.
    pub result: W,
    /// The windows, each once. Those of them that a key does not have are ignored.
    pub windows: Vec<W>,
}

impl<W> MergedWindows<W> {
    pub(crate) fn is_several(&self) -> bool {
        self.windows.len() > 1
    }
}
