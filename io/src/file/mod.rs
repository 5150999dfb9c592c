//! Files as the engine uses them: read forward, read as lines, mapped, written and published.
//!
//! ```text
//!  Box<dyn ReadFile> ─► FileReader ─► LineReader        fill() a chunk, take what is there, again
//!                       (plain, gzip; bounded, follow)
//!  FileWriter ─► complete() ─► CompletedFile ─► FileReader
//!       ▲ one file after the other
//!  RollingWriter
//! ```
//!
//! # Reading by polling
//!
//! Nothing here waits. [`FileReader::fill`] does at most one chunk of work and says what came of
//! it ([`ReadStatus`]); a source calls it from its run loop and yields when its budget is used:
//!
//! ```
//! use std::{path::Path, sync::Arc};
//! use thalweg_io::file::{FileReader, LineOptions, LineReader, LineStatus, ReadOptions};
//! use thalweg_io::storage::{MemoryStorage, Storage};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
//! storage.create(Path::new("in.csv"))?.append(b"a,1\nb,2\n")?;
//!
//! let reader = FileReader::open(&storage, "in.csv", ReadOptions::bounded())?;
//! let mut lines = LineReader::new(reader, LineOptions::default());
//! let mut rows = Vec::new();
//! loop {
//!     match lines.next_line()? {
//!         LineStatus::Line(line) => rows.push(String::from_utf8(line.bytes.to_vec())?),
//!         LineStatus::Pending => {} // a budgeted caller may yield here
//!         LineStatus::AtEnd | LineStatus::Rotated => break,
//!     }
//! }
//! assert_eq!(rows, ["a,1", "b,2"]);
//! # Ok(())
//! # }
//! ```

mod read_error;
mod read_options;
mod window;

mod gzip;
mod reader;

mod lines;
mod mapped;

mod rolling;
mod writer;

pub use gzip::GzipFault;
pub use lines::{Line, LineError, LineOptions, LineReader, LineStatus};
pub use mapped::MappedFile;
pub use read_error::ReadError;
pub use read_options::{Compression, ReadOptions};
pub use reader::{FileReader, ReadStatus};
pub use rolling::{RollingOptions, RollingWriter};
pub use writer::{CompletedFile, FileWriter, IN_PROGRESS_SUFFIX, crash_points};
