//! w5 on timely: each worker steps for ever; a source emits what is due.

use super::dataflow::Rows;
use super::execute;
use crate::Error;
use crate::case::Case;
use crate::latency::{PacedRun, Stamped};
use crate::operator::{IntegerMap, route};
use thalweg_benches::now_ns;
use thalweg_benches::workload::Latencies;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Operator;
use timely::dataflow::operators::generic::operator;

type Builder<T> = CapacityContainerBuilder<Vec<T>>;

pub(super) fn run(case: &Case) -> Result<Latencies, Error> {
    let run = PacedRun::new(case);
    let workers_run = run.clone();
    execute(case.parallelism, move |worker| {
        worker.dataflow::<u64, _, _>(|scope| build(&workers_run, scope));
    })?;
    Ok(run.latencies())
}

fn build(run: &PacedRun, scope: Scope<'_, u64>) {
    let mut recorder = run.recorder(Some(scope.index() as u32));
    let mut sums = IntegerMap::<u64>::default();
    paced(run, scope)
        .unary::<Builder<(Stamped, u64)>, _, _, _>(
            Exchange::new(|event: &Stamped| route(event.key)),
            "sum",
            move |_, _| {
                move |input, output| {
                    input.for_each(|capability, events| {
                        let mut session = output.session(&capability);
                        for event in events.drain(..) {
                            let sum = sums.entry(event.key).or_insert(0);
                            *sum += event.value;
                            session.give((event, *sum));
                        }
                    });
                }
            },
        )
        .sink(Pipeline, "sink", move |(input, _)| {
            input.for_each(|_, rows| {
                for (event, sum) in rows.drain(..) {
                    std::hint::black_box(sum);
                    recorder.record(&event);
                }
            });
        });
}

fn paced<'s>(run: &PacedRun, scope: Scope<'s, u64>) -> Rows<'s, Stamped> {
    let mut source = run.source(scope.index() as u64, scope.peers() as u64);
    let begin_ns = run.begin_ns;
    operator::source::<_, Builder<Stamped>, _, _>(scope, "paced", move |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut held = Some(capability);
        move |output| {
            let Some(capability) = &mut held else { return };
            let now = now_ns();
            if source.is_over() {
                held = None;
                return;
            }
            if let Some(first) = source.poll(now) {
                let mut session = output.session(capability);
                session.give(first);
                while let Some(event) = source.poll(now) {
                    session.give(event);
                }
            }
            let elapsed_ms = now.saturating_sub(begin_ns) / 1_000_000;
            if elapsed_ms > *capability.time() {
                capability.downgrade(&elapsed_ms);
            }
            activator.activate();
        }
    })
}
