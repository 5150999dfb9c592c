//! The order in which rows were written, where files do not tell it: the subtasks of a job that was rescaled have each had a part
//! of a key's rows.
//!
//! Rows of a key in one file that follow one another are a *piece*: they were written in this order, with no other row of the key
//! between them. So there is an order of the pieces in which they are all of the key's rows, each behind its predecessor, or something is
//! wrong with them.
//!
//! **Invariant**: no row is left out or moved within its piece, so that whoever judges them sees what there is.

use super::event::Script;
use super::verdict::SumRow;
use std::collections::{BTreeMap, VecDeque};

/// Rows of windows or timers, the pieces of a key by their first row.
pub(super) fn in_order<R: Copy>(
    files: Vec<Vec<R>>,
    key_of: impl Fn(&R) -> u64,
    time_of: impl Fn(&R) -> i64,
) -> Vec<R> {
    let by_key = pieces(files, key_of).into_values();
    let sorted = by_key.flat_map(|mut pieces| {
        pieces.sort_by_key(|piece| piece.first().map(&time_of));
        pieces.into_iter().flatten()
    });
    sorted.collect()
}

/// Rows of sums: a piece goes on with the sum of the one before, and with the next record of each source. A file that was
/// open while its subtask did not have the key has several pieces, in their order.
pub(super) fn linked(files: Vec<Vec<SumRow>>, script: &Script) -> Vec<SumRow> {
    let mut numbers: BTreeMap<(u64, u32), Vec<u64>> = BTreeMap::new();
    for event in script.events() {
        numbers.entry((event.key, event.source)).or_default().push(event.n);
    }
    let mut rows = Vec::new();
    for (key, of_files) in pieces(files, |row: &SumRow| row.key) {
        let mut of_files: Vec<VecDeque<Vec<SumRow>>> = of_files.iter().map(|it| runs(it)).collect();
        let (mut sum, mut passed) = (0, BTreeMap::<u32, usize>::new());
        while !of_files.is_empty() {
            let follows = |pieces: &VecDeque<Vec<SumRow>>| {
                let piece = pieces.front().map_or(&[][..], Vec::as_slice);
                let mut firsts: BTreeMap<u32, u64> = BTreeMap::new();
                for row in piece {
                    firsts.entry(row.source).or_insert(row.n);
                }
                let is_next = |(source, n): (&u32, &u64)| {
                    let passed = passed.get(source).copied().unwrap_or(0);
                    numbers.get(&(key, *source)).and_then(|all| all.get(passed)) == Some(n)
                };
                let goes_on = piece.first().is_some_and(|row| row.sum - row.value == sum);
                goes_on && firsts.iter().all(is_next)
            };
            // Where none follows, the verdict will say so.
            let at = of_files.iter().position(follows).unwrap_or(0);
            let piece = of_files[at].pop_front().unwrap_or_default();
            if of_files[at].is_empty() {
                of_files.remove(at);
            }
            piece.iter().for_each(|row| *passed.entry(row.source).or_default() += 1);
            sum = piece.last().map_or(sum, |row| row.sum);
            rows.extend(piece);
        }
    }
    rows
}

/// Rows of a key in one file, cut where a row does not go on with the sum of the one before.
fn runs(rows: &[SumRow]) -> VecDeque<Vec<SumRow>> {
    let goes_on = |before: &SumRow, row: &SumRow| before.sum + row.value == row.sum;
    rows.chunk_by(goes_on).map(<[_]>::to_vec).collect()
}

/// By key, in the order of the files.
fn pieces<R: Copy>(files: Vec<Vec<R>>, key_of: impl Fn(&R) -> u64) -> BTreeMap<u64, Vec<Vec<R>>> {
    let mut by_key: BTreeMap<u64, Vec<Vec<R>>> = BTreeMap::new();
    for file in files {
        let mut of_file: BTreeMap<u64, Vec<R>> = BTreeMap::new();
        file.iter().for_each(|row| of_file.entry(key_of(row)).or_default().push(*row));
        of_file.into_iter().for_each(|(key, piece)| by_key.entry(key).or_default().push(piece));
    }
    by_key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script {
        Script { seed: 7, sources: 2, count: 400, keys: 3 }
    }

    /// All rows, as one subtask would write them.
    fn rows() -> Vec<SumRow> {
        let mut sums = BTreeMap::new();
        let row = |event: super::super::Event| {
            let sum = sums.entry(event.key).or_insert(0);
            *sum += event.value;
            let super::super::Event { source, n, key, value, .. } = event;
            SumRow { source, n, key, value, sum: *sum }
        };
        script().events().map(row).collect()
    }

    #[test]
    fn pieces_of_rescaled_jobs_are_put_together_again() {
        let mut files: Vec<Vec<SumRow>> = rows().chunks(90).map(<[_]>::to_vec).collect();
        files.reverse();
        let found = linked(files, &script());
        let by_key = |rows: &[SumRow], key| -> Vec<SumRow> {
            rows.iter().copied().filter(|row| row.key == key).collect()
        };
        for key in 0..3 {
            assert_eq!(by_key(&found, key), by_key(&rows(), key));
        }
    }

    #[test]
    fn rows_that_are_lost_or_swapped_stay_so() {
        let mut files: Vec<Vec<SumRow>> = rows().chunks(90).map(<[_]>::to_vec).collect();
        files[3].swap(0, 80);
        files[5].remove(10);
        let found = linked(files, &script());
        assert_eq!(found.len(), rows().len() - 1);
        let committed = super::super::Committed { sums: found, ..Default::default() };
        let verdict = super::super::Verdict::of(&script(), &committed);
        assert!(verdict.lost >= 1 && verdict.unordered >= 1, "{verdict:?}");
    }
}
