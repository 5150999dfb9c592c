//! The requests in flight, by slot, and the times at which something becomes of them.
//!
//! **Invariants**
//! - A slot is used again only after its request has left; the request's number tells old messages and timers of the slot
//!   from new ones.
//! - A timer of a request that no longer waits for it means nothing, and is removed when it comes up, or when such timers
//!   outnumber the others.

use crate::function::{Answer, Ticket};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A request from its begin until its results have left. A checkpoint has record and timestamp.
pub(crate) struct Request<In, Out> {
    pub(crate) record: In,
    pub(crate) timestamp: i64,
    /// Ordinal of the record in its stage, for errors.
    pub(crate) position: u64,
    pub(crate) ticket: Ticket,
    /// Answers of earlier turns are ignored.
    pub(crate) first_turn: u32,
    pub(crate) attempts: u32,
    /// The delay before the last attempt.
    pub(crate) delay_ms: i64,
    /// What the queue knows it by.
    pub(crate) queue_number: u64,
    pub(crate) is_timed_out: bool,
    pub(crate) state: State<Out>,
}

/// What a request waits for.
pub(crate) enum State<Out> {
    /// The answer.
    Running,
    /// Its next attempt.
    Delayed,
    /// Its turn to leave, with these results.
    Answered(Answer<Out>),
}

/// See the module docs.
pub(crate) struct Requests<In, Out> {
    slots: Vec<Option<Request<In, Out>>>,
    free: Vec<u32>,
    next_number: u64,
}

impl<In, Out> Default for Requests<In, Out> {
    fn default() -> Self {
        Requests { slots: Vec::new(), free: Vec::new(), next_number: 0 }
    }
}

impl<In, Out> Requests<In, Out> {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a request that has not been begun; `queue` is told its slot.
    pub(crate) fn add(
        &mut self,
        (record, timestamp, position): (In, i64, u64),
        queue: impl FnOnce(u32) -> u64,
    ) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        let ticket = Ticket { slot, turn: 0, number: self.next_number };
        self.next_number += 1;
        self.slots[slot as usize] = Some(Request {
            record,
            timestamp,
            position,
            ticket,
            first_turn: 0,
            attempts: 0,
            delay_ms: 0,
            queue_number: queue(slot),
            is_timed_out: false,
            state: State::Delayed,
        });
        slot
    }

    /// The request of a slot that is in use.
    pub(crate) fn at(&mut self, slot: u32) -> &mut Request<In, Out> {
        self.slots[slot as usize].as_mut().expect("the slot of a request in the queue is in use")
    }

    /// The request of a ticket, if it is still there.
    pub(crate) fn of(&mut self, ticket: Ticket) -> Option<&mut Request<In, Out>> {
        let request = self.slots.get_mut(ticket.slot as usize)?.as_mut()?;
        (request.ticket.number == ticket.number).then_some(request)
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Request<In, Out> {
        let request = self.slots[slot as usize].take();
        self.free.push(slot);
        request.expect("the slot of a request in the queue is in use")
    }

    /// The tickets of those that wait for a retry, in the order in which they came.
    pub(crate) fn delayed(&self) -> Vec<Ticket> {
        let requests = self.slots.iter().flatten();
        let delayed = requests.filter(|request| matches!(request.state, State::Delayed));
        let mut tickets: Vec<_> = delayed.map(|request| request.ticket).collect();
        tickets.sort_unstable_by_key(|ticket| ticket.number);
        tickets
    }

    /// All of them, in the order in which they came.
    pub(crate) fn in_order(&self) -> Vec<&Request<In, Out>> {
        let mut requests: Vec<_> = self.slots.iter().flatten().collect();
        requests.sort_unstable_by_key(|request| request.ticket.number);
        requests
    }

    fn awaits(&self, timer: &Timer) -> bool {
        let request = self.slots.get(timer.ticket.slot as usize).and_then(Option::as_ref);
        request.is_some_and(|request| match (timer.is_retry, &request.state) {
            (true, State::Delayed) => request.ticket == timer.ticket,
            (false, State::Running | State::Delayed) => {
                request.ticket.number == timer.ticket.number && !request.is_timed_out
            }
            _ => false,
        })
    }
}

/// A time at which a request is repeated, or has taken too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    pub(crate) at_ms: i64,
    pub(crate) ticket: Ticket,
    pub(crate) is_retry: bool,
}

/// Timers by time, those of one time in the order in which they were set.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<ByTime>>,
    next_order: u64,
}

struct ByTime {
    order: u64,
    timer: Timer,
}

impl ByTime {
    fn key(&self) -> (i64, u64) {
        (self.timer.at_ms, self.order)
    }
}
impl PartialEq for ByTime {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for ByTime {}
impl PartialOrd for ByTime {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ByTime {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Timers that are kept whether they mean something or not.
const TIMERS_KEPT: usize = 64;

impl Timers {
    pub(crate) fn set<In, Out>(&mut self, timer: Timer, requests: &Requests<In, Out>) {
        // A request has at most two timers that mean something.
        if self.heap.len() > 4 * requests.len() + TIMERS_KEPT {
            self.heap.retain(|timer| requests.awaits(&timer.0.timer));
        }
        self.heap.push(Reverse(ByTime { order: self.next_order, timer }));
        self.next_order += 1;
    }

    /// When the next timer is due that means something; `i64::MAX` for never.
    #[inline]
    pub(crate) fn next_ms<In, Out>(&mut self, requests: &Requests<In, Out>) -> i64 {
        while let Some(Reverse(ByTime { timer, .. })) = self.heap.peek() {
            if requests.awaits(timer) {
                return timer.at_ms;
            }
            self.heap.pop();
        }
        i64::MAX
    }

    /// Removes the next timer if it is due.
    pub(crate) fn pop_due<In, Out>(
        &mut self,
        now_ms: i64,
        requests: &Requests<In, Out>,
    ) -> Option<Timer> {
        if self.next_ms(requests) > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse(ByTime { timer, .. })| timer)
    }
}
