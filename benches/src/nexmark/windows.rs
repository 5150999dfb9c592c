//! q5, q7, q8 and q11: windows.

use super::rows::{BidderSession, HighestBid, HotItem, NewSeller, PassedBid};
use super::stateless::passed;
use super::{Event, Name, Run};
use thalweg::prelude::*;

/// q5: the auctions with the most bids of the last ten seconds, every two seconds; all of them if there are several.
///
/// A subtask passes on what no other of its counts of the window has beaten, and the windows' best are chosen from these.
pub(super) fn hot_items(run: &Run<'_>) {
    run.timed_events()
        .flat_map(Event::bid)
        .key_by(|bid| bid.auction)
        .window(SlidingEventTimeWindows::of(seconds(10), seconds(2)))
        .aggregate_with(Count, |auction, window, bids, out| {
            out.collect((window.start(), *auction, bids));
        })
        .filter(not_beaten(|&(start_ms, _, bids): &(i64, u64, u64)| (start_ms, bids)))
        .key_by(|(start_ms, ..)| *start_ms)
        .process(Hottest::default())
        .sink_to(run.sink());
}

/// Keeps what is not less than the greatest so far of the same window, as long as no other window comes in between.
fn not_beaten<T>(of: impl Fn(&T) -> (i64, u64) + Clone) -> impl FnMut(&T) -> bool + Clone {
    let mut leader = (i64::MIN, 0);
    move |candidate| {
        let (window, value) = of(candidate);
        let stays = window != leader.0 || value >= leader.1;
        if stays {
            leader = (window, value);
        }
        stays
    }
}

/// The auctions with the most bids of a window.
#[derive(Clone, Default)]
struct Hottest {
    /// How many bids, and the auctions that have so many.
    best: ValueState<(u64, Vec<u64>)>,
}

impl KeyedProcessFunction for Hottest {
    type Key = i64;
    type In = (i64, u64, u64);
    type Out = HotItem;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.best = context.value_state(ValueStateDescriptor::new("best"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        (start_ms, auction, bids): (i64, u64, u64),
        context: &mut Context<'_, i64>,
        _: &mut Collector<'_, HotItem>,
    ) -> thalweg::Result<()> {
        let is_first = self.best.modify(context, |(most, auctions)| {
            let is_first = auctions.is_empty();
            if bids > *most {
                *most = bids;
                auctions.clear();
            }
            if bids == *most {
                auctions.push(auction);
            }
            is_first
        })?;
        if is_first {
            context.timer_service().register_event_time_timer(start_ms + 9_999);
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: i64,
        context: &mut OnTimerContext<'_, i64>,
        out: &mut Collector<'_, HotItem>,
    ) -> thalweg::Result<()> {
        let start_ms = *context.current_key();
        let (bids, auctions) = self.best.take(context)?.unwrap_or_default();
        auctions.into_iter().for_each(|auction| out.collect(HotItem { auction, bids, start_ms }));
        Ok(())
    }
}

/// q7: the highest bids of each ten seconds. A subtask passes on what none of its bids of the window has beaten.
pub(super) fn highest_bids(run: &Run<'_>) {
    run.timed_events()
        .flat_map(|event| event.bid().map(passed))
        .filter(not_beaten(|bid: &PassedBid| (bid.ms.div_euclid(10_000), bid.price)))
        .window_all(TumblingEventTimeWindows::of(seconds(10)))
        .aggregate_with(Highest, |_, bids: Vec<PassedBid>, out| {
            bids.into_iter().for_each(|bid| out.collect(HighestBid(bid)));
        })
        .sink_to(run.sink());
}

/// The bids with the highest price.
#[derive(Clone, Copy)]
struct Highest;

impl AggregateFunction<PassedBid> for Highest {
    type Accumulator = Vec<PassedBid>;
    type Result = Vec<PassedBid>;

    fn create_accumulator(&self) -> Vec<PassedBid> {
        Vec::new()
    }

    fn add(&self, best: &mut Vec<PassedBid>, bid: &PassedBid) {
        let highest = best.first().map_or(0, |best| best.price);
        if bid.price > highest {
            best.clear();
        }
        if bid.price >= highest {
            best.push(*bid);
        }
    }

    fn result(&self, best: &Vec<PassedBid>) -> Vec<PassedBid> {
        best.clone()
    }

    fn merge(&self, into: &mut Vec<PassedBid>, other: &Vec<PassedBid>) {
        other.iter().for_each(|bid| self.add(into, bid));
    }
}

/// q8: who registered and opened an auction within the same ten seconds.
pub(super) fn new_sellers(run: &Run<'_>) {
    run.timed_events()
        .flat_map(|event| match event {
            Event::Person(person) => Some((person.id, Some(person.name))),
            Event::Auction(auction) => Some((auction.seller, None)),
            Event::Bid(_) => None,
        })
        .key_by(|(id, _)| *id)
        .window(TumblingEventTimeWindows::of(seconds(10)))
        .aggregate_with(RegisteredAndSold, |id, window, name, out| {
            if let Some(name) = name {
                out.collect(NewSeller { id: *id, name, start_ms: window.start() });
            }
        })
        .sink_to(run.sink());
}

/// The name of a person who has done both.
#[derive(Clone, Copy)]
struct RegisteredAndSold;

impl AggregateFunction<(u64, Option<Name>)> for RegisteredAndSold {
    type Accumulator = (Option<Name>, bool);
    type Result = Option<Name>;

    fn create_accumulator(&self) -> (Option<Name>, bool) {
        (None, false)
    }

    fn add(&self, (name, has_sold): &mut (Option<Name>, bool), event: &(u64, Option<Name>)) {
        match event.1 {
            Some(registered) => *name = Some(registered),
            None => *has_sold = true,
        }
    }

    fn result(&self, (name, has_sold): &(Option<Name>, bool)) -> Option<Name> {
        name.filter(|_| *has_sold)
    }

    fn merge(&self, into: &mut (Option<Name>, bool), other: &(Option<Name>, bool)) {
        *into = (into.0.or(other.0), into.1 || other.1);
    }
}

/// q11: how often each bidder bids without a break of ten seconds.
pub(super) fn bidder_sessions(run: &Run<'_>) {
    run.timed_events()
        .flat_map(|event| event.bid().map(|bid| bid.bidder))
        .key_by(|bidder| *bidder)
        .window(EventTimeSessionWindows::with_gap(seconds(10)))
        .aggregate_with(Count, |bidder, window, bids, out| {
            let (start_ms, end_ms) = (window.start(), window.end());
            out.collect(BidderSession { bidder: *bidder, bids, start_ms, end_ms });
        })
        .sink_to(run.sink());
}
