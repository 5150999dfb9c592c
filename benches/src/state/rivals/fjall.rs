//! fjall: an LSM tree in Rust. Its journal is written and never synced.

use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use ::fjall::config::{CompressionPolicy, HashRatioPolicy};
use ::fjall::{Database, Keyspace, KeyspaceCreateOptions};
use thalweg::Result;

use super::{RivalCounters, RivalValue, key_bytes};
use crate::state::events::Event;
use crate::state::rmw::Counters;

/// Waits for background work this long at a time.
const SETTLE_STEP: Duration = Duration::from_millis(20);
/// More than any run writes into the journal, which is never needed.
const JOURNAL_BYTES_MAX: u64 = 4 << 30;

pub(super) struct Store<V> {
    database: Database,
    keyspace: Keyspace,
    values: PhantomData<V>,
}

impl<V> Store<V> {
    pub(super) fn open(directory: &Path, budget_bytes: u64) -> Result<Self> {
        let database = Database::builder(directory)
            .cache_size(budget_bytes / 4 * 3)
            .manual_journal_persist(true)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .open()?;
        let keyspace = database.keyspace("counters", || {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                .max_memtable_size((budget_bytes / 8).min(64 << 20))
                .expect_point_read_hits(true)
                .data_block_compression_policy(CompressionPolicy::disabled())
                .data_block_hash_ratio_policy(HashRatioPolicy::all(0.75))
        })?;
        Ok(Store { database, keyspace, values: PhantomData })
    }
}

impl<V: RivalValue> Counters for Store<V> {
    fn update_all(&mut self, events: &[Event]) -> Result<u64> {
        events.iter().try_fold(0_u64, |digest, event| Ok(digest.wrapping_add(self.update(*event)?)))
    }

    fn update(&mut self, event: Event) -> Result<u64> {
        let key = key_bytes(event.key());
        let mut value =
            self.keyspace.get(key)?.map_or_else(V::default, |bytes| V::from_raw(&bytes));
        let sum = value.add(event.amount());
        self.keyspace.insert(key, value.to_raw().as_ref())?;
        Ok(sum)
    }

    #[expect(clippy::disallowed_methods, reason = "fjall has no call that waits for its threads")]
    fn settle(&mut self) -> Result<()> {
        while self.database.outstanding_flushes() > 0 || self.database.active_compactions() > 0 {
            std::thread::sleep(SETTLE_STEP);
        }
        Ok(())
    }
}

impl<V: RivalValue> RivalCounters for Store<V> {
    fn statistics(&self) -> String {
        let disk_bytes = self.database.disk_space().unwrap_or(0);
        format!("fjall disk_mib={:.1}", disk_bytes as f64 / f64::from(1 << 20))
    }
}
