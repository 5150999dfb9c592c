//! One thread that makes an event, applies it, and takes the next one.

use super::Input;
use crate::events::{Block, Numbers};
use crate::operator::{END_OF_TIME, ShardOperator};
use crate::sink::Run;

const BLOCK: u64 = 512;

#[inline(never)]
pub(super) fn run<O, M, T>(
    run: &Run,
    input: &Input<M, T>,
    mut operator: O,
    mut out: impl FnMut(O::Out),
) where
    O: ShardOperator,
    M: Fn(u64) -> O::In,
    T: Fn(u64) -> u64,
{
    let mut numbers = Numbers::new(&run.settings, run.meter.clone(), 0, 1);
    let mut staged = Vec::with_capacity(BLOCK as usize);
    while let Some(block) = numbers.next_block(BLOCK) {
        if O::IS_BATCHED {
            staged.extend(block.map(&input.make));
            operator.batch(&mut staged, &mut out);
        } else {
            apply(block, &input.make, &mut operator, &mut out);
        }
        if O::HAS_WATERMARKS {
            operator.watermark(input.watermark(block.last_number()), &mut out);
        }
    }
    operator.watermark(END_OF_TIME, &mut out);
}

/// A function of its own, so that all it needs stays in registers. Inlined above, the event's number and the count of keys are
/// read from the stack, each time behind a store to the table whose address is not known yet: w1 74 M/s instead of 200.
#[inline(never)]
fn apply<O: ShardOperator>(
    block: Block,
    make: &impl Fn(u64) -> O::In,
    operator: &mut O,
    out: &mut impl FnMut(O::Out),
) {
    for i in block {
        operator.record(make(i), out);
    }
}
