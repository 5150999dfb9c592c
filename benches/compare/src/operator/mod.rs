//! The keyed operators written by hand: what one shard does with its records and watermarks. The hand-written loop, timely and
//! renoir run the same ones, so that what differs is what is around them.

pub(crate) mod auctions;
mod hash;
mod named;
mod sessions;
mod sliding;
mod sum;
mod tumbling;

pub(crate) use hash::{IntegerMap, route, route_name};
pub(crate) use named::NamedCounts;
pub(crate) use sessions::Sessions;
pub(crate) use sliding::{Best, BestOfShards, Sliding};
pub(crate) use sum::{PrefetchedSum, Sum};
pub(crate) use tumbling::Tumbling;

/// The watermark at the end of the input.
pub(crate) const END_OF_TIME: u64 = u64::MAX - 1;

/// One shard of a keyed operator with its state.
pub(crate) trait ShardOperator {
    type In;
    type Out;

    /// It wants `batch` rather than `record`.
    const IS_BATCHED: bool = false;
    /// It wants watermarks.
    const HAS_WATERMARKS: bool = true;

    fn record(&mut self, record: Self::In, out: &mut impl FnMut(Self::Out));

    fn batch(&mut self, records: &mut Vec<Self::In>, out: &mut impl FnMut(Self::Out)) {
        for record in records.drain(..) {
            self.record(record, out);
        }
    }

    /// No record with a time up to this one will come. At [`END_OF_TIME`] all that is open is emitted.
    fn watermark(&mut self, _: u64, _: &mut impl FnMut(Self::Out)) {}
}
