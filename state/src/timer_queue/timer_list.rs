//! A list of timers that grows by chunks, so that no call copies what is there.
//!
//! **Invariants**
//! - All chunks but the last are full.

use super::Queued;

/// Timers a chunk: 64 KiB.
const CHUNK_TIMERS: usize = 4096;
const _: () = assert!(CHUNK_TIMERS.is_power_of_two());

/// See the module docs.
#[derive(Default)]
pub(super) struct TimerList {
    chunks: Vec<Vec<Queued>>,
}

impl TimerList {
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self.chunks.last() {
            Some(last) => (self.chunks.len() - 1) * CHUNK_TIMERS + last.len(),
            None => 0,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, timer: Queued) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK_TIMERS => last.push(timer),
            _ => self.push_chunk(timer),
        }
    }

    /// The first chunk grows, as most lists stay short.
    #[cold]
    #[inline(never)]
    fn push_chunk(&mut self, timer: Queued) {
        let capacity = if self.chunks.is_empty() { 16 } else { CHUNK_TIMERS };
        let mut chunk = Vec::with_capacity(capacity);
        chunk.push(timer);
        self.chunks.push(chunk);
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Queued> {
        self.chunks.get(index / CHUNK_TIMERS)?.get(index % CHUNK_TIMERS)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Queued> {
        self.chunks.get_mut(index / CHUNK_TIMERS)?.get_mut(index % CHUNK_TIMERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowId;

    #[test]
    fn keeps_what_was_pushed() {
        let mut list = TimerList::default();
        let timer =
            |n: usize| Queued { timestamp_ms: n as i64, row: RowId::for_test(n as u32), order: 7 };
        for n in 0..3 * CHUNK_TIMERS + 1 {
            assert_eq!((list.len(), list.get(n)), (n, None));
            list.push(timer(n));
        }
        assert!((0..list.len()).all(|n| list.get(n) == Some(&timer(n))));
        *list.get_mut(CHUNK_TIMERS).unwrap() = timer(1);
        assert_eq!(list.get(CHUNK_TIMERS), Some(&timer(1)));
    }
}
