//! How long state lives: [`StateTtl`], as a user writes it in a descriptor.
//!
//! A state with a TTL keeps, with each value, list element or map entry, the processing time of its
//! last update. It is expired when `now >= last update + ttl`. The store reads no clock: `now` is
//! what its owner last told it ([`RowStore::set_now_ms`](crate::RowStore::set_now_ms)).
//!
//! **Invariants**
//! - Expired state goes when it is read or overwritten, and not before: nothing runs in the
//!   background.
//! - Watermarks have no part in it.

use std::fmt;
use std::time::Duration;

/// What makes state live longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TtlUpdate {
    /// Each write.
    #[default]
    OnCreateAndWrite,
    /// Each write, and each read of what has not expired.
    OnReadAndWrite,
    /// The TTL is switched off: the state never expires, and keeps no times.
    Disabled,
}

/// Whether a read may still give what has expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TtlVisibility {
    /// Expired state is as if it were not there.
    #[default]
    NeverReturnExpired,
    /// A read gives expired state a last time, and removes it.
    ///
    /// A list that has expired in part keeps its expired elements, and gives them at every read,
    /// until all have expired (with [`TtlUpdate::OnReadAndWrite`], until the first read).
    ReturnExpiredIfNotCleanedUp,
}

/// How long state lives after its last update, in processing time.
///
/// Value, reducing and aggregating states expire as a whole, lists element by element, maps entry by
/// entry. A write sets the time of what it writes: `add` that of the added element alone (of the
/// whole, in reducing and aggregating states), `put` that of its entry.
///
/// Costs 8 bytes and a comparison for each value, element or entry. States without a TTL cost
/// nothing.
///
/// # Restored state
///
/// What is restored expires when it was going to: state that was written under another TTL keeps the
/// expiry it was written with, until it is written again (or read, with
/// [`TtlUpdate::OnReadAndWrite`]) under the new one. (Flink measures old updates by the new TTL.)
///
/// # Limits
///
/// State that has expired keeps its memory until its key comes again: nothing is cleaned up in the
/// background yet.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use thalweg_state::{StateTtl, TtlUpdate, TtlVisibility, ValueStateDescriptor};
///
/// let ttl = StateTtl::after(Duration::from_secs(3600))
///     .update(TtlUpdate::OnReadAndWrite)
///     .visibility(TtlVisibility::NeverReturnExpired);
/// let descriptor = ValueStateDescriptor::<u64>::new("session").with_ttl(ttl);
/// assert_eq!(descriptor.ttl(), Some(ttl));
/// assert_eq!(ttl.ttl_ms(), 3_600_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateTtl {
    ttl_ms: i64,
    update: TtlUpdate,
    visibility: TtlVisibility,
}

impl StateTtl {
    /// State expires this long after its last write and is not seen any more. The time counts in
    /// whole milliseconds; less than one is refused when the state is registered, and more than
    /// `i64::MAX` is for ever.
    #[must_use]
    pub fn after(ttl: Duration) -> Self {
        StateTtl::after_ms(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX))
    }

    /// As [`after`](Self::after), in milliseconds.
    #[must_use]
    pub const fn after_ms(ttl_ms: i64) -> Self {
        let (update, visibility) = (TtlUpdate::OnCreateAndWrite, TtlVisibility::NeverReturnExpired);
        StateTtl { ttl_ms, update, visibility }
    }

    /// What makes state live longer; writes alone by default.
    #[must_use]
    pub const fn update(self, update: TtlUpdate) -> Self {
        StateTtl { update, ..self }
    }

    /// Whether reads may give what has expired; never by default.
    #[must_use]
    pub const fn visibility(self, visibility: TtlVisibility) -> Self {
        StateTtl { visibility, ..self }
    }

    /// The time to live, in milliseconds.
    #[must_use]
    pub const fn ttl_ms(&self) -> i64 {
        self.ttl_ms
    }

    /// What the store does; `None` if the TTL is switched off.
    pub(crate) fn policy(&self) -> Option<TtlPolicy> {
        (self.update != TtlUpdate::Disabled).then_some(TtlPolicy {
            ttl_ms: self.ttl_ms,
            refreshes_on_read: self.update == TtlUpdate::OnReadAndWrite,
            returns_expired: self.visibility == TtlVisibility::ReturnExpiredIfNotCleanedUp,
        })
    }
}

impl fmt::Display for StateTtl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StateTtl { ttl_ms, update, visibility } = self;
        write!(formatter, "a TTL of {ttl_ms} ms, {update:?}, {visibility:?}")
    }
}

/// What the expiry of a record is after its last update where expired state is given until it is cleaned up: files would
/// clean it up too soon. No clock comes near it.
pub(crate) const KEPT_MS: i64 = 1 << 61;

impl StateTtl {
    /// How long after its last update a record expires for the persistent tier.
    pub(crate) fn record_ms(&self) -> i64 {
        match self.visibility {
            TtlVisibility::ReturnExpiredIfNotCleanedUp => KEPT_MS,
            TtlVisibility::NeverReturnExpired => self.ttl_ms,
        }
    }
}

/// A TTL that is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TtlPolicy {
    pub(crate) ttl_ms: i64,
    pub(crate) refreshes_on_read: bool,
    pub(crate) returns_expired: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_become_whole_milliseconds() {
        assert_eq!(StateTtl::after(Duration::from_micros(1_999)).ttl_ms(), 1);
        assert_eq!(StateTtl::after(Duration::from_micros(999)).ttl_ms(), 0);
        assert_eq!(StateTtl::after(Duration::MAX).ttl_ms(), i64::MAX);
    }

    #[test]
    fn disabled_is_no_ttl() {
        let ttl = StateTtl::after_ms(5);
        assert!(ttl.policy().is_some_and(|policy| !policy.refreshes_on_read));
        assert_eq!(ttl.update(TtlUpdate::Disabled).policy(), None);
        assert_eq!(ttl.to_string(), "a TTL of 5 ms, OnCreateAndWrite, NeverReturnExpired");
    }
}
