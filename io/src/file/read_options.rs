//! How a file is to be read.

/// How the bytes of a file are turned into data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// gzip if the file starts with its two magic bytes, plain otherwise. The name is not looked at.
    #[default]
    Detect,
    /// The bytes are the data, whatever they look like.
    Plain,
    /// gzip; a file that does not start so is damaged.
    Gzip,
}

/// How a [`FileReader`](super::FileReader) reads: begin with [`ReadOptions::bounded`] or
/// [`ReadOptions::follow`].
///
/// # Examples
///
/// ```
/// use thalweg_io::file::ReadOptions;
///
/// let tail = ReadOptions::follow().start_position(4096).chunk_bytes(64 << 10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    pub(super) follow: bool,
    pub(super) start_position: u64,
    pub(super) compression: Compression,
    pub(super) chunk_bytes: usize,
    pub(super) buffer_bytes_max: usize,
}

impl ReadOptions {
    /// Read to the end the file has when it is opened; what is appended later is not read.
    pub fn bounded() -> Self {
        Self {
            follow: false,
            start_position: 0,
            compression: Compression::Detect,
            // Large enough to hide the cost of a call, small enough to stay in a 1 MiB L2.
            chunk_bytes: 256 << 10,
            buffer_bytes_max: 2 << 20,
        }
    }

    /// Read to the end and then whatever is appended, until the caller stops.
    pub fn follow() -> Self {
        Self { follow: true, ..Self::bounded() }
    }

    /// The first byte wanted, counted in decompressed data. In a gzip file the bytes before are
    /// decoded and dropped. Default: 0.
    #[must_use]
    pub fn start_position(self, start_position: u64) -> Self {
        Self { start_position, ..self }
    }

    /// Whether the file is compressed. Default: [`Compression::Detect`].
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// The most that one `fill` reads and the most it decodes. At least 1. Default: 256 KiB.
    #[must_use]
    pub fn chunk_bytes(self, chunk_bytes: usize) -> Self {
        Self { chunk_bytes: chunk_bytes.max(1), ..self }
    }

    /// The most that is buffered for a caller who consumes nothing; a line reader raises it to
    /// its longest line. At least 1. Default: 2 MiB.
    #[must_use]
    pub fn buffer_bytes_max(self, buffer_bytes_max: usize) -> Self {
        Self { buffer_bytes_max: buffer_bytes_max.max(1), ..self }
    }
}
