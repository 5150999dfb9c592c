//! `process`: a keyed process function that obeys the commands of its events.

use crate::conformance::bench::Bench;
use crate::conformance::event::{
    AddCommand, Clock, Command, Event, ListCommand, MapCommand, Output, TimerCommand, ValueCommand,
};
use crate::conformance::kind::{Interpreter, duration};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use thalweg::prelude::*;

/// Commands, timers and state.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProcessJob {
    #[serde(default)]
    on_timer: OnTimer,
    ttl: Option<Ttl>,
    #[serde(default)]
    side_outputs: Vec<String>,
    #[serde(skip)]
    commands: TimerCommands,
}

/// What a timer does after it has told of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnTimer {
    #[serde(default)]
    event: Vec<Value>,
    #[serde(default)]
    processing: Vec<Value>,
}

#[derive(Clone, Debug, Default)]
struct TimerCommands {
    event: Vec<Command>,
    processing: Vec<Command>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ttl {
    ttl_ms: i64,
    update: Update,
    visibility: Visibility,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Update {
    OnCreateAndWrite,
    OnReadAndWrite,
    Disabled,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Visibility {
    NeverReturnExpired,
    ReturnExpiredIfNotCleanedUp,
}

impl ProcessJob {
    pub(super) fn checked(mut self) -> Result<Self, String> {
        let read = |what: &str, commands: &[Value]| -> Result<Vec<Command>, String> {
            let read = |(index, command)| {
                Command::read(command).map_err(|error| format!("on_timer.{what}[{index}]: {error}"))
            };
            commands.iter().enumerate().map(read).collect()
        };
        let (event, processing) = (&self.on_timer.event, &self.on_timer.processing);
        self.commands = TimerCommands {
            event: read("event", event)?,
            processing: read("processing", processing)?,
        };
        Ok(self)
    }
}

impl Ttl {
    fn to_state_ttl(self) -> StateTtl {
        let update = match self.update {
            Update::OnCreateAndWrite => TtlUpdate::OnCreateAndWrite,
            Update::OnReadAndWrite => TtlUpdate::OnReadAndWrite,
            Update::Disabled => TtlUpdate::Disabled,
        };
        let visibility = match self.visibility {
            Visibility::NeverReturnExpired => TtlVisibility::NeverReturnExpired,
            Visibility::ReturnExpiredIfNotCleanedUp => TtlVisibility::ReturnExpiredIfNotCleanedUp,
        };
        StateTtl::after(duration(self.ttl_ms)).update(update).visibility(visibility)
    }
}

impl Interpreter for ProcessJob {
    fn build(&self, bench: &Bench<'_>) {
        let function = Obey::new(self.commands.clone(), self.ttl);
        let obeyed = bench.input(0).key_by_ref(|event| &event.key).process(function);
        for name in &self.side_outputs {
            bench.outputs(name, obeyed.side_output(&OutputTag::<Output>::new(name.as_str())));
        }
        bench.outputs("main", obeyed);
    }
}

/// `[count, sum]` of what is added.
#[derive(Clone)]
struct CountAndSum;

impl AggregateFunction<i64> for CountAndSum {
    type Accumulator = (i64, i64);
    type Result = (i64, i64);
    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }
    fn add(&self, (count, sum): &mut (i64, i64), number: &i64) {
        *count += 1;
        *sum = sum.wrapping_add(*number);
    }
    fn result(&self, accumulator: &(i64, i64)) -> (i64, i64) {
        *accumulator
    }
    fn merge(&self, into: &mut (i64, i64), other: &(i64, i64)) {
        into.0 += other.0;
        into.1 = into.1.wrapping_add(other.1);
    }
}

/// Obeys commands.
#[derive(Clone)]
struct Obey {
    on_timer: TimerCommands,
    ttl: Option<Ttl>,
    value: ValueState<i64>,
    list: ListState<i64>,
    map: MapState<String, i64>,
    reducing: ReducingState<i64>,
    aggregating: AggregatingState<i64, (i64, i64), (i64, i64)>,
}

/// What a command runs with.
struct Scene<'a, 'b, 'c> {
    context: &'a mut Context<'b, String>,
    out: &'a mut Collector<'c, Output>,
    /// Timestamp of the record or time of the timer.
    base_ms: Option<i64>,
}

impl Scene<'_, '_, '_> {
    /// Emits `{key, field: value}`.
    fn tell(&mut self, field: &str, value: impl Into<Value>) {
        let output = self.output(field, value.into());
        self.out.collect(output);
    }

    fn output(&self, field: &str, value: Value) -> Output {
        let key = self.context.current_key().clone();
        Output::new(&json!({"key": key, field: value}))
    }
}

impl Obey {
    fn new(on_timer: TimerCommands, ttl: Option<Ttl>) -> Self {
        Obey {
            on_timer,
            ttl,
            value: ValueState::default(),
            list: ListState::default(),
            map: MapState::default(),
            reducing: ReducingState::default(),
            aggregating: AggregatingState::default(),
        }
    }

    fn all(&mut self, commands: &[Command], scene: &mut Scene<'_, '_, '_>) -> thalweg::Result<()> {
        commands.iter().try_for_each(|command| self.one(command, scene))
    }

    fn one(&mut self, command: &Command, scene: &mut Scene<'_, '_, '_>) -> thalweg::Result<()> {
        match command {
            Command::Emit(json) => scene.tell("emit", serde_json::from_str::<Value>(json)?),
            Command::Side(tag, json) => {
                let output = scene.output("emit", serde_json::from_str(json)?);
                scene.context.output(&OutputTag::new(tag.as_str()), output);
            }
            Command::Context => {
                let (key, ts) = (scene.context.current_key().clone(), scene.context.timestamp());
                let timers = scene.context.timer_service();
                let (wm, pt) = (timers.current_watermark(), timers.current_processing_time());
                let told = json!({"key": key, "ts": ts, "wm": wm, "pt": pt});
                scene.out.collect(Output::new(&told));
            }
            Command::Timer(clock, command) => timer(*clock, *command, scene)?,
            Command::Value(command) => self.value(*command, scene)?,
            Command::List(command) => self.list(command, scene)?,
            Command::Map(command) => self.map(command, scene)?,
            Command::Reducing(command) => self.reducing(*command, scene)?,
            Command::Aggregating(command) => self.aggregating(*command, scene)?,
        }
        Ok(())
    }

    fn value(
        &mut self,
        command: ValueCommand,
        scene: &mut Scene<'_, '_, '_>,
    ) -> thalweg::Result<()> {
        let state = &self.value;
        match command {
            ValueCommand::Get => {
                let value = state.value(scene.context)?;
                scene.tell("value", value);
            }
            ValueCommand::Set(Some(value)) => state.update(scene.context, value)?,
            ValueCommand::Set(None) | ValueCommand::Clear => state.clear(scene.context)?,
            ValueCommand::Add(more) => {
                let value = state.value(scene.context)?.unwrap_or(0);
                state.update(scene.context, value.wrapping_add(more))?;
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        command: &ListCommand,
        scene: &mut Scene<'_, '_, '_>,
    ) -> thalweg::Result<()> {
        let state = &self.list;
        match command {
            ListCommand::Get => {
                let list = state.get(scene.context)?;
                scene.tell("list", list);
            }
            ListCommand::Add(value) => state.add(scene.context, *value)?,
            ListCommand::AddAll(values) => state.add_all(scene.context, values.clone())?,
            ListCommand::Update(values) => state.update(scene.context, values.clone())?,
            ListCommand::Clear => state.clear(scene.context)?,
        }
        Ok(())
    }

    fn map(&mut self, command: &MapCommand, scene: &mut Scene<'_, '_, '_>) -> thalweg::Result<()> {
        let state = &self.map;
        match command {
            MapCommand::Get(key) => {
                let value = state.get(scene.context, key)?;
                scene.tell("map", value);
            }
            MapCommand::Put(key, value) => state.put(scene.context, key.clone(), *value)?,
            MapCommand::PutAll(entries) => state.put_all(scene.context, entries.clone())?,
            MapCommand::Remove(key) => {
                state.remove(scene.context, key)?;
            }
            MapCommand::Contains(key) => {
                let contains = state.contains(scene.context, key)?;
                scene.tell("contains", contains);
            }
            MapCommand::Keys => {
                let mut keys = state.keys(scene.context)?;
                keys.sort();
                scene.tell("keys", keys);
            }
            MapCommand::Entries => {
                let entries = state.entries(scene.context)?;
                let entries: Map<_, _> = entries.into_iter().map(|(k, v)| (k, v.into())).collect();
                scene.tell("entries", entries);
            }
            MapCommand::IncrementAll(more) => {
                // Flink iterates over copies of the entries of a map with time to live: a value set there is lost.
                let sets = self.ttl.is_none_or(|ttl| matches!(ttl.update, Update::Disabled));
                for (key, value) in state.entries(scene.context)? {
                    if sets {
                        state.put(scene.context, key, value.wrapping_add(*more))?;
                    }
                }
            }
            MapCommand::RemoveIfGreater(most) => {
                for (key, value) in state.entries(scene.context)? {
                    if value > *most {
                        state.remove(scene.context, &key)?;
                    }
                }
            }
            MapCommand::IsEmpty => {
                let is_empty = state.is_empty(scene.context)?;
                scene.tell("is_empty", is_empty);
            }
            MapCommand::Clear => state.clear(scene.context)?,
        }
        Ok(())
    }

    fn reducing(
        &mut self,
        command: AddCommand,
        scene: &mut Scene<'_, '_, '_>,
    ) -> thalweg::Result<()> {
        match command {
            AddCommand::Add(value) => self.reducing.add(scene.context, value)?,
            AddCommand::Get => {
                let value = self.reducing.get(scene.context)?;
                scene.tell("reducing", value);
            }
            AddCommand::Clear => self.reducing.clear(scene.context)?,
        }
        Ok(())
    }

    fn aggregating(
        &mut self,
        command: AddCommand,
        scene: &mut Scene<'_, '_, '_>,
    ) -> thalweg::Result<()> {
        match command {
            AddCommand::Add(value) => self.aggregating.add(scene.context, value)?,
            AddCommand::Get => {
                let value = self.aggregating.get(scene.context)?;
                scene.tell("aggregating", value.map(|(count, sum)| json!([count, sum])));
            }
            AddCommand::Clear => self.aggregating.clear(scene.context)?,
        }
        Ok(())
    }
}

fn timer(
    clock: Clock,
    command: TimerCommand,
    scene: &mut Scene<'_, '_, '_>,
) -> thalweg::Result<()> {
    let mut timers = scene.context.timer_service();
    let base_ms = match clock {
        Clock::Event => scene.base_ms,
        Clock::Processing => Some(timers.current_processing_time()),
    };
    let (at_ms, is_delete) = match command {
        TimerCommand::Register(at_ms) => (at_ms, false),
        TimerCommand::Delete(at_ms) => (at_ms, true),
        TimerCommand::RegisterLater(delay_ms, most_ms) => {
            let base_ms = base_ms.ok_or("et_reg_rel in an event without a timestamp")?;
            let at_ms = base_ms.saturating_add(delay_ms);
            if most_ms.is_some_and(|most_ms| at_ms > most_ms) {
                return Ok(());
            }
            (at_ms, false)
        }
    };
    match (clock, is_delete) {
        (Clock::Event, false) => timers.register_event_time_timer(at_ms),
        (Clock::Event, true) => timers.delete_event_time_timer(at_ms),
        (Clock::Processing, false) => timers.register_processing_time_timer(at_ms),
        (Clock::Processing, true) => timers.delete_processing_time_timer(at_ms),
    }
    Ok(())
}

impl KeyedProcessFunction for Obey {
    type Key = String;
    type In = Event;
    type Out = Output;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        let mut value = ValueStateDescriptor::new("value");
        let mut list = ListStateDescriptor::new("list");
        let mut map = MapStateDescriptor::new("map");
        let mut reducing = ReducingStateDescriptor::new("reducing", |sum: &mut i64, more: i64| {
            *sum = sum.wrapping_add(more);
        });
        let mut aggregating = AggregatingStateDescriptor::new("aggregating", CountAndSum);
        if let Some(ttl) = self.ttl.map(Ttl::to_state_ttl) {
            (value, list, map) = (value.with_ttl(ttl), list.with_ttl(ttl), map.with_ttl(ttl));
            (reducing, aggregating) = (reducing.with_ttl(ttl), aggregating.with_ttl(ttl));
        }
        self.value = context.value_state(value)?;
        self.list = context.list_state(list)?;
        self.map = context.map_state(map)?;
        self.reducing = context.reducing_state(reducing)?;
        self.aggregating = context.aggregating_state(aggregating)?;
        Ok(())
    }

    fn process_element(
        &mut self,
        event: Event,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        let base_ms = context.timestamp();
        self.all(&event.commands, &mut Scene { context, out, base_ms })
    }

    fn on_timer(
        &mut self,
        at_ms: i64,
        context: &mut OnTimerContext<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        let domain = context.time_domain();
        let (name, commands) = match domain {
            TimeDomain::EventTime => ("event", self.on_timer.event.clone()),
            TimeDomain::ProcessingTime => ("processing", self.on_timer.processing.clone()),
        };
        let key = context.current_key().clone();
        let timers = context.timer_service();
        let (wm, pt) = (timers.current_watermark(), timers.current_processing_time());
        let told = json!({"key": key, "timer": at_ms, "domain": name, "wm": wm, "pt": pt});
        out.collect(Output::new(&told));
        let scene = &mut Scene { context: &mut *context, out, base_ms: Some(at_ms) };
        self.all(&commands, scene)
    }
}
