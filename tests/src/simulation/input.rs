//! What sources of simulated jobs emit: drawn beforehand, so that models can be made of it.

use super::Outside;
use crate::Random;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thalweg::prelude::*;

/// A record of the auditor's workload.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Of the source: who has emitted it.
    pub(super) split: i64,
    /// From 0, without gap, in each split.
    pub(super) number: i64,
    pub(super) key: i64,
    pub(super) at_ms: i64,
    pub(super) value: i64,
    /// What it does to a deadline.
    pub(super) deadline: Deadline,
}

/// A timer that an event sets or takes back.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    /// Nothing.
    None,
    /// To be called at this time.
    Set(i64),
    /// Not to be called after all.
    Cancel(i64),
}

/// Deadlines are those modulo this, plus split and one: no two splits share one, and no multiple is one.
pub(super) const DEADLINE_GRID_MS: i64 = 16;

/// Records of all splits, and how they come.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) splits: Vec<Vec<Event>>,
    /// How far a record may lie behind the one before.
    disorder_ms: i64,
    /// The split that falls silent until others have gone on without it.
    pub(super) idle: Option<usize>,
    /// Between two records of a split; 0 for as fast as can be.
    pace_ms: i64,
    /// One split with records that come too late, for the branch that looks at these.
    pub(super) late: Vec<Event>,
    /// Numbers of rules, for broadcast state.
    pub(super) rules: Vec<Event>,
}

/// Silence after which a split is idle.
const IDLE_MS: u64 = 400;

impl Input {
    pub(super) fn draw(random: &mut Random) -> Input {
        let is_idle = random.once_in(5);
        let split_count = if is_idle { 2 + random.below(3) } else { 1 + random.below(6) };
        let keys = 2 + random.below(12);
        let disorder_ms = random.between(0, 60);
        let longest = if is_idle { 120 } else { random.between(10, 60) };
        let mut splits = Vec::new();
        for split in 0..split_count {
            let shortest = if is_idle { 110 } else { 0 };
            let count = random.between(shortest, longest.max(shortest));
            splits.push(draw_split(random, split as i64, count, keys, disorder_ms));
        }
        let idle = is_idle.then_some(0);
        if is_idle {
            splits[0].truncate(5);
        }
        let late = draw_split(random, 90, 60, keys, 400);
        let rules = draw_split(random, 91, 20, 5, 0);
        let pace_ms = if is_idle { 10 } else { 0 };
        Input { splits, disorder_ms, idle, pace_ms, late, rules }
    }

    /// All records of the main source.
    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.splits.iter().flatten()
    }

    pub(super) fn by_key(&self) -> BTreeMap<i64, Vec<Event>> {
        let mut by_key: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
        self.events().for_each(|event| by_key.entry(event.key).or_default().push(*event));
        by_key
    }

    pub(super) fn source(&self, outside: &Outside) -> EventSource {
        let has_passed_idle = outside.has_passed_idle.clone();
        EventSource {
            splits: self.splits.clone().into(),
            idle: self.idle.map(|split| (split as u64, has_passed_idle)),
            pace_ms: self.pace_ms,
        }
    }

    pub(super) fn strategy(
        &self,
    ) -> WatermarkStrategy<Event, impl WatermarkGenerator<Event> + Clone + Send> {
        let delay = Duration::from_millis(self.disorder_ms as u64);
        let strategy = WatermarkStrategy::bounded_out_of_orderness(delay);
        match self.idle {
            Some(_) => strategy.with_idleness(Duration::from_millis(IDLE_MS)),
            None => strategy,
        }
    }

    /// The last time of the split that falls idle: windows that end later have waited for it.
    pub(super) fn idle_until_ms(&self) -> Option<i64> {
        self.idle.map(|split| self.splits[split].iter().map(|it| it.at_ms).max().unwrap_or(0))
    }
}

fn draw_split(
    random: &mut Random,
    split: i64,
    count: i64,
    keys: u64,
    disorder_ms: i64,
) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut base_ms = random.between(0, 100);
    let mut set: BTreeMap<i64, i64> = BTreeMap::new();
    for number in 0..count {
        base_ms += random.between(0, 12);
        // Whole windows and timers must be met exactly now and then.
        let at_ms = match random.below(4) {
            0 => base_ms - base_ms % 16,
            _ => base_ms,
        };
        let at_ms = (at_ms - random.between(0, disorder_ms / 2)).max(base_ms - disorder_ms).max(0);
        let key = random.below(keys) as i64;
        let deadline = match random.below(4) {
            0 | 1 => {
                let at = at_ms + 40 + random.between(0, 150);
                let at = at - at % DEADLINE_GRID_MS + split % 90 + 1;
                set.insert(key, at);
                Deadline::Set(at)
            }
            2 => match set.remove(&key).filter(|set| *set > at_ms) {
                Some(at) => Deadline::Cancel(at),
                None => Deadline::None,
            },
            _ => Deadline::None,
        };
        let value = random.between(1, 1_000);
        events.push(Event { split, number, key, at_ms, value, deadline });
    }
    events
}

/// Splits of events by position, which it replays.
pub(super) struct EventSource {
    pub(super) splits: Arc<[Vec<Event>]>,
    /// The split that does not end before it may.
    pub(super) idle: Option<(u64, Arc<AtomicBool>)>,
    pub(super) pace_ms: i64,
}

impl EventSource {
    /// One split, as fast as can be.
    pub(super) fn of(events: &[Event]) -> EventSource {
        EventSource { splits: [events.to_vec()].into(), idle: None, pace_ms: 0 }
    }
}

/// How far a split was read.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventSplit {
    index: u64,
    next: u64,
}

impl SourceSplit for EventSplit {
    fn split_id(&self) -> String {
        format!("split-{}", self.index)
    }
}

struct EventEnumerator(u64);

impl SplitEnumerator<EventSplit> for EventEnumerator {
    fn discover(&mut self, context: &mut EnumeratorContext<EventSplit>) -> thalweg::Result<()> {
        let parallelism = context.parallelism();
        for index in 0..self.0 {
            context.assign_split(index as usize % parallelism, EventSplit { index, next: 0 });
        }
        (0..parallelism).for_each(|subtask| context.signal_no_more_splits(subtask));
        Ok(())
    }
    fn handle_split_request(
        &mut self,
        subtask_index: usize,
        context: &mut EnumeratorContext<EventSplit>,
    ) -> thalweg::Result<()> {
        context.signal_no_more_splits(subtask_index);
        Ok(())
    }
    fn add_splits_back(&mut self, _: Vec<EventSplit>, _: usize) {}
}

impl Source for EventSource {
    type Out = Event;
    type Split = EventSplit;
    type Reader = EventReader;

    fn create_enumerator(&self) -> thalweg::Result<Option<Box<dyn SplitEnumerator<EventSplit>>>> {
        Ok(Some(Box::new(EventEnumerator(self.splits.len() as u64))))
    }
    fn create_reader(&self, _: &ReaderContext) -> thalweg::Result<EventReader> {
        Ok(EventReader {
            records: self.splits.clone(),
            idle: self.idle.clone(),
            pace_ms: self.pace_ms,
            splits: VecDeque::new(),
            no_more: false,
        })
    }
}

/// Reads an [`EventSource`]: of all its splits in turn.
pub(super) struct EventReader {
    records: Arc<[Vec<Event>]>,
    idle: Option<(u64, Arc<AtomicBool>)>,
    pace_ms: i64,
    /// With the time from which on each may be read.
    splits: VecDeque<(EventSplit, i64)>,
    no_more: bool,
}

impl EventReader {
    /// Has the split nothing more, for good?
    fn has_ended(&self, split: &EventSplit) -> bool {
        let is_read = split.next as usize >= self.records[split.index as usize].len();
        let may_end = match &self.idle {
            Some((idle, has_passed)) if *idle == split.index => has_passed.load(Ordering::Relaxed),
            _ => true,
        };
        is_read && may_end
    }
}

impl SourceReader for EventReader {
    type Out = Event;
    type Split = EventSplit;

    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, Event>,
    ) -> thalweg::Result<InputStatus> {
        let (now_ms, mut emitted) = (out.now_ms(), 0);
        for _ in 0..self.splits.len() {
            let Some((mut split, mut due_ms)) = self.splits.pop_front() else { break };
            let records = &self.records[split.index as usize];
            let is_due = now_ms >= due_ms;
            let most = if self.pace_ms > 0 { 1 } else { max.saturating_sub(emitted).max(1) };
            let rest = records.get(split.next as usize..).unwrap_or_default();
            if is_due && !rest.is_empty() {
                out.begin_split(&split.split_id());
                for event in rest.iter().take(most) {
                    out.collect_with_timestamp(*event, event.at_ms);
                    (split.next, emitted) = (split.next + 1, emitted + 1);
                }
                due_ms = now_ms + self.pace_ms;
            }
            match self.has_ended(&split) {
                true => out.end_split(&split.split_id()),
                false => self.splits.push_back((split, due_ms)),
            }
            if emitted >= max {
                break;
            }
        }
        if self.splits.is_empty() {
            return Ok(match self.no_more {
                true => InputStatus::EndOfInput,
                false => InputStatus::NothingAvailable,
            });
        }
        if emitted == 0 {
            out.poll_again_in_ns(1_000_000);
            return Ok(InputStatus::NothingAvailable);
        }
        Ok(InputStatus::MoreAvailable)
    }

    fn add_splits(&mut self, splits: Vec<EventSplit>) {
        self.splits.extend(splits.into_iter().map(|split| (split, 0)));
    }
    fn no_more_splits(&mut self) {
        self.no_more = true;
    }
    fn wants_split(&self) -> bool {
        self.splits.is_empty() && !self.no_more
    }
    fn snapshot(&self) -> Vec<EventSplit> {
        self.splits.iter().map(|(split, _)| split.clone()).collect()
    }
}
