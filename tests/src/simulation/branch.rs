//! An operator with its sink, and how what it has written is audited.

use super::functions::{After, Expiry, Lists, Rules, Timers};
use super::input::{Event, EventSource};
use super::write_ahead::OutboxSink;
use super::{Graph, Row, model};
use std::sync::atomic::Ordering;
use std::time::Duration;
use thalweg::config::CheckpointMode;
use thalweg::prelude::*;
use thalweg::testing::sim;

/// What a simulated job does with its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub(super) enum Branch {
    Stateless,
    Sums,
    Reduce,
    Tumbling,
    Sliding,
    Session,
    IntervalJoin,
    WindowJoin,
    Timers,
    Expiry,
    Lists,
    Rules,
    AsyncIo,
    CountTrigger,
    Evictor,
    WriteAhead,
    Late,
}

/// Sizes of windows in milliseconds.
pub(super) const TUMBLING_MS: i64 = 48;
pub(super) const SLIDING_MS: (i64, i64) = (96, 32);
pub(super) const GAP_MS: i64 = 25;
pub(super) const JOIN_MS: (i64, i64) = (-20, 30);
pub(super) const TRIGGER_COUNT: i64 = 3;
/// Late windows that follow each other without overlap.
pub(super) const LATE_MS: i64 = 80;

/// In which records of the late stream a watermark comes.
pub(super) fn says_watermark(event: &Event) -> bool {
    event.number % 4 == 1
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

impl Branch {
    pub(super) const ALL: &[Branch] = &[
        Branch::Stateless,
        Branch::Sums,
        Branch::Reduce,
        Branch::Tumbling,
        Branch::Sliding,
        Branch::Session,
        Branch::IntervalJoin,
        Branch::WindowJoin,
        Branch::Timers,
        Branch::Expiry,
        Branch::Lists,
        Branch::Rules,
        Branch::AsyncIo,
        Branch::CountTrigger,
        Branch::Evictor,
        Branch::WriteAhead,
        Branch::Late,
    ];

    /// Those for which it can be said what at-least-once leaves.
    pub(super) const THAT_MAY_REPEAT: &[Branch] =
        &[Branch::Stateless, Branch::Sums, Branch::Tumbling];

    pub(super) const fn number(self) -> i64 {
        self as i64
    }

    pub(super) fn mark(self) -> &'static str {
        match self {
            Branch::Stateless => "stateless maps",
            Branch::Sums => "keyed sums",
            Branch::Reduce => "rolling reduce",
            Branch::Tumbling => "tumbling windows",
            Branch::Sliding => "sliding windows",
            Branch::Session => "session windows",
            Branch::IntervalJoin => "interval join",
            Branch::WindowJoin => "window join",
            Branch::Timers => "timers that re-arm and are deleted",
            Branch::Expiry => "state with a TTL",
            Branch::Lists => "list state",
            Branch::Rules => "broadcast state",
            Branch::AsyncIo => "async I/O",
            Branch::CountTrigger => "count trigger",
            Branch::Evictor => "evictor",
            Branch::WriteAhead => "write-ahead sink",
            Branch::Late => "late records",
        }
    }

    /// Adds the branch to the job.
    pub(super) fn write(
        self,
        env: &StreamExecutionEnvironment,
        events: DataStream<Event>,
        graph: &Graph,
    ) {
        let number = self.number();
        match self {
            Branch::Stateless => done(self, self.stateless(events)),
            Branch::WriteAhead => {
                let sink =
                    OutboxSink { outbox: graph.outside.outbox.clone(), process: sim::process() };
                let sink = TwoPhase::write_ahead(sink.clone(), sink);
                self.stateless(events).sink_to(sink).name(self.mark());
            }
            Branch::AsyncIo => done(self, self.async_io(events, graph)),
            Branch::Sums => {
                let sums =
                    by_key(events).scan((0, 0), move |(count, sum): &mut (i64, i64), event| {
                        (*count, *sum) = (*count + 1, *sum + event.value);
                        (number, event.key, *count, *sum, 0)
                    });
                done(self, sums.boxed());
            }
            Branch::Reduce => {
                let counted = events.map(|event| Event { number: 1, ..event });
                let reduced =
                    counted.key_by(|event| event.key).reduce(|sum: Event, event: Event| Event {
                        number: sum.number + 1,
                        value: sum.value + event.value,
                        ..event
                    });
                done(self, reduced.map(move |e| (number, e.key, e.number, e.value, 0)).boxed());
            }
            Branch::Timers => done(self, by_key(events).process(Timers::default()).boxed()),
            Branch::Expiry => done(self, by_key(events).process(Expiry::default()).boxed()),
            Branch::Lists => done(self, by_key(events).process(Lists::default()).boxed()),
            Branch::Rules => {
                let rules = env.from_source(EventSource::of(&graph.input.rules), "rules");
                let rules = rules.set_parallelism(1).broadcast();
                done(
                    self,
                    by_key(events).connect_broadcast(rules).process(Rules::default()).boxed(),
                );
            }
            Branch::IntervalJoin => {
                let left = events.clone().filter(|event| event.value % 2 == 0);
                let right = events.filter(|event| event.value % 2 != 0);
                let joined = left
                    .key_by(|event| event.key)
                    .interval_join(right.key_by(|event| event.key))
                    .between_ms(JOIN_MS.0, JOIN_MS.1)
                    .apply(move |left, right| (number, left.key, id(left), id(right), 0));
                done(self, joined.boxed());
            }
            Branch::WindowJoin => {
                let left = events.clone().filter(|event| event.value % 2 == 0);
                let right = events.filter(|event| event.value % 2 != 0);
                let joined = left
                    .join(right)
                    .where_key(|event| event.key)
                    .equal_to(|event| event.key)
                    .window(TumblingEventTimeWindows::of(ms(TUMBLING_MS)))
                    .apply(move |left, right| (number, left.key, id(left), id(right), 0));
                done(self, joined.boxed());
            }
            Branch::Tumbling | Branch::Sliding | Branch::Session => {
                self.write_windows(events, graph);
            }
            Branch::CountTrigger | Branch::Evictor => self.write_general(events),
            Branch::Late => self.write_late(env, graph),
        }
    }

    fn stateless(self, events: DataStream<Event>) -> DataStream<Row> {
        let number = self.number();
        let copies = events.flat_map(move |event| {
            let copies = 0..event.value % 3;
            copies.map(move |copy| (number, event.split, event.number, copy, event.key))
        });
        copies.boxed()
    }

    fn async_io(self, events: DataStream<Event>, graph: &Graph) -> DataStream<Row> {
        let number = self.number();
        let options = || AsyncOptions::timeout(seconds(3_600)).capacity(4);
        let ask = move |event: Event| async move {
            After((event.value % 4) as u32).await;
            Ok((number, event.split, event.number, event.value, event.key))
        };
        match graph.input.splits.len() % 2 {
            0 => events.async_map_ordered(options(), ask).boxed(),
            _ => events.async_map_unordered(options(), ask).boxed(),
        }
    }

    fn write_windows(self, events: DataStream<Event>, graph: &Graph) {
        let number = self.number();
        let idle_until_ms = graph.input.idle_until_ms().unwrap_or(i64::MAX);
        let has_passed_idle = graph.outside.has_passed_idle.clone();
        let row = move |key: &i64, window: TimeWindow, count: u64, out: &mut Collector<'_, Row>| {
            if window.end() > idle_until_ms {
                has_passed_idle.store(true, Ordering::Relaxed);
            }
            out.collect((number, *key, window.start(), window.end(), count as i64));
        };
        let keyed = by_key(events);
        let rows = match self {
            Branch::Tumbling => {
                let windows = TumblingEventTimeWindows::of(ms(TUMBLING_MS));
                keyed.window(windows).aggregate_with(Count, row).boxed()
            }
            Branch::Sliding => {
                let windows = SlidingEventTimeWindows::of(ms(SLIDING_MS.0), ms(SLIDING_MS.1));
                keyed.window(windows).aggregate_with(Count, row).boxed()
            }
            _ => {
                let windows = EventTimeSessionWindows::with_gap(ms(GAP_MS));
                keyed.window(windows).aggregate_with(Count, row).boxed()
            }
        };
        done(self, rows);
    }

    fn write_general(self, events: DataStream<Event>) {
        let number = self.number();
        let windows = by_key(events).window(GlobalWindows::create());
        let row = move |key: &i64, _: GlobalWindow, count: u64, out: &mut Collector<'_, Row>| {
            out.collect((number, *key, count as i64, 0, 0));
        };
        let trigger = CountTrigger::of(TRIGGER_COUNT as u64);
        let rows = match self {
            Branch::CountTrigger => {
                windows.trigger(PurgingTrigger::of(trigger)).aggregate_with(Count, row).boxed()
            }
            _ => {
                let evicted = windows.trigger(trigger).evictor(CountEvictor::of(2));
                evicted.aggregate_with(Count, row).boxed()
            }
        };
        done(self, rows);
    }

    fn write_late(self, env: &StreamExecutionEnvironment, graph: &Graph) {
        let number = self.number();
        let strategy = WatermarkStrategy::punctuated(|event: &Event, at_ms| {
            says_watermark(event).then_some(at_ms)
        });
        let source = EventSource::of(&graph.input.late);
        let events = env.from_source_with(source, strategy, "late events").set_parallelism(1);
        let late = OutputTag::<Event>::new("late");
        let counts = events
            .key_by(|event| event.key)
            .window(TumblingEventTimeWindows::of(ms(LATE_MS)))
            .side_output_late_data(&late)
            .aggregate_with(Count, move |key, window: TimeWindow, count, out| {
                out.collect((number, *key, window.end(), count as i64, 0));
            });
        let late =
            counts.side_output(&late).map(move |event| (number, event.key, -1, id(&event), 0));
        late.sink_to(sim::sink()).name("late records of the late stream");
        done(self, counts.boxed());
    }

    /// Compares what was committed with the model.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn audit(
        self,
        rows: &[Row],
        graph: &Graph,
        parallelism: usize,
    ) -> Result<(), String> {
        let (input, number) = (&graph.input, self.number());
        if graph.mode == CheckpointMode::AtLeastOnce {
            return match self {
                Branch::Stateless => model::contains(rows, &model::stateless(input, number)),
                Branch::Sums => model::reaches(rows, input),
                _ => model::counts_at_least(rows, &model::tumbling(input, number)),
            };
        }
        match self {
            Branch::Stateless => {
                model::same(rows, model::stateless(input, number))?;
                // A detour takes records of one split by several ways.
                if graph.has_detour { Ok(()) } else { model::ascends(rows) }
            }
            Branch::WriteAhead => model::same(rows, model::stateless(input, number)),
            Branch::AsyncIo => model::same(rows, model::each(input, number)),
            Branch::Sums | Branch::Reduce | Branch::Lists => model::accumulates(rows, input),
            Branch::Expiry => model::expires(rows, input),
            Branch::Tumbling => model::same(rows, model::tumbling(input, number)),
            Branch::Sliding => model::same(rows, model::sliding(input, number)),
            Branch::Session => model::same(rows, model::sessions(input, number)),
            Branch::IntervalJoin => model::same(rows, model::interval_join(input, number)),
            Branch::WindowJoin => model::same(rows, model::window_join(input, number)),
            Branch::Timers => model::same(rows, model::timers(input, number)),
            Branch::Rules => model::same(rows, model::rules(input, number, parallelism)),
            Branch::CountTrigger => {
                model::same(rows, model::triggers(input, number, TRIGGER_COUNT))
            }
            Branch::Evictor => model::same(rows, model::triggers(input, number, 2)),
            Branch::Late => model::same(rows, model::late(input, number)),
        }
    }
}

fn done(branch: Branch, rows: DataStream<Row>) {
    rows.sink_to(sim::sink()).name(branch.mark());
}

fn by_key(
    events: DataStream<Event>,
) -> KeyedStream<Event, impl KeySelector<Event, Key = i64> + Clone> {
    events.key_by(|event| event.key)
}

/// One number for each event.
pub(super) fn id(event: &Event) -> i64 {
    event.split * 100_000 + event.number
}
