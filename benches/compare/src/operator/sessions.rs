//! w4: counts of each key's sessions, which end 100 ms after their last event.
//!
//! A session is noted in a queue of milliseconds under its end as it was then. Who comes to the note looks whether the session
//! has grown, and notes it again under its new end; so an event that prolongs a session touches nothing but the session.

use super::{IntegerMap, ShardOperator};
use crate::events::Event;
use std::collections::VecDeque;

const GAP_MS: u64 = 100;

#[derive(Clone, Copy)]
struct Session {
    start: u64,
    /// A gap after the last event.
    end: u64,
    /// The end under which it is noted in the queue.
    noted: u64,
    count: u64,
}

/// The sessions of a key that overlap no other; nearly always one, which needs no allocation.
#[derive(Clone)]
struct Open {
    first: Session,
    more: Vec<Session>,
}

impl Open {
    fn all_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        std::iter::once(&mut self.first).chain(&mut self.more)
    }
}

/// One shard.
#[derive(Clone, Default)]
pub(crate) struct Sessions {
    open: IntegerMap<Open>,
    /// Keys of sessions by the millisecond of their end, from `begin` on.
    queue: VecDeque<Vec<u64>>,
    begin: u64,
    spare: Vec<Vec<u64>>,
}

fn note(
    queue: &mut VecDeque<Vec<u64>>,
    spare: &mut Vec<Vec<u64>>,
    (begin, end): (u64, u64),
    key: u64,
) {
    // What is late is due at once.
    let place = end.saturating_sub(begin) as usize;
    while queue.len() <= place {
        queue.push_back(spare.pop().unwrap_or_default());
    }
    queue[place].push(key);
}

/// Adds an event to a key that has sessions. `true` if it is a new session, which has to be noted.
#[cold]
fn add_to_several(open: &mut Open, ts: u64) -> bool {
    let mut merged = Session { start: ts, end: ts + GAP_MS, noted: ts + GAP_MS, count: 1 };
    let mut apart = Vec::new();
    let mut is_new = true;
    for session in open.all_mut() {
        if ts <= session.end && session.start <= ts + GAP_MS {
            merged.start = merged.start.min(session.start);
            merged.end = merged.end.max(session.end);
            merged.noted = if is_new { session.noted } else { merged.noted.min(session.noted) };
            merged.count += session.count;
            is_new = false;
        } else {
            apart.push(*session);
        }
    }
    open.first = merged;
    open.more = apart;
    is_new
}

impl ShardOperator for Sessions {
    type In = Event;
    type Out = (u64, u64, u64);

    #[inline(always)]
    fn record(&mut self, event: Event, _: &mut impl FnMut((u64, u64, u64))) {
        let (key, ts) = (event.key, event.ts);
        let end = ts + GAP_MS;
        match self.open.entry(key) {
            hashbrown::hash_map::Entry::Occupied(mut entry) => {
                let open = entry.get_mut();
                let first = &mut open.first;
                if open.more.is_empty() && first.start <= ts && ts <= first.end {
                    first.end = first.end.max(end);
                    first.count += 1;
                    return;
                }
                if !add_to_several(open, ts) {
                    return;
                }
            }
            hashbrown::hash_map::Entry::Vacant(entry) => {
                let first = Session { start: ts, end, noted: end, count: 1 };
                entry.insert(Open { first, more: Vec::new() });
            }
        }
        note(&mut self.queue, &mut self.spare, (self.begin, end), key);
    }

    fn watermark(&mut self, watermark: u64, out: &mut impl FnMut((u64, u64, u64))) {
        while self.begin <= watermark.saturating_add(1) {
            let Some(mut keys) = self.queue.pop_front() else { break };
            let now = self.begin;
            self.begin += 1;
            for key in keys.drain(..) {
                self.look_at(key, now, out);
            }
            self.spare.push(keys);
        }
        if self.queue.is_empty() {
            self.begin = self.begin.max(watermark.saturating_add(1));
        }
    }
}

impl Sessions {
    /// Emits the key's session that was noted here, or notes it again.
    #[inline]
    fn look_at(&mut self, key: u64, now: u64, out: &mut impl FnMut((u64, u64, u64))) {
        let hashbrown::hash_map::Entry::Occupied(mut entry) = self.open.entry(key) else { return };
        let open = entry.get_mut();
        let Some(session) = open.all_mut().find(|session| session.noted <= now) else { return };
        if session.end > now {
            session.noted = session.end;
            let end = session.end;
            note(&mut self.queue, &mut self.spare, (self.begin, end), key);
            return;
        }
        out((key, session.end, session.count));
        if open.first.noted <= now {
            match open.more.pop() {
                Some(other) => open.first = other,
                None => drop(entry.remove()),
            }
        } else if let Some(place) = open.more.iter().position(|session| session.noted <= now) {
            open.more.swap_remove(place);
        }
    }
}
