//! RocksDB's C interface, found in a shared library when it is asked for: building RocksDB takes
//! many minutes and a C++ toolchain with libclang, and every distribution has it built.

use std::ffi::{CStr, CString, c_char, c_int, c_uchar, c_void};

use thalweg::Result;

/// An object of the library.
pub(super) type Object = *mut c_void;
/// Where the library puts a message when a call fails.
pub(super) type Message = *mut *mut c_char;

/// Names under which distributions have it; `ROCKSDB_LIBRARY` goes first.
const NAMES: [&str; 8] = [
    "librocksdb.so",
    "librocksdb.so.11",
    "librocksdb.so.10",
    "librocksdb.so.9.10",
    "librocksdb.so.8.9",
    "librocksdb.so.8",
    "librocksdb.so.7.8",
    "librocksdb.so.7",
];

/// Declares the functions that are used, and looks them up by their names.
macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of the library, which stays loaded for good.
        #[expect(non_snake_case, reason = "the names are the library's")]
        pub(super) struct Library {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Library {
            fn of(handle: Object) -> Result<Self> {
                Ok(Library {
                    $($name: {
                        let found = symbol(handle, concat!("rocksdb_", stringify!($name)))?;
                        // SAFETY: the library's function of this name has this type: its header says
                        // so, and RocksDB keeps the C interface compatible.
                        unsafe {
                            std::mem::transmute::<
                                Object,
                                unsafe extern "C" fn($($argument),*) $(-> $result)?,
                            >(found)
                        }
                    },)*
                })
            }
        }
    };
}

functions! {
    options_create: fn() -> Object;
    options_set_create_if_missing: fn(Object, c_uchar);
    options_set_compression: fn(Object, c_int);
    options_set_write_buffer_size: fn(Object, usize);
    options_set_max_write_buffer_number: fn(Object, c_int);
    options_set_max_background_jobs: fn(Object, c_int);
    options_set_allow_concurrent_memtable_write: fn(Object, c_uchar);
    options_set_level_compaction_dynamic_level_bytes: fn(Object, c_uchar);
    options_set_target_file_size_base: fn(Object, u64);
    options_set_max_bytes_for_level_base: fn(Object, u64);
    options_set_block_based_table_factory: fn(Object, Object);
    options_enable_statistics: fn(Object);
    options_statistics_get_string: fn(Object) -> *mut c_char;
    block_based_options_create: fn() -> Object;
    block_based_options_set_block_cache: fn(Object, Object);
    block_based_options_set_filter_policy: fn(Object, Object);
    block_based_options_set_format_version: fn(Object, c_int);
    block_based_options_set_data_block_index_type: fn(Object, c_int);
    block_based_options_set_data_block_hash_ratio: fn(Object, f64);
    cache_create_lru: fn(usize) -> Object;
    filterpolicy_create_bloom_full: fn(f64) -> Object;
    writeoptions_create: fn() -> Object;
    writeoptions_disable_WAL: fn(Object, c_int);
    readoptions_create: fn() -> Object;
    open: fn(Object, *const c_char, Message) -> Object;
    close: fn(Object);
    put: fn(Object, Object, *const c_char, usize, *const c_char, usize, Message);
    get_pinned: fn(Object, Object, *const c_char, usize, Message) -> Object;
    pinnableslice_value: fn(Object, *mut usize) -> *const c_char;
    pinnableslice_destroy: fn(Object);
    property_value: fn(Object, *const c_char) -> *mut c_char;
    free: fn(Object);
}

impl Library {
    /// Loads the library.
    pub(super) fn load() -> Result<Self> {
        let named = std::env::var("ROCKSDB_LIBRARY").ok();
        let names = named.as_deref().into_iter().chain(NAMES);
        let handle = names.filter_map(open_library).next().ok_or(
            "no shared library of RocksDB was found; install your system's (librocksdb) or name its file in ROCKSDB_LIBRARY",
        )?;
        Library::of(handle)
    }

    /// Runs a call that reports failure through a message.
    pub(super) fn checked<R>(&self, call: impl FnOnce(Message) -> R) -> Result<R> {
        let mut message = std::ptr::null_mut();
        let result = call(&raw mut message);
        match self.take_text(message) {
            None => Ok(result),
            Some(text) => Err(format!("RocksDB: {text}").into()),
        }
    }

    /// A text of the library's, which is freed; `None` for null.
    pub(super) fn take_text(&self, text: *mut c_char) -> Option<String> {
        if text.is_null() {
            return None;
        }
        // SAFETY: the library returns null or a text that ends in a zero and is the caller's.
        let copy = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        // SAFETY: as above; it is freed this once.
        unsafe { (self.free)(text.cast()) };
        Some(copy)
    }
}

fn open_library(name: &str) -> Option<Object> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name ends in a zero. The initialisers of RocksDB's library register its own
    // objects only.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    (!handle.is_null()).then_some(handle)
}

fn symbol(handle: Object, name: &str) -> Result<Object> {
    let text = CString::new(name)?;
    // SAFETY: the handle is of an open library, and the name ends in a zero.
    let found = unsafe { libc::dlsym(handle, text.as_ptr()) };
    if found.is_null() {
        return Err(
            format!("the library of RocksDB has no function {name}; use another version").into()
        );
    }
    Ok(found)
}
