//! What the queries give: rows, which are summed up in timed runs and written out as lines to be compared.

use super::{Auction, Bid, Channel, City, Name, State};
use crate::digest::splitmix64;
use std::fmt::{Display, Write};

/// A row of a result.
pub trait Row: 'static {
    /// What it contributes to a checksum that does not depend on the order of rows.
    fn checksum(&self) -> u64;

    /// Writes its columns in the order of the query.
    fn write(&self, line: &mut Line);

    /// Which row it replaces; `None` if it is added to the result.
    fn key(&self) -> Option<(u64, u64)> {
        None
    }
}

/// A row as text: `[1,"a",2]`.
#[derive(Debug, Default)]
pub struct Line(String);

impl Line {
    /// The line of `row`.
    pub fn of(row: &impl Row) -> String {
        let mut line = Line::default();
        row.write(&mut line);
        line.0.push(']');
        line.0
    }

    fn column(&mut self, text: impl Display) -> &mut Self {
        self.0.push(if self.0.is_empty() { '[' } else { ',' });
        write!(self.0, "{text}").expect("a string takes everything");
        self
    }

    /// A number, or a time in ms since 1970.
    pub fn number(&mut self, number: impl Display) -> &mut Self {
        self.column(number)
    }

    /// Text; none that occurs here needs an escape.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        self.column(format_args!("\"{text}\""))
    }
}

/// Sums up the columns of a row.
#[inline(always)]
fn checksum<const N: usize>(columns: [u64; N]) -> u64 {
    let fold = |sum: u64, column| sum.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(column);
    splitmix64(columns.into_iter().fold(0, fold))
}

/// A number of the text.
#[inline(always)]
fn word(name: &Name) -> u64 {
    let word = |from: usize| {
        let bytes = name.0[from..].first_chunk().expect("a name has 24 bytes");
        u64::from_le_bytes(*bytes)
    };
    word(0) ^ word(8).rotate_left(21) ^ word(16).rotate_left(42)
}

/// q0.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
pub struct PassedBid {
    /// For which auction.
    pub auction: u64,
    /// By whom.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// When.
    pub ms: i64,
}

impl Row for PassedBid {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        checksum([self.auction, self.bidder, self.price, self.ms as u64])
    }
    fn write(&self, line: &mut Line) {
        line.number(self.auction).number(self.bidder).number(self.price).number(self.ms);
    }
}

/// q1.
#[derive(Clone, Copy, Debug)]
pub struct ConvertedBid {
    /// For which auction.
    pub auction: u64,
    /// By whom.
    pub bidder: u64,
    /// In thousandths of the other currency's cent.
    pub price_thousandths: u64,
    /// When.
    pub ms: i64,
}

impl Row for ConvertedBid {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        checksum([self.auction, self.bidder, self.price_thousandths, self.ms as u64])
    }
    fn write(&self, line: &mut Line) {
        let price = self.price_thousandths;
        line.number(self.auction).number(self.bidder);
        line.text(format_args!("{}.{:03}", price / 1000, price % 1000)).number(self.ms);
    }
}

/// q2.
#[derive(Clone, Copy, Debug)]
pub struct SelectedBid {
    /// For which auction.
    pub auction: u64,
    /// In cents.
    pub price: u64,
}

impl Row for SelectedBid {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        checksum([self.auction, self.price])
    }
    fn write(&self, line: &mut Line) {
        line.number(self.auction).number(self.price);
    }
}

/// q3.
#[derive(Clone, Copy, Debug)]
pub struct LocalItem {
    /// The seller's.
    pub name: Name,
    /// The seller's.
    pub city: City,
    /// The seller's.
    pub state: State,
    /// Which auction.
    pub auction: u64,
}

impl Row for LocalItem {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        let place = (self.city.number() << 8) | self.state.number();
        checksum([word(&self.name), place, self.auction])
    }
    fn write(&self, line: &mut Line) {
        line.text(self.name).text(self.city.name()).text(self.state.name()).number(self.auction);
    }
}

/// q4.
#[derive(Clone, Copy, Debug)]
pub struct CategoryPrice {
    /// Of what kind the auctions are.
    pub category: u64,
    /// The average of their highest bids.
    pub price: u64,
}

impl Row for CategoryPrice {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        checksum([self.category, self.price])
    }
    fn write(&self, line: &mut Line) {
        line.number(self.category).number(self.price);
    }
    fn key(&self) -> Option<(u64, u64)> {
        Some((self.category, 0))
    }
}

/// q5.
#[derive(Clone, Copy, Debug)]
pub struct HotItem {
    /// The auction with the most bids.
    pub auction: u64,
    /// How many.
    pub bids: u64,
    /// When the window began.
    pub start_ms: i64,
}

impl Row for HotItem {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        checksum([self.auction, self.bids, self.start_ms as u64])
    }
    fn write(&self, line: &mut Line) {
        line.number(self.auction).number(self.bids).number(self.start_ms);
    }
}

/// q7.
#[derive(Clone, Copy, Debug)]
pub struct HighestBid(pub PassedBid);

impl Row for HighestBid {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        self.0.checksum()
    }
    fn write(&self, line: &mut Line) {
        let PassedBid { auction, bidder, price, ms } = self.0;
        line.number(auction).number(price).number(bidder).number(ms);
    }
}

/// q8.
#[derive(Clone, Copy, Debug)]
pub struct NewSeller {
    /// The person.
    pub id: u64,
    /// The person's.
    pub name: Name,
    /// When the window began.
    pub start_ms: i64,
}

impl Row for NewSeller {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        checksum([self.id, word(&self.name), self.start_ms as u64])
    }
    fn write(&self, line: &mut Line) {
        line.number(self.id).text(self.name).number(self.start_ms);
    }
}

/// q9.
#[derive(Clone, Copy, Debug)]
pub struct WinningBid {
    /// What is sold.
    pub auction: Auction,
    /// To whom.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// When the bid was made.
    pub bid_ms: i64,
}

/// Columns of an auction: all but its id.
fn auction_columns(line: &mut Line, auction: &Auction) {
    line.number(auction.seller).number(auction.category).number(auction.initial_bid);
    line.number(auction.reserve).number(auction.ms).number(auction.expires_ms);
}

impl Row for WinningBid {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        checksum([self.auction.id, self.bidder, self.price, self.bid_ms as u64])
    }
    fn write(&self, line: &mut Line) {
        line.number(self.auction.id);
        auction_columns(line, &self.auction);
        line.number(self.auction.id).number(self.bidder).number(self.price).number(self.bid_ms);
    }
    fn key(&self) -> Option<(u64, u64)> {
        Some((self.auction.id, 0))
    }
}

/// q11.
#[derive(Clone, Copy, Debug)]
pub struct BidderSession {
    /// Who.
    pub bidder: u64,
    /// How many bids.
    pub bids: u64,
    /// The first one's time.
    pub start_ms: i64,
    /// The last one's time and the gap.
    pub end_ms: i64,
}

impl Row for BidderSession {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        checksum([self.bidder, self.bids, self.start_ms as u64, self.end_ms as u64])
    }
    fn write(&self, line: &mut Line) {
        line.number(self.bidder).number(self.bids).number(self.start_ms).number(self.end_ms);
    }
}

/// How many of all, of cheap ones, of middle ones and of dear ones.
#[thalweg::record]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ByPrice(pub [u64; 4]);

impl ByPrice {
    fn write(&self, line: &mut Line) {
        self.0.iter().for_each(|count| _ = line.number(count));
    }
}

/// q16.
#[derive(Clone, Copy, Debug)]
pub struct ChannelStatistics {
    /// Through which the bids came.
    pub channel: Channel,
    /// Days since 1970.
    pub day: u32,
    /// The latest minute with a bid, from midnight.
    pub minute: u32,
    /// Bids.
    pub bids: ByPrice,
    /// Distinct bidders.
    pub bidders: ByPrice,
    /// Distinct auctions.
    pub auctions: ByPrice,
}

impl Row for ChannelStatistics {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        let (bidders, auctions) = (self.bidders.0, self.auctions.0);
        checksum([self.channel.0.into(), self.minute.into(), self.bids.0[0], bidders[0], auctions[0]])
    }
    fn write(&self, line: &mut Line) {
        line.text(self.channel).text(Date(self.day));
        line.text(format_args!("{:02}:{:02}", self.minute / 60, self.minute % 60));
        [self.bids, self.bidders, self.auctions].iter().for_each(|counts| counts.write(line));
    }
    fn key(&self) -> Option<(u64, u64)> {
        Some((self.channel.0.into(), self.day.into()))
    }
}

/// q17.
#[derive(Clone, Copy, Debug)]
pub struct AuctionStatistics {
    /// For which the bids are.
    pub auction: u64,
    /// Days since 1970.
    pub day: u32,
    /// Bids.
    pub bids: ByPrice,
    /// The lowest price in cents.
    pub min: u64,
    /// The highest price in cents.
    pub max: u64,
    /// All prices together in cents.
    pub sum: u64,
}

impl Row for AuctionStatistics {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        checksum([self.auction, self.bids.0[0], self.min, self.max, self.sum])
    }
    fn write(&self, line: &mut Line) {
        line.number(self.auction).text(Date(self.day));
        self.bids.write(line);
        line.number(self.min).number(self.max).number(self.sum / self.bids.0[0]).number(self.sum);
    }
    fn key(&self) -> Option<(u64, u64)> {
        Some((self.auction, self.day.into()))
    }
}

/// Columns of a bid: all.
fn bid_columns(line: &mut Line, bid: &Bid) {
    line.number(bid.auction).number(bid.bidder).number(bid.price);
    line.text(bid.channel).text(bid.url.text(bid.channel)).number(bid.ms);
}

/// q18.
#[derive(Clone, Copy, Debug)]
pub struct LastBid(pub Bid);

impl Row for LastBid {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        let bid = &self.0;
        checksum([bid.auction, bid.bidder, bid.price, bid.ms as u64, bid.channel.0.into()])
    }
    fn write(&self, line: &mut Line) {
        bid_columns(line, &self.0);
    }
    fn key(&self) -> Option<(u64, u64)> {
        Some((self.0.bidder, self.0.auction))
    }
}

/// q19.
#[derive(Clone, Copy, Debug)]
pub struct RankedBid {
    /// The bid.
    pub bid: Bid,
    /// From 1.
    pub rank: u64,
}

impl Row for RankedBid {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        checksum([self.bid.auction, self.bid.bidder, self.bid.price, self.rank])
    }
    fn write(&self, line: &mut Line) {
        bid_columns(line, &self.bid);
        line.number(self.rank);
    }
    fn key(&self) -> Option<(u64, u64)> {
        Some((self.bid.auction, self.rank))
    }
}

/// q20.
#[derive(Clone, Copy, Debug)]
pub struct ExpandedBid {
    /// The bid.
    pub bid: Bid,
    /// What it is for.
    pub auction: Auction,
}

impl Row for ExpandedBid {
    #[inline(always)]
    fn checksum(&self) -> u64 {
        let bid = &self.bid;
        checksum([bid.auction, bid.bidder, bid.price, bid.ms as u64, self.auction.seller])
    }
    fn write(&self, line: &mut Line) {
        bid_columns(line, &self.bid);
        auction_columns(line, &self.auction);
    }
}

/// Days since 1970, written `yyyy-MM-dd`; the Gregorian calendar by Hinnant's days-from-civil algorithm.
struct Date(u32);

impl Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let days = self.0 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let leap_days = day_of_era / 1_460 + day_of_era / 146_096 - day_of_era / 36_524;
        let year_of_era = (day_of_era - leap_days) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Months count from March.
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + u32::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn days_have_dates() {
        for (day, text) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (18_518, "2020-09-13"),
            (20_818, "2026-12-31"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(Date(day).to_string(), text);
        }
    }
}
