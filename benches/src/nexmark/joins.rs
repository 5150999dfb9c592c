//! q3, q4, q9 and q20: joins of streams over all their history.
//!
//! Ids of persons and auctions are unique, so what waits for one is given up when it has come, and one that has come is kept
//! for what is still to come. Each join takes both its streams as one, keyed alike: an event passes the source once.

use super::rows::{CategoryPrice, ExpandedBid, LocalItem, WinningBid};
use super::{Auction, Bid, City, Event, Name, Run, State};
use thalweg::prelude::*;

/// q3: what is sold in category 10 by people of three states.
pub(super) fn local_items(run: &Run<'_>) {
    run.events()
        .flat_map(|event| match event {
            Event::Person(person) if matches!(person.state.name(), "or" | "id" | "ca") => {
                let seller = Seller { name: person.name, city: person.city, state: person.state };
                Some((person.id, Local::Seller(seller)))
            }
            Event::Auction(Auction { id, seller, category: 10, .. }) => {
                Some((seller, Local::Auction(id)))
            }
            _ => None,
        })
        .key_by(|(seller, _)| *seller)
        .process(LocalItems::default())
        .sink_to(run.sink());
}

#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Seller {
    name: Name,
    city: City,
    state: State,
}

impl Seller {
    fn item(&self, auction: u64) -> LocalItem {
        LocalItem { name: self.name, city: self.city, state: self.state, auction }
    }
}

#[thalweg::record]
#[derive(Clone, Copy, Debug)]
enum Local {
    Seller(Seller),
    Auction(u64),
}

#[derive(Clone, Default)]
struct LocalItems {
    seller: ValueState<Seller>,
    /// Auctions that came before their seller.
    waiting: ListState<u64>,
}

impl KeyedProcessFunction for LocalItems {
    type Key = u64;
    type In = (u64, Local);
    type Out = LocalItem;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.seller = context.value_state(ValueStateDescriptor::new("seller"))?;
        self.waiting = context.list_state(ListStateDescriptor::new("waiting"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        (_, event): (u64, Local),
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, LocalItem>,
    ) -> thalweg::Result<()> {
        match event {
            Local::Seller(seller) => {
                for auction in self.waiting.get(context)? {
                    out.collect(seller.item(auction));
                }
                self.waiting.clear(context)?;
                self.seller.update(context, seller)?;
            }
            Local::Auction(auction) => match self.seller.value(context)? {
                Some(seller) => out.collect(seller.item(auction)),
                None => self.waiting.add(context, auction)?,
            },
        }
        Ok(())
    }
}

/// q4: the average of the auctions' highest bids, by category.
pub(super) fn prices_of_categories(run: &Run<'_>) {
    run.events()
        .flat_map(|event| match event {
            Event::Person(_) => None,
            Event::Auction(Auction { id: auction, ms, expires_ms, category, .. }) => {
                Some(Lot { auction, ms, what: LotEvent::Opens { expires_ms, category } })
            }
            Event::Bid(Bid { auction, ms, price, .. }) => {
                Some(Lot { auction, ms, what: LotEvent::Bid { price } })
            }
        })
        .key_by(|lot| lot.auction)
        .process(HighestPrices::default())
        .key_by(|raise| raise.category)
        .scan((0u64, 0u64), |(auctions, sum), Raise { category, before, after }| {
            *auctions += u64::from(before == 0);
            *sum += after - before;
            CategoryPrice { category, price: *sum / *auctions }
        })
        .sink_to(run.sink());
}

#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Lot {
    auction: u64,
    ms: i64,
    what: LotEvent,
}

#[thalweg::record]
#[derive(Clone, Copy, Debug)]
enum LotEvent {
    Opens { expires_ms: i64, category: u64 },
    Bid { price: u64 },
}

/// The highest price of an auction has changed; it was 0 before the first bid.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Raise {
    category: u64,
    before: u64,
    after: u64,
}

/// An auction that has opened.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Terms {
    ms: i64,
    expires_ms: i64,
    category: u64,
}

#[derive(Clone, Default)]
struct HighestPrices {
    /// Of the auction, if it has opened, and the highest price so far.
    lot: ValueState<(Option<Terms>, u64)>,
    /// Times and prices of bids that came before their auction.
    early: ListState<(i64, u64)>,
}

impl KeyedProcessFunction for HighestPrices {
    type Key = u64;
    type In = Lot;
    type Out = Raise;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.lot = context.value_state(ValueStateDescriptor::new("lot"))?;
        self.early = context.list_state(ListStateDescriptor::new("early"))?;
        Ok(())
    }

    #[inline(always)]
    fn process_element(
        &mut self,
        Lot { ms, what, .. }: Lot,
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, Raise>,
    ) -> thalweg::Result<()> {
        match what {
            LotEvent::Bid { price } => {
                let lot = self.lot.modify(context, |(terms, highest)| {
                    let is_in_time = |terms: &Terms| (terms.ms..=terms.expires_ms).contains(&ms);
                    let before = *highest;
                    if price > before && terms.as_ref().is_some_and(is_in_time) {
                        *highest = price;
                    }
                    terms.map(|terms| (terms.category, before, *highest))
                })?;
                match lot {
                    Some((category, before, after)) if after > before => {
                        out.collect(Raise { category, before, after });
                    }
                    Some(_) => {}
                    None => self.early.add(context, (ms, price))?,
                }
            }
            LotEvent::Opens { expires_ms, category } => {
                let terms = Terms { ms, expires_ms, category };
                let early = self.early.get(context)?;
                self.early.clear(context)?;
                let in_time = early.into_iter().filter(|bid| (ms..=expires_ms).contains(&bid.0));
                let after = in_time.map(|bid| bid.1).max().unwrap_or(0);
                self.lot.update(context, (Some(terms), after))?;
                if after > 0 {
                    out.collect(Raise { category, before: 0, after });
                }
            }
        }
        Ok(())
    }
}

#[thalweg::record]
#[derive(Clone, Copy, Debug)]
enum Offer {
    Auction(Auction),
    Bid(Bid),
}

fn offers(run: &Run<'_>) -> KeyedStream<Offer, impl KeySelector<Offer, Key = u64>> {
    run.events()
        .flat_map(|event| match event {
            Event::Person(_) => None,
            Event::Auction(auction) => Some(Offer::Auction(auction)),
            Event::Bid(bid) => Some(Offer::Bid(bid)),
        })
        .key_by(|offer| match offer {
            Offer::Auction(auction) => auction.id,
            Offer::Bid(bid) => bid.auction,
        })
}

/// q9: the best bid of each auction while it was open; the first one of equal prices.
pub(super) fn winning_bids(run: &Run<'_>) {
    offers(run).process(WinningBids::default()).sink_to(run.sink());
}

#[derive(Clone, Default)]
struct WinningBids {
    auction: ValueState<Auction>,
    best: ValueState<Bid>,
    early: ListState<Bid>,
}

impl WinningBids {
    #[inline(always)]
    fn bid(
        &self,
        auction: &Auction,
        bid: Bid,
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, WinningBid>,
    ) -> thalweg::Result<()> {
        let is_better = self.best.with_ref(context, |best| {
            best.is_none_or(|best| {
                bid.price > best.price || (bid.price == best.price && bid.ms < best.ms)
            })
        })?;
        if is_better && (auction.ms..=auction.expires_ms).contains(&bid.ms) {
            self.best.update(context, bid)?;
            let Bid { bidder, price, ms: bid_ms, .. } = bid;
            out.collect(WinningBid { auction: *auction, bidder, price, bid_ms });
        }
        Ok(())
    }
}

impl KeyedProcessFunction for WinningBids {
    type Key = u64;
    type In = Offer;
    type Out = WinningBid;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.auction = context.value_state(ValueStateDescriptor::new("auction"))?;
        self.best = context.value_state(ValueStateDescriptor::new("best"))?;
        self.early = context.list_state(ListStateDescriptor::new("early"))?;
        Ok(())
    }

    #[inline(always)]
    fn process_element(
        &mut self,
        offer: Offer,
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, WinningBid>,
    ) -> thalweg::Result<()> {
        match offer {
            Offer::Bid(bid) => match self.auction.value(context)? {
                Some(auction) => self.bid(&auction, bid, context, out)?,
                None => self.early.add(context, bid)?,
            },
            Offer::Auction(auction) => {
                self.auction.update(context, auction)?;
                let early = self.early.get(context)?;
                self.early.clear(context)?;
                for bid in early {
                    self.bid(&auction, bid, context, out)?;
                }
            }
        }
        Ok(())
    }
}

/// q20: the bids for what is of category 10, with their auctions.
pub(super) fn expanded_bids(run: &Run<'_>) {
    offers(run).process(ExpandedBids::default()).sink_to(run.sink());
}

#[derive(Clone, Default)]
struct ExpandedBids {
    auction: ValueState<Auction>,
    early: ListState<Bid>,
}

impl KeyedProcessFunction for ExpandedBids {
    type Key = u64;
    type In = Offer;
    type Out = ExpandedBid;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.auction = context.value_state(ValueStateDescriptor::new("auction"))?;
        self.early = context.list_state(ListStateDescriptor::new("early"))?;
        Ok(())
    }

    #[inline(always)]
    fn process_element(
        &mut self,
        offer: Offer,
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, ExpandedBid>,
    ) -> thalweg::Result<()> {
        match offer {
            Offer::Bid(bid) => match self.auction.value(context)? {
                Some(auction) if auction.category == 10 => {
                    out.collect(ExpandedBid { bid, auction });
                }
                Some(_) => {}
                None => self.early.add(context, bid)?,
            },
            Offer::Auction(auction) => {
                self.auction.update(context, auction)?;
                let early = self.early.get(context)?;
                self.early.clear(context)?;
                if auction.category == 10 {
                    early.into_iter().for_each(|bid| out.collect(ExpandedBid { bid, auction }));
                }
            }
        }
        Ok(())
    }
}
