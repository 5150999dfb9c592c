//! w7: count of events and sum of cents for each name.

use super::ShardOperator;
use crate::events::Named;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// In a map of hashbrown; a name is copied when it is new.
#[derive(Clone, Default)]
pub(crate) struct NamedCounts {
    counts: HashMap<String, (u64, u64), FixedState>,
}

impl ShardOperator for NamedCounts {
    type In = Named;
    type Out = (String, u64, u64);
    const HAS_WATERMARKS: bool = false;

    #[inline(always)]
    fn record(&mut self, event: Named, out: &mut impl FnMut((String, u64, u64))) {
        let entry = self.counts.entry_ref(event.name.as_str()).or_insert((0, 0));
        entry.0 += 1;
        entry.1 += event.cents();
        let (count, cents) = *entry;
        out((event.name, count, cents));
    }
}
