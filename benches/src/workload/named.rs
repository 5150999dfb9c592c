//! w7: records with heap data.

use super::{Meter, Outcome, Run, Settings};
use crate::digest::splitmix64;
use crate::now_ns;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use thalweg::prelude::*;

/// What a user did.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Bought something.
    Buy {
        /// For how much.
        cents: u64,
    },
    /// Looked at a page.
    Click {
        /// Which one.
        page: u32,
    },
    /// Left.
    Leave,
}

/// A record with a string, an enum and an array.
#[thalweg::record]
#[derive(Clone, Debug)]
pub struct Named {
    /// Who.
    pub name: String,
    /// What.
    pub event: Action,
    /// Number of the event.
    pub seq: u64,
    /// Ballast.
    pub score: f64,
    /// Ballast.
    pub tags: [u32; 8],
}

fn named(i: u64) -> Named {
    let r = splitmix64(i);
    let id = r % 10_000;
    let mut name = String::with_capacity(32);
    write!(name, "user-{id:010}-").expect("a string takes everything");
    name.extend(std::iter::repeat_n('x', (id % 16) as usize));
    let event = match r >> 62 {
        1 => Action::Buy { cents: (r >> 32) & 0xFFFF },
        0 => Action::Click { page: r as u32 },
        _ => Action::Leave,
    };
    Named { name, event, seq: i, score: r as f64, tags: [r as u32; 8] }
}

struct NamedEvents {
    events: u64,
    seconds: u64,
    meter: Arc<Meter>,
}

impl Source for NamedEvents {
    type Out = Named;
    type Split = NoSplit;
    type Reader = NamedReader;
    fn create_reader(&self, context: &ReaderContext) -> thalweg::Result<NamedReader> {
        Ok(NamedReader {
            events: self.events,
            stop_ns: self.seconds.saturating_mul(1_000_000_000),
            next: context.subtask_index as u64,
            step: context.parallelism as u64,
            started: false,
            meter: self.meter.clone(),
        })
    }
}

struct NamedReader {
    events: u64,
    stop_ns: u64,
    next: u64,
    step: u64,
    started: bool,
    meter: Arc<Meter>,
}

impl SourceReader for NamedReader {
    type Out = Named;
    type Split = NoSplit;
    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, Named>,
    ) -> thalweg::Result<InputStatus> {
        if !self.started {
            self.started = true;
            self.meter.started();
            self.stop_ns = self.stop_ns.saturating_add(now_ns());
        }
        let end = self.events.min(self.next.saturating_add(max as u64 * self.step));
        let mut emitted = 0;
        while self.next < end {
            out.collect(named(self.next));
            self.next += self.step;
            emitted += 1;
        }
        self.meter.emitted(emitted);
        let is_over = self.stop_ns != u64::MAX && now_ns() >= self.stop_ns;
        Ok(if self.next >= self.events || is_over {
            InputStatus::EndOfInput
        } else {
            InputStatus::MoreAvailable
        })
    }
}

fn id_of(name: &str) -> u64 {
    name[5..15].parse().expect("the generator's names")
}

/// w7: count of events and sum of cents for each name.
///
/// # Errors
/// Those of the job.
pub fn named_counts(
    env: &StreamExecutionEnvironment,
    settings: &Settings,
) -> Result<Outcome, thalweg::Error> {
    let run = Run::new(settings);
    let Settings { events, seconds, .. } = *settings;
    let source = NamedEvents { events, seconds, meter: run.meter.clone() };
    let digest = |(name, count, cents): &(String, u64, u64)| {
        (name.len() as u64).wrapping_add(*count).wrapping_add(*cents)
    };
    let last = |(name, count, cents): &(String, u64, u64), kept: &mut HashMap<u64, (u64, u64)>| {
        kept.insert(id_of(name), (*count, *cents));
    };
    env.from_source(source, "events")
        .key_by_ref(|event| &event.name)
        .scan((0u64, 0u64), |(count, cents), event| {
            *count += 1;
            if let Action::Buy { cents: paid } = event.event {
                *cents += paid;
            }
            (event.name, *count, *cents)
        })
        .sink_to(run.sink(digest, last));
    env.execute("w7")?;
    Ok(run.outcome())
}
