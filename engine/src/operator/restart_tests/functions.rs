//! Operator state and what checkpoints call of functions.

use super::{Run, Step, input, record, watermark};
use crate::config::StateBackend;
use crate::function::SnapshotContext;
use crate::operator::restart_tests::BACKENDS;
use crate::prelude::*;
use crate::record::CheckpointId;
use crate::runtime::TaskOrder;
use crate::testing;
use crate::testing::attempts::Attempts;
use std::sync::{Arc, Mutex};

type Calls = Arc<Mutex<Vec<String>>>;

/// Counts in a field, which it puts into state at checkpoints; a union list has all subtasks' totals.
#[derive(Clone, Default)]
struct Numbering {
    count: u64,
    state: OperatorListState<u64>,
    totals: OperatorListState<u64>,
    calls: Calls,
}

impl Numbering {
    fn call(&self, text: String) {
        self.calls.lock().unwrap().push(text);
    }
}

impl MapFunction for Numbering {
    type In = i64;
    type Out = (i64, u64);
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> crate::Result<()> {
        self.state = context.operator_list_state(ListStateDescriptor::new("count"))?;
        self.totals = context.union_list_state(ListStateDescriptor::new("totals"))?;
        self.count = self.state.get(context)?.into_iter().sum();
        let totals = self.totals.get(context)?;
        if context.is_restored() {
            let id = context.restored_checkpoint().map_or(0, |id| id.0);
            self.call(format!("restored {id}: {} of {totals:?}", self.count));
        }
        Ok(())
    }
    fn map(&mut self, record: i64) -> crate::Result<(i64, u64)> {
        self.count += 1;
        Ok((record, self.count))
    }
    fn snapshot_state(&mut self, context: &mut SnapshotContext<'_>) -> crate::Result<()> {
        self.call(format!("snapshot {}", context.checkpoint_id().0));
        self.state.update(context, vec![self.count])?;
        Ok(self.totals.update(context, vec![self.count])?)
    }
    fn notify_checkpoint_complete(&mut self, checkpoint: CheckpointId) -> crate::Result<()> {
        self.call(format!("complete {}", checkpoint.0));
        Ok(())
    }
    fn notify_checkpoint_aborted(&mut self, checkpoint: CheckpointId) -> crate::Result<()> {
        self.call(format!("aborted {}", checkpoint.0));
        Ok(())
    }
}

fn numbers() -> Vec<Step> {
    (0..9_i64).map(|n| record("in", n as usize, n, n)).collect()
}

#[test]
fn functions_keep_fields_in_operator_state() {
    let write = |env: &StreamExecutionEnvironment| {
        let numbers = input::<i64>(env, "in");
        numbers.map_with(Numbering::default()).sink_to(testing::output()).name("out");
    };
    Run { write, steps: numbers() }.check::<(i64, u64)>();
}

#[test]
fn functions_are_told_of_checkpoints_in_order() {
    let calls = Calls::default();
    let of_function = calls.clone();
    let mut attempts = Attempts::new(1, StateBackend::Memory, move |env| {
        let numbers = env.from_source(testing::input_once::<i64>(), "in");
        let numbering = Numbering { calls: of_function.clone(), ..Numbering::default() };
        numbers.map_with(numbering).sink_to(testing::output()).name("out");
    });
    let mut attempt = attempts.begin(None, 0);
    attempt.pipe(("in", 0), 5_i64, 0);
    let state = attempt.checkpoint(1);
    attempt.try_checkpoint(2).unwrap();
    attempt.order(TaskOrder::Aborted(CheckpointId(2)));
    drop(attempt);
    attempts.retain(&state);
    attempts.set_parallelism(3);
    drop(attempts.begin(Some(&state), 0));
    let expected = [
        "snapshot 1",
        "complete 1",
        "snapshot 2",
        "aborted 2",
        "restored 1: 1 of [1]",
        "restored 1: 0 of [1]",
        "restored 1: 0 of [1]",
    ];
    assert_eq!(*calls.lock().unwrap(), expected);
}

/// Numbers words in the order in which it was told them, and counts its own records in a list of the operator.
#[derive(Clone, Default)]
struct Dictionary {
    words: BroadcastState<String, u64>,
    seen: OperatorListState<u64>,
}

type Told = (i64, String);

impl KeyedBroadcastProcessFunction for Dictionary {
    type Key = i64;
    type In = i64;
    type Broadcast = String;
    type Out = Told;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> crate::Result<()> {
        self.words = context.broadcast_state(MapStateDescriptor::new("words"))?;
        self.seen = context.operator_list_state(ListStateDescriptor::new("seen"))?;
        Ok(())
    }
    fn process_element(
        &mut self,
        record: i64,
        context: &mut KeyedReadOnlyContext<'_, i64>,
        out: &mut Collector<'_, Told>,
    ) -> crate::Result<()> {
        let words = self.words.entries(context)?;
        let at = context.timestamp_ms() + 2;
        context.timer_service().register_event_time_timer(at);
        out.collect((record, format!("{words:?} {}", self.seen.len(context)?)));
        Ok(())
    }
    fn process_broadcast_element(
        &mut self,
        word: String,
        context: &mut KeyedBroadcastContext<'_, i64>,
        _: &mut Collector<'_, Told>,
    ) -> crate::Result<()> {
        let number = self.words.len(context)? as u64;
        self.seen.add(context, number)?;
        Ok(self.words.put(context, word, number)?)
    }
    fn on_timer(
        &mut self,
        at: i64,
        context: &mut OnTimerReadOnlyContext<'_, i64>,
        out: &mut Collector<'_, Told>,
    ) -> crate::Result<()> {
        out.collect((*context.current_key(), format!("at {at}: {}", self.words.len(context)?)));
        Ok(())
    }
}

/// The same without keys.
#[derive(Clone, Default)]
struct Plain {
    words: BroadcastState<String, u64>,
}

impl BroadcastProcessFunction for Plain {
    type In = i64;
    type Broadcast = String;
    type Out = Told;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> crate::Result<()> {
        self.words = context.broadcast_state(MapStateDescriptor::new("words"))?;
        Ok(())
    }
    fn process_element(
        &mut self,
        record: i64,
        context: &mut ReadOnlyContext<'_>,
        out: &mut Collector<'_, Told>,
    ) -> crate::Result<()> {
        let (words, watermark) = (self.words.entries(context)?, context.current_watermark());
        out.collect((record, format!("{words:?} at {watermark}")));
        Ok(())
    }
    fn process_broadcast_element(
        &mut self,
        word: String,
        context: &mut ProcessContext<'_>,
        _: &mut Collector<'_, Told>,
    ) -> crate::Result<()> {
        let number = self.words.len(context)? as u64;
        Ok(self.words.put(context, word, number)?)
    }
}

fn numbers_and_words() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for n in 0..14_i64 {
        match n % 4 {
            1 => steps.push(record("words", 0, format!("word {}", n % 5), n)),
            3 => steps.push(watermark(&["in", "words"], n - 1)),
            _ => steps.push(record("in", n as usize, n % 3, n)),
        }
    }
    steps
}

#[test]
fn broadcast_state_beside_keys() {
    let write = |env: &StreamExecutionEnvironment| {
        let numbers = input::<i64>(env, "in").key_by(|n| *n);
        let words = input::<String>(env, "words").broadcast();
        let told = numbers.connect_broadcast(words).process(Dictionary::default());
        told.sink_to(testing::output()).name("out");
    };
    Run { write, steps: numbers_and_words() }.check::<Told>();
}

#[test]
fn broadcast_state_without_keys() {
    let write = |env: &StreamExecutionEnvironment| {
        let numbers = input::<i64>(env, "in");
        let words = input::<String>(env, "words").broadcast();
        let told = numbers.connect_broadcast(words).process(Plain::default());
        told.sink_to(testing::output()).name("out");
    };
    Run { write, steps: numbers_and_words() }.check::<Told>();
}

/// A state of another type than the checkpoint has is refused, and names operator, state and both types.
#[test]
fn changed_operator_state_is_refused() {
    #[derive(Clone)]
    struct Changed;
    impl MapFunction for Changed {
        type In = i64;
        type Out = (i64, u64);
        fn open(&mut self, context: &mut RuntimeContext<'_>) -> crate::Result<()> {
            context.operator_list_state(ListStateDescriptor::<String>::new("count"))?;
            Ok(())
        }
        fn map(&mut self, record: i64) -> crate::Result<(i64, u64)> {
            Ok((record, 0))
        }
    }
    let is_changed = Arc::new(Mutex::new(false));
    let of_job = is_changed.clone();
    let mut attempts = Attempts::new(2, BACKENDS[0], move |env| {
        let numbers = env.from_source(testing::input_once::<i64>(), "in");
        if *of_job.lock().unwrap() {
            numbers.map_with(Changed).name("numbering").sink_to(testing::output()).name("out");
        } else {
            let numbering = numbers.map_with(Numbering::default()).name("numbering");
            numbering.sink_to(testing::output()).name("out");
        }
    });
    let mut attempt = attempts.begin(None, 0);
    let state = attempt.checkpoint(1);
    drop(attempt);
    attempts.retain(&state);
    *is_changed.lock().unwrap() = true;
    let failure = attempts.try_begin(Some(&state), 0).err().unwrap().to_string();
    for part in
        ["'numbering'", "state 'count'", "OperatorListState<u64>", "OperatorListState<String>"]
    {
        assert!(failure.contains(part), "{part} in: {failure}");
    }
}
