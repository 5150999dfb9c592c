//! Sources, keyed operators and sinks as timely's operators.

use crate::events::{Numbers, Pace};
use crate::operator::{END_OF_TIME, ShardOperator};
use crate::sink::{Row, Run};
use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Operator;
use timely::dataflow::operators::generic::operator;
use timely::dataflow::{Scope, Stream};

pub(super) type Rows<'s, T> = Stream<'s, u64, Vec<T>>;
pub(super) type Builder<T> = CapacityContainerBuilder<Vec<T>>;

/// Events a source emits each time it is scheduled; with 512 the rate of w1 is a third lower.
const BLOCK: u64 = 4_096;
const DELAY_MS: u64 = 100;

/// Emits what `make` makes of the numbers of this worker.
pub(super) fn source<'s, T: ExchangeData>(
    scope: Scope<'s, u64>,
    run: &Run,
    make: impl Fn(u64) -> T + 'static,
    pace: Pace,
) -> Rows<'s, T> {
    let (index, peers) = (scope.index() as u64, scope.peers() as u64);
    let mut numbers = Numbers::new(&run.settings, run.meter.clone(), index, peers);
    operator::source::<_, Builder<T>, _, _>(scope, "events", move |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut held = Some(capability);
        move |output| {
            let Some(capability) = &mut held else { return };
            let Some(block) = numbers.next_block(BLOCK) else {
                held = None;
                return;
            };
            output.session(capability).give_iterator(block.map(&make));
            let last = block.last_number();
            let time = if pace == Pace::Sparse { last } else { last / 1000 };
            let watermark = time.saturating_sub(DELAY_MS + 1);
            if watermark > *capability.time() {
                capability.downgrade(&watermark);
            }
            activator.activate();
        }
    })
}

/// An operator that emits at each record and has no use for watermarks.
pub(super) fn emit<'s, O>(
    stream: Rows<'s, O::In>,
    route: impl Fn(&O::In) -> u64 + 'static,
    mut operator: O,
) -> Rows<'s, O::Out>
where
    O: ShardOperator<In: ExchangeData, Out: Clone + 'static> + 'static,
{
    stream.unary::<Builder<O::Out>, _, _, _>(Exchange::new(route), "keyed", move |_, _| {
        move |input, output| {
            input.for_each(|capability, records| {
                let mut session = output.session(&capability);
                operator.batch(records, &mut |row| session.give(row));
            });
        }
    })
}

/// An operator that emits at watermarks. It holds one capability, and lets time go on when it has emitted.
pub(super) fn keyed<'s, O>(
    stream: Rows<'s, O::In>,
    route: impl Fn(&O::In) -> u64 + 'static,
    mut operator: O,
) -> Rows<'s, O::Out>
where
    O: ShardOperator<In: ExchangeData, Out: Clone + 'static> + 'static,
{
    stream.unary_frontier::<Builder<O::Out>, _, _, _>(
        Exchange::new(route),
        "keyed",
        move |capability, _| {
            let mut held = Some(capability);
            let mut rows = Vec::new();
            move |(input, frontier), output| {
                input.for_each(|_, records| operator.batch(records, &mut |_| {}));
                let Some(capability) = &mut held else { return };
                let end = frontier.frontier().first().copied();
                operator.watermark(end.unwrap_or(END_OF_TIME), &mut |row| rows.push(row));
                if !rows.is_empty() {
                    output.session(capability).give_iterator(rows.drain(..));
                    if let Some(end) = end.filter(|end| end > capability.time()) {
                        capability.downgrade(&end);
                    }
                }
                if end.is_none() {
                    held = None;
                }
            }
        },
    )
}

/// The rows stay on their worker.
pub(super) fn sink<R: Row + Clone + 'static>(stream: Rows<'_, R>, run: &Run) {
    let mut sink = run.sink();
    stream.sink(Pipeline, "sink", move |(input, _)| {
        input.for_each(|_, rows| {
            for row in rows.drain(..) {
                sink.write(&row);
            }
        });
    });
}
