//! Files as streams: lines and CSV, read by splits and written as published files.
//!
//! ```text
//!  FileEnumerator ─ FileSplit (path, position) ─► FileSourceReader ─► FileDecoder (lines, csv) ─► OnMalformed ─► chain
//!  lists the path, also while the job runs          one a subtask        over io's FileReader       fail, skip, results
//!
//!  chain ─► FileSink (one a subtask) ─► RowEncoder (lines, csv) ─► parts, one a bucket ─► pending ─► published
//! ```
//!
//! All access goes through an `Arc<dyn Storage>` of the crate `thalweg-io`, the local file system by default.

mod csv_decoder;
mod csv_options;
mod decoder;
mod encoder;
mod enumerator;
mod error;
mod lines;
mod malformed;
mod reader;
mod sink;
mod source;
mod split;

pub use csv_decoder::CsvDecoder;
pub use csv_options::{Csv, CsvOptions};
pub use decoder::{Decoded, FileDecoder, FileFormat};
pub use encoder::{CsvRows, LineRows, RowEncoder, RowFormat};
pub use error::FileSourceError;
pub use lines::{LineDecoder, Lines};
pub use malformed::{AsResults, Malformed, MalformedRow, OnMalformed};
pub use reader::FileSourceReader;
pub use sink::{BucketAssigner, BucketBy, FileSink, FileSinkError, OneBucket, crash_points};
pub use source::FileSource;
pub use split::FileSplit;
