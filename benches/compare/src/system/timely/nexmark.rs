//! Nexmark on timely, with the hand-written operators of `operator::auctions`.

use super::dataflow::{Builder, Rows, emit, keyed};
use super::{execute, not_written};
use crate::Error;
use crate::case::Case;
use crate::nexmark::{InProcess, QueryRun};
use crate::operator::auctions::{
    Averages, HighestBids, HighestPrices, HotItems, Hottest, Local, LocalItems, Lot, NewSellers,
    Raise, Seller, seller_of,
};
use crate::operator::route;
use thalweg_benches::nexmark::{
    Bid, ConvertedBid, Event, HighestBid, Outcome, PassedBid, Row, SelectedBid,
};
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;
use timely::dataflow::operators::generic::operator;

const BLOCK: u64 = 4_096;
/// By how much events may be out of order, as the tables of the SQL queries are declared.
const DELAY_MS: u64 = 4_000;

type Query = for<'s> fn(Rows<'s, Event>, &QueryRun);

pub(super) fn run(case: &Case, query: u8) -> Result<Outcome, Error> {
    let build: Query = match query {
        0 => pass_through,
        1 => currency_conversion,
        2 => selection,
        3 => local_items,
        4 => prices_of_categories,
        5 => hot_items,
        7 => highest_bids,
        8 => new_sellers,
        _ => return Err(not_written(case)),
    };
    let run = QueryRun::new(case);
    let workers_run = run.clone();
    execute(case.parallelism, move |worker| {
        worker.dataflow::<u64, _, _>(|scope| build(events(&workers_run, scope), &workers_run));
    })?;
    Ok(run.outcome())
}

fn events<'s>(run: &QueryRun, scope: Scope<'s, u64>) -> Rows<'s, Event> {
    let mut source = run.source(scope.index() as u64, scope.peers() as u64);
    operator::source::<_, Builder<Event>, _, _>(scope, "events", move |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut held = Some(capability);
        move |output| {
            let Some(capability) = &mut held else { return };
            let Some(count) = source.next_block(BLOCK) else {
                held = None;
                return;
            };
            let mut last_ms = 0;
            let events = (0..count).map(|_| {
                let event = source.event();
                last_ms = event.ms() as u64;
                event
            });
            output.session(capability).give_iterator(events);
            let watermark = last_ms.saturating_sub(DELAY_MS + 1);
            if watermark > *capability.time() {
                capability.downgrade(&watermark);
            }
            activator.activate();
        }
    })
}

/// Filter and projection in one operator.
fn pick<'s, I: Clone + 'static, O: Clone + 'static>(
    stream: Rows<'s, I>,
    pick: impl Fn(I) -> Option<O> + 'static,
) -> Rows<'s, O> {
    stream.unary::<Builder<O>, _, _, _>(Pipeline, "pick", move |_, _| {
        move |input, output| {
            input.for_each(|capability, records| {
                let mut session = output.session(&capability);
                session.give_iterator(records.drain(..).filter_map(&pick));
            });
        }
    })
}

fn sink<R: Row + Clone>(rows: Rows<'_, R>, run: &QueryRun) {
    let mut sink = run.sink();
    rows.sink(Pipeline, "sink", move |(input, _)| {
        input.for_each(|_, rows| {
            for row in rows.drain(..) {
                sink.write(&row);
            }
        });
    });
}

fn passed(Bid { auction, bidder, price, ms, .. }: Bid) -> PassedBid {
    PassedBid { auction, bidder, price, ms }
}

fn pass_through(events: Rows<'_, Event>, run: &QueryRun) {
    sink(pick(events, |event| event.bid().map(passed)), run);
}

fn currency_conversion(events: Rows<'_, Event>, run: &QueryRun) {
    let converted = pick(events, |event| {
        let Bid { auction, bidder, price, ms, .. } = event.bid()?;
        Some(ConvertedBid { auction, bidder, price_thousandths: price * 908, ms })
    });
    sink(converted, run);
}

fn selection(events: Rows<'_, Event>, run: &QueryRun) {
    let selected = pick(events, |event| {
        let Bid { auction, price, .. } = event.bid()?;
        auction.is_multiple_of(123).then_some(SelectedBid { auction, price })
    });
    sink(selected, run);
}

fn local_items(events: Rows<'_, Event>, run: &QueryRun) {
    let by_seller = |local: &InProcess<(u64, Local)>| route(local.0.0);
    sink(emit(pick(events, Local::of), by_seller, LocalItems::default()), run);
}

fn prices_of_categories(events: Rows<'_, Event>, run: &QueryRun) {
    let lots = pick(events, Lot::of);
    let raises = emit(lots, |lot: &Lot| route(lot.auction), HighestPrices::default());
    sink(emit(raises, |raise: &Raise| route(raise.category), Averages::default()), run);
}

fn hot_items(events: Rows<'_, Event>, run: &QueryRun) {
    let bids = pick(events, |event| event.bid().map(|bid| (bid.auction, bid.ms as u64)));
    let best = keyed(bids, |bid: &(u64, u64)| route(bid.0), HotItems::default());
    sink(keyed(best, |best: &(u64, u64, u64)| route(best.0), Hottest::default()), run);
}

/// The best of each worker first: its exchange sends all to where they are.
fn highest_bids(events: Rows<'_, Event>, run: &QueryRun) {
    let bids = pick(events, |event| event.bid().map(passed).map(InProcess));
    let index = bids.scope().index() as u64;
    let local = keyed(bids, move |_: &InProcess<PassedBid>| index, HighestBids::default());
    let by_end = |bid: &InProcess<PassedBid>| route(HighestBids::end(&bid.0));
    let best = keyed(local, by_end, HighestBids::default());
    sink(pick(best, |InProcess(bid)| Some(HighestBid(bid))), run);
}

fn new_sellers(events: Rows<'_, Event>, run: &QueryRun) {
    let sellers = pick(events, seller_of);
    sink(keyed(sellers, |seller: &Seller| route(seller.0.0), NewSellers::default()), run);
}
