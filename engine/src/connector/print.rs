//! Records as lines on standard output or error.
//!
//! Lines are gathered while a batch is written and go out together, under one lock, when the batch is over: lines of several
//! subtasks do not mix, and none is held back while the job waits for input.

use std::fmt::{self, Debug, Display};
use std::io::{self, Write};

use crate::Result;
use crate::function::{RuntimeContext, Sink, SinkStatus};

/// Above this the gathered lines go out in the middle of a batch: records may be long.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// How a record becomes a line.
type FormatLine<T> = fn(&T, &mut Vec<u8>) -> io::Result<()>;

/// Prints records, one a line; with several subtasks each line begins with `<subtask>> `, from 1.
pub struct PrintSink<T> {
    format: FormatLine<T>,
    to_stderr: bool,
    identifier: String,
    prefix: String,
    lines: Vec<u8>,
}

impl<T> Debug for PrintSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrintSink").field("to_stderr", &self.to_stderr).finish_non_exhaustive()
    }
}

impl<T> Clone for PrintSink<T> {
    fn clone(&self) -> Self {
        PrintSink::with_format(self.format, self.to_stderr, self.identifier.clone())
    }
}

/// Lines cannot be printed.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot print to {stream}: {source}; if its reader was closed on purpose (`| head`), this is \
     how the job learns of it"
)]
pub struct PrintError {
    stream: &'static str,
    source: io::Error,
}

impl<T> PrintSink<T> {
    /// Prints records as `Display` shows them.
    pub fn display() -> Self
    where
        T: Display,
    {
        let format = |record: &T, lines: &mut Vec<u8>| writeln!(lines, "{record}");
        Self::with_format(format, false, String::new())
    }

    /// Prints records as `Debug` shows them.
    pub fn debug() -> Self
    where
        T: Debug,
    {
        let format = |record: &T, lines: &mut Vec<u8>| writeln!(lines, "{record:?}");
        Self::with_format(format, false, String::new())
    }

    fn with_format(format: FormatLine<T>, to_stderr: bool, identifier: String) -> Self {
        PrintSink { format, to_stderr, identifier, prefix: String::new(), lines: Vec::new() }
    }

    /// To standard error. Default: to standard output.
    #[must_use]
    pub fn to_stderr(mut self) -> Self {
        self.to_stderr = true;
        self
    }

    /// Begins each line with `<identifier>> `, with several subtasks `<identifier>:<subtask>> `.
    #[must_use]
    pub fn identifier(mut self, identifier: impl Into<String>) -> Self {
        self.identifier = identifier.into();
        self
    }

    fn print(&mut self) -> Result<(), PrintError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let (stream, result) = match self.to_stderr {
            true => ("standard error", write_out(io::stderr().lock(), &self.lines)),
            false => ("standard output", write_out(io::stdout().lock(), &self.lines)),
        };
        self.lines.clear();
        result.map_err(|source| PrintError { stream, source })
    }
}

fn write_out(mut stream: impl Write, lines: &[u8]) -> io::Result<()> {
    stream.write_all(lines)?;
    stream.flush()
}

fn prefix(identifier: &str, subtask_index: usize, parallelism: usize) -> String {
    match (identifier, parallelism) {
        ("", 1) => String::new(),
        ("", _) => format!("{}> ", subtask_index + 1),
        (identifier, 1) => format!("{identifier}> "),
        (identifier, _) => format!("{identifier}:{}> ", subtask_index + 1),
    }
}

impl<T: 'static> Sink<T> for PrintSink<T> {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.prefix = prefix(&self.identifier, context.subtask_index(), context.parallelism());
        Ok(())
    }

    fn write(&mut self, record: T, _: i64) -> Result<()> {
        self.lines.extend_from_slice(self.prefix.as_bytes());
        (self.format)(&record, &mut self.lines)?;
        if self.lines.len() > BUFFER_BYTES_MAX {
            self.print()?;
        }
        Ok(())
    }

    fn poll_ready(&mut self, _: i64, _: bool) -> Result<SinkStatus> {
        self.print()?;
        Ok(SinkStatus::Ready)
    }

    fn finish(&mut self) -> Result<SinkStatus> {
        self.print()?;
        Ok(SinkStatus::Ready)
    }

    fn close(&mut self) -> Result<()> {
        self.print()?;
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::connector::test_support::SinkDriver;

    #[test]
    fn prefixes_name_identifier_and_subtask() {
        assert_eq!(prefix("", 0, 1), "");
        assert_eq!(prefix("", 1, 4), "2> ");
        assert_eq!(prefix("late", 0, 1), "late> ");
        assert_eq!(prefix("late", 3, 4), "late:4> ");
    }

    #[test]
    fn a_batch_goes_out_as_a_whole() {
        let sink = PrintSink::debug().to_stderr();
        let mut driver = SinkDriver::open::<&str>(sink, 1, 2).unwrap();
        driver.sink.write("a", 0).unwrap();
        driver.sink.write("b\n", 0).unwrap();
        assert_eq!(driver.sink.lines, b"2> \"a\"\n2> \"b\\n\"\n");
        driver.sink.poll_ready(0, false).unwrap();
        assert!(driver.sink.lines.is_empty());
        driver.end::<&str>().unwrap();
    }
}
