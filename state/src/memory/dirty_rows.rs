//! The rows that changed in one epoch: a bitmap over row numbers, in chunks.
//!
//! A bitmap, not a list: rows are then walked in the order they lie in, which is a stream for the
//! memory where a list of a million scattered rows is a cache and a TLB miss each; and no row is in
//! it twice. Its cost is an OR into 1.25 MB for ten million rows.
//!
//! **Invariants**
//! - A chunk that is not there has no row. Spare chunks are all zero.
//! - Nothing is allocated for an epoch without changes, and nothing is copied as rows are added.

use std::ptr;

use super::prefetch_table::prefetch;
use super::row_arena::ROWS_MAX;

const WORDS: usize = 1024;
/// How many rows a chunk covers: 65,536 in 8 KiB.
const CHUNK_ROWS: u32 = WORDS as u32 * u64::BITS;
const _: () = assert!(CHUNK_ROWS.is_power_of_two() && (ROWS_MAX / CHUNK_ROWS) < u32::MAX);

type Chunk = [u64; WORDS];

/// Chunks to be used again, so that epochs after the first take no fresh memory.
#[derive(Debug, Default)]
pub(super) struct SpareChunks(Vec<Box<Chunk>>);

impl SpareChunks {
    fn take(&mut self) -> Box<Chunk> {
        self.0.pop().unwrap_or_else(|| Box::new([0; WORDS]))
    }

    fn give(&mut self, mut chunk: Box<Chunk>) {
        chunk.fill(0);
        self.0.push(chunk);
    }
}

/// A set of row numbers; see the module docs.
#[derive(Debug, Default)]
pub(super) struct DirtyRows {
    chunks: Vec<Option<Box<Chunk>>>,
    /// Rows before this one were walked; their chunks are given back.
    walked: u32,
}

impl DirtyRows {
    /// Prefetches the word of a row: 1.25 MB for ten million rows do not stay in a private cache, and
    /// without this a third of an update was spent waiting for it.
    #[inline(always)]
    pub(super) fn hint(&self, row: u32) {
        if let Some(Some(chunk)) = self.chunks.get((row / CHUNK_ROWS) as usize) {
            prefetch(ptr::from_ref(&chunk[(row / u64::BITS) as usize % WORDS]).cast());
        }
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, row: u32, spare: &mut SpareChunks) {
        if let Some(Some(chunk)) = self.chunks.get_mut((row / CHUNK_ROWS) as usize) {
            insert_into(chunk, row);
        } else {
            self.insert_first(row, spare);
        }
    }

    #[cold]
    #[inline(never)]
    fn insert_first(&mut self, row: u32, spare: &mut SpareChunks) {
        let index = (row / CHUNK_ROWS) as usize;
        if index >= self.chunks.len() {
            self.chunks.resize_with(index + 1, || None);
        }
        insert_into(self.chunks[index].get_or_insert_with(|| spare.take()), row);
    }

    /// Writes the next rows of the walk into `out`, in order, and returns how many; none if there
    /// are no more. The walk goes on from where [`advance`](Self::advance) put it.
    pub(super) fn next_rows(&self, out: &mut [u32]) -> usize {
        let (mut count, first) = (0, (self.walked / CHUNK_ROWS) as usize);
        for (index, chunk) in self.chunks.iter().enumerate().skip(first) {
            let Some(chunk) = chunk else { continue };
            let from = self.walked.max(index as u32 * CHUNK_ROWS);
            count += rows_from(chunk, from, &mut out[count..]);
            if count == out.len() {
                break;
            }
        }
        count
    }

    /// Rows before `row` are walked.
    pub(super) fn advance(&mut self, row: u32, spare: &mut SpareChunks) {
        let (from, to) = (self.walked / CHUNK_ROWS, row / CHUNK_ROWS);
        self.walked = row;
        if from == to {
            return;
        }
        for chunk in self.chunks.iter_mut().take(to as usize).skip(from as usize) {
            chunk.take().into_iter().for_each(|chunk| spare.give(chunk));
        }
    }

    /// Gives all chunks back.
    pub(super) fn clear(mut self, spare: &mut SpareChunks) {
        self.chunks.drain(..).flatten().for_each(|chunk| spare.give(chunk));
    }
}

#[inline(always)]
fn insert_into(chunk: &mut Chunk, row: u32) {
    chunk[(row / u64::BITS) as usize % WORDS] |= 1 << (row % u64::BITS);
}

/// Writes rows of a chunk, from `row` on, into `out`.
fn rows_from(chunk: &Chunk, row: u32, out: &mut [u32]) -> usize {
    let first_word = (row / u64::BITS) as usize % WORDS;
    let chunk_at = row / CHUNK_ROWS * CHUNK_ROWS;
    let mut from = u64::MAX << (row % u64::BITS);
    let mut count = 0;
    for (index, word) in chunk.iter().enumerate().skip(first_word) {
        let mut bits = word & from;
        from = u64::MAX;
        while bits != 0 {
            let Some(place) = out.get_mut(count) else { return count };
            *place = chunk_at + index as u32 * u64::BITS + bits.trailing_zeros();
            count += 1;
            bits &= bits - 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_random::SplitMix64;
    use std::collections::BTreeSet;

    fn walk(rows: &mut DirtyRows, batch: usize, spare: &mut SpareChunks) -> Vec<u32> {
        let (mut found, mut out) = (Vec::new(), vec![0; batch]);
        loop {
            let count = rows.next_rows(&mut out);
            let Some(last) = out[..count].last() else { return found };
            found.extend(&out[..count]);
            rows.advance(last + 1, spare);
        }
    }

    #[test]
    fn is_a_set_in_order() {
        let (mut random, mut spare) = (SplitMix64::new(5), SpareChunks::default());
        for (bound, count) in [(1_000_000, 3_000), (200, 500), (70_000, 60_000), (1, 1), (9, 0)] {
            let mut rows = DirtyRows::default();
            let model: BTreeSet<u32> = (0..count).map(|_| random.below(bound) as u32).collect();
            model.iter().rev().for_each(|row| rows.insert(*row, &mut spare));
            model.iter().for_each(|row| rows.insert(*row, &mut spare));
            let batch = 1 + random.below(100) as usize;
            let found = walk(&mut rows, batch, &mut spare);
            assert_eq!(found, model.into_iter().collect::<Vec<_>>());
            rows.clear(&mut spare);
        }
        assert!(spare.0.iter().all(|chunk| chunk.iter().all(|word| *word == 0)));
        assert!(spare.0.len() <= 16, "chunks are used again");
    }

    #[test]
    fn the_last_rows_there_can_be() {
        let (mut rows, mut spare) = (DirtyRows::default(), SpareChunks::default());
        let last = [ROWS_MAX - CHUNK_ROWS, ROWS_MAX - 1];
        last.iter().for_each(|row| rows.insert(*row, &mut spare));
        assert_eq!(walk(&mut rows, 1, &mut spare), last);
    }
}
