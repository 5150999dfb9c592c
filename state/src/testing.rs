//! What tests of files use: a table of plain bytes on a store, and the readers of each format.
//!
//! [`RawTable`] writes the records that resident tables write, without any: tests of the durable
//! protocols need neither typed values nor rows in memory.

pub mod formats;

use std::collections::BTreeMap;

use crate::backend::{RowAddress, StateRequest, TableRequest, TableStore};
use crate::codec::{Record, RecordKind, RowWriter, StateIndex};
use crate::{Epoch, Key as _, LsmStore, SchemaDescription, StateError, StoreError};

/// A row's key, and an entry's sub-key: empty for the row's value.
pub type RawKey = (u64, Vec<u8>);

/// A table with a value and a map of entries for each key, all of them bytes.
///
/// Changes go into the current epoch's delta at once.
#[derive(Debug)]
pub struct RawTable {
    store: TableStore,
    /// The numbers of the value and of the entries.
    states: Box<[StateIndex]>,
}

impl RawTable {
    /// Opens a table.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn open(store: &LsmStore, name: &str) -> Result<Self, StoreError> {
        let value = SchemaDescription::of::<Vec<u8>>();
        let entries = SchemaDescription::of::<(Vec<u8>, Vec<u8>)>();
        let states = [
            StateRequest { name: "value", schema: &value },
            StateRequest { name: "entries", schema: &entries },
        ];
        let key = SchemaDescription::of::<u64>();
        let opened = store.table(&TableRequest { name, key: &key, states: &states })?;
        Ok(RawTable { store: opened.store, states: opened.states })
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn put(&mut self, key: u64, value: &[u8]) -> Result<(), StateError> {
        let record = Record::put(self.states[0], value);
        self.write(key, &[record])
    }

    /// Sets an entry of a key.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn put_entry(&mut self, key: u64, sub: &[u8], value: &[u8]) -> Result<(), StateError> {
        let record = Record { sub, ..Record::put(self.states[1], value) };
        self.write(key, &[record])
    }

    /// Removes all of a key.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn remove(&mut self, key: u64) -> Result<(), StateError> {
        self.write(key, &[Record::remove(RecordKind::RemoveRow, 0, &[])])
    }

    /// Removes an entry of a key.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn remove_entry(&mut self, key: u64, sub: &[u8]) -> Result<(), StateError> {
        let record = Record::remove(RecordKind::RemoveEntry, self.states[1], sub);
        self.write(key, &[record])
    }

    /// Removes all entries of a key.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn clear_entries(&mut self, key: u64) -> Result<(), StateError> {
        let record = Record::remove(RecordKind::RemoveState, self.states[1], &[]);
        self.write(key, &[record])
    }

    fn write(&mut self, key: u64, records: &[Record<'_>]) -> Result<(), StateError> {
        let epoch = self.store.current_epoch();
        let group = self.store.group_of(key.key_hash());
        let address = RowAddress { group, hash: key.key_hash(), key: &key.to_le_bytes() };
        self.store.row(epoch, address, |row: &mut RowWriter<'_>| {
            records.iter().for_each(|record| row.write(*record));
            Ok(())
        })
    }

    /// Ends the current epoch, all of which is written.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn end_epoch(&mut self) -> Result<Epoch, StateError> {
        let ended = self.store.barrier();
        self.store.finish(ended)?;
        Ok(ended)
    }

    /// All that can be read, in the order of a scan.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn scan(&mut self) -> Result<Vec<(RawKey, Vec<u8>)>, StateError> {
        let mut records = Vec::new();
        let groups = self.store.groups();
        self.store.scan(groups, &mut |address, record| {
            let key = (key_of(address.key), record.sub.to_vec());
            records.push((key, record.value.to_vec()));
            Ok(())
        })?;
        Ok(records)
    }

    /// All that can be read, by a scan.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn contents(&mut self) -> Result<BTreeMap<RawKey, Vec<u8>>, StateError> {
        Ok(self.scan()?.into_iter().collect())
    }

    /// What can be read of these keys, together.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn get(&mut self, keys: &[u64]) -> Result<BTreeMap<RawKey, Vec<u8>>, StateError> {
        let bytes: Vec<[u8; 8]> = keys.iter().map(|key| key.to_le_bytes()).collect();
        let addresses: Vec<RowAddress<'_>> = (keys.iter().zip(&bytes))
            .map(|(key, bytes)| {
                let hash = key.key_hash();
                RowAddress { group: self.store.group_of(hash), hash, key: bytes }
            })
            .collect();
        let mut contents = BTreeMap::new();
        self.store.read_rows(&addresses, &mut |number, record| {
            contents.insert((keys[number], record.sub.to_vec()), record.value.to_vec());
            Ok(())
        })?;
        Ok(contents)
    }
}

/// The key of a row; of hand-made files, which may have keys of any length, its first bytes.
fn key_of(bytes: &[u8]) -> u64 {
    let mut key = [0; 8];
    let length = bytes.len().min(key.len());
    key[..length].copy_from_slice(&bytes[..length]);
    u64::from_le_bytes(key)
}
