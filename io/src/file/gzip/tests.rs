use std::io::Write as _;

use flate2::{Compression, GzBuilder};

use super::*;

fn member(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Decodes in pieces of the given sizes; the data and whether the end is proper.
fn decode(
    bytes: &[u8],
    input_bytes: usize,
    output_bytes: usize,
) -> Result<(Vec<u8>, bool), GzipFault> {
    let mut decoder = GzipDecoder::new();
    let mut data = Vec::new();
    for piece in bytes.chunks(input_bytes) {
        let mut rest = piece;
        loop {
            let mut output = vec![0; output_bytes];
            let progress = decoder.decode(rest, &mut output)?;
            data.extend_from_slice(&output[..progress.produced]);
            rest = &rest[progress.consumed..];
            if rest.is_empty() && progress.produced < output_bytes && !decoder.is_faulty() {
                break;
            }
        }
    }
    Ok((data, decoder.is_between_members()))
}

fn check(bytes: &[u8], expected: Result<(&[u8], bool), GzipFault>) {
    for (input_bytes, output_bytes) in [(1, 1), (1, 100), (7, 3), (1 << 20, 1), (1 << 20, 4096)] {
        let found = decode(bytes, input_bytes, output_bytes);
        let found = found.as_ref().map(|(data, end)| (&data[..], *end)).map_err(|fault| *fault);
        assert_eq!(found, expected, "pieces of {input_bytes} and {output_bytes}");
    }
}

#[test]
fn decodes_members_in_any_pieces() {
    let data: Vec<u8> = (0..2000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
    check(&member(b""), Ok((b"", true)));
    check(&member(b"hello"), Ok((b"hello", true)));
    check(&member(&data), Ok((&data, true)));
    check(&[member(b"one"), member(b""), member(b"two")].concat(), Ok((b"onetwo", true)));
    check(&[member(b"padded"), vec![0; 9]].concat(), Ok((b"padded", true)));
    check(&[member(b"a"), vec![0; 3], member(b"b")].concat(), Ok((b"ab", true)));
    check(b"", Ok((b"", false)));
}

#[test]
fn skips_all_header_fields() {
    let encoder = GzBuilder::new().extra(vec![7; 300]).filename("name").comment("comment");
    let mut encoder = encoder.mtime(1).write(Vec::new(), Compression::fast());
    encoder.write_all(b"data").unwrap();
    check(&encoder.finish().unwrap(), Ok((b"data", true)));
}

#[test]
fn checks_the_header_checksum() {
    let plain = member(b"data");
    let mut header = plain[..10].to_vec();
    header[3] = 2;
    let mut crc = Crc::new();
    crc.update(&header);
    let sum = (crc.sum() & 0xffff) as u16;
    let with_sum = |sum: u16| [&header[..], &sum.to_le_bytes(), &plain[10..]].concat();
    check(&with_sum(sum), Ok((b"data", true)));
    let fault = GzipFault::HeaderChecksum { expected: sum ^ 1, found: sum };
    check(&with_sum(sum ^ 1), Err(fault));
}

#[test]
fn names_faults() {
    let good = member(b"data");
    let with = |index: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[index] = byte;
        bytes
    };
    check(&with(0, 0), Err(GzipFault::NoMagic));
    check(&with(1, 0), Err(GzipFault::NoMagic));
    check(&with(2, 7), Err(GzipFault::UnknownFormat));
    check(&with(3, 0x20), Err(GzipFault::UnknownFormat));
    check(&with(10, 0b111), Err(GzipFault::Data));
    let length_at = good.len() - 4;
    check(&with(length_at, 9), Err(GzipFault::Length { expected: 9, found: 4 }));
    assert!(matches!(
        decode(&with(length_at - 1, !good[length_at - 1]), 8, 8),
        Err(GzipFault::Checksum { .. })
    ));
    check(&[good.clone(), b"garbage".to_vec()].concat(), Err(GzipFault::NoMagic));
    assert_eq!(decode(&good[..good.len() - 1], 8, 8), Ok((b"data".to_vec(), false)));
}

#[test]
fn data_before_a_fault_is_handed_out_and_the_fault_stays() {
    let bytes = [member(b"data"), b"garbage".to_vec()].concat();
    let mut decoder = GzipDecoder::new();
    let mut output = [0; 8];
    let progress = decoder.decode(&bytes, &mut output).unwrap();
    assert_eq!(progress, Progress { consumed: bytes.len() - 7, produced: 4 });
    assert_eq!(&output[..4], b"data");
    assert_eq!(decoder.decode(b"garbage", &mut output), Err(GzipFault::NoMagic));
    assert_eq!(decoder.decode(&member(b"data"), &mut output), Err(GzipFault::NoMagic));
}
