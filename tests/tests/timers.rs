//! Timers and keyed state of process functions, driven by watermarks that are records of the input.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use thalweg::prelude::*;
use thalweg_tests::{On, matrix};

matrix![
    timers_fire_in_order_and_once,
    deleted_timers_do_not_fire,
    timers_may_register_timers,
    a_timer_in_the_past_fires_at_the_next_advance,
    the_end_of_input_fires_all,
    processing_time_timers_fire,
    state_of_all_kinds_is_per_key_and_can_be_cleared,
];

/// What to do for a key.
#[thalweg::record]
#[derive(Clone, Debug)]
enum Command {
    Register(i64),
    Delete(i64),
    Watermark(i64),
    Nothing,
}

type Told = (String, i64, i64);

/// Does what it is told; a timer says key, its time and the watermark, and puts off itself if `again` is not zero.
#[derive(Clone, Default)]
struct Obey {
    again: i64,
    until: i64,
}

impl KeyedProcessFunction for Obey {
    type Key = String;
    type In = (String, Command);
    type Out = Told;
    fn process_element(
        &mut self,
        (_, command): (String, Command),
        context: &mut Context<'_, String>,
        _: &mut Collector<'_, Told>,
    ) -> thalweg::Result<()> {
        match command {
            Command::Register(at) => context.timer_service().register_event_time_timer(at),
            Command::Delete(at) => context.timer_service().delete_event_time_timer(at),
            Command::Watermark(_) | Command::Nothing => {}
        }
        Ok(())
    }
    fn on_timer(
        &mut self,
        at: i64,
        context: &mut OnTimerContext<'_, String>,
        out: &mut Collector<'_, Told>,
    ) -> thalweg::Result<()> {
        assert_eq!(context.time_domain(), TimeDomain::EventTime);
        assert_eq!(context.timestamp(), Some(at));
        let watermark = context.timer_service().current_watermark();
        out.collect((context.current_key().clone(), at, watermark));
        if self.again > 0 && at + self.again <= self.until {
            context.timer_service().register_event_time_timer(at + self.again);
        }
        Ok(())
    }
}

/// What `function` tells of each key, in its order.
fn obey(on: On, commands: &[(&str, Command)], function: Obey) -> Vec<Told> {
    let env = on.env();
    let commands: Vec<_> = commands.iter().map(|(k, c)| ((*k).to_owned(), c.clone())).collect();
    let watermarks =
        WatermarkStrategy::punctuated(|(_, command): &(String, Command), _| match command {
            Command::Watermark(at) => Some(*at),
            _ => None,
        });
    let out = env
        .from_elements(commands)
        .assign_timestamps_and_watermarks(watermarks.with_timestamp(|_| 0))
        .key_by(|(key, _)| key.clone())
        .process(function)
        .collect();
    env.execute("timers").unwrap();
    out.take()
}

fn of(key: &str, told: &[Told]) -> Vec<(i64, i64)> {
    told.iter().filter(|row| row.0 == key).map(|row| (row.1, row.2)).collect()
}

use Command::{Delete, Nothing, Register, Watermark};

fn timers_fire_in_order_and_once(on: On) {
    let commands = [
        ("a", Register(30)),
        ("a", Register(10)),
        ("b", Register(10)),
        ("a", Register(20)),
        ("a", Register(10)),
        ("a", Register(-5)),
        ("b", Watermark(9)),
        ("a", Watermark(20)),
        ("a", Register(25)),
        ("a", Watermark(15)), // no step back
        ("b", Watermark(40)),
    ];
    let told = obey(on, &commands, Obey::default());
    assert_eq!(of("a", &told), [(-5, 9), (10, 20), (20, 20), (25, 40), (30, 40)]);
    assert_eq!(of("b", &told), [(10, 20)]);
}

fn deleted_timers_do_not_fire(on: On) {
    let commands = [
        ("a", Register(10)),
        ("b", Register(10)),
        ("a", Delete(10)),
        ("a", Delete(11)), // there is none
        ("a", Register(20)),
        ("a", Delete(20)),
        ("a", Register(20)), // and again
        ("a", Watermark(100)),
        ("b", Delete(10)), // it has fired
    ];
    let told = obey(on, &commands, Obey::default());
    assert_eq!(of("a", &told), [(20, 100)]);
    assert_eq!(of("b", &told), [(10, 100)]);
}

fn timers_may_register_timers(on: On) {
    let commands =
        [("a", Register(10)), ("a", Watermark(35)), ("b", Register(0)), ("a", Watermark(36))];
    let told = obey(on, &commands, Obey { again: 10, until: 60 });
    // Those at or below the watermark fire in the same advance.
    assert_eq!(of("a", &told)[..3], [(10, 35), (20, 35), (30, 35)]);
    let end: Vec<_> = of("a", &told)[3..].iter().map(|row| row.0).collect();
    assert_eq!(end, [40, 50, 60]);
    assert_eq!(of("b", &told)[0], (0, 36));
    assert_eq!(of("b", &told).len(), 7);
}

fn a_timer_in_the_past_fires_at_the_next_advance(on: On) {
    let commands = [
        ("a", Watermark(100)),
        ("a", Register(50)),
        ("a", Register(100)),
        ("a", Nothing),
        ("b", Watermark(101)),
        ("b", Nothing),
    ];
    let told = obey(on, &commands, Obey::default());
    assert_eq!(of("a", &told), [(50, 101), (100, 101)]);
}

fn the_end_of_input_fires_all(on: On) {
    let keys: Vec<String> = (0..300).map(|n| format!("key {n}")).collect();
    let mut commands = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        commands.extend([7, 3, 5].map(|k| (key.as_str(), Register(k * 1_000_000_000 + n as i64))));
    }
    let told = obey(on, &commands, Obey::default());
    assert_eq!(told.len(), 900);
    for (n, key) in keys.iter().enumerate() {
        let expected = [3, 5, 7].map(|k| (k * 1_000_000_000 + n as i64, i64::MAX));
        assert_eq!(of(key, &told), expected);
    }
}

/// Answers 20 ms of processing time after a record.
#[derive(Clone)]
struct Later;
impl KeyedProcessFunction for Later {
    type Key = i64;
    type In = i64;
    type Out = (i64, i64);
    fn process_element(
        &mut self,
        n: i64,
        context: &mut Context<'_, i64>,
        _: &mut Collector<'_, (i64, i64)>,
    ) -> thalweg::Result<()> {
        let mut timers = context.timer_service();
        let at = timers.current_processing_time() + 20;
        timers.register_processing_time_timer(at);
        timers.register_processing_time_timer(at + n * 1_000_000);
        timers.delete_processing_time_timer(at + n * 1_000_000);
        Ok(())
    }
    fn on_timer(
        &mut self,
        at: i64,
        context: &mut OnTimerContext<'_, i64>,
        out: &mut Collector<'_, (i64, i64)>,
    ) -> thalweg::Result<()> {
        assert_eq!(context.time_domain(), TimeDomain::ProcessingTime);
        assert!(context.timer_service().current_processing_time() >= at);
        out.collect((*context.current_key(), at));
        Ok(())
    }
}

fn processing_time_timers_fire(on: On) {
    let env = on.env();
    let (input, numbers) = source::channel(16);
    let (sink, mut answers) = sink::channel(16);
    env.from_source(numbers, "numbers").key_by(|n: &i64| *n).process(Later).sink_to(sink);
    let job = env.execute_async("later").unwrap();
    (1..=10).for_each(|n| input.blocking_send(n).unwrap());
    // The input stays open, so it is the clock that brings these, and nothing else.
    let mut keys: Vec<i64> = (1..=10).map(|_| answers.blocking_recv().unwrap().0).collect();
    keys.sort_unstable();
    assert_eq!(keys, (1..=10).collect::<Vec<_>>());
    drop(input);
    job.wait().unwrap();
    assert!(answers.blocking_recv().is_none());
}

/// Keeps each kind of state; "clear" clears it all, "show" shows it.
#[derive(Clone, Default)]
struct Keeper {
    last: ValueState<String>,
    words: ListState<String>,
    counts: MapState<String, u64>,
}

impl KeyedProcessFunction for Keeper {
    type Key = u32;
    type In = (u32, String);
    type Out = (u32, Option<String>, Vec<String>, Vec<(String, u64)>);
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.last = context.value_state(ValueStateDescriptor::new("last"))?;
        self.words = context.list_state(ListStateDescriptor::new("words"))?;
        self.counts = context.map_state(MapStateDescriptor::new("counts"))?;
        Ok(())
    }
    fn process_element(
        &mut self,
        (key, word): (u32, String),
        context: &mut Context<'_, u32>,
        out: &mut Collector<'_, Self::Out>,
    ) -> thalweg::Result<()> {
        match word.as_str() {
            "clear" => {
                self.last.clear(context)?;
                self.words.clear(context)?;
                self.counts.clear(context)?;
            }
            "show" => {
                let mut counts = self.counts.entries(context)?;
                counts.sort();
                out.collect((key, self.last.value(context)?, self.words.get(context)?, counts));
            }
            _ => {
                self.last.update(context, word.clone())?;
                self.words.add(context, word.clone())?;
                let count = self.counts.get(context, &word)?.unwrap_or(0);
                self.counts.put(context, word, count + 1)?;
            }
        }
        Ok(())
    }
}

fn state_of_all_kinds_is_per_key_and_can_be_cleared(on: On) {
    let env = on.env();
    let rounds = ["x", "y", "x", "show", "clear", "show", "z", "show"];
    let input =
        rounds.into_iter().flat_map(|word| (0..200u32).map(move |key| (key, word.to_owned())));
    let input: Vec<_> = input.collect();
    let out = env.from_elements(input).key_by(|row| row.0).process(Keeper::default()).collect();
    env.execute("kept").unwrap();
    let rows = out.take();
    let strings = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    for key in 0..200 {
        let shown: Vec<_> = rows.iter().filter(|row| row.0 == key).cloned().collect();
        let full = (
            key,
            Some("x".to_owned()),
            strings(&["x", "y", "x"]),
            vec![("x".to_owned(), 2), ("y".to_owned(), 1)],
        );
        let new = (key, Some("z".to_owned()), strings(&["z"]), vec![("z".to_owned(), 1)]);
        assert_eq!(shown, [full, (key, None, vec![], vec![]), new]);
    }
}
