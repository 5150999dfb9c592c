//! The event generator and the digests of results, as every system compared computes them.

/// Steele, Lea and Flood's mixer: the generator's only source of randomness.
#[inline(always)]
pub fn splitmix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The contribution of a row to a digest that does not depend on the order of rows.
#[inline(always)]
pub fn mix(a: u64, b: u64, c: u64) -> u64 {
    splitmix64(a.wrapping_add(splitmix64(b.wrapping_add(splitmix64(c)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published digest of w1 with 1,000 keys and 300,000 events, computed by the plainest loop.
    #[test]
    fn the_generator_gives_the_published_digest() {
        let mut sums = vec![(0u64, 0u64); 1000];
        let mut checksum = 0u64;
        for i in 0..300_000 {
            let r = splitmix64(i);
            let (key, value) = (r % 1000, r >> 48);
            let (sum, count) = &mut sums[key as usize];
            *sum += value;
            *count += 1;
            checksum = checksum.wrapping_add(key ^ *sum);
        }
        let last = sums.iter().enumerate().map(|(key, (sum, count))| mix(key as u64, *sum, *count));
        assert_eq!(checksum, 0x0000_0159_3bdb_353e);
        assert_eq!(last.fold(0, u64::wrapping_add), 0x7c9f_5a8c_7ba1_fa92);
    }
}
