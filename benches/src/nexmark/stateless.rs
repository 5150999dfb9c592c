//! q0, q1 and q2: projection and selection.

use super::rows::{ConvertedBid, PassedBid, SelectedBid};
use super::{Bid, Event, Run};

/// The columns of a bid that most queries ask for.
#[inline(always)]
pub(super) fn passed(bid: Bid) -> PassedBid {
    let Bid { auction, bidder, price, ms, .. } = bid;
    PassedBid { auction, bidder, price, ms }
}

/// q0: the bids as they are.
pub(super) fn pass_through(run: &Run<'_>) {
    run.events().flat_map(|event| event.bid().map(passed)).sink_to(run.sink());
}

/// q1: prices in another currency, by 0.908.
pub(super) fn currency_conversion(run: &Run<'_>) {
    run.events()
        .flat_map(Event::bid)
        .map(|Bid { auction, bidder, price, ms, .. }| ConvertedBid {
            auction,
            bidder,
            price_thousandths: price * 908,
            ms,
        })
        .sink_to(run.sink());
}

/// q2: the bids for some auctions.
pub(super) fn selection(run: &Run<'_>) {
    run.events()
        .flat_map(Event::bid)
        .filter(|bid| bid.auction % 123 == 0)
        .map(|Bid { auction, price, .. }| SelectedBid { auction, price })
        .sink_to(run.sink());
}
