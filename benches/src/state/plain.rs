//! The baseline: hashbrown's maps with foldhash, made with room for all keys, one `entry()` an
//! event, nothing else.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::events::Event;
use super::rmw::{Counters, Value};
use thalweg::Result;

/// A map as the baseline has them.
pub(super) type PlainMap<K, V> = HashMap<K, V, FixedState>;

/// A counter a key.
pub(super) struct PlainCounters<V> {
    counters: PlainMap<u64, V>,
}

impl<V> PlainCounters<V> {
    pub(super) fn with_room_for(keys: u64) -> Self {
        let counters = HashMap::with_capacity_and_hasher(keys as usize, FixedState::default());
        PlainCounters { counters }
    }

    pub(super) fn counters(&self) -> &PlainMap<u64, V> {
        &self.counters
    }
}

impl<V: Value> Counters for PlainCounters<V> {
    #[inline(never)]
    fn update_all(&mut self, events: &[Event]) -> Result<u64> {
        let mut digest = 0_u64;
        for event in events {
            let value = self.counters.entry(event.key()).or_default();
            digest = digest.wrapping_add(value.add(event.amount()));
        }
        Ok(digest)
    }

    #[inline(never)]
    fn update(&mut self, event: Event) -> Result<u64> {
        Ok(self.counters.entry(event.key()).or_default().add(event.amount()))
    }
}
