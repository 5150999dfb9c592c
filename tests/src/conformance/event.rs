//! The records of all jobs: [`Event`] in, [`Output`] out, and the [`Command`]s that an event may carry.

use serde_json::{Map, Value, json};

/// A record of the corpus.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its key.
    pub key: String,
    /// A number.
    pub v: i64,
    /// A word.
    pub s: Option<String>,
    /// Another number.
    pub u: i64,
    /// What a process function does with it.
    pub commands: Vec<Command>,
}

impl Event {
    /// The event as a value of the output: `{key, v, s, u}`.
    pub fn to_output(&self) -> Output {
        let Event { key, v, s, u, .. } = self;
        Output::new(&json!({"key": key, "v": v, "s": s, "u": u}))
    }
}

/// A value that a job emits: JSON, because each kind emits other fields.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its text.
    pub json: String,
}

impl Output {
    /// This value.
    pub fn new(value: &Value) -> Self {
        Output { json: value.to_string() }
    }

    /// The value.
    ///
    /// # Errors
    /// If the text is not JSON, which [`new`](Self::new) does not make.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(&self.json)
    }
}

/// One thing that the process function does.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Emits the JSON as `{key, emit}`.
    Emit(String),
    /// Emits it to a side output.
    Side(String, String),
    /// Emits timestamp, watermark and clock.
    Context,
    /// On the timers of event or processing time.
    Timer(Clock, TimerCommand),
    /// On the value state.
    Value(ValueCommand),
    /// On the list state.
    List(ListCommand),
    /// On the map state.
    Map(MapCommand),
    /// On the reducing state.
    Reducing(AddCommand),
    /// On the aggregating state.
    Aggregating(AddCommand),
}

/// Which time a timer runs by.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Watermarks.
    Event,
    /// The wall clock.
    Processing,
}

/// On timers.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerCommand {
    /// Registers one at this time.
    Register(i64),
    /// Deletes the one at this time.
    Delete(i64),
    /// Registers one so much later, if that is at most the second.
    RegisterLater(i64, Option<i64>),
}

/// On the value state.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueCommand {
    /// Emits it.
    Get,
    /// Sets it; nothing clears it.
    Set(Option<i64>),
    /// Adds to it, from 0.
    Add(i64),
    /// Clears it.
    Clear,
}

/// On the list state.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListCommand {
    /// Emits it.
    Get,
    /// Appends one.
    Add(i64),
    /// Appends these.
    AddAll(Vec<i64>),
    /// Puts these in its place.
    Update(Vec<i64>),
    /// Clears it.
    Clear,
}

/// On the map state.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapCommand {
    /// Emits the value of a key.
    Get(String),
    /// Sets it.
    Put(String, i64),
    /// Sets these.
    PutAll(Vec<(String, i64)>),
    /// Removes a key.
    Remove(String),
    /// Emits whether there is one.
    Contains(String),
    /// Emits the keys, sorted.
    Keys,
    /// Emits the entries, sorted.
    Entries,
    /// Adds to each value while iterating.
    IncrementAll(i64),
    /// Removes what is greater while iterating.
    RemoveIfGreater(i64),
    /// Emits whether it is empty.
    IsEmpty,
    /// Clears it.
    Clear,
}

/// On the states that merge what is added.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddCommand {
    /// Adds.
    Add(i64),
    /// Emits the result.
    Get,
    /// Clears it.
    Clear,
}

impl Command {
    /// Reads `["name", argument, ..]`.
    ///
    /// # Errors
    /// For a name or an argument that is not known.
    pub fn read(json: &Value) -> Result<Command, String> {
        let words = json.as_array().ok_or("a command is a list of its name and its arguments")?;
        let name = words.first().and_then(Value::as_str).ok_or("a command begins with its name")?;
        let mut arguments = Arguments { name, words: &words[1..] };
        let command = Command::of(name, &mut arguments)?;
        match arguments.words.is_empty() {
            true => Ok(command),
            false => Err(format!("{name} takes no argument {}", arguments.words[0])),
        }
    }

    fn of(name: &str, arguments: &mut Arguments<'_>) -> Result<Command, String> {
        Ok(match name {
            "emit" => Command::Emit(arguments.any()?.to_string()),
            "side" => Command::Side(arguments.word()?, arguments.any()?.to_string()),
            "ctx" => Command::Context,
            _ => match name.split_once('_') {
                Some(("et", rest)) => Command::Timer(Clock::Event, timer(rest, arguments)?),
                Some(("pt", rest)) => Command::Timer(Clock::Processing, timer(rest, arguments)?),
                Some(("value", rest)) => Command::Value(value(rest, arguments)?),
                Some(("list", rest)) => Command::List(list(rest, arguments)?),
                Some(("map", rest)) => Command::Map(map(rest, arguments)?),
                Some(("reducing", rest)) => Command::Reducing(add(rest, arguments)?),
                Some(("aggregating", rest)) => Command::Aggregating(add(rest, arguments)?),
                _ => return Err(arguments.unknown()),
            },
        })
    }
}

fn timer(verb: &str, arguments: &mut Arguments<'_>) -> Result<TimerCommand, String> {
    Ok(match verb {
        "reg" => TimerCommand::Register(arguments.number()?),
        "del" => TimerCommand::Delete(arguments.number()?),
        "reg_rel" => TimerCommand::RegisterLater(arguments.number()?, arguments.more_number()?),
        _ => return Err(arguments.unknown()),
    })
}

fn value(verb: &str, arguments: &mut Arguments<'_>) -> Result<ValueCommand, String> {
    Ok(match verb {
        "get" => ValueCommand::Get,
        "set" => ValueCommand::Set(arguments.number_or_null()?),
        "add" => ValueCommand::Add(arguments.number()?),
        "clear" => ValueCommand::Clear,
        _ => return Err(arguments.unknown()),
    })
}

fn list(verb: &str, arguments: &mut Arguments<'_>) -> Result<ListCommand, String> {
    Ok(match verb {
        "get" => ListCommand::Get,
        "add" => ListCommand::Add(arguments.number()?),
        "add_all" => ListCommand::AddAll(arguments.numbers()?),
        "update" => ListCommand::Update(arguments.numbers()?),
        "clear" => ListCommand::Clear,
        _ => return Err(arguments.unknown()),
    })
}

fn map(verb: &str, arguments: &mut Arguments<'_>) -> Result<MapCommand, String> {
    Ok(match verb {
        "get" => MapCommand::Get(arguments.word()?),
        "put" => MapCommand::Put(arguments.word()?, arguments.number()?),
        "put_all" => MapCommand::PutAll(arguments.entries()?),
        "remove" => MapCommand::Remove(arguments.word()?),
        "contains" => MapCommand::Contains(arguments.word()?),
        "keys" => MapCommand::Keys,
        "entries" => MapCommand::Entries,
        "inc_all" => MapCommand::IncrementAll(arguments.number()?),
        "remove_if_gt" => MapCommand::RemoveIfGreater(arguments.number()?),
        "is_empty" => MapCommand::IsEmpty,
        "clear" => MapCommand::Clear,
        _ => return Err(arguments.unknown()),
    })
}

fn add(verb: &str, arguments: &mut Arguments<'_>) -> Result<AddCommand, String> {
    Ok(match verb {
        "add" => AddCommand::Add(arguments.number()?),
        "get" => AddCommand::Get,
        "clear" => AddCommand::Clear,
        _ => return Err(arguments.unknown()),
    })
}

/// The arguments that were not read yet.
struct Arguments<'a> {
    name: &'a str,
    words: &'a [Value],
}

impl Arguments<'_> {
    fn unknown(&self) -> String {
        format!("unknown command '{}'", self.name)
    }

    fn wanted(&self, what: &str) -> String {
        format!("{} wants {what}", self.name)
    }

    fn next(&mut self) -> Option<&Value> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn any(&mut self) -> Result<&Value, String> {
        let wanted = self.wanted("an argument");
        self.next().ok_or(wanted)
    }

    fn word(&mut self) -> Result<String, String> {
        let wanted = self.wanted("a string");
        self.next().and_then(Value::as_str).map(str::to_owned).ok_or(wanted)
    }

    fn number(&mut self) -> Result<i64, String> {
        let wanted = self.wanted("a number");
        self.next().and_then(Value::as_i64).ok_or(wanted)
    }

    fn number_or_null(&mut self) -> Result<Option<i64>, String> {
        if self.words.first().is_some_and(Value::is_null) {
            self.next();
            return Ok(None);
        }
        self.number().map(Some)
    }

    fn more_number(&mut self) -> Result<Option<i64>, String> {
        if self.words.is_empty() { Ok(None) } else { self.number_or_null() }
    }

    fn numbers(&mut self) -> Result<Vec<i64>, String> {
        let wanted = self.wanted("a list of numbers");
        let list = self.next().and_then(Value::as_array).ok_or_else(|| wanted.clone())?;
        list.iter().map(|number| number.as_i64().ok_or_else(|| wanted.clone())).collect()
    }

    fn entries(&mut self) -> Result<Vec<(String, i64)>, String> {
        let wanted = self.wanted("an object of numbers");
        let map: &Map<_, _> =
            self.next().and_then(Value::as_object).ok_or_else(|| wanted.clone())?;
        let entry = |(key, value): (&String, &Value)| {
            value.as_i64().map(|value| (key.clone(), value)).ok_or_else(|| wanted.clone())
        };
        map.iter().map(entry).collect()
    }
}
