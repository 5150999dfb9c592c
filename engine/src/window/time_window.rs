//! [`TimeWindow`] and what all windows have: a last instant.

use crate::window::MergedWindows;
use std::fmt::Debug;
use thalweg_state::Key;

/// What elements are put into: a part of a key's stream.
///
/// Windows of a type of your own need `#[thalweg::record]` and the derives below.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// /// A quarter of a match, by its number.
/// #[thalweg::record]
/// #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
/// struct Quarter { number: u32 }
/// impl Window for Quarter {
///     fn max_timestamp(&self) -> i64 {
///         i64::from(self.number) * 900_000 - 1
///     }
/// }
/// assert_eq!(Quarter { number: 1 }.max_timestamp(), 899_999);
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a window")]
pub trait Window: Key + Copy + Ord + Debug {
    /// The last instant of the window in milliseconds: the timestamp of its results. `i64::MAX` for windows without end.
    fn max_timestamp(&self) -> i64;
}

/// An interval of time, in milliseconds: `start <= t < end`.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeWindow {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl TimeWindow {
    /// The window from `start` (included) to `end` (excluded).
    pub fn new(start: i64, end: i64) -> Self {
        TimeWindow { start, end }
    }
    /// Its first instant.
    pub fn start(&self) -> i64 {
        self.start
    }
    /// The first instant after it.
    pub fn end(&self) -> i64 {
        self.end
    }
    /// Its last instant: the timestamp of its results, and the watermark that fires it.
    pub fn max_timestamp(&self) -> i64 {
        self.end.saturating_sub(1)
    }
    /// Do the two have an instant in common, or follow one another without a gap?
    pub fn touches(&self, other: &TimeWindow) -> bool {
        self.start <= other.end && other.start <= self.end
    }
    /// The smallest window that contains both.
    pub fn cover(&self, other: &TimeWindow) -> TimeWindow {
        TimeWindow { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// Merges windows that touch, for [`merge_windows`](crate::window::WindowAssigner::merge_windows) of an assigner.
    ///
    /// ```
    /// use thalweg::prelude::*;
    /// let windows = [TimeWindow::new(0, 10), TimeWindow::new(30, 40), TimeWindow::new(10, 20)];
    /// let mut merged = Vec::new();
    /// TimeWindow::merge_touching(&windows, &mut merged);
    /// assert_eq!(merged.len(), 1);
    /// assert_eq!(merged[0].result, TimeWindow::new(0, 20));
    /// assert_eq!(merged[0].windows, [TimeWindow::new(0, 10), TimeWindow::new(10, 20)]);
    /// ```
    pub fn merge_touching(windows: &[TimeWindow], merged: &mut Vec<MergedWindows<TimeWindow>>) {
        let mut sorted = windows.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut open: Option<MergedWindows<TimeWindow>> = None;
        for window in sorted {
            match &mut open {
                Some(group) if group.result.touches(&window) => {
                    group.result = group.result.cover(&window);
                    group.windows.push(window);
                }
                _ => {
                    let group = MergedWindows { result: window, windows: vec![window] };
                    merged.extend(open.replace(group).filter(MergedWindows::is_several));
                }
            }
        }
        merged.extend(open.filter(MergedWindows::is_several));
    }
}

impl Window for TimeWindow {
    #[inline(always)]
    fn max_timestamp(&self) -> i64 {
        TimeWindow::max_timestamp(self)
    }
}
