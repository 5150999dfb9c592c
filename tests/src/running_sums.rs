//! The job that checkpoints are tried with: running sums of the numbers from 1 on, by key; and what is to come of it.

use std::collections::BTreeMap;

/// A number's key is its rest by this.
pub const KEYS: i64 = 50;
/// The last number.
pub const NUMBERS: i64 = 60_000;

/// The sum of each key over all numbers.
pub fn sums() -> BTreeMap<i64, i64> {
    let mut sums = BTreeMap::new();
    (1..=NUMBERS).for_each(|n| *sums.entry(n % KEYS).or_insert(0) += n);
    sums
}

/// The highest running sum of each key: what an idempotent sink has, whatever came twice.
pub fn highest(rows: Vec<(i64, i64)>) -> BTreeMap<i64, i64> {
    let mut highest = BTreeMap::new();
    for (key, sum) in rows {
        let known = highest.entry(key).or_insert(sum);
        *known = sum.max(*known);
    }
    highest
}
