//! From blocks of deltas to durable checkpoints.

mod store_files;

pub(crate) use store_files::StoreFiles;
