//! Nexmark on renoir, with its own operators. Its windows begin at the first record of each key, so q5, q7 and q8
//! answer another question.

use super::{BATCH, not_written};
use crate::Error;
use crate::case::Case;
use crate::nexmark::{InProcess, QueryRun};
use crate::operator::auctions::{Average, HighestPrice, Local, Lot, Raise, seller_of};
use renoir::Stream;
use renoir::operator::{Operator, Timestamp};
use renoir::prelude::*;
use thalweg_benches::nexmark::{
    Bid, ConvertedBid, Event, HighestBid, HotItem, NewSeller, Outcome, PassedBid, Row, SelectedBid,
};

const DELAY_MS: i64 = 4_000;
const SIZE_MS: i64 = 10_000;
const SLIDE_MS: i64 = 2_000;

pub(super) fn run(env: StreamContext, case: &Case, query: u8) -> Result<Outcome, Error> {
    let run = QueryRun::new(case);
    let source = run.clone();
    let events = env
        .stream_par_iter(move |index: u64, of: u64| source.source(index, of))
        .batch_mode(BatchMode::fixed(BATCH));
    match query {
        0 => sink(events.filter_map(|event| event.bid().map(passed)), &run),
        1 => sink(
            events.filter_map(|event| {
                let Bid { auction, bidder, price, ms, .. } = event.bid()?;
                Some(ConvertedBid { auction, bidder, price_thousandths: price * 908, ms })
            }),
            &run,
        ),
        2 => sink(
            events.filter_map(|event| {
                let Bid { auction, price, .. } = event.bid()?;
                auction.is_multiple_of(123).then_some(SelectedBid { auction, price })
            }),
            &run,
        ),
        3 => local_items(events, &run),
        4 => prices_of_categories(events, &run),
        5 => hot_items(events, &run),
        7 => highest_bids(events, &run),
        8 => new_sellers(events, &run),
        _ => return Err(not_written(case)),
    }
    env.execute_blocking();
    Ok(run.outcome())
}

fn passed(Bid { auction, bidder, price, ms, .. }: Bid) -> PassedBid {
    PassedBid { auction, bidder, price, ms }
}

fn with_watermarks(
    events: Stream<impl Operator<Out = Event> + 'static>,
) -> Stream<impl Operator<Out = Event>> {
    let mut count = 0;
    events.add_timestamps(
        |event: &Event| event.ms() as Timestamp,
        move |_: &Event, ts: &Timestamp| {
            count += 1;
            (count % BATCH == 0).then(|| (*ts - DELAY_MS - 1).max(0))
        },
    )
}

fn sink<R: Row + Send>(rows: Stream<impl Operator<Out = R> + 'static>, run: &QueryRun) {
    let mut sink = run.sink();
    rows.for_each(move |row| {
        // The whole of it is captured, so that a replica drops one sink.
        let sink = &mut sink;
        sink.write(&row);
    });
}

fn local_items(events: Stream<impl Operator<Out = Event> + 'static>, run: &QueryRun) {
    let mut routes = events
        .filter_map(Local::of)
        .route()
        .add_route(|local| matches!(local.0.1, Local::Seller { .. }))
        .add_route(|local| matches!(local.0.1, Local::Auction(_)))
        .build()
        .into_iter();
    let (Some(sellers), Some(auctions)) = (routes.next(), routes.next()) else { return };
    let joined = sellers.join(auctions, |seller| seller.0.0, |auction| auction.0.0).drop_key();
    let items = joined.filter_map(|(seller, auction)| match auction.0.1 {
        Local::Auction(auction) => seller.0.1.item(auction),
        Local::Seller { .. } => None,
    });
    sink(items, run);
}

fn prices_of_categories(events: Stream<impl Operator<Out = Event> + 'static>, run: &QueryRun) {
    let (mut highest, mut average) = (HighestPrice::default(), Average::default());
    let prices = events
        .filter_map(Lot::of)
        .group_by(|lot| lot.auction)
        .rich_filter_map(move |(_, lot): (&u64, Lot)| highest.apply(lot))
        .drop_key()
        .group_by(|raise| raise.category)
        .rich_map(move |(_, raise): (&u64, Raise)| average.apply(raise))
        .drop_key();
    sink(prices, run);
}

fn hot_items(events: Stream<impl Operator<Out = Event> + 'static>, run: &QueryRun) {
    let best = with_watermarks(events)
        .filter_map(|event| event.bid().map(|bid| bid.auction))
        .group_by(|auction| *auction)
        .window(EventTimeWindow::sliding(SIZE_MS, SLIDE_MS))
        .count()
        .unkey()
        .window_all(EventTimeWindow::tumbling(SLIDE_MS))
        .max_by_key(|entry: &(u64, usize)| entry.1)
        .drop_key()
        .map(|(auction, bids)| HotItem { auction, bids: bids as u64, start_ms: 0 });
    sink(best, run);
}

/// The best of each replica first.
fn highest_bids(events: Stream<impl Operator<Out = Event> + 'static>, run: &QueryRun) {
    let best = with_watermarks(events)
        .filter_map(|event| event.bid().map(passed).map(InProcess))
        .key_by(|_| ())
        .window(EventTimeWindow::tumbling(SIZE_MS))
        .max_by_key(|bid: &InProcess<PassedBid>| bid.0.price)
        .drop_key()
        .window_all(EventTimeWindow::tumbling(SIZE_MS))
        .max_by_key(|bid: &InProcess<PassedBid>| bid.0.price)
        .drop_key()
        .map(|InProcess(bid)| HighestBid(bid));
    sink(best, run);
}

fn new_sellers(events: Stream<impl Operator<Out = Event> + 'static>, run: &QueryRun) {
    let mut routes = with_watermarks(events)
        .filter_map(seller_of)
        .route()
        .add_route(|seller| seller.0.2.is_some())
        .add_route(|seller| seller.0.2.is_none())
        .build()
        .into_iter();
    let (Some(people), Some(sellers)) = (routes.next(), routes.next()) else { return };
    let people = people.group_by(|person| person.0.0);
    let joined = people
        .window_join(EventTimeWindow::tumbling(SIZE_MS), sellers.group_by(|seller| seller.0.0));
    let rows = joined.drop_key().filter_map(|(person, _)| {
        let InProcess((id, _, name)) = person;
        Some(NewSeller { id, name: name?, start_ms: 0 })
    });
    sink(rows, run);
}
