//! Lines of text over TCP.
//!
//! A [`SourceFunction`]: it connects, reads lines, and at the end of a connection gives up or connects again, as told. What was
//! sent while it was not connected is lost, so the source is at-most-once; it is for demonstrations and for feeds that can be
//! repeated.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use super::source_function::FunctionReader;
use super::source_function::{Canceller, FunctionSource, SourceFunction, SourceFunctionContext};
use super::splits::SubtaskSplit;
use crate::Result;
use crate::function::{Boundedness, ReaderContext, Source};
use crate::sync::{Mutex, lock};

/// What happens when the other side closes the connection or it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reconnect {
    /// A closed connection is the end of the input; a broken one fails the job.
    #[default]
    Never,
    /// Connect again, trying as often as the source is told to; failing all attempts is the end of the input if the connection had
    /// been closed, and fails the job if it had broken.
    Always,
}

/// Reads lines of UTF-8 text from a TCP server. Not parallel; at-most-once.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// // Serve it with `nc -lk 9999`.
/// let lines = source::SocketSource::lines("localhost", 9999).connect_attempts(5).retry_delay(seconds(1));
/// env.from_source(lines, "words").print();
/// env.execute("echo")?;
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SocketSource {
    host: String,
    port: u16,
    settings: Settings,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    connect_attempts: u32,
    retry_delay: Duration,
    connect_timeout: Duration,
    reconnect: Reconnect,
    line_bytes_max: usize,
    is_lossy: bool,
}

impl SocketSource {
    /// The lines that the server at `host`:`port` sends, without `\n` or `\r\n`.
    pub fn lines(host: impl Into<String>, port: u16) -> Self {
        let settings = Settings {
            connect_attempts: 1,
            retry_delay: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(5),
            reconnect: Reconnect::Never,
            line_bytes_max: 1 << 20,
            is_lossy: false,
        };
        SocketSource { host: host.into(), port, settings }
    }

    /// How often a connection is tried before it counts as failed; at least once. Default: 1.
    #[must_use]
    pub fn connect_attempts(mut self, attempts: u32) -> Self {
        self.settings.connect_attempts = attempts.max(1);
        self
    }

    /// The pause between two attempts. Default: 500 ms.
    #[must_use]
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.settings.retry_delay = delay;
        self
    }

    /// How long one attempt may take. A cancelled job does not wait for it beyond two seconds. At least 1 ms. Default: 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// What happens at the end of a connection. Default: [`Reconnect::Never`].
    #[must_use]
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.settings.reconnect = reconnect;
        self
    }

    /// The longest line, in bytes without its ending; a longer one fails the job. Default: 1 MiB.
    #[must_use]
    pub fn line_bytes_max(mut self, line_bytes_max: usize) -> Self {
        self.settings.line_bytes_max = line_bytes_max;
        self
    }

    /// Bytes that are not UTF-8 become U+FFFD. Default: they fail the job.
    #[must_use]
    pub fn lossy(mut self) -> Self {
        self.settings.is_lossy = true;
        self
    }
}

impl Source for SocketSource {
    type Out = String;
    type Split = SubtaskSplit;
    type Reader = FunctionReader<SocketFunction>;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn is_non_parallel(&self) -> bool {
        true
    }

    fn is_replayable(&self) -> bool {
        false
    }

    fn create_reader(&self, context: &ReaderContext) -> Result<Self::Reader> {
        let function = SocketFunction { source: self.clone(), connection: Arc::default() };
        FunctionSource::new(function).create_reader(context)
    }
}

/// Why a socket source failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketSourceError {
    /// No connection could be made.
    #[error(
        "cannot connect to {address} after {attempts} attempt(s): {source}; check that a server \
         listens there, or raise `connect_attempts`"
    )]
    Connect {
        /// Host and port.
        address: String,
        /// How many were made.
        attempts: u32,
        /// The last attempt's error.
        source: io::Error,
    },
    /// The connection broke.
    #[error(
        "the connection to {address} broke at line {line}: {source}; `reconnect` lets the source \
         connect again"
    )]
    Broken {
        /// Host and port.
        address: String,
        /// The line it broke in, from 1 in this connection.
        line: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A line is too long.
    #[error(
        "line {line} from {address} is longer than {line_bytes_max} bytes; raise `line_bytes_max`, \
         or check that the server sends lines"
    )]
    LineTooLong {
        /// Host and port.
        address: String,
        /// Which, from 1 in this connection.
        line: u64,
        /// The limit.
        line_bytes_max: usize,
    },
    /// A line is not UTF-8.
    #[error(
        "line {line} from {address} is not UTF-8 at byte {valid_bytes}; `lossy` replaces such bytes"
    )]
    NotUtf8 {
        /// Host and port.
        address: String,
        /// Which, from 1 in this connection.
        line: u64,
        /// How many bytes of it are.
        valid_bytes: usize,
    },
}

/// The [`SourceFunction`] of a [`SocketSource`].
pub struct SocketFunction {
    source: SocketSource,
    /// The current connection, for the canceller.
    connection: Arc<Mutex<Option<TcpStream>>>,
}

impl Clone for SocketFunction {
    /// A clone has a connection of its own.
    fn clone(&self) -> Self {
        SocketFunction { source: self.source.clone(), connection: Arc::default() }
    }
}

impl fmt::Debug for SocketFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketFunction").field("source", &self.source).finish_non_exhaustive()
    }
}

impl SocketFunction {
    fn address(&self) -> String {
        format!("{}:{}", self.source.host, self.source.port)
    }

    /// One attempt, over all addresses of the host.
    fn try_connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (self.source.host.as_str(), self.source.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, self.source.settings.connect_timeout) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects, trying as often as allowed.
    fn connect(&self, context: &SourceFunctionContext<String>) -> Result<TcpStream> {
        let Settings { connect_attempts, retry_delay, .. } = self.source.settings;
        let mut attempt = 1;
        loop {
            let source = match self.try_connect() {
                Ok(stream) => {
                    *lock(&self.connection) = Some(stream.try_clone()?);
                    // The canceller may have come between the connection and its registration.
                    return if context.is_cancelled() {
                        Err(super::source_function::Cancelled.into())
                    } else {
                        Ok(stream)
                    };
                }
                Err(source) => source,
            };
            if attempt == connect_attempts {
                let (address, attempts) = (self.address(), connect_attempts);
                return Err(SocketSourceError::Connect { address, attempts, source }.into());
            }
            tracing::info!(address = self.address(), attempt, %source, "cannot connect yet");
            attempt += 1;
            context.wait(retry_delay)?;
        }
    }

    /// Emits the lines of one connection until it is closed.
    fn read_lines(&self, stream: TcpStream, context: &SourceFunctionContext<String>) -> Result<()> {
        let mut reader = BufReader::with_capacity(64 << 10, stream);
        let (mut line, mut bytes) = (0, Vec::new());
        loop {
            line += 1;
            bytes.clear();
            let line_bytes_max = self.source.settings.line_bytes_max;
            // Two more bytes for the ending.
            let mut limited = (&mut reader).take(line_bytes_max as u64 + 2);
            let read = limited.read_until(b'\n', &mut bytes);
            read.map_err(|source| SocketSourceError::Broken {
                address: self.address(),
                line,
                source,
            })?;
            if bytes.is_empty() {
                return Ok(());
            }
            let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.len() > line_bytes_max {
                let address = self.address();
                return Err(SocketSourceError::LineTooLong { address, line, line_bytes_max }.into());
            }
            context.collect(self.decode(text, line)?)?;
        }
    }

    fn decode(&self, text: &[u8], line: u64) -> Result<String, SocketSourceError> {
        if self.source.settings.is_lossy {
            return Ok(String::from_utf8_lossy(text).into_owned());
        }
        match std::str::from_utf8(text) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => {
                let (address, valid_bytes) = (self.address(), error.valid_up_to());
                Err(SocketSourceError::NotUtf8 { address, line, valid_bytes })
            }
        }
    }
}

impl SourceFunction for SocketFunction {
    type Out = String;

    fn canceller(&self) -> Option<Canceller> {
        let connection = self.connection.clone();
        Some(Box::new(move || {
            if let Some(stream) = lock(&connection).as_ref() {
                // It fails when the other side has closed it already; then nothing blocks.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }))
    }

    fn run(&mut self, context: &SourceFunctionContext<String>) -> Result<()> {
        let mut stream = self.connect(context)?;
        loop {
            let ended = match self.read_lines(stream, context) {
                Err(error) if !is_broken(&error) => return Err(error),
                other => other,
            };
            if self.source.settings.reconnect == Reconnect::Never || context.is_cancelled() {
                return ended;
            }
            if let Err(error) = &ended {
                tracing::warn!("{error}");
            }
            stream = match self.connect(context) {
                Ok(stream) => stream,
                Err(error) if context.is_cancelled() => return Err(error),
                Err(error) => return ended.map_err(|_| error),
            };
        }
    }
}

fn is_broken(error: &crate::BoxError) -> bool {
    matches!(error.downcast_ref(), Some(SocketSourceError::Broken { .. }))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
