//! A fixed number of buffers, taken by those who fill them and given back by the ring.
//!
//! ```text
//!  take() ──► filled by a writer ──► hand_over() ──► the kernel ──► give_back()
//!    ▲  waits only while some are handed over: those come back by themselves       │
//!    └───────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Writers may hold buffers that are not full. If all are held so, waiting would never end, so
//! one more is made; it is dropped when it comes back. The memory is thus at most the pool's own
//! and one buffer a writer.
//!
//! # Invariants
//!
//! - Whoever waits in `take` holds no lock that `give_back`'s caller needs.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::AlignedBuffer;
use crate::memory::ArenaError;

#[derive(Debug)]
pub(crate) struct BufferPool {
    capacity_bytes: usize,
    pooled_count: usize,
    state: Mutex<PoolState>,
    given_back: Condvar,
}

#[derive(Debug)]
struct PoolState {
    free: Vec<AlignedBuffer>,
    handed_over_count: usize,
    /// Nothing comes back any more.
    is_abandoned: bool,
}

impl BufferPool {
    /// `pooled_count` buffers of `capacity_bytes`; their pages are taken as they are first filled.
    pub(crate) fn new(pooled_count: usize, capacity_bytes: usize) -> Result<Self, ArenaError> {
        let buffers = (0..pooled_count).map(|_| AlignedBuffer::new(capacity_bytes));
        let free = buffers.collect::<Result<Vec<_>, _>>()?;
        let state = Mutex::new(PoolState { free, handed_over_count: 0, is_abandoned: false });
        Ok(Self { capacity_bytes, pooled_count, state, given_back: Condvar::new() })
    }

    /// Runs `change` on the free buffers; used while nobody else has the pool.
    pub(crate) fn with_free<T>(&self, change: impl FnOnce(&mut [AlignedBuffer]) -> T) -> T {
        change(&mut self.lock().free)
    }

    /// An empty buffer; waits while all of the pool's are with the kernel.
    pub(crate) fn take(&self) -> Result<AlignedBuffer, ArenaError> {
        let mut state = self.lock();
        loop {
            if let Some(buffer) = state.free.pop() {
                return Ok(buffer);
            }
            if state.handed_over_count == 0 || state.is_abandoned {
                return AlignedBuffer::new(self.capacity_bytes);
            }
            state = self.given_back.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes that a taken buffer is on its way to the kernel.
    pub(crate) fn hand_over(&self) {
        self.lock().handed_over_count += 1;
    }

    /// Takes one back that was handed over and that the kernel has not written: whoever keeps it
    /// keeps it for an unknown time, so nobody may wait for it.
    pub(crate) fn take_back(&self) {
        self.lock().handed_over_count -= 1;
        self.given_back.notify_all();
    }

    /// Notes that the kernel gives nothing back any more, so that nobody waits for it.
    pub(crate) fn stop_waiting(&self) {
        self.lock().is_abandoned = true;
        self.given_back.notify_all();
    }

    /// Takes back a buffer that was handed over.
    pub(crate) fn give_back(&self, buffer: AlignedBuffer) {
        self.take_back();
        self.put(buffer);
    }

    /// Takes back a buffer that was not handed over.
    pub(crate) fn put(&self, mut buffer: AlignedBuffer) {
        buffer.clear();
        let mut state = self.lock();
        if state.free.len() < self.pooled_count {
            state.free.push(buffer);
            drop(state);
            self.given_back.notify_one();
        }
    }

    /// Counts and lists change together under the lock and no step between can panic.
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_one_more_when_all_are_held_and_waits_when_one_will_come_back() {
        let pool = BufferPool::new(2, 4096).unwrap();
        let first = pool.take().unwrap();
        let second = pool.take().unwrap();
        let third = pool.take().unwrap();
        pool.hand_over();
        let again = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pool.take().unwrap());
            pool.give_back(first);
            waiting.join().unwrap()
        });
        for buffer in [second, third, again] {
            pool.put(buffer);
        }
        assert_eq!(pool.with_free(|free| free.len()), 2, "the one too many is dropped");
    }
}
