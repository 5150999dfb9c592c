//! Windows and their assigners; pure, knows no operator.
//!
//! A window is an interval of time, start included, end excluded, both in milliseconds. An element at `t` belongs to
//! all windows that contain `t`. Windows are aligned to the epoch plus an offset.

use crate::time::duration_ms;
use std::time::Duration;

/// An interval of time, in milliseconds: `start <= t < end`.
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
        self.end - 1
    }
}

/// Windows of one size that begin at regular instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlignedWindows {
    pub(crate) size_ms: i64,
    pub(crate) slide_ms: i64,
    pub(crate) offset_ms: i64,
}

/// Why windows cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// A size or slide of less than a millisecond.
    #[error("the {what} of a window is {value_ms} ms; give at least 1 ms")]
    TooSmall {
        /// `size` or `slide`.
        what: &'static str,
        /// What was given.
        value_ms: i64,
    },
}

impl AlignedWindows {
    /// Checks the sizes.
    pub(crate) fn validate(&self) -> Result<(), WindowError> {
        let sizes = [("size", self.size_ms), ("slide", self.slide_ms)];
        match sizes.into_iter().find(|(_, value_ms)| *value_ms < 1) {
            Some((what, value_ms)) => Err(WindowError::TooSmall { what, value_ms }),
            None => Ok(()),
        }
    }

    /// Start of the last window that begins at or before `timestamp`.
    #[inline]
    pub(crate) fn last_start(&self, timestamp: i64) -> i64 {
        let into = timestamp.wrapping_sub(self.offset_ms).rem_euclid(self.slide_ms);
        timestamp.saturating_sub(into)
    }

    /// Do the windows overlap?
    pub(crate) fn overlap(&self) -> bool {
        self.slide_ms < self.size_ms
    }

    /// The piece of time around `timestamp` whose elements all belong to the same windows, and the start of the last
    /// of these. `None` in a gap between windows.
    pub(crate) fn slice(&self, timestamp: i64) -> Option<(TimeWindow, i64)> {
        let start = self.last_start(timestamp);
        let next = start.saturating_add(self.slide_ms);
        if self.slide_ms >= self.size_ms {
            let end = start.saturating_add(self.size_ms);
            return (timestamp < end).then_some((TimeWindow { start, end }, start));
        }
        // Where the size is not a multiple of the slide, windows end in the middle of a slide: two slices each.
        let cut = start.saturating_add(self.size_ms % self.slide_ms);
        let slice = match timestamp < cut {
            true => TimeWindow { start, end: cut },
            false => TimeWindow { start: cut, end: next },
        };
        Some((slice, start))
    }

    /// Start of the first window that contains the slice which ends at `slice_end`.
    pub(crate) fn first_start(&self, slice_end: i64) -> i64 {
        let earliest = slice_end.saturating_sub(self.size_ms);
        let at = self.last_start(earliest);
        if at < earliest { at.saturating_add(self.slide_ms) } else { at }
    }
}

/// Assigns elements to windows.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a window assigner")]
pub trait WindowAssigner: sealed::Sealed {
    /// The windows it makes.
    #[doc(hidden)]
    fn windows(&self) -> AlignedWindows;
}

mod sealed {
    pub trait Sealed {}
}

/// Event-time windows that follow one another without overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TumblingEventTimeWindows(AlignedWindows);

impl TumblingEventTimeWindows {
    /// Windows of `size`, aligned to the epoch. A size under 1 ms is refused when the job starts.
    pub fn of(size: Duration) -> Self {
        let size_ms = duration_ms(size);
        TumblingEventTimeWindows(AlignedWindows { size_ms, slide_ms: size_ms, offset_ms: 0 })
    }
    /// Shifts all windows by `offset`: one day windows that begin at local midnight, say.
    pub fn offset(mut self, offset: Duration) -> Self {
        self.0.offset_ms = duration_ms(offset);
        self
    }
}
impl sealed::Sealed for TumblingEventTimeWindows {}
impl WindowAssigner for TumblingEventTimeWindows {
    fn windows(&self) -> AlignedWindows {
        self.0
    }
}

/// Event-time windows of one size that begin every `slide`; they overlap where the slide is smaller than the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingEventTimeWindows(AlignedWindows);

impl SlidingEventTimeWindows {
    /// Windows of `size`, one every `slide`, aligned to the epoch. Less than 1 ms of either is refused when the job
    /// starts.
    pub fn of(size: Duration, slide: Duration) -> Self {
        let (size_ms, slide_ms) = (duration_ms(size), duration_ms(slide));
        SlidingEventTimeWindows(AlignedWindows { size_ms, slide_ms, offset_ms: 0 })
    }
    /// Shifts all windows by `offset`.
    pub fn offset(mut self, offset: Duration) -> Self {
        self.0.offset_ms = duration_ms(offset);
        self
    }
}
impl sealed::Sealed for SlidingEventTimeWindows {}
impl WindowAssigner for SlidingEventTimeWindows {
    fn windows(&self) -> AlignedWindows {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(size_ms: i64, slide_ms: i64, offset_ms: i64) -> AlignedWindows {
        AlignedWindows { size_ms, slide_ms, offset_ms }
    }

    /// Starts of all windows that contain `t`, by definition.
    fn starts_of(w: AlignedWindows, t: i64) -> Vec<i64> {
        let all = (-400..400).map(|k| k * w.slide_ms + w.offset_ms);
        all.filter(|start| *start <= t && t < start + w.size_ms).collect()
    }

    #[test]
    fn slices_cut_time_where_windows_begin_and_end() {
        for (size, slide, offset) in [
            (10, 10, 0),
            (12, 3, 0),
            (10, 4, 0),
            (10, 4, 3),
            (7, 5, -2),
            (3, 10, 0),
            (3, 10, 9),
            (1, 1, 0),
        ] {
            let w = windows(size, slide, offset);
            for t in -60..60 {
                let expected = starts_of(w, t);
                let Some((slice, last)) = w.slice(t) else {
                    assert!(expected.is_empty(), "{w:?} at {t}");
                    continue;
                };
                assert!(slice.start <= t && t < slice.end, "{w:?} at {t}: {slice:?}");
                assert_eq!(Some(&last), expected.last(), "{w:?} at {t}");
                assert_eq!(Some(&w.first_start(slice.end)), expected.first(), "{w:?} at {t}");
                for u in slice.start..slice.end {
                    assert_eq!(starts_of(w, u), expected, "{w:?}: {t} and {u} are in one slice");
                }
            }
        }
    }

    #[test]
    fn sizes_are_checked() {
        assert!(windows(1, 1, 0).validate().is_ok());
        let error = windows(5, 0, 0).validate().unwrap_err();
        assert_eq!(error.to_string(), "the slide of a window is 0 ms; give at least 1 ms");
    }
}
