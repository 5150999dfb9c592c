//! Sources and sinks of the tests: numbers in, a shared sum or list out.

use crate::Result;
use crate::function::{
    Boundedness, InputStatus, NoSplit, ReaderContext, RuntimeContext, Sink, Source,
    SourceCollector, SourceReader,
};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The numbers from 0, dealt out to the readers; endless with `None`.
#[derive(Clone)]
pub(super) struct Numbers(pub(super) Option<u64>);

pub(super) struct NumbersReader {
    next: u64,
    step: u64,
    end: Option<u64>,
}

impl Source for Numbers {
    type Out = u64;
    type Split = NoSplit;
    type Reader = NumbersReader;
    fn boundedness(&self) -> Boundedness {
        if self.0.is_some() { Boundedness::Bounded } else { Boundedness::Unbounded }
    }
    fn create_reader(&self, context: &ReaderContext) -> Result<NumbersReader> {
        let (next, step) = (context.subtask_index as u64, context.parallelism as u64);
        Ok(NumbersReader { next, step, end: self.0 })
    }
}

impl SourceReader for NumbersReader {
    type Out = u64;
    type Split = NoSplit;
    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, u64>,
    ) -> Result<InputStatus> {
        for _ in 0..max {
            if self.end.is_some_and(|end| self.next >= end) {
                return Ok(InputStatus::EndOfInput);
            }
            out.collect(self.next);
            self.next += self.step;
        }
        Ok(InputStatus::MoreAvailable)
    }
}

/// What all subtasks of a sink have seen together.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) count: Arc<AtomicU64>,
    pub(super) sum: Arc<AtomicU64>,
    /// How many subtasks are open.
    pub(super) open: Arc<AtomicUsize>,
    /// Names of the threads that opened one.
    pub(super) threads: Arc<Mutex<Vec<String>>>,
}

impl Sink<u64> for Seen {
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        self.open.fetch_add(1, Ordering::SeqCst);
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.threads.lock().unwrap().push(name);
        Ok(())
    }
    fn write(&mut self, record: u64, _: i64) -> Result<()> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(record, Ordering::Relaxed);
        Ok(())
    }
    fn close(&mut self) -> Result<()> {
        self.open.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Seen {
    pub(super) fn both(&self) -> (u64, u64) {
        (self.count.load(Ordering::SeqCst), self.sum.load(Ordering::SeqCst))
    }
    pub(super) fn is_closed(&self) -> bool {
        self.open.load(Ordering::SeqCst) == 0
    }
    /// Waits until records have come.
    pub(super) fn await_some(&self) {
        while self.count.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
    }
}
