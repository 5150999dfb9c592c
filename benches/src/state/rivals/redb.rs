//! redb: a copy-on-write B-tree in Rust. It commits every million updates, without a sync.

use std::marker::PhantomData;
use std::path::Path;

use ::redb::{Database, Durability, ReadableTable, TableDefinition, WriteTransaction};
use thalweg::Result;

use super::{RivalCounters, RivalValue};
use crate::state::events::Event;
use crate::state::rmw::Counters;

const TABLE: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("counters");
/// Updates between two commits.
const COMMIT_EVERY: usize = 1_000_000;

pub(super) struct Store<V> {
    database: Database,
    transaction: Option<WriteTransaction>,
    updates: usize,
    values: PhantomData<V>,
}

impl<V> Store<V> {
    pub(super) fn open(directory: &Path, budget_bytes: u64) -> Result<Self> {
        let database = Database::builder()
            .set_cache_size(budget_bytes as usize)
            .create(directory.join("database"))?;
        Ok(Store { database, transaction: None, updates: 0, values: PhantomData })
    }

    fn commit(&mut self, durability: Durability) -> Result<()> {
        self.updates = 0;
        let Some(mut transaction) = self.transaction.take() else { return Ok(()) };
        transaction.set_durability(durability)?;
        transaction.commit()?;
        Ok(())
    }
}

impl<V: RivalValue> Counters for Store<V> {
    fn update_all(&mut self, events: &[Event]) -> Result<u64> {
        if self.transaction.is_none() {
            self.transaction = Some(self.database.begin_write()?);
        }
        let mut digest = 0_u64;
        if let Some(transaction) = &self.transaction {
            let mut table = transaction.open_table(TABLE)?;
            for event in events {
                let found = table.get(event.key())?;
                let mut value = found.map_or_else(V::default, |bytes| V::from_raw(bytes.value()));
                digest = digest.wrapping_add(value.add(event.amount()));
                table.insert(event.key(), value.to_raw().as_ref())?;
            }
        }
        self.updates += events.len();
        if self.updates >= COMMIT_EVERY {
            self.commit(Durability::None)?;
        }
        Ok(digest)
    }

    fn update(&mut self, event: Event) -> Result<u64> {
        self.update_all(&[event])
    }

    fn settle(&mut self) -> Result<()> {
        self.commit(Durability::Immediate)
    }
}

impl<V: RivalValue> RivalCounters for Store<V> {
    fn statistics(&self) -> String {
        "redb".to_owned()
    }
}
