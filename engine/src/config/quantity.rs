//! Numbers with units: `200ms`, `5 s`, `1.5 MiB`.
//!
//! A quantity is read exactly, in integers: `1.5 s` is 1 500 000 000 ns, and what is no whole number of the base unit
//! (nanoseconds, bytes) is refused rather than rounded.

/// What an option's number counts. Decides how a bare number and a number with a suffix are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number; the word says of what and may be empty.
    Count(&'static str),
    /// A duration; a bare number is microseconds.
    Microseconds,
    /// A duration; a bare number is milliseconds.
    Milliseconds,
    /// A size; a bare number is bytes.
    Bytes,
    /// A size; a bare number is mebibytes.
    Mebibytes,
}

const NANOSECONDS: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

const BYTES: &[(&str, u128)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

impl Unit {
    /// The unit's suffix; for counts, the word of what is counted.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count(what) => what,
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Bytes => "B",
            Self::Mebibytes => "MiB",
        }
    }

    /// The suffixes of the unit's dimension with their size in its base unit.
    pub(super) const fn suffixes(self) -> &'static [(&'static str, u128)] {
        match self {
            Self::Count(_) => &[],
            Self::Microseconds | Self::Milliseconds => NANOSECONDS,
            Self::Bytes | Self::Mebibytes => BYTES,
        }
    }

    /// This unit in the base unit of its dimension.
    const fn factor(self) -> u128 {
        match self {
            Self::Count(_) | Self::Bytes => 1,
            Self::Microseconds => 1_000,
            Self::Milliseconds => 1_000_000,
            Self::Mebibytes => 1 << 20,
        }
    }

    /// Reads a number, with or without a suffix, as a whole count of this unit.
    pub(super) fn parse(self, text: &str) -> Option<u64> {
        let text = text.trim();
        if let Some(number) = parse_integer(text) {
            return Some(number);
        }
        let end = text
            .find(|c: char| !(c.is_ascii_digit() || c == '_' || c == '.'))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let suffix = suffix.trim_start();
        let size = self.suffixes().iter().find(|(name, _)| *name == suffix)?.1;
        let base = parse_decimal(number, size)?;
        (base % self.factor() == 0).then(|| u64::try_from(base / self.factor()).ok())?
    }
}

/// Digits with optional `_` between them, or hexadecimal after `0x`.
fn parse_integer(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    parse_digits(digits, radix).and_then(|number| u64::try_from(number).ok())
}

fn parse_digits(digits: &str, radix: u32) -> Option<u128> {
    let mut number = None;
    for c in digits.chars().filter(|c| *c != '_') {
        let digit = u128::from(c.to_digit(radix)?);
        number = Some(number.unwrap_or(0u128).checked_mul(radix.into())?.checked_add(digit)?);
    }
    number
}

/// `number * size`, exactly; `None` if `number` is malformed, too large, or the product is no whole number.
fn parse_decimal(number: &str, size: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    // `_` inside a fraction would make `scale` wrong, and nobody writes it.
    let fraction = if fraction.contains('_') { None } else { parse_digits(fraction, 10) }?;
    let scaled = parse_digits(whole, 10)?.checked_mul(scale)?.checked_add(fraction)?;
    let product = scaled.checked_mul(size)?;
    (product % scale == 0).then_some(product / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unit: Unit, text: &str, expected: Option<u64>) {
        assert_eq!(unit.parse(text), expected, "{text}");
    }

    #[test]
    fn durations() {
        check(Unit::Milliseconds, "200", Some(200));
        check(Unit::Milliseconds, "200ms", Some(200));
        check(Unit::Milliseconds, " 5 s ", Some(5_000));
        check(Unit::Milliseconds, "1min", Some(60_000));
        check(Unit::Milliseconds, "2 h", Some(7_200_000));
        check(Unit::Milliseconds, "1d", Some(86_400_000));
        check(Unit::Milliseconds, "1.5s", Some(1_500));
        check(Unit::Milliseconds, "1500us", None);
        check(Unit::Microseconds, "1500us", Some(1_500));
        check(Unit::Microseconds, "1500 µs", Some(1_500));
        check(Unit::Microseconds, "2000ns", Some(2));
        check(Unit::Microseconds, "0.1ms", Some(100));
    }

    #[test]
    fn sizes() {
        check(Unit::Bytes, "16KiB", Some(16_384));
        check(Unit::Bytes, "1 MiB", Some(1 << 20));
        check(Unit::Bytes, "0.5KiB", Some(512));
        check(Unit::Bytes, "16_384", Some(16_384));
        check(Unit::Bytes, "0x4000", Some(16_384));
        check(Unit::Mebibytes, "512", Some(512));
        check(Unit::Mebibytes, "2GiB", Some(2_048));
        check(Unit::Mebibytes, "1KiB", None);
        check(Unit::Mebibytes, "1 TiB", Some(1 << 20));
    }

    #[test]
    fn what_is_no_quantity() {
        for text in
            ["", " ", "_", "ms", ".5s", "5.s", "-5", "+5", "1e3", "5 parsecs", "1.2.3s", "0x"]
        {
            check(Unit::Milliseconds, text, None);
        }
        for text in ["16KB", "16kib", "5s", "99999999999999999999999999999999999999999999"] {
            check(Unit::Bytes, text, None);
        }
        check(Unit::Count("records"), "5s", None);
        check(Unit::Milliseconds, "1_000.0_1s", None);
        check(Unit::Milliseconds, "18446744073709551616", None);
        check(Unit::Milliseconds, &format!("0.{}s", "0".repeat(60)), None);
    }

    #[test]
    fn the_whole_range_of_u64() {
        check(Unit::Count(""), "18446744073709551615", Some(u64::MAX));
        check(Unit::Count(""), "0xffff_ffff_ffff_ffff", Some(u64::MAX));
        check(Unit::Count(""), "0", Some(0));
    }
}
