//! Nexmark, the benchmark of streams of an auction site, written with the public API as a user would write it.
//!
//! The queries are those of Flink's suite that need no SQL: q0 to q5, q7 to q9, q11 and q16 to q20. `flink_results.txt` has what
//! Apache Flink SQL 2.3.0 answers for the first 100,000 and the first 1,000,000 events: rows of the final table, and the
//! SHA-256 of its sorted lines. [`run`] gives the same of a run here; that they are equal is tested.
//!
//! Results that change are written as Flink's upsert tables are: a row replaces the one with its key, and the last rows count.

mod events;
mod joins;
mod results;
mod rows;
mod source;
mod statistics;
mod stateless;
mod windows;

#[cfg(test)]
mod tests;

pub use events::{Auction, BASE_MS, Bid, Channel, City, Cursor, Dataset, Event, Name, Person, State, Url};
pub use results::{Expected, Table, expected};
pub use rows::{
    AuctionStatistics, BidderSession, ByPrice, CategoryPrice, ChannelStatistics, ConvertedBid,
    ExpandedBid, HighestBid, HotItem, LastBid, Line, LocalItem, NewSeller, PassedBid, RankedBid,
    Row, SelectedBid, WinningBid,
};

use crate::workload::{Meter, Reading};
use results::Results;
use source::Events;
use std::sync::{Arc, Mutex};
use thalweg::prelude::*;
use thalweg::time::{BoundedOutOfOrderness, TimestampAssigner};

/// What a run is asked for.
#[derive(Clone)]
pub struct Settings {
    /// The events; they are repeated as often as it takes.
    pub dataset: Arc<Dataset>,
    /// Number of events, or `u64::MAX`.
    pub events: u64,
    /// How long the source runs, or `u64::MAX`.
    pub seconds: u64,
    /// Keep the final table, and sum it up.
    pub with_table: bool,
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Times and counts.
    pub reading: Reading,
    /// The final table, if asked for.
    pub table: Option<Table>,
}

/// A query's job, without its environment.
type Job = fn(&Run<'_>);

const QUERIES: [(&str, Job); 15] = [
    ("q0", stateless::pass_through),
    ("q1", stateless::currency_conversion),
    ("q2", stateless::selection),
    ("q3", joins::local_items),
    ("q4", joins::prices_of_categories),
    ("q5", windows::hot_items),
    ("q7", windows::highest_bids),
    ("q8", windows::new_sellers),
    ("q9", joins::winning_bids),
    ("q11", windows::bidder_sessions),
    ("q16", statistics::of_channels),
    ("q17", statistics::of_auctions),
    ("q18", statistics::last_bids),
    ("q19", statistics::top_bids),
    ("q20", joins::expanded_bids),
];

/// The queries' names.
pub fn queries() -> impl Iterator<Item = &'static str> {
    QUERIES.iter().map(|(name, _)| *name)
}

/// Runs a query to its end.
///
/// # Errors
/// Those of the job; a query that is not among [`queries`].
pub fn run(
    env: &StreamExecutionEnvironment,
    query: &str,
    settings: &Settings,
) -> thalweg::Result<Outcome> {
    let Some((name, job)) = QUERIES.iter().find(|(name, _)| *name == query) else {
        let known: Vec<&str> = queries().collect();
        return Err(format!("unknown query '{query}'; there are {}", known.join(", ")).into());
    };
    let lines = settings.with_table.then(|| Arc::new(Mutex::new(Vec::new())));
    let run = Run { env, settings, meter: Arc::new(Meter::default()), lines };
    job(&run);
    env.execute(name)?;
    let table = run.lines.map(|lines| {
        Table::of(std::mem::take(&mut *lines.lock().expect("the job has ended")))
    });
    Ok(Outcome { reading: run.meter.read(), table })
}

/// What all queries share.
struct Run<'a> {
    env: &'a StreamExecutionEnvironment,
    settings: &'a Settings,
    meter: Arc<Meter>,
    /// Of the final table, if it is wanted.
    lines: Option<Arc<Mutex<Vec<String>>>>,
}

impl Run<'_> {
    fn events(&self) -> DataStream<Event, impl Chain<Event>> {
        let Settings { dataset, events, seconds, .. } = self.settings.clone();
        self.env.from_source(Events { dataset, events, seconds, meter: self.meter.clone() }, "events")
    }

    /// The events with event time; as the tables of the SQL queries are declared, up to 4 s may be out of order.
    fn timed_events(&self) -> DataStream<Event, impl Chain<Event>> {
        self.events().assign_timestamps_and_watermarks(watermarks())
    }

    fn sink<R: Row>(&self) -> Results<R> {
        Results::new(self.meter.clone(), self.lines.clone())
    }
}

fn watermarks()
-> WatermarkStrategy<Event, BoundedOutOfOrderness, impl TimestampAssigner<Event> + Clone + Send> {
    WatermarkStrategy::bounded_out_of_orderness(seconds(4)).with_timestamp(Event::ms)
}
