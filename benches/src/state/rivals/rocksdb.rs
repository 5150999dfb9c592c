//! RocksDB as one sets it up to be fast at this: `get_pinned` and `put` for each event, no log, no
//! compression, bloom filters of ten bits a key, hash indexes in blocks, two threads in the background.
//!
//! Of the budget three quarters are the block cache and a quarter two write buffers. Indexes and
//! filters of open files are in memory beside them, which is its default and faster than to have them
//! in the block cache. Files are read and written through the kernel's page cache, which counts for
//! nobody. Statistics are counted, at the level without timers.

use std::ffi::{CString, c_char};
use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use thalweg::Result;

use super::rocksdb_library::{Library, Object};
use super::{RivalCounters, RivalValue, key_bytes};
use crate::state::events::Event;
use crate::state::rmw::Counters;

/// Waits for background work this long at a time.
const SETTLE_STEP: Duration = Duration::from_millis(20);
/// Bits of a key in a filter: one read in a hundred goes to a block that does not have it.
const FILTER_BITS: f64 = 10.0;
/// What says that work goes on in the background.
const BUSY: [&str; 4] = [
    "rocksdb.num-running-compactions",
    "rocksdb.num-running-flushes",
    "rocksdb.compaction-pending",
    "rocksdb.mem-table-flush-pending",
];
/// Lines of the statistics that are printed.
const TOLD: [&str; 8] = [
    "rocksdb.block.cache.miss",
    "rocksdb.block.cache.hit",
    "rocksdb.bytes.written",
    "rocksdb.flush.write.bytes",
    "rocksdb.compact.read.bytes",
    "rocksdb.compact.write.bytes",
    "rocksdb.stall.micros",
    "rocksdb.last.level.read.bytes",
];

/// **Invariants**: `database`, `options`, `write` and `read` are objects of `library`; the database
/// is open until it is closed in `drop`.
pub(super) struct Store<V> {
    library: Library,
    database: Object,
    options: Object,
    write: Object,
    read: Object,
    values: PhantomData<V>,
}

impl<V> Store<V> {
    pub(super) fn open(directory: &Path, budget_bytes: u64) -> Result<Self> {
        let library = Library::load()?;
        let options = options(&library, budget_bytes as usize);
        let path = CString::new(directory.as_os_str().as_encoded_bytes())?;
        // SAFETY: the options are the library's, the path ends in a zero.
        let database = library
            .checked(|message| unsafe { (library.open)(options, path.as_ptr(), message) })?;
        // SAFETY: takes nothing, gives an object.
        let write = unsafe { (library.writeoptions_create)() };
        // SAFETY: the object was just made.
        unsafe { (library.writeoptions_disable_WAL)(write, 1) };
        // SAFETY: takes nothing, gives an object.
        let read = unsafe { (library.readoptions_create)() };
        Ok(Store { library, database, options, write, read, values: PhantomData })
    }

    fn property(&self, name: &str) -> Option<String> {
        let name = CString::new(name).ok()?;
        // SAFETY: the database is open, the name ends in a zero.
        let text = unsafe { (self.library.property_value)(self.database, name.as_ptr()) };
        self.library.take_text(text)
    }

    /// The value of a key.
    #[inline]
    fn get(&self, key: &[u8; 9]) -> Result<V>
    where
        V: RivalValue,
    {
        let found = self.library.checked(|message| {
            let key: *const c_char = key.as_ptr().cast();
            // SAFETY: all objects are the library's, the key is nine bytes long.
            unsafe { (self.library.get_pinned)(self.database, self.read, key, 9, message) }
        })?;
        if found.is_null() {
            return Ok(V::default());
        }
        let mut length = 0;
        // SAFETY: the slice was found and is not destroyed yet.
        let bytes = unsafe { (self.library.pinnableslice_value)(found, &raw mut length) };
        // SAFETY: the slice has this many bytes until it is destroyed.
        let value = V::from_raw(unsafe { std::slice::from_raw_parts(bytes.cast(), length) });
        // SAFETY: it is destroyed this once.
        unsafe { (self.library.pinnableslice_destroy)(found) };
        Ok(value)
    }

    fn put(&self, key: &[u8; 9], value: &[u8]) -> Result<()> {
        self.library.checked(|message| {
            let (key, bytes) = (key.as_ptr().cast(), value.as_ptr().cast());
            // SAFETY: all objects are the library's; key and value are as long as is said.
            unsafe {
                (self.library.put)(self.database, self.write, key, 9, bytes, value.len(), message);
            }
        })
    }
}

/// Options within a budget of memory: three quarters block cache, a quarter write buffers.
fn options(library: &Library, budget_bytes: usize) -> Object {
    // SAFETY: takes nothing, gives an object.
    let options = unsafe { (library.options_create)() };
    // SAFETY: takes nothing, gives an object.
    let blocks = unsafe { (library.block_based_options_create)() };
    // SAFETY: takes a number, gives an object.
    let cache = unsafe { (library.cache_create_lru)(budget_bytes / 4 * 3) };
    // SAFETY: takes a number, gives an object.
    let filter = unsafe { (library.filterpolicy_create_bloom_full)(FILTER_BITS) };
    // SAFETY: all objects are the library's and of the kinds that the functions take; cache and
    // filter become the table options', and these the options'.
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "setters, one reason for all")]
    unsafe {
        (library.block_based_options_set_block_cache)(blocks, cache);
        (library.block_based_options_set_filter_policy)(blocks, filter);
        (library.block_based_options_set_format_version)(blocks, 5);
        (library.block_based_options_set_data_block_index_type)(blocks, 1);
        (library.block_based_options_set_data_block_hash_ratio)(blocks, 0.75);
        (library.options_set_create_if_missing)(options, 1);
        (library.options_set_compression)(options, 0);
        (library.options_set_write_buffer_size)(options, budget_bytes / 8);
        (library.options_set_max_write_buffer_number)(options, 2);
        (library.options_set_max_background_jobs)(options, 2);
        (library.options_set_allow_concurrent_memtable_write)(options, 0);
        (library.options_set_level_compaction_dynamic_level_bytes)(options, 1);
        (library.options_set_target_file_size_base)(options, 64 << 20);
        (library.options_set_max_bytes_for_level_base)(options, 256 << 20);
        (library.options_set_block_based_table_factory)(options, blocks);
        (library.options_enable_statistics)(options);
    }
    options
}

impl<V: RivalValue> Counters for Store<V> {
    fn update_all(&mut self, events: &[Event]) -> Result<u64> {
        events.iter().try_fold(0_u64, |digest, event| Ok(digest.wrapping_add(self.update(*event)?)))
    }

    fn update(&mut self, event: Event) -> Result<u64> {
        let key = key_bytes(event.key());
        let mut value = self.get(&key)?;
        let sum = value.add(event.amount());
        self.put(&key, value.to_raw().as_ref())?;
        Ok(sum)
    }

    #[expect(clippy::disallowed_methods, reason = "its C interface has no call that waits")]
    fn settle(&mut self) -> Result<()> {
        while BUSY.iter().any(|name| self.property(name).is_some_and(|value| value != "0")) {
            std::thread::sleep(SETTLE_STEP);
        }
        Ok(())
    }
}

impl<V: RivalValue> RivalCounters for Store<V> {
    fn statistics(&self) -> String {
        // SAFETY: the options are the library's, with statistics enabled.
        let text = unsafe { (self.library.options_statistics_get_string)(self.options) };
        let statistics = self.library.take_text(text).unwrap_or_default();
        let told = TOLD.iter().filter_map(|name| statistics.lines().find(|l| l.starts_with(name)));
        let levels = self.property("rocksdb.levelstats").unwrap_or_default();
        format!("{}\n{levels}", told.collect::<Vec<_>>().join("\n"))
    }
}

impl<V> Drop for Store<V> {
    fn drop(&mut self) {
        // SAFETY: the database is open, and closed this once.
        unsafe { (self.library.close)(self.database) };
    }
}
