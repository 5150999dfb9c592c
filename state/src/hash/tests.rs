use super::*;
use crate::SchemaBuilder;
use std::collections::{HashMap, HashSet};

/// The largest chi-square accepted over 4096 buckets: 4095 degrees of freedom, standard deviation
/// 90.5, mean + 8 of it.
const CHI_SQUARE_MAX: f64 = 4095.0 + 8.0 * 90.5;

fn chi_square(counts: &[u32], samples: u64) -> f64 {
    let mean = samples as f64 / counts.len() as f64;
    counts.iter().map(|seen| (f64::from(*seen) - mean).powi(2) / mean).sum()
}

/// Buckets by the low 12 bits and by the top 12 (tag and beyond) are both even.
fn check_distribution<K: Schema>(name: &str, samples: u64, key: impl Fn(u64) -> K) {
    let (mut low, mut high) = (vec![0_u32; 4096], vec![0_u32; 4096]);
    for index in 0..samples {
        let hash = KeyHash::of(&key(index));
        low[(hash.wide() & 4095) as usize] += 1;
        high[(hash.wide() >> 52) as usize] += 1;
    }
    for (bits, counts) in [("low", low), ("high", high)] {
        let chi_square = chi_square(&counts, samples);
        assert!(chi_square < CHI_SQUARE_MAX, "{name}: {bits} bits, chi-square {chi_square}");
    }
}

#[test]
fn bucket_and_tag_bits_are_even() {
    check_distribution("sequential", 400_000, |index| index);
    check_distribution("sequential i32", 400_000, |index| index as i32 - 200_000);
    check_distribution("multiples of 4096", 400_000, |index| index << 12);
    check_distribution("high halves", 400_000, |index| index << 40);
    check_distribution("millisecond minutes", 400_000, |index| 1_700_000_000_000 + index * 60_000);
    check_distribution("strings", 400_000, |index| format!("user-{index:07}"));
    check_distribution("pairs", 400_000, |index| ((index % 640) as u32, index / 640));
    check_distribution("doubles", 400_000, |index| index as f64);
}

/// Remainders: few distinct keys in many buckets must collide no more than chance allows.
#[test]
fn remainder_keys_spread_like_chance() {
    for keys in [1_000_u64, 1_024, 10_000, 65_536] {
        let hashes: Vec<_> = (0..keys * 3).map(|record| KeyHash::of(&(record % keys))).collect();
        let distinct: HashSet<_> = hashes.iter().collect();
        // The birthday bound: keys^2 / 2^33 pairs share a hash on average, 0.5 at 65,536 keys.
        assert!(distinct.len() as u64 >= keys - 6, "{keys}: {} hashes", distinct.len());
        let buckets = (keys * 8 / 7).next_power_of_two() as usize;
        let mut counts = vec![0_u32; buckets];
        distinct.iter().for_each(|hash| counts[hash.as_u32() as usize & (buckets - 1)] += 1);
        assert!(
            counts.iter().max().is_some_and(|most| *most <= 10),
            "{keys}: {:?}",
            counts.iter().max()
        );
    }
}

/// Flipping any input bit flips each output bit sometimes and spares it sometimes. One multiply is
/// no full avalanche: over these keys the pairs range from 15 % (input 55, output 7) to 81 % (52, 2)
/// and not all near 50 %. What tables need is the evenness tested above; this bounds the rest.
#[test]
fn every_input_bit_reaches_every_output_bit() {
    for input_bit in 0..64 {
        let mut flips = [0_u32; 32];
        for key in 0..4096_u64 {
            let key = key.wrapping_mul(0x0123_4567_89AB_CDEF);
            let difference =
                KeyHash::of(&key).as_u32() ^ KeyHash::of(&(key ^ 1 << input_bit)).as_u32();
            for (bit, flips) in flips.iter_mut().enumerate() {
                *flips += difference >> bit & 1;
            }
        }
        for (output_bit, flips) in flips.iter().enumerate() {
            assert!(
                (512..3584).contains(flips),
                "input bit {input_bit}, output bit {output_bit}: {flips} of 4096"
            );
        }
    }
}

#[test]
fn boundaries_between_strings_count() {
    let pair = |first: &str, second: &str| KeyHash::of(&(first.to_string(), second.to_string()));
    assert_ne!(pair("a", "bc"), pair("ab", "c"));
    assert_ne!(pair("", "abc"), pair("abc", ""));
    assert_ne!(pair("12345678", ""), pair("", "12345678"));
    assert_ne!(KeyHash::of("a"), KeyHash::of("a\0"));
    assert_ne!(KeyHash::of(&vec![vec![1_u8], vec![]]), KeyHash::of(&vec![vec![], vec![1_u8]]));
}

/// The words of a string by the slow reading of the definition.
#[test]
fn strings_follow_their_definition() {
    let text = "The quick brown fox jumps over the lazy dog, thirteen times in a row, \
                until three hundred bytes of text are there so that the length byte wraps: ";
    let text = text.repeat(3);
    for length in 0..text.len() {
        let bytes = &text.as_bytes()[..length];
        let mut expected = KeyHasher::new();
        let mut rest = bytes;
        while let Some((word, after)) = rest.split_first_chunk::<8>() {
            expected.write_u64(u64::from_le_bytes(*word));
            rest = after;
        }
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        word[7] = length as u8;
        expected.write_u64(u64::from_le_bytes(word));
        assert_eq!(KeyHash::of(&text[..length]), expected.finish(), "length {length}");
    }
}

#[test]
fn unordered_collections_ignore_order() {
    let forward: HashMap<u64, String> = (0..100).map(|key| (key, key.to_string())).collect();
    let backward: HashMap<u64, String> = (0..100).rev().map(|key| (key, key.to_string())).collect();
    assert_eq!(KeyHash::of(&forward), KeyHash::of(&backward));
    let (one, two) = (HashSet::from([1_u8, 2]), HashSet::from([1_u8, 3]));
    assert_ne!(KeyHash::of(&one), KeyHash::of(&two));
}

enum Shape {
    Point,
    Circle(u32),
}

impl Schema for Shape {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("Shape");
    }

    fn hash_key(&self, hasher: &mut KeyHasher) {
        match self {
            Shape::Point => hasher.write_u32(0),
            Shape::Circle(radius) => {
                hasher.write_u32(1);
                radius.hash_key(hasher);
            }
        }
    }
}

/// Golden vectors of `thalweg-1`, computed by a second implementation of the definition. A change
/// here is a change of the state format: it needs a new name and version.
#[test]
fn golden_vectors() {
    let vectors: Vec<(&str, KeyHash, u32)> =
        GOLDEN_INPUTS.iter().map(|(name, hash, expected)| (*name, hash(), *expected)).collect();
    let wrong: Vec<String> = vectors
        .iter()
        .filter(|(_, hash, expected)| hash.as_u32() != *expected)
        .map(|(name, hash, _)| format!("{name} 0x{:08X}", hash.as_u32()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((KEY_HASH_NAME, KEY_HASH_VERSION), ("thalweg-1", 1));
}

type Golden = (&'static str, fn() -> KeyHash, u32);

const GOLDEN_INPUTS: &[Golden] = &[
    ("0u64", || KeyHash::of(&0_u64), 0x7795_3B2C),
    ("1u64", || KeyHash::of(&1_u64), 0xBB23_CA33),
    ("u64::MAX", || KeyHash::of(&u64::MAX), 0x7B9C_979C),
    ("1_000_000u64", || KeyHash::of(&1_000_000_u64), 0xA9D2_021E),
    ("-1i64", || KeyHash::of(&-1_i64), 0x7B9C_979C),
    ("-1i8", || KeyHash::of(&-1_i8), 0x2C72_23FC),
    ("-2i16", || KeyHash::of(&-2_i16), 0x792D_D3B9),
    ("-3i32", || KeyHash::of(&-3_i32), 0xA759_5E68),
    ("255u8", || KeyHash::of(&255_u8), 0x2C72_23FC),
    ("7u16", || KeyHash::of(&7_u16), 0xCD90_587F),
    ("7u32", || KeyHash::of(&7_u32), 0xCD90_587F),
    ("u128", || KeyHash::of(&0x0123_4567_89AB_CDEF_FEDC_BA98_7654_3210_u128), 0xC5A6_A08E),
    ("-1i128", || KeyHash::of(&-1_i128), 0xF26C_685C),
    ("true", || KeyHash::of(&true), 0xBB23_CA33),
    ("'ß'", || KeyHash::of(&'ß'), 0x7CF8_5115),
    ("1.5f64", || KeyHash::of(&1.5_f64), 0xD0DE_D3E4),
    ("-0.25f32", || KeyHash::of(&-0.25_f32), 0x6EAF_4BF8),
    ("()", || KeyHash::of(&()), 0x120F_FB38),
    ("empty string", || KeyHash::of(""), 0x7795_3B2C),
    ("a", || KeyHash::of("a"), 0xFA5E_8CF6),
    ("user-0000001", || KeyHash::of("user-0000001"), 0xD907_4D09),
    ("12345678", || KeyHash::of("12345678"), 0xE7C2_01D6),
    ("grün", || KeyHash::of("grün"), 0xFA8B_1BF8),
    ("(7u64, \"x\")", || KeyHash::of(&(7_u64, "x".to_string())), 0x79D2_0485),
    ("(1u8, 2u16, 3u32)", || KeyHash::of(&(1_u8, 2_u16, 3_u32)), 0xEDD2_6490),
    ("None::<u64>", || KeyHash::of(&None::<u64>), 0x7795_3B2C),
    ("Some(0u64)", || KeyHash::of(&Some(0_u64)), 0xB955_9534),
    ("Shape::Point", || KeyHash::of(&Shape::Point), 0x7795_3B2C),
    ("Shape::Circle(9)", || KeyHash::of(&Shape::Circle(9)), 0x979D_4228),
    ("[1u8, 2]", || KeyHash::of(&[1_u8, 2]), 0xF41A_6427),
    ("vec![1u8, 2]", || KeyHash::of(&vec![1_u8, 2]), 0x787F_DAC2),
    ("HashSet {1u8, 2}", || KeyHash::of(&HashSet::from([1_u8, 2])), 0xAF9A_F5E9),
];
