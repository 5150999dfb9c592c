//! Where results go, what they are summed up to, and what Flink's are.

use super::{Line, Row};
use crate::workload::Meter;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use thalweg::prelude::*;

/// The final rows of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// How many.
    pub rows: u64,
    /// Of the sorted lines, each with its line feed.
    pub sha256: String,
}

impl Table {
    /// The table of these lines, in any order.
    pub fn of(mut lines: Vec<String>) -> Self {
        lines.sort_unstable();
        let mut hash = Sha256::new();
        for line in &lines {
            hash.update(line.as_bytes());
            hash.update(b"\n");
        }
        let mut sha256 = String::new();
        for byte in hash.finalize() {
            write!(sha256, "{byte:02x}").expect("a string takes everything");
        }
        Table { rows: lines.len() as u64, sha256 }
    }
}

/// What Flink has answered.
pub type Expected = Table;

/// What Flink has answered to `query` on the first `events` events, if it was asked.
pub fn expected(query: &str, events: u64) -> Option<Expected> {
    let lines = include_str!("flink_results.txt").lines();
    lines.filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut words = line.split(' ');
        let found = words.next()?.parse() == Ok(events) && words.next()? == query;
        let table = Table { rows: words.next()?.parse().ok()?, sha256: words.next()?.to_owned() };
        found.then_some(table)
    })
}

/// The sink of a query: sums up its rows, and keeps the last ones if the table is wanted.
pub(super) struct Results<R> {
    meter: Arc<Meter>,
    lines: Option<Arc<Mutex<Vec<String>>>>,
    added: Vec<String>,
    last: HashMap<(u64, u64), String>,
    rows: u64,
    checksum: u64,
    row: PhantomData<fn(R)>,
}

impl<R> Results<R> {
    pub(super) fn new(meter: Arc<Meter>, lines: Option<Arc<Mutex<Vec<String>>>>) -> Self {
        let (added, last) = (Vec::new(), HashMap::new());
        Results { meter, lines, added, last, rows: 0, checksum: 0, row: PhantomData }
    }
}

impl<R> Clone for Results<R> {
    fn clone(&self) -> Self {
        Results::new(self.meter.clone(), self.lines.clone())
    }
}

impl<R: Row> Sink<R> for Results<R> {
    #[inline(always)]
    fn write(&mut self, row: R, _: i64) -> thalweg::Result<()> {
        if self.rows == 0 {
            self.meter.first_output();
        }
        self.rows += 1;
        self.checksum = self.checksum.wrapping_add(row.checksum());
        if self.lines.is_some() {
            self.keep(&row);
        }
        Ok(())
    }

    fn finish(&mut self) -> thalweg::Result<SinkStatus> {
        self.meter.finished(self.rows, self.checksum);
        if let Some(lines) = &self.lines {
            let mut lines = lines.lock().expect("no sink panics while it holds the lock");
            lines.append(&mut self.added);
            lines.extend(self.last.drain().map(|(_, line)| line));
        }
        Ok(SinkStatus::Ready)
    }
}

impl<R: Row> Results<R> {
    #[cold]
    fn keep(&mut self, row: &R) {
        let line = Line::of(row);
        match row.key() {
            Some(key) => _ = self.last.insert(key, line),
            None => self.added.push(line),
        }
    }
}
