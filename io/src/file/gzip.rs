//! A gzip decoder that is fed by slices and never waits: RFC 1952 around flate2's inflate.
//!
//! flate2's own readers pull their input and take the end of input for damage; a followed file
//! only pauses there. So this decoder is pushed:
//!
//! 1. `Header`: the member's header, byte by byte ([`header`]);
//! 2. `Body`: deflate data, through [`flate2::Decompress`], counted and summed;
//! 3. `Trailer`: CRC-32 and length modulo 2^32, compared with what came out;
//! 4. `Between`: zero bytes are padding, any other starts the next member's header.
//!
//! # Invariants
//!
//! - Output is bounded by the caller's slice, whatever the input expands to.
//! - A fault stays: once damaged, every later call says so again.

mod header;

use flate2::{Crc, Decompress, FlushDecompress, Status};
use thiserror::Error;

use header::HeaderParser;

/// The two bytes every gzip member starts with.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What is wrong with a gzip stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GzipFault {
    /// A member does not start with the magic bytes.
    #[error("no gzip member starts here")]
    NoMagic,
    /// The header names another method than deflate or sets reserved flags.
    #[error("unknown compression method or flags in a member's header")]
    UnknownFormat,
    /// The header's own checksum does not match.
    #[error("header checksum is {found:#06x}, expected {expected:#06x}")]
    HeaderChecksum {
        /// What the header says.
        expected: u16,
        /// What its bytes sum to.
        found: u16,
    },
    /// The compressed data cannot be decoded.
    #[error("invalid compressed data")]
    Data,
    /// The decoded data has another checksum than the trailer says.
    #[error("data checksum is {found:#010x}, expected {expected:#010x}")]
    Checksum {
        /// What the trailer says.
        expected: u32,
        /// What the decoded bytes sum to.
        found: u32,
    },
    /// The decoded data has another length than the trailer says.
    #[error("data length modulo 2^32 is {found}, expected {expected}")]
    Length {
        /// What the trailer says.
        expected: u32,
        /// What was decoded.
        found: u32,
    },
}

/// How far one call got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) consumed: usize,
    pub(super) produced: usize,
}

#[derive(Debug)]
enum State {
    Header(HeaderParser),
    Body,
    Trailer { bytes: [u8; 8], filled: usize },
    Between,
    Faulty(GzipFault),
}

#[derive(Debug)]
pub(super) struct GzipDecoder {
    state: State,
    inflate: Decompress,
    /// Checksum and length of the current member's data.
    crc: Crc,
}

impl GzipDecoder {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header(HeaderParser::new()),
            inflate: Decompress::new(false),
            crc: Crc::new(),
        }
    }

    /// Whether the input may end here: after a complete member.
    pub(super) fn is_between_members(&self) -> bool {
        matches!(self.state, State::Between)
    }

    /// Whether the next call fails whatever it is given.
    pub(super) fn is_faulty(&self) -> bool {
        matches!(self.state, State::Faulty(_))
    }

    /// Decodes until the input is used up, the output is full or a fault is met. With the output
    /// full there may be more to come from the same input.
    ///
    /// # Errors
    ///
    /// The fault, once everything before it was handed out: a call that meets it after some
    /// progress returns the progress, and the next call the fault.
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<Progress, GzipFault> {
        let mut progress = Progress { consumed: 0, produced: 0 };
        loop {
            let (rest, space) = (&input[progress.consumed..], &mut output[progress.produced..]);
            match self.step(rest, space) {
                Ok(Progress { consumed: 0, produced: 0 }) => return Ok(progress),
                Ok(step) => {
                    progress.consumed += step.consumed;
                    progress.produced += step.produced;
                }
                Err(fault) => {
                    self.state = State::Faulty(fault);
                    let is_first = progress.consumed == 0 && progress.produced == 0;
                    return if is_first { Err(fault) } else { Ok(progress) };
                }
            }
        }
    }

    /// Works within one state, possibly into the next; no progress means more input or space is
    /// needed.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, GzipFault> {
        match &mut self.state {
            State::Header(parser) => {
                let (consumed, complete) = parser.push(input)?;
                if complete {
                    self.state = State::Body;
                }
                Ok(Progress { consumed, produced: 0 })
            }
            State::Body => self.inflate(input, output),
            State::Trailer { bytes, filled } => {
                let consumed = input.len().min(bytes.len() - *filled);
                bytes[*filled..*filled + consumed].copy_from_slice(&input[..consumed]);
                *filled += consumed;
                if *filled == bytes.len() {
                    let trailer = *bytes;
                    self.check_trailer(trailer)?;
                    self.state = State::Between;
                }
                Ok(Progress { consumed, produced: 0 })
            }
            State::Between => {
                let padding_bytes = input.iter().take_while(|byte| **byte == 0).count();
                if padding_bytes < input.len() {
                    self.inflate.reset(false);
                    self.crc.reset();
                    let mut parser = HeaderParser::new();
                    let (consumed, _) = parser.push(&input[padding_bytes..][..1])?;
                    self.state = State::Header(parser);
                    return Ok(Progress { consumed: padding_bytes + consumed, produced: 0 });
                }
                Ok(Progress { consumed: padding_bytes, produced: 0 })
            }
            State::Faulty(fault) => Err(*fault),
        }
    }

    fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, GzipFault> {
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(input, output, FlushDecompress::None)
            .map_err(|_| GzipFault::Data)?;
        // Both differences are at most the length of a slice.
        let consumed = (self.inflate.total_in() - before_in) as usize;
        let produced = (self.inflate.total_out() - before_out) as usize;
        self.crc.update(&output[..produced]);
        if status == Status::StreamEnd {
            self.state = State::Trailer { bytes: [0; 8], filled: 0 };
        } else if consumed == 0 && produced == 0 && !input.is_empty() && !output.is_empty() {
            // An inflate that neither takes nor gives would spin for ever.
            return Err(GzipFault::Data);
        }
        Ok(Progress { consumed, produced })
    }

    fn check_trailer(&self, trailer: [u8; 8]) -> Result<(), GzipFault> {
        let [a, b, c, d, e, f, g, h] = trailer;
        let (expected, found) = (u32::from_le_bytes([a, b, c, d]), self.crc.sum());
        if expected != found {
            return Err(GzipFault::Checksum { expected, found });
        }
        let (expected, found) = (u32::from_le_bytes([e, f, g, h]), self.crc.amount());
        if expected != found {
            return Err(GzipFault::Length { expected, found });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
