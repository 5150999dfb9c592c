//! Growth from nothing to all keys, several times over: the longest call of it, and what memory it
//! took.

use thalweg::Result;

use super::process::anonymous_bytes;
use super::stopwatch::{Longest, Ticks};

/// A table that has grown.
pub(super) struct Growth<T> {
    pub(super) table: T,
    pub(super) figures: GrowthFigures,
}

/// What growth has shown.
pub(super) struct GrowthFigures {
    pub(super) longest: Longest,
    /// Of the first time: later ones reuse memory that the allocator has kept.
    pub(super) resident_bytes: u64,
}

/// Makes and fills a table `growths` times over, at least once, and keeps the last.
///
/// # Errors
///
/// Those of `make` and `fill`.
pub(super) fn grow<T>(
    ticks: Ticks,
    growths: usize,
    mut make: impl FnMut() -> Result<T>,
    mut fill: impl FnMut(&mut T, &mut Longest) -> Result<()>,
) -> Result<Growth<T>> {
    let mut longest = Longest::new(ticks);
    let mut once = |longest: &mut Longest| -> Result<(T, u64)> {
        let before = anonymous_bytes();
        let mut table = make()?;
        fill(&mut table, longest)?;
        longest.restart();
        Ok((table, anonymous_bytes().saturating_sub(before)))
    };
    let (mut table, resident_bytes) = once(&mut longest)?;
    for _ in 1..growths {
        drop(table);
        (table, _) = once(&mut longest)?;
    }
    Ok(Growth { table, figures: GrowthFigures { longest, resident_bytes } })
}
