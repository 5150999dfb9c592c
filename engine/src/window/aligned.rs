//! [`AlignedWindows`]: windows of one size that begin at regular instants, and the slices of time between their bounds.

use crate::record::NO_TIMESTAMP;
use crate::window::{TimeWindow, WindowError};
use thalweg_io::{Fault, planted};

/// More windows an element than this are refused, as in Flink.
const WINDOWS_PER_ELEMENT_MAX: i64 = 10_000_000;

/// Windows of one size that begin at regular instants.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlignedWindows {
    pub(crate) size_ms: i64,
    pub(crate) slide_ms: i64,
    pub(crate) offset_ms: i64,
}

impl AlignedWindows {
    /// Checks sizes and offset.
    pub(crate) fn validate(&self) -> Result<(), WindowError> {
        let sizes = [("size of a window", self.size_ms), ("slide of a window", self.slide_ms)];
        if let Some((what, value_ms)) = sizes.into_iter().find(|(_, value_ms)| *value_ms < 1) {
            return Err(WindowError::TooSmall { what, value_ms });
        }
        if self.offset_ms.unsigned_abs() >= self.slide_ms.unsigned_abs() {
            let what = if self.slide_ms == self.size_ms { "size" } else { "slide" };
            let (offset_ms, limit_ms) = (self.offset_ms, self.slide_ms);
            return Err(WindowError::OffsetOutOfRange { offset_ms, what, limit_ms });
        }
        let count = self.size_ms / self.slide_ms;
        if count > WINDOWS_PER_ELEMENT_MAX {
            return Err(WindowError::TooManyWindows { count, limit: WINDOWS_PER_ELEMENT_MAX });
        }
        Ok(())
    }

    /// Can the windows of this timestamp, and their neighbours, be told in 64 bits? False for one that is missing.
    pub(crate) fn fits(&self, timestamp: i64) -> bool {
        const FAR: u64 = 1 << 60;
        let AlignedWindows { size_ms, slide_ms, offset_ms } = *self;
        if timestamp.unsigned_abs() < FAR
            && size_ms.unsigned_abs() < FAR
            && slide_ms.unsigned_abs() < FAR
        {
            return true;
        }
        let at = |ms: i64| i128::from(ms);
        let start = at(timestamp) - (at(timestamp) - at(offset_ms)).rem_euclid(at(slide_ms));
        let (first, end) = match self.overlap() {
            true => (start - at(size_ms) - at(slide_ms), start + at(size_ms) + at(slide_ms)),
            false => (start, start + at(size_ms)),
        };
        first > at(i64::MIN) && end <= at(i64::MAX)
    }

    /// What is wrong with a timestamp that does not [fit](Self::fits).
    pub(crate) fn misfit(timestamp: i64) -> WindowError {
        match timestamp {
            NO_TIMESTAMP => WindowError::NoTimestamp,
            timestamp => WindowError::TimestampOutOfRange { timestamp },
        }
    }

    /// Adds the windows of an element, the last one first.
    pub(crate) fn assign(
        &self,
        timestamp: i64,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<(), WindowError> {
        if timestamp == NO_TIMESTAMP || !self.fits(timestamp) {
            return Err(Self::misfit(timestamp));
        }
        let mut start = self.last_start(timestamp);
        while timestamp.checked_sub(start).is_some_and(|into| into < self.size_ms) {
            windows.push(TimeWindow { start, end: start + self.size_ms });
            let Some(earlier) = start.checked_sub(self.slide_ms) else { break };
            start = earlier;
        }
        Ok(())
    }

    /// Start of the last window that begins at or before `timestamp`.
    #[inline]
    pub(crate) fn last_start(&self, timestamp: i64) -> i64 {
        if planted(Fault::WindowEndInclusive) {
            let before = timestamp.wrapping_sub(1);
            let into = before.wrapping_sub(self.offset_ms).rem_euclid(self.slide_ms);
            return before.saturating_sub(into);
        }
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
    fn elements_are_assigned_to_their_windows_the_last_first() {
        for (size, slide, offset) in
            [(10, 10, 0), (10, 5, 0), (10, 4, 3), (5, 10, 0), (10, 10, 3), (10, 10, -4), (7, 3, -2)]
        {
            let w = windows(size, slide, offset);
            for t in -60..60 {
                let mut assigned = Vec::new();
                w.assign(t, &mut assigned).unwrap();
                let starts: Vec<i64> = assigned.iter().rev().map(TimeWindow::start).collect();
                assert_eq!(starts, starts_of(w, t), "{w:?} at {t}");
                assert!(assigned.iter().all(|window| window.end - window.start == size));
            }
        }
    }

    #[test]
    fn timestamps_at_the_ends_of_time_are_refused() {
        let assign = |w: AlignedWindows, t| {
            let mut assigned = Vec::new();
            w.assign(t, &mut assigned).map(|()| assigned)
        };
        for w in [windows(10, 5, 0), windows(10, 10, 0)] {
            for timestamp in [i64::MIN + 1, i64::MAX] {
                let error = WindowError::TimestampOutOfRange { timestamp };
                assert_eq!(assign(w, timestamp), Err(error), "{w:?}");
            }
            assert_eq!(assign(w, i64::MIN), Err(WindowError::NoTimestamp));
            assert!(assign(w, i64::MAX - 30).is_ok() && assign(w, i64::MIN + 30).is_ok());
        }
        // A window that is longer than any stream.
        let all = windows(i64::MAX, i64::MAX, 0);
        assert_eq!(assign(all, 7), Ok(vec![TimeWindow { start: 0, end: i64::MAX }]));
        assert_eq!(assign(all, -7), Ok(vec![TimeWindow { start: -i64::MAX, end: 0 }]));
    }

    #[test]
    fn sizes_and_offsets_are_checked() {
        assert!(windows(1, 1, 0).validate().is_ok());
        assert!(windows(10, 10, 9).validate().is_ok());
        assert!(windows(10, 10, -9).validate().is_ok());
        let text = |w: AlignedWindows| w.validate().unwrap_err().to_string();
        assert_eq!(text(windows(5, 0, 0)), "the slide of a window is 0 ms; give at least 1 ms");
        assert_eq!(text(windows(-5, 1, 0)), "the size of a window is -5 ms; give at least 1 ms");
        assert!(text(windows(10, 10, 10)).contains("not less than its size, 10 ms"));
        assert!(text(windows(10, 5, -5)).contains("not less than its slide, 5 ms"));
        assert!(text(windows(i64::MAX, 1, 0)).contains("more than 10000000"));
    }
}
