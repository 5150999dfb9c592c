//! [`MergingWindowSet`]: the open windows of a key that may grow together, and where each keeps its contents.
//!
//! Contents are not moved when a window grows: they stay where the first of the merged windows put them, in its *state
//! window*. Only where several windows with contents become one are these brought together.
//!
//! **Invariants**
//! - Each window is in the set once, and each state window belongs to one window.
//! - The outcome depends on the windows alone, not on the order in which a map would give them.

use crate::window::{MergedWindows, Window};

/// See the module docs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MergingWindowSet<W> {
    /// Windows and their state windows.
    pub(crate) in_flight: Vec<(W, W)>,
}

impl<W> Default for MergingWindowSet<W> {
    fn default() -> Self {
        MergingWindowSet { in_flight: Vec::new() }
    }
}

/// Windows with contents or timers that have become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MergeStep<W> {
    /// The window that they became.
    pub(crate) result: W,
    /// The windows that were merged; not the new one.
    pub(crate) merged: Vec<W>,
    /// Where the contents of the result are.
    pub(crate) state: W,
    /// From where contents must be brought there.
    pub(crate) merged_states: Vec<W>,
}

impl<W: Window> MergingWindowSet<W> {
    /// The state window of an open window.
    pub(crate) fn state_of(&self, window: &W) -> Option<W> {
        self.in_flight.iter().find(|(open, _)| open == window).map(|(_, state)| *state)
    }

    /// Forgets an open window.
    pub(crate) fn retire(&mut self, window: &W) {
        self.in_flight.retain(|(open, _)| open != window);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Adds a window and merges what `merge` says. Returns the open window that the new one is, or is a part of; what has
    /// to be done for windows that became one is added to `steps`.
    pub(crate) fn add(
        &mut self,
        new: W,
        merge: impl FnOnce(&[W], &mut Vec<MergedWindows<W>>),
        steps: &mut Vec<MergeStep<W>>,
    ) -> W {
        if self.state_of(&new).is_some() {
            return new;
        }
        if self.in_flight.is_empty() {
            self.in_flight.push((new, new));
            return new;
        }
        let mut windows: Vec<W> = self.in_flight.iter().map(|(open, _)| *open).collect();
        windows.push(new);
        windows.sort_unstable();
        let mut groups = Vec::new();
        merge(&windows, &mut groups);
        let mut actual = None;
        for group in groups {
            let takes_new = group.windows.contains(&new);
            if self.merge_group(group.windows, group.result, steps) && takes_new {
                actual = Some(group.result);
            }
        }
        actual.unwrap_or_else(|| {
            self.in_flight.push((new, new));
            new
        })
    }

    /// Makes one of a group's open windows; false if none of them is open.
    fn merge_group(
        &mut self,
        mut merged: Vec<W>,
        result: W,
        steps: &mut Vec<MergeStep<W>>,
    ) -> bool {
        merged.sort_unstable();
        merged.dedup();
        merged.retain(|window| self.state_of(window).is_some());
        let states: Vec<W> = merged.iter().filter_map(|window| self.state_of(window)).collect();
        let Some((state, merged_states)) = states.split_first() else { return false };
        self.in_flight.retain(|(open, _)| !merged.contains(open));
        self.in_flight.push((result, *state));
        // An element within an open window changes nothing.
        if merged != [result] {
            let (state, merged_states) = (*state, merged_states.to_vec());
            steps.push(MergeStep { result, merged, state, merged_states });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::TimeWindow;

    fn window((start, end): (i64, i64)) -> TimeWindow {
        TimeWindow::new(start, end)
    }

    /// Adds windows one by one; the last answer, and the steps of the last.
    fn added(
        set: &mut MergingWindowSet<TimeWindow>,
        new: (i64, i64),
    ) -> (TimeWindow, Vec<MergeStep<TimeWindow>>) {
        let mut steps = Vec::new();
        let actual = set.add(window(new), TimeWindow::merge_touching, &mut steps);
        (actual, steps)
    }

    fn pairs(set: &MergingWindowSet<TimeWindow>) -> Vec<((i64, i64), (i64, i64))> {
        let mut pairs: Vec<_> = set
            .in_flight
            .iter()
            .map(|(open, state)| ((open.start, open.end), (state.start, state.end)))
            .collect();
        pairs.sort_unstable();
        pairs
    }

    #[test]
    fn windows_apart_stay_apart() {
        let mut set = MergingWindowSet::default();
        assert_eq!(added(&mut set, (0, 10)), (window((0, 10)), vec![]));
        assert_eq!(added(&mut set, (11, 21)), (window((11, 21)), vec![]));
        assert_eq!(added(&mut set, (-11, -1)), (window((-11, -1)), vec![]));
        assert_eq!(set.in_flight.len(), 3);
        set.retire(&window((0, 10)));
        assert_eq!(set.state_of(&window((0, 10))), None);
        assert_eq!(set.state_of(&window((11, 21))), Some(window((11, 21))));
    }

    #[test]
    fn a_window_that_grows_keeps_its_state_window() {
        let mut set = MergingWindowSet::default();
        added(&mut set, (0, 10));
        let (actual, steps) = added(&mut set, (5, 15));
        assert_eq!(actual, window((0, 15)));
        let (merged, state) = (vec![window((0, 10))], window((0, 10)));
        let merged_states = vec![];
        assert_eq!(steps, [MergeStep { result: actual, merged, state, merged_states }]);
        assert_eq!(pairs(&set), [((0, 15), (0, 10))]);
    }

    #[test]
    fn an_element_within_a_window_changes_nothing() {
        let mut set = MergingWindowSet::default();
        added(&mut set, (0, 10));
        added(&mut set, (8, 18));
        assert_eq!(added(&mut set, (4, 14)), (window((0, 18)), vec![]));
        // Also where it is exactly as the open window.
        assert_eq!(added(&mut set, (0, 18)), (window((0, 18)), vec![]));
        assert_eq!(pairs(&set), [((0, 18), (0, 10))]);
    }

    #[test]
    fn a_bridge_brings_contents_together() {
        let mut set = MergingWindowSet::default();
        added(&mut set, (20, 30));
        added(&mut set, (0, 10));
        let (actual, steps) = added(&mut set, (10, 20));
        assert_eq!(actual, window((0, 30)));
        let merged = vec![window((0, 10)), window((20, 30))];
        let (state, merged_states) = (window((0, 10)), vec![window((20, 30))]);
        assert_eq!(steps, [MergeStep { result: actual, merged, state, merged_states }]);
        assert_eq!(pairs(&set), [((0, 30), (0, 10))]);
    }

    #[test]
    fn unknown_windows_of_an_assigner_are_ignored() {
        let mut set = MergingWindowSet::default();
        added(&mut set, (0, 10));
        let mut steps = Vec::new();
        let odd = |_: &[TimeWindow], merged: &mut Vec<_>| {
            merged
                .push(MergedWindows { result: window((90, 99)), windows: vec![window((70, 80))] });
        };
        assert_eq!(set.add(window((50, 60)), odd, &mut steps), window((50, 60)));
        assert!(steps.is_empty());
        assert_eq!(set.in_flight.len(), 2);
    }
}
