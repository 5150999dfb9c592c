//! When a commit that failed is tried again.
//!
//! The time at hand is that of polls: a pause that was asked for between two of them begins at the next.

/// See the module docs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RetryClock {
    /// A pause that has not begun.
    delay_ms: Option<i64>,
    at_ms: Option<i64>,
}

impl RetryClock {
    /// A pause is to be made.
    pub(crate) fn wait(&mut self, delay_ms: i64) {
        self.delay_ms = Some(delay_ms);
    }

    /// Begins the pause that was asked for, if there is one.
    pub(crate) fn start(&mut self, now_ms: i64) {
        if let Some(delay_ms) = self.delay_ms.take() {
            self.at_ms = Some(now_ms.saturating_add(delay_ms));
        }
    }

    /// Is a pause over? True once for each.
    pub(crate) fn is_due(&mut self, now_ms: i64) -> bool {
        self.start(now_ms);
        let is_due = self.at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        if is_due {
            self.at_ms = None;
        }
        is_due
    }

    /// When the pause is over.
    pub(crate) fn due_ms(&self) -> Option<i64> {
        self.at_ms
    }
}
