//! The header of a gzip member, parsed byte by byte.
//!
//! ```text
//! offset  bytes  field (RFC 1952)
//!      0      2  magic 1f 8b
//!      2      1  method: 8 is deflate
//!      3      1  flags: 1 text, 2 header CRC, 4 extra, 8 name, 16 comment; others reserved
//!      4      6  time, extra flags, system: ignored
//!     10    2+n  with flag 4: length n, n bytes
//!      .    n+1  with flag 8: name, ends with a zero byte
//!      .    n+1  with flag 16: comment, ends with a zero byte
//!      .      2  with flag 2: low half of the CRC-32 of all bytes before
//! ```

use flate2::Crc;

use super::{GzipFault, MAGIC};

const DEFLATE: u8 = 8;
const FIXED_BYTES: u8 = 10;

const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0b1110_0000;

/// The field that the next byte belongs to.
#[derive(Debug, Clone, Copy)]
enum Field {
    /// The fixed part, at this offset.
    Fixed(u8),
    ExtraLengthLow,
    ExtraLengthHigh(u8),
    Extra {
        remaining: u16,
    },
    Name,
    Comment,
    CrcLow,
    CrcHigh(u8),
    Complete,
}

#[derive(Debug)]
pub(super) struct HeaderParser {
    field: Field,
    flags: u8,
    /// Of all bytes before the header's own checksum.
    crc: Crc,
}

impl HeaderParser {
    pub(super) fn new() -> Self {
        Self { field: Field::Fixed(0), flags: 0, crc: Crc::new() }
    }

    /// Takes header bytes from `input`; returns how many, and whether the header is complete.
    pub(super) fn push(&mut self, input: &[u8]) -> Result<(usize, bool), GzipFault> {
        for (index, byte) in input.iter().enumerate() {
            self.field = self.next_field(*byte)?;
            if !matches!(self.field, Field::CrcHigh(_) | Field::Complete) {
                self.crc.update(&[*byte]);
            }
            if let Field::Complete = self.field {
                return Ok((index + 1, true));
            }
        }
        Ok((input.len(), false))
    }

    fn next_field(&mut self, byte: u8) -> Result<Field, GzipFault> {
        Ok(match self.field {
            Field::Fixed(offset) => self.fixed(offset, byte)?,
            Field::ExtraLengthLow => Field::ExtraLengthHigh(byte),
            Field::ExtraLengthHigh(low) => match u16::from_le_bytes([low, byte]) {
                0 => self.after(FLAG_EXTRA),
                remaining => Field::Extra { remaining },
            },
            Field::Extra { remaining: 1 } => self.after(FLAG_EXTRA),
            Field::Extra { remaining } => Field::Extra { remaining: remaining - 1 },
            Field::Name if byte == 0 => self.after(FLAG_NAME),
            Field::Comment if byte == 0 => self.after(FLAG_COMMENT),
            same @ (Field::Name | Field::Comment) => same,
            Field::CrcLow => Field::CrcHigh(byte),
            Field::CrcHigh(low) => self.check_crc(u16::from_le_bytes([low, byte]))?,
            Field::Complete => Field::Complete,
        })
    }

    fn fixed(&mut self, offset: u8, byte: u8) -> Result<Field, GzipFault> {
        match offset {
            0 | 1 if byte != MAGIC[usize::from(offset)] => return Err(GzipFault::NoMagic),
            2 if byte != DEFLATE => return Err(GzipFault::UnknownFormat),
            3 if byte & FLAGS_RESERVED != 0 => return Err(GzipFault::UnknownFormat),
            3 => self.flags = byte,
            _ => {}
        }
        if offset + 1 < FIXED_BYTES { Ok(Field::Fixed(offset + 1)) } else { Ok(self.after(0)) }
    }

    /// The first field that is there after the one of `flag` (0: after the fixed part).
    fn after(&self, flag: u8) -> Field {
        let has = |candidate: u8| flag < candidate && self.flags & candidate != 0;
        if has(FLAG_EXTRA) {
            Field::ExtraLengthLow
        } else if has(FLAG_NAME) {
            Field::Name
        } else if has(FLAG_COMMENT) {
            Field::Comment
        } else if self.flags & FLAG_HEADER_CRC != 0 {
            Field::CrcLow
        } else {
            Field::Complete
        }
    }

    fn check_crc(&self, expected: u16) -> Result<Field, GzipFault> {
        let found = (self.crc.sum() & 0xffff) as u16;
        if expected != found {
            return Err(GzipFault::HeaderChecksum { expected, found });
        }
        Ok(Field::Complete)
    }
}
