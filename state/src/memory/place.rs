//! The place of a state in the rows, behind every handle: a slot, or one of state that expires.
//!
//! A handle of state with a TTL leaves `plain` unopened, so that it matches no cursor: the one
//! comparison that every use makes tells both mistakes and TTLs from the plain case, which pays
//! nothing for them.
//!
//! **Invariants**
//! - At most one of `plain` and `expiring` is opened.

use std::fmt;
use std::sync::Arc;

use super::expiring::Access;
use super::row_cursor::RowCursor;
use super::slot::Slot;
use crate::StateError;
use crate::ttl::TtlPolicy;

/// The place of a `V`, or of an `E` where it expires, behind a handle of type `H`.
pub(crate) struct Place<V, E, H> {
    pub(crate) plain: Slot<V, H>,
    expiring: Option<Arc<ExpiringPlace<E, H>>>,
}

struct ExpiringPlace<E, H> {
    slot: Slot<E, H>,
    policy: TtlPolicy,
}

impl<V, E, H> Place<V, E, H> {
    pub(crate) fn plain(slot: Slot<V, H>) -> Self {
        Place { plain: slot, expiring: None }
    }

    pub(crate) fn expiring(slot: Slot<E, H>, policy: TtlPolicy) -> Self {
        Place { plain: Slot::default(), expiring: Some(Arc::new(ExpiringPlace { slot, policy })) }
    }

    /// Whether the slot without TTL is the one to use with this cursor.
    #[inline(always)]
    pub(crate) fn is_plain(&self, cursor: &RowCursor<'_>) -> bool {
        self.plain.is_of(cursor)
    }

    /// What to use where the plain slot is not to be: the other slot and the access to it, or the
    /// reason why there is none.
    pub(crate) fn expiring_at(
        &self,
        cursor: &RowCursor<'_>,
    ) -> Result<(&Slot<E, H>, Access), StateError> {
        let Some(place) = &self.expiring else { return Err(self.plain.misuse(cursor)) };
        match cursor.operator() {
            Some(operator) if place.slot.is_of(cursor) => {
                Ok((&place.slot, Access { policy: place.policy, now_ms: operator.now_ms() }))
            }
            _ => Err(place.slot.misuse(cursor)),
        }
    }

    /// Whether the row has anything here, expired or not.
    pub(crate) fn is_present(&self, cursor: &RowCursor<'_>) -> Result<bool, StateError> {
        if self.is_plain(cursor) {
            return Ok(self.plain.get(cursor)?.is_some());
        }
        let (slot, _) = self.expiring_at(cursor)?;
        Ok(slot.get(cursor)?.is_some())
    }

    /// The state's name; `None` before the handle was opened.
    pub(crate) fn name(&self) -> Option<&str> {
        self.expiring.as_ref().map_or(self.plain.name(), |place| place.slot.name())
    }
}

impl<V, E, H> Default for Place<V, E, H> {
    fn default() -> Self {
        Place { plain: Slot::default(), expiring: None }
    }
}

impl<V, E, H> Clone for Place<V, E, H> {
    fn clone(&self) -> Self {
        Place { plain: self.plain.clone(), expiring: self.expiring.clone() }
    }
}

impl<V, E, H> fmt::Debug for Place<V, E, H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name().unwrap_or("unopened"))
    }
}
