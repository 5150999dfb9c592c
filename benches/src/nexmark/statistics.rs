//! q16, q17, q18 and q19: statistics, the last and the best of each key, updated with each bid.

use super::rows::{AuctionStatistics, ByPrice, ChannelStatistics, LastBid, RankedBid};
use super::{Bid, Channel, Event, Run};
use thalweg::prelude::*;

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;

/// Days since 1970.
#[inline(always)]
fn day(bid: &Bid) -> u32 {
    bid.ms.div_euclid(DAY_MS) as u32
}

/// Which of the three bands of prices it is in.
#[inline(always)]
fn band(price: u64) -> usize {
    usize::from(price >= 10_000) + usize::from(price >= 1_000_000)
}

impl ByPrice {
    #[inline(always)]
    fn count(&mut self, band: usize) {
        self.0[0] += 1;
        self.0[1 + band] += 1;
    }

    /// Counts who is met in this band; `met` has a bit for each band in which they were met before.
    #[inline(always)]
    fn count_distinct(&mut self, band: usize, met: u8) {
        self.0[0] += u64::from(met == 0);
        self.0[1 + band] += u64::from(met & (1 << band) == 0);
    }
}

/// q16: bids, bidders and auctions of each channel and day.
pub(super) fn of_channels(run: &Run<'_>) {
    run.events()
        .flat_map(Event::bid)
        .key_by(|bid| (bid.channel.0, day(bid)))
        .process(Channels::default())
        .sink_to(run.sink());
}

#[thalweg::record]
#[derive(Clone, Copy, Debug, Default)]
struct ChannelCounts {
    minute: u32,
    bids: ByPrice,
    bidders: ByPrice,
    auctions: ByPrice,
}

#[derive(Clone, Default)]
struct Channels {
    counts: ValueState<ChannelCounts>,
    /// In which bands each was met, a bit a band.
    bidders: MapState<u64, u8>,
    auctions: MapState<u64, u8>,
}

impl KeyedProcessFunction for Channels {
    type Key = (u32, u32);
    type In = Bid;
    type Out = ChannelStatistics;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.counts = context.value_state(ValueStateDescriptor::new("counts"))?;
        self.bidders = context.map_state(MapStateDescriptor::new("bidders"))?;
        self.auctions = context.map_state(MapStateDescriptor::new("auctions"))?;
        Ok(())
    }

    #[inline(always)]
    fn process_element(
        &mut self,
        bid: Bid,
        context: &mut Context<'_, (u32, u32)>,
        out: &mut Collector<'_, ChannelStatistics>,
    ) -> thalweg::Result<()> {
        let band = band(bid.price);
        let meet = |met: &mut u8| std::mem::replace(met, *met | 1 << band);
        let bidder = self.bidders.modify(context, &bid.bidder, meet)?;
        let auction = self.auctions.modify(context, &bid.auction, meet)?;
        let minute = (bid.ms.rem_euclid(DAY_MS) / MINUTE_MS) as u32;
        let counts = self.counts.modify(context, |counts| {
            counts.minute = counts.minute.max(minute);
            counts.bids.count(band);
            counts.bidders.count_distinct(band, bidder);
            counts.auctions.count_distinct(band, auction);
            *counts
        })?;
        let ChannelCounts { minute, bids, bidders, auctions } = counts;
        let (channel, day) = *context.current_key();
        let channel = Channel(channel);
        out.collect(ChannelStatistics { channel, day, minute, bids, bidders, auctions });
        Ok(())
    }
}

/// q17: numbers and prices of the bids for each auction and day.
pub(super) fn of_auctions(run: &Run<'_>) {
    run.events()
        .flat_map(Event::bid)
        .key_by(|bid| (bid.auction, day(bid)))
        .scan(Prices::default(), |prices, bid| {
            prices.bids.count(band(bid.price));
            prices.min = if prices.bids.0[0] == 1 { bid.price } else { prices.min.min(bid.price) };
            prices.max = prices.max.max(bid.price);
            prices.sum += bid.price;
            let Prices { bids, min, max, sum } = *prices;
            AuctionStatistics { auction: bid.auction, day: day(&bid), bids, min, max, sum }
        })
        .sink_to(run.sink());
}

#[thalweg::record]
#[derive(Clone, Copy, Debug, Default)]
struct Prices {
    bids: ByPrice,
    min: u64,
    max: u64,
    sum: u64,
}

/// q18: the last bid of each bidder for each auction.
pub(super) fn last_bids(run: &Run<'_>) {
    run.events()
        .flat_map(Event::bid)
        .key_by(|bid| (bid.bidder, bid.auction))
        .max_by_last(|bid| bid.ms)
        .map(LastBid)
        .sink_to(run.sink());
}

/// q19: the ten highest bids for each auction, the earlier one first of equal prices.
pub(super) fn top_bids(run: &Run<'_>) {
    run.events()
        .flat_map(Event::bid)
        .key_by(|bid| bid.auction)
        .process(TopTen::default())
        .sink_to(run.sink());
}

#[derive(Clone, Default)]
struct TopTen {
    /// From the best one on.
    best: ValueState<Vec<Bid>>,
}

impl KeyedProcessFunction for TopTen {
    type Key = u64;
    type In = Bid;
    type Out = RankedBid;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.best = context.value_state(ValueStateDescriptor::new("best"))?;
        Ok(())
    }

    #[inline(always)]
    fn process_element(
        &mut self,
        bid: Bid,
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, RankedBid>,
    ) -> thalweg::Result<()> {
        self.best.modify(context, |best| {
            let place =
                best.partition_point(|other| (other.price, bid.ms) >= (bid.price, other.ms));
            if place == 10 {
                return;
            }
            best.truncate(9);
            best.insert(place, bid);
            // What has moved has another rank.
            for (index, bid) in best.iter().enumerate().skip(place) {
                out.collect(RankedBid { bid: *bid, rank: index as u64 + 1 });
            }
        })?;
        Ok(())
    }
}
