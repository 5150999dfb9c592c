//! What a field holds whose state has a TTL: values, elements and entries with the time of their last
//! update.
//!
//! ```text
//! read:   absent ─► nothing      live ─► given (and refreshed)      expired ─► removed (and given once)
//! ```
//! 1. A read may remove, but has the row in shared use: other references into it may be alive. So it
//!    only marks what it removes, by the time `REMOVED`, and every later use takes it for absent.
//! 2. When the cursor's use is over, [`RowStore::release`](crate::RowStore::release) purges the row:
//!    what was marked is dropped, a field that keeps nothing becomes absent, and the row learns
//!    whether reads have changed what is to be archived.
//! 3. An archived record has its expiry in the header: the last update plus the TTL. Loading computes
//!    the update back from it. So a record keeps the expiry it was written with when the TTL is
//!    another one in the next run: the new TTL holds for what is written, or refreshed by a read,
//!    from then on. (Flink measures old updates by the new TTL. Here the files below drop what has
//!    expired without knowing of states, and of which run a record is; so what they have told
//!    expired must stay it.)
//!
//! **Invariants**
//! - `updated_ms == REMOVED` exactly for what a read has removed; clocks are kept above it.
//! - Fields are archived after they were purged: nothing in them is marked then.

mod list;
mod map;

pub(crate) use list::{ExpiringList, VisibleElements};
pub(crate) use map::{ExpiringMap, ReadEntries};

use std::cell::Cell;

use thalweg_io::{Fault, planted};

use super::content::{Content, FieldWriter, Reading};
use crate::codec::Record;
use crate::ttl::{KEPT_MS, TtlPolicy};
use crate::{StateError, StateValue};

/// The time of what a read has removed.
const REMOVED: i64 = i64::MIN;

/// The earliest time that is one.
pub(super) const NOW_MS_MIN: i64 = REMOVED + 1;

/// The rules of a state and the time of an access to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) policy: TtlPolicy,
    pub(crate) now_ms: i64,
}

/// How a value is found at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Removed,
    Expired,
    Live,
}

/// What purging needs to know of a field's type.
pub(crate) trait Purge {
    /// Drops what reads have removed and tells what they did.
    fn purge(&mut self) -> Purged;
}

/// What reads did to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purged {
    /// Nothing that is to be archived.
    Unchanged,
    /// They changed what is to be archived.
    Changed,
    /// They removed all: the field is to become absent.
    Gone,
}

impl Purged {
    fn of(is_empty: bool, is_touched: bool) -> Self {
        match (is_empty, is_touched) {
            (true, _) => Purged::Gone,
            (false, true) => Purged::Changed,
            (false, false) => Purged::Unchanged,
        }
    }
}

/// When a record was last updated, in milliseconds, by its expiry. A record without one was written
/// while the state had no TTL: it lives until it is written again.
fn updated_ms_of(record: &Record<'_>, ttl_ms: Option<i64>) -> i64 {
    let expires_at_ms = record.expires_at_ms.unwrap_or(i64::MAX);
    let lived_ms = match ttl_ms {
        _ if expires_at_ms >= KEPT_MS / 2 => KEPT_MS,
        // Written when expired state was not given yet: it lives anew.
        Some(KEPT_MS) | None => 0,
        Some(ttl_ms) => ttl_ms,
    };
    expires_at_ms.saturating_sub(lived_ms).max(NOW_MS_MIN)
}

/// A value that expires.
#[derive(Debug)]
pub(crate) struct Expiring<V> {
    dated: Dated<V>,
    /// Whether a read has refreshed it since it was purged.
    is_refreshed: Cell<bool>,
}

impl<V> Expiring<V> {
    pub(crate) fn new(value: V, access: Access) -> Self {
        Expiring::of(Dated::new(value, access))
    }

    fn of(dated: Dated<V>) -> Self {
        Expiring { dated, is_refreshed: Cell::new(false) }
    }

    /// See [`Dated::read`].
    pub(crate) fn read(&self, access: Access) -> Option<&V> {
        let before_ms = self.dated.updated_ms();
        let value = self.dated.read(access);
        if self.dated.updated_ms() != before_ms {
            self.is_refreshed.set(true);
        }
        value
    }

    /// See [`Dated::write_or_make`].
    pub(crate) fn write_or_make(&mut self, access: Access, make: impl FnOnce() -> V) -> &mut V {
        self.dated.write_or_make(access, make)
    }

    /// See [`Dated::write`].
    pub(crate) fn write(&mut self, access: Access) -> Option<&mut V> {
        self.dated.write(access)
    }

    pub(crate) fn into_visible(self, access: Access) -> Option<V> {
        self.dated.into_visible(access)
    }
}

impl<V> Purge for Expiring<V> {
    fn purge(&mut self) -> Purged {
        Purged::of(self.dated.is_removed(), self.is_refreshed.replace(false))
    }
}

impl<V: StateValue> Content for Expiring<V> {
    fn archive(&mut self, out: &mut FieldWriter<'_, '_>) -> Result<(), StateError> {
        out.put(&[], Some(self.dated.updated_ms()), &self.dated.value)
    }

    fn load(
        current: Option<&mut Self>,
        record: &Record<'_>,
        reading: &Reading,
    ) -> Result<Option<Self>, StateError> {
        let value = reading.versions.read(record)?;
        let held = Expiring::of(Dated::at(value, updated_ms_of(record, reading.ttl_ms)));
        match current {
            Some(current) => {
                *current = held;
                Ok(None)
            }
            None => Ok(Some(held)),
        }
    }
}

/// A value with the time of its last update.
#[derive(Debug)]
struct Dated<V> {
    value: V,
    updated_ms: Cell<i64>,
}

impl<V> Dated<V> {
    fn new(value: V, access: Access) -> Self {
        Dated::at(value, access.now_ms)
    }

    fn at(value: V, updated_ms: i64) -> Self {
        Dated { value, updated_ms: Cell::new(updated_ms) }
    }

    fn updated_ms(&self) -> i64 {
        self.updated_ms.get()
    }

    /// The value as a read finds it, which may refresh or remove it.
    fn read(&self, access: Access) -> Option<&V> {
        match self.age(access) {
            Age::Removed => None,
            Age::Expired => {
                self.remove();
                access.policy.returns_expired.then_some(&self.value)
            }
            Age::Live => {
                self.refresh(access);
                Some(&self.value)
            }
        }
    }

    /// The value to change, made anew if the one at hand is not to be seen; counts as a write.
    fn write_or_make(&mut self, access: Access, make: impl FnOnce() -> V) -> &mut V {
        if !self.is_visible(access) {
            self.value = make();
        }
        self.written(access)
    }

    /// The value to change, if it is to be seen; counts as a write.
    fn write(&mut self, access: Access) -> Option<&mut V> {
        self.is_visible(access).then(|| self.written(access))
    }

    fn into_visible(self, access: Access) -> Option<V> {
        self.is_visible(access).then_some(self.value)
    }

    fn written(&mut self, access: Access) -> &mut V {
        // What has expired and is made anew was not there before.
        if self.age(access) != Age::Live || !planted(Fault::FirstWriteExpires) {
            self.updated_ms.set(access.now_ms);
        }
        &mut self.value
    }

    /// Would a read give it?
    fn is_visible(&self, access: Access) -> bool {
        match self.age(access) {
            Age::Removed => false,
            Age::Expired => access.policy.returns_expired,
            Age::Live => true,
        }
    }

    fn age(&self, access: Access) -> Age {
        match self.updated_ms.get() {
            REMOVED => Age::Removed,
            // A TTL is positive, so the sum can only be too large: then it never expires, but at
            // the end of time.
            updated_ms if updated_ms.saturating_add(access.policy.ttl_ms) <= access.now_ms => {
                Age::Expired
            }
            _ => Age::Live,
        }
    }

    /// Whether the time of the last update is another one then.
    fn refresh(&self, access: Access) -> bool {
        access.policy.refreshes_on_read && self.updated_ms.replace(access.now_ms) != access.now_ms
    }

    fn remove(&self) {
        self.updated_ms.set(REMOVED);
    }

    fn is_removed(&self) -> bool {
        self.updated_ms.get() == REMOVED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(ttl_ms: i64, now_ms: i64) -> Access {
        let policy = TtlPolicy { ttl_ms, refreshes_on_read: false, returns_expired: false };
        Access { policy, now_ms }
    }

    #[test]
    fn expires_at_the_very_millisecond_without_overflow() {
        for (updated_ms, ttl_ms, now_ms, expected) in [
            (0, 100, 99, Age::Live),
            (0, 100, 100, Age::Expired),
            (-50, 100, 49, Age::Live),
            (-50, 100, 50, Age::Expired),
            (1, i64::MAX, i64::MAX - 1, Age::Live),
            (5, i64::MAX, i64::MAX, Age::Expired),
            (NOW_MS_MIN, 1, NOW_MS_MIN, Age::Live),
            (NOW_MS_MIN, i64::MAX, 0, Age::Expired),
        ] {
            let value = Dated::new((), access(ttl_ms, updated_ms));
            assert_eq!(
                value.age(access(ttl_ms, now_ms)),
                expected,
                "{updated_ms} {ttl_ms} {now_ms}"
            );
        }
    }

    #[test]
    fn what_a_read_removed_is_purged() {
        let mut list = ExpiringList::default();
        list.extend([1, 2], access(10, 0));
        list.extend([3], access(10, 5));
        assert_eq!(list.visible(access(10, 12)).count(), 1);
        list.finish_read(access(10, 12));
        assert_eq!(list.purge(), Purged::Unchanged);
        assert_eq!(list.visible(access(10, 0)).count(), 1);
        list.finish_read(access(10, 15));
        assert_eq!(list.purge(), Purged::Gone);
    }
}
