//! The operators of Nexmark's queries, written by hand for timely.

use super::{IntegerMap, ShardOperator};
use crate::nexmark::InProcess;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use thalweg_benches::nexmark::{
    Auction, Bid, CategoryPrice, City, Event, HotItem, LocalItem, Name, NewSeller, PassedBid, State,
};

/// Tumbling windows, and the panes of q7 and q8.
const SIZE_MS: u64 = 10_000;
/// q5.
const SLIDE_MS: u64 = 2_000;
const PANES: u64 = SIZE_MS / SLIDE_MS;

/// Open windows by their end.
#[derive(Clone)]
struct ByEnd<W> {
    open: VecDeque<(u64, W)>,
}

impl<W> Default for ByEnd<W> {
    fn default() -> Self {
        ByEnd { open: VecDeque::new() }
    }
}

impl<W: Default> ByEnd<W> {
    #[inline(always)]
    fn at(&mut self, end: u64) -> &mut W {
        let place = match self.open.iter().rposition(|window| window.0 == end) {
            Some(place) => place,
            None => self.open_at(end),
        };
        &mut self.open[place].1
    }

    #[cold]
    fn open_at(&mut self, end: u64) -> usize {
        let place = self.open.iter().position(|window| window.0 > end).unwrap_or(self.open.len());
        self.open.insert(place, (end, W::default()));
        place
    }

    /// The first window, if the watermark has passed it.
    fn pop(&mut self, watermark: u64) -> Option<(u64, W)> {
        let is_complete = self.open.front().is_some_and(|window| window.0 - 1 <= watermark);
        if is_complete { self.open.pop_front() } else { None }
    }
}

/// q3: what its join is fed with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Local {
    Seller { name: Name, city: City, state: State },
    Auction(u64),
}

impl Local {
    /// With the seller's id.
    #[inline(always)]
    pub(crate) fn of(event: Event) -> Option<InProcess<(u64, Local)>> {
        match event {
            Event::Person(person) if matches!(person.state.name(), "or" | "id" | "ca") => {
                let seller =
                    Local::Seller { name: person.name, city: person.city, state: person.state };
                Some(InProcess((person.id, seller)))
            }
            Event::Auction(Auction { id, seller, category: 10, .. }) => {
                Some(InProcess((seller, Local::Auction(id))))
            }
            _ => None,
        }
    }

    /// The row of a seller and an auction.
    pub(crate) fn item(self, auction: u64) -> Option<LocalItem> {
        match self {
            Local::Seller { name, city, state } => Some(LocalItem { name, city, state, auction }),
            Local::Auction(_) => None,
        }
    }
}

/// q3: sellers and auctions, whichever comes first.
#[derive(Clone, Default)]
pub(crate) struct LocalItems {
    sellers: IntegerMap<(Option<Local>, Vec<u64>)>,
}

impl ShardOperator for LocalItems {
    type In = InProcess<(u64, Local)>;
    type Out = LocalItem;
    const HAS_WATERMARKS: bool = false;

    #[inline(always)]
    fn record(&mut self, record: Self::In, out: &mut impl FnMut(LocalItem)) {
        let InProcess((id, local)) = record;
        let (seller, waiting) = self.sellers.entry(id).or_default();
        match (local, *seller) {
            (Local::Auction(auction), Some(seller)) => {
                seller.item(auction).into_iter().for_each(out);
            }
            (Local::Auction(auction), None) => waiting.push(auction),
            (Local::Seller { .. }, _) => {
                waiting.drain(..).filter_map(|auction| local.item(auction)).for_each(out);
                *seller = Some(local);
            }
        }
    }
}

/// q4: an auction that opens, or a bid.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Lot {
    pub(crate) auction: u64,
    ms: i64,
    what: LotEvent,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum LotEvent {
    Opens { expires_ms: i64, category: u64 },
    Bid { price: u64 },
}

impl Lot {
    #[inline(always)]
    pub(crate) fn of(event: Event) -> Option<Lot> {
        match event {
            Event::Person(_) => None,
            Event::Auction(Auction { id: auction, ms, expires_ms, category, .. }) => {
                Some(Lot { auction, ms, what: LotEvent::Opens { expires_ms, category } })
            }
            Event::Bid(Bid { auction, ms, price, .. }) => {
                Some(Lot { auction, ms, what: LotEvent::Bid { price } })
            }
        }
    }
}

/// The highest price of an auction has changed; it was 0 before the first bid.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Raise {
    pub(crate) category: u64,
    before: u64,
    after: u64,
}

/// q4: one auction. renoir's operator has it as the state of a key.
#[derive(Clone, Default)]
pub(crate) struct HighestPrice {
    /// From when to when it is open, and its category.
    terms: Option<(i64, i64, u64)>,
    highest: u64,
    /// Times and prices of bids that came before it.
    early: Vec<(i64, u64)>,
}

impl HighestPrice {
    #[inline(always)]
    pub(crate) fn apply(&mut self, Lot { ms, what, .. }: Lot) -> Option<Raise> {
        let best = match (what, self.terms) {
            (LotEvent::Opens { expires_ms, category }, _) => {
                self.terms = Some((ms, expires_ms, category));
                let early = std::mem::take(&mut self.early).into_iter();
                early.filter(|bid| (ms..=expires_ms).contains(&bid.0)).map(|bid| bid.1).max()?
            }
            (LotEvent::Bid { price }, Some((from, until, _))) if (from..=until).contains(&ms) => {
                price
            }
            (LotEvent::Bid { .. }, Some(_)) => return None,
            (LotEvent::Bid { price }, None) => {
                self.early.push((ms, price));
                return None;
            }
        };
        let (before, category) = (self.highest, self.terms?.2);
        self.highest = before.max(best);
        (best > before).then_some(Raise { category, before, after: best })
    }
}

/// q4: the highest price of each auction.
#[derive(Clone, Default)]
pub(crate) struct HighestPrices {
    auctions: IntegerMap<HighestPrice>,
}

impl ShardOperator for HighestPrices {
    type In = Lot;
    type Out = Raise;
    const HAS_WATERMARKS: bool = false;

    #[inline(always)]
    fn record(&mut self, lot: Lot, out: &mut impl FnMut(Raise)) {
        let auction = self.auctions.entry(lot.auction).or_default();
        auction.apply(lot).into_iter().for_each(out);
    }
}

/// q4: the average of a category, each time it changes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Average {
    auctions: u64,
    sum: u64,
}

impl Average {
    #[inline(always)]
    pub(crate) fn apply(&mut self, Raise { category, before, after }: Raise) -> CategoryPrice {
        self.auctions += u64::from(before == 0);
        self.sum += after - before;
        CategoryPrice { category, price: self.sum / self.auctions }
    }
}

/// q4: the averages.
#[derive(Clone, Default)]
pub(crate) struct Averages {
    categories: IntegerMap<Average>,
}

impl ShardOperator for Averages {
    type In = Raise;
    type Out = CategoryPrice;
    const HAS_WATERMARKS: bool = false;

    #[inline(always)]
    fn record(&mut self, raise: Raise, out: &mut impl FnMut(CategoryPrice)) {
        out(self.categories.entry(raise.category).or_default().apply(raise));
    }
}

/// q5: counts of bids in panes of two seconds; of each window of ten seconds the auctions of this shard that have the most.
#[derive(Clone, Default)]
pub(crate) struct HotItems {
    /// Panes by their number, in order.
    panes: VecDeque<(u64, IntegerMap<u64>)>,
    /// The number behind the last pane of the next window.
    next: u64,
}

impl HotItems {
    #[cold]
    fn open(&mut self, pane: u64) -> usize {
        let place = self.panes.iter().position(|open| open.0 > pane).unwrap_or(self.panes.len());
        self.panes.insert(place, (pane, IntegerMap::default()));
        place
    }
}

impl ShardOperator for HotItems {
    /// Auction and time of a bid.
    type In = (u64, u64);
    /// End of the window, auction, bids.
    type Out = (u64, u64, u64);

    #[inline(always)]
    fn record(&mut self, (auction, ms): (u64, u64), _: &mut impl FnMut((u64, u64, u64))) {
        let pane = ms / SLIDE_MS;
        let place = match self.panes.iter().rposition(|open| open.0 == pane) {
            Some(place) => place,
            None => self.open(pane),
        };
        *self.panes[place].1.entry(auction).or_insert(0) += 1;
    }

    fn watermark(&mut self, watermark: u64, out: &mut impl FnMut((u64, u64, u64))) {
        while let Some(first) = self.panes.front() {
            let behind = self.next.max(first.0 + 1);
            let end = behind * SLIDE_MS;
            if end - 1 > watermark {
                break;
            }
            let mut sums = IntegerMap::<u64>::default();
            for (_, counts) in self.panes.iter().take_while(|pane| pane.0 < behind) {
                for (auction, count) in counts {
                    *sums.entry(*auction).or_insert(0) += count;
                }
            }
            let most = sums.values().copied().max().unwrap_or(0);
            for (auction, bids) in sums.into_iter().filter(|entry| entry.1 == most) {
                out((end, auction, bids));
            }
            self.next = behind + 1;
            // The next window begins behind it.
            while self.panes.front().is_some_and(|pane| pane.0 + PANES < self.next) {
                self.panes.pop_front();
            }
        }
    }
}

/// q5: the best of all shards.
#[derive(Clone, Default)]
pub(crate) struct Hottest {
    /// How many bids, and the auctions that have so many.
    windows: ByEnd<(u64, Vec<u64>)>,
}

impl ShardOperator for Hottest {
    type In = (u64, u64, u64);
    type Out = HotItem;

    fn record(&mut self, (end, auction, bids): (u64, u64, u64), _: &mut impl FnMut(HotItem)) {
        let (most, auctions) = self.windows.at(end);
        if bids > *most {
            *most = bids;
            auctions.clear();
        }
        if bids == *most {
            auctions.push(auction);
        }
    }

    fn watermark(&mut self, watermark: u64, out: &mut impl FnMut(HotItem)) {
        while let Some((end, (bids, auctions))) = self.windows.pop(watermark) {
            let start_ms = (end - SIZE_MS) as i64;
            auctions.into_iter().for_each(|auction| out(HotItem { auction, bids, start_ms }));
        }
    }
}

/// q7: the highest bids of each ten seconds, of a shard or of all.
#[derive(Clone, Default)]
pub(crate) struct HighestBids {
    windows: ByEnd<Vec<PassedBid>>,
}

impl HighestBids {
    /// The end of a bid's window.
    pub(crate) fn end(bid: &PassedBid) -> u64 {
        bid.ms as u64 / SIZE_MS * SIZE_MS + SIZE_MS
    }
}

impl ShardOperator for HighestBids {
    type In = InProcess<PassedBid>;
    type Out = InProcess<PassedBid>;

    #[inline(always)]
    fn record(&mut self, InProcess(bid): Self::In, _: &mut impl FnMut(Self::Out)) {
        let best = self.windows.at(Self::end(&bid));
        let highest = best.first().map_or(0, |best| best.price);
        if bid.price > highest {
            best.clear();
        }
        if bid.price >= highest {
            best.push(bid);
        }
    }

    fn watermark(&mut self, watermark: u64, out: &mut impl FnMut(Self::Out)) {
        while let Some((_, best)) = self.windows.pop(watermark) {
            best.into_iter().map(InProcess).for_each(&mut *out);
        }
    }
}

/// q8: what its windows are fed with: id, time and, if it is the person, the name.
pub(crate) type Seller = InProcess<(u64, u64, Option<Name>)>;

/// As [`Seller`].
#[inline(always)]
pub(crate) fn seller_of(event: Event) -> Option<Seller> {
    let ms = event.ms() as u64;
    match event {
        Event::Person(person) => Some(InProcess((person.id, ms, Some(person.name)))),
        Event::Auction(auction) => Some(InProcess((auction.seller, ms, None))),
        Event::Bid(_) => None,
    }
}

/// q8: who registered and opened an auction within the same ten seconds.
#[derive(Clone, Default)]
pub(crate) struct NewSellers {
    windows: ByEnd<IntegerMap<(Option<Name>, bool)>>,
}

impl ShardOperator for NewSellers {
    type In = Seller;
    type Out = NewSeller;

    #[inline(always)]
    fn record(&mut self, InProcess((id, ms, name)): Seller, _: &mut impl FnMut(NewSeller)) {
        let window = self.windows.at(ms / SIZE_MS * SIZE_MS + SIZE_MS);
        let (registered, has_sold) = window.entry(id).or_default();
        match name {
            Some(_) => *registered = name,
            None => *has_sold = true,
        }
    }

    fn watermark(&mut self, watermark: u64, out: &mut impl FnMut(NewSeller)) {
        while let Some((end, people)) = self.windows.pop(watermark) {
            let start_ms = (end - SIZE_MS) as i64;
            for (id, (name, has_sold)) in people {
                if let Some(name) = name.filter(|_| has_sold) {
                    out(NewSeller { id, name, start_ms });
                }
            }
        }
    }
}
