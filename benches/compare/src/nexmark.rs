//! What the systems' programs of Nexmark share: the events of `thalweg_benches::nexmark`, and a sink that makes the same table
//! of the rows as Thalweg's.

use crate::case::{Case, Measured, Until};
use crate::events::Numbers;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use thalweg_benches::nexmark::{Cursor, Dataset, Event, Line, Outcome, Row, Settings, Table};
use thalweg_benches::workload::Meter;

/// Events that are made; longer runs repeat them with other ids and times.
const DATASET_EVENTS: u64 = 1_000_000;

/// The same for all systems. A run of a number of events has its table compared with Flink's.
pub(crate) fn settings(case: &Case) -> Settings {
    let settings = case.settings();
    let events = match case.until {
        Until::Events(events) => events.min(DATASET_EVENTS),
        Until::Seconds(_) => DATASET_EVENTS,
    };
    Settings {
        dataset: Arc::new(Dataset::generate(events as usize)),
        events: settings.events,
        seconds: settings.seconds,
        with_table: settings.with_final,
    }
}

/// Its digest is the beginning of the table's.
pub(crate) fn measured(outcome: &Outcome) -> Measured {
    Measured::Throughput {
        events: outcome.reading.events,
        events_per_s: outcome.reading.events as f64 / outcome.reading.seconds,
        checksum: outcome.reading.checksum,
        last: outcome.table.as_ref().map(digest),
    }
}

/// The first eight bytes of the hash.
pub(crate) fn digest(table: &Table) -> u64 {
    u64::from_str_radix(&table.sha256[..16], 16).expect("a hash in hexadecimal digits")
}

/// What the sources and sinks of a run share.
#[derive(Clone)]
pub(crate) struct QueryRun {
    case: Case,
    dataset: Arc<Dataset>,
    meter: Arc<Meter>,
    /// Of the table, if it is wanted. Sinks add to it, each once.
    lines: Option<Arc<Mutex<Vec<String>>>>,
}

impl QueryRun {
    pub(crate) fn new(case: &Case) -> Self {
        let Settings { dataset, with_table, .. } = settings(case);
        let lines = with_table.then(Arc::default);
        QueryRun { case: *case, dataset, meter: Arc::default(), lines }
    }

    /// Subtask `s` of `p` has the events `i` with `i % p == s`.
    pub(crate) fn source(&self, subtask: u64, of: u64) -> QuerySource {
        QuerySource {
            numbers: Numbers::new(&self.case.settings(), self.meter.clone(), subtask, of),
            cursor: Cursor::new(subtask as usize, of as usize),
            dataset: self.dataset.clone(),
            left: 0,
        }
    }

    pub(crate) fn sink<R: Row>(&self) -> TableSink<R> {
        TableSink {
            run: self.clone(),
            lines: Vec::new(),
            last: HashMap::new(),
            rows: 0,
            checksum: 0,
            row: std::marker::PhantomData,
        }
    }

    pub(crate) fn outcome(self) -> Outcome {
        let lines = self.lines.map(|lines| {
            std::mem::take(&mut *lines.lock().expect("no sink panics while it holds the lock"))
        });
        Outcome { reading: self.meter.read(), table: lines.map(Table::of) }
    }
}

/// One source subtask.
pub(crate) struct QuerySource {
    numbers: Numbers,
    cursor: Cursor,
    dataset: Arc<Dataset>,
    /// Of the block.
    left: u64,
}

impl QuerySource {
    /// How many events come next; `None` at the end.
    #[inline]
    pub(crate) fn next_block(&mut self, size: u64) -> Option<u64> {
        self.numbers.next_block(size).map(|block| block.len())
    }

    /// The next event of the block.
    #[inline(always)]
    pub(crate) fn event(&mut self) -> Event {
        self.cursor.next(&self.dataset)
    }
}

/// One by one, in blocks of the size that Thalweg's source has.
impl Iterator for QuerySource {
    type Item = Event;

    #[inline]
    fn next(&mut self) -> Option<Event> {
        if self.left == 0 {
            self.left = self.next_block(512)?;
        }
        self.left -= 1;
        Some(self.event())
    }
}

/// One subtask of the sink. It reports when it is dropped, which all systems do when their input is over.
pub(crate) struct TableSink<R> {
    run: QueryRun,
    lines: Vec<String>,
    /// Of rows that replace each other.
    last: HashMap<(u64, u64), String>,
    rows: u64,
    checksum: u64,
    row: std::marker::PhantomData<fn(R)>,
}

impl<R: Row> TableSink<R> {
    #[inline(always)]
    pub(crate) fn write(&mut self, row: &R) {
        if self.rows == 0 {
            self.run.meter.first_output();
        }
        self.rows += 1;
        self.checksum = self.checksum.wrapping_add(row.checksum());
        if self.run.lines.is_some() {
            self.keep(row);
        }
    }

    #[cold]
    fn keep(&mut self, row: &R) {
        match row.key() {
            Some(key) => _ = self.last.insert(key, Line::of(row)),
            None => self.lines.push(Line::of(row)),
        }
    }
}

/// renoir clones what it is given for each of its replicas; a clone begins anew.
impl<R: Row> Clone for TableSink<R> {
    fn clone(&self) -> Self {
        self.run.sink()
    }
}

impl<R> Drop for TableSink<R> {
    fn drop(&mut self) {
        if self.rows == 0 {
            return;
        }
        self.run.meter.finished(self.rows, self.checksum);
        if let Some(Ok(mut lines)) = self.run.lines.as_ref().map(|lines| lines.lock()) {
            lines.append(&mut self.lines);
            lines.extend(self.last.drain().map(|(_, line)| line));
        }
    }
}

/// What timely and renoir pass between threads by value. Both ask for serde, for processes on other machines, which there are
/// none of here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InProcess<T>(pub(crate) T);

const STAYS: &str = "it does not leave its process";

impl<T> Serialize for InProcess<T> {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom(STAYS))
    }
}

impl<'de, T> Deserialize<'de> for InProcess<T> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom(STAYS))
    }
}
