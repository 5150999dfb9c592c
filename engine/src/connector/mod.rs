//! Connectors: where streams come from and where they go.
//!
//! | source | reads | parallel | ends | replays |
//! |---|---|---|---|---|
//! | `from_elements`, `from_iter` | an iterator | no | yes | by skipping |
//! | `from_sequence` | a range of numbers | yes | yes | yes |
//! | `from_parallel` | an iterator a subtask | yes | yes | by skipping |
//! | [`source::DataGeneratorSource`] | a function of the record's number, at a rate | yes | if counted | yes |
//! | [`source::FileSource`] | lines or CSV of files | by file | unless followed | yes |
//! | [`source::channel`] | what the program sends | no | with the last sender | no |
//! | [`SourceFunction`](source::SourceFunction) | what code on a thread of its own emits | either | as it likes | if it says positions |
//! | [`source::SocketSource`] | lines over TCP | no | with the connection | no |
//! | `KafkaSource` of `connector::kafka` (feature `kafka`) | topics of Kafka | by partition | if bounded | yes |
//!
//! | sink | writes |
//! |---|---|
//! | `print`, `print_debug` | lines to standard output |
//! | `collect` | memory |
//! | [`sink::FileSink`] | lines or CSV to files, published when complete; with checkpoints exactly once |
//! | `KafkaSink` of `connector::kafka` (feature `kafka`) | topics of Kafka, by choice exactly once |
//! | [`sink::channel`] | to the program, with backpressure |
//!
//! **Invariants**
//! - Nothing here waits on a core: readers poll, sinks buffer a batch, what blocks has a thread of its own.
//! - A connector reads no clock; time comes with the collector and with `poll_ready`.

mod channel;
mod collected;
mod elements;
mod file;
mod generator;
#[cfg(test)]
#[cfg(not(loom))]
mod job_tests;
#[cfg(feature = "kafka")]
pub mod kafka;
mod parallel;
mod print;
#[cfg(test)]
#[cfg(not(loom))]
mod resume_tests;
mod sequence;
mod socket;
mod source_function;
mod splits;
#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod test_support;

/// Sources to give to [`from_source`](crate::api::StreamExecutionEnvironment::from_source).
pub mod source {
    pub use super::channel::{
        ChannelSender, ChannelSource, ChannelSourceError, ChannelSourceReader, SendError, Sending,
        TrySendError, source_channel as channel,
    };
    pub use super::elements::{IteratorReader, IteratorSource, IteratorSplit};
    pub use super::file::{
        AsResults, Csv, CsvDecoder, CsvOptions, FileFormat, FileSource, FileSourceError,
        FileSourceReader, FileSplit, LineDecoder, Lines, Malformed, MalformedRow, OnMalformed,
    };
    #[doc(hidden)]
    pub use super::file::{Decoded, FileDecoder};
    pub use super::generator::{
        DataGeneratorReader, DataGeneratorSource, GeneratorSplit, RateError,
    };
    #[cfg(feature = "kafka")]
    pub use super::kafka::KafkaSource;
    pub use super::parallel::{ParallelIteratorReader, ParallelIteratorSource, ReaderSource};
    pub use super::sequence::{SequenceReader, SequenceSource, SequenceSplit};
    pub use super::socket::{Reconnect, SocketFunction, SocketSource, SocketSourceError};
    pub use super::source_function::{
        Cancelled, Canceller, FnSourceFunction, FunctionReader, FunctionSource, SourceFunction,
        SourceFunctionContext, SourceFunctionPanicked,
    };
    pub use super::splits::{SubtaskSplit, SubtaskSplitError};
    pub use thalweg_io::file::Compression;
}

/// Sinks to give to [`sink_to`](crate::api::DataStream::sink_to).
pub mod sink {
    pub use super::channel::{
        ChannelReceiver, ChannelSink, ChannelSinkError, Receiving, TryRecvError,
        sink_channel as channel,
    };
    pub use super::collected::{CollectSink, Collected};
    pub use super::file::{
        BucketAssigner, BucketBy, CsvRows, FileSink, FileSinkError, LineRows, OneBucket,
        RowEncoder, RowFormat, crash_points as file_crash_points,
    };
    #[cfg(feature = "kafka")]
    pub use super::kafka::KafkaSink;
    pub use super::print::{PrintError, PrintSink};
}
