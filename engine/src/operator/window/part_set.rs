//! Sets of small numbers, for what a checkpoint still lacks.

const BITS: usize = u64::BITS as usize;

/// Numbers below a bound that was told when the set was made.
#[derive(Debug, Default)]
pub(crate) struct PartSet {
    words: Vec<u64>,
    count: usize,
}

impl PartSet {
    /// All numbers below `bound`.
    pub(crate) fn all(bound: usize) -> Self {
        let mut words = vec![u64::MAX; bound.div_ceil(BITS)];
        if let Some(last) = words.last_mut()
            && !bound.is_multiple_of(BITS)
        {
            *last = (1 << (bound % BITS)) - 1;
        }
        PartSet { words, count: bound }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes a number out; true if it was there.
    #[inline]
    pub(crate) fn take(&mut self, number: usize) -> bool {
        let Some(word) = self.words.get_mut(number / BITS) else { return false };
        let bit = 1 << (number % BITS);
        let is_there = *word & bit != 0;
        *word &= !bit;
        self.count -= usize::from(is_there);
        is_there
    }

    /// The first number at or after `from`.
    pub(crate) fn next(&self, from: usize) -> Option<usize> {
        let first = self.words.get(from / BITS)? & (u64::MAX << (from % BITS));
        let rest = self.words.iter().enumerate().skip(from / BITS + 1);
        let mut words = std::iter::once((from / BITS, &first)).chain(rest);
        words
            .find(|(_, word)| **word != 0)
            .map(|(at, word)| at * BITS + word.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_a_set() {
        for bound in [0, 1, 63, 64, 65, 200] {
            let (mut set, mut model) = (PartSet::all(bound), (0..bound).collect::<BTreeSet<_>>());
            for step in 0..400 {
                let number = step * 37 % 211;
                assert_eq!(set.next(number), model.range(number..).next().copied(), "{number}");
                assert_eq!(set.take(number), model.remove(&number), "{number} of {bound}");
                assert_eq!(
                    (set.is_empty(), set.next(0)),
                    (model.is_empty(), model.first().copied())
                );
            }
        }
    }
}
