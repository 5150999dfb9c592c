//! A hand-written operator as renoir's custom one: it is fed the elements of its replica and gives out one element a call.

use crate::operator::{END_OF_TIME, ShardOperator};
use renoir::operator::{Operator, StreamElement};
use renoir::{KeyedStream, Stream};
use std::collections::VecDeque;

/// Applies it to all keys of a replica. Rows come out in front of the watermark that made them.
pub(super) fn apply<K, O>(
    stream: KeyedStream<impl Operator<Out = (K, O::In)> + 'static>,
    mut operator: O,
) -> Stream<impl Operator<Out = O::Out>>
where
    K: Clone + Send + std::hash::Hash + Eq + 'static,
    O: ShardOperator<In: Clone + Send + 'static, Out: Clone + Send + 'static>
        + Clone
        + Send
        + 'static,
{
    let mut ready = VecDeque::new();
    stream.rich_map_custom(move |mut input| {
        loop {
            if let Some(element) = ready.pop_front() {
                return element;
            }
            let mut out = |row| ready.push_back(StreamElement::Item(row));
            match input.next() {
                StreamElement::Item((_, record)) | StreamElement::Timestamped((_, record), _) => {
                    operator.record(record, &mut out);
                }
                StreamElement::Watermark(watermark) => {
                    operator.watermark(watermark as u64, &mut out);
                    ready.push_back(StreamElement::Watermark(watermark));
                }
                StreamElement::FlushAndRestart => {
                    operator.watermark(END_OF_TIME, &mut out);
                    ready.push_back(StreamElement::FlushAndRestart);
                }
                StreamElement::FlushBatch => return StreamElement::FlushBatch,
                StreamElement::Terminate => return StreamElement::Terminate,
            }
        }
    })
}
